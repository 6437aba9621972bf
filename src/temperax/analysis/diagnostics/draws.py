"""What diagnostics read of a result: its draws and statistics, or one sentence on what it lacks."""

import json
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from temperax.energies.names import parameter_name
from temperax.errors import InputError, check_result
from temperax.results.reading import posterior_temperature

#: Fewer draws of a chain tell nothing.
LEAST_JUDGED = 10


def tempered_stats(tree: xr.DataTree) -> xr.Dataset:
    """The statistics of every temperature's draws, or one sentence on what a tree lacks."""
    wanted = ("data_energy", "path_energy", "energy", "virial", "acceptance_rate", "n_steps", "diverging")
    return check_result(tree, "tempered_stats", *wanted, "temperature", "beta")


def kept_draws(tree: xr.DataTree) -> xr.Dataset:
    """The parameters at every temperature whose positions were kept."""
    if "tempered_posterior" in tree.children:
        return check_result(tree, "tempered_posterior")
    return check_result(tree, "posterior").expand_dims(temperature=[posterior_temperature(tree)])


def columns(found: xr.Dataset, lead: tuple[str, ...] = ()) -> pd.Series:
    """What each single parameter has, by its name; with leading dimensions, arrays of them."""
    columns = {}
    for variable, values in found.data_vars.items():
        array = values.transpose(*lead, ...).values
        shape = array.shape[len(lead) :]
        flat = array.reshape(*array.shape[: len(lead)], -1)
        for i in range(flat.shape[-1]):
            columns[parameter_name([(str(variable), shape)], i)] = flat[..., i]
    return pd.Series(columns, dtype=object if lead else float)


def judges_parameters(tree: xr.DataTree) -> bool:
    """Whether parameters can be judged one by one, as those of networks, whose units can be permuted, cannot."""
    return not tree.attrs.get("task") and tree["posterior"].sizes["draw"] >= 4


def too_few(tree: xr.DataTree) -> bool:
    """Whether a result has fewer draws of a chain than anything can be judged by."""
    return tempered_stats(tree).sizes["draw"] < LEAST_JUDGED


def of_spins(tree: xr.DataTree) -> bool:
    """Whether a result is of spins, which feel no force; particles of `smc` have no virial for another reason."""
    return bool(tempered_stats(tree)["virial"].isnull().all()) and not of_particles(tree)


def of_particles(tree: xr.DataTree) -> bool:
    """Whether draws are particles of `smc`, which do not follow one another."""
    return tree.attrs.get("function") == "smc"


def scans_of_a_draw(tree: xr.DataTree) -> float:
    """Scans from one draw to the next: of a run that was thinned, or of draws some of which were left out."""
    draw = tempered_stats(tree)["draw"].values
    return float(thin(tree) * np.median(np.diff(draw))) if len(draw) > 1 else float(thin(tree))


def thin(tree: xr.DataTree) -> int:
    """Scans of which a run kept one as a draw."""
    return int(json.loads(tree.attrs.get("arguments", "{}")).get("thin", 1))


def check_held_out(tree: xr.DataTree) -> None:
    """Say so if a result has no predictions of held-out rows."""
    remedy = "hold rows out of the data set"
    check_result(tree, "tempered_predictions", "f", problem="has no held-out predictions", remedy=remedy)


def attribute(tree: xr.DataTree, name: str) -> Any:
    """What a sampler says of its run, or one sentence where no sampler does."""
    if name not in tree.attrs:
        raise InputError("tree", list(tree.attrs), "are not the attributes of a result", "give what a sampler returned")
    return tree.attrs[name]
