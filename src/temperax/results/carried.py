"""The model that a result carries: its data set and its energy, from the result alone."""

import inspect
import json
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array

from temperax.energies.dataset import Dataset
from temperax.energies.encoding import Encoding
from temperax.energies.energy import Energy
from temperax.energies.importing import imported
from temperax.errors import InputError, check_array, check_result
from temperax.results import notation

#: Purposes of the keys that are split off a run's key.
STARTS, RUN, PREDICT, HOTTEST = range(4)


def recipe(tree: xr.DataTree, name: str) -> Any:
    """One of the attributes that say how a result came to be."""
    try:
        return json.loads(tree.attrs[name])
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise InputError("tree", name, "is missing or damaged", "give a result as it was returned") from error


def key_of(tree: xr.DataTree) -> Array:
    """The random key of a result.

    Raises
    ------
    InputError
        If the result carries none.
    """
    data = check_array("tree", recipe(tree, "key"), "give a result as it was returned").astype(np.uint32)
    try:
        return jax.random.wrap_key_data(jnp.asarray(data), impl=tree.attrs.get("key_implementation"))
    except (TypeError, ValueError) as error:
        raise InputError("tree", data, "carries no random key", "give a result as it was returned") from error


def noise_key(key: Array) -> Array:
    """A key of the one kind that JAX draws counts by, from one of whatever kind; of that kind, the key itself."""
    if str(jax.random.key_impl(key)) == "threefry2x32":
        return key
    return jax.random.wrap_key_data(jax.random.bits(key, (2,), jnp.uint32), impl="threefry2x32")


def dataset_of(tree: xr.DataTree) -> Dataset:
    """The data set of a network's result.

    Raises
    ------
    InputError
        If the result carries none.
    """
    names = ("x", "x_test", "y_test", "x_mean", "x_scale", "y_mean", "y_scale")
    words = {"problem": "carries no data set", "remedy": "give a result of Energy.mlp or Energy.network"}
    constant = check_result(tree, "constant_data", *names, "input", "target", **words)
    if not {"task", "data"} <= set(tree.attrs):
        raise InputError("tree", list(tree.attrs), "lacks attributes of its data", "give a result as it was returned")
    classes = recipe(tree, "classes") if "classes" in tree.attrs else []
    if not isinstance(classes, list):
        raise InputError("tree", classes, "are no classes", "give a result as it was returned")
    return Dataset(
        y=check_result(tree, "observed_data", "y")["y"].values.reshape(constant.sizes["row"], -1),
        task=tree.attrs["task"],
        name=tree.attrs["data"],
        inputs=tuple(constant["input"].values.tolist()),
        targets=tuple(constant["target"].values.tolist()),
        classes=tuple(map(str, classes)),
        encoding=Encoding.from_json(recipe(tree, "encoding") if "encoding" in tree.attrs else None),
        **{name: constant[name].values for name in names},
    )


def energy_of(tree: xr.DataTree, trust: Sequence[str] = ()) -> Energy:
    """The energy that a result is of, from the result (or its file) alone.

    Parameters
    ----------
    tree
        A result on an energy of `Energy.mlp` or `Energy.network`.
    trust
        Packages from which the file may import functions and modules of a user's own: to import is to execute, and a
        file may come from anybody.

    Raises
    ------
    InputError
        If the energy was made otherwise, or by a module or function of a user's own that has no import path, is not
        found there or is of a package that is not trusted.

    See Also
    --------
    temperax.repeat, temperax.predict.predictions

    Examples
    --------
    >>> tx.energy_of(tree).size == energy.size
    True
    """
    arguments = recipe(tree, "energy")
    if arguments is None:
        remedy = "give the energy that was sampled"
        raise InputError("tree", "energy", "is not of Energy.mlp or Energy.network, and carries no recipe", remedy)
    arguments = notation.decode(arguments, trust)
    if isinstance(arguments, dict) and isinstance(arguments.get("module"), str):
        imported("module", arguments["module"], trust)  # which `Energy.network` calls
    if not isinstance(arguments, dict):
        raise InputError("tree", "energy", "is damaged", "give a result as it was returned")
    door = Energy.network if "module" in arguments else Energy.mlp
    if not set(arguments) <= set(inspect.signature(door).parameters) - {"data"}:
        raise InputError("tree", "energy", "is damaged", "give a result as it was returned")
    return Energy.of_arguments(dataset_of(tree), arguments)
