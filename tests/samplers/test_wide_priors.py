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


@pytest.mark.slow
def test_a_reference_does_not_pass_where_a_wide_prior_leads(capsys):
    energy, exact = regression()
    tree = tx.parallel_tempering(KEY, energy, path="reference", num_draws=512, progress=False)
    z = tx.thermodynamics.log_evidence(tree)
    assert abs(z.mbar - exact) < 5 * z.mbar_error and z.mbar_error < 0.2
    assert int(tree["tempered_stats"]["diverging"].sum()) == 0
    assert int(tree["exchange"]["round_trips"].isel(draw=-1).sum()) > 20
    tx.diagnostics.report(tree)
    printed = capsys.readouterr().out
    assert " bad " not in printed and "modes that they had not found are in no figure here" in printed


@pytest.mark.slow
def test_the_way_from_a_wide_prior_leads_through_funnels_without_divergences(monkeypatch):
    """Trajectories that diverge are tried again with shorter steps; without that, hundreds do."""
    energy, exact = regression()
    tree = tx.parallel_tempering(KEY, energy, num_draws=512, progress=False)
    assert tree.attrs["path"] == "likelihood"
    z = tx.thermodynamics.log_evidence(tree)
    assert abs(z.mbar - exact) < 5 * z.mbar_error
    monkeypatch.setattr("temperax.engine.kernels.hmc.TRIES", 1)
    jax.clear_caches()
    plain = tx.parallel_tempering(KEY, energy, num_draws=512, progress=False)
    jax.clear_caches()
    found, without = (int(t["tempered_stats"]["diverging"].sum()) for t in (tree, plain))
    assert found < 10 and without > 200
    gradients = [int(t["tempered_stats"]["n_steps"].sum()) for t in (tree, plain)]
    assert gradients[0] < 2 * gradients[1]
    line = tx.diagnostics.verdicts(plain).set_index("check").loc["divergences"]
    assert line["verdict"] == "bad" and "path='reference'" in line["advice"]


@pytest.mark.slow
def test_no_path_is_left_for_one_that_misses_a_mode():
    """Two modes 25 apart beside vague priors of other parameters: the way from the prior finds both, or says so."""
    y = np.random.default_rng(0).normal(3, 1, 50)

    def energy(p, d):
        modes = jnp.logaddexp(
            jnp.log(0.02) + dist.Normal(0, 1.0).log_prob(p["x"]), jnp.log(0.98) + dist.Normal(25, 0.5).log_prob(p["x"])
        )
        return -modes - jnp.sum(dist.Normal(p["mu"], p["s"]).log_prob(d))

    prior = {"x": dist.Normal(0, 10.0), "mu": dist.Normal(0, 1e5), "s": dist.HalfCauchy(1e3)}
    tree = tx.parallel_tempering(jax.random.key(1), tx.Energy(energy, prior, data=y), progress=False)
    found = float((tree["posterior"]["x"] > 20).mean())
    judged = tx.diagnostics.verdicts(tree)["verdict"]
    assert abs(found - 0.685) < 0.1 or (judged == "bad").any()


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


@pytest.mark.slow
@pytest.mark.parametrize("path", ["reference", "likelihood"])
def test_energies_that_overflow_at_the_prior(path, capsys):
    """Nineteen of twenty draws of the prior have no finite energy: no diagnostic raises, and the report says so."""
    tree = tx.parallel_tempering(KEY, series(50.0), path=path, num_draws=256, num_chains=2, progress=False)
    tx.diagnostics.report(tree)
    tx.thermodynamics.report(tree)
    tx.transitions.report(tree)
    printed = capsys.readouterr().out
    hottest = float(tree["tempered_stats"]["beta"][0])
    if path == "reference":
        assert hottest == 0 and "The reference was fitted to draws" in printed
    else:
        assert hottest > 0 and "The ladder starts at T =" in printed
        with pytest.raises(tx.InputError, match="are the ends of its ladder"):
            tx.thermodynamics.compare_evidence({"part of it": tree})
    assert float(tree["posterior"]["phi"].mean()) == pytest.approx(0.7, abs=0.2)
    assert np.isfinite(tree["tempered_stats"]["data_energy"].isel(temperature=slice(1, None))).all()
