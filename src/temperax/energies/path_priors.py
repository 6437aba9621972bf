"""Priors over the arrays of any network, found by the paths that lead to them."""

import fnmatch
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from numpyro.distributions import Distribution

from temperax.energies.names import parts_of
from temperax.energies.parameters import check_fit, is_distribution, leaves_of
from temperax.energies.priors import ARD, Elementwise, Prior
from temperax.errors import InputError

#: Arrays of weights whose outputs are more than the last axis: projections of attention to heads.
_TO_HEADS = ("query", "key", "value")


def path_of(keys: Any) -> str:
    """A leaf's path, as patterns name it: ``"layers/0/kernel"``."""
    return "/".join(parts_of(keys))


def nested(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Leaves by path as dictionaries in dictionaries."""
    found: dict[str, Any] = {}
    for path, leaf in arrays.items():
        *rooms, last = path.split("/")
        inner = found
        for room in rooms:
            inner = inner.setdefault(room, {})
        inner[last] = leaf
    return found


def leaf_at(tree: Any, path: str) -> Any:
    """The leaf of `nested` dictionaries at a path."""
    for room in path.split("/"):
        tree = tree[room]
    return tree


def fan_in(path: str, shape: tuple[int, ...], outputs_first: bool) -> int:
    """How many inputs meet in a unit of a layer with weights of this shape.

    Flax has a kernel's outputs last, Equinox its weight's outputs first; what looks up a row has as many as columns.
    """
    if len(shape) < 2:
        return 1
    if path.endswith("embedding"):
        return shape[-1]
    if outputs_first:
        return int(np.prod(shape[1:]))
    to_heads = len(shape) == 3 and any(name in _TO_HEADS for name in path.split("/"))
    return shape[0] if to_heads else int(np.prod(shape[:-1]))


def fixed_arrays(network: Any) -> list[Any]:
    """Arrays that a network computes with and that have no prior, as it was made: what its name alone does not say."""
    return list(getattr(network, "fixed_arrays", ()))


@dataclass(frozen=True)
class Partly:
    """A network some of whose arrays are kept fixed."""

    network: Callable
    fixed: "FixedArrays"

    @property
    def fixed_arrays(self) -> list[Any]:
        """Those that are kept here, and the network's own."""
        return [*self.fixed.arrays.values(), *fixed_arrays(self.network)]

    def __call__(self, parameters: Any, x: Array) -> Array:
        """Outputs at the rows of ``x``."""
        return self.network(self.fixed.joined(parameters), x)

    def __repr__(self) -> str:
        """The network, and how many arrays of it are fixed."""
        return f"{self.network!r} with {len(self.fixed.arrays)} arrays fixed"


class FixedArrays:
    """Arrays by path that are constants of a program; equal to themselves alone."""

    def __init__(self, arrays: Mapping[str, Array], structure: Any, paths: list[str]) -> None:
        self.arrays, self.structure, self.paths = dict(arrays), structure, paths

    def joined(self, free: Any) -> Any:
        """The whole tree of parameters, from dictionaries of its free arrays."""
        leaves = [self.arrays[path] if path in self.arrays else leaf_at(free, path) for path in self.paths]
        return jax.tree.unflatten(self.structure, leaves)


def tree_prior(prior: Any, network: Callable, parameters: Any) -> tuple[Callable, Any]:
    """A network and a tree of distributions for its arrays; those whose prior is None become part of the network."""
    for leaf in leaves_of("parameters", parameters):
        if not jnp.issubdtype(getattr(leaf, "dtype", type(leaf)), jnp.floating):
            remedy = "keep what is fixed out of the parameters, by eqx.partition for one"
            raise InputError("parameters", leaf, "is not an array of real numbers", remedy)
    named, structure = jax.tree_util.tree_flatten_with_path(parameters)
    paths = [path_of(keys) for keys, _ in named]
    shapes = [jnp.shape(leaf) for _, leaf in named]
    if not isinstance(prior, (Prior, Distribution)) and _is_tree(prior, parameters):
        check_fit(prior, parameters)
        return network, prior
    chosen = _by_pattern(prior, paths) if isinstance(prior, Mapping) else [prior] * len(paths)
    first = getattr(network, "outputs_first", False)
    found = [_of_array(p, path, shape, first) for p, path, shape in zip(chosen, paths, shapes, strict=True)]
    if all(leaf is not None for leaf in found):
        return network, jax.tree.unflatten(structure, found)
    leaves = [leaf for _, leaf in named]
    fixed = {path: jnp.asarray(leaf) for path, leaf, p in zip(paths, leaves, found, strict=True) if p is None}
    if len(fixed) == len(paths):
        raise InputError("prior", prior, "keeps every array fixed", "give one of them a prior")
    free = nested({path: p for path, p in zip(paths, found, strict=True) if p is not None})
    return Partly(network, FixedArrays(fixed, structure, paths)), free


def _is_tree(prior: Any, parameters: Any) -> bool:
    """Whether a prior is a tree of distributions in the structure of the parameters, rather than patterns."""
    if not isinstance(prior, Mapping):
        return True
    leaves = leaves_of("prior", prior)
    if not leaves or not all(map(is_distribution, leaves)):
        return False
    structures: list = [jax.tree.structure(tree, is_leaf=is_distribution) for tree in (prior, parameters)]
    same = structures[0] == structures[1]
    scalar = any(
        not p.shape() and jnp.shape(leaf) for p, leaf in zip(leaves, jax.tree.leaves(parameters), strict=False)
    )
    return (same and not scalar) or any(isinstance(value, (Mapping, list, tuple)) for value in prior.values())


def _by_pattern(prior: Mapping[Any, Any], paths: list[str]) -> list[Any]:
    """The prior of every path: that of the last pattern which fits it."""
    chosen: dict[str, Any] = {}
    for pattern, value in prior.items():
        fits = [path for path in paths if fnmatch.fnmatchcase(path, str(pattern))]
        if not fits:
            raise InputError("prior", pattern, "fits no array of the network", f"its paths are {', '.join(paths)}")
        chosen |= dict.fromkeys(fits, value)
    if missing := [path for path in paths if path not in chosen]:
        raise InputError(
            "prior", missing, "are arrays that no pattern fits", 'add one such as "*", or None to fix them'
        )
    return [chosen[path] for path in paths]


def _of_array(prior: Any, path: str, shape: tuple[int, ...], outputs_first: bool) -> Distribution | None:
    if prior is None:
        return None
    if isinstance(prior, ARD):
        raise InputError("prior", prior, "is a prior for layers", "use Energy.mlp, or give one distribution")
    if isinstance(prior, Prior):
        inputs = fan_in(path, shape, outputs_first)
        bias = len(shape) < 2 or path.rpartition("/")[2] == "bias"  # which convolutions of Equinox have as a column
        scalar = prior.bias(inputs) if bias else prior.weight(inputs)
    elif is_distribution(prior):
        scalar = Elementwise(prior).distribution
    else:
        raise InputError("prior", prior, "is not a prior", "give one of temperax.priors or a NumPyro distribution")
    return scalar.expand(shape).to_event(len(shape))
