"""One scan of C chains × R replicas, replica r of every chain at inverse temperature β_r: explore → exchange → record.

Random keys are folded from (scan, chain, temperature), on processors every replica is advanced by the same machine code
(an accelerator advances all that it holds at once), and all that follows is computed by every device alike: results do
not depend on how many devices share the replicas.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int
from numpyro.infer.util import ParamInfo

from temperax.engine import adaptation, exchange
from temperax.engine.exchange import Journeys
from temperax.engine.kernels import Info, Tuning
from temperax.engine.program import EXCHANGE, EXPLORE, Program, Record, State, keys
from temperax.engine.tempering import Point, evaluate, potential_at, temper
from temperax.machine import sharding

#: Odd integer nearest to 2^32 / golden ratio: its multiples modulo 2^32 fill the circle evenly.
GOLDEN = np.uint32(2654435769)
GOLDEN_FRACTION = np.float32(0.6180339887498949)


#: What a scan's key is folded with for its symmetry moves; transitions count from 0.
MOVES = 2**31 - 1


def start_of(point: Point, beta: Array) -> ParamInfo:
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

    start = start_of(point, beta)
    zero = jnp.zeros((), point.position.dtype)
    blank = Info(zero, jnp.int32(0), jnp.bool_(False), zero, jnp.zeros_like(point.position), zero)

    def move() -> tuple[Array, Info, Array]:
        def one(i: Array, carry: tuple) -> tuple:
            start, info, _ = carry
            end, new = transition(i, start)
            new = jax.tree.map(lambda value, like: value.astype(like.dtype), new, blank)
            new = new._replace(n_steps=info.n_steps + new.n_steps, diverging=info.diverging | new.diverging)
            return end, new, start.z

        end, info, before = jax.lax.fori_loop(0, transitions, one, (start, blank, start.z))
        if program.moves is None:
            return end.z, info, before
        after = program.moves.move(jax.random.fold_in(key, MOVES), program.path, energy, beta, end.z)
        # What adapts asks how far the trajectory went, and not where the symmetry has put it.
        return after, info, before + (after - end.z)

    def draw() -> tuple[Array, Info, Array]:
        exact = blank._replace(acceptance_rate=jnp.ones_like(blank.acceptance_rate))
        return program.path.draw(key, energy), exact, point.position

    return jax.lax.cond(beta == 0, draw, move) if program.exact else move()


def fault_of(point: Point, beta: Array) -> Int[Array, ""]:
    """Where a replica's energy or its gradient is not finite: -1 nowhere, P in the energy, p < P at the p-th parameter.

    Such a replica cannot move; the others go on without it.
    """
    start = start_of(point, beta)
    bad = ~jnp.isfinite(start.z_grad) | ~jnp.isfinite(start.z)
    nowhere = jnp.where(jnp.isfinite(start.potential_energy), -1, bad.size)
    return jnp.where(jnp.any(bad), jnp.argmax(bad), nowhere).astype(jnp.int32)


def jitter_of(scan: Array) -> Array:
    """Where a scan stands in a low-discrepancy sequence in [0, 1)."""
    return ((scan.astype(jnp.uint32) + 1) * GOLDEN).astype(jnp.float32) / 2.0**32


class Report(NamedTuple):
    """What every device learns of every replica in a scan: one number each, sent in one message."""

    prior: Array
    data: Array
    path: Array
    base: Array
    virial: Array
    energy: Array
    acceptance_rate: Array
    n_steps: Array
    diverging: Array
    trajectory: Array
    fault: Array


class Seat(NamedTuple):
    """Where a replica is: its chain, and the slot of the ladder that it holds now."""

    chain: Int[Array, "*local"]
    slot: Int[Array, "*local"]


def seats(program: Program, journeys: Journeys) -> Seat:
    """The seats of the replicas that this device holds."""
    number = sharding.places(program.mesh, program.num_replicas)
    chain, replica = number // len(program.betas), number % len(program.betas)
    return Seat(chain, jnp.argsort(journeys.replica, axis=1)[chain, replica])


def in_slots(program: Program, journeys: Journeys, local: Any) -> Any:
    """Values (chain, temperature, …) on every device, from those of the replicas that each device holds."""
    chains = jnp.arange(program.num_chains)[:, None]

    def arrange(values: Array) -> Array:
        values = values.reshape(program.num_chains, len(program.betas), *values.shape[1:])
        return values[chains, journeys.replica]

    return jax.tree.map(arrange, sharding.everywhere(local, program.num_replicas))


def scan_once(program: Program, key: Array, state: State, adapt: Array) -> tuple[State, Report, exchange.Swaps]:
    """One scan of all replicas: the new state, what they reported before the exchange, and the swaps.

    A swap moves no position: the replicas trade their slots, and with them temperature and tuning.
    """
    seat = seats(program, state.journeys)
    jitter = jitter_of(state.scan)
    centres = adaptation.mean_position(state.adaptation)

    def one(item: tuple[Array, Point, Seat]) -> tuple[Point, Array, Array, Report]:
        key, point, (chain, slot) = item
        beta, tuning = program.betas[slot], jax.tree.map(lambda x: x[slot], state.tuning)
        point, info, before = explore_replica(
            program, key, point, beta, tuning, jitter.astype(beta.dtype), state.transitions[slot]
        )
        # Any fixed centre serves; the last warm-up window's mean makes the estimate precise.
        gradient = temper(point.base_gradient, point.path_gradient, beta)
        virial = jnp.mean((point.position - centres[slot, chain]) * gradient)
        report = Report(
            *(point.terms.prior, point.terms.data, point.terms.path, point.terms.base, virial),
            *(info.energy, info.acceptance_rate, info.n_steps, info.diverging, info.trajectory),
            fault_of(point, beta),
        )
        return point, before, info.momentum, jax.tree.map(lambda x: x.astype(point.position.dtype), report)

    replica_keys = keys(key, state.scan, EXPLORE, seat.chain * len(program.betas) + seat.slot)
    points, before, momentum, reports = sharding.map_batch(
        one, (replica_keys, state.points, seat), program.at_once, jnp.minimum(state.scan, 0)
    )
    columns = in_slots(program, state.journeys, jnp.stack(reports, axis=-1))
    report = Report(*jnp.moveaxis(columns, -1, 0))
    report = report._replace(
        n_steps=report.n_steps.astype(jnp.int32),
        diverging=report.diverging > 0,
        fault=report.fault.astype(jnp.int32),
    )

    def learn() -> tuple[Tuning, adaptation.Adaptation]:
        beta = program.betas[seat.slot]
        gradient = temper(points.base_gradient, points.path_gradient, beta)
        sent = jnp.stack(
            [before, points.position, gradient, momentum], axis=1
        )  # one message, as what it costs is its trip
        start, end, gradient, arrival = jnp.moveaxis(in_slots(program, state.journeys, sent), 2, 0)
        info = Info(report.acceptance_rate, report.n_steps, report.diverging, report.energy, arrival, report.trajectory)
        return adaptation.update(
            program.kernel, state.tuning, state.adaptation, start, end, gradient, info, report.fault < 0
        )

    new_tuning, new_adaptation = jax.lax.cond(adapt, learn, lambda: (state.tuning, state.adaptation))
    chains, slots = jnp.arange(program.num_chains), jnp.arange(len(program.betas))
    if program.scheme is None:
        order = jnp.broadcast_to(slots, (program.num_chains, len(slots)))
        swaps = exchange.Swaps(order, jnp.zeros_like(report.path[:, 1:]))
    else:
        swap_keys = keys(key, state.scan, EXCHANGE, chains)
        decide = partial(exchange.swap, program.scheme)
        swaps = jax.vmap(decide, (0, None, None, 0))(swap_keys, state.scan, program.betas, report.path)
    journeys = state.journeys if program.scheme is None else jax.vmap(exchange.travel)(state.journeys, swaps.order)
    state = State(state.scan + 1, points, new_tuning, new_adaptation, state.transitions, journeys)
    return state, report, swaps


def blank_rows(program: Program) -> Record:
    """Room for the draws of a block: zeros, to which scans are added."""
    rows, num_chains, num_temperatures = program.block_draws, program.num_chains, len(program.betas)
    dtype = program.betas.dtype
    shape = (rows, num_chains, num_temperatures)
    columns = dict.fromkeys(Record._fields, jnp.zeros(shape, dtype))
    counts = dict.fromkeys(("n_steps", "fault", "replica"), jnp.zeros(shape, jnp.int32))
    trips = dict.fromkeys(("round_trips", "restarts"), jnp.zeros(shape[:2], jnp.int32))
    position = jnp.zeros((rows, num_chains, len(program.keep), program.energy.size), dtype)
    swaps = jnp.zeros((*shape[:2], num_temperatures - 1), dtype)
    others = {"position": position, "swap_acceptance": swaps, "diverging": jnp.zeros(shape, bool)}
    return Record(**(columns | counts | trips | others))


def add_scan(program: Program, rows: Record, i: Array, state: State, report: Report, swaps: exchange.Swaps) -> Record:
    """Record scan i of a block in the row of its draw: means and sums over its scans, the rest of the last one."""
    row, last = i // program.thin, (i + 1) % program.thin == 0
    thin = program.thin.astype(report.acceptance_rate.dtype)

    def after_exchange(values: Array) -> Array:
        return jnp.take_along_axis(values, swaps.order, axis=1)

    journeys = state.journeys
    chains = jnp.arange(program.num_chains)[:, None] * len(program.betas)

    def positions() -> Array:  # a message between devices, worth its while only once a draw
        kept = chains + journeys.replica[:, program.keep]
        return sharding.picked(program.mesh, program.num_replicas, state.points.position, kept)

    before = jax.tree.map(lambda column: jax.lax.dynamic_index_in_dim(column, row, keepdims=False), rows)
    record = Record(
        jax.lax.cond(last, positions, lambda: before.position),
        after_exchange(report.prior),
        after_exchange(report.data),
        after_exchange(report.path),
        after_exchange(report.base),
        report.virial,
        report.energy,
        before.acceptance_rate + report.acceptance_rate / thin,
        before.n_steps + report.n_steps,
        before.diverging | report.diverging,
        after_exchange(report.fault),
        before.swap_acceptance + swaps.acceptance / thin,
        journeys.replica,
        journeys.round_trips,
        journeys.restarts,
    )
    return jax.tree.map(lambda column, value: jax.lax.dynamic_update_index_in_dim(column, value, row, 0), rows, record)
