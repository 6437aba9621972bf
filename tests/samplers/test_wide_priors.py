"""Ladders from priors that are far wider than the posterior, heavy-tailed, or without an energy in most places."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy import stats
from scipy.special import logsumexp

import temperax as tx

KEY = jax.random.key(2)


def regression(width=1e3, rows=60):
    """A line with unknown noise under wide priors, whose log evidence is an integral over the noise alone."""
    rng = np.random.default_rng(0)
    x = np.stack([np.ones(rows), rng.normal(size=rows)], axis=1)
    y = x @ [1.0, 2.0] + 0.3 * rng.normal(size=rows)

    def energy(p, data):
        x, y = data
        return -dist.Normal(x @ p["b"], jnp.exp(p["log_sigma"])).log_prob(y)

    def log_density(log_sigma):
        """Of the data given the noise, by the matrix determinant lemma, and of the noise."""
        variance = np.exp(2 * log_sigma)
        precision = np.eye(2) / width**2 + x.T @ x / variance
        fit = np.linalg.solve(precision, x.T @ y / variance)
        spread = 0.5 * np.linalg.slogdet(precision)[1] + 2 * np.log(width)
        log_y = -rows / 2 * np.log(2 * np.pi * variance) - spread - 0.5 * (y @ y / variance - fit @ precision @ fit)
        return log_y + stats.norm(0.0, 3.0).logpdf(log_sigma)

    grid = np.linspace(-3.0, 1.0, 401)
    log_z = logsumexp([log_density(s) for s in grid]) + np.log(grid[1] - grid[0])
    prior = {"b": dist.Normal(0.0, width).expand([2]).to_event(1), "log_sigma": dist.Normal(0.0, 3.0)}
    return tx.Energy(energy, prior, data=(x, y)), float(log_z)


def test_a_wide_prior_is_left_for_a_reference(capsys):
    energy, exact = regression()
    tree = tx.parallel_tempering(KEY, energy, num_draws=512, progress=False)
    assert tree.attrs["path"] == "reference"
    z = tx.thermodynamics.log_evidence(tree)
    assert abs(z.mbar - exact) < 5 * z.mbar_error and z.mbar_error < 0.2
    assert int(tree["tempered_stats"]["diverging"].sum()) == 0
    assert int(tree["exchange"]["round_trips"].isel(draw=-1).sum()) > 20
    tx.diagnostics.report(tree)
    printed = capsys.readouterr().out
    assert "auto took the reference path" in printed and " bad " not in printed


@pytest.mark.slow
def test_the_same_from_the_prior_when_it_is_asked_for():
    """What "auto" leaves: the likelihood path diverges on the way, and says which path does not."""
    energy, _ = regression()
    tree = tx.parallel_tempering(KEY, energy, path="likelihood", num_draws=256, progress=False)
    line = tx.diagnostics.verdicts(tree).set_index("check").loc["divergences"]
    assert line["verdict"] == "bad" and "path='reference'" in line["advice"]


def test_narrow_priors_and_networks_stay_on_the_way_from_the_prior(small_data):
    energy = tx.Energy(lambda p, d: 0.5 * (p - d) ** 2, dist.Normal(0.0, 1.0), data=np.arange(4.0))
    options = {"num_draws": 256, "num_chains": 2, "progress": False}
    assert tx.parallel_tempering(KEY, energy, **options).attrs["path"] == "likelihood"
    network = tx.Energy.mlp(small_data, (2,))
    options["num_draws"] = 32
    assert tx.parallel_tempering(KEY, network, **options).attrs["path"] == "likelihood"


def explosive(p, y):
    """An autoregression whose errors feed back: from most of the prior it overflows."""

    def step(error, pair):
        before, now = pair
        error = now - p["phi"] * before - p["theta"] * error
        return error, error

    errors = jax.lax.scan(step, 0.0, (y[:-1], y[1:]))[1]
    return -dist.Normal(0.0, p["sigma"]).log_prob(errors)


def series(theta_width):
    rng = np.random.default_rng(0)
    noise, y = 0.2 * rng.normal(size=200), np.zeros(200)
    for t in range(1, 200):
        y[t] = 0.7 * y[t - 1] + noise[t] + 0.3 * noise[t - 1]
    prior = {"phi": dist.Normal(0, 2), "theta": dist.Normal(0, theta_width), "sigma": dist.HalfCauchy(2.5)}
    return tx.Energy(explosive, prior, data=y)


@pytest.mark.parametrize("path", ["auto", "likelihood"])
def test_energies_that_overflow_at_the_prior(path, capsys):
    """Nineteen of twenty draws of the prior have no finite energy: no diagnostic raises, and the report says so."""
    tree = tx.parallel_tempering(KEY, series(50.0), path=path, num_draws=256, num_chains=2, progress=False)
    tx.diagnostics.report(tree)
    tx.thermodynamics.report(tree)
    tx.transitions.report(tree)
    printed = capsys.readouterr().out
    hottest = float(tree["tempered_stats"]["beta"][0])
    if path == "auto":
        assert tree.attrs["path"] == "reference" and hottest == 0 and "auto took the reference path" in printed
    else:
        assert hottest > 0 and "The ladder starts at T =" in printed
        with pytest.raises(tx.InputError, match="are the ends of its ladder"):
            tx.thermodynamics.compare_evidence({"part of it": tree})
    assert float(tree["posterior"]["phi"].mean()) == pytest.approx(0.7, abs=0.2)
    assert np.isfinite(tree["tempered_stats"]["data_energy"].isel(temperature=slice(1, None))).all()
