"""Statistics of every temperature's draws: in the space of functions, of the energy, and of the temperature itself."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from temperax.analysis import statistics
from temperax.energies.parameters import parameter_name
from temperax.errors import InputError, check_result
from temperax.samplers.setup import target_slot

Functions = Mapping[str, Callable[[xr.Dataset], xr.DataArray]]


def function_space(tree: xr.DataTree) -> pd.DataFrame:
    """R-hat and bulk ESS of the predictions f(x*) on held-out inputs, per temperature.

    Rank-normalised split R-hat and bulk ESS of Vehtari et al. 2021, over the held-out rows and outputs.

    Returns
    -------
    pandas.DataFrame
        Index ``temperature``; ``rhat_f_max``, ``rhat_f_median``, ``ess_f_min``, ``ess_f_median``.

    Raises
    ------
    InputError
        If the result has no held-out predictions.
    """
    check_held_out(tree)
    f = tree["tempered_predictive"].dataset[["f"]]
    rest = [d for d in f["f"].dims if d not in ("chain", "draw", "temperature")]
    rhat, ess = statistics.rhat(f)["f"], statistics.ess(f)["f"]
    return pd.DataFrame(
        {
            "rhat_f_max": rhat.max(rest).values,
            "rhat_f_median": rhat.median(rest).values,
            "ess_f_min": ess.min(rest).values,
            "ess_f_median": ess.median(rest).values,
        },
        index=pd.Index(f["temperature"].values, name="temperature"),
    )


def parameter_space(tree: xr.DataTree, functions: Functions | None = None) -> pd.DataFrame:
    """R-hat and ESS of every parameter of the posterior, and of any function of them, per kept temperature.

    R-hat is the larger of the rank-normalised split one and of the folded one, which sees chains that differ in width;
    ESS is that of the bulk and that of the 5 % and 95 % quantiles (Vehtari et al. 2021).

    Parameters
    ----------
    tree
        A result.
    functions
        Functions of the draws, by name: each is given the parameters as a dataset (chain, draw, …) and returns an array
        with these dimensions.

    Returns
    -------
    pandas.DataFrame
        Index ``temperature``; ``rhat_parameter_max`` and ``worst_parameter``, whose it is, with ``separation``: how far
        apart the means of its chains are, in standard deviations of a chain; ``rhat_parameter_median``,
        ``ess_parameter_min``, ``ess_tail_min``.
    """
    draws = _kept_draws(tree)
    if functions:
        draws = draws.assign({name: function(draws) for name, function in functions.items()})
    rhat, ess = statistics.rhat(draws), statistics.ess(draws)
    tail = statistics.ess(draws, method="tail")
    rows = []
    for n in range(draws.sizes["temperature"]):
        r, bulk, ends = (_columns(found.isel(temperature=n)) for found in (rhat, ess, tail))
        worst = r.fillna(-np.inf).idxmax()
        chains = _columns(draws.isel(temperature=n), ("chain", "draw"))[worst]
        within = np.sqrt(np.mean(np.var(chains, axis=1)))
        separation = np.std(np.mean(chains, axis=1)) / within if within > 0 else np.inf
        rows.append((r.max(), worst, separation, r.median(), bulk.min(), ends.min()))
    names = ["rhat_parameter_max", "worst_parameter", "separation"]
    names += ["rhat_parameter_median", "ess_parameter_min", "ess_tail_min"]
    return pd.DataFrame(rows, columns=names, index=pd.Index(draws["temperature"].values, name="temperature"))


def _kept_draws(tree: xr.DataTree) -> xr.Dataset:
    """The parameters at every temperature whose positions were kept."""
    if "tempered_posterior" in tree.children:
        return tree["tempered_posterior"].to_dataset()
    betas = tempered_stats(tree)["beta"].values
    with np.errstate(divide="ignore"):
        temperature = 1.0 / betas[target_slot(betas)]
    return check_result(tree, "posterior").expand_dims(temperature=[temperature])


def _columns(found: xr.Dataset, lead: tuple[str, ...] = ()) -> pd.Series:
    """What each single parameter has, by its name; with leading dimensions, arrays of them."""
    columns = {}
    for variable, values in found.data_vars.items():
        array = values.transpose(*lead, ...).values
        shape = array.shape[len(lead) :]
        flat = array.reshape(*array.shape[: len(lead)], -1)
        for i in range(flat.shape[-1]):
            columns[parameter_name([(str(variable), shape)], i)] = flat[..., i]
    return pd.Series(columns, dtype=object if lead else float)


def frozen(tree: xr.DataTree) -> pd.DataFrame:
    """Chains that never move at a temperature: every proposal was rejected.

    Returns
    -------
    pandas.DataFrame
        One row each: ``chain`` and ``temperature``.
    """
    stats = tempered_stats(tree)
    still = (stats["lp"].max("draw") == stats["lp"].min("draw")) & (stats["acceptance_rate"].mean("draw") < 0.01)
    still = still.transpose("temperature", "chain")
    rows = [(chain, float(stats["temperature"][slot])) for slot, chain in np.argwhere(still.values).tolist()]
    return pd.DataFrame(rows, columns=["chain", "temperature"])


def check_held_out(tree: xr.DataTree) -> None:
    """Say so if a result has no predictions of held-out rows."""
    remedy = "hold rows out of the data set"
    check_result(tree, "tempered_predictive", "f", problem="has no held-out predictions", remedy=remedy)


def energies(tree: xr.DataTree) -> pd.DataFrame:
    """Mean, R-hat and ESS of the data energy, E-BFMI, acceptance, steps and divergences, per temperature.

    Returns
    -------
    pandas.DataFrame
        Index ``temperature``; ``data_energy`` and ``data_energy_mcse`` in nats, ``rhat_energy``, ``ess_energy``,
        ``bfmi`` (smallest of the chains, Betancourt 2016), ``acceptance``, ``n_steps``, ``saturated`` (share of
        transitions that hit the kernel's cap on steps), ``divergences``, ``faults`` (draws of replicas whose energy or
        its gradient is not finite; see `faults`).
    """
    stats = tempered_stats(tree)
    step_cap = np.asarray(json.loads(_attribute(tree, "step_cap")))
    data = stats[["data_energy"]]
    if stats.sizes["draw"] < 2:
        bfmi = stats["energy"].isel(draw=0) * np.nan  # of one draw, ArviZ divides by no degrees of freedom
    else:
        # Exact draws at β = 0 have no Hamiltonian: their energy is constant and its BFMI undefined.
        with np.errstate(invalid="ignore", divide="ignore"):
            bfmi = statistics.bfmi(stats)
        bfmi = bfmi["energy"] if isinstance(bfmi, xr.Dataset) else bfmi
    return pd.DataFrame(
        {
            "data_energy": stats["data_energy"].mean(("chain", "draw")).values,
            "data_energy_mcse": statistics.mcse(data)["data_energy"].values,
            "rhat_energy": statistics.rhat(data)["data_energy"].values,
            "ess_energy": statistics.ess(data)["data_energy"].values,
            "bfmi": bfmi.min("chain").values,
            "acceptance": stats["acceptance_rate"].mean(("chain", "draw")).values,
            "n_steps": stats["n_steps"].mean(("chain", "draw")).values,
            "saturated": (stats["n_steps"] >= step_cap).mean(("chain", "draw")).values,
            "divergences": stats["diverging"].sum(("chain", "draw")).values,
            "faults": (stats["fault"] >= 0).sum(("chain", "draw")).values,
        },
        index=pd.Index(stats["temperature"].values, name="temperature"),
    )


def faults(tree: xr.DataTree) -> pd.DataFrame:
    """Replicas whose energy or its gradient is not finite, and where.

    Such a replica stays where it is, and the others go on without it: what it leaves are no draws.

    Returns
    -------
    pandas.DataFrame
        One row a chain and temperature that has any: ``chain``, ``temperature``, ``draws`` (how many), ``first`` (the
        first of them) and ``parameter``: the first parameter at which the gradient is not finite, by name.
    """
    fault = tempered_stats(tree)["fault"].transpose("chain", "temperature", "draw")
    layout = json.loads(tree.attrs["layout"])
    rows = []
    for chain, slot in np.argwhere((fault.values >= 0).any(axis=-1)).tolist():
        seen = fault.values[chain, slot]
        first = int(np.argmax(seen >= 0))
        temperature = float(fault["temperature"][slot])
        rows.append((chain, temperature, int((seen >= 0).sum()), first, parameter_name(layout, int(seen[first]))))
    return pd.DataFrame(rows, columns=["chain", "temperature", "draws", "first", "parameter"])


def configurational_temperature(tree: xr.DataTree) -> pd.DataFrame:
    """The temperature that positions and forces themselves show: ⟨(θ - c)·∇U⟩ / P against T.

    On the posterior path U = U0 + E and the value is T; on the likelihood path U = U0 + βE and the value is 1.  It
    detects wrong gradients, a missing accept step and unequilibrated draws; on a single mode it says nothing of others.

    Returns
    -------
    pandas.DataFrame
        Index ``temperature``; ``expected``, ``estimate``, ``standard_error`` (from the ESS) and ``z``.
    """
    stats = tempered_stats(tree)
    temperature = stats["temperature"].values
    expected = temperature if tree.attrs["path"] == "posterior" else np.ones_like(temperature)
    virial = stats[["virial"]]
    estimate = virial["virial"].mean(("chain", "draw")).values * expected
    error = statistics.mcse(virial)["virial"].values * expected
    with np.errstate(divide="ignore", invalid="ignore"):  # chains that stand still have no error
        z = (estimate - expected) / error
    columns = {"expected": expected, "estimate": estimate, "standard_error": error, "z": z}
    return pd.DataFrame(columns, index=pd.Index(temperature, name="temperature"))


def summary(tree: xr.DataTree, functions: Functions | None = None) -> pd.DataFrame:
    """All diagnostics of every temperature: the table behind `report`.

    Predictions of networks are judged, and where a user's own energy has none, every parameter; ``functions`` as in
    `parameter_space`.
    """
    table = energies(tree).join(configurational_temperature(tree)[["expected", "estimate", "standard_error", "z"]])
    if "tempered_predictive" in tree.children:
        table = function_space(tree).join(table, how="right")
    elif judges_parameters(tree) or functions:
        table = parameter_space(tree, functions).join(table, how="right")
    return table


def judges_parameters(tree: xr.DataTree) -> bool:
    """Whether parameters can be judged one by one, as those of networks, whose units can be permuted, cannot."""
    return not tree.attrs.get("task") and tree["posterior"].sizes["draw"] >= 4


def warmup_share(tree: xr.DataTree) -> float:
    """Share of a run's gradients that came before its first draw: the search for starts and the warm-up.

    Raises
    ------
    InputError
        If the result is not of `temperax.sample` or `temperax.parallel_tempering`.
    """
    before, drawn = int(_attribute(tree, "warmup_gradients")), int(tempered_stats(tree)["n_steps"].sum())
    return before / (before + drawn) if before else 0.0


def _attribute(tree: xr.DataTree, name: str) -> Any:
    """What a sampler says of its run, or one sentence where no sampler does."""
    if name not in tree.attrs:
        raise InputError("tree", list(tree.attrs), "are not the attributes of a result", "give what a sampler returned")
    return tree.attrs[name]


def tempered_stats(tree: xr.DataTree) -> xr.Dataset:
    """The statistics of every temperature's draws, or one sentence on what a tree lacks."""
    wanted = ("data_energy", "path_energy", "energy", "virial", "acceptance_rate", "n_steps", "diverging")
    return check_result(tree, "tempered_stats", *wanted, "temperature", "beta")
