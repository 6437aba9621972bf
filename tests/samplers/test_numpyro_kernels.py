"""Temperatures inside NumPyro's MCMC: tempered models in closed form, and a ladder between two modes."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro.contrib.control_flow import scan
from numpyro.infer import MCMC, NUTS, Predictive
from numpyro.infer.util import potential_energy

import temperax as tx

Y = np.array([0.5, 1.5, 1.0, 2.0])


def normal(y):
    mean = numpyro.sample("mean", dist.Normal(0.0, 1.0))
    numpyro.sample("y", dist.Normal(mean, 1.0).expand([4]), obs=y)


def scaled(y):
    scale = numpyro.sample("scale", dist.HalfNormal(1.0))
    numpyro.factor("extra", -scale)
    numpyro.sample("y", dist.Normal(0.0, scale).expand([4]), obs=y)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_the_potential_is_tempered(temperature, key):
    """On the likelihood path the data alone, on the posterior path all of it: as the energies of this library say."""
    energy = tx.Energy.from_numpyro(scaled, Y)
    for position in jax.random.normal(key, (3, 1)):
        free = energy.free(position)
        prior, data = energy.prior_energy(position), energy.data_energy(position)
        for path, expected in (("likelihood", prior + data / temperature), ("posterior", (prior + data) / temperature)):
            found = potential_energy(tx.numpyro.tempered(scaled, temperature, path), (Y,), {}, free)
            assert found == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("kernel", [tx.numpyro.TemperedHMC, tx.numpyro.TemperedNUTS])
def test_tempered_kernels_have_the_moments(kernel, key):
    """At β the mean's posterior is N(β Σy / (1 + 4β), 1 / (1 + 4β)), at 1 and at another temperature."""
    for temperature in (1.0, 4.0):
        mcmc = MCMC(kernel(normal, temperature), num_warmup=300, num_samples=2000, progress_bar=False)
        mcmc.run(key, Y)
        draws, precision = np.asarray(mcmc.get_samples()["mean"]), 1 + 4 / temperature
        error = draws.std() / np.sqrt(numpyro.diagnostics.effective_sample_size(draws[None]))
        assert abs(draws.mean() - Y.sum() / temperature / precision) < 4.5 * error
        assert draws.var() == pytest.approx(1 / precision, rel=0.2)


@pytest.mark.slow
def test_a_ladder_joins_modes_that_nuts_keeps_apart(key):
    """Two modes of equal weight, four ladders as four vectorized chains, deterministic sites included."""

    def modes():
        x = numpyro.sample("x", dist.Normal(0.0, 4.0))
        numpyro.deterministic("side", jnp.sign(x))
        numpyro.factor("modes", jnp.logaddexp(-50 * (x - 3) ** 2, -50 * (x + 3) ** 2))

    options = {
        "num_warmup": 200,
        "num_samples": 600,
        "num_chains": 4,
        "chain_method": "vectorized",
        "progress_bar": False,
    }
    mcmc = MCMC(tx.numpyro.ParallelTempering(modes), **options)
    mcmc.run(key, extra_fields=("swap_acceptance", "round_trips"))
    found = mcmc.get_samples(group_by_chain=True)
    assert found["x"].shape == found["side"].shape == (4, 600)
    share = (np.asarray(found["x"]) > 0).mean(axis=1)
    assert (
        abs(share.mean() - 0.5) < 4 * max(share.std(ddof=1) / 2, 0.02) and (share > 0.2).all() and (share < 0.8).all()
    )
    assert np.abs(np.abs(np.asarray(found["x"])).mean() - 3.0) < 0.05
    fields = mcmc.get_extra_fields(group_by_chain=True)
    assert 0.1 < float(fields["swap_acceptance"].mean()) < 1.0 and (fields["round_trips"][:, -1] > 10).all()
    alone = MCMC(NUTS(modes), **options)
    alone.run(key)
    stays = (np.asarray(alone.get_samples(group_by_chain=True)["x"]) > 0).mean(axis=1)
    assert set(stays) <= {0.0, 1.0}


def test_another_key_after_warm_up_brings_other_draws(key):
    mcmc = MCMC(tx.numpyro.ParallelTempering(normal, num_replicas=3), num_warmup=32, num_samples=20, progress_bar=False)
    mcmc.warmup(key, Y)
    drawn = []
    for seed in (1, 1, 2):
        mcmc.run(jax.random.key(seed), Y)
        drawn.append(np.asarray(mcmc.get_samples()["mean"]))
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert (drawn[0] != drawn[2]).mean() > 0.9


@pytest.mark.slow
def test_one_chain_shows_its_progress(key, capsys):
    """One ladder as one chain, with the bar of NumPyro and its summary."""
    kernel = tx.numpyro.ParallelTempering(normal, num_replicas=4)
    mcmc = MCMC(kernel, num_warmup=50, num_samples=300)  # whose bar NumPyro leaves out where tests run side by side
    mcmc.run(key, Y)
    mcmc.print_summary()
    assert "swaps=" in kernel.get_diagnostics_str(mcmc.last_state) and "mean" in capsys.readouterr().out
    draws = np.asarray(mcmc.get_samples()["mean"])
    assert draws.shape == (300,) and abs(draws.mean() - 1.0) < 0.3


def test_what_it_cannot_do_is_said(key):
    with pytest.raises(tx.InputError, match="temperature = -1"):
        tx.numpyro.TemperedHMC(normal, -1.0)
    with pytest.raises(tx.InputError, match="path = 'prior'"):
        tx.numpyro.tempered(normal, 2.0, path="prior")
    with pytest.raises(tx.InputError, match="init_params"):
        MCMC(tx.numpyro.ParallelTempering(normal), num_warmup=50, num_samples=10, progress_bar=False).run(
            key, Y, init_params={"mean": jnp.zeros(())}
        )


def mixture(y):
    mean = numpyro.sample("mean", dist.Normal(0.0, 1.0))
    with numpyro.plate("rows", 4):
        side = numpyro.sample("side", dist.Bernoulli(0.3), infer={"enumerate": "parallel"})
        numpyro.deterministic("centre", mean * side)
        numpyro.sample("y", dist.Normal(mean * side, 1.0), obs=y)
    numpyro.deterministic("double", 2 * mean)


def chained(y):
    means = numpyro.sample("means", dist.Normal(0.0, 1.0).expand([2]).to_event(1))

    def step(side, y):
        side = numpyro.sample("side", dist.Categorical(jnp.full((2, 2), 0.5)[side]), infer={"enumerate": "parallel"})
        numpyro.sample("y", dist.Normal(means[side], 1.0), obs=y)
        return side, None

    scan(step, 0, y)


@pytest.mark.parametrize("model", [mixture, chained])
@pytest.mark.parametrize("path", ["likelihood", "posterior"])
def test_what_is_summed_out_is_not_tempered_term_by_term(model, path, key):
    """(Σ p(z) p(y | z))^β is not Σ (p(z) p(y | z))^β; at T = 1 they agree, and what is drawn is not summed."""
    kernel = tx.numpyro.TemperedHMC(model, 2.0, path)
    with pytest.raises(tx.InputError, match=r"site .*side.* is summed out .*Energy\.from_numpyro"):
        MCMC(kernel, num_warmup=5, num_samples=5, progress_bar=False).run(key, Y)
    MCMC(tx.numpyro.TemperedHMC(model), num_warmup=5, num_samples=5, progress_bar=False).run(key, Y)
    drawn = Predictive(tx.numpyro.tempered(model, 2.0, path), num_samples=3)(key, Y)
    assert drawn["side"].shape == (3, 4)


def test_a_ladder_shows_nothing_that_a_summed_out_site_decides(key):
    options = {"num_warmup": 16, "num_samples": 5, "progress_bar": False}
    mcmc = MCMC(tx.numpyro.ParallelTempering(mixture, num_replicas=3), **options)
    mcmc.run(key, Y)
    assert set(mcmc.get_samples()) == {"mean", "double"}


def test_a_ladder_without_what_mcmc_returns_is_refused(key):
    with pytest.raises(tx.InputError, match="has no rung at T = 1, whose draws MCMC returns"):
        tx.numpyro.ParallelTempering(normal, ladder=[0.0, 0.2, 0.5])
    with pytest.raises(tx.InputError, match="num_replicas = 4 is not what the ladder beside it has"):
        tx.numpyro.ParallelTempering(normal, num_replicas=4, ladder=[0.0, 0.2, 1.0])
    tx.numpyro.ParallelTempering(normal, ladder=[0.0, 1.0, 2.0])
    kernel = tx.numpyro.ParallelTempering(normal, kernel="mclmc")
    with pytest.raises(tx.InputError, match="kernel = 'mclmc' is not exact"):
        MCMC(kernel, num_warmup=5, num_samples=5, progress_bar=False).run(key, Y)


def test_scopes_and_loops_are_tempered_too(key):
    """The Jacobian's factor has a scope in its name, and control flow none."""

    def scoped(y):
        with numpyro.handlers.scope(prefix="a"):
            scale = numpyro.sample("scale", dist.LogNormal(0.0, 1.0))
        scan(lambda _, z: (None, numpyro.sample("y", dist.Normal(0.0, scale), obs=z)), None, y)

    energy = tx.Energy.from_numpyro(scoped, Y)
    position = jnp.array([0.4])
    found = potential_energy(
        numpyro.handlers.seed(tx.numpyro.tempered(scoped, 4.0), 0), (Y,), {}, energy.free(position)
    )
    assert found == pytest.approx(float(energy.prior_energy(position) + energy.data_energy(position) / 4), rel=1e-5)


@pytest.mark.slow
def test_data_that_change_under_a_ladder_are_refused(key):
    kernel = tx.numpyro.ParallelTempering(normal, num_replicas=3)
    mcmc = MCMC(kernel, num_warmup=32, num_samples=5, jit_model_args=True, progress_bar=False)
    with pytest.raises(tx.InputError, match="jit_model_args = True"):
        mcmc.run(key, jnp.asarray(Y))
