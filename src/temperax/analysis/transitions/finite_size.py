"""Finite-size scaling: where a transition of the infinite system is, of which order, and its latent heat.

The peak of the heat capacity of one size says little: every continuous transition has one too, often with a wide energy
histogram.  What differs is how it grows.  With N = L^d sites, and K the kurtosis of the energy where it is least,

- at a continuous transition the shape of the histogram becomes that of the fixed point, and K rises to its value there;
- at a first-order one it becomes two ever sharper lines, and K falls to 1 (Challa, Landau & Binder 1986; Lee &
  Kosterlitz 1990).
"""

from collections.abc import Mapping

import numpy as np
import xarray as xr
from jaxtyping import Float
from scipy.stats import norm
from scipy.stats import t as student

from temperax.analysis.ensemble import Ensemble, Source, ensemble
from temperax.analysis.transitions.peaks import halves, settled, summit
from temperax.errors import InputError, check_count
from temperax.machine.progress import patiently

#: Points of the grid in log β on which the peak is looked for; half as many on which it is looked at.
POINTS = 100
#: Standard errors by which the kurtosis must fall or rise before a verdict is given.
CLEAR = 3.0


def finite_size(sources: Mapping[int, Source], dimension: int = 2) -> xr.Dataset:
    """Transition temperature, latent heat and order of a transition, from ladders of several sizes.

    With C the heat capacity and κ₄ the fourth cumulant of the energy U:

    - C/N at its peak grows like L^x, x = α/ν, up to x = d at a first-order transition;
    - the peak moves like T(L) = T_c + a L^(-1/ν), 1/ν = (d + x)/2 by hyperscaling, with the x that was measured; it is
      the familiar L^-d where x = d (Binder & Landau 1984);
    - two phases Δe apart have κ₄ = -(NΔe)⁴/8 where they weigh the same.  Fluctuations within the phases, which are
      near Gaussian and widen C, have no part in it: Δe(L) = (-8κ₄)^¼ / N at the least κ₄ goes to the latent heat like
      L^-d at a first-order transition, and to 0 at a continuous one.

    Parameters
    ----------
    sources
        Ladders across the transition by L, the linear size: three sizes or more, each as in `thermodynamics.curves`.
    dimension
        d: N = L^d.

    Returns
    -------
    xarray.Dataset
        Dimension ``size``: ``temperature`` and ``heat_capacity`` C/N of the peak, ``kurtosis`` K, ``latent_heat_size``
        Δe(L); of the infinite system ``critical_temperature``, ``exponent`` x and ``latent_heat`` a site.  Each has an
        ``_error``: of a size the spread over half-chains (by Student's law, wider where these are few), of a fit
        theirs, widened where the fit is not good; that of the latent heat holds how far it would move with L^-x for
        L^-d, which are the same for large L.
        The attribute ``verdict`` is ``coexistence`` where K falls with L by 3 standard errors, ``continuous`` where it
        rises by as much, ``undecided`` in between, and ``not equilibrated`` where the ladders of a size disagree.
        ``latent_heat`` is extrapolated at coexistence, 0 at a continuous transition, and NaN otherwise.

    Raises
    ------
    InputError
        If there are fewer than three sizes, or a ladder does not hold the peak between its ends.

    Notes
    -----
    The laws are those of sizes beyond the correlation length ξ.  A transition of first order whose ξ is longer than the
    system looks continuous, or undecided, and where ξ is of its size the latent heat comes out too large: compare
    ``latent_heat_size`` with it, and add sizes until it stays.

    See Also
    --------
    temperax.transitions.peaks, temperax.systems.potts

    Examples
    --------
    >>> sources = {}
    >>> for size in (4, 6, 8):
    ...     lattice = tx.systems.potts((size, size), 2)
    ...     bath = tx.systems.heat_bath(lattice)
    ...     betas = np.linspace(0.5, 1.2, 8)
    ...     sources[size] = tx.parallel_tempering(
    ...         jax.random.key(0), lattice, kernel=bath, start="prior", ladder=betas, num_draws=256, progress=False
    ...     )
    >>> abs(float(tx.transitions.finite_size(sources)["critical_temperature"]) - 1.1346) < 0.1
    True
    """
    if not isinstance(sources, Mapping) or len(sources) < 3:
        raise InputError("sources", sources, "are not three sizes", "give {L: ladder, …} of three sizes or more")
    check_count("dimension", dimension)
    sizes = sorted(check_count("sources", size, 2) for size in sources)
    found, errors, calm = [], [], True
    for size in patiently(sizes, "sizes"):
        whole = ensemble(sources[size])
        values, spread, equilibrated = _peak(whole, size, size**dimension)
        found.append(values)
        errors.append(spread)
        calm &= equilibrated
    temperature, capacity, kurtosis, gap = np.array(found).T
    names = ("temperature", "heat_capacity", "kurtosis", "latent_heat_size")
    errors_of = dict(zip(names, np.array(errors).T, strict=True))
    length = np.array(sizes, float)
    exponent, exponent_error = _line(np.log(length), np.log(capacity), errors_of["heat_capacity"] / capacity)[1]
    shift = length ** (-(dimension + exponent) / 2)
    critical, critical_error = _line(shift, temperature, errors_of["temperature"])[0]
    trend, trend_error = _line(np.log(length), kurtosis, errors_of["kurtosis"])[1]
    verdict = _verdict(calm, trend / trend_error)
    heat, heat_error = np.nan, np.nan
    if verdict == "coexistence":
        heat, heat_error = _line(length**-dimension, gap, errors_of["latent_heat_size"])[0]
        early, _ = _line(length**-exponent, gap, errors_of["latent_heat_size"])[0]
        heat_error = float(np.hypot(heat_error, heat - early))
    elif verdict == "continuous":
        heat, heat_error = 0.0, 0.0
    by_size = dict(zip(names, (temperature, capacity, kurtosis, gap), strict=True))
    of_all = {
        "critical_temperature": critical,
        "critical_temperature_error": critical_error,
        "exponent": exponent,
        "exponent_error": exponent_error,
        "latent_heat": heat,
        "latent_heat_error": heat_error,
    }
    variables = {name: ("size", values) for name, values in by_size.items()}
    variables |= {f"{name}_error": ("size", values) for name, values in errors_of.items()}
    return xr.Dataset(variables | of_all, coords={"size": sizes}, attrs={"verdict": verdict})


def _verdict(calm: bool, trend: float) -> str:
    """What a trend of the kurtosis, in standard errors, says."""
    if not calm:
        return "not equilibrated"
    return "coexistence" if trend < -CLEAR else "continuous" if trend > CLEAR else "undecided"


def _peak(whole: Ensemble, size: int, sites: int) -> tuple[np.ndarray, np.ndarray, bool]:
    """Of one size: temperature, C/N, K and Δe at the transition, their errors, and whether it is in equilibrium."""
    coarse = np.geomspace(whole.betas[whole.betas > 0][0], whole.betas[-1], POINTS)
    capacity = np.array([beta**2 * whole.moments(float(beta))[2] for beta in coarse])
    top = int(capacity.argmax())
    if top in (0, POINTS - 1):
        problem = f"of size {size} has no peak of its heat capacity between its ends"
        raise InputError("sources", whole.betas[[0, -1]], problem, "let its ladder reach further")
    low = np.flatnonzero(capacity < capacity[top] / 2)  # beyond which the transition is over
    first, last = max([0, *low[low < top]]), min([POINTS - 1, *low[low > top]])
    near = np.geomspace(coarse[first], coarse[last], POINTS // 2)
    parts = [_at_transition(part, near, sites) for part in halves(whole)]
    errors = _standard_errors(np.array(parts))
    return _at_transition(whole, near, sites), errors, settled(whole, near)


def _standard_errors(parts: Float[np.ndarray, "part quantity"]) -> Float[np.ndarray, " quantity"]:
    """Of the mean of some parts, as wide as Student's law of so few is where a Gaussian has one standard error."""
    wider = float(student.isf(norm.sf(1.0), len(parts) - 1))
    return wider * np.std(parts, axis=0, ddof=1) / np.sqrt(len(parts))


def _at_transition(found: Ensemble, near: Float[np.ndarray, " point"], sites: int) -> Float[np.ndarray, " quantity"]:
    """Temperature and C/N of the peak, least K, and Δe."""
    second, fourth = np.array([_central_moments(found, float(beta)) for beta in near]).T
    beta, height = summit(near, near**2 * second)
    cumulant = float(np.min(fourth - 3 * second**2))
    gap = (8 * max(-cumulant, 0.0)) ** 0.25 / sites
    return np.array([1 / beta, height / sites, np.min(fourth / second**2), gap])


def _central_moments(found: Ensemble, beta: float) -> tuple[float, float]:
    """Second and fourth central moment of the energy at β."""
    weights = found.weights(beta)
    squares = (found.energies - np.sum(weights * found.energies)) ** 2
    return float(np.sum(weights * squares)), float(np.sum(weights * squares**2))


def _line(x: np.ndarray, y: np.ndarray, errors: np.ndarray) -> tuple[tuple[float, float], tuple[float, float]]:
    """Intercept and slope of a line through points, each with its error, widened by √(χ²/dof) where that exceeds 1."""
    design = np.stack([np.ones_like(x), x], axis=1) / errors[:, None]
    covariance = np.linalg.inv(design.T @ design)
    fit = covariance @ design.T @ (y / errors)
    chi_squared = np.sum((design @ fit - y / errors) ** 2) / (len(x) - 2)
    spread = np.sqrt(np.diag(covariance) * max(1.0, chi_squared))
    return (float(fit[0]), float(spread[0])), (float(fit[1]), float(spread[1]))
