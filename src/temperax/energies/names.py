"""Names under which results hold parameters: of variables, of their dimensions, of single numbers."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from temperax.energies.parameters import is_distribution
from temperax.errors import InputError

#: Dimensions that every result has: a variable of that name would be taken for one.
_TAKEN = ("chain", "draw", "temperature")


def parts_of(path: Sequence) -> list[str]:
    """The keys of a leaf's path, whatever holds the leaf."""
    return [str(getattr(p, "key", getattr(p, "name", getattr(p, "idx", p)))) for p in path]


def name_of(path: Sequence) -> str:
    """A leaf's path as a variable's name; the level that only says "network" is left out."""
    parts = parts_of(path)
    return variable_name("_".join(parts[1:] if parts[:1] == ["network"] else parts) or "theta")


def variable_name(name: str) -> str:
    """A name as a result can hold it: slashes, which lead to other groups there, become dots."""
    name = name.replace("/", ".").replace("\\", ".")
    return f"{name}_" if name in _TAKEN or not name.strip(".") else name


def parameter_name(layout: Sequence[tuple[str, Sequence[int]]], parameter: int) -> str:
    """The name of one parameter of a position with this layout: ``layer_0_weight[2, 1]``, say."""
    for name, shape in layout:
        size = int(np.prod(shape))
        if parameter < size:
            index = ", ".join(str(i) for i in np.unravel_index(parameter, shape)) if shape else ""
            return f"{name}[{index}]" if index else name
        parameter -= size
    return "the energy itself"


def check_names(argument: str, tree: Any) -> None:
    """Say so where a result could not hold the leaves of a tree, or not tell them apart."""
    paths = jax.tree_util.tree_leaves_with_path(tree, is_leaf=is_distribution)
    names = [name_of(path) for path, _ in paths]
    for name in names:
        if names.count(name) > 1:
            raise InputError(argument, name, "is the name of two parameters", "rename one of them")
        if not name.isprintable() or len(name) >= 200:
            raise InputError(argument, name, "cannot name a variable of a result", "give it a short, printable name")


def dimensions(shapes: Mapping[str, tuple[int, ...]], known: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Names of all dimensions of variables of these shapes: the known ones where they fit, else ArviZ's.

    A dimension has one length wherever it occurs, and is not named like a variable.
    """
    lengths: dict[str, int] = {}
    found = {}
    for name, shape in shapes.items():
        own = list(known.get(name, ()))[: len(shape)]
        fits = len(set(own)) == len(own)
        if not fits or any(lengths.get(d, n) != n for d, n in zip(own, shape, strict=False)):
            own = []
        lengths |= dict(zip(own, shape, strict=False))
        own += [f"{name}_dim_{i}" for i in range(len(own), len(shape))]
        found[name] = [f"{d}_axis" if d in shapes or d in _TAKEN else d for d in own]
    return found
