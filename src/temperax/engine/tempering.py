"""Paths of tempered distributions, all of the one form π_β ∝ exp(-A(θ) - β V(θ)).

β = 1/T is the inverse temperature, energies are in nats, k_B = 1.  A path is a choice of the *base* energy A and of
the *path* energy V; a swap of two replicas depends on V alone (SCIENCE: the two temperings are not the same, and a
path is always chosen by name).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import register_dataclass
from jaxtyping import Array, Float

from temperax.errors import InputError, check_array, check_betas, check_choice


class Terms(NamedTuple):
    """The energies of one position, in nats."""

    base: Float[Array, ""]
    path: Float[Array, ""]
    prior: Float[Array, ""]
    data: Float[Array, ""]


class Point(NamedTuple):
    """A position with its energies and their gradients: what travels together when replicas swap.

    Nothing here depends on β, so nothing goes stale when a position meets another temperature.
    """

    position: Float[Array, " parameter"]
    terms: Terms
    base_gradient: Float[Array, " parameter"]
    path_gradient: Float[Array, " parameter"]


@runtime_checkable
class Boltzmann(Protocol):
    """The part of `temperax.Energy` that a path needs.

    See Also
    --------
    temperax.Energy

    Examples
    --------
    >>> all(hasattr(energy, name) for name in ("prior_energy", "data_energy", "sample_prior"))
    True
    """

    def prior_energy(self, position: Array) -> Array:
        """U0 = -log p(θ)."""
        ...

    def data_energy(self, position: Array) -> Array:
        """E = -log p(D | θ)."""
        ...

    def sample_prior(self, key: Array) -> Array:
        """An exact draw from p(θ)."""
        ...


@runtime_checkable
class Path(Protocol):
    """What every path answers; paths are pytrees, so that a fitted reference can change without compiling.

    See Also
    --------
    temperax.tempering.Likelihood, temperax.tempering.Posterior, temperax.tempering.Reference

    Examples
    --------
    >>> base, path = tx.tempering.Posterior().split(jnp.zeros(3), jnp.array(2.0), jnp.array(5.0))
    >>> float(base), float(path)  # π_β ∝ exp(-base - β path)
    (0.0, 7.0)
    """

    name: ClassVar[str]
    exact_at_zero: ClassVar[bool]

    def split(self, position: Array, prior: Array, data: Array) -> tuple[Array, Array]:
        """Base energy A and path energy V of a position, from its prior and data energies."""
        ...

    def offsets(self, prior: float, data: float) -> tuple[float, float]:
        """What constants in the prior and the data energy add to A and to V."""
        ...

    def draw(self, key: Array, energy: Boltzmann) -> Array:
        """An exact draw at β = 0."""
        ...

    def shares(self, beta: Array) -> tuple[Array, Array]:
        """What the potential at β has of the path's own energy (of a reference), and of the prior energy."""
        ...

    def own_terms(self, position: Array) -> Array:
        """The path's own energy, parameter by parameter, up to a constant."""
        ...

    def own_precision(self, position: Array) -> Array:
        """Its second derivatives, parameter by parameter."""
        ...


class _NothingOwn:
    """Of a path without a reference."""

    def own_terms(self, position: Array) -> Array:
        """None."""
        return jnp.zeros_like(position)

    def own_precision(self, position: Array) -> Array:
        """None."""
        return jnp.zeros_like(position)


@register_dataclass
@dataclass(frozen=True)
class Likelihood(_NothingOwn):
    """Power posterior exp(-U0 - βE): β = 0 is the prior, Z(1)/Z(0) the evidence (Friel & Pettitt 2008).

    See Also
    --------
    temperax.tempering.Posterior, temperax.parallel_tempering

    Examples
    --------
    >>> base, path = tx.tempering.Likelihood().split(jnp.zeros(3), jnp.array(2.0), jnp.array(5.0))
    >>> float(base), float(path)  # U0 and E
    (2.0, 5.0)
    """

    name: ClassVar[str] = "likelihood"
    exact_at_zero: ClassVar[bool] = True

    def split(self, position: Array, prior: Array, data: Array) -> tuple[Array, Array]:
        """A = U0, V = E."""
        return prior, data

    def offsets(self, prior: float, data: float) -> tuple[float, float]:
        """Each its own."""
        return prior, data

    def draw(self, key: Array, energy: Boltzmann) -> Array:
        """A draw from the prior."""
        return energy.sample_prior(key)

    def shares(self, beta: Array) -> tuple[Array, Array]:
        """All of the prior energy at every β."""
        return jnp.zeros_like(beta), jnp.ones_like(beta)


@register_dataclass
@dataclass(frozen=True)
class Posterior(_NothingOwn):
    """Cold posterior exp(-β(U0 + E)): training as T → 0 (Wenzel et al. 2020); improper at β = 0.

    See Also
    --------
    temperax.tempering.Likelihood, temperax.sample

    Examples
    --------
    >>> base, path = tx.tempering.Posterior().split(jnp.zeros(3), jnp.array(2.0), jnp.array(5.0))
    >>> float(base), float(path)  # nothing, and U0 + E
    (0.0, 7.0)
    """

    name: ClassVar[str] = "posterior"
    exact_at_zero: ClassVar[bool] = False

    def split(self, position: Array, prior: Array, data: Array) -> tuple[Array, Array]:
        """A = 0, V = U0 + E."""
        return jnp.zeros_like(prior), prior + data

    def offsets(self, prior: float, data: float) -> tuple[float, float]:
        """All of it in V."""
        return 0.0, prior + data

    def draw(self, key: Array, energy: Boltzmann) -> Array:
        """Never asked for: β = 0 is refused on this path."""
        return energy.sample_prior(key)

    def shares(self, beta: Array) -> tuple[Array, Array]:
        """β of the prior energy."""
        return jnp.zeros_like(beta), beta


@register_dataclass
@dataclass(frozen=True)
class Reference:
    """From a fitted Gaussian q to the posterior: exp((1-β) log q - β(U0 + E)).

    It ends at β = 1: beyond, p^β / q^(β - 1) has no integral where the posterior p has heavier tails than q.
    Shorter than the path from the prior where q is near the posterior; Z(1)/Z(0) is the evidence here too (variational
    parallel tempering, Surjanovic, Syed, Bouchard-Côté & Campbell 2022).

    See Also
    --------
    temperax.tempering.fitted, temperax.parallel_tempering

    Examples
    --------
    >>> reference = tx.tempering.Reference(jnp.zeros(3), jnp.ones(3))
    >>> reference.draw(key, energy).shape
    (3,)
    """

    mean: Float[Array, " parameter"]
    scale: Float[Array, " parameter"]
    name: ClassVar[str] = "reference"
    exact_at_zero: ClassVar[bool] = True

    def split(self, position: Array, prior: Array, data: Array) -> tuple[Array, Array]:
        """A = -log q, V = U0 + E + log q."""
        z = (position - self.mean) / self.scale
        base = 0.5 * jnp.sum(z**2) + jnp.sum(jnp.log(self.scale)) + 0.5 * z.size * jnp.log(2 * jnp.pi)
        return base, prior + data - base

    def offsets(self, prior: float, data: float) -> tuple[float, float]:
        """All of it in V."""
        return 0.0, prior + data

    def draw(self, key: Array, energy: Boltzmann) -> Array:
        """A draw from q."""
        return self.mean + self.scale * jax.random.normal(key, self.mean.shape, self.mean.dtype)

    def shares(self, beta: Array) -> tuple[Array, Array]:
        """1 - β of -log q, and β of the prior energy."""
        return 1.0 - beta, beta

    def own_terms(self, position: Array) -> Array:
        """-log q of every parameter."""
        return 0.5 * ((position - self.mean) / self.scale) ** 2

    def own_precision(self, position: Array) -> Array:
        """Those of q."""
        return self.scale**-2


def fitted(mean: Float[np.ndarray, " parameter"], deviation: Float[np.ndarray, " parameter"]) -> Reference:
    """The reference with this mean, and a little wider than these standard deviations.

    A scale below the truth would cut the posterior's tails off the reference; a little more costs little.

    See Also
    --------
    temperax.tempering.Reference

    Examples
    --------
    >>> tx.tempering.fitted(np.zeros(2), np.ones(2)).mean.shape
    (2,)
    """
    values = np.stack([mean, 1.1 * deviation + 1e-6]).astype(jnp.result_type(float))
    return Reference(*jnp.asarray(values))


#: Paths that need nothing fitted, by name.
PATHS: Mapping = {"likelihood": Likelihood(), "posterior": Posterior()}


def terms(path: Path, energy: Boltzmann, position: Float[Array, " parameter"]) -> Terms:
    """All energies of a position on a path."""
    prior, data = _sound(energy.prior_energy(position)), _sound(energy.data_energy(position))
    return Terms(*path.split(position, prior, data), prior, data)


def _sound(energy: Array) -> Array:
    """An energy that is NaN is infinite: no start, step or swap takes it."""
    return jnp.where(jnp.isnan(energy), jnp.inf, energy)


def temper(base: Array, path: Array, beta: Array) -> Array:
    """A + βV, which at β = 0 is A even where V is infinite."""
    scale = jnp.reshape(beta, jnp.shape(beta) + (1,) * (jnp.ndim(path) - jnp.ndim(beta)))
    return base + jnp.where(scale == 0, 0.0, scale * path)


def temper_on_host(base: Any, path: Any, betas: np.ndarray) -> np.ndarray:
    """`temper` of host arrays whose last axis is the temperature, in their own precision."""
    betas = np.asarray(betas, base.dtype)
    with np.errstate(invalid="ignore"):
        return base + np.where(betas == 0, 0, betas * path)


def potential_at(path: Path, energy: Boltzmann, beta: Float[Array, ""], position: Float[Array, " parameter"]) -> Array:
    """The potential -log π_β of a position, up to log Z: what a kernel moves in."""
    t = terms(path, energy, position)
    return temper(t.base, t.path, beta)


def evaluate(path: Path, energy: Boltzmann, position: Float[Array, " parameter"]) -> Point:
    """A position with its energies and gradients, by one pass through the data."""
    prior, prior_gradient = jax.value_and_grad(energy.prior_energy)(position)
    data, data_gradient = jax.value_and_grad(energy.data_energy)(position)
    prior, data = _sound(prior), _sound(data)
    (base, along), pull_back = jax.vjp(path.split, position, prior, data)

    def gradient(*cotangents: Array) -> Array:
        """By the chain rule; what a term does not depend on may be infinite."""
        own, by_prior, by_data = pull_back(cotangents)
        return temper(temper(own, prior_gradient, by_prior), data_gradient, by_data)

    one, zero = jnp.ones_like(base), jnp.zeros_like(base)
    return Point(position, Terms(base, along, prior, data), gradient(one, zero), gradient(zero, one))


def inverse_temperatures(temperature: object = None, beta: object = None, path: str | None = None) -> np.ndarray:
    """Turn a user's temperatures (or inverse temperatures) into an ascending array of β.

    Parameters
    ----------
    temperature
        One T or a sequence, each positive; ``inf`` means β = 0.
    beta
        The same as inverse temperatures; give one of the two.
    path
        Name of the path; may be left out only if every temperature is 1, where all paths agree.

    Returns
    -------
    numpy.ndarray
        β in ascending order, hottest first.

    Raises
    ------
    InputError
        For T ≤ 0, NaN, T or β that single precision cannot hold, duplicates, β = 0 on a path that is improper there, or
        a missing path.
    """
    if (temperature is None) == (beta is None):
        raise InputError("temperature", temperature, "and beta are both given or both missing", "give one of them")
    name, given = ("temperature", temperature) if beta is None else ("beta", beta)
    values = np.atleast_1d(check_array(name, given, "give a number or a list of numbers"))
    if values.ndim != 1 or values.size == 0:
        raise InputError(name, given, "is not a number or a flat list of numbers", "give for example [1.0, 0.3]")
    if beta is None:
        if not (values > 0).all():  # NaN fails too
            raise InputError(name, given, "is not positive", "give T > 0 (T = inf is the prior; T → 0 is optimise)")
        with np.errstate(over="ignore"):
            values = 1.0 / values
    check_betas(name, given, values)
    values = np.sort(values)
    if (np.diff(values.astype(np.float32)) == 0).any():
        raise InputError(name, given, "repeats a temperature", "name each once and use num_chains for repeats")
    if path is None:
        if (values != 1).any():
            raise InputError(
                "path",
                path,
                "leaves open what is tempered",
                "say path='likelihood' (power) or 'posterior' (cold)",
            )
        return values
    if not check_choice("path", path, PATHS).exact_at_zero and values[0] == 0:
        raise InputError(name, given, f"is improper on the {path} path at T = inf", "use path='likelihood' there")
    return values


def target_slot(betas: np.ndarray) -> int:
    """The slot of the ``posterior`` group: T = 1 where the ladder has it, else the coldest."""
    at_one = np.flatnonzero(np.isclose(betas, 1.0, rtol=1e-6))
    return int(at_one[0]) if len(at_one) else len(betas) - 1
