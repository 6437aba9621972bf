"""What the engine asks of a kernel, and what a kernel is given and reports."""

from collections.abc import Callable
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Array, Bool, Float, Int
from numpyro.infer.util import ParamInfo

# The potential of a replica, given its β: what NumPyro calls a potential with model arguments.
PotentialAt = Callable[[Array], Callable[[Array], Array]]


class Tuning(NamedTuple):
    """What is adapted for one temperature (with a leading axis: for all).

    See Also
    --------
    temperax.kernels.Kernel

    Examples
    --------
    >>> tx.kernels.Tuning._fields
    ('step_size', 'inverse_mass', 'trajectory_length', 'directions', 'widths')
    """

    step_size: Float[Array, "*temperature"]
    inverse_mass: Float[Array, "*temperature parameter"]
    trajectory_length: Float[Array, "*temperature"]
    directions: Float[Array, "*temperature parameter rank"]  # in which the mass is turned, see `mass`
    widths: Float[Array, "*temperature rank"]


class Info(NamedTuple):
    """What one transition reports.

    See Also
    --------
    temperax.kernels.Kernel

    Examples
    --------
    >>> tx.kernels.Info._fields[:3]
    ('acceptance_rate', 'n_steps', 'diverging')
    """

    acceptance_rate: Float[Array, "*batch"]
    n_steps: Int[Array, "*batch"]
    diverging: Bool[Array, "*batch"]
    energy: Float[Array, "*batch"]  # Hamiltonian, in nats
    momentum: Float[Array, "*batch parameter"]  # at the end of the trajectory, for the trajectory criterion
    trajectory: Float[Array, "*batch"]  # length of this trajectory, in units of time


@runtime_checkable
class Kernel(Protocol):
    """What the engine asks of a kernel.

    See Also
    --------
    temperax.kernels.Explorer, temperax.kernels.HMC

    Examples
    --------
    >>> tx.HMC(step_size=0.1).step_size, tx.HMC().step_size  # fixed, and None where it adapts
    (0.1, None)
    """

    @property
    def step_size(self) -> float | None:
        """Fixed step size, or None to adapt it."""
        ...

    @property
    def trajectory_length(self) -> float | None:
        """Fixed length of a trajectory in units of time, or None to adapt it."""
        ...

    @property
    def inverse_mass(self) -> float | Float[np.ndarray, " parameter"] | None:
        """Fixed inverse mass, or None to adapt it."""
        ...

    @property
    def target_acceptance(self) -> float | None:
        """Mean acceptance that step-size adaptation aims at; None where it is found as soon as there is an energy."""
        ...

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
