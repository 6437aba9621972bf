"""Systems of statistical physics: Ising, Hopfield, XY and φ⁴, which have exact answers, and the heat bath for spins.

Each of the four is an `Energy`: its prior is a reference measure that is drawn exactly, its data energy the physical
energy (k_B = 1, so that βE is in nats), and ``parallel_tempering`` on the likelihood path leads from T = inf to any T.
Couplings are data of the energy: changing one compiles nothing.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import register_dataclass
from jaxtyping import Array, Float, Int
from numpyro.distributions import Distribution, Normal, biject_to, constraints
from numpyro.distributions.transforms import IdentityTransform

from temperax.energies.energy import Energy
from temperax.engine.kernels import Explorer
from temperax.errors import InputError, check_count


class _PlusMinusOne(constraints._SingletonConstraint):
    """-1.0 or 1.0."""

    is_discrete = True

    def __call__(self, x: Array) -> Array:
        return jnp.abs(x) == 1

    def feasible_like(self, prototype: Array) -> Array:
        return jnp.ones_like(prototype)


@biject_to.register(_PlusMinusOne)
def _as_it_is(_: _PlusMinusOne) -> IdentityTransform:
    return IdentityTransform()


class Spin(Distribution):
    """One Ising spin, -1.0 or 1.0 with probability ½ each: ``Spin().expand(shape).to_event()`` for many.

    It is a float, so that polynomials of spins have gradients, but only kernels that jump may move it.
    """

    arg_constraints: dict = {}
    support = _PlusMinusOne()

    def sample(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Array:
        """Independent fair spins."""
        return jax.random.rademacher(key, sample_shape, jnp.result_type(float))

    def log_prob(self, value: Array, intermediates: object = None) -> Array:
        """-log 2 each."""
        return jnp.full_like(value, -math.log(2))


# -- systems ---------------------------------------------------------------------------------------------------------


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


# -- the heat bath ---------------------------------------------------------------------------------------------------


@register_dataclass
@dataclass(frozen=True)
class HeatBath(Explorer):
    """Gibbs sampling of spins: each in turn is drawn from its distribution given all others (Glauber 1963).

    Where the energy is linear in every spin, s_i = 1 has probability 1/(1 + exp(2β ∂E/∂s_i)): the pull of the others
    is read off the energy itself.  Spins of a group do not interact and are drawn at once.

    Attributes
    ----------
    group
        Of every spin; groups are visited from 0 upwards, once a move.  `heat_bath` knows those of an energy.
    """

    group: Int[Array, " spin"]

    def move(self, key: Array, position: Array, beta: Array, potential: Callable[[Array], Array]) -> Array:
        """One sweep."""
        uniform = jax.random.uniform(key, position.shape, position.dtype)
        pull = jax.grad(potential)  # includes β

        def draw(group: Array, spin: Array) -> Array:
            up = jax.nn.sigmoid(-2 * pull(spin))
            return jnp.where(self.group == group, jnp.where(uniform < up, 1.0, -1.0), spin)

        return jax.lax.fori_loop(0, jnp.max(self.group) + 1, draw, position)


def heat_bath(energy: Energy, groups: Int[np.ndarray, " spin"] | None = None) -> HeatBath:
    """The heat bath for an energy of spins: a checkerboard for `ising`, one spin at a time for any other.

    Parameters
    ----------
    energy
        `ising`, `hopfield`, or the user's own with a prior of `Spin`.  It must be linear in every single spin, as
        it can always be written, since s² = 1.
    groups
        Of every spin, 0 and up, where the user knows better which ones do not interact.

    Raises
    ------
    InputError
        If the energy has no spins, or the groups do not fit.

    See Also
    --------
    temperax.systems.ising, temperax.kernels.Explorer

    Examples
    --------
    >>> magnet = tx.systems.ising((4, 4))
    >>> bath = tx.systems.heat_bath(magnet)
    >>> cold = tx.sample(key, magnet, 0.5, path="likelihood", kernel=bath, start="prior", num_draws=20, progress=False)
    >>> set(np.unique(cold["posterior"]["spin"])) <= {-1.0, 1.0}
    True
    """
    if not isinstance(energy, Energy) or not energy.discrete:
        raise InputError("energy", energy, "has no spins", "give one such as systems.ising((8, 8))")
    if groups is None:
        lattice = getattr(energy.model, "function", None) is _ising_energy
        found = _checkerboard(energy.data["bonds"].shape[1:]) if lattice else np.arange(energy.size)
    else:
        found = np.asarray(groups)
    if found.shape != (energy.size,) or not np.issubdtype(found.dtype, np.integer) or found.min() < 0:
        raise InputError("groups", groups, f"are not {energy.size} integers from 0", "give one group a spin")
    return HeatBath(jnp.asarray(found, jnp.int32))


def _checkerboard(shape: tuple[int, ...]) -> Int[np.ndarray, " spin"]:
    """Colours of a periodic lattice that differ across every bond: two, or three where a side is odd.

    Every side alternates; one that does not close takes the third colour at its end.  The sum over axes, modulo the
    number of colours, differs across a bond because one summand does.
    """
    colours = 3 if any(side % 2 and side > 1 for side in shape) else 2
    total = np.zeros(shape, int)
    for axis, side in enumerate(shape):
        colour = np.arange(side) % 2
        colour[-1] = 2 if side % 2 and side > 1 else colour[-1]
        total += colour.reshape(-1, *[1] * (len(shape) - 1 - axis))
    return (total % colours).ravel()


# -- observables -----------------------------------------------------------------------------------------------------


def magnetisation(spins: Float[Array, "*batch site"], num_axes: int = 2) -> Float[Array, "*batch"]:
    """Mean spin (or field), over the last ``num_axes`` axes: those of the lattice.

    See Also
    --------
    temperax.systems.ising

    Examples
    --------
    >>> float(tx.systems.magnetisation(jnp.ones((4, 4))))
    1.0
    """
    return jnp.mean(spins, axis=tuple(range(-num_axes, 0)))


def overlap(
    spins: Float[Array, "*batch spin"], patterns: Float[Array, "pattern spin"]
) -> Float[Array, "*batch pattern"]:
    """m_μ = ξ_μ·s / N, from -1 to 1: how much of each pattern the spins recall.

    See Also
    --------
    temperax.systems.hopfield

    Examples
    --------
    >>> patterns = jnp.array([[1.0, 1.0, -1.0, -1.0], [1.0, -1.0, 1.0, -1.0]])
    >>> tx.systems.overlap(patterns[0], patterns)
    Array([1., 0.], dtype=float32)
    """
    return spins @ jnp.asarray(patterns, float).T / spins.shape[-1]


def angles(spins: Float[Array, "*lattice 2"]) -> Float[Array, "*lattice"]:
    """Directions of the vectors of `xy`, in (-π, π].

    See Also
    --------
    temperax.systems.xy, temperax.systems.vorticity

    Examples
    --------
    >>> tx.systems.angles(jnp.array([[1.0, 0.0], [0.0, 2.0]]))
    Array([0.       , 1.5707964], dtype=float32)
    """
    return jnp.arctan2(spins[..., 1], spins[..., 0])


def vorticity(theta: Float[Array, "*batch row column"]) -> Int[Array, "*batch row column"]:
    """Vortices of a periodic plane of `angles`: turns of the spin around each plaquette, -1, 0 or 1.

    They sum to 0, and bind in pairs below the transition (Kosterlitz & Thouless 1973).

    See Also
    --------
    temperax.systems.angles

    Examples
    --------
    >>> int(jnp.sum(tx.systems.vorticity(jax.random.uniform(key, (6, 6), minval=-3.0, maxval=3.0))))  # they sum to 0
    0
    """

    def turn(axis: int) -> Array:
        """Shortest way from every angle to the next."""
        return (jnp.roll(theta, -1, axis) - theta + jnp.pi) % (2 * jnp.pi) - jnp.pi

    down, right = turn(-2), turn(-1)
    around = down + jnp.roll(right, -1, -2) - jnp.roll(down, -1, -1) - right
    return jnp.round(around / (2 * jnp.pi)).astype(int)
