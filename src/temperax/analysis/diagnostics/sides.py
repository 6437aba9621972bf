"""Whether chains that started below the energies of their posterior and above them have met."""

import json

import numpy as np
import pandas as pd
import xarray as xr

from temperax.analysis.diagnostics.draws import tempered_stats
from temperax.errors import InputError


def started_from_both(tree: xr.DataTree) -> bool:
    """Whether a result has all of its chains, and some from each side."""
    side = json.loads(tree.attrs.get("started", "{}")).get("side", [])
    return len(set(side)) == 2 and len(side) == tempered_stats(tree).sizes["chain"]


def sides(tree: xr.DataTree) -> pd.DataFrame:
    """How far apart chains from both sides still are, per temperature, and how fast they approach.

    Trained networks have lower energies than their posterior, networks that were stopped early higher ones.  Energies
    that meet are evidence of equilibrium; energies that do not are the honest verdict, whatever R-hat says of chains
    from one side alone.  A system that ages approaches its equilibrium by as much with every doubling of the run.

    Parameters
    ----------
    tree
        A result of ``start="both"``.

    Returns
    -------
    pandas.DataFrame
        Index ``temperature``; in nats ``below`` and ``above``, mean data energies over the second half of the draws of
        the chains that were trained and of those that were stopped early, ``approach``, by how much less they are apart
        than over the first half, and ``apart``: their distance in standard deviations of a chain.

    Raises
    ------
    InputError
        If the chains did not start from both sides.

    See Also
    --------
    temperax.sample

    Examples
    --------
    >>> both = tx.sample(jax.random.key(0), energy, start="both", num_draws=100, progress=False)
    >>> tx.diagnostics.sides(both).columns.tolist()
    ['below', 'above', 'approach', 'apart']
    """
    if not started_from_both(tree):
        raise InputError("tree", tree.attrs.get("started"), "did not start from both sides", "sample with start='both'")
    trained = np.array(json.loads(tree.attrs["started"])["side"]) == "below"
    stats = tempered_stats(tree)
    energy = stats["data_energy"].transpose("temperature", "chain", "draw").values.astype(float)
    half = energy.shape[-1] // 2
    first, second = energy[..., :half].mean(axis=-1), energy[..., half:].mean(axis=-1)
    below, above = second[:, trained].mean(axis=1), second[:, ~trained].mean(axis=1)
    before = first[:, ~trained].mean(axis=1) - first[:, trained].mean(axis=1)
    deviation = np.sqrt(energy[..., half:].var(axis=-1).mean(axis=1))
    apart = np.abs(above - below)
    table = {
        "below": below,
        "above": above,
        "approach": np.abs(before) - apart,
        "apart": apart / np.where(deviation > 0, deviation, np.inf),
    }
    return pd.DataFrame(table, index=pd.Index(stats["temperature"].values, name="temperature"))
