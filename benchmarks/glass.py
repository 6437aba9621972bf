"""How a deep network ages: relaxation against temperature, and energies from both sides against gradients.

``python -m benchmarks.glass --seconds 600 --json benchmarks/results/glass.json``

Airfoil, four layers of 16 ReLU units, noise that depends on the inputs, N(0, 1) priors, which no sampler here has mixed
at T = 1.  First, chains at nine temperatures of the likelihood path: gradients of a chain for an effective draw of the
energy and of the median held-out prediction, where R-hat says that there is one, and the law that they follow against
1/T.  Then, at T = 1, chains from trained networks and from early-stopped ones: mean energy and LPPD in windows of
gradients that double, and by how much each side moves while the gradients grow e-fold.
"""

import json
import time
from typing import Any

import jax
import numpy as np
import pandas as pd
import xarray as xr
from scipy.special import logsumexp

import temperax as tx
from benchmarks import harness
from benchmarks.samplers import TARGETS

CHAINS = 4
TEMPERATURES = np.geomspace(16.0, 1.0, 9)
#: R-hat of the median prediction up to which an effective sample size means something, and that of chains that mix.
MEASURED, MIXED = 1.1, 1.05
PILOT = 20
#: Of a trajectory: what a colder rung wants grows without end, and the time of a run with it.
MOST_STEPS = 64


def fitting(seconds: float, **options: Any) -> tuple[xr.DataTree, float]:
    """A run of as many draws as fit, after a warm-up of a quarter of them, and its seconds."""
    energy = TARGETS["airfoil"].energy()
    options |= {"kernel": tx.HMC(max_steps=MOST_STEPS), "num_chains": CHAINS, "progress": False}
    options |= {"log_likelihood": False}
    key, began = jax.random.key(0), time.perf_counter()
    pilot = tx.sample(key, energy, num_warmup=200, num_draws=PILOT, **options)
    laps = json.loads(pilot.attrs["timings"])
    left = seconds - (time.perf_counter() - began)
    draws = harness.draws_within(left, 1.25 * laps["draws"] / PILOT, PILOT)
    began = time.perf_counter()
    tree = tx.sample(key, energy, num_warmup=max(200, draws // 4), num_draws=draws, **options)
    return tree, time.perf_counter() - began


def relaxation(seconds: float) -> list[dict[str, Any]]:
    """A row a temperature."""
    tree, taken = fitting(seconds, temperature=TEMPERATURES.tolist(), path="likelihood")
    found, energies = tx.diagnostics.function_space(tree), tx.diagnostics.energies(tree)
    steps = tree["tempered_stats"]["n_steps"].sum("draw").mean("chain").values
    rows = []
    for temperature, gradients in zip(found.index, steps, strict=True):
        f, e = found.loc[temperature], energies.loc[temperature]
        known = f["rhat_f_median"] <= MEASURED
        rows.append(
            {
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
    return rows


def law(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Log gradients an effective draw against 1/T, a straight line, and where it leads at T = 1."""
    known = [row for row in rows if row["part"] == "relaxation" and np.isfinite(row["gradients_an_effective_f"])]
    if len(known) < 3:
        return {}
    inverse = np.array([1 / row["temperature"] for row in known])
    logs = np.log([row["gradients_an_effective_f"] for row in known])
    (slope, intercept), covariance = np.polyfit(inverse, logs, 1, cov=True)
    error = np.sqrt(covariance.sum())  # of slope + intercept, the line at 1/T = 1
    return {
        "part": "law",
        "activation": float(slope),
        "coldest_measured": float(1 / inverse.max()),
        "gradients_an_effective_f_at_1": float(np.exp(slope + intercept)),
        "factor_of_its_error": float(np.exp(error)),
    }


def ageing(seconds: float) -> list[dict[str, Any]]:
    """A row a side and a window of gradients, each window twice the one before."""
    tree, taken = fitting(seconds, start="both")
    stats, logs = tree["tempered_stats"].isel(temperature=0), tree["tempered_predictions"]["log_density"]
    sides = np.array(json.loads(tree.attrs["started"])["side"])
    gradients = np.cumsum(stats["n_steps"].transpose("chain", "draw").values, axis=1).mean(axis=0)
    gradients = gradients + int(tree.attrs["warmup_gradients"]) / CHAINS
    edges = gradients[-1] / 2.0 ** np.arange(8)[::-1]
    windows = [(a, b) for a, b in zip(np.append(0, edges[:-1]), edges, strict=True) if (gradients <= b).sum() > 4]
    energy = stats["data_energy"].transpose("chain", "draw").values
    density = logs.isel(temperature=0).transpose("chain", "draw", "test_row").values
    rows = []
    for low, high in windows:
        inside = (gradients > low) & (gradients <= high)
        if inside.sum() < 4:
            continue
        for side in ("below", "above"):
            mine = density[sides == side][:, inside].reshape(-1, density.shape[-1])
            rows.append(
                {
                    "part": "ageing",
                    "side": side,
                    "seconds": taken,
                    "gradients_a_chain": float(gradients[inside].mean()),
                    "mean_energy": float(energy[sides == side][:, inside].mean()),
                    "lppd": float((logsumexp(mine, axis=0) - np.log(len(mine))).mean()),
                }
            )
    together = tx.diagnostics.function_space(tree).iloc[0]
    for side in ("below", "above"):
        mine = pd.DataFrame([row for row in rows if row["side"] == side])
        slope = np.polyfit(np.log(mine["gradients_a_chain"]), mine["mean_energy"], 1)[0]
        about = {"part": "drift", "side": side, "nats_an_e_fold": float(slope)}
        rows.append(about | {"rhat_f_median": float(together["rhat_f_median"])})
    return rows


COLUMNS = ("part", "temperature", "side", "gradients_a_chain", "rhat_f_median", "rhat_f_max", "rhat_energy")
COLUMNS += ("mean_energy", "lppd", "gradients_an_effective_f", "gradients_an_effective_energy", "nats_an_e_fold")
COLUMNS += ("activation", "gradients_an_effective_f_at_1", "factor_of_its_error")


def main() -> None:
    """Measure both and show the table."""
    parser = harness.arguments(__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=600.0, help="wall time of each of the two parts")
    options = parser.parse_args()
    seconds = 20.0 if options.quick else options.seconds
    tx.use_cpu_devices(harness.cores())
    rows = relaxation(seconds)
    rows += [found] if (found := law(rows)) else []
    harness.show(rows, [], COLUMNS)
    rows += ageing(seconds)
    median = next(row["rhat_f_median"] for row in rows if row["part"] == "drift")
    goals = [harness.goal("airfoil: median R-hat of f at T = 1, from both sides", median, MIXED, at_most=True)]
    harness.write([harness.stamp(row) for row in rows], goals, options.json)
    harness.show(rows, goals, COLUMNS)


if __name__ == "__main__":
    main()
