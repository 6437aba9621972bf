"""The parameters of a model as a pytree of priors: what may be one, and its shape."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from numpyro.distributions import Distribution, ImproperUniform, Independent, MaskedDistribution, biject_to

from temperax.errors import InputError


def leaves_of(argument: str, tree: Any) -> list:
    """The leaves of a user's pytree, or what is wrong with it."""
    try:
        return jax.tree.leaves(tree, is_leaf=is_distribution)
    except (TypeError, ValueError) as error:
        raise InputError(argument, tree, "is no pytree", "give its dictionaries keys of one type") from error


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
    """Data as an array, or what is wrong with them; arrays of whole numbers stay so, since they may be indices."""
    if np.ma.is_masked(leaf):
        raise InputError("data", leaf, "has masked values, which would count as if they were data", "impute them")
    if isinstance(leaf, (np.ndarray, jax.Array)) and leaf.dtype.kind in "iu" and leaf.size:
        largest = max(abs(int(leaf.min())), abs(int(leaf.max())))
        if largest <= np.iinfo(jnp.result_type(int)).max:
            return jax.device_put(np.asarray(leaf).astype(jnp.result_type(int)))
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


def is_improper(leaf: Distribution) -> bool:
    """Whether no draw can be had of what a distribution's density says.

    It is flat over all of its support, masked, or one of the user's own that cannot be sampled.
    """
    if is_masked(leaf):
        return True
    while hasattr(leaf, "base_dist"):
        leaf = leaf.base_dist
    return isinstance(leaf, ImproperUniform) or type(leaf).sample is Distribution.sample


def is_masked(leaf: Distribution) -> bool:
    """Whether a distribution counts some of its values, or none of them."""
    while True:
        if isinstance(leaf, MaskedDistribution) and leaf._mask is not True:
            return True
        if not hasattr(leaf, "base_dist"):
            return False
        leaf = leaf.base_dist


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
