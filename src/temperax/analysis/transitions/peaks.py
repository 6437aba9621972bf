"""Peaks of the heat capacity along one ladder, and what kind of transition each is."""

import numpy as np
import pandas as pd
from jaxtyping import Float

from temperax.analysis.ensemble import MIN_OVERLAP, Ensemble, Source, ensemble
from temperax.analysis.transitions.humps import humps
from temperax.errors import InputError, check_count
from temperax.machine.progress import patiently

#: A peak rises by at least this share of the highest heat capacity over its surroundings.
PROMINENCE = 0.05


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
        ``coexistence``, ``not equilibrated``, or ``too few rungs`` where neighbours hardly overlap and nothing is known
        of what is between them.

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
    parts = halves(whole)
    curves = [_capacity(part, grid) for part in patiently(parts, "peaks")]
    lowest = [0, *(a + int(capacity[a:b].argmin()) for a, b in zip(found, found[1:], strict=False)), num_points - 1]
    rows = []
    for n in range(len(found)):
        window = slice(lowest[n], lowest[n + 1] + 1)
        summits = np.array([summit(grid[window], curve[window]) for curve in curves])
        error = summits.std(axis=0, ddof=1) / np.sqrt(len(parts))
        beta, height = summit(grid[window], capacity[window])
        near = grid[window][capacity[window] > (height + capacity[window].min()) / 2]
        near = near[:: max(1, len(near) // 8)]
        barriers = [_barrier(whole, float(b)) for b in near]
        place = float(near[int(np.argmax(barriers))])
        spread = np.std([_barrier(part, place) for part in parts], ddof=1) / np.sqrt(len(parts))
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
    around = (whole.betas[:-1] <= near[-1]) & (whole.betas[1:] >= near[0])
    if (whole.overlap[around] < MIN_OVERLAP).any():
        return "too few rungs"
    if not settled(whole, near):
        return "not equilibrated"
    return "coexistence" if barrier > max(0.2, 2 * spread) else "crossover"


def settled(whole: Ensemble, near: np.ndarray) -> bool:
    """Whether ladders agree on the energy at the rungs within a peak, or at the one next to it."""
    inside = np.flatnonzero((whole.betas >= near[0]) & (whole.betas <= near[-1]))
    rungs = inside if len(inside) else np.array([np.abs(whole.betas - near.mean()).argmin()])
    return not (whole.rhat()[rungs] > 1.05).any()


def _barrier(found: Ensemble, beta: float) -> float:
    """The barrier between two humps at β, 0 for one: that of a half whose energy never changes, too."""
    here = humps(found, beta)
    return 0.0 if here is None else here.barrier


def _capacity(found: Ensemble, grid: np.ndarray) -> Float[np.ndarray, " point"]:
    return np.array([beta**2 * found.moments(float(beta))[2] for beta in grid])


def summit(grid: np.ndarray, values: np.ndarray) -> tuple[float, float]:
    """Place and height of the largest value, by a parabola in log β through it and its neighbours."""
    at = int(np.clip(values.argmax(), 1, len(values) - 2))
    x, y = np.log(grid[at - 1 : at + 2]), values[at - 1 : at + 2]
    a, b, c = np.polyfit(x - x[1], y, 2)
    move = float(np.clip(-b / (2 * a), x[0] - x[1], x[2] - x[1])) if a < 0 else 0.0
    return float(np.exp(x[1] + move)), float(a * move**2 + b * move + c)


def halves(whole: Ensemble) -> list[Ensemble]:
    """Each chain's first and second half as ensembles of their own."""
    half = whole.draws // 2
    return [
        Ensemble(whole.betas, whole.energies[c : c + 1, part])
        for c in range(whole.chains)
        for part in (slice(0, half), slice(half, 2 * half))
    ]
