"""Log densities whose rounding does not depend on the program around them.

A compiler may turn a division by one scale that many values share into a product with its inverse, or may not, and
which of the two it does changes with what else is compiled: with the number of devices, for example.  Families of
location and scale are therefore divided by multiplying, here, so that there is nothing to turn.
"""

import jax.numpy as jnp
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


def log_prob(distribution: Distribution, value: Array) -> Array:
    """``distribution.log_prob(value)``, in nats, up to rounding."""
    if isinstance(distribution, Independent):
        terms = log_prob(distribution.base_dist, value)
        return jnp.sum(terms, axis=tuple(range(-distribution.reinterpreted_batch_ndims, 0)))
    base = distribution.base_dist if isinstance(distribution, ExpandedDistribution) else distribution
    if type(base) not in _STANDARD:
        return distribution.log_prob(value)
    z = (value - base.loc) * (1.0 / base.scale)
    terms = _STANDARD[type(base)](base).log_prob(z) - jnp.log(base.scale)
    return jnp.broadcast_to(terms, jnp.broadcast_shapes(jnp.shape(value), distribution.batch_shape))
