"""The engine: scans in blocks of draws, each block one compiled call.

Between blocks, in Python, are the progress bar, the copy of the draws to the host, and Ctrl-C.  Results do not depend
on the length of the blocks.
"""

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from temperax.energies.parameters import parameter_name
from temperax.engine import adaptation, exchange
from temperax.engine.exchange import Journeys
from temperax.engine.kernels import reasonable_step_size
from temperax.engine.program import START, Program, Record, State, keys
from temperax.engine.scanning import draw_once, fault_of, in_slots, seats, start_of
from temperax.engine.tempering import Path, Point, evaluate, potential_at
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


@jax.jit
def start_state(
    program: Program, key: Array, positions: Float[Array, "chain temperature parameter"], zero: Int[Array, ""]
) -> tuple[State, Int[Array, "chain temperature"]]:
    """The state before the first scan, with the kernel's step size or what one leapfrog step suggests; and faults."""

    def begin(program: Program, key: Array, positions: Array, zero: Array) -> tuple[State, Array]:
        journeys = jax.vmap(lambda _: exchange.depart(len(program.betas)))(jnp.arange(program.num_chains))
        seat = seats(program, journeys)

        def one(item: tuple[Array, Array, Array]) -> tuple[Point, Array, Array]:
            key, position, beta = item
            point = evaluate(program.path, program.energy, position)
            fault = fault_of(point, beta)
            if program.kernel.step_size is not None:  # nothing to look for, nor a gradient that need make sense
                return point, jnp.asarray(program.kernel.step_size, position.dtype), fault

            def potential(beta: Array) -> Callable:
                return partial(potential_at, program.path, program.energy, beta)

            inverse_mass = adaptation.first_inverse_mass(program.kernel, position.size, position.dtype)
            return point, reasonable_step_size(key, potential, beta, start_of(point, beta), inverse_mass), fault

        replica_keys = keys(key, zero, START, *seat)
        items = (replica_keys, positions[seat], program.betas[seat.slot])
        points, steps, faults = sharding.map_batch(one, items, program.at_once, zero)
        steps, faults = in_slots(program, journeys, (steps, faults))
        # The smallest of the chains' guesses: one chain in a narrow place must be able to move.
        steps = jnp.min(jnp.where(faults < 0, steps, jnp.inf), axis=0)
        steps = jnp.where(jnp.isfinite(steps), steps, 1.0)
        tuning, adapt = adaptation.start(program.kernel, steps, *positions.shape[::2])
        transitions = jnp.ones(len(program.betas), jnp.int32)
        return State(zero, points, tuning, adapt, transitions, journeys), faults

    return on_devices(begin, program, key, positions, zero, out=(STATE, sharding.ON_EVERY_DEVICE))


@jax.jit
def count_anew(journeys: Journeys) -> Journeys:
    """Count the journeys of all chains from here on."""
    return jax.vmap(exchange.count_anew)(journeys)


def shape_of_state(program: Program) -> State:
    """The structure of a program's states."""
    positions = jax.ShapeDtypeStruct((program.num_chains, len(program.betas), program.energy.size), program.betas.dtype)
    return jax.eval_shape(start_state, program, jax.random.key(0), positions, jnp.int32(0))[0]


@partial(jax.jit, donate_argnames="state")
def run_block(program: Program, key: Array, state: State, num_draws: Array, adapt: Array) -> tuple[State, Record]:
    """Run ``num_draws`` draws, at most ``program.block_draws``; the record's rows beyond them are zeros.

    The number is a value and the block's size is fixed, so that blocks of any length share one compiled program.
    """

    def block(program: Program, key: Array, state: State, num_draws: Array, adapt: Array) -> tuple[State, Record]:
        draw = jax.jit(partial(draw_once, program, key, adapt))  # traced once, for its shapes and for the loop
        shapes = jax.eval_shape(draw, state)[1]
        empty = jax.tree.map(lambda x: jnp.zeros((program.block_draws, *x.shape), x.dtype), shapes)

        def step(i: Array, carry: tuple[State, Record]) -> tuple[State, Record]:
            state, rows = carry
            state, record = draw(state)
            return state, jax.tree.map(lambda column, value: column.at[i].set(value), rows, record)

        return jax.lax.fori_loop(0, num_draws, step, (state, empty))

    return on_devices(block, program, key, state, num_draws, adapt, out=(STATE, sharding.ON_EVERY_DEVICE))


@jax.jit
def reevaluate(program: Program, state: State) -> State:
    """The same positions on another path."""

    def again(program: Program, state: State) -> State:
        def one(position: Array) -> Point:
            return evaluate(program.path, program.energy, position)

        zero = jnp.minimum(state.scan, 0)
        return state._replace(points=sharding.map_batch(one, state.points.position, program.at_once, zero))

    return on_devices(again, program, state, out=STATE)


@jax.jit
def end_window(program: Program, state: State) -> State:
    """Take the mass from the window that ends here."""
    tuning, adapt = adaptation.end_window(program.kernel, state.tuning, state.adaptation)
    return state._replace(tuning=tuning, adaptation=adapt)


@jax.jit
def freeze(program: Program, state: State) -> State:
    """End the adaptation."""
    return state._replace(tuning=adaptation.finish(program.kernel, state.tuning, state.adaptation))


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
    return record._replace(
        prior_energy=record.prior_energy.astype(float) + prior,
        data_energy=record.data_energy.astype(float) + data,
        base_energy=record.base_energy.astype(float) + base,
        path_energy=record.path_energy.astype(float) + along,
        energy=record.energy.astype(float) + base + np.asarray(betas, float) * along,
    )


# -- between blocks --------------------------------------------------------------------------------------------------


def start(program: Program, key: Array, positions: Float[Array, "chain temperature parameter"]) -> State:
    """`start_state`, refusing starts of which none can move.

    Raises
    ------
    InputError
        If the energy or its gradient is finite at no start.
    """
    key, positions, zero = sharding.place(program.mesh, (key, positions, jnp.int32(0)))
    state, faults = start_state(program, key, positions, zero)
    _check_faults(program, np.asarray(faults), "start elsewhere, or look for overflow in the energy")
    return state


def _check_faults(program: Program, faults: Int[np.ndarray, "chain temperature"], remedy: str) -> None:
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
