"""What kernels share: NumPyro's transitions and states as the engine reads them, jittered lengths, a user's numbers."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpyro.infer.hmc import HMCState, hmc, momentum_generator
from numpyro.infer.util import ParamInfo

from temperax.engine.kernels.kernel import Info, PotentialAt, Tuning
from temperax.engine.kernels.mass import in_frame
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


def trajectory(
    algorithm: str,
    key: Array,
    potential_at: PotentialAt,
    beta: Array,
    start: ParamInfo,
    tuning: Tuning,
    *,
    momentum_key: Array | None = None,
    **options: Any,
) -> HMCState:
    """One transition of NumPyro's HMC or NUTS, with options of its own, in the frame of the tuning's mass.

    Given a momentum, which ``momentum_key`` draws, NumPyro returns the momentum at the trajectory's end.
    """

    def run(potential_at: PotentialAt, start: ParamInfo, inverse_mass: Array) -> HMCState:
        init, transition = hmc(potential_fn_gen=potential_at, algo=algorithm)
        state = init(
            start,
            num_warmup=0,
            step_size=tuning.step_size,
            inverse_mass_matrix=inverse_mass,
            adapt_step_size=False,
            adapt_mass_matrix=False,
            model_args=(beta,),
            rng_key=key,
            **options,
        )
        if momentum_key is not None:
            momentum = momentum_generator(start.z, state.adapt_state.mass_matrix_sqrt, momentum_key)
            state = state._replace(r=momentum)
        # With this key, what NumPyro's start draws is used by nobody, and compiled by nobody.
        return transition(state._replace(rng_key=key), model_args=(beta,))

    return in_frame(tuning, potential_at, start, run)


def end_of(state: HMCState) -> ParamInfo:
    """Where a trajectory ends, as the next one starts from it."""
    return ParamInfo(state.z, state.potential_energy, state.z_grad)


def info_of(state: HMCState, momentum: Array, trajectory: Array) -> Info:
    """What a trajectory of this momentum at its end, and of this length, reports."""
    return Info(state.accept_prob, state.num_steps, state.diverging, state.energy, momentum, trajectory)


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
