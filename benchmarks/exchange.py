"""Replica exchange beside TFP's ReplicaExchangeMC: the same ladder, leapfrogs, step sizes and starts.

``python -m benchmarks.exchange --json out.json`` (``--only exact`` or ``concrete``)

Both sides run full trajectories of the same number of leapfrogs with an identity mass and even-odd swaps in every
scan, for about the same seconds, after as many scans that are not counted and have every compilation in them.  At
β = 0 temperax draws from the prior and TFP moves by HMC.  On concrete the ladder and the step sizes are those that
temperax finds with such trajectories; TFP starts from a draw of every rung, and temperax all replicas of a ladder from
that of the coldest.  Round trips are counted alike on both sides, from the index process.

TFP's JAX substrate does not import on current JAX: it has an environment of its own, made once in the user's cache
from the package index, with an older Python and JAX.
"""

import json
import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import arviz_stats
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import xarray as xr
from jax import Array
from jax.tree_util import register_dataclass

import temperax as tx
from benchmarks import harness
from benchmarks.ladder import CASES, FullTrajectories, scaled_precision_energy
from temperax import ladder
from temperax.energies.energy import Energy
from temperax.results import reading

#: What TFP's last release runs on.
PINS = ("jax==0.4.35", "jaxlib==0.4.35", "tensorflow-probability==0.25.0", "numpy<2")
PYTHONS = ("python3.11", "python3.12")
#: TFP makes one trajectory a scan on every rung, and so must temperax.
ONE_TRAJECTORY = {"most_transitions": 1}
#: Scans by which temperax's speed is found.
PROBE = 128


# -- the task, the same for both -------------------------------------------------------------------------------------


@register_dataclass
@dataclass(frozen=True)
class StepsOfLadder(FullTrajectories):
    """Full trajectories with a given step size for every rung."""

    betas: Array | float = 0.0
    steps: Array | float = 0.0

    def step(self, key, potential_at, beta, start, tuning, jitter):
        """One trajectory with the rung's own step size."""
        own = jnp.asarray(self.steps)[jnp.argmin(jnp.abs(self.betas - beta))]
        return super().step(key, potential_at, beta, start, tuning._replace(step_size=own), jitter)


class Task(NamedTuple):
    """What both sides are to run."""

    name: str
    energy: Energy
    betas: np.ndarray
    steps: np.ndarray  # leapfrog step of every rung
    starts: np.ndarray  # (ladder, rung, parameter)
    leapfrogs: int
    case: dict  # how TFP finds the same energies


def exact(leapfrogs: int, chains: int) -> Task:
    """A path between Gaussians, every trajectory a quarter of a period long."""
    found = next(c for c in CASES["scaled_precision"] if (c["dimension"], c["replicas"]) == (10, 12))
    betas = np.asarray(found["equal_acceptance_betas"])
    energy = tx.Energy(scaled_precision_energy, dist.Normal(0.0, 1.0).expand([10]).to_event(1))
    steps = np.pi / 2 / leapfrogs / np.sqrt(1 + 9 * betas)
    normal = np.asarray(jax.random.normal(jax.random.key(1), (chains, len(betas), 10)))
    starts = normal / np.sqrt(1 + 9 * betas)[:, None]
    case = {"case": "scaled_precision", "block": 500}
    return Task("scaled precision, d = 10", energy, betas, steps, starts, leapfrogs, case)


def concrete(leapfrogs: int, chains: int, replicas: int, scans: int) -> Task:
    """A network, on the ladder and with the step sizes that temperax finds for such trajectories."""
    energy = tx.Energy.mlp(tx.datasets.load("concrete", split=0), (50,))
    kernel = FullTrajectories(max_steps=leapfrogs)
    sizes: dict[str, Any] = {"num_replicas": replicas, "num_chains": chains, "num_draws": scans}
    options = sizes | {"kernel": kernel, "keep": "all"} | ONE_TRAJECTORY
    tree = tx.parallel_tempering(jax.random.key(1), energy, progress=False, **options)
    betas = tree["tempered_stats"].to_dataset()["beta"].values
    steps = tree["tempered_stats"].to_dataset()["step_size"].mean(("chain", "draw")).values
    # At β = 0 temperax takes no steps; what suits the prior, of unit width, is a quarter of its period.
    steps[0] = np.pi / 2 / leapfrogs
    starts = reading.positions(tree, energy, "tempered_posterior")[:, -1]
    case = {"case": "network", "x": energy.data["x"], "y": energy.data["y"], "units": 50, "block": 10}
    return Task("concrete, 8-50-1", energy, betas, steps, starts, leapfrogs, case)


# -- the two sides ---------------------------------------------------------------------------------------------------


def temperax_side(task: Task, seconds: float) -> dict:
    """`parallel_tempering` on the fixed ladder: short runs that say how fast it is, then one of so many seconds."""
    kernel = StepsOfLadder(
        step_size=1.0, max_steps=task.leapfrogs, betas=jnp.asarray(task.betas), steps=jnp.asarray(task.steps)
    )
    fixed: dict[str, Any] = {"ladder": task.betas, "kernel": kernel, "start": task.starts[:, -1]}
    options = fixed | {"num_chains": len(task.starts), "progress": False} | ONE_TRAJECTORY

    def run(draws: int) -> tuple[xr.DataTree, dict]:
        tree = tx.parallel_tempering(jax.random.key(2), task.energy, num_draws=draws, **options)
        return tree, json.loads(tree.attrs["timings"])

    draws = PROBE
    tree, laps = run(draws)
    while laps["draws"] < 0.7 * seconds:  # the first run may still compile, and seem slower than it is
        draws = int(draws * min(64.0, 1.1 * seconds / laps["draws"]))
        tree, laps = run(draws)
    group = tree["exchange"].to_dataset()
    return {
        "positions": reading.positions(tree, task.energy),
        "rejection": 1 - group["swap_acceptance"].mean(("chain", "draw")).values,
        "replica": group["replica"].transpose("chain", "draw", "temperature").values,
        "acceptance": tree["tempered_stats"]["acceptance_rate"].mean(("chain", "draw")).values,
        "seconds": laps["draws"],
        "seconds_before": sum(laps.values()) - laps["draws"],
        "versions": f"JAX {jax.__version__}",
    }


def tfp_side(task: Task, seconds: float) -> dict:
    """The same by TFP, in its own process and environment."""
    python = harness.python_of("tfp", PINS, "import tensorflow_probability.substrates.jax", PYTHONS)
    starts = task.starts.astype(np.float32)
    given = task.case | {
        "betas": task.betas,
        "step_sizes": task.steps,
        "starts": starts,
        "prior_energy": reading.over_draws(prior_energies, task.energy, None, starts),
        "data_energy": reading.over_draws(data_energies, task.energy, None, starts),
        "leapfrogs": task.leapfrogs,
        "seconds": seconds,
    }
    with tempfile.TemporaryDirectory() as folder:
        files = [str(Path(folder) / name) for name in ("task.npz", "found.npz")]
        np.savez(files[0], **given)
        # Nothing of this environment may be found from that one.
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"JAX_PLATFORMS": "cpu"}
        command = [str(python), str(Path(__file__).with_name("exchange_tfp.py")), *files]
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        if done.returncode:
            raise RuntimeError(harness.last_error(done.stderr) or f"exit status {done.returncode}")
        found = dict(np.load(files[1], allow_pickle=False))
    tried = found["proposed"].sum(axis=(0, 2))
    return {
        "positions": found["positions"],
        "rejection": 1 - found["accepted"].sum(axis=(0, 2)) / np.maximum(tried, 1),
        "replica": index_process(found["accepted"]),
        "acceptance": found["acceptance"],
        "seconds": float(found["seconds"]),
        "seconds_before": float(found["seconds_before"]),
        "versions": "JAX {}, TFP {}".format(*found["versions"]),
    }


def prior_energies(energy: Energy, _: None, position: Array) -> Array:
    """U0 of one draw, in nats."""
    return energy.prior_energy(position)


def data_energies(energy: Energy, _: None, position: Array) -> Array:
    """E of one draw, in nats."""
    return energy.data_energy(position)


def index_process(accepted: np.ndarray) -> np.ndarray:
    """Which replica sits in each slot (ladder, scan, slot), from the accepted swaps (scan, pair, ladder)."""
    scans, pairs, chains = accepted.shape
    slots, now = np.arange(pairs + 1), np.tile(np.arange(pairs + 1), (chains, 1))
    found = np.empty((chains, scans, pairs + 1), int)
    for scan, pair in enumerate(accepted.transpose(0, 2, 1).astype(int)):
        up, down = np.pad(pair, ((0, 0), (0, 1))), np.pad(pair, ((0, 0), (1, 0)))
        now = np.take_along_axis(now, slots + up - down, axis=1)
        found[:, scan] = now
    return found


def round_trips(replica: np.ndarray) -> int:
    """Journeys hot → cold → hot of all replicas of all ladders (ladder, scan, slot)."""
    chains, scans, slots = replica.shape
    trips, each, last = 0, np.arange(chains), np.zeros((chains, slots), int)  # 0 none yet, 1 hot, 2 cold after hot
    for scan in range(scans):
        hot, cold = replica[:, scan, 0], replica[:, scan, -1]
        trips += int(np.sum(last[each, hot] == 2))
        last[each, hot] = 1
        last[each, cold] = np.where(last[each, cold] == 1, 2, last[each, cold])
    return trips


# -- the table -------------------------------------------------------------------------------------------------------


def row(task: Task, side: str, found: dict) -> dict:
    """Rates of one side; ESS is that of β = 1, of predictions where there are some and of the position where not."""
    f, energy = found["positions"], task.energy
    data_energy = reading.over_draws(data_energies, energy, None, f)
    if energy.dataset is not None:
        f = reading.over_draws(reading.means, energy, jnp.asarray(energy.dataset.x_test), f)
    draws = ("chain", "draw")
    tree = xr.Dataset({"f": ((*draws, "row", "value")[: f.ndim], f), "energy": (draws, data_energy)})
    ess, rhat = arviz_stats.ess(tree), arviz_stats.rhat(tree)
    barrier = ladder.barrier(task.betas, np.clip(found["rejection"], 0, 1))
    trips, seconds, scans = round_trips(found["replica"]), found["seconds"], f.shape[1]
    return {
        "case": task.name,
        "side": side,
        "with": found["versions"],
        "replicas": len(task.betas),
        "ladders": len(f),
        "leapfrogs": task.leapfrogs,
        "scans": scans,
        "seconds": seconds,
        "seconds_before": found["seconds_before"],
        "scans_per_s": scans / seconds,
        "acceptance": float(np.mean(found["acceptance"][1:])),
        "barrier": barrier.total,
        "worst_rejection": float(found["rejection"].max()),
        "round_trips": trips,
        "round_trips_per_s": trips / seconds,
        "observed_over_predicted": trips / (barrier.round_trip_rate() * scans * len(f)),
        "ess_f_min_per_s": float(ess["f"].min()) / seconds,
        "ess_energy_per_s": float(ess["energy"]) / seconds,
        "rhat_f_max": float(rhat["f"].max()),
        "energy": float(data_energy.mean()),
    }


def compare(task: Task, seconds: float) -> list[dict]:
    """Both sides, the failure of either kept."""
    rows = []
    for side, run in (("temperax", temperax_side), ("TFP", tfp_side)):
        print(f"{task.name}, {side} …", flush=True)
        try:
            rows.append(row(task, side, run(task, seconds)))
        except (RuntimeError, OSError) as error:
            rows.append({"case": task.name, "side": side, "failure": str(error)})
    return rows


def goals(rows: list[dict]) -> list[dict]:
    """Scans a second against TFP's, and round trips against theory."""
    found, by = [], {(r["case"], r["side"]): r for r in rows}
    for case in dict.fromkeys(r["case"] for r in rows):
        ours, theirs = by.get((case, "temperax"), {}), by.get((case, "TFP"), {})
        if all("scans_per_s" in side for side in (ours, theirs)):
            ratio = ours["scans_per_s"] / theirs["scans_per_s"]
            found.append(harness.goal(f"{case}: scans / s over TFP's", ratio, 3.0, at_most=False))
        share = ours.get("observed_over_predicted", float("nan"))
        found.append(harness.goal(f"{case}: round trips, observed / predicted", share, 0.7, at_most=False))
    return found


def main() -> None:
    parser = harness.arguments(__doc__.splitlines()[0])
    harness.add_merge(parser)
    parser.add_argument("--only", nargs="+", choices=("exact", "concrete"), default=("exact", "concrete"))
    parser.add_argument("--seconds", type=float, help="of each side on concrete (300; a tenth for the exact case)")
    options = parser.parse_args()
    tx.use_cpu_devices(harness.cores())
    seconds = options.seconds or (5.0 if options.quick else 300.0)
    rows: list[dict] = []
    if "exact" in options.only:
        rows += compare(exact(leapfrogs=8, chains=4), max(2.0, seconds / 10))
    if "concrete" in options.only:
        sizes = (8, 2, 8, 64) if options.quick else (32, 2, 36, 512)
        rows += compare(concrete(*sizes), seconds)
    rows = harness.merged([harness.stamp(r) for r in rows], options.json if options.merge else None, ("case", "side"))
    harness.finish(rows, goals(rows), options.json)


if __name__ == "__main__":
    main()
