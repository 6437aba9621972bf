"""Energies of NumPyro models: their energies against NumPyro's own, their results, and what is refused."""

import warnings

import arviz as az
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pandas as pd
import pytest
import scipy.stats
from cases import some
from compilations import Compilations
from numpyro import handlers
from numpyro.distributions import biject_to
from numpyro.infer import MCMC, NUTS
from numpyro.infer.reparam import LocScaleReparam
from numpyro.infer.util import constrain_fn, log_density, log_likelihood
from numpyro_models import FLAT, MODELS

import temperax as tx

NAMES = list(MODELS)


def opened(name):
    model, args, kwargs = MODELS[name]
    return tx.Energy.from_numpyro(model, *args, **kwargs)


def theirs(energy, name, position):
    """NumPyro's log density of a position, its log likelihoods, and the Jacobian by its transforms."""
    model, args, kwargs = MODELS[name]
    seeded = handlers.substitute(handlers.seed(model, 0), data=energy.data["fixed"])
    free = energy.free(position)
    values = constrain_fn(seeded, args, kwargs, free)
    sites = handlers.trace(handlers.substitute(seeded, data=values)).get_trace(*args, **kwargs)
    jacobian = 0.0
    for site, value in values.items():
        jacobian += jnp.sum(biject_to(sites[site]["fn"].support).log_abs_det_jacobian(free[site], value))
    if energy.model.summed:
        from numpyro.contrib.funsor import config_enumerate, enum
        from numpyro.contrib.funsor import log_density as summed

        return summed(enum(config_enumerate(seeded), -2), args, kwargs, values)[0], {}, jacobian
    batch = {site: jnp.asarray(value)[None] for site, value in values.items()}
    return log_density(seeded, args, kwargs, values)[0], log_likelihood(seeded, batch, *args, **kwargs), jacobian


@pytest.mark.parametrize("name", some(NAMES[::3], [name for n, name in enumerate(NAMES) if n % 3]))
def test_energies_are_numpyros(name, key):
    """U0 + E is its log density and the Jacobian, E its log likelihood, and values go back to their position."""
    energy = opened(name)
    assert energy.proper == (name not in FLAT)

    @jax.jit
    def compare(key):
        far = 0.7 * jax.random.normal(key, (energy.size,))
        position = jnp.where(energy.proper & (key[1] % 2 == 0), energy.sample_prior(key), far)
        ours = jax.value_and_grad(lambda q: energy.prior_energy(q) + energy.data_energy(q))(position)
        back = energy.position(energy.variables(position))
        return position, back, ours, energy.data_energy(position), theirs(energy, name, position)

    draws = [jax.device_get(compare(k)) for k in jax.random.key_data(jax.random.split(key, 4))]
    for position, back, (total, gradient), data_energy, (joint, logs, jacobian) in draws:
        assert total == pytest.approx(-(joint + jacobian), rel=2e-5, abs=2e-4)
        np.testing.assert_allclose(back, position, rtol=5e-3, atol=5e-3)
        assert np.isfinite(gradient).all()
        if not energy.model.summed:
            scale = 2.5 if name == "scaled" else 1.0
            assert data_energy == pytest.approx(-scale * sum(map(np.sum, logs.values())), rel=1e-4, abs=1e-4)
            assert {site.replace("/", ".") for site in logs} == set(energy.likelihood_dims)
    assert len({float(total) for _, _, (total, _), _, _ in draws}) == 4


def test_a_jacobian_that_is_left_out_is_seen(key):
    """The negative control: without it, a scale's energy differs by its logarithm."""
    energy = opened("line")
    position = jax.random.normal(key, (2,))
    joint, _, jacobian = theirs(energy, "line", position)
    total = float(energy.prior_energy(position) + energy.data_energy(position))
    assert abs(total + float(joint)) > 0.01
    assert total == pytest.approx(-float(joint + position[0]), abs=1e-4) and jacobian == position[0]


# -- results ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def schools():
    """Eight schools, sampled: the model, its energy and a result."""
    y, error = np.array([28, 8, -3, 7, -1, 1, 18, 12.0]), np.array([15, 10, 16, 11, 9, 11, 10, 18.0])

    def model(error, y=None):
        centre = numpyro.sample("beta", dist.Normal(0.0, 5.0))
        spread = numpyro.sample("spread", dist.HalfCauchy(5.0))
        with handlers.reparam(config={"effect": LocScaleReparam(centered=0)}), numpyro.plate("school", len(error)):
            effect = numpyro.sample("effect", dist.Normal(centre, spread))
            numpyro.sample("y", dist.Normal(effect, error), obs=y)

    energy = tx.Energy.from_numpyro(model, error, y=y)
    tree = tx.sample(jax.random.key(1), energy, temperature=[1.0, 2.0], path="posterior", num_chains=2, progress=False)
    return model, (error, y), energy, tree


@pytest.mark.slow
def test_results_are_what_arviz_makes_of_numpyros(schools):
    model, (error, y), energy, tree = schools
    mcmc = MCMC(
        NUTS(model), num_warmup=500, num_samples=1000, num_chains=2, chain_method="vectorized", progress_bar=False
    )
    mcmc.run(jax.random.key(0), error, y=y)
    reference = az.from_numpyro(mcmc, log_likelihood=True)
    for group in ("posterior", "log_likelihood", "observed_data"):
        ours, theirs = tree[group], reference[group]
        assert set(ours.data_vars) == set(theirs.data_vars)
        for name in theirs.data_vars:
            assert ours[name].dims == theirs[name].dims and ours[name].shape[2:] == theirs[name].shape[2:]
    names = ["beta", "spread", "effect"]
    mean, reference_mean = (az.summary(t, var_names=names, round_to="none") for t in (tree, reference))
    error_of = np.hypot(mean["mcse_mean"], reference_mean["mcse_mean"])
    assert (np.abs(mean["mean"] - reference_mean["mean"]) < 4 * error_of).all()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of shapes that are large
        loo, reference_loo = az.loo(tree, var_name="y"), az.loo(reference, var_name="y")
    assert loo.elpd == pytest.approx(reference_loo.elpd, abs=0.5)
    assert "beta" not in tree["tempered_posterior"].coords


def test_new_arguments_give_predictions(schools, key):
    _, (error, y), energy, tree = schools
    found = tx.predict.predictive(key, tree, energy, error[:3] / 100)
    assert found["y"].dims == ("chain", "draw", "school") and found["y"].shape == (2, 1000, 3)
    # With next to no error, what is observed is the effect, which its centre and spread predict.
    centre, spread = tree["posterior"]["beta"], tree["posterior"]["spread"]
    assert np.abs(found["y"].mean() - centre.mean()) < 4 * float(spread.mean()) / np.sqrt(100)
    several = tx.predict.predictive(key, tree["tempered_posterior"].dataset, energy, error)
    assert several["effect"].shape == (2, 1000, 2, 8)
    np.testing.assert_allclose(
        several["effect"].sel(temperature=1.0, drop=True).values,
        tree["posterior"]["effect"].values,
        rtol=1e-4,
        atol=1e-4,
    )
    with pytest.raises(tx.InputError, match="fails on its arguments"):
        tx.predict.predictive(key, tree, energy)
    with pytest.raises(tx.InputError, match="are not among the draws"):
        tx.predict.predictive(key, tree["sample_stats"].dataset, energy, error)


@pytest.mark.slow
def test_everything_computes_with_it(tmp_path, key):
    """Every sampler, path, diagnostic and thermodynamic quantity, on one small model."""
    model, args, kwargs = MODELS["line"]
    energy = tx.Energy.from_numpyro(model, *args, **kwargs)
    options = {"num_chains": 2, "progress": False}
    ladder = tx.parallel_tempering(key, energy, num_draws=256, keep="all", directory=tmp_path / "run", **options)
    again = tx.open_run(tmp_path / "run")
    assert again["posterior"].equals(ladder["posterior"])
    assert len(tx.diagnostics.verdicts(ladder)) and tx.thermodynamics.summary(ladder)["log_z"].notna().all()
    exact = evidence(*args)
    row = tx.thermodynamics.summary(ladder).iloc[-1]
    assert abs(row["log_z"] - exact) < 4 * max(row["log_z_error"], 0.02)
    reference = tx.parallel_tempering(key, energy, path="reference", num_draws=256, **options)
    row = tx.thermodynamics.summary(reference).iloc[-1]
    assert abs(row["log_z"] - exact) < 4 * max(row["log_z_error"], 0.02)
    best = tx.map_estimate(key, energy, num_starts=2, progress=False)
    annealed = tx.anneal(key, energy, tx.ladder.geometric(10), progress=False, polish=True)
    assert annealed["posterior"]["slope"].values == pytest.approx(best["posterior"]["slope"].values.item(), abs=0.02)
    learnt = tx.learning_coefficient(key, energy, num_chains=2, num_warmup=100, num_draws=200, progress=False)
    assert abs(learnt.value - 1.0) < 4 * learnt.standard_error + 0.3  # two parameters of a regular model
    assert tx.diagnostics.loo(ladder).keys() == {float(t) for t in ladder["tempered_posterior"]["temperature"]}


def evidence(x, y):
    """Log p(y | x) of the line, by quadrature over the noise; the slope is integrated exactly."""
    noise = np.linspace(1e-3, 6.0, 2_000)
    logs = []
    for s in noise:
        covariance = np.outer(x, x) + s**2 * np.eye(len(x))
        logs.append(scipy.stats.multivariate_normal.logpdf(y, np.zeros(len(x)), covariance))
    weight = np.exp(np.array(logs)) * 2 * scipy.stats.norm.pdf(noise)
    return float(np.log(np.trapezoid(weight, noise)))


@pytest.mark.slow
def test_a_ladder_gives_switched_labels_equal_weights(key):
    """A mixture's two labellings weigh the same; NUTS, from wherever it starts, stays in one of them."""
    rng = np.random.default_rng(3)
    y = np.concatenate([rng.normal(-3.0, 0.5, size=40), rng.normal(3.0, 0.5, size=40)])

    def model(y):
        means = numpyro.sample("means", dist.Normal(0.0, 5.0).expand([2]).to_event(1))
        parts = dist.MixtureSameFamily(dist.Categorical(jnp.array([0.5, 0.5])), dist.Normal(means, 0.5))
        with numpyro.plate("row", len(y)):
            numpyro.sample("y", parts, obs=y)

    energy = tx.Energy.from_numpyro(model, y)
    ladder = tx.parallel_tempering(key, energy, num_chains=4, num_draws=1024, progress=False)
    first = ladder["posterior"]["means"].isel(means_dim_0=0) > 0
    share, error = float(first.mean()), float(az.mcse(first.astype(float)).max())
    assert error < 0.1 and abs(share - 0.5) < 4 * error
    mcmc = MCMC(
        NUTS(model), num_warmup=500, num_samples=500, num_chains=4, chain_method="vectorized", progress_bar=False
    )
    mcmc.run(key, y)
    stays = (np.asarray(mcmc.get_samples(group_by_chain=True)["means"])[..., 0] > 0).mean(axis=1)
    assert set(stays) <= {0.0, 1.0}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["logistic", "hidden Markov", "a network of NumPyro's", "two hundred parameters"])
def test_posteriors_are_those_of_numpyros_nuts(name, key):
    model, args, kwargs = (two_hundred, (np.arange(600) % 196, RNG_ROWS), {}) if " hundred" in name else MODELS[name]
    energy = tx.Energy.from_numpyro(model, *args, **kwargs)
    tree = tx.sample(key, energy, progress=False)
    mcmc = MCMC(
        NUTS(model), num_warmup=1000, num_samples=1000, num_chains=4, chain_method="vectorized", progress_bar=False
    )
    mcmc.run(key, *args, **kwargs)
    of = {"var_names": ["f"]} if "network" in name else {}  # weights may be permuted
    ours, theirs = (az.summary(t, round_to="none", **of) for t in (tree, az.from_numpyro(mcmc)))
    error = np.hypot(ours["mcse_mean"], theirs["mcse_mean"])
    assert ours["r_hat"].max() < 1.02 and (np.abs(ours["mean"] - theirs["mean"]) < 4.5 * error).all()


RNG_ROWS = np.random.default_rng(5).normal(size=600)


def two_hundred(group, y):
    """A hierarchy of 196 groups: two levels, two scales."""
    centre = numpyro.sample("centre", dist.Normal(0.0, 1.0))
    slope = numpyro.sample("slope", dist.Normal(0.0, 1.0))
    spread = numpyro.sample("spread", dist.HalfNormal(1.0))
    noise = numpyro.sample("noise", dist.HalfNormal(1.0))
    with numpyro.plate("group", 196):
        unit = numpyro.sample("unit", dist.Normal(0.0, 1.0))
    mean = centre + spread * unit[group] + slope * jnp.linspace(-1.0, 1.0, len(y))
    numpyro.sample("y", dist.Normal(mean, noise), obs=y)


# -- what is refused -------------------------------------------------------------------------------------------------


def subsampled(y):
    mean = numpyro.sample("mean", dist.Normal())
    with numpyro.plate("row", 12, subsample_size=3):
        numpyro.sample("y", dist.Normal(mean, 1.0), obs=numpyro.subsample(y, event_dim=0))


def observed_in_part(y):
    mean = numpyro.sample("mean", dist.Normal())
    numpyro.sample("y", dist.Normal(mean, 1.0).expand([12]), obs=y, obs_mask=jnp.arange(12) > 3)


def twice(y):
    numpyro.sample("mean", dist.Normal())
    numpyro.sample("mean", dist.Normal())


def point(y):
    mean = numpyro.sample("mean", dist.Delta(0.0))
    numpyro.sample("y", dist.Normal(mean, 1.0).expand([12]), obs=y)


def only_counts(y):
    numpyro.sample("y", dist.Poisson(1.0).expand([12]), obs=jnp.ones(12))


def batch_statistics(y):
    from flax import linen as nn
    from numpyro.contrib.module import random_flax_module

    module = nn.Sequential([nn.Dense(2), nn.BatchNorm(use_running_average=False)])
    net = random_flax_module("net", module, dist.Normal(), input_shape=(4, 1), mutable=["batch_stats"])
    numpyro.sample("y", dist.Normal(net(y[:, None])[:, 0], 1.0), obs=y)


def decides(y):
    part = numpyro.sample("part", dist.Bernoulli(0.5), infer={"enumerate": "parallel"})
    mean = numpyro.sample("mean", dist.Normal(10.0 * part, 1.0))
    numpyro.sample("y", dist.Normal(mean, 1.0).expand([12]), obs=y)


def decides_by_a_sum(y):
    with numpyro.plate("row", 12):
        part = numpyro.sample("part", dist.Bernoulli(0.5), infer={"enumerate": "parallel"})
    mean = numpyro.sample("mean", dist.Normal(10.0 * part.sum(), 1.0))
    numpyro.sample("y", dist.Normal(mean, 1.0).expand([12]), obs=y)


def uncountable(y):
    number = numpyro.sample("number", dist.Poisson(3.0))
    mean = numpyro.sample("mean", dist.Normal(0.0, 1.0))
    numpyro.sample("y", dist.Normal(mean + number, 1.0).expand([12]), obs=y)


def one_after_the_other(y):
    part = numpyro.sample("part", dist.Bernoulli(0.5), infer={"enumerate": "sequential"})
    mean = numpyro.sample("mean", dist.Normal(0.0, 1.0))
    numpyro.sample("y", dist.Normal(mean + part, 1.0).expand([12]), obs=y)


Y = MODELS["line"][1][1]
REFUSED = {
    "a plate in parts": (subsampled, (Y,), "'plate row' shows a part of the rows"),
    "observed in part": (observed_in_part, (Y,), "'site y' is observed in part"),
    "one name twice": (twice, (Y,), "fails on its arguments .AssertionError: all sites must have unique names"),
    "a point": (point, (Y,), "'site mean' is a point"),
    "nothing latent": (only_counts, (Y,), "has no continuous latent site"),
    "other arguments": (MODELS["line"][0], (), "fails on its arguments .TypeError"),
    "a value that is NaN": (MODELS["line"][0], (Y, np.where(Y > 0.4, np.nan, Y)), "'site y' has no value in rows"),
    "shapes that do not fit": (MODELS["line"][0], (Y[:3], Y), "fails on its arguments .ValueError"),
    "shapes that spread": (MODELS["line"][0], (Y[:, None], Y), "of shape .12,. under a distribution of shape .12, 12."),
    "a state": (batch_statistics, (Y,), "keeps a state"),
    "a discrete site that decides": (decides, (Y,), "'site mean' is distributed as a discrete site decides"),
    "discrete sites that decide together": (decides_by_a_sum, (Y,), "'site mean' is distributed as a discrete site"),
    "a discrete site without an end": (uncountable, (Y,), "'site number' is discrete, and its values cannot all"),
    "a discrete site by turns": (one_after_the_other, (Y,), "'site part' is discrete, and its values cannot all"),
    "no function": (3, (), "model = 3"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_models_are_refused_by_one_sentence(name):
    model, args, message = REFUSED[name]
    with pytest.raises(tx.InputError, match=message) as raised:
        tx.Energy.from_numpyro(model, *args)
    assert str(raised.value).count(". ") == 0 and "\n" not in str(raised.value)


def test_discrete_sites_need_funsor(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(tx.InputError, match="'site part' is discrete.*install funsor"):
        opened("summed out")


@pytest.mark.parametrize("name", sorted(FLAT))
def test_flat_priors_leave_two_paths(name, key):
    energy = opened(name)
    with pytest.raises(tx.InputError, match="flat or does not integrate to 1.*path='posterior', or 'reference'"):
        tx.parallel_tempering(key, energy, progress=False)
    with pytest.raises(tx.InputError, match="flat or does not integrate"):
        tx.sample(key, energy, temperature=[1.0, 0.5], path="likelihood", progress=False)


def test_only_values_change_and_nothing_compiles(key):
    """New data of the same shapes, for the same function, run the programs that are there."""
    first = opened("line")
    tx.sample(key, first, num_warmup=20, num_draws=10, num_chains=2, progress=False)
    again = tx.Energy.from_numpyro(MODELS["line"][0], Y + 1.0, Y - 1.0)
    with Compilations() as compiled:
        tx.sample(key, again, num_warmup=20, num_draws=10, num_chains=2, progress=False)
    assert not compiled.count, compiled.programs


class Undrawn(dist.Distribution):
    """A user's own density, of which nobody has said how to draw."""

    support = dist.constraints.real

    def log_prob(self, value):
        return -jnp.abs(value) - jnp.log(2.0)


def test_what_cannot_be_drawn_is_no_prior_to_begin_at(key):
    def model(y):
        mean = numpyro.sample("mean", Undrawn())
        numpyro.sample("y", dist.Normal(mean, 1.0).expand([12]), obs=y)

    by_model = tx.Energy.from_numpyro(model, Y)
    by_prior = tx.Energy(lambda p: 0.5 * jnp.sum((p["a"] - 1) ** 2), {"a": Undrawn()})
    masked = tx.Energy(lambda p: 0.5 * jnp.sum((p["a"] - 1) ** 2), {"a": dist.Normal(0.0, 1.0).mask(False)})
    for energy in (by_model, by_prior, masked):
        assert not energy.proper
        with pytest.raises(tx.InputError, match="flat or does not integrate to 1"):
            tx.parallel_tempering(key, energy, progress=False)


def test_a_table_that_was_changed_in_place_is_another():
    def model(table):
        mean = numpyro.sample("mean", dist.Normal(0.0, 1.0))
        numpyro.sample("y", dist.Normal(mean, 1.0).expand([12]), obs=table["y"].to_numpy(np.float32))

    table = pd.DataFrame({"y": np.linspace(0.0, 1.0, 12)})
    evaluate = jax.jit(lambda energy, q: energy.data_energy(q))
    before = tx.Energy.from_numpyro(model, table)
    first = float(evaluate(before, jnp.zeros(1)))
    table["y"] += 2.0
    after = tx.Energy.from_numpyro(model, table)
    expected = 0.5 * np.sum(np.linspace(2.0, 3.0, 12) ** 2) + 6 * np.log(2 * np.pi)
    assert float(evaluate(after, jnp.zeros(1))) == pytest.approx(expected, rel=1e-5) != pytest.approx(first)


def test_whole_numbers_keep_their_digits():
    """Milliseconds since 1970, of which 32 bits hold the last alone."""

    def model(time, y):
        slope = numpyro.sample("slope", dist.Normal(0.0, 1.0))
        numpyro.sample("y", dist.Normal(slope * ((time - time.min()) / 1e12), 1.0), obs=y)

    time = 1_700_000_000_000 + np.arange(12) * 10**11
    energy = tx.Energy.from_numpyro(model, time, Y)
    expected = 0.5 * np.sum((Y - 2.0 * np.arange(12) / 10) ** 2) + 6 * np.log(2 * np.pi)
    assert float(energy.data_energy(jnp.array([2.0]))) == pytest.approx(expected, rel=1e-5)
    # A column of half seconds since 1970 beside a wide one, whose spread is not its own.
    table = np.stack([1.7e9 + 0.5 * np.arange(12), np.linspace(0.0, 1e12, 12)], axis=1)

    def of_table(table, y):
        slope = numpyro.sample("slope", dist.Normal(0.0, 1.0))
        numpyro.sample("y", dist.Normal(slope * ((table[:, 0] - table[:, 0].min()) / 5), 1.0), obs=y)

    energy = tx.Energy.from_numpyro(of_table, table, Y)
    assert float(energy.data_energy(jnp.array([2.0]))) == pytest.approx(expected, rel=1e-5)


def test_what_is_decided_by_what_was_summed_out_is_not_shown():
    def model(y):
        means = numpyro.sample("means", dist.Normal(0.0, 3.0).expand([2]).to_event(1))
        numpyro.deterministic("gap", means[1] - means[0])
        with numpyro.plate("row", 12):
            part = numpyro.sample("part", dist.Bernoulli(0.5), infer={"enumerate": "parallel"})
            mean = numpyro.deterministic("mean", means[part])
            numpyro.sample("y", dist.Normal(mean, 0.5), obs=y)
        numpyro.deterministic("count", part.sum())  # whose shape says nothing of it
        numpyro.deterministic("rows", part.size * jnp.ones(()))

    energy = tx.Energy.from_numpyro(model, Y)
    assert set(energy.variables(jnp.zeros(2))) == {"means", "gap", "rows"}


# -- what an attack has found ----------------------------------------------------------------------------------------


def test_a_discrete_site_that_decides_a_vector_is_refused():
    def model(y):
        part = numpyro.sample("part", dist.Bernoulli(0.5), infer={"enumerate": "parallel"})
        mean = jnp.array([-3.0, 3.0])[part][..., None] * jnp.ones(3)
        x = numpyro.sample("x", dist.MultivariateNormal(mean, jnp.eye(3)))
        numpyro.sample("y", dist.MultivariateNormal(x, jnp.eye(3)), obs=y)

    with pytest.raises(tx.InputError, match="distributed as a discrete site decides"):
        tx.Energy.from_numpyro(model, 3 * jnp.ones(3))


def test_times_since_1970_keep_their_digits():
    """What a model computes in NumPy's double precision before it makes small numbers of it."""

    def model(time, y):
        slope = numpyro.sample("slope", dist.Normal(0.0, 1.0))
        numpyro.sample("y", dist.Normal(slope * (time - time.min()), 1.0), obs=y)

    energy = tx.Energy.from_numpyro(model, 1.7e9 + np.arange(5.0), Y[:5])
    expected = 0.5 * np.sum((Y[:5] - np.arange(5.0)) ** 2) + 2.5 * np.log(2 * np.pi)
    assert energy.data_energy(jnp.ones(1)) == pytest.approx(expected, rel=1e-5)


def test_a_method_sees_what_its_object_has_become(key):
    class Owner:
        offset = 0.0

        def model(self, y):
            mean = numpyro.sample("mean", dist.Normal(0.0, 10.0))
            numpyro.sample("y", dist.Normal(mean + self.offset, 0.1), obs=y)

    owner, found = Owner(), []
    for owner.offset in (0.0, 5.0):
        energy = tx.Energy.from_numpyro(owner.model, Y)
        found.append(float(tx.map_estimate(key, energy, num_starts=1, progress=False)["posterior"]["mean"].squeeze()))
    assert found[0] - found[1] == pytest.approx(5.0, abs=0.05)


@pytest.mark.parametrize("pair", [("chain", "chain_"), ("a/s", "a.s")])
def test_names_that_a_result_cannot_tell_apart_are_refused(pair):
    def model(y):
        latent = numpyro.sample(pair[0], dist.Normal(0.0, 1.0))
        numpyro.deterministic(pair[1], latent + 100.0)
        numpyro.sample("y", dist.Normal(latent, 1.0).expand([12]), obs=y)

    with pytest.raises(tx.InputError, match="is the name of two parameters"):
        tx.Energy.from_numpyro(model, Y)
