"""What kernels share: NumPyro's trajectories without its adaptation, jittered lengths, checks of a user's numbers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpyro.infer.hmc import HMCState, hmc
from numpyro.infer.util import ParamInfo

from temperax.engine.kernels.kernel import PotentialAt, Tuning
from temperax.errors import (
    LARGEST,
    MOST,
    SMALLEST,
    InputError,
    check_array,
    check_count,
    check_fraction,
    check_positive,
)


@dataclass(frozen=True)
class Jittered:
    """The numbers of a kernel whose trajectories last a share of a length that is adapted; see `HMC`."""

    step_size: float | None = None
    trajectory_length: float | None = None
    inverse_mass: float | Float[np.ndarray, " parameter"] | None = None
    target_acceptance: float = 0.85
    max_steps: int = 2048
    rank: int | None = field(default=None, metadata={"static": True})

    def __post_init__(self) -> None:
        if isinstance(self.target_acceptance, (int, float)):  # else JAX rebuilds the pytree, and `as_kernel` checks
            self.check()

    def check(self) -> None:
        """Say which of the numbers cannot be used, and make an array of a list of them."""
        check_numbers(self, ("step_size", "trajectory_length"), {"max_steps": MOST})

    def length(self, tuning: Tuning, jitter: Array) -> Float[Array, ""]:
        """How long a trajectory lasts, in units of time: from one step to the most."""
        longest = jnp.asarray(self.max_steps, tuning.step_size.dtype) * tuning.step_size
        return jnp.clip(jitter * tuning.trajectory_length, tuning.step_size, longest)


def unadapted(
    algorithm: str, key: Array, potential_at: PotentialAt, beta: Array, inverse_mass: Array
) -> tuple[Callable[..., HMCState], Callable[[HMCState], HMCState]]:
    """NumPyro's HMC or NUTS, adapting nothing: a state from a start, a step size and options, and one transition."""
    init, transition = hmc(potential_fn_gen=potential_at, algo=algorithm)

    def begin(start: ParamInfo, step_size: Array, **options: Any) -> HMCState:
        return init(
            start,
            num_warmup=0,
            step_size=step_size,
            inverse_mass_matrix=inverse_mass,
            adapt_step_size=False,
            adapt_mass_matrix=False,
            model_args=(beta,),
            rng_key=key,
            **options,
        )

    def go(state: HMCState) -> HMCState:
        # With this key, what NumPyro's start draws is used by nobody, and compiled by nobody.
        return transition(state._replace(rng_key=key), model_args=(beta,))

    return begin, go


def check_numbers(kernel: Any, optional: tuple[str, ...], counts: dict[str, int]) -> None:
    """Check the numbers a user gave: the optional ones, and counts with the most that each may be."""
    check_fraction("target_acceptance", kernel.target_acceptance)
    for name, most in counts.items():
        check_count(name, getattr(kernel, name), 1, most)
    rank = getattr(kernel, "rank", None)
    if rank is not None:
        check_count("rank", rank, 0)
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
