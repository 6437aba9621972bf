"""Log probabilities of counts in single precision, against SciPy in double precision."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from scipy import stats
from scipy.special import expit, softmax

import temperax as tx
from temperax.energies.densities import log_prob


@pytest.mark.parametrize("rate", [0.01, 1.0, 17.0, 1e3, 1e5, 1e7, 1e9])
def test_counts_keep_their_digits(rate):
    """Log probabilities of counts up to 10⁹ against SciPy, where the usual formula is hundreds of nats off."""
    rng = np.random.default_rng(0)
    log_rate = (np.log(rate) + np.minimum(1.0, 3.0 / np.sqrt(rate)) * rng.normal(size=100)).astype(np.float32)
    # The rate as single precision has it is what both are asked about.
    single = np.asarray(jnp.exp(log_rate))
    counts = rng.poisson(single.astype(float)).astype(np.float32)
    exact = stats.poisson(single.astype(float)).logpmf(counts.astype(float))
    found = log_prob(dist.Poisson(single), counts)
    np.testing.assert_allclose(found, exact, atol=1e-4)
    slope = jax.vmap(jax.grad(lambda eta, y: log_prob(dist.Poisson(jnp.exp(eta)), y)))(log_rate, counts)
    np.testing.assert_allclose(slope, counts.astype(float) - single, atol=1e-5 + 2e-7 * rate, rtol=1e-4)
    if rate >= 1e7 and found.dtype == jnp.float32:
        usual = np.asarray(dist.Poisson(single).log_prob(counts))
        assert np.abs(usual - exact).max() > 1, "the yardstick must see what it loses"


@pytest.mark.parametrize("away", [1e-6, 1e-3, 0.5, 1e3, 1e9])
def test_rates_far_from_the_count(away):
    """No branch of the formula meets another with a step, and rates of nearly 0 have a finite energy and slope."""
    counts = np.array([0.0, 1.0, 20.0, 1e6], np.float32)
    rates = np.maximum(counts, 1.0).astype(np.float32) * np.float32(away)
    exact = stats.poisson(rates.astype(float)).logpmf(counts)
    np.testing.assert_allclose(log_prob(dist.Poisson(rates), counts), exact, rtol=2e-6, atol=1e-5)
    slope = jax.grad(lambda eta: jnp.sum(log_prob(dist.Poisson(jnp.exp(eta)), counts)))(jnp.log(rates))
    assert np.isfinite(slope).all()


def drawn(family, n):
    """A distribution of counts up to `n` or thereabouts, 100 draws of it, and their log probabilities by SciPy."""
    rng = np.random.default_rng(0)
    eta = (2 * rng.normal(size=100)).astype(np.float32)
    p = expit(eta.astype(float))
    alpha = np.array([0.3, 2.0, 50.0], np.float32)
    if family == "binomial logits":
        k = rng.binomial(n, p)
        return dist.BinomialLogits(eta, n), k, stats.binom(n, p).logpmf(k)
    if family == "binomial probs":
        single = p.astype(np.float32)
        k = rng.binomial(n, single.astype(float))
        return dist.BinomialProbs(single, n), k, stats.binom(n, single.astype(float)).logpmf(k)
    if family == "beta-binomial":
        k = rng.binomial(n, rng.beta(alpha[1], alpha[2], 100))
        exact = stats.betabinom(n, *alpha[1:].astype(float)).logpmf(k)
        return dist.BetaBinomial(alpha[1], alpha[2], n), k, exact
    if family == "multinomial logits":
        k = rng.multinomial(n, softmax(alpha.astype(float) / 10), 100)
        return (
            dist.MultinomialLogits(alpha / 10, n),
            k,
            stats.multinomial(n, softmax(alpha.astype(float) / 10)).logpmf(k),
        )
    if family == "dirichlet-multinomial":
        k = np.stack([rng.multinomial(n, share) for share in rng.dirichlet(alpha, 100)])
        return dist.DirichletMultinomial(alpha, n), k, stats.dirichlet_multinomial(alpha.astype(float), n).logpmf(k)
    # Of a mean n, and 2.5 or 1 000 for the successes waited for: wider than a Poisson count, and nearly one.
    r = 2.5 if family == "negative binomial, wide" else 1e3
    logit = np.log(np.float32(n) / np.float32(r)).astype(np.float32)
    law = stats.nbinom(r, expit(-float(logit)))
    k = law.rvs(100, random_state=rng)
    return dist.NegativeBinomialLogits(np.float32(r), np.full(100, logit)), k, law.logpmf(k)


FAMILIES = [
    "binomial logits",
    "binomial probs",
    "beta-binomial",
    "multinomial logits",
    "dirichlet-multinomial",
    "negative binomial, wide",
    "negative binomial",
]


@pytest.mark.parametrize("n", [3, 100, 10**5, 10**7])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_keeps_its_digits(family, n):
    """At 10⁵ and more the usual formulas lose them, which the yardstick must see."""
    distribution, counts, exact = drawn(family, n)
    found = log_prob(distribution, counts.astype(np.int32))
    assert found.dtype == jnp.result_type(float)
    np.testing.assert_allclose(found, exact, atol=1e-4 * max(1, n / 1e5) ** 0.7, rtol=1e-6)
    np.testing.assert_allclose(log_prob(distribution, counts.astype(np.float32)), found, atol=1e-2)
    if n >= 10**7 and found.dtype == jnp.float32:
        with jax.numpy_dtype_promotion("standard"):
            assert np.abs(distribution.log_prob(counts.astype(np.int32)) - exact).max() > 1


@pytest.mark.parametrize("eta", [-200.0, -90.0, -20.0, 0.0, 20.0, 90.0, 200.0])
@pytest.mark.parametrize("count", [0, 3, 5])
def test_tails_have_a_value_and_a_slope(eta, count):
    """Where single precision has no number for the probability, its logarithm is still there."""
    found, slope = jax.value_and_grad(lambda eta: log_prob(dist.BinomialLogits(eta, 5), jnp.int32(count)))(eta)
    np.testing.assert_allclose(
        found,
        stats.binom(5, 0.5).logpmf(count) + 5 * np.log(2) + count * eta - 5 * np.logaddexp(0, eta),
        rtol=1e-6,
        atol=1e-6,
    )
    np.testing.assert_allclose(slope, count - 5 * expit(eta), atol=1e-6)


def test_the_edges_have_slopes_and_what_is_beyond_them_no_energy():
    """A probability that has become 0 or 1 where nothing speaks against it; more successes than trials."""
    at = jax.vmap(jax.value_and_grad(lambda p, count: log_prob(dist.BinomialProbs(p, 5), count)))
    found, slope = at(jnp.array([0.0, 1.0]), jnp.array([0, 5]))
    assert (found == 0).all() and np.isfinite(slope).all()
    assert log_prob(dist.BinomialProbs(0.0, 5), jnp.int32(1)) == -np.inf
    assert log_prob(dist.BinomialLogits(0.3, 5), jnp.int32(6)) == -np.inf
    assert log_prob(dist.Poisson(3.0), -1.0) == -np.inf


def test_families_around_others():
    """Zeros of their own, a mask, a plate: the digits of the count below are kept."""
    rate, count = np.float32(1e7), np.array([0.0, 1e7 + 2e3, 1e7 - 1e3], np.float32)
    inside = stats.poisson(1e7).logpmf(count.astype(float))
    zeros = np.where(count == 0, np.log(0.25), np.log(0.75) + inside)
    np.testing.assert_allclose(log_prob(dist.ZeroInflatedPoisson(0.25, rate), count), zeros, atol=1e-3)
    masked = dist.Poisson(rate).expand([3]).mask(count > 0)
    np.testing.assert_allclose(log_prob(masked, count), np.where(count > 0, inside, 0.0), atol=1e-3)
    np.testing.assert_allclose(log_prob(dist.Poisson(rate).expand([2, 1]), count).shape, (2, 3))
    assert log_prob(dist.BinomialProbs(0.5, 3).expand([4]).to_event(1), np.ones(4, np.int32)).shape == ()


def test_a_class_made_from_one_is_asked_itself():
    """What a user has changed is not computed by the family's formula."""

    class Twice(dist.Poisson):
        def log_prob(self, value):
            return 2 * super().log_prob(value)

    np.testing.assert_allclose(log_prob(Twice(3.0), 2.0), 2 * stats.poisson(3).logpmf(2), rtol=1e-6)


def test_a_users_model_of_large_counts(key):
    """Clicks in 10⁸ views: the posterior of the rate and its energies, where rounding was three nats."""
    views, clicks = 10**8, np.array([30_000_000, 30_004_000, 29_998_000], np.int32)

    def model():
        numpyro.sample("clicks", dist.Binomial(views, logits=numpyro.sample("eta", dist.Normal(0, 2))), obs=clicks)

    energy = tx.Energy.from_numpyro(model)
    at = -0.8472
    exact = -stats.binom(views, expit(float(np.float32(at)))).logpmf(clicks).sum()
    assert abs(float(energy.data_energy(jnp.array([at], jnp.float32))) - exact) < 0.05
