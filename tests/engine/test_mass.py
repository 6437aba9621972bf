"""The mass that is turned: what it learns, that it leaves every law as it is, and posteriors that need it."""

import arviz_stats as azs
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from cases import some

import temperax as tx
from temperax.engine.kernels import Tuning, mass

QUIET = {"progress": False}


def correlated(size, directions, widest, rng):
    """A covariance whose widths are 1 but in a few random directions."""
    axes = np.linalg.qr(rng.normal(size=(size, directions)))[0]
    return np.eye(size) + axes @ np.diag(np.geomspace(10.0, widest, directions)) @ axes.T


def gaussian(covariance, width=1e4):
    """An energy whose posterior at T = 1 is N(0, covariance), under a prior that says next to nothing."""
    precision = np.linalg.inv(covariance)

    def data_energy(x, precision):
        return 0.5 * x @ precision @ x

    return tx.Energy(data_energy, dist.Normal(0.0, width).expand([len(covariance)]).to_event(1), precision)


def learned(covariance, precision, count, rank, rng):
    """M⁻¹ by draws of the covariance and forces of the precision."""
    draws = rng.multivariate_normal(np.zeros(len(covariance)), covariance, size=count)
    forces = draws @ precision
    first = np.sqrt(draws.var(axis=0) / forces.var(axis=0))
    diagonal, directions, widths = mass.turned(first, draws - draws.mean(axis=0), forces - forces.mean(axis=0), rank)
    turned = np.eye(len(covariance)) + directions @ np.diag(widths - 1) @ directions.T
    root = np.sqrt(diagonal)[:, None] * turned
    return root @ root.T, widths


@pytest.mark.parametrize(("size", "rank"), [(8, 8), (120, 16)])
def test_mass_is_the_covariance_of_correlated_draws(size, rank):
    rng = np.random.default_rng(1)
    covariance = correlated(size, 3, 1e4, rng)
    precision = np.linalg.inv(covariance)
    found, _ = learned(covariance, precision, 400, rank, rng)
    # Seen from the true frame, the mass is the identity but for what 400 draws leave open.
    root = np.linalg.cholesky(precision)
    assert 0.2 < np.linalg.eigvalsh(root.T @ found @ root).min()
    assert np.linalg.eigvalsh(root.T @ found @ root).max() < 5.0
    # Forces that have nothing to do with the draws teach another mass.
    wrong, _ = learned(covariance, np.diag(np.diag(precision)), 400, rank, rng)
    assert np.linalg.eigvalsh(root.T @ wrong @ root).min() < 0.1


def test_no_direction_is_turned_without_need():
    rng = np.random.default_rng(2)
    scales = np.diag(np.geomspace(1e-3, 1e3, 100) ** 2)
    _, widths = learned(scales, np.linalg.inv(scales), 400, 16, rng)
    assert (np.abs(np.log(widths)) < np.log(2)).all()


@pytest.mark.parametrize(("count", "rank"), [(12, 64), (12, 1), (4, 16)])
def test_a_few_draws_teach_a_mass_that_can_be_used(count, rank):
    """Fewer than there are directions: something must be left that says how wide the rest is."""
    rng = np.random.default_rng(7)
    draws = rng.normal(size=(count, 100))
    draws -= draws.mean(axis=0)
    diagonal, directions, widths = mass.turned(np.ones(100), draws, draws, rank)
    assert directions.shape == (100, rank) and np.isfinite(directions).all()
    assert (diagonal > 0).all() and (widths > 0).all() and np.isfinite(np.log([diagonal.max(), widths.max()])).all()


@pytest.mark.parametrize("moved", [1, 2, 6])
def test_a_few_moves_of_a_window_teach_a_mass_that_can_be_used(moved):
    """Where most transitions were rejected the directions span all that was seen, and leave no rest."""
    rng = np.random.default_rng(8)
    for _ in range(10):
        places = rng.normal(size=(moved + 1, 2, 100))
        seen = places[np.sort(rng.integers(moved + 1, size=60))]
        seen[0], seen[-1] = places[0], places[-1]
        draws, forces = np.moveaxis(seen - seen.mean(axis=0), 1, 0)
        diagonal, _, widths = mass.turned(np.ones(100), draws, forces, 16)
        assert ((diagonal > 1e-3) & (diagonal < 1e3)).all() and np.isfinite(np.log(widths)).all()


def test_frame_and_parameters_say_the_same(key):
    size, rank = 5, 2
    axes = np.linalg.qr(np.random.default_rng(3).normal(size=(size, rank)))[0]
    tuning = Tuning(*map(jnp.asarray, (0.1, np.geomspace(0.1, 10, size), 1.0, axes, np.array([20.0, 0.1]))))
    root = np.stack([mass.displaced(tuning, z) for z in jnp.eye(size)], axis=1)
    covector = jax.random.normal(key, (size,))
    np.testing.assert_allclose(root.T @ mass.momentum_of(tuning, covector), covector, rtol=1e-4)


@pytest.mark.parametrize("kernel", some(["hmc"], ["nuts"]))
def test_a_line_through_years(key, kernel):
    """Intercept and slope of a regression on years correlate by .9999: diagonal masses stand still."""
    rng = np.random.default_rng(4)
    years = np.arange(1952.0, 2014.0)
    y = 0.02 * (years - 1980) + 9.0 + rng.normal(size=len(years))
    x = np.stack([np.ones_like(years), years], axis=1)

    def data_energy(p, data):
        return -dist.Normal(data["x"] @ p["b"], p["sigma"]).log_prob(data["y"])

    prior = {"b": dist.Normal(0.0, 1e4).expand([2]).to_event(1), "sigma": dist.HalfNormal(1e2)}
    tree = tx.sample(key, tx.Energy(data_energy, prior, {"x": x, "y": y}), kernel=kernel, **QUIET)
    slope = tree["posterior"]["b"][..., 1]
    assert float(azs.rhat(slope)) < 1.01 and float(azs.ess(slope)) > 400
    # Under flat priors the slope has a t distribution about the least-squares one.
    best, residual = np.linalg.lstsq(x, y)[:2]
    error = np.sqrt(residual[0] / (len(y) - 4) * np.linalg.inv(x.T @ x)[1, 1])
    assert abs(float(slope.mean()) - best[1]) < 4 * float(azs.mcse(slope))
    assert abs(float(slope.std()) / error - 1) < 0.1


@pytest.mark.slow
@pytest.mark.parametrize("rank", [None, 0])
def test_few_wide_directions_among_many(key, rank):
    """Hidden among 100 parameters; a diagonal mass is the negative control."""
    covariance = correlated(100, 3, 1e4, np.random.default_rng(5))
    tree = tx.sample(key, gaussian(covariance), kernel=tx.NUTS(rank=rank), num_draws=500, **QUIET)
    (x,) = tree["posterior"].data_vars.values()
    good = float(azs.rhat(x).max()) < 1.02 and float(azs.ess(x).min()) > 200
    assert good == (rank is None)


@pytest.mark.slow
def test_every_temperature_has_a_mass_of_its_own(key):
    """Also through swaps: widths of the posterior path go as √T."""
    covariance = correlated(4, 2, 1e3, np.random.default_rng(6))
    energy = gaussian(covariance)
    ladder = tx.parallel_tempering(
        key, energy, path="posterior", hottest=16.0, num_draws=512, keep="all", start="optimum", **QUIET
    )
    for stats in (ladder["tempered_posterior"],):
        (x,) = stats.data_vars.values()
        for slot, temperature in enumerate(ladder["tempered_posterior"]["temperature"].values):
            draws = x.isel(temperature=slot) if "temperature" in x.dims else x[..., slot, :]
            sds = np.asarray(draws.std(("chain", "draw")))
            errors = np.array([float(azs.mcse(draws[..., i], method="sd")) for i in range(4)])
            expected = np.sqrt(temperature * np.diag(covariance))
            assert (np.abs(sds - expected) < 4.5 * errors).all(), temperature
