"""The No-U-Turn sampler: NumPyro's trees."""

from dataclasses import dataclass, field
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
from jax.tree_util import register_dataclass
from jaxtyping import Array, Float
from numpyro.infer.hmc import HMCState
from numpyro.infer.util import ParamInfo

from temperax.engine.kernels.kernel import Info, PotentialAt, Tuning
from temperax.engine.kernels.mass import in_frame
from temperax.engine.kernels.trajectories import check_numbers, unadapted


@register_dataclass
@dataclass(frozen=True)
class NUTS:
    """The No-U-Turn sampler: trajectories that end where they turn back (Hoffman & Gelman 2014).

    Attributes
    ----------
    step_size, inverse_mass, rank
        As in `HMC`.
    target_acceptance
        Mean acceptance that step-size adaptation aims at.
    max_tree_depth
        A trajectory has at most 2^max_tree_depth - 1 steps.

    See Also
    --------
    temperax.kernels.HMC

    Examples
    --------
    >>> tx.NUTS(target_acceptance=0.9, max_tree_depth=8)
    NUTS(step_size=None, inverse_mass=None, target_acceptance=0.9, max_tree_depth=8, rank=None)
    """

    step_size: float | None = None
    inverse_mass: float | Float[np.ndarray, " parameter"] | None = None
    target_acceptance: float = 0.8
    max_tree_depth: int = field(default=10, metadata={"static": True})
    rank: int | None = field(default=None, metadata={"static": True})
    trajectory_length: ClassVar[float] = 1.0  # of no consequence: a tree finds its own

    def __post_init__(self) -> None:
        if isinstance(self.target_acceptance, (int, float)):  # else JAX rebuilds the pytree, and `as_kernel` checks
            self.check()

    def check(self) -> None:
        """Say which of the numbers cannot be used, and make an array of a list of them."""
        check_numbers(self, ("step_size",), {"max_tree_depth": 30})  # steps are counted in 32 bits

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

        def run(potential_at: PotentialAt, start: ParamInfo, inverse_mass: Array) -> HMCState:
            begin, go = unadapted("NUTS", key, potential_at, beta, inverse_mass)
            return go(begin(start, tuning.step_size, max_tree_depth=self.max_tree_depth))

        end = in_frame(tuning, potential_at, start, run)
        length = end.num_steps.astype(tuning.step_size.dtype) * tuning.step_size
        info = Info(end.accept_prob, end.num_steps, end.diverging, end.energy, jnp.zeros_like(end.z), length)
        return ParamInfo(end.z, end.potential_energy, end.z_grad), info
