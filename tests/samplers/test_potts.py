"""The Potts model against enumeration, closed forms, and Ising's."""

import itertools
import sys
from dataclasses import dataclass
from pathlib import Path

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
from temperax import systems, transitions


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


def across(size, betas, **options):
    energy = systems.potts((size, size), 10)
    options = {"num_chains": 4, "start": "prior", "batch_size": 0, "progress": False} | options
    return tx.parallel_tempering(
        jax.random.key(7), energy, kernel=systems.heat_bath(energy), ladder=np.asarray(betas), **options
    )


@pytest.mark.slow
def test_a_ladder_across_ten_colours_reports_its_wall(capsys):
    """β_c = 1.426 on the infinite lattice: rungs on its two sides are a latent heat apart, and no replica crosses."""
    tx.diagnostics.report(across(16, [1.0, 1.1, 1.2, 1.3, 1.5, 1.6, 1.7], num_draws=400))
    walls = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Wall")]
    assert len(walls) == 1 and walls[0].startswith("Wall between beta 1.3 and 1.5 (rejection 1.00")
    assert "as at a phase transition" in walls[0]


@pytest.mark.slow
def test_ten_colours_by_finite_size_scaling():
    """Temperature within 2 %, latent heat within 5 % of Baxter's from small lattices; the peak has its name."""
    sys.path.insert(0, str(Path(__file__).parents[2]))
    from benchmarks import potts

    betas, trees = potts.FIRST_LADDER, {}
    for size in (8, 12, 16):
        trees[size] = across(size, betas, num_chains=8, num_draws=1000, thin=size, most_transitions=1)
        betas = potts.window(trees[size])
    found = transitions.finite_size(trees)
    temperature, heat = potts.baxter(10)
    assert found.attrs["verdict"] == "coexistence"
    assert float(found["critical_temperature"]) == pytest.approx(temperature, rel=0.02)
    assert float(found["latent_heat"]) == pytest.approx(heat, rel=0.05)
    assert transitions.report(trees[16])["kind"][0] == "coexistence"


def test_exact_values_are_baxters():
    sys.path.insert(0, str(Path(__file__).parents[2]))
    from benchmarks.potts import baxter

    listed = {5: (0.851528, 0.052919), 7: (0.773059, 0.353277), 8: (0.744904, 0.486358), 10: (0.701232, 0.696049)}
    for q, values in listed.items():
        assert baxter(q) == pytest.approx(values, abs=1e-6)
    assert baxter(2)[0] == pytest.approx(1 / np.log1p(np.sqrt(2))) and baxter(4)[1] == 0
