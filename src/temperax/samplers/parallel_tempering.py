"""`parallel_tempering`: replica exchange along a ladder that rounds of doubling length adapt.

Non-reversible parallel tempering (Syed, Bouchard-Côté, Deligiannidis & Doucet, JRSS-B 2022, doi 10.1111/rssb.12464).
Every round tunes on what the one before it saw: rungs at equal steps of the communication barrier, their number, and
the kernel's step size, mass and trajectory length at each of them.  The last round is frozen and alone is reported.
"""

import inspect
import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import xarray as xr
from jaxtyping import Array

from temperax.energies.energy import Energy
from temperax.engine import engine, exchange, tempering
from temperax.engine import ladder as ladders
from temperax.engine.kernels import KernelLike
from temperax.engine.program import Program, State, make_program
from temperax.engine.tallies import Tally
from temperax.errors import InputError, all_at_once, check_choice, check_count
from temperax.results import results
from temperax.results.carried import HOTTEST, PREDICT, RUN
from temperax.samplers import runs
from temperax.samplers.arguments import described
from temperax.samplers.drawing import Clock, Draws, collect
from temperax.samplers.hottest import find_hottest
from temperax.samplers.runs import Run
from temperax.samplers.setup import begin, common, explored_by, kept_slots, step_cap
from temperax.samplers.tuner import LEARNT, MOST_TRANSITIONS, Tuner
from temperax.training.curvature import laplace
from temperax.training.starts import Origin, check_rows, check_start, check_storage

#: Scans of the first round.
FIRST_ROUND = 16
#: Last rounds of so many scans are preceded by one of a quarter of their length, shorter ones by one of half.
LONG_ROUND = 512
#: Names of the paths, with the one that is fitted on the way.
PATHS = {**tempering.PATHS, "reference": None}


@described
def parallel_tempering(
    key: Array,
    energy: Energy,
    *,
    path: str = "likelihood",
    kernel: KernelLike = "auto",
    num_replicas: int | str = "auto",
    num_chains: int = 4,
    num_rounds: int | None = None,
    num_draws: int | None = None,
    thin: int = 1,
    hottest: float | str | None = None,
    coldest: float = 1.0,
    ladder: Any = None,
    scheme: str = "deterministic",
    transitions: int = 1,
    most_transitions: int | None = None,
    keep: str | Sequence[float] = "target",
    start: str | np.ndarray = "optimum",
    log_likelihood: bool | None = None,
    storage: str = "float32",
    batch_size: int | None = None,
    row_devices: int = 1,
    directory: str | Path | None = None,
    resume: bool = False,
    save_every: float = 60.0,
    progress: bool = True,
) -> xr.DataTree:
    """Draw from the posterior by replica exchange along a temperature ladder.

    Parameters
    ----------
    key
    energy
    path
        ``"likelihood"``: from the prior (β = 0, drawn exactly), exp(-U0 - βE); ``"posterior"``: exp(-β(U0 + E)) from a
        finite temperature; ``"reference"``: from a Gaussian fitted to the draws of earlier rounds, which start on the
        way from the prior or, where that is flat, from a Gaussian fitted to the lowest start and its curvature.
        The way from a wide prior may lead through funnels, in which replicas move slowly; the reference path does not
        pass there, and knows the modes that the draws had found when it was fitted.  A ladder from β = 0 that no
        replica passes starts at the hottest temperature that can be sampled, and says so.
    kernel
        What explores each replica: ``"hmc"``, the default, ``"nuts"``, or a kernel with its own settings.
    num_replicas
        Rungs of the ladder, or ``"auto"``: grown until no pair rejects more than 0.8 and about 2Λ + 1 are in use.
    num_chains
        Independent ladders.
    num_rounds, num_draws
        Length of the last, reported round: 2^num_rounds draws (by default 2^10), or ``num_draws``.  The rounds before
        it double in length up to a quarter of it, or to half of it where it is shorter than 512.
    thin
    hottest, coldest
        Temperatures of the two ends.  ``hottest`` is infinite by default, and on the posterior path ``"auto"``: the
        lowest temperature at which replicas forget their mode within a few scans, found by short runs of chains of
        their own at each.  What is hotter costs replicas and brings nothing but log Z from the prior.  With
        ``coldest`` < 1 the ladder goes past T = 1, where a rung stays; the reference path ends at T = 1 or hotter.
    ladder
        A fixed ladder instead: β in ascending order, from `temperax.ladder` or the user's own; ``num_replicas``,
        ``hottest`` and ``coldest`` are then left out.
    scheme
        Exchange: ``"deterministic"`` even-odd (non-reversible), or ``"stochastic"`` (reversible) for comparison.
    transitions, most_transitions
        Least and most of the kernel's transitions between exchanges (by default 1 and 4).  Replicas whose energies
        remember the last scan make more than the least, since round trips need energies that forget.
    keep
        ``"target"``, ``"all"``, or a list of temperatures: whose positions are kept (those of the nearest rungs).
    start
    log_likelihood
    storage
    batch_size
    row_devices
    directory, resume, save_every
    progress

    Returns
    -------
    xarray.DataTree
        As `temperax.sample`, with a chain for each ladder and an ``exchange`` group: ``swap_acceptance`` per pair,
        the index process ``replica``, and counts of ``round_trips`` and ``restarts``.
        A run that goes on for more draws keeps the rounds that it began with.

    Raises
    ------
    InputError
    StorageError
    Interrupted
    ProcessError

    See Also
    --------
    temperax.sample, temperax.smc, temperax.diagnostics.round_trips, temperax.thermodynamics.report

    Examples
    --------
    >>> ladder = tx.parallel_tempering(key, energy, num_replicas=8, num_draws=256, keep="all", progress=False)
    >>> ladder["exchange"]["swap_acceptance"].dims
    ('chain', 'draw', 'pair')
    """
    key, chosen, _, num_chains, thin, batch_size, *_, between, betas, lengths = all_at_once(
        *common(key, energy, kernel, num_chains, batch_size, thin, storage, save_every, on_a_ladder=True),
        lambda: check_choice("path", path, PATHS),
        lambda: check_choice("scheme", scheme, exchange.SCHEMES),
        lambda: _least_and_most(transitions, most_transitions),
        lambda: ladders.first(path, num_replicas, hottest, coldest, ladder),
        lambda: round_lengths(num_rounds, num_draws),
    )
    transitions, most_transitions = between
    kept_slots(keep, betas, 0, nearest=True)
    arguments = {name: value for name, value in locals().items() if name in _ARGUMENTS}
    most_transitions = max(transitions, MOST_TRANSITIONS) if most_transitions is None else most_transitions
    flat = path == "reference" and not energy.proper
    program = make_program(
        energy,
        betas,
        path=first_path(path, energy),
        kernel=chosen,
        num_chains=num_chains,
        kept=np.array([tempering.target_slot(betas)]),
        thin=thin,
        scheme=scheme,
        batch_size=batch_size,
        row_devices=row_devices,
    )
    check_start(start, energy, num_chains)
    check_rows(log_likelihood, energy)
    check_storage(storage, energy)
    if path == "reference" and energy.discrete:
        raise InputError("path", path, "fits a Gaussian, which spins are not", "use path='likelihood'")
    if flat and isinstance(start, str) and start == "prior":
        raise InputError("start", start, "asks for draws of a flat prior", "give 'optimum' or one row a chain")
    run = runs.begin(
        directory,
        resume,
        save_every,
        progress,
        lambda: runs.describe("parallel_tempering", key, energy, arguments),
        plan=lengths,
    )

    clock, run_key = Clock(run), jax.random.fold_in(key, RUN)
    auto = isinstance(num_replicas, str) and ladder is None
    tuner = Tuner(fixed=ladder is not None, auto=auto, path=path, transitions=(transitions, most_transitions))
    with run.stoppable():
        if ladder is None and ladders.finds_hottest(path, hottest) and not run.resumes:
            tried_key = jax.random.fold_in(key, HOTTEST)
            found, tried, gradients = find_hottest(tried_key, energy, path, chosen, coldest, batch_size, start)
            clock.gradients += gradients
            tuner.history.append({"hottest": found, "tried": tried})
            betas = ladders.first(path, num_replicas, found, coldest, None)
            program = program.refit(betas, keep=np.array([tempering.target_slot(betas)], np.int32))
            clock.lap("hottest")
        program, state, origin = begin(run, key, energy, program, start, clock, tuner.restore)
        if flat and not run.resumes:
            program, state = fitted_to_curvature(program, run_key, state, energy, origin)
        program, state = run_rounds(run, tuner, program, run_key, state, origin, clock)
        clock.lap("rounds")

        betas = np.asarray(program.betas)
        target = tempering.target_slot(betas)
        kept = kept_slots(keep, betas, target, nearest=True)
        program = program.placed(keep=np.asarray(kept, np.int32), thin=np.int32(thin))
        first_replica = run.arrays.get("first_replica") if run.past(len(run.plan) - 1) else None
        first_replica = np.asarray(state.journeys.replica) if first_replica is None else first_replica
        build = partial(
            results.groups,
            energy,
            betas=betas,
            kept=kept,
            target=target,
            step_size=np.asarray(state.tuning.step_size),
            first_replica=first_replica,
            predict_key=jax.random.fold_in(key, PREDICT),
            log_likelihood=log_likelihood,
            storage=storage,
        )
        attributes = results.describe(energy, key, "parallel_tempering", arguments, origin.report)
        attributes |= explored_by(program) | {"scheme": scheme}
        attributes |= {"step_cap": step_cap(program, state), "warmup_gradients": clock.gradients}
        attributes |= {"rounds": tuner.history}
        arrays = tuner.arrays(program) | {"first_replica": first_replica}
        draws = Draws(run, build, attributes, clock, origin, arrays, {"rounds": tuner.history})
        return collect(run, program, run_key, state, lengths[-1], len(run.plan), draws)


_ARGUMENTS = [
    name for name in inspect.signature(parallel_tempering).parameters if name not in ("key", "energy", *runs.MEANS)
]


def _least_and_most(transitions: Any, most: Any) -> tuple[int, int | None]:
    """Transitions between exchanges: the least, and the most if they are given."""
    least = check_count("transitions", transitions)
    return least, None if most is None else check_count("most_transitions", most, least)


def first_path(path: str, energy: Energy) -> tempering.Path:
    """The path of the first round; where there is no prior to begin with, a reference that is fitted to the starts."""
    if path == "reference" and not energy.proper:
        return tempering.fitted(np.zeros(energy.size), np.ones(energy.size))
    return tempering.PATHS["likelihood" if path == "reference" else path]


def fitted_to_curvature(
    program: Program, key: Array, state: State, energy: Energy, origin: Origin
) -> tuple[Program, State]:
    """The program on the way from a Gaussian that is fitted to the lowest start and its curvature."""
    assert origin.position is not None  # starts are optima, or given
    program = program.placed(path=tempering.fitted(*laplace(energy, origin.position)))
    state, _ = engine.evaluate_again(program, key, state)
    return program, state


def round_lengths(num_rounds: int | None = None, num_draws: int | None = None) -> list[int]:
    """Scans of every round, doubling; the last is the reported one, and long ones follow a quarter of themselves."""
    if num_rounds is not None and num_draws is not None:
        raise InputError("num_draws", num_draws, "and num_rounds are both given", "give one of them")
    if num_draws is None:
        num_draws = 2 ** check_count("num_rounds", 10 if num_rounds is None else num_rounds, 5, 30)
    num_draws = check_count("num_draws", num_draws, 2 * FIRST_ROUND)
    halvings = int(math.log2(num_draws / FIRST_ROUND))
    lengths = [num_draws // 2**i for i in range(halvings, -1, -1)]
    # What a ladder needs to know, it knows after rounds of some hundred scans: warm-up stays below a third.
    return lengths if num_draws < LONG_ROUND else [*lengths[:-2], num_draws]


def before_draws(plan: list[int]) -> list[int]:
    """Scans of what comes before the last round: the rounds, and the scans that settle what they found."""
    return [*plan[:-1], max(FIRST_ROUND, plan[-1] // 16)]


def run_rounds(
    run: Run, tuner: Tuner, program: Program, key: Array, state: State, origin: Origin, clock: Clock
) -> tuple[Program, State]:
    """All rounds but the last, and the scans that settle what they found; journeys are counted from their end on."""
    lengths = before_draws(run.plan)
    with run.bar(sum(lengths), "rounds", "scan") as bar:
        for stage, length in enumerate(lengths):
            if run.past(stage):
                continue
            settling = stage == len(lengths) - 1
            enough = length >= LEARNT or stage == len(lengths) - 2  # the last that can, however short
            fits = tuner.path == "reference" and enough and not settling
            tally = Tally(length, fits, _sums(run) if run.done(stage) else {})
            keep = partial(_kept, tuner, program, tally, origin, clock)
            program = program.placed(thin=np.int32(1))
            for after, record in run.blocks(program, key, state, length, stage=stage, adapt=True, bar=bar, extra=keep):
                state = after
                clock.count(record)
                if not settling:
                    seen = (record.swap_acceptance, record.path_energy, record.position[:, :, 0], record.diverging)
                    tally.add(*map(np.asarray, seen))
            if settling:
                state = engine.count_anew(program, engine.end_window(program, state, new_mass=False))
            else:
                program, state = tuner.learn(program, key, state, tally)
    return program, state


def _kept(
    tuner: Tuner, program: Program, tally: Tally, origin: Origin, clock: Clock
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """What a checkpoint between rounds keeps besides the state."""
    clock.lap("rounds")
    sums = {f"sums.{name}": value for name, value in tally.sums.items()}
    notes = {"started": origin.report, "rounds": tuner.history}
    return origin.arrays | tuner.arrays(program) | sums, notes | clock.notes


def _sums(run: Run) -> dict[str, np.ndarray]:
    """The sums of the round in which a run was interrupted."""
    return {name.removeprefix("sums."): a for name, a in run.arrays.items() if name.startswith("sums.")}
