"""Statistics of every temperature's draws: in the space of functions, of the energy, and of the temperature itself."""

import json
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from temperax.analysis import statistics
from temperax.energies.parameters import parameter_name
from temperax.errors import InputError, check_result


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
    return pd.DataFrame(
        {
            "expected": expected,
            "estimate": estimate,
            "standard_error": error,
            "z": (estimate - expected) / error,
        },
        index=pd.Index(temperature, name="temperature"),
    )


def summary(tree: xr.DataTree) -> pd.DataFrame:
    """All diagnostics of every temperature: the table behind `report`."""
    table = energies(tree).join(configurational_temperature(tree)[["expected", "estimate", "standard_error", "z"]])
    if "tempered_predictive" in tree.children:
        table = function_space(tree).join(table, how="right")
    return table


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
