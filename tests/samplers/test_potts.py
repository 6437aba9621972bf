"""The Potts model against enumeration, closed forms, and Ising's."""

import itertools
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from compilations import Compilations
from jax.tree_util import register_dataclass
from lattices import log_z_scores, over_bonds, path_energy, sweep, z_scores
from scipy.special import logsumexp

import temperax as tx
from temperax import systems


@register_dataclass
@dataclass(frozen=True)
class WrongWeights(systems.ColourBath):
    """A heat bath a tenth too cold."""

    def move(self, key, position, beta, potential):
        return super().move(key, position, beta, lambda p: 1.1 * potential(p))


def colours(num_colours, size):
    return np.array(list(itertools.product(np.arange(float(num_colours)), repeat=size)))


@pytest.mark.parametrize("periodic", [True, False])
@pytest.mark.parametrize(("shape", "num_colours"), [((6,), 3), ((2, 3), 4), ((4, 5), 10), ((2, 3, 4), 2)])
def test_energies_are_counts_of_like_neighbours(shape, num_colours, periodic):
    spin = np.random.default_rng(1).integers(0, num_colours, shape).astype(float)
    energy = systems.potts(shape, num_colours, periodic=periodic)
    position = jnp.asarray(spin.ravel(), jnp.float32)
    assert float(energy.data_energy(position)) == -over_bonds(np.equal, spin, periodic)
    assert float(energy.prior_energy(position)) == pytest.approx(spin.size * np.log(num_colours))


def test_two_colours_are_isings_model():
    """Colour 0 is spin up: δ = (1 + s s')/2, for every state, and for every sweep of the heat bath bit for bit."""
    potts, ising = systems.potts((3, 4), 2), systems.ising((3, 4), coupling=0.5)
    every = jnp.asarray(colours(2, 12), jnp.float32)
    np.testing.assert_array_equal(
        jax.vmap(potts.data_energy)(every), jax.vmap(ising.data_energy)(1 - 2 * every) - 0.5 * 24
    )
    key, colour, beta = jax.random.key(2), every[:512], 0.7

    @jax.jit
    def both(key, colour, spin):
        keys = jax.random.split(key, len(colour))
        moves = [
            lambda k, s, e=e: systems.heat_bath(e).move(k, s, beta, lambda p: beta * e.data_energy(p))
            for e in (potts, ising)
        ]
        return jax.vmap(moves[0])(keys, colour), jax.vmap(moves[1])(keys, spin)

    spin = 1 - 2 * colour
    for n in range(20):
        colour, spin = both(jax.random.fold_in(key, n), colour, spin)
        np.testing.assert_array_equal(1 - 2 * colour, spin)
    assert 0 < float(colour.mean()) < 1


def worst(make, num_colours, shape, beta, key):
    """Deviation of mean energy and heat capacity from enumeration, in standard errors."""
    energy, every = systems.potts(shape, num_colours), colours(num_colours, int(np.prod(shape)))
    levels = np.asarray(jax.jit(jax.vmap(energy.data_energy))(jnp.asarray(every, jnp.float32)), float)
    p = np.exp(-beta * levels - logsumexp(-beta * levels))
    spins = sweep(make(energy), energy, beta, key, 8, 4000)
    found = np.asarray(jax.vmap(jax.vmap(energy.data_energy))(spins), float)
    mean = p @ levels
    return max(z_scores(found, mean), z_scores((found - mean) ** 2, p @ (levels - mean) ** 2))


@pytest.mark.parametrize(("num_colours", "shape", "beta"), [(10, (2, 2), 1.1), (3, (3, 3), 0.9), (2, (3, 3), 0.8)])
def test_heat_bath_by_enumeration(key, num_colours, shape, beta):
    assert worst(systems.heat_bath, num_colours, shape, beta, key) < 4


def test_wrong_weights_fail(key):
    """The negative controls: weights a tenth off, and neighbours drawn at once."""
    assert worst(lambda e: WrongWeights(systems.heat_bath(e).group, 3), 3, (3, 3), 0.9, key) > 9
    assert worst(lambda e: systems.ColourBath(jnp.zeros(9, jnp.int32), 3), 3, (3, 3), 0.9, key) > 9


def test_a_ladder_against_the_closed_form(key):
    """A torus of 2 × 2 is a ring of four spins with each bond twice: Z = (e^2β - 1 + q)⁴ + (q - 1)(e^2β - 1)⁴."""
    q, betas = 10, np.array([0.0, 0.5, 1.0, 1.5, 2.0])

    def log_z(beta):
        bond = np.expm1(2 * beta)
        return np.log((bond + q) ** 4 + (q - 1) * bond**4) - 4 * np.log(q)

    options = {"num_chains": 4, "num_draws": 1000, "start": "prior", "batch_size": 0, "progress": False}
    energy = systems.potts((2, 2), q)
    tree = tx.parallel_tempering(key, energy, kernel=systems.heat_bath(energy), ladder=betas, **options)
    step = 1e-5
    mean = [-(log_z(b + step) - log_z(b - step)) / (2 * step) for b in betas]
    assert z_scores(path_energy(tree), mean).max() < 4
    assert log_z_scores(betas, path_energy(tree), [log_z(b) for b in betas]).max() < 4
    other = systems.potts((2, 2), q, coupling=-0.5)
    with Compilations() as compilations:
        tx.parallel_tempering(key, other, kernel=systems.heat_bath(other), ladder=0.9 * betas, **options)
    assert compilations.count == 0


def test_order_of_spins():
    assert float(systems.order(jnp.full((3, 3), 2.0), 4)) == 1
    assert float(systems.order(jnp.arange(16.0).reshape(4, 4) % 4, 4)) == 0


MIXED = {"a": systems.Colour(3), "b": systems.Colour(4)}
BAD = {
    "one colour": (lambda: systems.potts((4, 4), 1), "num_colours"),
    "half a colour": (lambda: systems.potts((4, 4), 2.5), "num_colours"),
    "side 0": (lambda: systems.potts((4, 0), 3), "shape"),
    "nan coupling": (lambda: systems.potts((4,), 3, float("nan")), "coupling"),
    "colours of two kinds": (lambda: systems.heat_bath(tx.Energy(lambda p: p["a"] + p["b"], MIXED)), "energy"),
    "colours and floats": (
        lambda: systems.heat_bath(tx.Energy(lambda p: p["a"] + p["b"], MIXED | {"b": dist.Normal()})),
        "energy",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case):
    make, argument = BAD[case]
    with pytest.raises(tx.InputError) as caught:
        make()
    assert caught.value.argument == argument
