"""Training ends where a sampler can begin."""

import jax
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
