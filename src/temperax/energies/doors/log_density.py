"""Densities that are not apart into a prior and a likelihood: flat priors on their supports, and all else the data."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
from numpyro.distributions import ImproperUniform, biject_to, constraints
from numpyro.distributions.constraints import Constraint

from temperax.energies.names import name_of
from temperax.energies.parameters import leaves_of
from temperax.errors import InputError


@dataclass(frozen=True)
class Negative:
    """-log density: the data energy of what has no other."""

    log_density: Callable

    def __repr__(self) -> str:
        """The function's name."""
        return f"-{getattr(self.log_density, '__qualname__', repr(self.log_density))}"

    def __call__(self, *arguments: Any) -> Float[Array, ""]:
        """The energy of parameters, in nats."""
        value = self.log_density(*arguments)
        if jnp.shape(value) != () or not jnp.issubdtype(jnp.result_type(value), jnp.floating):
            raise InputError("log_density", value, "is not one real number", "return the log of a density")
        return -jnp.asarray(value)


def flat_priors(example: Any, supports: Mapping[str, Constraint]) -> Any:
    """A flat prior for each array of the example, on its support: all real numbers unless another is named."""
    leaves_of("example", example)
    named, structure = jax.tree_util.tree_flatten_with_path(example)
    names = [name_of(path) for path, _ in named]
    for name, support in supports.items():
        if name not in names:
            raise InputError("constraints", name, "names no parameter", f"use {', '.join(names)}")
        if not isinstance(support, Constraint):
            raise InputError(
                "constraints", support, "is no constraint", "give one of numpyro.distributions.constraints"
            )
        try:
            biject_to(support)
        except NotImplementedError as error:
            problem = "has no unconstrained form"
            raise InputError("constraints", support, problem, "give one such as constraints.positive") from error
    flat = [_flat(leaf, supports.get(name, constraints.real)) for name, (_, leaf) in zip(names, named, strict=True)]
    return jax.tree.unflatten(structure, flat)


def _flat(leaf: Any, support: Constraint) -> ImproperUniform:
    try:
        shape = jnp.shape(leaf)
    except (TypeError, ValueError) as error:
        raise InputError("example", leaf, "is not made of numbers", "give a pytree of arrays") from error
    if len(shape) < support.event_dim:
        problem = f"has fewer axes than {type(support).__name__} constrains"
        raise InputError("example", shape, problem, f"give an array of {support.event_dim} axes or more")
    batch = len(shape) - support.event_dim
    return ImproperUniform(support, shape[:batch], shape[batch:])
