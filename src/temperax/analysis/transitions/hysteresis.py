"""Hysteresis: cooling and heating along the same temperatures."""

from typing import Any

import jax
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

from temperax.energies.energy import Energy
from temperax.engine.ladder import check_ladder
from temperax.errors import InputError, check_count, check_key, check_result
from temperax.results import reading
from temperax.samplers import optimise


def hysteresis(key: Array, energy: Energy, betas: Float[np.ndarray, " temperature"], **options: Any) -> xr.Dataset:
    """Cool and heat again along the same temperatures: where the two ways differ, the run is slower than the system.

    Parameters
    ----------
    key, energy, **options
        As in `optimise.anneal`, but for ``polish``: heating begins where cooling ends, at the coldest temperature.
    betas
        Ascending.

    Returns
    -------
    xarray.Dataset
        ``path_energy`` of (direction, chain, temperature), direction ``cooling`` or ``heating``; ``gap``
        (temperature): heating minus cooling, and ``gap_error`` from the spread over chains.  Away from equilibrium
        cooling lags above and heating below, and the gap is negative.

    Raises
    ------
    InputError
        As `optimise.anneal`, and if the temperatures do not ascend, there are fewer than two chains, or ``polish`` is
        asked for.

    See Also
    --------
    temperax.anneal, temperax.transitions.peaks

    Examples
    --------
    >>> cycle = tx.transitions.hysteresis(key, energy, np.geomspace(0.1, 1.0, 4), scans=4)
    >>> cycle["path_energy"].dims
    ('direction', 'chain', 'temperature')
    """
    betas = check_ladder(betas)
    key = check_key(key)
    check_count("num_chains", options.get("num_chains", 4), 2)  # one leaves no spread over chains
    if options.get("polish", False):
        raise InputError("polish", options["polish"], "would let heating begin at T = 0", "leave it out")
    down, up = jax.random.split(key)
    cooling = optimise.anneal(down, energy, betas, **options)
    last = reading.positions(cooling, energy)[:, 0]
    heating = optimise.anneal(up, energy, betas[::-1], **(options | {"start": last}))
    ways = np.stack([check_result(tree, "annealing")["path_energy"].values for tree in (cooling, heating)])
    ways[1] = ways[1, :, ::-1]
    gap = ways[1] - ways[0]
    with np.errstate(divide="ignore"):
        coords = {"direction": ["cooling", "heating"], "temperature": 1.0 / betas, "beta": ("temperature", betas)}
    return xr.Dataset(
        {
            "path_energy": (("direction", "chain", "temperature"), ways),
            "gap": ("temperature", gap.mean(axis=0)),
            "gap_error": ("temperature", gap.std(axis=0, ddof=1) / np.sqrt(len(gap))),
        },
        coords=coords,
    )
