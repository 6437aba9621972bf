"""Distributions that make no difference between one process and another: their rounding, and their order.

A compiler may turn a division by one scale that many values share into a product with its inverse, or may not, and
which of the two it does changes with what else is compiled: with the number of devices, for example.  Families of
location and scale are therefore divided by multiplying, here, so that there is nothing to turn.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax.numpy as jnp
from jax.scipy.special import gammaln
from jax.tree_util import register_pytree_node_class
from jaxtyping import Array
from numpyro import distributions as dist
from numpyro.distributions import Distribution, ExpandedDistribution, Independent

#: Families with a location and a scale, and their standard members.
_STANDARD = {
    dist.Cauchy: lambda d: dist.Cauchy(0.0, 1.0),
    dist.Laplace: lambda d: dist.Laplace(0.0, 1.0),
    dist.Logistic: lambda d: dist.Logistic(0.0, 1.0),
    dist.Normal: lambda d: dist.Normal(0.0, 1.0),
    dist.StudentT: lambda d: dist.StudentT(d.df, 0.0, 1.0),
}

#: Families whose draws are functions of normal ones, number by number.
_FROM_NORMAL: dict[type, Callable] = {
    dist.Normal: lambda d, z: d.loc + d.scale * z,
    dist.HalfNormal: lambda d, z: d.scale * jnp.abs(z),
    dist.LogNormal: lambda d, z: jnp.exp(d.loc + d.scale * z),
}


def log_prob(distribution: Distribution, value: Array) -> Array:
    """``distribution.log_prob(value)``, in nats, up to rounding."""
    if isinstance(distribution, Independent):
        terms = log_prob(distribution.base_dist, value)
        return jnp.sum(terms, axis=tuple(range(-distribution.reinterpreted_batch_ndims, 0)))
    base = distribution.base_dist if isinstance(distribution, ExpandedDistribution) else distribution
    if type(base) is dist.Poisson:
        return _poisson(jnp.broadcast_to(base.rate, distribution.batch_shape), value)
    if type(base) not in _STANDARD:
        return distribution.log_prob(value)
    z = (value - base.loc) * (1.0 / base.scale)
    terms = _STANDARD[type(base)](base).log_prob(z) - jnp.log(base.scale)
    return jnp.broadcast_to(terms, jnp.broadcast_shapes(jnp.shape(value), distribution.batch_shape))


def _poisson(rate: Array, count: Array) -> Array:
    """Log p(count | rate) as what is lost against a rate that is the count itself, plus the log probability there.

    The terms of the usual formula are as large as count × log count, and single precision keeps a difference of two of
    them to whole nats at a count of 10⁷ only. The same in two terms, neither of which is larger than the result.
    """
    positive = count > 0
    y = jnp.where(positive, count, 1.0)
    beyond = (rate - y) / y
    small = jnp.abs(beyond) < 0.02
    near = jnp.where(small, beyond, 0.0)
    series = near**2 * (1 / 2 - near * (1 / 3 - near * (1 / 4 - near * (1 / 5 - near / 6))))
    far = jnp.where(small, 2.0, rate / y)  # of a rate far below the count, nothing is left of `beyond` but -1
    loss = y * jnp.where(small, series, far - 1.0 - jnp.log(far))
    # Stirling's series for log(y^y e^-y / y!), which is all that is large; of small counts the thing itself.
    whole = y * jnp.log(y) - y - gammaln(y + 1)
    stirling = -0.5 * jnp.log(2 * jnp.pi * y) - (1 / 12 - 1 / (360 * y**2)) / y
    return jnp.where(positive, jnp.where(y < 16, whole, stirling) - loss, -rate)


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
