"""Exact draws of (θ, y) from the joint law of a tempered model, for tests of invariance.

The kernel at β leaves p(θ) p(y|θ)^β / ∫dy invariant in θ given y.  Its joint law is drawn by θ ~ p(θ),
y ~ p(y|θ)^β / z(θ) with weight z(θ) = ∫ p(y|θ)^β dy, both in closed form for every likelihood.
"""

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax.scipy.special import gammaln, logsumexp


def tempered(base, beta):
    """The distribution ∝ base^β of each element, and log ∫ base^β."""
    match base:
        case dist.Independent():
            inner, log_z = tempered(base.base_dist, beta)
            return inner.to_event(1), log_z.sum(-1)
        case dist.Normal():
            log_z = 0.5 * (1 - beta) * jnp.log(2 * jnp.pi * base.scale**2) - 0.5 * jnp.log(beta)
            return dist.Normal(base.loc, base.scale / jnp.sqrt(beta)), jnp.broadcast_to(log_z, base.batch_shape)
        case dist.StudentT():
            df = beta * (base.df + 1) - 1
            scale = base.scale * jnp.sqrt(base.df / df)
            log_z = beta * _student_constant(base.df, base.scale) - _student_constant(df, scale)
            return dist.StudentT(df, base.loc, scale), jnp.broadcast_to(log_z, base.batch_shape)
        case dist.BernoulliLogits():
            log_p = jnp.stack([jax.nn.log_sigmoid(-base.logits), jax.nn.log_sigmoid(base.logits)], -1)
            return dist.Bernoulli(logits=beta * base.logits), logsumexp(beta * log_p, axis=-1)
        case dist.CategoricalLogits():
            log_p = jax.nn.log_softmax(base.logits)
            return dist.Categorical(logits=beta * log_p), logsumexp(beta * log_p, axis=-1)
        case dist.Poisson():
            counts = jnp.arange(100.0)  # rates in the tests stay below 20
            logits = beta * base.log_prob(counts.reshape(-1, *(1,) * len(base.batch_shape)))
            logits = jnp.moveaxis(logits, 0, -1)
            return dist.Categorical(logits=logits), logsumexp(logits, axis=-1)
    raise TypeError(type(base))


def _student_constant(df, scale):
    return gammaln((df + 1) / 2) - gammaln(df / 2) - 0.5 * jnp.log(df * jnp.pi) - jnp.log(scale)


def joint(energy, beta, key, size):
    """``size`` draws of (position, y, log weight) from the joint law at β, for the inputs of ``energy``."""

    def one(key):
        prior_key, data_key, other_key = jax.random.split(key, 3)
        position = energy.sample_prior(prior_key)
        # At β = 0 parameters and data are independent: the targets are those of other parameters.
        other = jnp.where(beta == 0, energy.sample_prior(other_key), position)
        base = energy.distribution(other, energy.data["x"])
        law, log_z = tempered(base, jnp.where(beta == 0, 1.0, beta))
        y = law.sample(data_key).astype(position.dtype)
        return position, y, jnp.where(beta == 0, 0.0, log_z.sum())

    return jax.vmap(one)(jax.random.split(key, size))
