"""Adaptation of step size, mass and trajectory length: per temperature, pooled over chains.

Step sizes follow dual averaging on the mean of the chains' acceptances, less where one of them is stuck.
Masses come from the draws *and* the forces, √(Var θ / Var ∇U), which minimises the Fisher divergence (Seyboldt, Carlson
& Carpenter 2026, arXiv:2603.18845): a direction that is hardly explored yet shows small variances in both, and keeps
its true scale.  Variances are of each chain about its own mean, since unmixed chains sit in modes whose distance says
nothing of their width.  Where the last draws and forces of a window show correlations that a diagonal leaves, the mass
is turned as well (`kernels.mass`).  Trajectory lengths settle where trajectories begin to turn back (the criterion of
NUTS, Hoffman & Gelman 2014, averaged over chains and scans instead of asked of every tree).  All of it stops before
the first kept draw.

`update` is part of the compiled scan; what happens between windows, once, is computed on the host.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from numpyro.infer.hmc_util import build_adaptation_schedule, dual_averaging, welford_covariance

from temperax.engine.kernels import Info, Kernel, Tuning, mass
from temperax.machine.compiling import mixing_types

# A scan's acceptance is the mean of several chains.  With the γ of single chains, .05, steps swing so far that their
# mean is accepted more often than was asked for: .90 instead of .80.
_start_averaging, _average = dual_averaging(gamma=0.2)
_start_moments, _add_to_moments, _ = welford_covariance(diagonal=True)

#: The first trajectories have this many steps, but turn no quarter of a period of a direction of unit width.
FIRST_STEPS, FIRST_LENGTH = 64, 1.5707963267948966
#: Most that the log of a trajectory length changes in a scan, and the memory of the criterion's averages in scans.
LENGTH_RATE, LENGTH_MEMORY = 0.2, 5.0
#: Where the trajectory criterion settles, as a share of its modulus.  Beyond the first turning point it stays near 0
#: for any length, so that a length that looks for 0 wanders; near 1 few trajectories have turned back yet.
TURNED = 0.9
#: Fewest scans after which a first mass is set.
EARLIEST = 5
#: Last draws and forces of a chain's window from which correlations are learned.
MEMORY = 100
#: Bytes that these take at most.  Where all would take more, chains keep fewer, and below the fewest some keep none.
MEMORY_BYTES, FEWEST = 2.5e8, 10
#: Memory of the chains' mean acceptances, in scans.
ACCEPTANCE_MEMORY = 10.0


class Adaptation(NamedTuple):
    """State of the adaptation; every leaf has a leading axis ``temperature``."""

    averaging: tuple
    accepted: Float[Array, "temperature chain"]  # running mean of the acceptance
    moments: tuple  # of position and force side by side, with a second axis ``chain``
    turn: Float[Array, " temperature"]  # running mean of the trajectory criterion
    size: Float[Array, " temperature"]  # and of its modulus
    recent: Float[Array, "temperature kept memory 2 parameter"]  # last draws and forces; empty where no mass turns
    log_length: Float[Array, " temperature"]
    mean_log_length: Float[Array, " temperature"]
    num_scans: Int[Array, " temperature"]


def start(
    kernel: Kernel, step_size: Float[np.ndarray, " temperature"], num_chains: int, num_parameters: int, rank: int = 0
) -> tuple[Tuning, Adaptation]:
    """Tuning and adaptation before the first scan, from a first guess of the step sizes."""
    step_size = np.asarray(step_size)
    step_size = np.full_like(step_size, kernel.step_size) if kernel.step_size is not None else step_size
    inverse_mass = np.broadcast_to(
        np.asarray(1.0 if kernel.inverse_mass is None else kernel.inverse_mass, step_size.dtype), num_parameters
    )
    length = np.minimum(FIRST_STEPS * step_size, FIRST_LENGTH * np.exp(-0.5 * np.mean(np.log(inverse_mass))))
    if kernel.trajectory_length is not None:
        length = np.full_like(step_size, kernel.trajectory_length)
    shape, dtype = (len(step_size), num_parameters, rank), step_size.dtype
    parts: dict[str, Any] = {
        "step_size": step_size,
        "inverse_mass": np.tile(inverse_mass, (len(step_size), 1)),
        "trajectory_length": length.astype(dtype),
        "directions": np.zeros(shape, dtype),
        "widths": np.ones(shape[::2], dtype),
    }
    tuning = Tuning(**parts)
    return tuning, fresh(kernel, tuning, num_chains)


def aim(kernel: Kernel) -> Any:
    """The acceptance that a kernel aims at once it is fitted to its energy."""
    assert kernel.target_acceptance is not None, "as_kernel has fitted it"
    return kernel.target_acceptance


def fresh(kernel: Kernel, tuning: Tuning, num_chains: int) -> Adaptation:
    """Adaptation that knows nothing yet, around a tuning."""
    num_temperatures, num_parameters = tuning.inverse_mass.shape
    dtype = tuning.step_size.dtype
    log_step = np.log(tuning.step_size)
    # A kernel whose trajectories find their own length may say 0.
    log_length = np.log(np.maximum(tuning.trajectory_length, np.finfo(dtype).tiny))

    def nothing(start: Callable, *lead: int) -> tuple:
        """What NumPyro starts from: zeros, whose shapes and types it knows."""
        return jax.tree.map(lambda x: np.zeros((*lead, *x.shape), x.dtype), jax.eval_shape(start))

    zero = np.zeros(num_temperatures, dtype)
    kept, memory = remembered(num_temperatures, num_chains, num_parameters) if tuning.widths.shape[-1] else (0, 0)
    parts: dict[str, Any] = {
        "averaging": (*nothing(_start_averaging, num_temperatures)[:-1], log_step),
        "accepted": np.full((num_temperatures, num_chains), aim(kernel), dtype),
        "moments": nothing(partial(_start_moments, 2 * num_parameters), num_temperatures, num_chains),
        "turn": zero,
        "size": zero,
        "recent": np.zeros((num_temperatures, kept, memory, 2, num_parameters), dtype),
        "log_length": log_length,
        "mean_log_length": log_length,
        "num_scans": np.zeros(num_temperatures, np.int32),
    }
    return Adaptation(**parts)


def remembered(num_temperatures: int, num_chains: int, num_parameters: int) -> tuple[int, int]:
    """Chains of which the last draws and forces are kept, and how many of each."""
    most = int(MEMORY_BYTES // (num_temperatures * 2 * num_parameters * jnp.result_type(float).itemsize))
    memory = int(np.clip(most // num_chains, FEWEST, MEMORY))
    return int(np.clip(most // memory, 1, num_chains)), memory


def update(
    kernel: Kernel,
    tuning: Tuning,
    adaptation: Adaptation,
    before: Float[Array, "chain temperature parameter"],
    after: Float[Array, "chain temperature parameter"],
    gradient: Float[Array, "chain temperature parameter"],
    info: Info,
    sound: Bool[Array, "chain temperature"],
) -> tuple[Tuning, Adaptation]:
    """Learn from one scan of all chains: where their last transition led, and the gradient of the potential there.

    Replicas that are not ``sound`` (their energy is not finite) teach nothing.
    """
    by_temperature = jax.vmap(_update_one, in_axes=(None, 0, 0, 1, 1, 1, 1, 1))
    return by_temperature(kernel, tuning, adaptation, before, after, gradient, info, sound)


def _update_one(
    kernel: Kernel,
    tuning: Tuning,
    adaptation: Adaptation,
    before: Float[Array, "chain parameter"],
    after: Float[Array, "chain parameter"],
    gradient: Float[Array, "chain parameter"],
    info: Info,
    sound: Bool[Array, " chain"],
) -> tuple[Tuning, Adaptation]:
    """`update` for one temperature."""
    now = jnp.where(sound, info.acceptance_rate, adaptation.accepted)
    accepted = adaptation.accepted + (now - adaptation.accepted) / ACCEPTANCE_MEMORY
    # A chain that is stuck counts for more than its share: by how unequal the chains have been of late.
    unequal = jnp.exp(jnp.mean(jnp.log(jnp.clip(accepted, 1e-3)), where=sound)) / jnp.mean(accepted, where=sound)
    acceptance = jnp.mean(now, where=sound) * unequal
    with mixing_types():
        averaging = _average(aim(kernel) - acceptance, adaptation.averaging)
        seen = jax.vmap(_add_to_moments)(jnp.concatenate([after, gradient], axis=-1), adaptation.moments)
    moments = jax.tree.map(
        lambda new, old: jnp.where(sound.reshape(-1, *[1] * (new.ndim - 1)), new, old), seen, adaptation.moments
    )

    new_turn, new_size = _trajectory_criterion(before, after, tuning.trajectory_length, info)
    turn = adaptation.turn + (new_turn - adaptation.turn) / LENGTH_MEMORY
    size = adaptation.size + (new_size - adaptation.size) / LENGTH_MEMORY
    log_length = adaptation.log_length + LENGTH_RATE * (turn / jnp.where(size > 0, size, 1.0) - TURNED)
    log_length = jnp.maximum(log_length, jnp.log(tuning.step_size))
    if hasattr(kernel, "max_steps"):
        longest = jnp.asarray(kernel.max_steps, log_length.dtype) * tuning.step_size
        log_length = jnp.minimum(log_length, jnp.log(longest))
    num_scans = adaptation.num_scans + 1
    weight = 1.0 / jnp.sqrt(num_scans.astype(log_length.dtype))
    mean_log_length = (1 - weight) * adaptation.mean_log_length + weight * log_length

    recent = _remembered(adaptation.recent, adaptation.num_scans, after, gradient, sound)
    learned = Adaptation(
        averaging,
        accepted,
        moments,
        turn,
        size,
        recent,
        log_length,
        mean_log_length,
        num_scans,
    )
    tuned = tuning._replace(
        step_size=jnp.exp(averaging[0]) if kernel.step_size is None else tuning.step_size,
        trajectory_length=jnp.exp(log_length) if kernel.trajectory_length is None else tuning.trajectory_length,
    )
    # Exact draws take no steps and teach nothing about them.
    moved = jnp.any((info.n_steps > 0) & sound)
    return jax.tree.map(lambda new, old: jnp.where(moved, new, old), (tuned, learned), (tuning, adaptation))


def _remembered(
    recent: Float[Array, "kept memory 2 parameter"],
    scan: Int[Array, ""],
    position: Float[Array, "chain parameter"],
    gradient: Float[Array, "chain parameter"],
    sound: Bool[Array, " chain"],
) -> Float[Array, "kept memory 2 parameter"]:
    """The last draws and forces with those of one scan in the place of the oldest."""
    if not recent.size:
        return recent
    kept, place = recent.shape[0], scan % recent.shape[1]
    new = jnp.stack([position[:kept], gradient[:kept]], axis=1)
    return recent.at[:, place].set(jnp.where(sound[:kept, None, None], new, recent[:, place]))


def _trajectory_criterion(
    before: Float[Array, "chain parameter"],
    after: Float[Array, "chain parameter"],
    length: Float[Array, ""],
    info: Info,
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """(θ' - θ)·p' at the trajectories' ends, positive while the distance still grows, and its modulus.

    Long trajectories of the jitter's range weigh more: it is their end that the length moves.  A rejected trajectory
    ends where it began and adds nothing.
    """
    turn = (info.trajectory / length) ** 2 * jnp.sum((after - before) * info.momentum, axis=-1)
    turn = jnp.where(jnp.isfinite(turn), turn, 0.0)
    return jnp.mean(turn), jnp.mean(jnp.abs(turn))


def end_window(kernel: Kernel, tuning: Tuning, adaptation: Adaptation) -> tuple[Tuning, Adaptation]:
    """Set the mass, unless it is given, and start the next window from the averaged tuning."""
    tuning = finish(kernel, tuning, adaptation)
    if kernel.inverse_mass is None:
        tuning = _with_mass_of(kernel, tuning, adaptation)
    return tuning, fresh(kernel, tuning, num_chains=adaptation.accepted.shape[1])


def _with_mass_of(kernel: Kernel, tuning: Tuning, adaptation: Adaptation) -> Tuning:
    """The tuning with the mass that the window's draws and forces ask for."""
    _, scatter, count = adaptation.moments
    taught = (count > 1)[..., None]  # chains that have moved in this window
    variance = scatter / np.maximum(count - 1, 1)[..., None].astype(scatter.dtype)
    with np.errstate(divide="ignore", invalid="ignore"):  # where nothing was taught, nothing is found
        mean = np.sum(variance, axis=1, where=taught) / np.sum(taught, axis=1)
        of_draws, of_forces = np.split(mean, 2, axis=-1)
        found = 0.5 * (np.log(of_draws) - np.log(of_forces))
    old = np.log(tuning.inverse_mass)
    # A few draws count for as much as what was there before.
    weight = (adaptation.num_scans / (adaptation.num_scans + 5.0))[:, None]
    found = np.where(np.isfinite(found), found, old)
    inverse_mass: Any = np.exp(old + weight * (found - old)).astype(old.dtype)
    inverse_mass, directions, widths = _turned(tuning, adaptation, inverse_mass)
    # Time is measured in the new mass: rescale it so that steps stay, in the typical direction, as long as they were.
    scale = np.exp(0.5 * np.mean(old - np.log(inverse_mass), axis=-1)).astype(old.dtype)
    # Steps were as long as the narrowest direction let them be, and trajectories as the widest asked them to be.
    narrow, wide = (
        extreme(tuning.widths, axis=-1, initial=1.0) / extreme(widths, axis=-1, initial=1.0)
        for extreme in (np.min, np.max)
    )
    tuning = tuning._replace(inverse_mass=inverse_mass, directions=directions, widths=widths)
    if kernel.step_size is None:
        tuning = tuning._replace(step_size=tuning.step_size * scale * narrow)
    if kernel.trajectory_length is None:
        tuning = tuning._replace(trajectory_length=tuning.trajectory_length * scale * wide)
    return tuning


def _turned(
    tuning: Tuning, adaptation: Adaptation, inverse_mass: Float[np.ndarray, "temperature parameter"]
) -> tuple[Any, Any, Any]:
    """Diagonal, directions and widths of every temperature; directions of before where a window has taught nothing."""
    if not tuning.widths.shape[-1]:
        return inverse_mass, tuning.directions, tuning.widths
    found = np.array(inverse_mass), np.array(tuning.directions), np.array(tuning.widths)
    for t, (recent, diagonal) in enumerate(zip(adaptation.recent, inverse_mass, strict=True)):
        chains = [chain[chain.any(axis=(1, 2))].astype(float) for chain in recent]
        centred = np.concatenate([chain - chain.mean(axis=0) for chain in chains if len(chain) > 1] or [recent[0, :0]])
        if len(centred) and np.isfinite(centred).all() and centred.any(axis=0).all():
            learned = mass.turned(diagonal, centred[:, 0], centred[:, 1], found[2].shape[-1])
            for whole, part in zip(found, learned, strict=True):
                whole[t] = part
    return found


def finish(kernel: Kernel, tuning: Tuning, adaptation: Adaptation) -> Tuning:
    """The averaged step sizes and trajectory lengths, to be kept from here on."""
    if kernel.step_size is None:
        tuning = tuning._replace(step_size=np.exp(adaptation.averaging[1]))
    if kernel.trajectory_length is None:
        length: Any = np.exp(adaptation.mean_log_length)
        tuning = tuning._replace(trajectory_length=length)
    return tuning


def mean_position(adaptation: Adaptation) -> Float[Array, "temperature chain parameter"]:
    """The mean of the window's positions."""
    return jnp.split(adaptation.moments[0], 2, axis=-1)[0]


def windows(num_warmup: int) -> list[tuple[int, bool]]:
    """Length of each warm-up window and whether a new mass is set at its end.

    Stan's schedule of doubling windows, whose first one ends twice on the way: draws and forces tell scales at once,
    and a trajectory through a posterior whose scales are not known takes a thousand steps.
    """
    schedule = build_adaptation_schedule(num_warmup)
    last = len(schedule) - 1
    found = [(window.end - window.start + 1, 0 < i < last) for i, window in enumerate(schedule)]
    whole = found[0][0]
    early = whole // 5
    return found if early < EARLIEST else [(early, True), (early, True), (whole - 2 * early, True), *found[1:]]
