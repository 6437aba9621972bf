"""Phase transitions of a network: peaks of the heat capacity, and what kind of peak each is.

At a *crossover* the energy changes fast but has one hump at every β.  At *coexistence* (a first-order transition, as
far as a finite system has one) the energy has two humps at one β, two phases with a free-energy barrier between them
(Lee & Kosterlitz 1990).  A run that has *not equilibrated* can look like either, so it is told apart first: its
ladders disagree, or its energies drift.
"""

from typing import Any, NamedTuple

import jax
import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Array, Float

from temperax.analysis.ensemble import Ensemble, Source, ensemble
from temperax.energies.energy import Energy
from temperax.engine.ladder import check_ladder
from temperax.errors import InputError, check_count, check_key, check_result
from temperax.machine.progress import patiently
from temperax.results import reading
from temperax.samplers import optimise

#: Smoothing of energy histograms in standard deviations; discrete levels are smoothed over their spacing at least.
BANDWIDTH = 0.3
#: A peak rises by at least this share of the highest heat capacity over its surroundings.
PROMINENCE = 0.05


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
    found = _humps(ensemble(source), beta, bins)
    return xr.Dataset(
        {"density": ("energy", found.density)},
        coords={"energy": found.energy},
        attrs={"beta": beta, "barrier": found.barrier},
    )


def peaks(source: Source, num_points: int = 200) -> pd.DataFrame:
    """Peaks of the heat capacity along a ladder, and what kind of transition each is.

    Locations and heights come with the spread over half-chains (divided by the root of their number).

    Parameters
    ----------
    source
        As in `thermodynamics.curves`.
    num_points
        Points of the grid in log β on which the heat capacity is looked at.

    Returns
    -------
    pandas.DataFrame
        A row a peak, highest first: ``beta``, ``temperature``, ``heat_capacity`` and the ``barrier`` between two humps
        of the energy (nats, the largest within the peak), each with its ``_error``; and ``kind``: ``crossover``,
        ``coexistence`` or ``not equilibrated``.

    See Also
    --------
    temperax.transitions.report, temperax.thermodynamics.curves

    Examples
    --------
    >>> list(tx.transitions.peaks(ladder).columns)[:3]
    ['beta', 'beta_error', 'temperature']
    """
    from scipy.signal import find_peaks  # a tenth of the import of temperax, and needed here alone

    check_count("num_points", num_points, 20)
    whole = ensemble(source)
    if whole.draws < 2:
        raise InputError("source", whole.energies.shape, "has no halves to compare", "give at least two draws")
    grid = np.geomspace(whole.betas[whole.betas > 0][0], whole.betas[-1], num_points)
    capacity = _capacity(whole, grid)
    found, _ = find_peaks(capacity, prominence=PROMINENCE * capacity.max())
    parts = _halves(whole)
    curves = [_capacity(part, grid) for part in patiently(parts, "peaks")]
    lowest = [0, *(a + int(capacity[a:b].argmin()) for a, b in zip(found, found[1:], strict=False)), num_points - 1]
    rows = []
    for n in range(len(found)):
        window = slice(lowest[n], lowest[n + 1] + 1)
        summits = np.array([_summit(grid[window], curve[window]) for curve in curves])
        error = summits.std(axis=0, ddof=1) / np.sqrt(len(parts))
        beta, height = _summit(grid[window], capacity[window])
        near = grid[window][capacity[window] > (height + capacity[window].min()) / 2]
        near = near[:: max(1, len(near) // 8)]
        barriers = [_humps(whole, float(b)).barrier for b in near]
        place = float(near[int(np.argmax(barriers))])
        spread = np.std([_humps(part, place).barrier for part in parts], ddof=1) / np.sqrt(len(parts))
        rows.append(
            {
                "beta": beta,
                "beta_error": error[0],
                "temperature": 1.0 / beta,
                "temperature_error": error[0] / beta**2,
                "heat_capacity": height,
                "heat_capacity_error": error[1],
                "barrier": max(barriers),
                "barrier_error": spread,
                "kind": _kind(whole, near, max(barriers), spread),
            }
        )
    columns = ["beta", "beta_error", "temperature", "temperature_error", "heat_capacity", "heat_capacity_error"]
    table = pd.DataFrame(rows, columns=[*columns, "barrier", "barrier_error", "kind"])
    return table.sort_values("heat_capacity", ascending=False, ignore_index=True)


def report(source: Source) -> pd.DataFrame:
    """Print the peaks of the heat capacity, or that there is none; return the table.

    Parameters
    ----------
    source
        As in `thermodynamics.curves`.

    See Also
    --------
    temperax.transitions.peaks, temperax.transitions.hysteresis

    Examples
    --------
    >>> table = tx.transitions.report(ladder)
    peaks of the heat capacity:
    ...
    """
    table = peaks(source)
    if len(table):
        print("peaks of the heat capacity:\n" + table.to_string(index=False, float_format="{:.3g}".format))
    else:
        print("no peak of the heat capacity between the ends of the ladder.")
    return table


def _kind(whole: Ensemble, near: np.ndarray, barrier: float, spread: float) -> str:
    """What a peak is, from the rungs within it and the barrier between the humps."""
    inside = np.flatnonzero((whole.betas >= near[0]) & (whole.betas <= near[-1]))
    rungs = inside if len(inside) else np.array([np.abs(whole.betas - near.mean()).argmin()])
    if (whole.rhat()[rungs] > 1.05).any():
        return "not equilibrated"
    return "coexistence" if barrier > max(0.2, 2 * spread) else "crossover"


def _capacity(found: Ensemble, grid: np.ndarray) -> Float[np.ndarray, " point"]:
    return np.array([beta**2 * found.moments(float(beta))[2] for beta in grid])


def _summit(grid: np.ndarray, values: np.ndarray) -> tuple[float, float]:
    """Place and height of the largest value, by a parabola in log β through it and its neighbours."""
    at = int(np.clip(values.argmax(), 1, len(values) - 2))
    x, y = np.log(grid[at - 1 : at + 2]), values[at - 1 : at + 2]
    a, b, c = np.polyfit(x - x[1], y, 2)
    move = float(np.clip(-b / (2 * a), x[0] - x[1], x[2] - x[1])) if a < 0 else 0.0
    return float(np.exp(x[1] + move)), float(a * move**2 + b * move + c)


def _halves(whole: Ensemble) -> list[Ensemble]:
    """Each chain's first and second half as ensembles of their own."""
    half = whole.draws // 2
    return [
        Ensemble(whole.betas, whole.energies[c : c + 1, part])
        for c in range(whole.chains)
        for part in (slice(0, half), slice(half, 2 * half))
    ]


def _humps(found: Ensemble, beta: float, bins: int = 200) -> Humps:
    """The smoothed histogram at β."""
    from scipy.ndimage import gaussian_filter1d
    from scipy.signal import find_peaks

    _, mean, variance = found.moments(beta)
    deviation = np.sqrt(variance)
    if deviation == 0:
        raise InputError(
            "source", mean, "is the energy of every draw, which has no histogram", "give energies that vary"
        )
    weights = found.weights(beta).reshape(-1)
    edges = np.linspace(mean - 6 * deviation, mean + 6 * deviation, bins + 1)
    density, _ = np.histogram(found.energies.reshape(-1), edges, weights=weights)
    width = edges[1] - edges[0]
    # Of the levels here: draws of the prior may have energies of millions.
    smoothing = max(BANDWIDTH * deviation, found.level_spacing(edges[0], edges[-1]))
    density = gaussian_filter1d(density / width, smoothing / width, mode="constant")
    tops, _ = find_peaks(density)
    barrier = 0.0
    if len(tops) >= 2:
        first, second = np.sort(tops[np.argsort(density[tops])[-2:]])
        valley = density[first : second + 1].min()
        barrier = float(np.log(min(density[first], density[second]) / valley))
        # A hump of a handful of draws is noise.
        mass = min(density[: first + (second - first) // 2].sum(), density[first + (second - first) // 2 :].sum())
        barrier = barrier if mass * width > 0.02 else 0.0
    return Humps((edges[1:] + edges[:-1]) / 2, density, barrier)


def hysteresis(key: Array, energy: Energy, betas: Float[np.ndarray, " temperature"], **options: Any) -> xr.Dataset:
    """Cool and heat again along the same temperatures: where the two ways differ, the run is slower than the system.

    Parameters
    ----------
    key, energy, **options
        As in `optimise.anneal`.
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
        As `optimise.anneal`, and if the temperatures do not ascend or there are fewer than two chains.

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
