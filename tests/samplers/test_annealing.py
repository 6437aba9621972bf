"""Annealing: schedules, the way down to T = 0, equipartition, and hysteresis."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import temperax as tx
from temperax import ladder, optimise, transitions

#: A bowl of known curvature: U = U0 + E has its minimum at 0 and P = 6 quadratic directions.
BOWL = tx.Energy(lambda x: 3.0 * jnp.sum(x**2), dist.Normal(0.0, 1.0).expand([6]).to_event(1))


def rugged_energy(x):
    """Rastrigin's function about 1 with dents of 2 nats: ten minima along every axis, the lowest at 1 with energy 0."""
    y = x - 1.0
    return jnp.sum(y**2 + 2.0 * (1 - jnp.cos(2 * jnp.pi * y)))


RUGGED = tx.Energy(rugged_energy, dist.Normal(0.0, 3.0).expand([8]).to_event(1))


def test_schedules_reach_their_ends_and_linger_where_the_heat_capacity_peaks():
    betas = np.geomspace(0.1, 10, 200)
    capacity = 1 + 50 * np.exp(-0.5 * (np.log(betas) / 0.1) ** 2)  # a peak at β = 1
    steady = ladder.constant_speed(41, betas, capacity)
    assert steady[0] == pytest.approx(0.1) and steady[-1] == pytest.approx(10)
    near = np.abs(np.log(steady)) < 0.2
    assert near.sum() > 3 * (np.abs(np.log(ladder.geometric(41, hottest=0.1, coldest=10.0))) < 0.2).sum()
    level = ladder.constant_speed(11, betas, np.full(200, 3.0))  # a constant heat capacity makes it geometric
    np.testing.assert_allclose(level, np.geomspace(0.1, 10, 11), rtol=1e-3)
    slow = ladder.logarithmic(10, hottest=0.1, coldest=2.0)
    assert slow[[0, -1]] == pytest.approx([0.1, 2.0]) and (np.diff(slow, 2) < 0).all()
    with pytest.raises(tx.InputError, match="heat_capacity"):
        ladder.constant_speed(5, betas, -capacity)


@pytest.mark.slow
def test_the_mean_energy_falls_to_the_minimum_with_slope_half_p(key):
    """Equipartition: ⟨U⟩_T = U(MAP) + P T/2; with the wrong count of directions it would not hold."""
    options = {"path": "posterior", "num_warmup": 200, "num_draws": 500, "progress": False}
    tree = tx.sample(key, BOWL, [0.1, 0.03, 0.01], **options)
    ground = float(optimise.minimise(key, BOWL, 2).score.min())
    study = tx.studies.equipartition(tree, ground)
    assert (np.abs(study["ratio"] - 1) < 4 * study["ratio_error"]).all()
    assert (np.abs(study["ratio"] - 5 / 6) > 4 * study["ratio_error"]).all(), "sharp enough to fail"
    tx.plots.equipartition(study).figure.canvas.draw()
    with pytest.raises(tx.InputError, match="ground_energy"):
        tx.studies.equipartition(tree, ground + 100.0)


def test_the_mass_adapts_on_the_way(key, monkeypatch):
    """Scales that differ a thousandfold are learned, and take fewer gradients than a unit mass."""
    scales = np.array([0.01, 10.0, 1.0, 0.1])
    prior = tx.Energy(lambda q: 0.0, dist.Normal(0.0, scales).to_event(1))
    schedule = ladder.geometric(12, hottest=0.1, coldest=10.0)
    learned = tx.anneal(key, prior, schedule)["annealing"]
    assert learned["final_energy"].isel(step=-1).max() < 5 * 0.1 * 4
    monkeypatch.setattr(optimise.engine, "end_window", lambda program, state: state)
    assert learned.attrs["num_gradients"] < 0.5 * tx.anneal(key, prior, schedule)["annealing"].attrs["num_gradients"]


@pytest.mark.slow
def test_annealing_ends_where_training_does_and_counts_its_gradients(key):
    tree = tx.anneal(key, BOWL, ladder.geometric(20, hottest=0.1, coldest=1e4), scans=10, polish=True)
    np.testing.assert_allclose(tree["posterior"].dataset["theta"].values, 0, atol=1e-3)
    record = tree["annealing"]
    assert record.dataset["path_energy"].shape == (4, 20)
    assert record.attrs["num_gradients"] >= 4 * 20 * 10
    assert (np.diff(record.dataset["path_energy"].mean("chain"))[5:] < 0).mean() > 0.8
    warm = tx.anneal(key, BOWL, ladder.geometric(20, hottest=0.1, coldest=1e4), scans=10)
    excess = warm["annealing"].dataset["path_energy"].values[:, -1] - float(
        warm["sample_stats"].dataset["lp"].max() * -1
    )
    assert np.abs(excess).max() < 0.01  # of the order of P T / 2


@pytest.mark.slow
def test_energies_keep_their_digits_from_draws_of_the_prior_on(key):
    """Chains begin at energies of 10⁹ nats, beside which those at the end would be lost."""
    cliff = tx.Energy(lambda x: 0.5 * jnp.sum((x - 1.0) ** 2), dist.Normal(0.0, 1e5).expand([4]).to_event(1))
    schedule = ladder.geometric(30, hottest=1e-8, coldest=1e2)
    tree = tx.anneal(key, cliff, schedule, path="likelihood", scans=30)
    ends = np.asarray(tree["posterior"].dataset["theta"])[:, 0]
    final = tree["annealing"].dataset["final_energy"].values
    assert final[:, 0].min() > 1e7
    np.testing.assert_allclose(final[:, -1], 0.5 * ((ends - 1) ** 2).sum(axis=-1), atol=1e-3)
    assert 0.5 < tree["annealing"].dataset["acceptance_rate"].values[:, -5:].mean() < 0.98


@pytest.mark.slow
def test_annealing_beats_restarts_on_a_rugged_energy_at_equal_gradients(key):
    """Restarted Adam finds the nearest dents; a schedule that is slow enough finds the lowest."""
    schedule = ladder.geometric(60, hottest=0.05, coldest=30.0)
    study = tx.studies.annealing_against_restarts(key, RUGGED, schedule, path="likelihood", num_chains=8, scans=20)
    assert study.sizes["start"] > 8
    assert np.median(study["annealed"]) < np.median(study["restarted"])
    assert study["annealed"].min() < study["restarted"].min()
    tx.plots.annealing_against_restarts(study).figure.canvas.draw()


def test_restarts_spend_what_annealing_has_spent(key, monkeypatch):
    """By Adam, also of an energy that `minimise` would descend otherwise."""
    made, minimise = [], tx.optimise.minimise
    monkeypatch.setattr(
        "temperax.samplers.optimise.minimise", lambda *a, **k: made.append(minimise(*a, **k)) or made[-1]
    )
    rungs = ladder.geometric(4, hottest=0.1, coldest=10.0)
    study = tx.studies.annealing_against_restarts(key, BOWL, rungs, steps=40, num_chains=2, scans=4)
    descents, restarts = made
    assert len(restarts.num_steps) == study.sizes["start"] and (restarts.num_steps <= 40).all()
    spent, annealing = study.attrs["num_gradients"], tx.anneal(key, BOWL, rungs, num_chains=2, scans=4)["annealing"]
    assert spent == annealing.attrs["num_gradients"] + descents.num_steps.sum() and descents.num_steps.sum() > 0
    assert spent - 40 < restarts.num_steps.sum() <= spent


@pytest.mark.slow
def test_a_fast_cycle_shows_hysteresis_and_a_slow_one_of_a_bowl_none(key):
    betas = ladder.geometric(12, hottest=0.05, coldest=20.0)
    calm = transitions.hysteresis(key, BOWL, betas, num_chains=8, scans=60)
    z = calm["gap"] / calm["gap_error"]
    assert np.abs(z).max() < 6 and np.abs(z).mean() < 2
    wells = dist.Normal(0.0, 2.0).expand([3]).to_event(1)
    double_well = tx.Energy(lambda x: 40.0 * jnp.sum((x**2 - 1) ** 2 + 0.3 * x), wells)
    rungs = ladder.geometric(12, hottest=0.02, coldest=5.0)
    # Not from the prior, of whose far draws a few would stay where the walls are steep and drown all else.
    start = np.asarray(jax.random.normal(key, (512, 3)))
    fast = transitions.hysteresis(key, double_well, rungs, num_chains=512, scans=4, start=start)
    assert (fast["gap"] < -3 * fast["gap_error"]).any()


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"betas": []}, "not a list"),
        ({"betas": [0.1, -1.0]}, "negative"),
        ({"betas": [0.0, 1.0]}, "improper"),
        ({"betas": [0.1], "path": "cold"}, "known name"),
        ({"betas": [0.1], "start": "hot"}, "known choice"),
        ({"betas": [0.1], "start": np.zeros((2, 2))}, "shape"),
        ({"betas": [0.1], "scans": 0}, "too small"),
    ],
)
def test_bad_schedules(key, arguments, problem):
    with pytest.raises(tx.InputError, match=problem):
        tx.anneal(key, BOWL, **arguments)
