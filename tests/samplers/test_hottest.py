"""How hot a ladder need be: temperatures at which modes are forgotten, and not colder ones."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpyro import distributions as dist

import temperax as tx
from temperax.engine import ladder
from temperax.samplers import hottest
from temperax.samplers.hottest import FEW, find_hottest, memory


def remembering(correlation, draws, seed=0):
    """Four chains of a hundred numbers that remember the draw before."""
    noise = np.random.default_rng(seed).normal(size=(4, draws, 100))
    found = noise.copy()
    for i in range(1, draws):
        found[:, i] = correlation * found[:, i - 1] + np.sqrt(1 - correlation**2) * noise[:, i]
    return found


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9])
def test_memory_is_the_integrated_autocorrelation_time(correlation):
    exact = 0.5 * (1 + correlation) / (1 - correlation)
    found = np.median([memory(remembering(correlation, 400, seed)[..., :1]) for seed in range(60)])
    assert found == pytest.approx(exact, rel=0.3)


def test_chains_that_stay_where_they_are_remember_all_of_their_length():
    apart = (
        np.broadcast_to(np.array([-1.0, -1.0, 1.0, 1.0])[:, None, None], (4, 100, 3)) + remembering(0, 100)[..., :3] / 9
    )
    assert memory(apart) > 20 > FEW > memory(remembering(0, 100))


def test_where_it_is_looked_for():
    assert ladder.finds_hottest("posterior", None) and ladder.finds_hottest("likelihood", "auto")
    assert not ladder.finds_hottest("likelihood", None) and not ladder.finds_hottest("posterior", 8.0)
    assert 1 / ladder.first("posterior", "auto", None, 1.0, None)[0] == pytest.approx(ladder.TRIED[-1])
    with pytest.raises(tx.InputError, match="other paths"):
        ladder.first("reference", "auto", "auto", 1.0, None)


@pytest.mark.slow
def test_a_ladder_over_two_wells_begins_where_they_are_forgotten(capsys):
    """Wells of ±5 in four dimensions: a barrier of 12.5 nats in each, which T = 2 does not cross."""
    prior = dist.Normal(0.0, 20.0).expand([4]).to_event(1)
    energy = tx.Energy(lambda q: -jnp.logaddexp(-jnp.sum((q - 5) ** 2), -jnp.sum((q + 5) ** 2)), prior)
    found, tried, gradients = find_hottest(jax.random.key(0), energy, "posterior", "auto", 1.0, None)
    scans = dict(tried)
    assert 2 < found < 64 and scans[found] <= FEW and max(s for t, s in tried if t < found / 2) > FEW
    tree = tx.parallel_tempering(jax.random.key(1), energy, path="posterior", num_draws=512, progress=False)
    assert int(tree.attrs["warmup_gradients"]) > gradients > 0, "what the search took is counted"
    right = (tree["posterior"]["theta"].isel(theta_dim_0=0) > 0).mean("draw")
    crossings = float(tree["exchange"]["restarts"].isel(draw=-1).sum())
    assert ((right > 0) & (right < 1)).all() and abs(float(right.mean()) - 0.5) < 4 * 0.5 / np.sqrt(crossings), (
        right.values
    )
    tx.diagnostics.report(tree)
    assert "auto begins at T =" in capsys.readouterr().out


@pytest.mark.parametrize("draws", [False, True])
def test_a_search_that_is_stopped_is_no_search(draws, key, monkeypatch):
    """Of what a few draws say, every temperature forgets its mode."""
    sampled = hottest.sample

    def stopped(*arguments, **options):
        if not draws:
            raise tx.Interrupted(None, "warm-up")
        tree = sampled(*arguments, **options | {"num_warmup": 5, "num_draws": 8})
        tree.attrs["interrupted"] = 1
        return tree

    monkeypatch.setattr(hottest, "sample", stopped)
    energy = tx.Energy(lambda q: 0.5 * jnp.sum(q**2), dist.Normal(0.0, 1.0).expand([2]).to_event(1))
    with pytest.raises(tx.Interrupted, match=r"looking for the hottest temperature\); nothing was saved\."):
        tx.parallel_tempering(key, energy, path="posterior", num_draws=64, progress=False)


def test_a_ladder_that_goes_below_one_begins_there_or_above(key):
    """Of one well every temperature forgets, and a ladder to T = 1/4 keeps its T = 1 all the same."""
    energy = tx.Energy(lambda q: 0.5 * jnp.sum(q**2), dist.Normal(0.0, 1.0).expand([2]).to_event(1))
    found, tried, _ = find_hottest(key, energy, "posterior", "hmc", 0.25, None)
    assert found >= 1.0 > min(t for t, _ in tried)


@pytest.mark.parametrize("coldest", [0.25, 0.01, 1e-4])
def test_however_cold_a_ladder_ends_it_has_a_rung_at_one(coldest):
    assert ladder.tried(coldest).max() >= 1.0 and ladder.tried(coldest).min() > coldest
    assert 1.0 in ladder.first("posterior", 8, None, coldest, None)


def test_a_search_begins_at_given_positions(key):
    """Where no draw of the prior has an energy, and they have."""
    prior = dist.Normal(0.0, 30.0).expand([2]).to_event(1)
    energy = tx.Energy(lambda q: jnp.where(q[0] > 200.0, 0.5 * jnp.sum((q - 300.0) ** 2), jnp.inf), prior)
    with pytest.raises(tx.InputError, match="no finite energy"):
        find_hottest(key, energy, "posterior", "hmc", 1.0, None)
    assert find_hottest(key, energy, "posterior", "hmc", 1.0, None, np.full((3, 2), 300.0))[0] > 1.0
