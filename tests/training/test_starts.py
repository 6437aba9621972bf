"""Where chains start: at bottoms of any scale, never where there is no energy."""

import json

import arviz_stats as azs
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from jax.scipy.stats import norm
from scipy import stats

import temperax as tx
from temperax.training import descent

QUICK = {"num_chains": 4, "num_warmup": 200, "num_draws": 500, "progress": False}


def plane(size=2, width=1.0):
    return dist.Normal(0.0, width).expand([size]).to_event(1)


def line(width):
    """A regression whose intercept is 5 · 10⁴, whose slope is 2 · 10³ and whose noise is 300."""
    rng = np.random.default_rng(0)
    x = np.stack([np.ones(80), rng.normal(60, 4, size=80)], axis=1)
    y = x @ [-5e4, 2e3] + 300 * rng.normal(size=80)

    def data_energy(p, data):
        return -dist.Normal(data["x"] @ p["b"], p["sigma"]).log_prob(data["y"])

    prior = {"b": plane(2, width), "sigma": dist.HalfNormal(width)}
    return tx.Energy(data_energy, prior, {"x": x, "y": y}), np.linalg.lstsq(x, y)[0]


@pytest.mark.parametrize("width", [1e5, 1e8])
@pytest.mark.slow
def test_bottoms_of_any_scale_are_found(key, width):
    energy, best = line(width)
    found = tx.optimise.minimise(key, energy, 4)
    assert found.stopped == ["bottom"] * 4
    for position in found.position:
        np.testing.assert_allclose(energy.unravel(position)["b"], best, rtol=0.01)
    # Adam moves some twenty units however far the bottom is.
    adam = tx.optimise.minimise(key, energy, 4, optimiser=descent.default_optimiser())
    assert (adam.score > found.score.max() + 100).all()


def test_a_bottom_without_weight_is_looked_for_again(key):
    """Two bottoms, 60 nats apart: the higher one is where most draws descend to."""

    def data_energy(x):
        return jnp.minimum(0.5 * (x + 3.0) ** 2 + 60.0, 200.0 * (x - 2.0) ** 2)

    found = tx.optimise.minimise(key, tx.Energy(data_energy, dist.Normal(0.0, 10.0)), 4)
    np.testing.assert_allclose(found.position, 2.0, atol=0.05)


def test_modes_of_like_weight_are_both_kept(key):
    def data_energy(x):
        return -jnp.logaddexp(norm.logpdf(x, -3.0, 0.5), norm.logpdf(x, 3.0, 0.5))

    found = tx.optimise.minimise(key, tx.Energy(data_energy, dist.Normal(0.0, 10.0)), 16)
    assert {-1.0, 1.0} == set(np.sign(found.position.ravel()))


@pytest.mark.slow
def test_energies_without_a_bottom_start_at_draws(key, capsys):
    """Eight schools, centred: as τ → 0 the density grows without bound."""
    y = jnp.array([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
    sigma = jnp.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])

    def data_energy(p):
        between = dist.Normal(p["mu"], p["tau"]).log_prob(p["theta"]).sum() - norm.logpdf(p["theta"]).sum()
        return -between - dist.Normal(p["theta"], sigma).log_prob(y).sum()

    prior = {"theta": plane(8), "mu": dist.Normal(0.0, 5.0), "tau": dist.HalfCauchy(5.0)}
    tree = tx.sample(key, tx.Energy(data_energy, prior), **QUICK)
    started = json.loads(tree.attrs["started"])
    assert "no bottom" in started["stopped"]
    tx.diagnostics.report(tree)
    printed = capsys.readouterr().out
    assert "below which no optimum was found" in printed
    assert "NUTS moved them, which fits an energy of one's own." in printed
    # Published: the mean of μ is 4.4, that of τ 3.6.
    assert abs(float(tree["posterior"]["mu"].mean()) - 4.4) < 1.0
    assert 1.5 < float(tree["posterior"]["tau"].mean()) < 5.0


@pytest.mark.parametrize("start", ["optimum", "prior"])
def test_draws_without_an_energy_are_drawn_again(key, start):
    """Half of the prior has no energy: what is sampled is the other half, by every chain."""

    def data_energy(x):
        return jnp.where(x > 0, 0.0, jnp.nan)

    tree = tx.sample(key, tx.Energy(data_energy, dist.Normal()), start=start, **QUICK)
    (x,) = tree["posterior"].data_vars.values()
    assert (x > 0).all() and (tree["tempered_stats"]["fault"] < 0).all()
    assert abs(float(x.mean()) - np.sqrt(2 / np.pi)) < 4 * float(azs.mcse(x))
    assert (x.std("draw") > 0).all()


@pytest.mark.slow
def test_no_rung_and_no_swap_takes_what_is_no_number(key):
    """Exact draws of the prior at β = 0 have no energy half of the time; none of them gets colder."""

    def data_energy(x):
        return jnp.where(x > 0, 0.5 * x**2, jnp.nan)

    energy = tx.Energy(data_energy, dist.Normal())
    options = {"path": "likelihood", "num_replicas": 4, "num_draws": 512, "keep": "all", "progress": False}
    ladder = tx.parallel_tempering(key, energy, **options)
    x = ladder["tempered_posterior"].to_dataset().squeeze()
    (x,) = x.data_vars.values()
    cold = x.isel(temperature=x["temperature"].values < np.inf)
    assert (cold > 0).all()
    target = ladder["posterior"].to_dataset()
    (t,) = target.data_vars.values()
    assert abs(float(t.mean()) - np.sqrt(1 / np.pi)) < 4 * float(azs.mcse(t))


def test_given_starts_without_an_energy_are_refused_with_the_reason(key):
    y = np.ones(10)
    y[[3, 7]] = 2.0

    def data_energy(x, data):
        return jnp.where((data > 1.5) & (x[0] > 0), jnp.inf, jnp.sum(x**2) * data)

    energy = tx.Energy(data_energy, plane(), y)
    start = np.array([[-1.0, 0.0], [1.0, 0.0], [-1.0, 1.0], [-2.0, 0.0]])
    said = (
        r"^start = 'row 1' cannot be moved from \(rows 3, 7 have no finite data energy\); start that chain elsewhere\.$"
    )
    with pytest.raises(tx.InputError, match=said):
        tx.sample(key, energy, start=start, **QUICK)


def test_nowhere_to_start_says_why(key):
    def data_energy(x):
        return jnp.inf * jnp.ones(3)

    with pytest.raises(tx.InputError, match=r"no finite energy where chains could start \(rows 0, 1, 2 have no finite"):
        tx.sample(key, tx.Energy(data_energy, plane()), **QUICK)


@pytest.mark.parametrize("start", ["optimum", "prior"])
def test_a_wall_that_leaves_out_the_middle_is_started_beyond(key, start):
    """A sixth of the prior has an energy, none of it near 0, and the lowest place is the wall itself."""
    energy = tx.Energy(lambda p: jnp.where(p > 1.0, 0.0, jnp.inf), dist.Normal(0.0, 1.0))
    tree = tx.sample(key, energy, start=start, num_draws=500, progress=False)
    (x,) = tree["posterior"].to_dataset().data_vars.values()
    assert float(x.min()) > 1.0
    exact = stats.norm.pdf(1.0) / stats.norm.sf(1.0)
    assert abs(float(x.mean()) - exact) < 4 * float(azs.mcse(x))


@pytest.mark.slow
def test_a_network_without_hidden_units_starts_from_bottoms(key, small_data):
    stopped = {}
    for hidden in ((), (2,)):
        energy = tx.Energy.mlp(small_data, hidden)
        tree = tx.sample(key, energy, num_chains=2, num_warmup=5, num_draws=5, progress=False)
        stopped[hidden] = set(json.loads(tree.attrs["started"])["stopped"])
    assert stopped == {(): {"bottom"}, (2,): {"held-out"}}
