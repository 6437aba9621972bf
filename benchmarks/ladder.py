"""Replica exchange against its theory: exact cases, then two real networks.

``python -m benchmarks.ladder --json out.json`` (``--only exact`` or ``concrete`` or ``yacht`` for a part)

Exact cases: observed over predicted round trips, error of log Z in standard errors, seconds a scan.  Networks: the
ladder that "auto" chose, the barrier, round trips, lag-one energy correlations, log Z from both sides, R-hat of f over
the ladders at T = 1, and walls.  The share of exchange is one minus the time of the kernel's transitions alone over
that of whole scans, measured in turn on the concrete network; without the energies and gradients where transitions end,
one pass through the data, it is decision, permutation and recording.
"""

import json
import statistics
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax.tree_util import register_dataclass

import temperax as tx
from benchmarks import harness
from temperax import tempering
from temperax.engine import engine, scanning
from temperax.engine.program import EXPLORE, Program, Record, State, keys, make_program
from temperax.machine import sharding
from temperax.training import starts

#: Scans that each part is timed over where the share of exchange is measured.
SHARE_SCANS = 100
CASES = json.loads((Path(__file__).parents[1] / "tests" / "reference" / "exact_cases.json").read_text())


@register_dataclass
@dataclass(frozen=True)
class ExactDraws(tx.Explorer):
    """Independent draws of N(0, I/(1 + 9β)): exploration is perfect, and only the exchange is measured."""

    def move(self, key, position, beta, potential):
        """A fresh draw."""
        return jax.random.normal(key, position.shape) / jnp.sqrt(1 + 9 * beta)


@register_dataclass
@dataclass(frozen=True)
class FullTrajectories(tx.HMC):
    """HMC of unit mass whose trajectories all have ``max_steps`` leapfrogs."""

    inverse_mass: float = 1.0

    def step(self, key, potential_at, beta, start, tuning, jitter):
        """One trajectory."""
        whole = tuning._replace(trajectory_length=self.max_steps * tuning.step_size)
        return super().step(key, potential_at, beta, start, whole, jnp.ones_like(jitter))


def scaled_precision_energy(x):
    """E of the path from N(0, I) to N(0, I/10)."""
    return 4.5 * jnp.sum(x**2)


def exact_case(name, energy, ladder, log_z, rate, kernel, draws, **options) -> dict:
    """One row of the exact cases."""
    tree = tx.parallel_tempering(
        jax.random.key(0),
        energy,
        ladder=ladder,
        kernel=kernel,
        num_draws=draws,
        start="prior",
        batch_size=0,
        progress=False,
        **options,
    )
    trips = tx.diagnostics.round_trips(tree)
    seconds = json.loads(tree.attrs["timings"])["draws"]
    return {
        "case": name,
        "kernel": "exact draws" if isinstance(kernel, ExactDraws) else "HMC",
        "replicas": len(ladder),
        "barrier": trips["barrier"],
        "observed_over_exact": trips["observed"] / rate if rate else float("nan"),
        "observed_over_predicted": trips["efficiency"],
        "log_z_forward_z": (trips["log_z_forward"] - log_z) / trips["log_z_forward_error"],
        "log_z_backward_z": (trips["log_z_backward"] - log_z) / trips["log_z_backward_error"],
        "ms_per_scan": 1e3 * seconds / draws,
        **shares_of_exchange(ladder_program(energy, ladder, kernel, num_chains=4, batch_size=0), "prior", 3),
    }


def exact_rows(quick: bool) -> list[dict]:
    """Every exact case, by exact draws where there are some and by HMC."""
    draws, rows = (500 if quick else 4000), []
    for case in CASES["scaled_precision"]:
        d = case["dimension"]
        energy = tx.Energy(scaled_precision_energy, dist.Normal(0.0, 1.0).expand([d]).to_event(1))
        for kernel in (ExactDraws(), tx.HMC()):
            rows.append(
                exact_case(
                    f"scaled precision, d = {d}",
                    energy,
                    case["equal_acceptance_betas"],
                    case["log_z1_over_z0"],
                    case["round_trip_rate_deo"],
                    kernel,
                    draws,
                    transitions=1 if isinstance(kernel, ExactDraws) else 2,
                )
            )
    for case in CASES["mean_shift"]:
        shift = case["norm_mu"]
        energy = tx.Energy(lambda x, mu: 0.5 * mu**2 - mu * x, dist.Normal(0.0, 1.0), data=jnp.float32(shift))
        rejection = 1 - np.array(case["acceptance_per_pair"])
        rate = float(1 / (2 + 2 * np.sum(rejection / (1 - rejection))))
        rows.append(
            exact_case(f"mean shift {shift:g}", energy, case["betas"], 0.0, rate, tx.HMC(), draws, transitions=2)
        )
    case = CASES["linear_regression"]
    data = tx.Dataset.from_arrays(case["X"], case["y"], standardise=False)
    likelihood, prior = tx.likelihoods.Gaussian(case["noise_scale"]), tx.priors.Normal(case["prior_scale"])
    energy = tx.Energy.network(data, lambda w, x: x @ w[:, None], jnp.zeros(5), likelihood, prior)
    betas = tx.ladder.geometric(11, hottest=2e-4, prior=True)
    log_z = case["temperatures"]["1.0"]["log_z"]
    rows.append(exact_case("linear regression", energy, betas, log_z, None, tx.HMC(), draws, transitions=2))
    return rows


def network_row(name: str, path: str, quick: bool, draws: int, folder: Path | None, **options) -> dict:
    """A 50-unit tanh network with learned noise, prior to posterior."""
    energy = tx.Energy.mlp(tx.datasets.load(name, split=0), (50,))
    if quick:
        options |= {"num_replicas": 8, "num_chains": 2}
    began = time.perf_counter()
    tree = tx.parallel_tempering(jax.random.key(0), energy, path=path, num_draws=draws, **options)
    seconds = time.perf_counter() - began
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        tree.to_netcdf(folder / f"{name}.nc")
    trips, pairs = tx.diagnostics.round_trips(tree), tx.diagnostics.exchange(tree)
    print(f"\n{name}, {path} path, {seconds:.0f} s")
    tx.diagnostics.report(tree)
    print(pairs.to_string(float_format="{:.3g}".format))
    target = tx.diagnostics.function_space(tree).iloc[-1]
    return {
        "case": name,
        "path": path,
        "replicas": len(pairs) + 1,
        "ladders": tree.sizes["chain"] if "chain" in tree.sizes else tree["posterior"].sizes["chain"],
        "draws": draws,
        "barrier": trips["barrier"],
        "round_trips": trips["round_trips"],
        "restarts": trips["restarts"],
        "observed_over_predicted": trips["efficiency"],
        "worst_rejection": float(pairs["rejection"].max()),
        "lag_one_max": float(pairs["lag_one"].max()),
        "log_z_forward": trips["log_z_forward"],
        "log_z_backward": trips["log_z_backward"],
        "log_z_gap": abs(trips["log_z_backward"] - trips["log_z_forward"]),
        "data_energy": float(tx.diagnostics.energies(tree)["data_energy"].iloc[-1]),
        "rhat_f_max": float(target["rhat_f_max"]),
        "rhat_f_median": float(target["rhat_f_median"]),
        "lppd": float(tx.predict.scores(tree)["lppd"].iloc[-1]),
        "walls": int((pairs["wall"] != "").sum()),
        "drifting": int((pairs["wall"] == "drifting").sum()),
        "rounds": tree.attrs["rounds"],
        "seconds": seconds,
    }


@partial(jax.jit, static_argnames=("scans", "energies"))
def explore_only(program, key, state, scans, energies):
    """The kernel's transitions of some scans and nothing else, with or without the energies where they end."""

    def block(program, key, state):
        seat = scanning.seats(program, state.journeys)

        def one(scan, item):
            key, point, (_, slot) = item
            tuning = jax.tree.map(lambda x: x[slot], state.tuning)
            jitter, transitions = scanning.jitter_of(scan), state.transitions[slot]
            move = scanning.explore_replica if energies else scanning.move_replica
            end = move(program, key, point, program.betas[slot], tuning, jitter, transitions)[0]
            return end if energies else point._replace(position=end)

        def one_scan(points, i):
            items = (keys(key, i, EXPLORE, seat.chain * len(program.betas) + seat.slot), points, seat)
            return sharding.map_batch(partial(one, i), items, program.at_once, jnp.minimum(i, 0)), None

        return jax.lax.scan(one_scan, state.points, state.scan + jnp.arange(scans))[0]

    return engine.on_devices(block, program, key, state, out=sharding.BY_REPLICA)


def ladder_program(energy, ladder, kernel, *, num_chains: int, batch_size: int | None) -> Program:
    """The program of a ladder on the likelihood path that keeps its coldest rung."""
    return make_program(
        energy,
        np.asarray(ladder),
        path=tempering.PATHS["likelihood"],
        kernel=kernel,
        num_chains=num_chains,
        kept=np.array([len(ladder) - 1]),
        thin=1,
        scheme="deterministic",
        batch_size=batch_size,
    )


def shares_of_exchange(program: Program, start: str, repeats: int) -> dict[str, float]:
    """Share of a scan that is not the kernel's transitions, and that is neither those nor the energies where they end.

    Medians over runs of all three taken in turn.
    """
    key, scans = jax.random.key(0), min(SHARE_SCANS, program.block_draws)
    positions, origin = starts.make_starts(key, program.energy, program, start, progress=False)
    program = origin.seat(program)
    state, _ = engine.start(program, key, positions)
    key = sharding.place(program.mesh, key)

    def scan_all(state: State) -> Record:
        record = engine.run_block(program, key, state, np.int32(scans), np.bool_(False))[1]
        return jax.tree.map(np.asarray, record)

    shares: dict[str, list[float]] = {"share": [], "share_without_energies": []}
    for repeat in range(repeats + 1):
        moved, evaluated = (
            harness.seconds(partial(explore_only, program, key, state, scans, energies)) for energies in (False, True)
        )
        copy = jax.tree.map(jnp.copy, state)
        whole = harness.seconds(partial(scan_all, copy))
        if repeat:  # the first of each compiles
            shares["share"].append(1 - moved / whole)
            shares["share_without_energies"].append(1 - evaluated / whole)
    return {name: statistics.median(values) for name, values in shares.items()}


def network_share(name: str, leapfrogs: int, repeats: int) -> dict:
    """Shares of exchange in a scan of trajectories that all have so many steps."""
    energy, step = tx.Energy.mlp(tx.datasets.load(name, split=0), (50,)), 2e-4
    kernel = FullTrajectories(step_size=step, max_steps=leapfrogs)
    program = ladder_program(energy, tx.ladder.geometric(16), kernel, num_chains=2, batch_size=None)
    return {"case": f"{name}, {leapfrogs} leapfrogs", **shares_of_exchange(program, "optimum", repeats)}


def main() -> None:
    parser = harness.arguments(__doc__.splitlines()[0])
    parts = ("exact", "share", "concrete", "yacht")
    parser.add_argument("--only", nargs="+", choices=parts, default=parts)
    parser.add_argument("--draws", type=int, help="draws of the networks' last round")
    parser.add_argument("--path", choices=("likelihood", "reference"), default="likelihood", help="the networks' path")
    parser.add_argument("--max-steps", type=int, default=256, help="most steps of the networks' trajectories")
    parser.add_argument("--coldest", type=float, default=1.0, help="coldest temperature of the networks' ladders")
    parser.add_argument("--keep", type=Path, help="folder for the networks' results")
    options = parser.parse_args()
    tx.use_cpu_devices(2)
    rows, goals = [], []
    draws = options.draws or (64 if options.quick else 1024)
    if "exact" in options.only:
        rows += exact_rows(options.quick)
        for kernel, level in (("exact draws", 0.9), ("HMC", 0.7)):
            worst = min(r["observed_over_predicted"] for r in rows if r["kernel"] == kernel)
            goals.append(harness.goal(f"round trips, observed / predicted, {kernel}", worst, level, at_most=False))
        worst = max(abs(r[side]) for r in rows for side in ("log_z_forward_z", "log_z_backward_z"))
        goals.append(harness.goal("log Z, largest error in standard errors", worst, 4.0, at_most=True))
    if "share" in options.only:
        rows.append(network_share("concrete", 64, 1 if options.quick else 9))
        for name, column, most in (
            ("share of a scan that is not the kernel's transitions", "share", 0.05),
            ("share of exchange and recording in a scan", "share_without_energies", 0.02),
        ):
            goals.append(harness.goal(name, rows[-1][column], most, at_most=True))
    for name in ("concrete", "yacht"):
        if name not in options.only:
            continue
        chosen = {"kernel": tx.HMC(max_steps=options.max_steps), "coldest": options.coldest}
        rows.append(network_row(name, options.path, options.quick, draws, options.keep, **chosen))
        goals.append(harness.goal(f"{name}: round trips", rows[-1]["round_trips"], 1, at_most=False))
        goals.append(harness.goal(f"{name}: log Z gap (nats)", rows[-1]["log_z_gap"], 3.0, at_most=True))
    harness.finish(rows, goals, options.json)


if __name__ == "__main__":
    main()
