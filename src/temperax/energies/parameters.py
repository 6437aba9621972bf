"""The parameters of a model as a pytree of priors: what may be one, and their names and shapes."""

import re
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from numpyro.distributions import Distribution, Independent, biject_to

from temperax.errors import InputError

#: Names that results give to their own dimensions and coordinates.
_TAKEN = ("chain", "draw", "temperature", "beta", "input", "target")
#: And to those of parameters that are arrays.
_DIMENSION = re.compile(r".*_dim_\d+")


def parameter_name(layout: Sequence[tuple[str, Sequence[int]]], parameter: int) -> str:
    """The name of one parameter of a position with this layout: ``layer_0_weight[2, 1]``, say."""
    for name, shape in layout:
        size = int(np.prod(shape))
        if parameter < size:
            index = ", ".join(str(i) for i in np.unravel_index(parameter, shape)) if shape else ""
            return f"{name}[{index}]" if index else name
        parameter -= size
    return "the energy itself"


def leaves_of(argument: str, tree: Any) -> list:
    """The leaves of a user's pytree, or what is wrong with it."""
    try:
        return jax.tree.leaves(tree, is_leaf=is_distribution)
    except (TypeError, ValueError) as error:
        raise InputError(argument, tree, "is no pytree", "give its dictionaries keys of one type") from error


def check_names(prior: Any) -> None:
    """Say so where a result could not hold the parameters, or not tell them apart."""
    paths = jax.tree_util.tree_leaves_with_path(prior, is_leaf=is_distribution)
    names = [name_of(path) for path, _ in paths]
    for name in names:
        legal = name.isprintable() and not set(name) & set("/\\") and name not in (".", "..") and len(name) < 200
        if names.count(name) > 1 or name in _TAKEN or _DIMENSION.fullmatch(name) or not legal:
            problem = "is the name of two parameters" if names.count(name) > 1 else "cannot name a variable of a result"
            raise InputError("prior", name, problem, "rename the key of the pytree")


def check_fit(prior: Any, parameters: Any) -> None:
    """Say so where a tree of distributions has not the structure and shapes of the parameters."""
    priors = leaves_of("prior", prior)
    for leaf in priors:
        if not is_distribution(leaf):
            raise InputError("prior", leaf, "is not a continuous NumPyro distribution", "give one such as Normal()")
    structures: list = [jax.tree.structure(tree, is_leaf=is_distribution) for tree in (prior, parameters)]
    shapes = [jnp.shape(leaf) for leaf in jax.tree.leaves(parameters)]
    if structures[0] != structures[1] or [leaf.shape() for leaf in priors] != shapes:
        raise InputError("prior", prior, "does not fit the parameters", "give one distribution of each array's shape")


def as_data(leaf: Any) -> Array:
    """Data as an array, or what is wrong with them."""
    try:
        with np.errstate(over="ignore"):
            array = as_float(leaf)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError("data", leaf, "is not made of numbers", "give a pytree of arrays") from error
    if jnp.issubdtype(array.dtype, jnp.inexact) and not np.isfinite(array).all():
        raise InputError("data", leaf, "has values that are not finite in single precision", "impute or rescale them")
    return array


def as_float(leaf: Any) -> Array:
    """Python numbers become arrays, so that they are leaves of one type whatever the user wrote."""
    known = isinstance(leaf, jax.Array)
    array: Any = leaf if known else np.asarray(leaf)
    if jnp.issubdtype(array.dtype, jnp.floating) or jnp.issubdtype(array.dtype, jnp.integer):
        array = array.astype(jnp.result_type(float))
    return array if known else jax.device_put(array)  # which compiles nothing, other than `jax.numpy.asarray`


def elementwise(prior: Distribution) -> Distribution:
    """The prior of every parameter, or of every event that cannot be taken apart."""
    while isinstance(prior, Independent):
        prior = prior.base_dist
    return prior


def is_distribution(leaf: object) -> bool:
    """Whether a leaf of a prior is one of NumPyro's distributions."""
    return isinstance(leaf, Distribution)


def has_floats(prior: Distribution) -> bool:
    """Whether the values of a distribution can be written as unconstrained floats."""
    try:
        biject_to(prior.support)
    except NotImplementedError:
        return False
    return True


def is_shape(leaf: object) -> bool:
    """Whether a leaf is the shape of an array."""
    return isinstance(leaf, tuple) and all(isinstance(n, int) for n in leaf)


def name_of(path: Sequence) -> str:
    """A leaf's path as a variable's name; the level that only says "network" is left out."""
    parts = [str(getattr(p, "key", getattr(p, "name", getattr(p, "idx", p)))) for p in path]
    return "_".join(parts[1:] if parts[:1] == ["network"] else parts) or "theta"
