"""Distributions that make no difference between one process and another: their rounding, and their order.

A compiler may turn a division by one scale that many values share into a product with its inverse, or may not, and
which of the two it does changes with what else is compiled: with the number of devices, for example.  Families of
location and scale are therefore divided by multiplying, here, so that there is nothing to turn.
"""

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import jax.numpy as jnp
from jax.scipy.special import gammaln
from jax.tree_util import register_pytree_node_class
from jaxtyping import Array
from numpyro import distributions as dist
from numpyro.distributions import Distribution, ExpandedDistribution, Independent
from numpyro.distributions.discrete import HurdleProbs

from temperax.energies.counts import log_prob_of_counts, poisson

#: Shapes from which Stirling's series has all digits of single precision.
_LARGE = 4.0


def _log_gamma_ratio(a: Array) -> Array:
    """Log of Γ(a + ½) / (Γ(a) √a), of which the two logarithms would leave nothing where a is large."""
    large = a > _LARGE
    few, inverse = jnp.where(large, 1.0, a), 1 / jnp.where(large, a, _LARGE)
    v = inverse**2
    series = -inverse * (1 / 8 - v * (1 / 192 - v * (1 / 640 - v * 17 / 14336)))
    return jnp.where(large, series, gammaln(few + 0.5) - gammaln(few) - 0.5 * jnp.log(few))


def _student_t(df: Array, z: Array) -> Array:
    """Log probability of Student's t at z, the normal one of any large df."""
    df = jnp.asarray(df, jnp.result_type(float))
    tails = 0.5 * (df + 1) * jnp.log1p(z**2 * (1 / df))
    return _log_gamma_ratio(0.5 * df) - 0.5 * jnp.log(2 * jnp.pi) - tails


def _gamma(distribution: dist.Gamma, value: Array) -> Array:
    """Log probability of Gamma; of large shapes a by that of a Poisson count a at the rate of the value."""
    a, b = (jnp.asarray(p, jnp.result_type(float)) for p in (distribution.concentration, distribution.rate))
    large = a > _LARGE
    few, many = jnp.where(large, 1.0, a), jnp.where(large, a, _LARGE)
    usual = few * jnp.log(b) + (few - 1) * jnp.log(value) - b * value - gammaln(few)
    counted = jnp.log(many / value) + poisson(b * value, many, jnp.log(b) + jnp.log(value))
    return jnp.where(large, counted, usual)


#: Families with a location and a scale, and the log probabilities of their standard members.
_STANDARD: dict[type, Callable[[Any, Array], Array]] = {
    dist.Cauchy: lambda d, z: dist.Cauchy(0.0, 1.0).log_prob(z),
    dist.Laplace: lambda d, z: dist.Laplace(0.0, 1.0).log_prob(z),
    dist.Logistic: lambda d, z: dist.Logistic(0.0, 1.0).log_prob(z),
    dist.Normal: lambda d, z: dist.Normal(0.0, 1.0).log_prob(z),
    dist.StudentT: lambda d, z: _student_t(d.df, z),
}

#: Families whose draws are functions of normal ones, number by number.
_FROM_NORMAL: dict[type, Callable] = {
    dist.Normal: lambda d, z: d.loc + d.scale * z,
    dist.HalfNormal: lambda d, z: d.scale * jnp.abs(z),
    dist.LogNormal: lambda d, z: jnp.exp(d.loc + d.scale * z),
}


#: Families that ask the log probability of another one, their `base_dist`.
_AROUND_ANOTHER = (dist.ZeroInflatedProbs, HurdleProbs, dist.MaskedDistribution)


class _Carefully:
    """A distribution whose log probability is the one of this module."""

    def __init__(self, distribution: Distribution) -> None:
        self.distribution = distribution

    def __getattr__(self, name: str) -> Any:
        return getattr(self.distribution, name)

    def log_prob(self, value: Array) -> Array:
        """In nats, up to rounding."""
        return log_prob(self.distribution, value)


def log_prob(distribution: Distribution, value: Array) -> Array:
    """``distribution.log_prob(value)``, in nats, up to rounding."""
    if isinstance(distribution, Independent):
        terms = log_prob(distribution.base_dist, value)
        return jnp.sum(terms, axis=tuple(range(-distribution.reinterpreted_batch_ndims, 0)))
    base = distribution.base_dist if isinstance(distribution, ExpandedDistribution) else distribution
    if isinstance(base, _AROUND_ANOTHER):
        carefully = copy.copy(base)
        carefully.base_dist = _Carefully(base.base_dist)
        return carefully.log_prob(value)
    known = partial(_gamma, base) if type(base) is dist.Gamma else log_prob_of_counts(base)
    if known is not None:
        found = known(value)
        return jnp.broadcast_to(found, jnp.broadcast_shapes(jnp.shape(found), distribution.batch_shape))
    if type(base) not in _STANDARD:
        return distribution.log_prob(value)
    z = (value - base.loc) * (1.0 / base.scale)
    terms = _STANDARD[type(base)](base, z) - jnp.log(base.scale)
    return jnp.broadcast_to(terms, jnp.broadcast_shapes(jnp.shape(value), distribution.batch_shape))


def from_normal(distribution: Distribution) -> Callable[[Array], Array] | None:
    """How independent standard normal numbers of its shape become a draw of a distribution; None where none can."""
    while isinstance(distribution, (Independent, ExpandedDistribution)):
        distribution = distribution.base_dist
    found = _FROM_NORMAL.get(type(distribution))
    return None if found is None else partial(found, distribution)


@register_pytree_node_class
class Ordered:
    """A distribution as a pytree whose leaves come in the order of their names.

    NumPyro gives a distribution's parameters in the order of a set, which changes from process to process: a program
    that was compiled and kept would not be found again, and processes that work together would compile different ones.
    """

    def __init__(self, distribution: Distribution) -> None:
        self.distribution = distribution

    def tree_flatten(self) -> tuple[list, tuple]:
        """Parameters by name, distributions among them in order too."""
        leaves, rest = self.distribution.tree_flatten()
        names = self.distribution.gather_pytree_data_fields()
        ordered = sorted(zip(names, leaves, strict=True), key=lambda named: named[0])
        return [Ordered(x) if isinstance(x, Distribution) else x for _, x in ordered], (type(self.distribution), rest)

    @classmethod
    def tree_unflatten(cls, structure: tuple, leaves: list) -> "Ordered":
        """Rebuild the distribution."""
        kind, rest = structure
        names = kind.gather_pytree_data_fields()
        found = {name: unordered(leaf) for name, leaf in zip(sorted(names), leaves, strict=True)}
        return cls(kind.tree_unflatten(rest, tuple(found[name] for name in names)))


def unordered(leaf: Any) -> Any:
    """The distribution in an `Ordered`; anything else as it is."""
    return leaf.distribution if isinstance(leaf, Ordered) else leaf
