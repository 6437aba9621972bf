"""Draws that are none: of chains that never move, of steps lost in rounding, of energies that are not finite."""

import json

import numpy as np
import pandas as pd
import xarray as xr

from temperax.analysis.diagnostics.draws import kept_draws, of_spins, tempered_stats, too_few
from temperax.energies.names import parameter_name


def frozen(tree: xr.DataTree) -> pd.DataFrame:
    """Chains that never move at a temperature: every proposal was rejected, or is where the chain stands.

    Returns
    -------
    pandas.DataFrame
        One row each: ``chain``, ``temperature`` and ``acceptance``, which is near 1 where steps are lost in rounding.

    See Also
    --------
    temperax.diagnostics.report, temperax.diagnostics.faults

    Examples
    --------
    >>> len(tx.diagnostics.frozen(tree))
    0
    """
    stats = tempered_stats(tree).transpose("temperature", "chain", "draw", ...)
    if too_few(tree):
        return pd.DataFrame(columns=["chain", "temperature", "acceptance"])
    accepted, lp = stats["acceptance_rate"].mean("draw").values, stats["lp"].values
    # Of spins a ground state has one energy, whatever they do in it, and a move of the user's own counts as a step.
    stepped = (stats["n_steps"].min("draw").values > 0) & (not of_spins(tree))
    still = (lp.max(axis=-1) == lp.min(axis=-1)) & ((accepted < 0.01) | stepped)
    temperature = stats["temperature"].values
    rows = [(chain, float(temperature[t]), float(accepted[t, chain])) for t, chain in np.argwhere(still).tolist()]
    return pd.DataFrame(rows, columns=["chain", "temperature", "acceptance"])


def digits(tree: xr.DataTree) -> pd.DataFrame:
    """Standard deviation of the parameters in steps of the precision in which they were sampled, per kept temperature.

    A chain takes steps of a small part of a standard deviation; where they are no more than a few steps of single
    precision, they are lost in rounding and the draws are those of no posterior.

    Returns
    -------
    pandas.DataFrame
        Index ``temperature``; ``digits``, of the worst parameter, and ``coarsest_parameter``, its name.  Draws that are
        stored in fewer digits say nothing of it (NaN).

    See Also
    --------
    temperax.diagnostics.report

    Examples
    --------
    >>> bool((tx.diagnostics.digits(tree)["digits"] < 1000).any())
    False
    """
    steps = kept_draws(tree).map(_steps, sampled=tree.attrs.get("precision", "float32"))
    rows = []
    for n in range(steps.sizes["temperature"]):
        found = []  # of each variable its coarsest, since networks have too many parameters to name all of them
        for name, values in steps.isel(temperature=n).data_vars.items():
            flat = np.where(np.isnan(values.values), np.inf, values.values).ravel()
            found.append((float(flat.min()), parameter_name([(str(name), values.shape)], int(flat.argmin()))))
        least, name = min(found)
        rows.append((least, name) if np.isfinite(least) else (np.nan, ""))
    index = pd.Index(steps["temperature"].values, name="temperature")
    return pd.DataFrame(rows, columns=["digits", "coarsest_parameter"], index=index)


def _steps(values: xr.DataArray, sampled: str) -> xr.DataArray:
    """A variable's standard deviation over a chain's draws, in steps of its precision at its mean."""
    mean = values.mean(("chain", "draw"), dtype=float)
    deviation = values.var("draw", dtype=float).mean("chain") ** 0.5
    if values.dtype not in (np.float32, np.float64) or values.dtype.itemsize < np.dtype(sampled).itemsize:
        return deviation * np.nan
    # One that stands still altogether is judged as frozen.
    step = mean.copy(data=np.spacing(np.abs(mean.values).astype(values.dtype)))
    return (deviation / step).where(deviation > 0)


def faults(tree: xr.DataTree) -> pd.DataFrame:
    """Replicas whose energy or its gradient is not finite, and where.

    Such a replica stays where it is, and the others go on without it: what it leaves are no draws.

    Returns
    -------
    pandas.DataFrame
        One row a chain and temperature that has any: ``chain``, ``temperature``, ``draws`` (how many), ``first`` (the
        first of them) and ``parameter``: the first parameter at which the gradient is not finite, by name.

    See Also
    --------
    temperax.diagnostics.report, temperax.diagnostics.frozen

    Examples
    --------
    >>> len(tx.diagnostics.faults(tree))
    0
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
