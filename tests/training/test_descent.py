"""Training ends where a sampler can begin."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import temperax as tx
from temperax.training import descent


@pytest.mark.parametrize(("calm", "good"), [(descent.CALM, True), (1.0, False)])
def test_starts_of_a_deep_network_are_better_than_no_function(calm, good, monkeypatch):
    """Standardised targets under N(0, 1) have this energy; whole draws of the prior end above it, some at a million."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 5))
    y = np.sin(2 * x[:, 0]) + x[:, 1] * x[:, 2] + 0.2 * rng.normal(size=300)
    likelihood = tx.likelihoods.HeteroscedasticGaussian()
    energy = tx.Energy.mlp(tx.Dataset.from_arrays(x, y), (16,) * 4, "relu", likelihood)
    monkeypatch.setattr(descent, "CALM", calm)
    found = tx.optimise.minimise(jax.random.key(0), energy, 8, holdout=0.1)
    nothing = 300 / 2 * (np.log(2 * np.pi) + 1)
    assert (found.data_energy < nothing).all() == good


def test_old_keys_are_taken(small_data):
    """`PRNGKey(1)` and `key(1)` are the same key, of two kinds."""
    energy = tx.Energy.mlp(small_data, (2,))
    new, old = (
        tx.optimise.minimise(key, energy, 2, max_steps=100) for key in (jax.random.key(1), jax.random.PRNGKey(1))
    )
    np.testing.assert_array_equal(new.position, old.position)


def test_a_bottom_below_whole_numbers_is_no_whole_number():
    energy = tx.Energy.from_log_density(lambda q: -((q[0] - 1.5) ** 2) - (q[1] + 0.5) ** 2, jnp.zeros(2))
    np.testing.assert_allclose(tx.optimise.polish(energy, np.array([0, 0])), [1.5, -0.5], atol=1e-3)


def test_a_line_has_the_last_layer_s_prior(small_data):
    prior = {"layer_0": tx.priors.Normal(2.0), "layer_1": tx.priors.Normal(0.01)}
    energy = tx.Energy.mlp(small_data, (3,), prior=prior)
    line = tx.optimise.baselines(jax.random.key(0), energy)["linear model, MAP"]
    weights = np.concatenate([np.ravel(v) for n, v in line["posterior"].items() if "layer_0" in n])
    assert 0 < np.abs(weights).max() < 0.1
