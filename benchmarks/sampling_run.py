"""One sampler on one target, in a process of its own: runs it, judges it, prints a line of JSON at every judgement.

``benchmarks.sampling`` starts these; ``python -m benchmarks.sampling_run diabetes blackjax-nuts`` looks at one.

Only the sampler's own seconds count: energies and predictions of the draws, and the statistics of those, are for the
judge.  Every judgement is of all draws since the warm-up.
"""

import argparse
import json
import time
from collections.abc import Iterator
from typing import NamedTuple

import arviz_stats
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

import temperax as tx
from benchmarks import harness
from benchmarks.samplers import CHAINS, SAMPLERS, TARGETS, Setup, Whole
from temperax.analysis.predict.scoring import log_predictive_density
from temperax.energies.energy import Energy
from temperax.results import reading

#: What a user waits for: the worst R-hat and the least bulk ESS of the predictions of held-out rows.
RHAT, ESS = 1.01, 400.0
#: A run is judged when it has grown by this factor, and not before it has so many draws.
GROWTH, LEAST = 1.25, 20


class Rules(NamedTuple):
    """When a run is over, in its own seconds: with the target reached and not before the least, or at the limit.

    Given the same time, what a sampler does once (compiling, warming up) weighs alike in every rate.
    """

    limit: float
    least: float


# -- judging ---------------------------------------------------------------------------------------------------------


def statistics(energy: Energy, f: np.ndarray, log_density: np.ndarray, data_energy: np.ndarray) -> dict:
    """Statistics of draws by ArviZ, and the scores of their predictions.

    LPPD in nats of the standardised target; RMSE in the target's own units, of regressions.
    """
    draws, data = ("chain", "draw"), energy.dataset
    found = xr.Dataset({"f": ((*draws, "row", "value"), f), "energy": (draws, data_energy)})
    rhat, ess, error = arviz_stats.rhat(found), arviz_stats.ess(found), arviz_stats.mcse(found[["energy"]])
    assert data is not None
    wrong = (f.mean(axis=(0, 1)) - data.y_test) * data.y_scale
    lppd = log_predictive_density(log_density.reshape(-1, log_density.shape[-1])).mean()
    return {
        "draws": f.shape[1],
        "rhat_f_max": float(rhat["f"].max()),
        "rhat_f_median": float(rhat["f"].median()),
        "ess_f_min": float(ess["f"].min()),
        "ess_f_median": float(ess["f"].median()),
        "energy": float(data_energy.mean()),
        "energy_sd": float(data_energy.std()),
        "energy_mcse": float(error["energy"]),
        "ess_energy": float(ess["energy"]),
        "rhat_energy": float(rhat["energy"]),
        "rmse": float(np.sqrt(np.mean(wrong**2))) if data.task == "regression" else None,
        "lppd": float(lppd),
    }


class Judge:
    """A run's judgements: one row each, with all the row's rates, and the history of those before it."""

    def __init__(self, target: str, sampler: str, energy: Energy, rules: Rules) -> None:
        self.energy, self.rules = energy, rules
        self.fixed = {
            "target": target,
            "sampler": sampler,
            "exact": SAMPLERS[sampler].exact,
            "device": jax.devices()[0].device_kind,
            "parameters": energy.size,
            "chains": CHAINS,
            "limit": rules.limit,
        }
        self.begin()

    def begin(self) -> None:
        """Forget a run that was too short."""
        self.reached: float | None = None
        self.history: list[dict] = []

    def row(
        self,
        draws: tuple[np.ndarray, ...],
        *,
        warmup: float,
        seconds: float,
        sampling: float,
        gradients: int,
        warmup_gradients: int | None = None,
    ) -> dict:
        """Judge f, log densities and energies of all draws so far.

        ``seconds`` are from end to end, ``sampling`` those that the draws alone take once all is compiled;
        ``gradients`` are those of the draws, ``warmup_gradients`` those before them where a sampler counts them.
        """
        found = statistics(self.energy, *draws)
        # A statistic that is undefined says no.
        if self.reached is None and found["rhat_f_max"] <= RHAT and found["ess_f_min"] >= ESS:
            self.reached = seconds
        self.history.append({"seconds": seconds} | {k: found[k] for k in ("draws", "rhat_f_max", "ess_f_min")})
        rates = {
            "seconds": seconds,
            "seconds_warmup": warmup,
            "seconds_sampling": sampling,
            "seconds_to_target": self.reached,
            "min_ess_per_s": found["ess_f_min"] / seconds,
            "median_ess_per_s": found["ess_f_median"] / seconds,
            "min_ess_per_s_sampling": found["ess_f_min"] / sampling,
            "median_ess_per_s_sampling": found["ess_f_median"] / sampling,
            "gradients": gradients,
            "warmup_share": None if warmup_gradients is None else warmup_gradients / (warmup_gradients + gradients),
            "gradients_per_ess": gradients / found["ess_f_min"],
            "us_per_gradient": 1e6 * sampling / max(gradients, 1),
        }
        return self.fixed | rates | found | {"history": self.history}

    def done(self, seconds: float) -> bool:
        """Whether the target is reached and the run long enough."""
        return self.reached is not None and seconds >= self.rules.least


# -- peers, chunk by chunk -------------------------------------------------------------------------------------------


class Gathered:
    """The draws of chunks, as predictions of held-out rows and energies."""

    def __init__(self, energy: Energy) -> None:
        self.energy = energy
        self.waiting: list[np.ndarray] = []
        self.parts: tuple[list[np.ndarray], ...] = ([], [], [])

    def all(self) -> tuple[np.ndarray, ...]:
        """f, log densities and data energies of all draws."""
        positions = np.concatenate(self.waiting, axis=1)
        draws, self.waiting = positions.shape[1], []
        # Padded to powers of two, so that few shapes are compiled.
        room = 2 ** int(np.ceil(np.log2(draws)))
        positions = np.pad(positions, ((0, 0), (0, room - draws), (0, 0)), mode="edge")
        data = self.energy.dataset
        assert data is not None
        x, y = jnp.asarray(data.x_test), jnp.asarray(data.y_test)
        new = (
            reading.over_draws(reading.means, self.energy, x, positions),
            reading.over_draws(reading.log_densities, self.energy, (x, y), positions),
            -reading.over_draws(reading.log_likelihoods, self.energy, None, positions).sum(axis=-1, dtype=np.float64),
        )
        for part, values in zip(self.parts, new, strict=True):
            part[:] = [np.concatenate([*part, values[:, :draws]], axis=1)]
        return tuple(part[0] for part in self.parts)


def judge_peer(judge: Judge, setup: Setup, sampler: str) -> Iterator[dict]:
    """A row at every judgement of a run that goes on."""
    peer = SAMPLERS[sampler].run
    assert peer is not None
    run, gathered = peer(setup), Gathered(setup.energy)
    began = time.perf_counter()
    next(run)
    warmup = seconds = time.perf_counter() - began
    gradients = drawn = first = judged = 0
    steady = 0.0
    while True:
        began = time.perf_counter()
        chunk = next(run)
        assert chunk is not None  # as it is before the first
        lasted = time.perf_counter() - began - chunk.not_counted
        gathered.waiting.append(chunk.positions)
        seconds, drawn, gradients = seconds + lasted, drawn + chunk.positions.shape[1], gradients + chunk.gradients
        if first == 0:
            first = drawn  # compiles, and so says nothing of the speed
        else:
            steady += lasted
        over = seconds + lasted > judge.rules.limit
        if not over and drawn < max(LEAST, GROWTH * judged):
            continue
        judged, sampling = drawn, steady * drawn / (drawn - first) if drawn > first else float("nan")
        yield judge.row(gathered.all(), warmup=warmup, seconds=seconds, sampling=sampling, gradients=gradients)
        if over or judge.done(seconds):
            return


# -- temperax, run by run --------------------------------------------------------------------------------------------


def judge_whole(judge: Judge, setup: Setup, sampler: str) -> Iterator[dict]:
    """Rows of a short run and of one as long as it takes: for the least time if the target was reached, or the limit.

    All compile anew.  The rounds of a ladder grow with its draws, and so does all that comes before the first of them:
    one that misses the target is followed by one three times as long, not by one that fills the limit.
    """
    ladder, whole = sampler == "temperax-tempering", SAMPLERS[sampler].whole
    assert whole is not None
    draws, last = max(32, setup.warmup // 4) if ladder else setup.warmup, False
    while True:
        jax.clear_caches()
        judge.begin()
        run = whole(setup, draws)
        yield from judge_prefixes(judge, run)
        spent, reached = run.warmup + run.seconds[-1], judge.reached is not None
        fixed = 0.0 if ladder else run.warmup
        wanted = 1.05 * judge.rules.least if reached else 0.95 * judge.rules.limit
        fitting = int((wanted - fixed) / ((spent - fixed) / draws))
        if last or fitting < GROWTH * draws:
            return
        last = reached or not ladder or fitting <= 3 * draws
        draws = fitting if last else 3 * draws


def judge_prefixes(judge: Judge, run: Whole) -> Iterator[dict]:
    """Rows of the first draws of a run, growing to all of them that were there at the limit."""
    most = max(1, int(np.sum(run.warmup + run.seconds <= judge.rules.limit)))
    count = min(LEAST, most)
    while True:
        now, sampling = slice(None, count), float(run.seconds[count - 1])
        yield judge.row(
            (run.f[:, now], run.log_density[:, now], run.data_energy[:, now]),
            warmup=run.warmup,
            seconds=run.warmup + sampling,
            sampling=sampling,
            gradients=int(run.gradients[now].sum()),
            warmup_gradients=run.warmup_gradients,
        )
        if count == most or judge.done(run.warmup + sampling):
            return
        count = min(most, int(np.ceil(GROWTH * count)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("sampler", choices=SAMPLERS)
    parser.add_argument("--minutes", type=float, default=15.0, help="limit of the sampler's own time")
    parser.add_argument("--least", type=float, default=60.0, help="seconds that it runs also past the target")
    parser.add_argument("--quick", action="store_true", help="a tenth of the warm-up")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    target, sampler = TARGETS[options.target], SAMPLERS[options.sampler]
    tx.use_cpu_devices(sampler.devices or harness.cores())
    energy, part = target.energy(), 10 if options.quick else 1
    setup = Setup(energy, jax.random.key(options.seed), target.warmup // part, target.block // part, options.quick)
    judge = Judge(options.target, options.sampler, energy, Rules(60 * options.minutes * target.patience, options.least))
    for row in (judge_peer if sampler.run else judge_whole)(judge, setup, options.sampler):
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
