"""The engine: scans in blocks of draws, each block one compiled call.

Between blocks, in Python, are the progress bar, the copy of the draws to the host, and Ctrl-C.  Results do not depend
on the length of the blocks.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float, Int

from temperax.energies.names import parameter_name
from temperax.engine import adaptation, exchange
from temperax.engine.exchange import Journeys
from temperax.engine.program import Program, Record, State
from temperax.engine.scanning import add_scan, blank_rows, scan_once
from temperax.engine.tempering import Path, Point, Terms
from temperax.errors import InputError
from temperax.machine import sharding
from temperax.machine.progress import tqdm

#: About how many seconds a block should last, so that progress is seen.
BLOCK_SECONDS = 0.5


# -- compiled calls --------------------------------------------------------------------------------------------------

#: How a state lies on the mesh: replicas on devices of their own, all the rest on every device.
_SPECS: dict[str, Any] = dict.fromkeys(State._fields, sharding.ON_EVERY_DEVICE) | {"points": sharding.BY_REPLICA}
STATE = State(**_SPECS)


def on_devices(function: Callable, program: Program, *arguments: Any, out: Any) -> Any:
    """``function(program, …)`` on the program's mesh; arguments that are states lie as states do."""
    leaves, structure = jax.tree.flatten(program)  # their specs would not pass for numbers in a user's own kernel
    specs = [STATE if isinstance(a, State) else sharding.ON_EVERY_DEVICE for a in arguments]

    def run(leaves: list[Array], *arguments: Any) -> Any:
        return function(jax.tree.unflatten(structure, leaves), *arguments)

    return sharding.on_mesh(program.mesh, run, (program.specs, *specs), out)(leaves, *arguments)


@partial(jax.jit, donate_argnames="state")
def run_block(program: Program, key: Array, state: State, num_draws: Array, adapt: Array) -> tuple[State, Record]:
    """Run ``num_draws`` draws, at most ``program.block_draws``; the record's rows beyond them are zeros.

    The number is a value and the block's size is fixed, so that blocks of any length share one compiled program.
    """

    def block(program: Program, key: Array, state: State, num_draws: Array, adapt: Array) -> tuple[State, Record]:
        def scan(i: Array, carry: tuple[State, Record]) -> tuple[State, Record]:
            state, rows = carry
            state, report, swaps = scan_once(program, key, state, adapt)
            return state, add_scan(program, rows, i, state, report, swaps)

        return jax.lax.fori_loop(0, num_draws * program.thin, scan, (state, blank_rows(program)))

    return on_devices(block, program, key, state, num_draws, adapt, out=(STATE, sharding.ON_EVERY_DEVICE))


def to_host(program: Program, state: State) -> State:
    """A state in host memory: the points' leading axis is (chain, replica), without a device's spare places."""
    state = sharding.host(program.mesh, state)
    count, shape = program.num_replicas, (program.num_chains, len(program.betas))
    return state._replace(points=jax.tree.map(lambda x: x[:count].reshape(*shape, *x.shape[1:]), state.points))


def to_devices(program: Program, state: State) -> State:
    """The inverse of `to_host`, on whatever devices the program has."""
    spare = sharding.per_device(program.mesh, program.num_replicas) * program.mesh.shape[sharding.REPLICA]
    fill = spare - program.num_replicas

    def lay(x: np.ndarray) -> np.ndarray:
        flat = x.reshape(-1, *x.shape[2:])
        return np.concatenate([flat, np.repeat(flat[-1:], fill, axis=0)])

    return sharding.place(program.mesh, state._replace(points=jax.tree.map(lay, state.points)), STATE)


def absolute(path: Path, betas: np.ndarray, offsets: tuple[float, float], record: Record) -> Record:
    """A record's energies (host arrays) with what the energy's reference point had taken off, in double precision."""
    prior, data = offsets
    base, along = path.offsets(prior, data)

    def whole(energy: Any, offset: float) -> Any:
        return energy.astype(float) + offset

    return record._replace(
        prior_energy=whole(record.prior_energy, prior),
        data_energy=whole(record.data_energy, data),
        base_energy=whole(record.base_energy, base),
        path_energy=whole(record.path_energy, along),
        energy=record.energy.astype(float) + base + np.asarray(betas, float) * along,
    )


# -- between blocks --------------------------------------------------------------------------------------------------


#: Step sizes that are tried before the first window are 1 and powers of 2 from there, at most so many.
TRIED = 40
#: The first step is the largest of them whose single leapfrog is accepted more often than this by every chain.
ACCEPTED = 0.8


def blank_state(program: Program, positions: Float[np.ndarray, "chain temperature parameter"]) -> State:
    """The state (on the host) of chains at their starts, whose energies are not known yet."""
    num_chains, num_temperatures, num_parameters = positions.shape
    dtype = np.dtype(program.betas.dtype)
    steps = np.ones(num_temperatures, dtype)
    tuning, adapt = adaptation.start(program.kernel, steps, num_chains, num_parameters, program.rank)
    start: Any = np.asarray(positions, dtype)
    zero: Any = np.zeros((num_chains, num_temperatures), dtype)
    points = Point(start, Terms(*[zero] * len(Terms._fields)), np.zeros_like(start), np.zeros_like(start))
    rest: Any = np.ones(num_temperatures, np.int32), departures(num_chains, num_temperatures)
    first: Any = np.int32(0)
    return State(first, points, tuning, adapt, *rest)


def departures(num_chains: int, num_temperatures: int) -> Journeys:
    """Journeys of all chains before the first scan."""
    journeys = exchange.depart(num_temperatures)
    return jax.tree.map(lambda x: np.broadcast_to(x, (num_chains, *np.shape(x))), journeys)


def evaluate_again(program: Program, key: Array, state: State) -> tuple[State, Record]:
    """Positions with their energies on the program's path: a scan of no transitions, moved along symmetries at most.

    The block that draws does it, since a program of its own would take longer to compile than all evaluations to run.
    """
    still = state._replace(transitions=sharding.place(program.mesh, np.zeros_like(state.transitions)))
    after, record = one_scan(program, key, still)
    return after._replace(transitions=state.transitions), record


def one_scan(program: Program, key: Array, state: State) -> tuple[State, Record]:
    """A scan that is recorded on the host and teaches nothing."""
    _first_seen(program)
    once = replace(program, thin=sharding.place(program.mesh, np.int32(1)))
    key = sharding.place(program.mesh, key)
    state, record = run_block(once, key, state, np.int32(1), np.bool_(False))
    return state, jax.tree.map(lambda x: np.asarray(x)[:1].copy(), record)


#: Programs whose block has been compiled.
_seen: set[int] = set()


def _first_seen(program: Program) -> bool:
    """Whether this process has not run the program yet, and has to compile it."""
    leaves, structure = jax.tree.flatten(program)
    form = hash((structure, tuple((np.shape(leaf), str(getattr(leaf, "dtype", ""))) for leaf in leaves)))
    new = form not in _seen
    _seen.add(form)
    return new


def start(
    program: Program, key: Array, positions: Float[np.ndarray, "chain temperature parameter"]
) -> tuple[State, Int[np.ndarray, "chain temperature"]]:
    """The state before the first scan, with step sizes from which adaptation starts, and which starts are at fault.

    See `scanning.fault_of`; where one is, no step is looked for.
    """
    state, record = evaluate_again(program, key, to_devices(program, blank_state(program, positions)))
    where, now = np.asarray(record.replica[-1]), np.asarray(record.fault[-1])
    faults = np.empty_like(now)  # of the starts, and not of the places to which exchange has moved them
    np.put_along_axis(faults, where, now, axis=1)
    if program.kernel.step_size is not None or (faults >= 0).any():
        return state, faults
    return _with_first_steps(program, key, state), faults


def _with_first_steps(program: Program, key: Array, state: State) -> State:
    """The state with step sizes whose first leapfrog is about as often accepted as not, by powers of 2 from 1.

    As NumPyro looks for them (Hoffman & Gelman 2014, algorithm 4), but by scans of the block that draws, whose
    trajectories are one step long; the smallest of the chains' sizes, since one in a narrow place must be able to move.
    """
    shape = state.tuning.inverse_mass.shape
    exponent, direction, found = np.zeros(shape[0], int), np.zeros(shape[0], int), np.zeros(shape[0], bool)
    for _ in range(TRIED):
        step: Any = (2.0**exponent).astype(program.betas.dtype)
        tuning = state.tuning._replace(step_size=step, trajectory_length=step)
        state, record = one_scan(program, key, state._replace(tuning=sharding.place(program.mesh, tuning)))
        sound = (record.fault[-1] < 0) & (record.n_steps[-1] > 0)
        accepted = np.min(record.acceptance_rate[-1], axis=0, where=sound, initial=1.0)
        now = np.where(accepted > ACCEPTED, 1, -1)
        found |= ~sound.any(axis=0) | ((direction != 0) & (now != direction))
        if found.all():
            break
        direction = np.where(found, direction, now)
        exponent = np.where(found, exponent, exponent + direction)
    steps: Any = (2.0**exponent).astype(step.dtype)
    tuning, adapt = adaptation.start(program.kernel, steps, program.num_chains, shape[1], program.rank)
    return state._replace(**sharding.place(program.mesh, {"tuning": tuning, "adaptation": adapt}))


def end_window(program: Program, state: State, *, new_mass: bool = True) -> State:
    """End a window of adaptation: take the mass from it, or keep only what it averaged for the draws that follow."""
    tuning, adapt = sharding.host(program.mesh, (state.tuning, state.adaptation))
    if new_mass:
        tuning, adapt = adaptation.end_window(program.kernel, tuning, adapt)
    else:
        tuning = adaptation.finish(program.kernel, tuning, adapt)
    return state._replace(**sharding.place(program.mesh, {"tuning": tuning, "adaptation": adapt}))


def count_anew(program: Program, state: State) -> State:
    """Count the journeys of all chains from here on."""
    journeys = exchange.count_anew(sharding.host(program.mesh, state.journeys))
    return state._replace(journeys=sharding.place(program.mesh, journeys))


def _check_faults(program: Program, faults: Int[Array | np.ndarray, "chain temperature"], remedy: str) -> None:
    """Stop where no replica is left that can move."""
    if (faults < 0).all():
        return
    if (faults >= 0).all():
        where = parameter_name(program.energy.layout, int(faults.min()))
        raise InputError(
            "energy", f"{faults.size} replicas", f"has no finite energy with a finite gradient (at {where})", remedy
        )


def run(
    program: Program, key: Array, state: State, num_draws: int, *, adapt: bool, bar: tqdm
) -> Iterator[tuple[State, Record]]:
    """Run draws block by block; yields the state and the block's record, on the host.

    Raises
    ------
    InputError
        If no replica is left whose energy is finite.
    """
    done, seconds_a_draw = 0, None
    if _first_seen(program):
        bar.set_postfix_str("compiling …")
    key = sharding.place(program.mesh, key)
    while done < num_draws:
        wanted = 1 if seconds_a_draw is None else int(BLOCK_SECONDS / max(seconds_a_draw, 1e-9))
        size = int(np.clip(wanted, 1, min(program.block_draws, num_draws - done)))
        began = time.perf_counter()
        state, record = run_block(program, key, state, np.int32(size), np.bool_(adapt))
        # Copies, since a part of a block would hold on to all of it.
        record = jax.tree.map(lambda x: np.asarray(x)[:size].copy(), record)  # noqa: B023 - used at once
        seconds_a_draw = sharding.agree((time.perf_counter() - began) / size)
        done += size
        bar.update(size)
        bar.set_postfix(
            acceptance=f"{record.acceptance_rate.mean():.2f}",
            divergences=int(record.diverging.sum()),
            refresh=False,
        )
        yield state, record
        _check_faults(program, record.fault[-1], "shorten the steps, or narrow the prior")
