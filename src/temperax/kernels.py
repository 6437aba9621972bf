"""Transition kernels: NumPyro's HMC and NUTS, one transition of one replica at one inverse temperature.

A kernel is a pytree of its numbers (so that changing one compiles nothing) with a ``step``.  What adapts lives in
`Tuning`, not in the kernel; what a step reports lives in `Info`.  This is the one room that imports NumPyro's
transitions.  `Explorer` is the base of kernels that move by rules of their own.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import register_dataclass
from jaxtyping import Array, Bool, Float, Int
from numpyro.infer.hmc import HMCState, hmc, momentum_generator
from numpyro.infer.hmc_util import euclidean_kinetic_energy, find_reasonable_step_size
from numpyro.infer.util import ParamInfo

from temperax.errors import (
    LARGEST,
    MOST,
    SMALLEST,
    InputError,
    check_array,
    check_choice,
    check_count,
    check_fraction,
    check_positive,
)

# The potential of a replica, given its β: what NumPyro calls a potential with model arguments.
PotentialAt = Callable[[Array], Callable[[Array], Array]]


class Tuning(NamedTuple):
    """What is adapted for one temperature (with a leading axis: for all)."""

    step_size: Float[Array, "*temperature"]
    inverse_mass: Float[Array, "*temperature parameter"]
    trajectory_length: Float[Array, "*temperature"]


class Info(NamedTuple):
    """What one transition reports."""

    acceptance_rate: Float[Array, "*batch"]
    n_steps: Int[Array, "*batch"]
    diverging: Bool[Array, "*batch"]
    energy: Float[Array, "*batch"]  # Hamiltonian, in nats
    momentum: Float[Array, "*batch parameter"]  # at the end of the trajectory, for the trajectory criterion
    trajectory: Float[Array, "*batch"]  # length of this trajectory, in units of time


@runtime_checkable
class Kernel(Protocol):
    """What the engine asks of a kernel."""

    step_size: float | None
    trajectory_length: float | None
    inverse_mass: float | Float[np.ndarray, " parameter"] | None
    target_acceptance: float

    def step(
        self,
        key: Array,
        potential_at: PotentialAt,
        beta: Array,
        start: ParamInfo,
        tuning: Tuning,
        jitter: Array,
    ) -> tuple[ParamInfo, Info]:
        """One transition that leaves exp(-potential) invariant: where it ends, and what happened."""
        ...


@register_dataclass
@dataclass(frozen=True)
class HMC:
    """Hamiltonian Monte Carlo with jittered trajectory length.

    A trajectory lasts ``u * trajectory_length`` with u from a low-discrepancy sequence in (0, 1] that all replicas of
    a scan share, so that a batch does not wait for one long trajectory (Hoffman, Radul & Sountsov 2021).

    Attributes
    ----------
    step_size, trajectory_length, inverse_mass
        Fixed values for every temperature; None adapts them per temperature during warm-up.  The inverse mass is one
        number, or one for each parameter of the flat position: about the variance of the draws.
    target_acceptance
        Mean acceptance that step-size adaptation aims at; .7 and .92 cost more gradients an independent prediction.
    max_steps
        Most leapfrog steps of one trajectory.
    """

    step_size: float | None = None
    trajectory_length: float | None = None
    inverse_mass: float | Float[np.ndarray, " parameter"] | None = None
    target_acceptance: float = 0.85
    max_steps: int = 2048

    def __post_init__(self) -> None:
        if isinstance(self.target_acceptance, (int, float)):  # else JAX rebuilds the pytree, and `as_kernel` checks
            self.check()

    def check(self) -> None:
        """Say which of the numbers cannot be used, and make an array of a list of them."""
        _check_kernel(self, ("step_size", "trajectory_length"), {"max_steps": MOST})

    def step(
        self,
        key: Array,
        potential_at: PotentialAt,
        beta: Array,
        start: ParamInfo,
        tuning: Tuning,
        jitter: Array,
    ) -> tuple[ParamInfo, Info]:
        """One trajectory of NumPyro's HMC."""
        longest = self.max_steps * tuning.step_size
        length = jnp.clip(jitter * tuning.trajectory_length, tuning.step_size, longest)
        init, transition = hmc(potential_fn_gen=potential_at, algo="HMC")
        momentum_key, key = jax.random.split(key)
        state = init(
            start,
            num_warmup=0,
            step_size=tuning.step_size,
            inverse_mass_matrix=tuning.inverse_mass,
            adapt_step_size=False,
            adapt_mass_matrix=False,
            trajectory_length=length,
            model_args=(beta,),
            rng_key=key,
        )
        # Given a momentum, NumPyro returns the momentum at the trajectory's end, which the criterion needs.
        momentum = momentum_generator(start.z, state.adapt_state.mass_matrix_sqrt, momentum_key)
        state = transition(state._replace(r=momentum), model_args=(beta,))
        return _end(state), _info(state, state.r, length)


@register_dataclass
@dataclass(frozen=True)
class NUTS:
    """The No-U-Turn sampler: trajectories that end where they turn back (Hoffman & Gelman 2014).

    Attributes
    ----------
    step_size, inverse_mass
        As in `HMC`.
    target_acceptance
        Mean acceptance that step-size adaptation aims at.
    max_tree_depth
        A trajectory has at most 2^max_tree_depth - 1 steps.
    """

    step_size: float | None = None
    inverse_mass: float | Float[np.ndarray, " parameter"] | None = None
    target_acceptance: float = 0.8
    max_tree_depth: int = field(default=10, metadata={"static": True})
    trajectory_length: ClassVar[float] = 0.0  # never adapted: a tree finds its own

    def __post_init__(self) -> None:
        if isinstance(self.target_acceptance, (int, float)):  # else JAX rebuilds the pytree, and `as_kernel` checks
            self.check()

    def check(self) -> None:
        """Say which of the numbers cannot be used, and make an array of a list of them."""
        _check_kernel(self, ("step_size",), {"max_tree_depth": 30})  # steps are counted in 32 bits

    def step(
        self,
        key: Array,
        potential_at: PotentialAt,
        beta: Array,
        start: ParamInfo,
        tuning: Tuning,
        jitter: Array,
    ) -> tuple[ParamInfo, Info]:
        """One tree of NumPyro's NUTS."""
        init, transition = hmc(potential_fn_gen=potential_at, algo="NUTS")
        state = init(
            start,
            num_warmup=0,
            step_size=tuning.step_size,
            inverse_mass_matrix=tuning.inverse_mass,
            adapt_step_size=False,
            adapt_mass_matrix=False,
            max_tree_depth=self.max_tree_depth,
            model_args=(beta,),
            rng_key=key,
        )
        state = transition(state, model_args=(beta,))
        return _end(state), _info(state, jnp.zeros_like(state.z), state.num_steps * tuning.step_size)


class Explorer:
    """A kernel of the user's own: subclasses define `move`, a map (position, β) → position.

    Nothing adapts and no gradient is asked for.  A subclass is a frozen dataclass registered as a pytree; its numbers
    and arrays are values that may change without compiling.

    Examples
    --------
    Metropolis moves by a fixed width, on any energy:

    >>> import dataclasses, jax, temperax as tx
    >>> @jax.tree_util.register_dataclass
    ... @dataclasses.dataclass(frozen=True)
    ... class Metropolis(tx.Explorer):
    ...     width: float = 0.5
    ...
    ...     def move(self, key, position, beta, potential):
    ...         there, accept = jax.random.split(key)
    ...         proposed = position + self.width * jax.random.normal(there, position.shape)
    ...         uphill = potential(proposed) - potential(position)
    ...         return jax.numpy.where(jax.random.exponential(accept) > uphill, proposed, position)
    """

    step_size: ClassVar[float] = 1.0
    trajectory_length: ClassVar[float] = 1.0
    inverse_mass: ClassVar[float] = 1.0
    target_acceptance: ClassVar[float] = 0.8

    def move(
        self, key: Array, position: Array, beta: Array, potential: Callable[[Array], Array]
    ) -> Float[Array, " parameter"]:
        """Where the position goes: any map that leaves the distribution at β invariant.

        Parameters
        ----------
        key
            Randomness of this move.
        position
            Unconstrained, flat, of length P.
        beta
            Inverse temperature of the replica, never 0 where the path ends in exact draws.
        potential
            -log π_β of a position up to a constant, in nats, on whatever path is run: exp(-potential) is what must
            stay invariant.
        """
        raise NotImplementedError(f"{type(self).__name__} has no move")

    def step(
        self,
        key: Array,
        potential_at: PotentialAt,
        beta: Array,
        start: ParamInfo,
        tuning: Tuning,
        jitter: Array,
    ) -> tuple[ParamInfo, Info]:
        """One move, as the engine asks for it: it counts as one step that was accepted."""
        position = self.move(key, start.z, beta, potential_at(beta))
        zero = jnp.zeros((), position.dtype)
        info = Info(zero + 1, jnp.int32(1), jnp.bool_(False), zero, jnp.zeros_like(position), zero)
        # The next move asks for the position alone, and the engine evaluates energies where the last one ends.
        return start._replace(z=position), info


KERNELS = {"hmc": HMC, "nuts": NUTS}


def as_kernel(kernel: object) -> Kernel:
    """A kernel from its name or itself."""
    if isinstance(kernel, str):
        return check_choice("kernel", kernel, KERNELS)()
    if not isinstance(kernel, Kernel):
        raise InputError("kernel", kernel, "is not a kernel", "give 'hmc', 'nuts', HMC(...), NUTS(...) or an Explorer")
    if isinstance(kernel, (HMC, NUTS)):
        kernel.check()
    if jax.tree_util.all_leaves([kernel]):
        raise InputError("kernel", kernel, "is no pytree", "decorate its class with jax.tree_util.register_dataclass")
    return kernel


def most_steps(kernel: Kernel) -> float:
    """Steps of the longest trajectory that a kernel makes; infinite where it has no cap."""
    if isinstance(kernel, NUTS):
        return 2**kernel.max_tree_depth - 1
    return float(getattr(kernel, "max_steps", jnp.inf))


def reasonable_step_size(
    key: Array, potential_at: PotentialAt, beta: Array, start: ParamInfo, inverse_mass: Array
) -> Array:
    """A step size whose first step is accepted about as often as not: where adaptation starts."""

    def draw_momentum(position: Array, inverse_mass: Array, key: Array) -> Array:
        return momentum_generator(position, 1 / jnp.sqrt(inverse_mass), key)

    one = jnp.ones((), start.z.dtype)
    return find_reasonable_step_size(
        potential_at(beta),
        euclidean_kinetic_energy,
        draw_momentum,
        one,
        inverse_mass,
        (start.z, None, start.potential_energy, start.z_grad),
        key,
    )


def _end(state: HMCState) -> ParamInfo:
    return ParamInfo(state.z, state.potential_energy, state.z_grad)


def _info(state: HMCState, momentum: Array, trajectory: Array) -> Info:
    return Info(state.accept_prob, state.num_steps, state.diverging, state.energy, momentum, trajectory)


def _check_kernel(kernel: HMC | NUTS, optional: tuple[str, ...], counts: dict[str, int]) -> None:
    """Check the numbers a user gave: the optional ones, and counts with the most that each may be."""
    check_fraction("target_acceptance", kernel.target_acceptance)
    for name, most in counts.items():
        check_count(name, getattr(kernel, name), 1, most)
    for name in optional:
        if getattr(kernel, name) is not None:
            check_positive(name, getattr(kernel, name))
    if kernel.inverse_mass is not None:
        object.__setattr__(kernel, "inverse_mass", _as_mass(kernel.inverse_mass))  # a list would be many leaves


def _as_mass(given: object) -> float | Float[np.ndarray, " parameter"]:
    """An inverse mass as one number or an array of them; whether it fits an energy is seen where both are there."""
    if not isinstance(given, (Sequence, np.ndarray, jax.Array)):
        return check_positive("inverse_mass", given)
    remedy = "give a positive number, or one for each parameter"
    values = check_array("inverse_mass", given, remedy)
    if values.ndim > 1 or not values.size or not ((values >= SMALLEST) & (values <= LARGEST)).all():  # NaN fails too
        raise InputError("inverse_mass", given, "is not made of positive numbers that single precision holds", remedy)
    return values if values.ndim else float(values)
