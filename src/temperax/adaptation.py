"""Adaptation of step size, diagonal mass and trajectory length: per temperature, pooled over chains.

Step sizes follow dual averaging on the harmonic mean of the chains' acceptances (a chain that is stuck must count);
masses are the variances of the chains, each about its own mean, since unmixed chains sit in modes whose distance says
nothing of their width; trajectory lengths climb the ChEES criterion (Hoffman, Radul & Sountsov 2021, *An adaptive MCMC
scheme for setting trajectory lengths in Hamiltonian Monte Carlo*) per unit of time, in units of the mass.  All of it
stops before the first kept draw.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
from numpyro.infer.hmc_util import build_adaptation_schedule, dual_averaging, welford_covariance

from temperax.kernels import Info, Kernel, Tuning

_start_averaging, _average = dual_averaging()
_start_moments, _add_to_moments, _variance = welford_covariance(diagonal=True)

#: First trajectories have this many steps; the criterion grows them.
FIRST_STEPS = 8
#: Most that the log of a trajectory length changes in a scan, and the memory of the criterion's averages in scans.
LENGTH_RATE, LENGTH_MEMORY = 0.1, 10.0


class Adaptation(NamedTuple):
    """State of the adaptation; every leaf has a leading axis ``temperature``."""

    target: Float[Array, " temperature"]
    averaging: tuple
    moments: tuple  # with a second axis ``chain``
    jump: Float[Array, " temperature"]  # running mean of the criterion
    slope: Float[Array, " temperature"]  # and of its derivative by the log of the length
    log_length: Float[Array, " temperature"]
    mean_log_length: Float[Array, " temperature"]
    num_scans: Int[Array, " temperature"]


def start(
    kernel: Kernel, step_size: Float[Array, " temperature"], num_chains: int, num_parameters: int
) -> tuple[Tuning, Adaptation]:
    """Tuning and adaptation before the first scan, from a first guess of the step sizes."""
    step_size = jnp.full_like(step_size, kernel.step_size) if kernel.step_size is not None else step_size
    length = FIRST_STEPS * step_size
    if kernel.trajectory_length is not None:
        length = jnp.full_like(step_size, kernel.trajectory_length)
    tuning = Tuning(step_size, jnp.ones((len(step_size), num_parameters), step_size.dtype), length)
    return tuning, fresh(kernel, tuning, num_chains)


def fresh(kernel: Kernel, tuning: Tuning, num_chains: int) -> Adaptation:
    """Adaptation that knows nothing yet, around a tuning."""
    num_temperatures, num_parameters = tuning.inverse_mass.shape
    log_length = jnp.log(tuning.trajectory_length)
    one = jnp.ones(num_temperatures, tuning.step_size.dtype)

    def moments(_: Array) -> tuple:
        return jax.vmap(lambda _: _start_moments(num_parameters))(jnp.arange(num_chains))

    return Adaptation(
        target=kernel.target_acceptance * one,
        averaging=jax.vmap(_start_averaging)(jnp.log(10 * tuning.step_size)),
        moments=jax.vmap(moments)(one),
        jump=0 * one,
        slope=0 * one,
        log_length=log_length,
        mean_log_length=log_length,
        num_scans=jnp.zeros(num_temperatures, jnp.int32),
    )


def update(
    kernel: Kernel,
    tuning: Tuning,
    adaptation: Adaptation,
    before: Float[Array, "chain temperature parameter"],
    after: Float[Array, "chain temperature parameter"],
    info: Info,
) -> tuple[Tuning, Adaptation]:
    """Learn from one scan of all chains."""
    by_temperature = jax.vmap(_update_one, in_axes=(None, 0, 0, 1, 1, 1))
    return by_temperature(kernel, tuning, adaptation, before, after, info)


def _update_one(
    kernel: Kernel,
    tuning: Tuning,
    adaptation: Adaptation,
    before: Float[Array, "chain parameter"],
    after: Float[Array, "chain parameter"],
    info: Info,
) -> tuple[Tuning, Adaptation]:
    """`update` for one temperature."""
    # Acceptances below 1e-3 say no more than that: the step is too long.
    acceptance = 1 / jnp.mean(1 / jnp.clip(info.acceptance_rate, 1e-3))
    averaging = _average(adaptation.target - acceptance, adaptation.averaging)
    moments = jax.vmap(_add_to_moments)(after, adaptation.moments)

    new_jump, new_slope = _trajectory_criterion(before, after, moments[0], tuning.inverse_mass, info)
    jump = adaptation.jump + (new_jump - adaptation.jump) / LENGTH_MEMORY
    slope = adaptation.slope + (new_slope - adaptation.slope) / LENGTH_MEMORY
    # d log(criterion / length) / d log(length): longer trajectories must earn their gradients.  Without the cost, the
    # criterion is level beyond its optimum and the length walks off at random.
    gain = jnp.where(jump > 0, slope / jnp.where(jump > 0, jump, 1.0), 0.0) - 1.0
    step = LENGTH_RATE * jnp.clip(gain, -1.0, 1.0)
    log_length = jnp.maximum(adaptation.log_length + step, jnp.log(tuning.step_size))
    if hasattr(kernel, "max_steps"):
        log_length = jnp.minimum(log_length, jnp.log(kernel.max_steps * tuning.step_size))
    num_scans = adaptation.num_scans + 1
    weight = 1.0 / jnp.sqrt(num_scans)
    mean_log_length = (1 - weight) * adaptation.mean_log_length + weight * log_length

    learned = Adaptation(adaptation.target, averaging, moments, jump, slope, log_length, mean_log_length, num_scans)
    tuned = tuning._replace(
        step_size=jnp.exp(averaging[0]) if kernel.step_size is None else tuning.step_size,
        trajectory_length=jnp.exp(log_length) if kernel.trajectory_length is None else tuning.trajectory_length,
    )
    # Exact draws take no steps and teach nothing about them.
    moved = jnp.any(info.n_steps > 0)
    return jax.tree.map(lambda new, old: jnp.where(moved, new, old), (tuned, learned), (tuning, adaptation))


def _trajectory_criterion(
    before: Float[Array, "chain parameter"],
    after: Float[Array, "chain parameter"],
    mean: Float[Array, "chain parameter"],
    inverse_mass: Float[Array, " parameter"],
    info: Info,
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """The ChEES criterion ¼⟨(|θ'-c|² - |θ-c|²)²⟩ and its derivative by the log of the trajectory length.

    A rejected trajectory ends where it began and adds nothing, which weights the proposals by their acceptance.
    """
    a, b = before - mean, after - mean
    change = jnp.sum(b**2 / inverse_mass, axis=-1) - jnp.sum(a**2 / inverse_mass, axis=-1)
    slope = change * info.trajectory * jnp.sum(b * info.momentum, axis=-1)
    finite = jnp.isfinite(change) & jnp.isfinite(slope)
    return jnp.mean(jnp.where(finite, change**2 / 4, 0.0)), jnp.mean(jnp.where(finite, slope, 0.0))


def end_window(kernel: Kernel, tuning: Tuning, adaptation: Adaptation) -> tuple[Tuning, Adaptation]:
    """Set the mass from the window's draws, and start the next window from the averaged step size and length."""
    tuning = finish(kernel, tuning, adaptation)
    variance = jax.vmap(jax.vmap(lambda moments: _variance(moments, regularize=True)[0]))(adaptation.moments)
    seen = (adaptation.num_scans > 1)[:, None]
    inverse_mass = jnp.where(seen, jnp.mean(variance, axis=1), tuning.inverse_mass)
    num_chains = variance.shape[1]
    # Time is measured in the new mass: rescale it so that steps stay, in the typical direction, as long as they were.
    scale = jnp.exp(0.5 * jnp.mean(jnp.log(tuning.inverse_mass) - jnp.log(inverse_mass), axis=-1))
    tuning = tuning._replace(inverse_mass=inverse_mass)
    if kernel.step_size is None:
        tuning = tuning._replace(step_size=tuning.step_size * scale)
    if kernel.trajectory_length is None:
        tuning = tuning._replace(trajectory_length=tuning.trajectory_length * scale)
    return tuning, fresh(kernel, tuning, num_chains)


def finish(kernel: Kernel, tuning: Tuning, adaptation: Adaptation) -> Tuning:
    """The averaged step sizes and trajectory lengths, to be kept from here on."""
    if kernel.step_size is None:
        tuning = tuning._replace(step_size=jnp.exp(adaptation.averaging[1]))
    if kernel.trajectory_length is None:
        tuning = tuning._replace(trajectory_length=jnp.exp(adaptation.mean_log_length))
    return tuning


def windows(num_warmup: int) -> list[tuple[int, bool]]:
    """Length of each warm-up window and whether a new mass is set at its end (Stan's schedule, doubling windows)."""
    schedule = build_adaptation_schedule(num_warmup)
    last = len(schedule) - 1
    return [(window.end - window.start + 1, 0 < i < last) for i, window in enumerate(schedule)]
