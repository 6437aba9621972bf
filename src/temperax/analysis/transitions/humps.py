"""Histograms of the energy: how many humps they have, and the barrier between two."""

from typing import NamedTuple

import numpy as np
import xarray as xr
from jaxtyping import Float

from temperax.analysis.ensemble import Ensemble, Source, ensemble
from temperax.errors import InputError, check_count

#: Smoothing of energy histograms in standard deviations; discrete levels are smoothed over their spacing at least.
BANDWIDTH = 0.3


class Humps(NamedTuple):
    """A smoothed histogram of energies, and the barrier between its two highest humps in nats (0 for one hump).

    See Also
    --------
    temperax.transitions.energy_histogram

    Examples
    --------
    >>> tx.transitions.Humps._fields
    ('energy', 'density', 'barrier')
    """

    energy: Float[np.ndarray, " bin"]
    density: Float[np.ndarray, " bin"]
    barrier: float


def energy_histogram(source: Source, beta: float, bins: int = 200) -> xr.Dataset:
    """Density of the path energy at any β of a ladder, from the draws of all rungs.

    Parameters
    ----------
    source
        As in `thermodynamics.curves`.
    beta
        Where.
    bins
        Points of the energy axis.

    Returns
    -------
    xarray.Dataset
        ``density`` (energy), smoothed over 0.3 standard deviations (over the spacing of discrete levels where that is
        more), and the attribute ``barrier``: log of the lower hump's height over the valley's, in nats; 0 where there
        is one hump.

    See Also
    --------
    temperax.transitions.peaks

    Examples
    --------
    >>> humps = tx.transitions.energy_histogram(ladder, beta=0.5)
    >>> humps["density"].dims, humps.attrs["barrier"] >= 0
    (('energy',), True)
    """
    check_count("bins", bins, 20)
    found = humps(ensemble(source), beta, bins)
    if found is None:
        raise InputError("beta", beta, "is where all draws have one energy, without a histogram", "give what varies")
    return xr.Dataset(
        {"density": ("energy", found.density)},
        coords={"energy": found.energy},
        attrs={"beta": beta, "barrier": found.barrier},
    )


def humps(found: Ensemble, beta: float, bins: int = 200) -> Humps | None:
    """The smoothed histogram at β; None where all draws have one energy, up to rounding."""
    from scipy.ndimage import gaussian_filter1d
    from scipy.signal import find_peaks

    _, mean, variance = found.moments(beta)
    deviation = np.sqrt(variance)
    edges = np.linspace(mean - 6 * deviation, mean + 6 * deviation, bins + 1)
    width = edges[1] - edges[0]
    if width == 0:
        return None
    weights = found.weights(beta).reshape(-1)
    density, _ = np.histogram(found.energies.reshape(-1), edges, weights=weights)
    # Of the levels here: draws of the prior may have energies of millions.
    smoothing = max(BANDWIDTH * deviation, found.level_spacing(edges[0], edges[-1]))
    density = gaussian_filter1d(density / width, smoothing / width, mode="constant")
    tops, _ = find_peaks(density)
    barrier = 0.0
    if len(tops) >= 2:
        first, second = np.sort(tops[np.argsort(density[tops])[-2:]])
        # Where no draw is between the humps, the valley is as deep as draws can tell.
        valley = max(density[first : second + 1].min(), density[density > 0].min())
        barrier = float(np.log(min(density[first], density[second]) / valley))
        # A hump of a handful of draws is noise.
        mass = min(density[: first + (second - first) // 2].sum(), density[first + (second - first) // 2 :].sum())
        barrier = barrier if mass * width > 0.02 else 0.0
    return Humps((edges[1:] + edges[:-1]) / 2, density, barrier)
