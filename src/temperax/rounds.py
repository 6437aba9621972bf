"""`parallel_tempering`: replica exchange along a ladder that rounds of doubling length adapt.

Non-reversible parallel tempering (Syed, Bouchard-Côté, Deligiannidis & Doucet, JRSS-B 2022, doi 10.1111/rssb.12464).
Every round tunes on what the one before it saw: rungs at equal steps of the communication barrier, their number, and
the kernel's step size, mass and trajectory length at each of them.  The last round is frozen and alone is reported.
"""

import inspect
import math
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float, Int

from temperax import adaptation, engine, exchange, results, sampling, sharding, tempering
from temperax import ladder as ladders
from temperax.energy import Energy
from temperax.errors import InputError, check_choice, check_count, check_positive
from temperax.kernels import Kernel, Tuning, as_kernel
from temperax.ladder import Barrier
from temperax.program import Program, Record, State, make_program
from temperax.progress import tqdm
from temperax.tempering import Path, Reference

_STARTS, _RUN, _PREDICT = range(3)

#: Scans of the first round, rungs of the first ladder, and most rungs that "auto" takes.
FIRST_ROUND, FIRST_REPLICAS, MOST_REPLICAS = 16, 8, 64
#: A replica makes transitions until its path energy keeps less than this correlation over a scan, and at most so many.
LAG_ONE, MOST_TRANSITIONS = 0.7, 4
#: "auto" wants no pair to reject more often than this.
WORST_REJECTION = 0.8
#: Factor by which "auto" grows a ladder with such a pair.
GROWTH = 1.6
#: Hottest β above 0 of the first ladder on a path that starts at β = 0.
FIRST_BETA = 1e-4
#: Names of the paths, with the one that is fitted on the way.
PATHS = {**tempering.PATHS, "reference": None}


class Round(NamedTuple):
    """What a round did, as the result's attributes tell it."""

    scans: int
    path: str
    barrier: Barrier

    def report(self) -> dict[str, Any]:
        """Plain numbers."""
        return {
            "scans": self.scans,
            "path": self.path,
            "replicas": len(self.barrier.betas),
            "barrier": round(self.barrier.total, 3),
            "worst_rejection": round(float(self.barrier.rejection.max()), 3),
        }


def parallel_tempering(
    key: Array,
    energy: Energy,
    *,
    path: str = "likelihood",
    kernel: str | Kernel = "hmc",
    num_replicas: int | str = "auto",
    num_chains: int = 4,
    num_rounds: int | None = None,
    num_draws: int | None = None,
    thin: int = 1,
    hottest: float | None = None,
    coldest: float = 1.0,
    ladder: Any = None,
    scheme: str = "deterministic",
    transitions: int = 1,
    keep: str = "target",
    start: str | np.ndarray = "optimum",
    log_likelihood: bool = False,
    batch_size: int | None = None,
    progress: bool = True,
) -> xr.DataTree:
    """Draw from the posterior by replica exchange along a temperature ladder.

    Parameters
    ----------
    key, energy, thin, start, log_likelihood, batch_size, progress
        As in `temperax.sample`.
    path
        ``"likelihood"``: from the prior (β = 0, drawn exactly), exp(-U0 - βE); ``"posterior"``: exp(-β(U0 + E)) from a
        finite ``hottest``; ``"reference"``: from a Gaussian fitted to the draws of earlier rounds.
    kernel
        What explores each replica: ``"hmc"``, ``"nuts"``, or a kernel with its own settings.
    num_replicas
        Rungs of the ladder, or ``"auto"``: grown until no pair rejects more than 0.8 and about 2Λ + 1 are in use.
    num_chains
        Independent ladders.
    num_rounds, num_draws
        Length of the last, reported round: 2^num_rounds draws (by default 2^10), or ``num_draws``.  The rounds before
        it double in length up to half of it.
    hottest, coldest
        Temperatures of the two ends.  ``hottest`` is infinite by default and must be finite on the posterior path;
        with ``coldest`` < 1 the ladder goes past T = 1, where a rung stays.
    ladder
        A fixed ladder instead: β in ascending order, from `temperax.ladder` or the user's own.
    scheme
        Exchange: ``"deterministic"`` even-odd (non-reversible), or ``"stochastic"`` (reversible) for comparison.
    transitions
        Least number of the kernel's transitions between exchanges.  Replicas whose energies remember the last scan make
        more (up to 4), since round trips need energies that forget.
    keep
        ``"target"`` or ``"all"``: temperatures whose positions are kept.

    Returns
    -------
    xarray.DataTree
        As `temperax.sample`, with a chain for each ladder and an ``exchange`` group: ``swap_acceptance`` per pair,
        the index process ``replica``, and counts of ``round_trips`` and ``restarts``.

    Raises
    ------
    InputError
        For bad arguments, before anything is compiled, and for starts whose energy is not finite.
    """
    check_choice("path", path, PATHS)
    check_choice("scheme", scheme, exchange.SCHEMES)
    check_choice("keep", keep, {"target": 0, "all": 0})
    check_count("transitions", transitions)
    sampling.check_key(key)
    betas = _first_ladder(path, num_replicas, hottest, coldest, ladder)
    lengths = round_lengths(num_rounds, num_draws)
    arguments = {name: value for name, value in locals().items() if name in _ARGUMENTS}
    program = make_program(
        energy,
        betas,
        path=tempering.PATHS["likelihood" if path == "reference" else path],
        kernel=as_kernel(kernel),
        num_chains=num_chains,
        kept=np.array([sampling.target_slot(betas)]),
        thin=thin,
        scheme=scheme,
        batch_size=batch_size,
    )
    sampling.check_start(start, energy, num_chains)
    if path == "reference" and energy.discrete:
        raise InputError("path", path, "fits a Gaussian, which spins are not", "use path='likelihood'")

    clock = sampling.Clock()
    program, positions, started = sampling.make_starts(
        jax.random.fold_in(key, _STARTS), energy, program, start, progress
    )
    clock.lap("start")
    run_key = jax.random.fold_in(key, _RUN)
    state = engine.start(program, run_key, positions)
    history: list[Round] = []
    auto = num_replicas == "auto" and ladder is None
    tuner = _Tuner(fixed=ladder is not None, auto=auto, path=path, transitions=transitions)
    with tqdm(total=sum(lengths[:-1]) + _settling(lengths), desc="rounds", unit="scan", disable=not progress) as bar:
        for length in lengths[:-1]:
            program, state, done = tuner.round(program, run_key, state, length, bar)
            history.append(done)
        state = _settle(program, run_key, state, _settling(lengths), bar)
    clock.lap("rounds")

    target = sampling.target_slot(np.asarray(program.betas))
    kept = np.arange(len(program.betas)) if keep == "all" else np.array([target])
    program = replace(program, keep=jnp.asarray(kept), thin=jnp.int32(thin))
    with tqdm(total=lengths[-1], desc="draws", unit="draw", disable=not progress) as bar:
        state, record, interrupted = sampling.collect(program, run_key, state, lengths[-1], bar)
    clock.lap("draws")
    last = Round(lengths[-1] * thin, program.path.name, rejections(np.asarray(program.betas), record))
    history.append(last)
    tree = results.build(
        energy,
        record,
        betas=np.asarray(program.betas),
        kept=kept,
        target=target,
        step_size=np.asarray(state.tuning.step_size),
        attributes=results.describe(energy, key, "parallel_tempering", arguments, started, clock.laps)
        | {"interrupted": int(interrupted), "path": program.path.name, "scheme": scheme}
        | {"step_cap": sampling.step_cap(program, state)}
        | {"rounds": [r.report() for r in history], "why_replicas": tuner.why(last.barrier)},
        exchange=True,
        predict_key=jax.random.fold_in(key, _PREDICT),
    )
    if log_likelihood:
        results.add_log_likelihood(tree, energy)
    return tree


_ARGUMENTS = [
    name for name in inspect.signature(parallel_tempering).parameters if name not in ("key", "energy", "progress")
]


def round_lengths(num_rounds: int | None = None, num_draws: int | None = None) -> list[int]:
    """Scans of every round, doubling; the last is the reported one."""
    if num_rounds is not None and num_draws is not None:
        raise InputError("num_draws", num_draws, "and num_rounds are both given", "give one of them")
    if num_draws is None:
        num_draws = 2 ** check_count("num_rounds", 10 if num_rounds is None else num_rounds, 5)
    check_count("num_draws", num_draws, 2 * FIRST_ROUND)
    halvings = int(math.log2(num_draws / FIRST_ROUND))
    return [num_draws // 2**i for i in range(halvings, -1, -1)]


def _settling(lengths: list[int]) -> int:
    """Scans between the last change of the ladder and the reported round."""
    return max(FIRST_ROUND, lengths[-1] // 8)


def _first_ladder(
    path: str, num_replicas: int | str, hottest: float | None, coldest: float, own: Any
) -> Float[np.ndarray, " temperature"]:
    """The ladder before anything is known, or the user's."""
    exact = path != "posterior"
    if own is not None:
        betas = ladders.check_ladder(own)
        if betas[0] == 0 and not exact:
            raise InputError(
                "ladder", own, "starts at β = 0, which is improper on the posterior path", "start hotter than 0"
            )
        return betas
    if num_replicas != "auto":
        check_count("num_replicas", num_replicas, 3)
    cold = 1.0 / check_positive("coldest", coldest)
    if hottest is not None and math.isfinite(hottest):
        hot = 1.0 / check_positive("hottest", hottest)
        if hot >= cold:
            raise InputError("hottest", hottest, "is not above the coldest temperature", "raise it")
    elif exact:
        hot = 0.0
    else:
        raise InputError(
            "hottest", hottest, "is not finite, and the posterior path is improper there", "give T such as 100"
        )
    count = FIRST_REPLICAS if num_replicas == "auto" else int(num_replicas)
    betas = ladders.geometric(count, hottest=hot or FIRST_BETA * cold, coldest=cold, prior=hot == 0)
    return ladders.pin(betas, 1.0) if hot < 1.0 < cold else betas


def rejections(betas: np.ndarray, *records: Record) -> Barrier:
    """The barrier that recorded swap acceptances show, averaged over draws and chains."""
    acceptance = np.concatenate([np.asarray(r.swap_acceptance, float).reshape(-1, len(betas) - 1) for r in records])
    return ladders.barrier(betas, np.clip(1.0 - acceptance.mean(axis=0), 0.0, 1.0))


# -- between rounds --------------------------------------------------------------------------------------------------


class _Tuner:
    """What changes between rounds: the ladder, its length, the kernel's tuning, and the reference."""

    def __init__(self, *, fixed: bool, auto: bool, path: str, transitions: int) -> None:
        self.fixed, self.auto, self.path, self.transitions = fixed, auto, path, transitions

    def round(self, program: Program, key: Array, state: State, length: int, bar: tqdm) -> tuple[Program, State, Round]:
        """Run one round, and move to the ladder that it suggests."""
        once = replace(program, thin=jnp.int32(1))
        records = []
        for after, record in engine.run(once, key, state, length, adapt=True, bar=bar):
            state = after
            records.append(record)
        betas = np.asarray(program.betas, float)
        found = rejections(betas, *records)
        done = Round(length, program.path.name, found)
        state = engine.end_window(program, state)
        energies = np.concatenate([r.path_energy for r in records]).swapaxes(0, 1)
        lag = ladders.lag_one(energies[:, length // 2 :])  # the round's beginning still remembers the ladder before it
        state = state._replace(transitions=self._transitions(np.asarray(state.transitions), lag))
        if self.path == "reference" and length >= 4 * FIRST_ROUND:
            program = replace(program, path=_fit(records))
            state = engine.reevaluate(program, state)
        if not self.fixed:
            new = ladders.adaptive(found, self._replicas(found))
            new = ladders.pin(new, 1.0) if betas[0] < 1.0 < betas[-1] else new
            program, state = _move(program, state, found, new)
        return program, state, done

    def _replicas(self, found: Barrier) -> int:
        """How many rungs the next ladder has."""
        now = len(found.betas)
        if not self.auto:
            return now
        wanted = math.ceil(2 * found.total) + 1
        if found.rejection.max() > WORST_REJECTION:
            wanted = max(wanted, math.ceil(GROWTH * now))  # rejections near 1 hide how long the barrier is
        wanted = int(np.clip(wanted, 4, MOST_REPLICAS))
        # Another number means another program: change it only where it matters.
        return wanted if abs(wanted - now) > 0.15 * now else now

    def _transitions(
        self, now: Int[np.ndarray, " temperature"], lag: Float[np.ndarray, " temperature"]
    ) -> Int[Array, " temperature"]:
        """Transitions in a scan: as many as take the lag-one correlation of the path energy to `LAG_ONE`.

        The correlation over k transitions is that over one to the power of k.
        """
        wanted = now * np.log(LAG_ONE) / np.log(np.clip(lag, 1e-3, 1 - 1e-3))
        return jnp.asarray(
            np.clip(np.round(wanted), self.transitions, max(self.transitions, MOST_TRANSITIONS)), jnp.int32
        )

    def why(self, last: Barrier) -> str:
        """One sentence on the number of replicas."""
        count, worst = len(last.betas), float(last.rejection.max())
        seen = (
            f"barrier {last.total:.1f}, so about {math.ceil(2 * last.total) + 1} are best; worst rejection {worst:.2f}"
        )
        if self.auto:
            capped = f" (capped at {MOST_REPLICAS})" if count == MOST_REPLICAS else ""
            return f"auto chose {count} replicas{capped}: {seen}"
        return f"{count} replicas were given: {seen}"


def _settle(program: Program, key: Array, state: State, num_scans: int, bar: tqdm) -> State:
    """Adapt the kernel a last time on the final ladder, freeze, and count journeys from here on."""
    once = replace(program, thin=jnp.int32(1))
    for after, _ in engine.run(once, key, state, num_scans, adapt=True, bar=bar):
        state = after
    state = engine.freeze(program, state)
    return state._replace(journeys=jax.vmap(exchange.count_anew)(state.journeys))


def _fit(records: list[Record]) -> Path:
    """The Gaussian with the mean and standard deviation of the target's draws."""
    draws = np.concatenate([np.asarray(r.position, float).reshape(-1, r.position.shape[-1]) for r in records])
    draws = draws[len(draws) // 4 :]  # the round's beginning still remembers the ladder before it
    # A scale below the truth would cut the posterior's tails off the reference; a little more costs little.
    scale = 1.1 * draws.std(axis=0) + 1e-6
    dtype = jnp.result_type(float)
    return Reference(jnp.asarray(draws.mean(axis=0), dtype), jnp.asarray(scale, dtype))


def _move(program: Program, state: State, found: Barrier, betas: np.ndarray) -> tuple[Program, State]:
    """Take replicas and tuning to another ladder."""
    if len(betas) == len(found.betas):
        source = np.arange(len(betas))
    else:  # the old rung that is nearest along the barrier
        source = np.abs(found.at(betas)[:, None] - found.cumulative).argmin(axis=1)
    old = program.betas
    target = sampling.target_slot(betas)
    program = replace(program, betas=jnp.asarray(betas, old.dtype), keep=jnp.array([target]))
    devices = sharding.num_devices(program.num_chains * len(betas))
    return replace(program, devices=devices), regrid(program, state, old, jnp.asarray(source))


@jax.jit
def regrid(program: Program, state: State, old: Float[Array, " old"], source: Int[Array, " temperature"]) -> State:
    """Positions from the slots of ``source``; tuning interpolated in log β, never shared."""
    tuning = jax.tree.map(partial(interpolate, old, program.betas), state.tuning)
    tuning = Tuning(*tuning)
    # On as many rungs the replicas are the same ones; on another number some have become two, and all start again.
    departing = program.per_replica(exchange.depart(len(source)))
    return state._replace(
        journeys=state.journeys if len(source) == len(old) else departing,
        points=jax.tree.map(lambda x: x[:, source], state.points),
        transitions=state.transitions[source],
        tuning=tuning,
        adaptation=adaptation.fresh(program.kernel, tuning, program.num_chains),
    )


def interpolate(old: Float[Array, " old"], new: Float[Array, " new"], values: Array) -> Array:
    """Positive values at the rungs ``old`` (leading axis), log-linearly in log β at the rungs ``new``.

    A rung at β = 0 is drawn exactly and has no tuning of its own, so it is neither read nor trusted.
    """
    usable = old > 0
    smallest = jnp.min(jnp.where(usable, old, jnp.inf))
    x_old = jnp.where(usable, jnp.log(jnp.where(usable, old, 1.0)), jnp.log(smallest) - 1e-3)
    x_new = jnp.log(jnp.maximum(new, smallest))
    first = jnp.argmax(usable)

    def one(column: Array) -> Array:
        column = jnp.where(usable, column, column[first])
        return jnp.exp(jnp.interp(x_new, x_old, jnp.log(column)))

    flat = values.reshape(len(old), -1)
    return jax.vmap(one, 1, 1)(flat).reshape(len(new), *values.shape[1:])
