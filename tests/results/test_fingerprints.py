"""A result knows which energy it is of, and an energy keeps what it is made of through every transformation."""

import copy
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from compilations import Compilations

import temperax as tx


@pytest.fixture(scope="module")
def energy(small_data):
    return tx.Energy.mlp(small_data, (3,))


@pytest.fixture(scope="module")
def tree(energy):
    return tx.sample(jax.random.key(0), energy, num_chains=2, num_warmup=20, num_draws=10, progress=False)


def other_data(data, x_scale=1.0, y_scale=1.0, shift=0.0):
    x, y = data.x * data.x_scale * x_scale, data.y * data.y_scale * y_scale + shift
    return tx.Dataset.from_arrays(x, y, data.x_test * data.x_scale, data.y_test)


OTHERS = {
    "prior": lambda e: e.replace(prior=tx.priors.Normal(0.5)),
    "activation": lambda e: e.replace(activation="relu"),
    "likelihood": lambda e: e.replace(likelihood=tx.likelihoods.StudentT()),
    "its data or their scaling": lambda e: e.replace(data=other_data(e.dataset, y_scale=3.0)),
}


@pytest.mark.parametrize("what", OTHERS)
def test_another_energy_of_the_same_shape_is_refused(tree, energy, what):
    other = OTHERS[what](energy)
    with pytest.raises(tx.InputError, match=f"is not what was sampled: it differs in .*{what}"):
        tx.predict.predictions(tree, energy.dataset.x_test, other)


def test_the_same_energy_made_again_is_taken(tree, energy, small_data):
    again = tx.Energy.mlp(small_data, (3,))
    x = small_data.x_test * small_data.x_scale + small_data.x_mean
    found = [
        tx.predict.predictions(tree, x, e)["f"].values for e in (energy, again, pickle.loads(pickle.dumps(energy)))
    ]
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


def test_a_result_without_a_fingerprint_is_taken_on_trust(tree, energy):
    old = tree.copy()
    del old.attrs["fingerprint"]
    assert tx.predict.predictions(old, energy.dataset.x_test, energy.replace(activation="relu"))["f"].shape[-2] == 20


@pytest.mark.slow
def test_functions_are_told_apart_by_what_they_compute():
    def made(function, scale=1.0):
        return tx.Energy(lambda p, d: function(p["w"] - d), {"w": dist.Normal(0.0, scale)}, data=np.arange(3.0))

    energy = made(lambda r: r**2)
    tree = tx.sample(jax.random.key(0), energy, num_chains=2, num_warmup=10, num_draws=10, progress=False)
    assert tx.predict.positions(tree, made(lambda r: r**2)).shape == (2, 10, 1)
    for other in (made(lambda r: r**4), made(lambda r: r**2, 2.0)):
        with pytest.raises(tx.InputError, match="is not what was sampled"):
            tx.predict.positions(tree, other)


# -- transformations -------------------------------------------------------------------------------------------------

WAYS = {
    "tree.map": lambda e: jax.tree.map(lambda leaf: leaf, e),
    "flatten": lambda e: jax.tree.unflatten(jax.tree.structure(e), jax.tree.leaves(e)),
    "jit": jax.jit(lambda e: e),
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda e: pickle.loads(pickle.dumps(e)),
}


@pytest.mark.parametrize("way", WAYS)
def test_transformations_keep_all_of_it(energy, way):
    found = WAYS[way](energy)
    assert found.dataset is not None and found.dataset.inputs == energy.dataset.inputs
    assert found.arguments.keys() == energy.arguments.keys()
    np.testing.assert_array_equal(found.dataset.x_test, energy.dataset.x_test)
    assert found.replace(activation="relu").size == energy.size


def test_a_compiled_function_returns_no_other_energys_data(energy):
    other = energy.replace(data=other_data(energy.dataset, x_scale=2.0))
    returned = jax.jit(lambda e: jax.tree.map(jnp.asarray, e))
    assert returned(energy).dataset is energy.dataset
    assert returned(other).dataset is other.dataset


def test_energies_that_differ_in_data_alone_share_programs(tree, energy):
    """The library's own programs are not told apart by what stays on the host."""
    other = energy.replace(data=other_data(energy.dataset))
    options = {"num_chains": 2, "num_warmup": 20, "num_draws": 10, "progress": False}
    second = tx.sample(jax.random.key(0), other, **options)
    with Compilations() as compiled:
        third = tx.sample(jax.random.key(0), energy.replace(data=other_data(energy.dataset, shift=1.0)), **options)
    assert compiled.count == 0, compiled.programs
    assert second["posterior"].sizes == third["posterior"].sizes
