"""The engine: C chains × R replicas, replica r of every chain at inverse temperature β_r.

One scan is explore → exchange → record.  A block of scans is one compiled call; between blocks, in Python, are the
progress bar, the copy of the draws to the host, and Ctrl-C.  Random keys are folded from (scan, chain, replica), so
that results do not depend on the length of the blocks.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from numpyro.infer.util import ParamInfo

from temperax import adaptation, exchange, sharding
from temperax.errors import InputError
from temperax.kernels import Info, Tuning, reasonable_step_size
from temperax.program import EXCHANGE, EXPLORE, START, Program, Record, State, keys
from temperax.progress import tqdm
from temperax.tempering import Point, evaluate, potential_at, temper

#: About how many seconds a block should last, so that progress is seen.
BLOCK_SECONDS = 0.5
#: Odd integer nearest to 2^32 / golden ratio: its multiples modulo 2^32 fill the circle evenly.
GOLDEN = np.uint32(2654435769)
GOLDEN_FRACTION = np.float32(0.6180339887498949)


# -- one scan --------------------------------------------------------------------------------------------------------


def _start_of(point: Point, beta: Array) -> ParamInfo:
    """A point as NumPyro starts a trajectory from it, at this β."""
    gradient = temper(point.base_gradient, point.path_gradient, beta)
    return ParamInfo(point.position, temper(point.terms.base, point.terms.path, beta), gradient)


def explore_replica(
    program: Program, key: Array, point: Point, beta: Array, tuning: Tuning, jitter: Array, transitions: Array
) -> tuple[Point, Info, Array]:
    """`move_replica`, with energies and gradients of where it ends."""
    position, info, before = move_replica(program, key, point, beta, tuning, jitter, transitions)
    return evaluate(program.path, program.energy, position), info, before


def move_replica(
    program: Program, key: Array, point: Point, beta: Array, tuning: Tuning, jitter: Array, transitions: Array
) -> tuple[Array, Info, Array]:
    """Move one replica by transitions of the kernel, or by an exact draw where the path ends in a known distribution.

    Returns the new position, what happened (the last transition's statistics, and all its steps and divergences), and
    where the last transition began.
    """
    energy = program.energy

    def potential(beta: Array) -> Callable:
        return partial(potential_at, program.path, energy, beta)

    def transition(i: Array, start: ParamInfo) -> tuple[ParamInfo, Info]:
        # Transitions of one scan step through the jitter's range, so that short and long ones alternate.
        u = jnp.mod(jitter + i.astype(jitter.dtype) * GOLDEN_FRACTION, 1.0)
        return program.kernel.step(jax.random.fold_in(key, i), potential, beta, start, tuning, u)

    start = _start_of(point, beta)
    blank: Info = jax.tree.map(
        lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(transition, jnp.int32(0), start)[1]
    )

    def move() -> tuple[Array, Info, Array]:
        def one(i: Array, carry: tuple) -> tuple:
            start, info, _ = carry
            end, new = transition(i, start)
            new = new._replace(n_steps=info.n_steps + new.n_steps, diverging=info.diverging | new.diverging)
            return end, new, start.z

        end, info, before = jax.lax.fori_loop(0, transitions, one, (start, blank, start.z))
        return end.z, info, before

    def draw() -> tuple[Array, Info, Array]:
        exact = blank._replace(acceptance_rate=jnp.ones_like(blank.acceptance_rate))
        return program.path.draw(key, energy), exact, point.position

    return jax.lax.cond(beta == 0, draw, move)


def rearrange(points: Point, order: Int[Array, " temperature"]) -> Point:
    """Whole points to new slots: positions never part from their energies and gradients."""
    return jax.tree.map(lambda x: x[order], points)


def jitter_of(scan: Array) -> Array:
    """Where a scan stands in a low-discrepancy sequence in [0, 1)."""
    return ((scan.astype(jnp.uint32) + 1) * GOLDEN).astype(jnp.float32) / 2.0**32


def scan_once(program: Program, key: Array, state: State, adapt: Array) -> tuple[State, Info, Array, Array]:
    """One scan of all replicas: the new state, and what is recorded of it before the exchange."""
    betas, tuning = program.per_replica((program.betas, state.tuning))
    replica_keys = keys(program, key, state.scan, EXPLORE)
    transitions = program.per_replica(state.transitions)
    points, info, before = program.over_replicas(
        explore_replica,
        replica_keys,
        state.points,
        betas,
        tuning,
        jnp.full_like(betas, jitter_of(state.scan)),
        transitions,
    )
    gradient = temper(points.base_gradient, points.path_gradient, betas)
    new_tuning, new_adaptation = jax.lax.cond(
        adapt,
        lambda: adaptation.update(
            program.kernel, state.tuning, state.adaptation, before, points.position, gradient, info
        ),
        lambda: (state.tuning, state.adaptation),
    )
    # Any fixed centre serves; the last warm-up window's mean makes the estimate precise.
    centre = jnp.swapaxes(adaptation.mean_position(state.adaptation), 0, 1)
    virial = jnp.mean((points.position - centre) * gradient, axis=-1)
    if program.energy.discrete:  # integration by parts, which makes its mean 1, is for positions that do not jump
        virial = jnp.full_like(virial, jnp.nan)
    swap_acceptance = jnp.zeros((program.num_chains, len(program.betas) - 1), points.position.dtype)
    journeys = state.journeys
    if program.scheme is not None:
        swap_keys = keys(program, key, state.scan, EXCHANGE)[:, 0]
        decide = partial(exchange.swap, program.scheme)
        order, swap_acceptance = jax.vmap(decide, (0, None, None, 0))(
            swap_keys, state.scan, program.betas, points.terms.path
        )
        points = jax.vmap(rearrange)(points, order)
        journeys = jax.vmap(exchange.travel)(journeys, order)
    state = State(state.scan + 1, points, new_tuning, new_adaptation, state.transitions, journeys)
    return state, info, virial, swap_acceptance


def _draw(program: Program, key: Array, adapt: Array, state: State) -> tuple[State, Record]:
    """``thin`` scans, of which the last one's state and the totals are recorded."""

    def body(i: Array, carry: tuple) -> tuple:
        state, totals = carry
        state, info, virial, swaps = scan_once(program, key, state, adapt)
        acceptance, steps, diverging, _, _, swap_total = totals
        totals = (
            acceptance + info.acceptance_rate,
            steps + info.n_steps.astype(jnp.int32),
            diverging | info.diverging,
            info.energy,
            virial,
            swap_total + swaps,
        )
        return state, totals

    shape, dtype = (program.num_chains, len(program.betas)), state.points.position.dtype
    zero, pairs = jnp.zeros(shape, dtype), jnp.zeros((shape[0], shape[1] - 1), dtype)
    totals = (zero, jnp.zeros(shape, jnp.int32), jnp.zeros(shape, bool), zero, zero, pairs)
    state, totals = jax.lax.fori_loop(0, program.thin, body, (state, totals))
    acceptance, steps, diverging, hamiltonian, virial, swaps = totals
    terms, journeys = state.points.terms, state.journeys
    record = Record(
        state.points.position[:, program.keep],
        terms.prior,
        terms.data,
        terms.path,
        terms.base,
        virial,
        hamiltonian,
        acceptance / program.thin,
        steps,
        diverging,
        swaps / program.thin,
        journeys.replica,
        journeys.round_trips,
        journeys.restarts,
    )
    return state, record


# -- compiled calls --------------------------------------------------------------------------------------------------


@jax.jit
def start_state(program: Program, key: Array, positions: Float[Array, "chain temperature parameter"]) -> State:
    """The state before the first scan, with the kernel's step size or what a single leapfrog step suggests."""

    def begin(program: Program, key: Array, position: Array, beta: Array) -> tuple[Point, Array]:
        point = evaluate(program.path, program.energy, position)
        if program.kernel.step_size is not None:  # nothing to look for, nor a gradient that need make sense
            return point, jnp.asarray(program.kernel.step_size, position.dtype)

        def potential(beta: Array) -> Callable:
            return partial(potential_at, program.path, program.energy, beta)

        ones = jnp.ones_like(position)
        return point, reasonable_step_size(key, potential, beta, _start_of(point, beta), ones)

    replica_keys = keys(program, key, jnp.int32(0), START)
    points, steps = program.over_replicas(begin, replica_keys, positions, program.per_replica(program.betas))
    # The smallest of the chains' guesses: one chain in a narrow place must be able to move.
    tuning, adapt = adaptation.start(program.kernel, jnp.min(steps, axis=0), *positions.shape[::2])
    journeys = program.per_replica(exchange.depart(len(program.betas)))
    transitions = jnp.ones(len(program.betas), jnp.int32)
    return State(jnp.int32(0), points, tuning, adapt, transitions, journeys)


@partial(jax.jit, donate_argnames="state")
def run_block(program: Program, key: Array, state: State, num_draws: Array, adapt: Array) -> tuple[State, Record]:
    """Run ``num_draws`` draws, at most ``program.block_draws``; the record's rows beyond them are empty.

    The number is a value and the block's size is fixed, so that blocks of any length share one compiled program.
    """
    draw = partial(_draw, program, key, adapt)
    blank = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(draw, state)[1])

    def step(state: State, i: Array) -> tuple[State, Record]:
        return jax.lax.cond(i < num_draws, draw, lambda state: (state, blank), state)

    return jax.lax.scan(step, state, jnp.arange(program.block_draws))


@jax.jit
def reevaluate(program: Program, state: State) -> State:
    """The same positions on another path."""

    def evaluate_one(program: Program, position: Array) -> Point:
        return evaluate(program.path, program.energy, position)

    return state._replace(points=program.over_replicas(evaluate_one, state.points.position))


@jax.jit
def end_window(program: Program, state: State) -> State:
    """Take the mass from the window that ends here."""
    tuning, adapt = adaptation.end_window(program.kernel, state.tuning, state.adaptation)
    return state._replace(tuning=tuning, adaptation=adapt)


@jax.jit
def freeze(program: Program, state: State) -> State:
    """End the adaptation."""
    return state._replace(tuning=adaptation.finish(program.kernel, state.tuning, state.adaptation))


def absolute(program: Program, record: Record) -> Record:
    """A record's energies (host arrays) with what the energy's reference point had taken off, in double precision."""
    prior, data = program.energy.offsets()
    base, path = program.path.offsets(prior, data)
    betas = np.asarray(program.betas, float)
    return record._replace(
        prior_energy=record.prior_energy.astype(float) + prior,
        data_energy=record.data_energy.astype(float) + data,
        base_energy=record.base_energy.astype(float) + base,
        path_energy=record.path_energy.astype(float) + path,
        energy=record.energy.astype(float) + base + betas * path,
    )


# -- between blocks --------------------------------------------------------------------------------------------------


def start(program: Program, key: Array, positions: Float[Array, "chain temperature parameter"]) -> State:
    """`start_state`, refusing starts that cannot move.

    Raises
    ------
    InputError
        If the energy or its gradient is not finite at a start.
    """
    state = start_state(program, key, positions)
    betas = program.per_replica(program.betas)
    potential, gradient = (
        np.asarray(temper(a, v, betas))
        for a, v in (
            (state.points.terms.base, state.points.terms.path),
            (state.points.base_gradient, state.points.path_gradient),
        )
    )
    bad = ~np.isfinite(potential) | ~np.isfinite(gradient).all(axis=-1)
    if bad.any():
        chain, slot = np.argwhere(bad)[0].tolist()
        raise InputError(
            "start",
            float(potential[chain, slot]),
            f"is no finite energy with a finite gradient (chain {chain}, beta {float(program.betas[slot]):.3g})",
            "start elsewhere, or look for overflow in the energy",
        )
    return state


def run(
    program: Program, key: Array, state: State, num_draws: int, *, adapt: bool, bar: tqdm
) -> Iterator[tuple[State, Record]]:
    """Run draws block by block; yields the state and the block's record, on the host."""
    done, seconds_a_draw = 0, None
    while done < num_draws:
        wanted = 1 if seconds_a_draw is None else int(BLOCK_SECONDS / max(seconds_a_draw, 1e-9))
        size = int(np.clip(wanted, 1, min(program.block_draws, num_draws - done)))
        began = time.perf_counter()
        # However the arrays lay on the devices before: another layout would be another program.
        state = sharding.everywhere(state, program.devices)
        state, record = run_block(program, key, state, np.int32(size), np.bool_(adapt))
        record = jax.tree.map(lambda x: np.asarray(x)[:size], record)  # noqa: B023 - used at once
        seconds_a_draw = (time.perf_counter() - began) / size
        done += size
        bar.update(size)
        bar.set_postfix(
            acceptance=f"{record.acceptance_rate.mean():.2f}",
            divergences=int(record.diverging.sum()),
            refresh=False,
        )
        yield state, record


def warm_up(program: Program, key: Array, state: State, num_scans: int, bar: tqdm) -> State:
    """Adapt over ``num_scans`` scans (none: everything stays as it started) and freeze."""
    program = replace(program, thin=jnp.int32(1))
    for length, new_mass in adaptation.windows(num_scans) if num_scans > 0 else []:
        for after, _ in run(program, key, state, length, adapt=True, bar=bar):
            state = after
        state = end_window(program, state) if new_mass else state
    return freeze(program, state) if num_scans > 0 else state
