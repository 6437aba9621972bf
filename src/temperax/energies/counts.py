"""Log probabilities of counts in single precision.

The terms of the usual formulas are as large as count × log count, and single precision keeps a difference of two of
them to whole nats at a count of 10⁷ only.  Here all are made of one function, the log probability of a Poisson count:
what is lost against a rate that is the count itself, plus the log probability there, neither larger than the result
(Loader 2000, *Fast and accurate computation of binomial probabilities*, has the two for the binomial family).
"""

from collections.abc import Callable
from functools import partial

import jax.numpy as jnp
from jax import nn
from jax.scipy.special import gammaln
from jaxtyping import Array
from numpyro import distributions as dist
from numpyro.distributions import Distribution


def poisson(rate: Array, count: Array, log_rate: Array | None = None) -> Array:
    """Log p(count | rate) in nats, count! as Γ(count + 1) where a count is no integer.

    `log_rate` is asked of where the rate is too small for single precision.
    """
    positive = count > 0
    y, mean = (jnp.where(positive, value, 1.0) for value in (count, rate))
    beyond = (mean - y) / y
    small = jnp.abs(beyond) < 0.02
    near = jnp.where(small, beyond, 0.0)
    series = jnp.zeros(())
    for k in range(10, 1, -1):  # near - log(1 + near): (-near)ᵏ / k from k = 2 on
        series = 1 / k - near * series
    series = near**2 * series
    far = jnp.where(small, 2.0, mean / y)  # of a rate far below the count, nothing is left of `beyond` but -1
    log_far = jnp.log(far)
    if log_rate is not None:  # of a rate that single precision has not
        gone = far < 1e-30
        log_far = jnp.where(gone, jnp.where(gone, log_rate, 0.0) - jnp.log(y), jnp.log(jnp.where(gone, 1.0, far)))
    loss = y * jnp.where(small, series, far - 1.0 - log_far)
    # Stirling's series for log(y^y e^-y / y!), which is all that is large; of small counts the thing itself.
    whole = y * jnp.log(y) - y - gammaln(y + 1)
    v = 1 / y**2
    stirling = -0.5 * jnp.log(2 * jnp.pi * y) - (1 / 12 - v * (1 / 360 - v * (1 / 1260 - v / 1680))) / y
    nothing = jnp.where(count < 0, -jnp.inf, -rate)
    return jnp.where(positive, jnp.where(y < 16, whole, stirling) - loss, nothing)


class LogPoisson(dist.Poisson):
    """Poisson counts by the logarithm of their rate, which single precision has where it has not the rate itself."""

    pytree_data_fields = ("log_rate",)

    def __init__(self, log_rate: Array, *, validate_args: bool | None = None) -> None:
        self.log_rate = log_rate
        super().__init__(jnp.exp(log_rate), validate_args=validate_args)

    def log_prob(self, value: Array) -> Array:
        """In nats."""
        return _log_poisson(self, value)


def log_prob_of_counts(distribution: Distribution) -> Callable[[Array], Array] | None:
    """The log probability of a family of counts as a function of the value, in nats; None of any other family."""
    found = _FAMILIES.get(type(distribution))  # of these types alone: a class made from one may mean something else
    return None if found is None else partial(found, distribution)


def _float(value: Array) -> Array:
    return jnp.asarray(value, jnp.result_type(float))


def _poisson(distribution: dist.Poisson, count: Array) -> Array:
    return poisson(_float(distribution.rate), _float(count))


def _log_poisson(distribution: LogPoisson, count: Array) -> Array:
    return poisson(_float(distribution.rate), _float(count), _float(distribution.log_rate))


def _shared(total: Array, count: Array, p: Array, log_p: Array | None = None) -> Array:
    """The part of one of the counts that share a total: as Poisson counts they are independent, given their sum."""
    n = _float(total)
    log_rate = None if log_p is None else jnp.log(jnp.where(n > 0, n, 1.0)) + log_p
    return poisson(n * p, _float(count), log_rate)


def _rest(total: Array, count: Array) -> Array:
    """What is left of a total; of integers before single precision takes their last digits."""
    both = jnp.asarray(total), jnp.asarray(count)
    whole = all(jnp.issubdtype(each.dtype, jnp.integer) for each in both)
    left = (each.astype(jnp.result_type(int if whole else float)) for each in both)
    return _float(next(left) - next(left))


def _whole(total: Array) -> Array:
    return poisson(_float(total), _float(total))


def _binomial_probs(distribution: dist.BinomialProbs, count: Array) -> Array:
    n, p = distribution.total_count, _float(distribution.probs)
    return _shared(n, count, p) + _shared(n, _rest(n, count), 1 - p) - _whole(n)


def _binomial_logits(distribution: dist.BinomialLogits, count: Array) -> Array:
    n, eta = distribution.total_count, _float(distribution.logits)
    sides = (count, eta), (_rest(n, count), -eta)
    return sum(_shared(n, k, nn.sigmoid(z), nn.log_sigmoid(z)) for k, z in sides) - _whole(n)


def _multinomial_probs(distribution: dist.MultinomialProbs, count: Array) -> Array:
    n = jnp.asarray(distribution.total_count)
    return jnp.sum(_shared(n[..., None], count, _float(distribution.probs)), -1) - _whole(n)


def _multinomial_logits(distribution: dist.MultinomialLogits, count: Array) -> Array:
    n, log_p = jnp.asarray(distribution.total_count), nn.log_softmax(_float(distribution.logits), axis=-1)
    return jnp.sum(_shared(n[..., None], count, jnp.exp(log_p), log_p), -1) - _whole(n)


def _negative_binomial(
    r: Array, count: Array, p: Array, q: Array, log_p: Array | None = None, log_q: Array | None = None
) -> Array:
    """Log p of a count before r successes of probability p = 1 - q: r / (r + count) times a binomial of r + count."""
    r, count = _float(r), _float(count)
    n = r + count
    return jnp.log(r / n) + _shared(n, r, p, log_p) + _shared(n, count, q, log_q) - _whole(n)


def _gamma_poisson(distribution: dist.GammaPoisson, count: Array) -> Array:
    rate = _float(distribution.rate)
    return _negative_binomial(distribution.concentration, count, 1 / (1 + 1 / rate), 1 / (1 + rate))


def _negative_binomial_logits(distribution: dist.NegativeBinomialLogits, count: Array) -> Array:
    eta = _float(distribution.logits)
    p, q = ((nn.sigmoid(z), nn.log_sigmoid(z)) for z in (-eta, eta))
    return _negative_binomial(distribution.total_count, count, p[0], q[0], p[1], q[1])


def _mixed(concentrations: Array, counts: Array) -> Array:
    """Multinomial counts of Dirichlet probabilities, along the last axis: negative binomial ones, given their sum.

    Of whichever p; here the one of which the sum is expected.
    """
    whole, n = jnp.sum(concentrations, -1), _float(jnp.sum(counts, -1))
    p, q = whole / (whole + n), n / (whole + n)
    parts = _negative_binomial(concentrations, counts, p[..., None], q[..., None])
    return jnp.sum(parts, -1) - _negative_binomial(whole, n, p, q)


def _beta_binomial(distribution: dist.BetaBinomial, count: Array) -> Array:
    concentrations = _float(distribution.concentration1), _float(distribution.concentration0)
    counts = _float(count), _rest(distribution.total_count, count)
    return _mixed(*(jnp.stack(jnp.broadcast_arrays(*both), -1) for both in (concentrations, counts)))


def _dirichlet_multinomial(distribution: dist.DirichletMultinomial, count: Array) -> Array:
    return _mixed(_float(distribution.concentration), count)


_FAMILIES: dict[type, Callable[..., Array]] = {
    dist.Poisson: _poisson,
    LogPoisson: _log_poisson,
    dist.BinomialProbs: _binomial_probs,
    dist.BinomialLogits: _binomial_logits,
    dist.MultinomialProbs: _multinomial_probs,
    dist.MultinomialLogits: _multinomial_logits,
    dist.GammaPoisson: _gamma_poisson,
    dist.NegativeBinomial2: _gamma_poisson,
    dist.NegativeBinomialProbs: _gamma_poisson,
    dist.NegativeBinomialLogits: _negative_binomial_logits,
    dist.BetaBinomial: _beta_binomial,
    dist.DirichletMultinomial: _dirichlet_multinomial,
}
