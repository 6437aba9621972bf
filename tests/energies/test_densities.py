"""Log probabilities in single precision keep their digits at any size of their parameters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpyro import distributions as dist
from scipy import special, stats

from temperax.energies.densities import log_prob
from temperax.energies.likelihoods import Poisson


def derivative(function, at):
    """By differences of the double precision in which SciPy computes."""
    return (function(at * (1 + 1e-4)) - function(at * (1 - 1e-4))) / 2e-4


@pytest.mark.parametrize("df", [1.0, 2.5, 4.0, 7.9, 8.1, 30.0, 1e2, 1e3, 1e5, 1e7, 1e8])
def test_student_t_keeps_its_digits(df):
    """A learned df may go anywhere; by logarithms of Γ, at 10⁷ a row would be wrong by a nat."""
    df, y = float(np.float32(df)), np.float32([-3.0, -0.5, 0.0, 1.0, 4.0])

    def found(log_df):
        return log_prob(dist.StudentT(jnp.exp(log_df - jnp.log(df)) * df, 0.5, 2.0), y)

    def double(df):
        if df > 1e6:  # where SciPy has not the digits of differences
            z, a = (y.astype(float) - 0.5) / 2, df / 2
            return -1 / (8 * a) - 0.5 * np.log(2 * np.pi) - np.log(2.0) - (a + 0.5) * np.log1p(z**2 / df)
        return stats.t.logpdf(y.astype(float), df, 0.5, 2.0)

    values, slopes = jax.jvp(found, (jnp.log(df),), (1.0,))
    np.testing.assert_allclose(values, stats.t.logpdf(y.astype(float), df, 0.5, 2.0), atol=1e-5)
    np.testing.assert_allclose(slopes, derivative(double, df), atol=3e-5)
    backwards = jax.grad(lambda df, loc, scale: log_prob(dist.StudentT(df, loc, scale), y).sum(), (0, 1, 2))
    assert np.isfinite(backwards(df, 0.5, 2.0)).all()


@pytest.mark.parametrize("shape", [0.5, 1.0, 3.9, 4.1, 30.0, 1e4, 1e6])
def test_gamma_keeps_its_digits(shape):
    shape = float(np.float32(shape))
    x = np.float32(shape * np.exp(np.array([-2.0, 0.0, 1.0, 3.0]) / np.sqrt(shape)) / 0.5)
    function = jax.vmap(jax.value_and_grad(lambda x, a: log_prob(dist.Gamma(a, 0.5), x), (0, 1)), (0, None))
    values, (by_x, by_shape) = function(x, shape)
    double = x.astype(float)
    np.testing.assert_allclose(values, stats.gamma.logpdf(double, shape, scale=2.0), atol=1e-5, rtol=2e-6)
    per_x = (shape - 1) / double - 0.5
    np.testing.assert_allclose(by_x * x, per_x * double, atol=1e-5 + 1e-6 * shape)
    per_shape = np.log(0.5 * double) - special.digamma(shape)
    np.testing.assert_allclose(by_shape, per_shape, atol=1e-5)


@pytest.mark.parametrize("count", [0.0, 1.0, 7.0, 30.0])
@pytest.mark.parametrize("output", [-100.0, -87.0, -30.0, 2.0])
def test_a_count_at_a_rate_that_single_precision_has_not(output, count):
    """exp(-100) is 0 there: the output itself says how improbable a count is, and which way to go."""
    likelihood, y = Poisson(), jnp.asarray([[count]])

    def row(output):
        return log_prob(likelihood.distribution(output[None, None], {}), y)[0]

    value, slope = jax.value_and_grad(row)(jnp.asarray(output))
    np.testing.assert_allclose(value, count * output - np.exp(output) - special.gammaln(count + 1), 1e-6, 1e-12)
    np.testing.assert_allclose(slope, count - np.exp(output), rtol=1e-6, atol=1e-12)
    mean = likelihood.mean(jnp.asarray([[output]]), {})
    np.testing.assert_allclose(mean, np.exp(output), rtol=1e-5, atol=1e-37)
    again = jax.jit(lambda d: d.log_prob(y))(likelihood.distribution(jnp.asarray([[output]]), {}))
    np.testing.assert_allclose(again[0], value, rtol=1e-6, atol=1e-12)
