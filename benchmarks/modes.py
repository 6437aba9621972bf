"""Modes that chains do not leave: plain chains, ladders and particles on posteriors whose truth is known.

``python -m benchmarks.modes --seconds 300 --seeds 5 --json out.json --merge``
(``--targets xor-2 wells`` and ``--methods ladder hmc`` for a part, ``--nested`` for the truths of the XOR networks,
which take minutes of nested sampling, ``--quick`` for a look)

Every method is stopped after the same wall time, compilation and warm-up included; particles are as many as a first run
says will fit, and rounds of ladders and blocks of chains that have begun end first.  A row is a target, a
method and a seed: worst and median R-hat and the least ESS of what the target is judged by (predictions of held-out
rows, or parameters), over the run's own four chains or ladders; the weight of the named mode, told apart by functions,
beside the truth in standard errors; LPPD, log Z, mean data energy.
"""

import json
import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from scipy.special import logsumexp

import temperax as tx
from benchmarks import harness
from benchmarks.multimodal import TARGETS, Target
from temperax.analysis import statistics
from temperax.results import reading

CHAINS = 4
#: What a posterior that is solved has.
RHAT, ESS, SOLVED = 1.01, 400, 5
#: A target that is to be among those that are.
AMONG = "concrete"


class Found(NamedTuple):
    """Draws at T = 1, what they cost, and log Z where the method has it."""

    positions: np.ndarray  # (chain, draw, parameter)
    gradients: int
    log_z: float = float("nan")
    log_z_error: float = float("nan")
    about: str = ""


# -- methods ---------------------------------------------------------------------------------------------------------


def chains(kernel: str, start: str, target: Target, key: jax.Array, seconds: float) -> Found:
    """`temperax.sample` at T = 1."""
    energy = target.energy()
    options: dict[str, Any] = {"kernel": target.kernel(kernel), "start": start}
    options |= {"num_chains": CHAINS, "progress": False}
    with harness.stopped_after(seconds):
        tree = tx.sample(key, energy, num_draws=harness.MOST_DRAWS, log_likelihood=False, **options)
    return Found(reading.positions(tree, energy), _gradients(tree))


def ladder(options: dict[str, Any], target: Target, key: jax.Array, seconds: float) -> Found:
    """`temperax.parallel_tempering` to T = 1."""
    energy, kernel = target.energy(), target.kernel("hmc")
    options = {"kernel": kernel, "num_chains": CHAINS, "progress": False, "log_likelihood": False} | options
    tree = harness.ladder_within(seconds, partial(tx.parallel_tempering, key, energy, **options))
    z = tx.thermodynamics.log_evidence(tree)
    betas = tree["exchange"].to_dataset()["beta"].values
    trips = tx.diagnostics.round_trips(tree)
    hottest = 1.0 / float(betas[0]) if betas[0] else np.inf
    about = f"{len(betas)} rungs from T = {hottest:.3g}, {trips['restarts']:.0f} restarts"
    about += ", not equilibrated" if len(tx.diagnostics.equilibrium(tree)) else ""
    whole = hottest == np.inf
    return Found(
        reading.positions(tree, energy), _gradients(tree), *((z.mbar, z.mbar_error) if whole else (np.nan,) * 2), about
    )


def particles(target: Target, key: jax.Array, seconds: float) -> Found:
    """`temperax.smc`, four populations of as many particles as fit."""
    energy = target.energy()
    options: dict[str, Any] = {"num_chains": CHAINS, "progress": False, "log_likelihood": False}
    pilot = tx.smc(key, energy, num_particles=64, **options)
    taken = sum(json.loads(pilot.attrs["timings"]).values()) - float(pilot.attrs["compilation"])
    count = int(64 * max(1.0, (seconds - float(pilot.attrs["compilation"])) / max(taken, 1e-3)))
    tree = tx.smc(key, energy, num_particles=min(count, 20_000), **options)
    z, error = float(tree.attrs["log_z"]), float(tree.attrs["log_z_error"])
    return Found(reading.positions(tree, energy), _gradients(tree), z, error, f"{min(count, 20_000)} particles")


def numpyro_nuts(target: Target, key: jax.Array, seconds: float) -> Found:
    """NumPyro's NUTS from its own starts, its chains vectorised."""
    from numpyro.infer import MCMC, NUTS

    energy = target.energy()
    began = time.perf_counter()
    mcmc = MCMC(
        NUTS(potential_fn=lambda q: energy.prior_energy(q) + energy.data_energy(q)),
        num_warmup=1000,
        num_samples=250,
        num_chains=CHAINS,
        chain_method="vectorized",
        progress_bar=False,
    )
    start = jax.random.uniform(key, (CHAINS, energy.size), minval=-2.0, maxval=2.0)
    mcmc.warmup(key, init_params=start, extra_fields=("num_steps",))
    parts: list[np.ndarray] = []
    gradients = 0
    while not parts or time.perf_counter() - began < seconds:
        mcmc.post_warmup_state = mcmc.last_state
        mcmc.run(mcmc.last_state.rng_key, extra_fields=("num_steps",))
        parts.append(np.asarray(mcmc.get_samples(group_by_chain=True)))
        gradients += int(mcmc.get_extra_fields()["num_steps"].sum())
    return Found(np.concatenate(parts, axis=1), gradients)


def _gradients(tree: xr.DataTree) -> int:
    return int(tree.attrs["warmup_gradients"]) + int(tree["tempered_stats"]["n_steps"].sum())


Method = Callable[[Target, jax.Array, float], Found]
METHODS: dict[str, Method] = {
    "hmc": partial(chains, "hmc", "optimum"),
    "hmc-prior": partial(chains, "hmc", "prior"),
    "nuts": partial(chains, "nuts", "optimum"),
    "nuts-prior": partial(chains, "nuts", "prior"),
    "numpyro-nuts": numpyro_nuts,
    "ladder": partial(ladder, {}),
    "ladder-posterior": partial(ladder, {"path": "posterior"}),
    "ladder-reference": partial(ladder, {"path": "reference"}),
    "smc": particles,
}
PLAIN = ("hmc", "hmc-prior", "nuts", "nuts-prior", "numpyro-nuts")


# -- judgement -------------------------------------------------------------------------------------------------------


def judge(target: Target, energy: tx.Energy, found: Found) -> dict[str, Any]:
    """The figures of a run."""
    values = target.judged(energy, found.positions)
    draws = xr.Dataset({"f": (("chain", "draw", "number"), values)})
    rhat, ess = statistics.rhat(draws)["f"], statistics.ess(draws)["f"]
    row = {
        "draws": values.shape[1],
        "gradients": found.gradients,
        "rhat_max": _worst(rhat.values),
        "rhat_median": float(np.nanmedian(rhat.values)),
        "ess_min": float(np.nanmin(ess.values)),
        "data_energy": float(np.mean(_data_energy(energy, found.positions))),
        "log_z": found.log_z,
        "log_z_error": found.log_z_error,
        "about": found.about,
    }
    if energy.dataset is not None:
        data = energy.dataset
        xy = jnp.asarray(data.x_test), jnp.asarray(data.y_test)
        logs = reading.over_draws(reading.log_densities, energy, xy, found.positions)
        row["lppd"] = float((logsumexp(logs, axis=(0, 1)) - np.log(logs.shape[0] * logs.shape[1])).mean())
    if target.mode is not None:
        inside = target.mode(energy, found.positions).astype(float)
        row["weight"] = float(inside.mean())
        # Of chains that stay in a mode each is one draw of it, and no error of their own draws says so.
        own = float(statistics.mcse(xr.Dataset({"m": (("chain", "draw"), inside)}))["m"])
        between = float(inside.mean(axis=1).std(ddof=1) / np.sqrt(len(inside)))
        row["weight_error"] = max(own if np.isfinite(own) else 0.0, between)
    return row


def _worst(rhat: np.ndarray) -> float:
    """The largest R-hat; of chains that stand still it is no number, and surely not 1."""
    return float(np.max(rhat)) if np.isfinite(rhat).all() else float("inf")


def _data_energy(energy: tx.Energy, positions: np.ndarray) -> np.ndarray:
    return reading.over_draws(_height, energy, None, positions)


def _height(energy: tx.Energy, x: Any, position: jax.Array) -> jax.Array:
    return energy.data_energy(position)


def against_truth(row: dict[str, Any], target: Target, nested: bool) -> dict[str, Any]:
    """Distances from what is known, in standard errors."""
    if target.truth is None or (target.nested and not nested):
        return {}
    truth = target.truth()
    found = {"true_weight": truth.weight, "true_log_z": truth.log_z}
    error = np.hypot(row["weight_error"], truth.weight_error)
    found["weight_z"] = (row["weight"] - truth.weight) / max(error, 1e-6)
    if np.isfinite(row["log_z"]) and np.isfinite(truth.log_z):
        found["log_z_z"] = (row["log_z"] - truth.log_z) / np.hypot(row["log_z_error"], truth.log_z_error)
    return found


def goals(rows: list[dict[str, Any]]) -> list[dict]:
    """On how many targets ladders solve what no plain method does, and whether their weights are right."""
    solved = []
    for target in {row["target"] for row in rows}:
        mine = [row for row in rows if row["target"] == target and "rhat_max" in row]
        # Of one method's seeds more than half.
        share = {
            method: np.mean([good(row) for row in mine if row["method"] == method])
            for method in {row["method"] for row in mine}
        }
        ladders = [s for method, s in share.items() if method.startswith("ladder")]
        plain = [s for method, s in share.items() if method in PLAIN]
        if ladders and plain and max(ladders) > 0.5 and max(plain) < 0.5:
            solved.append(target)
    print(f"solved by a ladder and by no plain method: {', '.join(sorted(solved)) or 'none'}")
    judged = [row for row in rows if row["method"].startswith("ladder") and good(row) and "weight_z" in row]
    found = [harness.goal("targets that a ladder solves and no plain method does", len(solved), SOLVED, at_most=False)]
    if any(row["target"] == AMONG for row in rows):
        found.append(harness.goal(f"{AMONG} is among them", float(AMONG in solved), 1.0, at_most=False))
    if judged:
        off = float(np.median([abs(row["weight_z"]) for row in judged]))
        found.append(harness.goal("weights of modes, median distance in standard errors", off, 3.0, at_most=True))
    return found


def good(row: dict[str, Any]) -> bool:
    """Whether a run has solved its target: chains that all miss a mode agree, so its weight must be right as well."""
    mixes = row.get("rhat_max") is not None and row["rhat_max"] <= RHAT and row["ess_min"] >= ESS
    return mixes and abs(row.get("weight_z") or 0.0) <= 3.0


COLUMNS = (
    *("target", "method", "seed", "seconds", "gradients", "draws", "rhat_max", "rhat_median", "ess_min", "weight"),
    *("weight_error", "true_weight", "lppd", "log_z", "log_z_error", "true_log_z", "data_energy", "about"),
)


def main() -> None:
    """Run what is asked for and show the table."""
    parser = harness.arguments(__doc__.splitlines()[0])
    harness.add_merge(parser)
    parser.add_argument("--targets", nargs="+", default=list(TARGETS), choices=list(TARGETS))
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--seconds", type=float, default=300.0, help="wall time of a run")
    parser.add_argument("--nested", action="store_true", help="also truths that take minutes of nested sampling")
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    if options.quick:
        options.seconds, options.seeds = 20.0, 1
    tx.use_cpu_devices(harness.cores())
    warnings.filterwarnings("ignore", category=UserWarning)
    rows: list[dict[str, Any]] = []
    for name in options.targets:
        target = TARGETS[name]
        energy = target.energy()
        for seed in range(options.seeds):
            for method in options.methods:
                began = time.perf_counter()
                about = {"target": name, "method": method, "seed": seed, "limit": options.seconds}
                try:
                    found = METHODS[method](target, jax.random.key(seed), options.seconds)
                    row = about | {"seconds": time.perf_counter() - began} | judge(target, energy, found)
                    row |= against_truth(row, target, options.nested)
                except KeyboardInterrupt as reason:  # by the time, and not by a user
                    if time.perf_counter() - began < options.seconds:
                        raise
                    row = about | {"seconds": time.perf_counter() - began, "about": str(reason) or "no results by then"}
                except (tx.InputError, FloatingPointError, RuntimeError) as error:  # stays in the table
                    row = about | {"seconds": time.perf_counter() - began, "about": str(error)[:200]}
                rows.append(harness.stamp(row))
                print({k: row.get(k) for k in ("target", "method", "seed", "rhat_max", "ess_min", "weight", "about")})
                kept = harness.merged(rows, options.json if options.merge else None, ("target", "method", "seed"))
                harness.write(kept, goals(kept), options.json)
    kept = harness.merged(rows, options.json if options.merge else None, ("target", "method", "seed"))
    harness.show(kept, goals(kept), COLUMNS)


if __name__ == "__main__":
    main()
