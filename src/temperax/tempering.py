"""Paths of tempered distributions, all of the one form π_β ∝ exp(-A(θ) - β V(θ)).

β = 1/T is the inverse temperature, energies are in nats, k_B = 1.  A path is a choice of the *base* energy A and of
the *path* energy V; a swap of two replicas depends on V alone (SCIENCE: the two temperings are not the same, and a
path is always chosen by name).
"""

from collections.abc import Mapping
from typing import NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from temperax.errors import InputError, check_choice


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
    """The part of `temperax.Energy` that a path needs."""

    def prior_energy(self, position: Array) -> Array:
        """U0 = -log p(θ)."""
        ...

    def data_energy(self, position: Array) -> Array:
        """E = -log p(D | θ)."""
        ...


def likelihood(prior: Array, data: Array) -> tuple[Array, Array]:
    """Power posterior exp(-U0 - βE): β = 0 is the prior, Z(1)/Z(0) the evidence (Friel & Pettitt 2008)."""
    return prior, data


def posterior(prior: Array, data: Array) -> tuple[Array, Array]:
    """Cold posterior exp(-β(U0 + E)): training as T → 0 (Wenzel et al. 2020); improper at β = 0."""
    return jnp.zeros_like(prior), prior + data


PATHS: Mapping = {"likelihood": likelihood, "posterior": posterior}


def terms(path: str, energy: Boltzmann, position: Float[Array, " parameter"]) -> Terms:
    """All energies of a position on the named path."""
    prior, data = energy.prior_energy(position), energy.data_energy(position)
    base, v = PATHS[path](prior, data)
    return Terms(base, v, prior, data)


def temper(base: Array, path: Array, beta: Array) -> Array:
    """A + βV, which at β = 0 is A even where V is infinite."""
    scale = jnp.reshape(beta, jnp.shape(beta) + (1,) * (jnp.ndim(path) - jnp.ndim(beta)))
    return base + jnp.where(scale == 0, 0.0, scale * path)


def potential_at(path: str, energy: Boltzmann, beta: Float[Array, ""], position: Float[Array, " parameter"]) -> Array:
    """The potential -log π_β of a position, up to log Z: what a kernel moves in."""
    t = terms(path, energy, position)
    return temper(t.base, t.path, beta)


def evaluate(path: str, energy: Boltzmann, position: Float[Array, " parameter"]) -> Point:
    """A position with its energies and gradients, by one pass through the data."""

    def base_and_path(position: Array) -> tuple[tuple[Array, Array], Terms]:
        t = terms(path, energy, position)
        return (t.base, t.path), t

    _, pull_back, t = jax.vjp(base_and_path, position, has_aux=True)
    one, zero = jnp.ones_like(t.base), jnp.zeros_like(t.base)
    return Point(position, t, *pull_back((one, zero)), *pull_back((zero, one)))


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
        For T ≤ 0, NaN, duplicates, β = 0 on a path that is improper there, or a missing path.
    """
    if (temperature is None) == (beta is None):
        raise InputError("temperature", temperature, "and beta are both given or both missing", "give one of them")
    name, given = ("temperature", temperature) if beta is None else ("beta", beta)
    try:
        values = np.atleast_1d(np.asarray(given, dtype=float))
    except (TypeError, ValueError) as error:
        raise InputError(name, given, "is not made of numbers", "give a number or a list of numbers") from error
    if values.ndim != 1 or values.size == 0:
        raise InputError(name, given, "is not a number or a flat list of numbers", "give for example [1.0, 0.3]")
    if beta is None:
        if not (values > 0).all():  # NaN fails too
            raise InputError(name, given, "is not positive", "give T > 0 (T = inf is the prior; T → 0 is optimise)")
        values = 1.0 / values
    elif not ((values >= 0) & np.isfinite(values)).all():
        raise InputError(name, given, "is not finite and at least 0", "give 0 ≤ β < inf")
    values = np.sort(values)
    if (np.diff(values) == 0).any():
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
    check_choice("path", path, PATHS)
    if path == "posterior" and values[0] == 0:
        raise InputError(name, given, "is improper on the posterior path at T = inf", "use path='likelihood' there")
    return values
