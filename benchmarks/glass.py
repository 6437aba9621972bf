"""How deep networks age: relaxation against temperature, energies from both sides, and kernels at equal minutes.

``python -m benchmarks.glass --data airfoil --parts relaxation methods --seconds 600 --json out.json --merge``

Four layers of 16 ReLU units, noise that depends on the inputs, N(0, 1) priors, on data which no sampler here has mixed
at T = 1.

``relaxation``: chains at temperatures of the likelihood path; gradients of a chain for an effective draw of the energy
and of the median held-out prediction, where R-hat says that there is one, and the law that they follow against 1/T.

``methods``: at T = 1, two chains from trained networks and two from early-stopped ones, each method for as long,
compilation and warm-up included; the mean energy of either side and the LPPD of all in windows of gradients that
double, and by how much each side moves while the gradients grow e-fold.  Scales of ReLU units are drawn between the
transitions but where the name says otherwise.  Of a ladder's draws it is not known from which side their replicas came.
"""

import json
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np
import xarray as xr
from scipy.special import logsumexp

import temperax as tx
from benchmarks import harness
from benchmarks.samplers import TARGETS

CHAINS = 4
TEMPERATURES = [16.0, 11.3, 8.0, 5.7, 4.0, 2.8, 2.0, 1.4, 1.0]
#: R-hat of the median prediction up to which an effective sample size means something, and that of chains that mix.
MEASURED, MIXED = 1.1, 1.05
WARMUP = 200
#: Of a trajectory: what a cold rung wants grows without end.
MOST_STEPS = 512
#: More draws of a chain than any run makes in an hour.
DRAWS = 20_000

HMC = tx.HMC(max_steps=MOST_STEPS)
KERNELS: dict[str, tx.kernels.Kernel | tx.kernels.Alternating] = {
    "hmc": tx.kernels.Alternating(HMC),
    "hmc, scales of units not drawn": HMC,
    "hmc, unit mass": tx.kernels.Alternating(tx.HMC(max_steps=MOST_STEPS, inverse_mass=1.0)),
    "mams": tx.kernels.Alternating(tx.kernels.MAMS(max_steps=MOST_STEPS)),
    "mclmc": tx.kernels.Alternating(tx.kernels.MCLMC(max_steps=MOST_STEPS)),
}
COMMON: dict[str, Any] = {"num_chains": CHAINS, "progress": False, "log_likelihood": False}
METHODS = (*KERNELS, "ladder from T = 8")


def network(name: str) -> tx.Energy:
    """Airfoil's, on whatever data."""
    return TARGETS["airfoil"]._replace(dataset=name).energy()


def drawn(seconds: float, kernel: str, energy: tx.Energy, *temperatures: Any, **options: Any) -> xr.DataTree:
    """Chains that are stopped after a time."""
    options = {"kernel": KERNELS[kernel], "num_warmup": WARMUP, "num_draws": DRAWS} | COMMON | options
    with harness.stopped_after(seconds):
        return tx.sample(jax.random.key(0), energy, *temperatures, **options)


def relaxation(name: str, seconds: float, temperatures: list[float]) -> list[dict[str, Any]]:
    """A row a temperature."""
    began = time.perf_counter()
    tree = drawn(seconds, "hmc", network(name), temperatures, path="likelihood")
    taken = time.perf_counter() - began
    found, energies = tx.diagnostics.function_space(tree), tx.diagnostics.energies(tree)
    steps = tree["tempered_stats"].to_dataset()["n_steps"].sum("draw").mean("chain").values
    rows = []
    for temperature, gradients in zip(found.index, steps, strict=True):
        f, e = found.loc[temperature], energies.loc[temperature]
        known = f["rhat_f_median"] <= MEASURED
        rows.append(
            {
                "data": name,
                "part": "relaxation",
                "temperature": float(temperature),
                "seconds": taken,
                "gradients_a_chain": int(gradients),
                "rhat_f_median": float(f["rhat_f_median"]),
                "rhat_f_max": float(f["rhat_f_max"]),
                "rhat_energy": float(e["rhat_energy"]),
                "mean_energy": float(e["data_energy"]),
                "gradients_an_effective_f": float(CHAINS * gradients / f["ess_f_median"]) if known else np.nan,
                "gradients_an_effective_energy": float(CHAINS * gradients / e["ess_energy"]) if known else np.nan,
            }
        )
    return rows + law(name, rows)


def law(name: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Log gradients an effective draw against 1/T, a straight line, and where it leads at T = 1."""
    known = [row for row in rows if np.isfinite(row["gradients_an_effective_f"])]
    if len(known) < 3:
        return []
    inverse = np.array([1 / row["temperature"] for row in known])
    logs = np.log([row["gradients_an_effective_f"] for row in known])
    (slope, intercept), covariance = np.polyfit(inverse, logs, 1, cov=True)
    error = np.sqrt(covariance.sum())  # of slope + intercept, the line at 1/T = 1
    return [
        {
            "data": name,
            "part": "relaxation",
            "window": "law",
            "activation": float(slope),
            "coldest_measured": float(1 / inverse.max()),
            "gradients_an_effective_f_at_1": float(np.exp(slope + intercept)),
            "factor_of_its_error": float(np.exp(error)),
        }
    ]


def compared(name: str, method: str, seconds: float) -> list[dict[str, Any]]:
    """A row a window of gradients, each window twice the one before, and one of the whole run."""
    energy, began = network(name), time.perf_counter()
    if method in KERNELS:
        tree = drawn(seconds, method, energy, start="both")
    else:
        options = COMMON | {"kernel": KERNELS["hmc"], "path": "posterior", "hottest": 8.0, "start": "both"}
        tree = harness.ladder_within(seconds, partial(tx.parallel_tempering, jax.random.key(0), energy, **options))
    about = {"data": name, "part": "methods", "method": method, "limit": seconds}
    rows = windows(tree, sides_of(tree) if method in KERNELS else np.array(["either"] * CHAINS))
    together = tx.diagnostics.function_space(tree).iloc[-1]
    whole = {
        "window": "all",
        "seconds": time.perf_counter() - began,
        "draws": tree["tempered_stats"].sizes["draw"],
        "rhat_f_median": float(together["rhat_f_median"]),
        "rhat_f_max": float(together["rhat_f_max"]),
    }
    for side in ("below", "above", "either"):
        points = [(row["gradients_a_chain"], row[f"energy_{side}"]) for row in rows if f"energy_{side}" in row]
        if len(points) > 1:
            gradients, energies = np.array(points).T
            whole[f"nats_an_e_fold_{side}"] = float(np.polyfit(np.log(gradients), energies, 1)[0])
    return [about | row for row in (*rows, whole)]


def sides_of(tree: xr.DataTree) -> np.ndarray:
    """From which side each chain has come."""
    return np.array(json.loads(tree.attrs["started"])["side"])


def windows(tree: xr.DataTree, sides: np.ndarray) -> list[dict[str, Any]]:
    """Mean energy of each side and LPPD of all at T = 1, in windows of gradients that double."""
    cold = tree["tempered_stats"].isel(temperature=-1)
    gradients = np.cumsum(tree["tempered_stats"].to_dataset()["n_steps"].sum("temperature").mean("chain").values)
    gradients = gradients + int(tree.attrs["warmup_gradients"]) / CHAINS
    edges = gradients[-1] / 2.0 ** np.arange(8)[::-1]
    energy = cold["data_energy"].transpose("chain", "draw").values
    logs = tree["tempered_predictions"]["log_density"].isel(temperature=-1)
    density = logs.transpose("chain", "draw", "test_row").values
    rows = []
    for low, high in zip(np.append(0, edges[:-1]), edges, strict=True):
        inside = (gradients > low) & (gradients <= high)
        if inside.sum() < 4:
            continue
        mine = density[:, inside].reshape(-1, density.shape[-1])
        rows.append(
            {
                "window": f"to {high:.0f}",
                "gradients_a_chain": float(gradients[inside].mean()),
                **{f"energy_{side}": float(energy[sides == side][:, inside].mean()) for side in dict.fromkeys(sides)},
                "lppd": float((logsumexp(mine, axis=0) - np.log(len(mine))).mean()),
            }
        )
    return rows


COLUMNS = (
    *("data", "part", "temperature", "method", "window", "gradients_a_chain", "draws", "rhat_f_median"),
    *("rhat_f_max", "rhat_energy", "mean_energy", "energy_below", "energy_above", "energy_either", "lppd"),
    *("nats_an_e_fold_below", "nats_an_e_fold_above", "nats_an_e_fold_either", "gradients_an_effective_f", "about"),
    *("gradients_an_effective_energy", "activation", "gradients_an_effective_f_at_1", "factor_of_its_error"),
)
KEY = ("data", "part", "method")


def goals(rows: list[dict[str, Any]]) -> list[dict]:
    """Of the best method on each data set."""
    found = []
    for name in dict.fromkeys(row["data"] for row in rows):
        whole = [row["rhat_f_median"] for row in rows if row["data"] == name and row.get("window") == "all"]
        medians = [
            median for median in whole if median is not None and np.isfinite(median)
        ]  # of one draw there is none
        if medians:
            found.append(
                harness.goal(f"{name}: median R-hat of f at T = 1, best method", min(medians), MIXED, at_most=True)
            )
    return found


def main() -> None:
    """Measure what is asked for and show the table."""
    parser = harness.arguments(__doc__.splitlines()[0])
    harness.add_merge(parser)
    parser.add_argument("--seconds", type=float, default=600.0, help="wall time of a method, and of all temperatures")
    parser.add_argument("--data", nargs="+", default=["airfoil", "bike"])
    parser.add_argument("--parts", nargs="+", default=["relaxation", "methods"], choices=["relaxation", "methods"])
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS)
    parser.add_argument("--temperatures", type=float, nargs="+", default=TEMPERATURES)
    options = parser.parse_args()
    seconds = 20.0 if options.quick else options.seconds
    tx.use_cpu_devices(harness.cores())
    rows: list[dict[str, Any]] = []

    def keep(found: list[dict[str, Any]]) -> None:
        rows.extend(harness.stamp(row) for row in found)
        kept = harness.merged(rows, options.json if options.merge else None, KEY)
        harness.write(kept, goals(kept), options.json)
        harness.show(found, goals(kept), COLUMNS)

    def run(measure: Callable[[], list[dict[str, Any]]], **about: Any) -> None:
        try:
            keep(measure())
        except tx.Interrupted as reason:  # by the time
            keep([about | {"limit": seconds, "about": str(reason)}])

    for name in options.data:
        if "relaxation" in options.parts:
            run(partial(relaxation, name, seconds, options.temperatures), data=name, part="relaxation")
        for method in options.methods if "methods" in options.parts else ():
            run(partial(compared, name, method, seconds), data=name, part="methods", method=method)


if __name__ == "__main__":
    main()
