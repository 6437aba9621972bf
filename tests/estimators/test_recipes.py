"""Presets: what they choose, and that they end in time."""

import time

import jax
import numpy as np
import pytest

import temperax as tx
from temperax.estimators import recipes


@pytest.mark.parametrize("name", ["diabetes", "iris"])
def test_a_recipe_names_its_choice(name):
    energy = tx.recipes.tabular_energy(tx.datasets.load(name))
    assert energy.arguments["hidden"] == (50,) and isinstance(energy.arguments["prior"], tx.priors.FanInNormal)
    hetero = isinstance(energy.arguments["likelihood"], tx.likelihoods.HeteroscedasticGaussian)
    assert hetero == (name == "diabetes")
    with pytest.raises(tx.InputError, match="^data = "):
        tx.recipes.tabular_energy(np.zeros((3, 2)))


@pytest.mark.slow
def test_a_recipe_ends_in_time_and_repeats_its_draws(key):
    data = tx.datasets.load("diabetes")
    tx.recipes.tabular(key, data, minutes=0.01, progress=False)  # compiled
    began = time.monotonic()
    tree = tx.recipes.tabular(key, data, minutes=0.3, progress=False)
    assert time.monotonic() - began < 0.3 * 60 + 30
    draws = tree["posterior"].sizes["draw"]
    assert draws >= 50 and np.isfinite(tx.predict.scores(tree)["lppd"]).all()
    assert tree["posterior"]["layer_0_weight"].shape == (4, draws, 10, 50)


def test_trajectories_are_as_long_as_the_time_allows(key, monkeypatch):
    """Of a large table a gradient is dear, and trajectories at their longest would overrun warm-up thirtyfold."""
    data = tx.datasets.load("diabetes")
    longest = {}
    for seconds in (1e-2, 1e-3):
        monkeypatch.setattr(recipes, "_seconds_of_a_gradient", lambda energy, seconds=seconds: seconds)
        tree = tx.recipes.tabular(key, data, minutes=0.05, progress=False)
        longest[seconds] = int(tree["sample_stats"]["n_steps"].max())
    assert longest[1e-2] == 1  # .9 s for 50 scans of a hundredth of a second a gradient
    assert 1 < longest[1e-3] <= 18


def test_what_is_no_time_is_refused():
    with pytest.raises(tx.InputError, match=r"^minutes = 0 is not positive"):
        tx.recipes.tabular(jax.random.key(0), tx.datasets.load("diabetes"), minutes=0)
