"""Kernels that move by rules of the user's own."""

from collections.abc import Callable
from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float
from numpyro.infer.util import ParamInfo

from temperax.engine.kernels.kernel import Info, PotentialAt, Tuning


class Explorer:
    """A kernel of the user's own: subclasses define `move`, a map (position, β) → position.

    Nothing adapts and no gradient is asked for.  A subclass is a frozen dataclass registered as a pytree; its numbers
    and arrays are values that may change without compiling.

    See Also
    --------
    temperax.kernels.Kernel

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
