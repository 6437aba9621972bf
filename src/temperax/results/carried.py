"""The model that a result carries: its data set and its energy, from the result alone."""

import inspect
import json
from typing import Any

import xarray as xr

from temperax.energies.dataset import Dataset
from temperax.energies.encoding import Encoding
from temperax.energies.energy import Energy
from temperax.errors import InputError, check_result
from temperax.results import notation


def recipe(tree: xr.DataTree, name: str) -> Any:
    """One of the attributes that say how a result came to be."""
    try:
        return json.loads(tree.attrs[name])
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise InputError("tree", name, "is missing or damaged", "give a result as it was returned") from error


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
    return Dataset(
        y=check_result(tree, "observed_data", "y")["y"].values.reshape(constant.sizes["row"], -1),
        task=tree.attrs["task"],
        name=tree.attrs["data"],
        inputs=tuple(constant["input"].values.tolist()),
        targets=tuple(constant["target"].values.tolist()),
        classes=tuple(json.loads(tree.attrs.get("classes", "[]"))),
        encoding=Encoding.from_json(json.loads(tree.attrs.get("encoding", "null"))),
        **{name: constant[name].values for name in names},
    )


def energy_of(tree: xr.DataTree) -> Energy:
    """The energy that a result is of, from the result (or its file) alone.

    Parameters
    ----------
    tree
        A result on an energy of `Energy.mlp` or `Energy.network`.

    Raises
    ------
    InputError
        If the energy was made otherwise, or by a module or function of the user's own that has no import path or is not
        found there.
    """
    arguments = recipe(tree, "energy")
    if arguments is None:
        remedy = "give the energy that was sampled"
        raise InputError("tree", "energy", "is not of Energy.mlp or Energy.network, and carries no recipe", remedy)
    arguments = notation.decode(arguments)
    if not isinstance(arguments, dict):
        raise InputError("tree", "energy", "is damaged", "give a result as it was returned")
    door = Energy.network if "module" in arguments else Energy.mlp
    if not set(arguments) <= set(inspect.signature(door).parameters) - {"data"}:
        raise InputError("tree", "energy", "is damaged", "give a result as it was returned")
    return Energy.of_arguments(dataset_of(tree), arguments)
