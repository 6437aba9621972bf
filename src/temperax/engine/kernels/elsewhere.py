"""Kernels of BlackJAX and NumPyro as explorers of a temperature."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
from jax.tree_util import register_dataclass
from jaxtyping import Array
from numpyro.infer.util import ParamInfo

from temperax.energies.models import takes
from temperax.engine.kernels.explorer import Explorer
from temperax.engine.kernels.kernel import Info, PotentialAt, Tuning
from temperax.errors import InputError, check_callable
from temperax.machine.compiling import mixing_types


@register_dataclass
@dataclass(frozen=True)
class FromBlackJAX(Explorer):
    """A sampling algorithm of BlackJAX; each transition starts it anew from a position.

    Attributes
    ----------
    build
        ``build(log_density)`` or ``build(log_density, beta)`` → ``SamplingAlgorithm``: tuned by its maker, for every
        temperature.  What it keeps besides the position (momenta, say) does not outlive a transition.

    See Also
    --------
    temperax.kernels.FromNumPyro

    Examples
    --------
    >>> import blackjax, jax.numpy as jnp, temperax as tx
    >>> kernel = tx.kernels.FromBlackJAX(lambda logp, beta: blackjax.mala(logp, 0.1 / (1.0 + beta)))
    """

    build: Callable = field(metadata={"static": True})

    def __post_init__(self) -> None:
        check_callable("build", self.build, "a function (log density, β) → SamplingAlgorithm")

    def step(
        self, key: Array, potential_at: PotentialAt, beta: Array, start: ParamInfo, tuning: Tuning, jitter: Array
    ) -> tuple[ParamInfo, Info]:
        """One step of the algorithm."""
        potential = potential_at(beta)
        algorithm = _made(self.build, lambda position: -potential(position), beta)
        init_key, key = jax.random.split(key)
        state = algorithm.init(start.z, init_key) if takes(algorithm.init, 2) else algorithm.init(start.z)
        state, info = algorithm.step(key, state)
        return start._replace(z=state.position), _info_of(start.z, info, "num_integration_steps", "is_divergent")


@register_dataclass
@dataclass(frozen=True)
class FromNumPyro(Explorer):
    """A kernel of NumPyro's that is made of a potential; each transition starts it anew from a position.

    Attributes
    ----------
    build
        ``build(potential)`` or ``build(potential, beta)`` → ``MCMCKernel``, made with ``potential_fn=potential`` and
        without adaptation: tuned by its maker, for every temperature.

    See Also
    --------
    temperax.kernels.FromBlackJAX, temperax.numpyro.TemperedHMC

    Examples
    --------
    >>> from numpyro.infer import BarkerMH
    >>> import temperax as tx
    >>> kernel = tx.kernels.FromNumPyro(
    ...     lambda potential: BarkerMH(potential_fn=potential, step_size=0.5, adapt_step_size=False)
    ... )
    """

    build: Callable = field(metadata={"static": True})

    def __post_init__(self) -> None:
        check_callable("build", self.build, "a function (potential, β) → MCMCKernel")

    def step(
        self, key: Array, potential_at: PotentialAt, beta: Array, start: ParamInfo, tuning: Tuning, jitter: Array
    ) -> tuple[ParamInfo, Info]:
        """One sample of the kernel."""
        kernel = _made(self.build, potential_at(beta), beta)
        init_key, key = jax.random.split(key)
        with mixing_types():  # NumPyro divides lengths by numbers of steps
            state = kernel.init(init_key, 0, start.z, (), {})._replace(rng_key=key)
            state = kernel.sample(state, (), {})
        found = getattr(state, kernel.sample_field)
        return start._replace(z=found), _info_of(start.z, state, "num_steps", "diverging")


def _made(build: Callable, density: Callable, beta: Array) -> Any:
    """What a user's function builds, of one argument or of two."""
    made = build(density, beta) if _asks_for_beta(build) else build(density)
    if not hasattr(made, "init"):
        raise InputError(
            "build", made, "is no sampler", "return a SamplingAlgorithm of BlackJAX or a kernel of NumPyro"
        )
    return made


def _asks_for_beta(build: Callable) -> bool:
    """Whether a second argument has no default of its own, or is named so."""
    parameters = [
        p
        for p in inspect.signature(build).parameters.values()
        if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]
    second = parameters[1] if len(parameters) > 1 else None
    return second is not None and (second.default is second.empty or second.name == "beta")


def _info_of(position: Array, found: Any, steps: str, diverging: str) -> Info:
    """What a step reports, as far as it says: otherwise one step that was accepted."""
    zero, dtype = jnp.zeros((), position.dtype), position.dtype
    accepted = next((getattr(found, n) for n in ("acceptance_rate", "accept_prob") if hasattr(found, n)), zero + 1)
    return Info(
        jnp.asarray(accepted, dtype),
        jnp.asarray(getattr(found, steps, 1), jnp.int32),
        jnp.asarray(getattr(found, diverging, False), bool),
        zero,
        jnp.zeros_like(position),
        zero,
    )
