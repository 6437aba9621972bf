"""Microcanonical kernels: trajectories of constant speed, with a Metropolis step (MAMS) or without one (MCLMC).

A trajectory's momentum p keeps the length √P and turns with the force; its time is that of Hamiltonian dynamics, so
that step sizes, masses and lengths mean what they mean in HMC.  One step turns p by half a step, moves, and turns it
again: one gradient.  The turn is exact for a constant force.  Dynamics: Ver Steeg & Galstyan 2021; Robnik, De Luca,
Silverstein & Seljak 2023, *Microcanonical Hamiltonian Monte Carlo*; the Metropolis step: Robnik, Cohn-Gordon & Seljak
2025, arXiv:2503.01707.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.tree_util import register_dataclass
from jaxtyping import Array, Float
from numpyro.infer.util import ParamInfo

from temperax.engine.kernels.kernel import Info, PotentialAt, Tuning
from temperax.engine.kernels.mass import in_frame
from temperax.engine.kernels.trajectories import Jittered
from temperax.machine.compiling import root

#: A trajectory whose energy rises by more than this, in nats, diverges, as in NumPyro.
DIVERGED = 1000.0
#: Variance of the energy error of a step, in nats² a parameter, at which biases are small (Robnik et al. 2023).
ERROR_VARIANCE = 5e-4
#: Standard deviations of that error beyond which no trajectory goes whose steps are of the right size.
IMPLAUSIBLE = 10.0


class Flight(NamedTuple):
    """A point of a trajectory, as `mass.in_frame` reads it."""

    z: Float[Array, " parameter"]
    potential_energy: Float[Array, ""]
    z_grad: Float[Array, " parameter"]
    r: Float[Array, " parameter"]  # the momentum, whose velocity is inverse mass × momentum
    rise: Float[Array, ""]  # of the total energy since the start, in nats
    accept_prob: Float[Array, ""]
    num_steps: Array


def turn(
    direction: Float[Array, " parameter"], gradient: Float[Array, " parameter"], time: Float[Array, ""]
) -> tuple[Float[Array, " parameter"], Float[Array, ""]]:
    """A unit vector after so much time under a constant force, and what the kinetic energy rises by, in nats.

    With exponentials of what is negative alone, so that no force is too large.
    """
    size = direction.size
    steepness = jnp.sqrt(jnp.sum(gradient**2))
    downhill = -gradient / jnp.where(steepness > 0, steepness, 1.0)
    angle = time * steepness * size**0.5 / (size - 1)
    # A direction is straight uphill to rounding at most, and a long turn tells what it was apart from that: were it
    # believed, it would not turn at all, and climb out of any well at no cost.
    straight = -1.0 + jnp.finfo(direction.dtype).eps
    along, shrunk = jnp.clip(jnp.sum(downhill * direction), straight, 1.0), jnp.exp(-angle)
    turned = downhill * (1 - shrunk) * (1 + shrunk + along * (1 - shrunk)) + 2 * shrunk * direction
    turned = turned / root(jnp.sum(turned**2))
    rise = (size - 1) * (angle - jnp.log(2.0) + jnp.logaddexp(jnp.log1p(along), jnp.log1p(-along) - 2 * angle))
    return turned, rise


def fly(
    key: Array,
    potential: Callable[[Array], Array],
    start: ParamInfo,
    inverse_mass: Float[Array, " parameter"],
    step_size: Float[Array, ""],
    length: Float[Array, ""],
    coherence: Float[Array, ""] | None,
) -> Flight:
    """A trajectory of this length from a random direction, which noise turns within the ``coherence`` time, if any."""
    scale, size = jnp.sqrt(inverse_mass), start.z.size
    draw_key, noise_key = jax.random.split(key)
    first = jax.random.normal(draw_key, start.z.shape, start.z.dtype)
    first = first / root(jnp.sum(first**2))
    climb = jax.value_and_grad(potential)
    noise = None if coherence is None else jnp.sqrt(jnp.expm1(2 * step_size / coherence) / size)

    def step(i: Array, carry: tuple) -> tuple:
        z, height, gradient, direction, kinetic = carry
        direction, first_rise = turn(direction, scale * gradient, 0.5 * step_size)
        z = z + step_size * size**0.5 * scale * direction
        height, gradient = climb(z)
        direction, second_rise = turn(direction, scale * gradient, 0.5 * step_size)
        kinetic = kinetic + first_rise + second_rise
        if noise is not None:
            direction = direction + noise * jax.random.normal(jax.random.fold_in(noise_key, i), z.shape, z.dtype)
            direction = direction / root(jnp.sum(direction**2))
        return z, height, gradient, direction, kinetic

    steps = jnp.maximum(1, jnp.round(length / step_size)).astype(jnp.int32)
    begin = (start.z, start.potential_energy, start.z_grad, first, jnp.zeros_like(start.potential_energy))
    z, height, gradient, direction, kinetic = jax.lax.fori_loop(0, steps, step, begin)
    rise = height - start.potential_energy + kinetic
    rise = jnp.where(jnp.isfinite(rise), rise, jnp.inf)
    return Flight(z, height, gradient, size**0.5 * direction / scale, rise, jnp.exp(-jnp.maximum(rise, 0.0)), steps)


@register_dataclass
@dataclass(frozen=True)
class MAMS(Jittered):
    """Metropolis-adjusted microcanonical trajectories (Robnik, Cohn-Gordon & Seljak 2025); exact.

    For energies of two parameters or more.

    Attributes
    ----------
    step_size, trajectory_length, inverse_mass, max_steps, rank
        As in `HMC`.
    target_acceptance
        Mean acceptance that step-size adaptation aims at.

    See Also
    --------
    temperax.kernels.MCLMC, temperax.kernels.HMC

    Examples
    --------
    >>> tree = tx.sample(key, energy, kernel="mams", num_warmup=50, num_draws=20, progress=False)
    >>> tree.attrs["kernel"]
    'MAMS'
    """

    target_acceptance: float = 0.9

    def step(
        self,
        key: Array,
        potential_at: PotentialAt,
        beta: Array,
        start: ParamInfo,
        tuning: Tuning,
        jitter: Array,
    ) -> tuple[ParamInfo, Info]:
        """One trajectory."""
        length = self.length(tuning, jitter)
        fly_key, accept_key = jax.random.split(key)

        def run(potential_at: PotentialAt, start: ParamInfo, inverse_mass: Array) -> Flight:
            return fly(
                fly_key, potential_at(beta), start, inverse_mass, tuning.step_size, length, self._coherence(tuning)
            )

        end = in_frame(tuning, potential_at, start, run)
        moved = self._accepts(accept_key, end)
        found = ParamInfo(end.z, end.potential_energy, end.z_grad)
        found = jax.tree.map(lambda new, old: jnp.where(moved, new, old), found, start)
        diverging = end.rise > DIVERGED
        return found, Info(end.accept_prob, end.num_steps, diverging, found.potential_energy, end.r, length)

    def _accepts(self, key: Array, end: Flight) -> Array:
        return jax.random.uniform(key, (), end.accept_prob.dtype) < end.accept_prob

    def _coherence(self, tuning: Tuning) -> Array | None:
        return None


@register_dataclass
@dataclass(frozen=True)
class MCLMC(MAMS):
    """Microcanonical Langevin Monte Carlo (Robnik et al. 2023), without a Metropolis step: *not exact*.

    What that would reject stays in the draws as a bias of their energies, which results estimate by scans
    of `MAMS` that follow.  Only a trajectory whose energy rises as none does whose steps are of the size aimed at is
    undone, so that chains stay near their start while steps are still too long.

    Attributes
    ----------
    step_size, trajectory_length, inverse_mass, max_steps, rank
        As in `HMC`.
    target_acceptance
        Mean acceptance that a Metropolis step would have, at which step-size adaptation aims.  By default that of an
        energy error whose variance is 5 · 10⁻⁴ a parameter.

    See Also
    --------
    temperax.kernels.MAMS

    Examples
    --------
    >>> tree = tx.sample(key, energy, kernel="mclmc", num_warmup=50, num_draws=20, progress=False)
    >>> "energy_bias" in tree.attrs  # what the missing step costs, estimated
    True
    """

    target_acceptance: float | None = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        if self.target_acceptance is None:
            self.check()
        super().__post_init__()

    def check(self) -> None:
        """As for every kernel, where no target is one that fits the energy."""
        if self.target_acceptance is None:
            object.__setattr__(self, "inverse_mass", self.fitted(1).inverse_mass)  # checked as it is made
        else:
            super().check()

    def fitted(self, size: int) -> "MCLMC":
        """The kernel with a target for so many parameters."""
        if self.target_acceptance is not None:
            return self
        # Of errors N(σ²/2, σ²), which equilibrium asks for, a Metropolis step accepts erfc(σ / √8).
        return replace(self, target_acceptance=math.erfc(math.sqrt(ERROR_VARIANCE * size / 8)))

    def _accepts(self, key: Array, end: Flight) -> Array:
        """What steps of the right size can lead to: with too long ones chains would climb away from their start."""
        assert self.target_acceptance is not None, "as_kernel has fitted it"
        deviation = math.sqrt(8) * jax.scipy.special.erfinv(1 - self.target_acceptance)
        return end.rise < deviation**2 / 2 + IMPLAUSIBLE * deviation

    def _coherence(self, tuning: Tuning) -> Array:
        """The direction is forgotten within a trajectory."""
        return tuning.trajectory_length
