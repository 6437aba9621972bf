"""Energies of spins and fields on lattices, and of Hopfield's memory, k_B = 1."""

import math
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpyro.distributions import Distribution, Normal

from temperax.energies.energy import Energy
from temperax.errors import InputError, check_count
from temperax.samplers.systems.observables import overlap
from temperax.samplers.systems.spins import Colour, Spin


def ising(shape: Sequence[int], coupling: float = 1.0, field: float = 0.0, periodic: bool = True) -> Energy:
    """Ising spins on a lattice: E = -J Σ_<ij> s_i s_j - h Σ_i s_i, s_i = ±1.

    The prior is N = ∏ shape independent fair spins: physical log Z(β) = log Z of the likelihood path + N log 2.

    Parameters
    ----------
    shape
        Sides of the lattice, in any number of dimensions.  Every spin has one bond to its next along every axis, so
        that a periodic side of 2 has each of its bonds twice, as transfer matrices count them; a side of 1 has none.
    coupling, field
        J (positive: ferromagnet) and h.
    periodic
        Whether the last spin of a side is bound to the first.

    Returns
    -------
    Energy
        Of one parameter ``spin``, of the lattice's shape; `heat_bath` moves it.

    Raises
    ------
    InputError
        For a shape that is not made of positive integers, and numbers that are not finite.

    See Also
    --------
    temperax.systems.heat_bath, temperax.systems.magnetisation

    Examples
    --------
    >>> magnet = tx.systems.ising((4, 4))
    >>> float(magnet.data_energy(jnp.ones(16)))  # all spins up: 32 bonds
    -32.0
    """
    shape = _check_shape(shape)
    data = {"bonds": _bonds(shape, _check_number("coupling", coupling), periodic)}
    return Energy(_ising_energy, _spins(shape), data | {"field": _check_number("field", field)})


def potts(shape: Sequence[int], num_colours: int, coupling: float = 1.0, periodic: bool = True) -> Energy:
    """Potts spins on a lattice: E = -J Σ_<ij> δ(s_i, s_j), s_i = 0 … q - 1 (Potts 1952).

    The prior is N = ∏ shape independent uniform spins: physical log Z(β) = log Z of the likelihood path + N log q.  On
    the infinite square lattice with J > 0 the transition is at T = J / log(1 + √q), continuous up to q = 4 and of first
    order beyond (Baxter 1973).  With q = 2 it is `ising` of half the coupling, but for a constant: δ = (1 + s s')/2.

    Parameters
    ----------
    shape, coupling, periodic
        As in `ising`.
    num_colours
        q, at least 2.

    Returns
    -------
    Energy
        Of one parameter ``spin``, of the lattice's shape; `heat_bath` moves it.

    Raises
    ------
    InputError
        As `ising`, and for a ``num_colours`` that is not a whole number from 2.

    See Also
    --------
    temperax.systems.ising, temperax.systems.order, temperax.transitions.finite_size

    Examples
    --------
    >>> lattice = tx.systems.potts((4, 4), 10)
    >>> float(lattice.data_energy(np.zeros(16)))
    -32.0
    """
    shape, prior = _check_shape(shape), Colour(num_colours)
    bonds = _bonds(shape, _check_number("coupling", coupling), periodic)
    return Energy(_potts_energy, {"spin": prior.expand(shape).to_event(len(shape))}, {"bonds": bonds})


def hopfield(patterns: Float[np.ndarray, "pattern spin"]) -> Energy:
    """Hopfield's associative memory: E = -½ Σ_{i≠j} J_ij s_i s_j with Hebb's J = Σ_μ ξ_μ ξ_μᵀ / N (Hopfield 1982).

    By the `overlap` m_μ with the patterns, E = -N/2 Σ_μ m_μ² + P/2.  Below T = 1, and for P/N up to about 0.14 at low
    T, the patterns attract (Amit, Gutfreund & Sompolinsky 1985).

    Parameters
    ----------
    patterns
        ξ, one row of ±1 each.

    Returns
    -------
    Energy
        Of one parameter ``spin`` (N,); `heat_bath` moves it.  The prior is that of `ising`.

    Raises
    ------
    InputError
        If the patterns are not rows of ±1.

    See Also
    --------
    temperax.systems.overlap, temperax.systems.heat_bath

    Examples
    --------
    >>> patterns = np.array([[1, 1, 1, 1, -1, -1], [1, -1, 1, -1, 1, -1]])
    >>> memory = tx.systems.hopfield(patterns)
    >>> bath = tx.systems.heat_bath(memory)
    >>> spins = tx.sample(key, memory, 0.1, path="likelihood", kernel=bath, start="prior", num_draws=20, progress=False)
    >>> spins["posterior"]["spin"].shape
    (4, 20, 6)
    """
    found = np.asarray(patterns)
    if found.ndim != 2 or not found.size or not np.isin(found, (-1, 1)).all():
        raise InputError("patterns", patterns, "are not rows of ±1", "give an array (pattern, spin) of -1 and 1")
    return Energy(_hopfield_energy, _spins(found.shape[1:]), found.astype(float))


def xy(shape: Sequence[int], coupling: float = 1.0, periodic: bool = True) -> Energy:
    """Planar spins on a lattice: E = -J Σ_<ij> cos(θ_i - θ_j).

    A spin is a vector of two numbers, N(0, 1) each, of which only the direction counts: angles are uniform a priori and
    have no boundary, and HMC moves them.  Physical log Z(β) = log Z of the likelihood path + N log 2π.

    Parameters
    ----------
    shape, coupling, periodic
        As in `ising`.

    Returns
    -------
    Energy
        Of one parameter ``spin``, of the lattice's shape and 2; `angles` are its directions.

    Raises
    ------
    InputError
        As `ising`.

    See Also
    --------
    temperax.systems.angles, temperax.systems.vorticity

    Examples
    --------
    >>> plane = tx.systems.xy((3, 3))
    >>> plane.size  # a vector of two for each of nine spins
    18
    """
    shape = _check_shape(shape)
    bonds = _bonds(shape, _check_number("coupling", coupling), periodic)
    return Energy(_xy_energy, {"spin": Normal(0.0, 1.0).expand((*shape, 2)).to_event(len(shape) + 1)}, {"bonds": bonds})


def phi4(shape: Sequence[int], mass_squared: float = 1.0, quartic: float = 1.0, periodic: bool = True) -> Energy:
    """A real scalar field on a lattice, of action S = ½ Σ_<ij> (φ_i - φ_j)² + Σ_i (½ m² φ_i² + ¼ λ φ_i⁴).

    The prior is N(0, 1) at every site with energy U0, and the data energy is S - U0.  The likelihood path leads from
    independent sites to exp(-S) at β = 1, where log Z = log ∫ exp(-S) dφ; the posterior path is exp(-S/T).

    Parameters
    ----------
    shape, periodic
        As in `ising`.
    mass_squared
        m²; below 0 the field has two phases, ±φ.
    quartic
        λ ≥ 0; at 0 the field is Gaussian and m² must be positive.

    Returns
    -------
    Energy
        Of one parameter ``field``, of the lattice's shape.

    Raises
    ------
    InputError
        As `ising`, and if exp(-S) cannot be normalised.

    See Also
    --------
    temperax.systems.ising

    Examples
    --------
    >>> field = tx.systems.phi4((4,), mass_squared=-1.0)
    >>> field.size
    4
    """
    shape = _check_shape(shape)
    data = {"mass_squared": _check_number("mass_squared", mass_squared), "quartic": _check_number("quartic", quartic)}
    if quartic < 0:
        raise InputError("quartic", quartic, "is negative, so that the action has no minimum", "give at least 0")
    if quartic == 0 and mass_squared <= 0:
        raise InputError("mass_squared", mass_squared, "binds no field without a quartic term", "make one of them > 0")
    prior = {"field": Normal(0.0, 1.0).expand(shape).to_event(len(shape))}
    return Energy(_phi4_energy, prior, data | {"bonds": _bonds(shape, 1.0, periodic)})


def _ising_energy(parameters: dict[str, Array], data: dict[str, Array]) -> Array:
    spin = parameters["spin"]
    return -jnp.sum(data["bonds"] * spin * _next(spin, spin.ndim)) - data["field"] * jnp.sum(spin)


def _potts_energy(parameters: dict[str, Array], data: dict[str, Array]) -> Array:
    spin = parameters["spin"]
    # δ is linear between neighbouring colours, so that a gradient halfway is what one colour more costs.
    same = jnp.maximum(1 - jnp.abs(spin - _next(spin, spin.ndim)), 0)
    return -jnp.sum(data["bonds"] * same)


def _hopfield_energy(parameters: dict[str, Array], patterns: Array) -> Array:
    spin, (num_patterns, size) = parameters["spin"], patterns.shape
    # P/2 is written in spins, so that no spin acts on itself: the gradient is then Σ_j J_ij s_j.
    return -size / 2 * jnp.sum(overlap(spin, patterns) ** 2) + num_patterns / (2 * size) * jnp.sum(spin**2)


def _xy_energy(parameters: dict[str, Array], data: dict[str, Array]) -> Array:
    spin = parameters["spin"]
    direction = spin / jnp.linalg.norm(spin, axis=-1, keepdims=True)
    cosine = jnp.sum(direction * _next(direction, spin.ndim - 1), axis=-1)
    return -jnp.sum(data["bonds"] * cosine)


def _phi4_energy(parameters: dict[str, Array], data: dict[str, Array]) -> Array:
    field = parameters["field"]
    gradient = jnp.sum(data["bonds"] * (_next(field, field.ndim) - field) ** 2)
    site = (data["mass_squared"] - 1) * field**2 + data["quartic"] * field**4 / 2 - math.log(2 * math.pi)
    return (gradient + jnp.sum(site)) / 2


def is_lattice(energy: Energy) -> bool:
    """Whether spins interact with their neighbours on a lattice alone, by its ``bonds``."""
    return getattr(energy.model, "function", None) in (_ising_energy, _potts_energy)


def _next(values: Array, num_axes: int) -> Array:
    """At every site the value of the next site along each axis, as a new leading axis."""
    return jnp.stack([jnp.roll(values, -1, axis) for axis in range(num_axes)])


def _bonds(shape: tuple[int, ...], coupling: float, periodic: bool) -> np.ndarray:
    """Coupling of every site to its next along each axis (first), 0 where there is none."""
    bonds = np.full((len(shape), *shape), coupling)
    for axis, side in enumerate(shape):
        if side == 1 or not periodic:
            np.moveaxis(bonds[axis], axis, -1)[..., -1] = 0.0
    return bonds


def _spins(shape: tuple[int, ...]) -> dict[str, Distribution]:
    return {"spin": Spin().expand(shape).to_event(len(shape))}


def _check_shape(shape: object) -> tuple[int, ...]:
    if not isinstance(shape, Sequence) or isinstance(shape, str) or not shape:
        raise InputError("shape", shape, "is not a list of sides", "give one such as (16, 16)")
    return tuple(check_count("shape", side) for side in shape)


def _check_number(argument: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or not math.isfinite(value):
        raise InputError(argument, value, "is not a finite number", "give one such as 1.0")
    return float(value)
