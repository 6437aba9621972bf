"""Scales of ReLU units are drawn from their own density, on every path, under every prior; data never see it."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy import stats

import temperax as tx
from temperax.engine import tempering
from temperax.engine.kernels import Alternating, Rescaling, as_kernel, rescaling
from tests.compilations import Compilations

X = np.random.default_rng(0).normal(size=(12, 2))
DATA = tx.Dataset.from_arrays(X, X[:, 0] - X[:, 1] ** 2)
DRAWS = 4000


def energy_of(activation="relu", prior=None, hidden=(3, 2)):
    return tx.Energy.mlp(DATA, hidden, activation, tx.likelihoods.Gaussian(0.5), prior)


def orbit(moves, path, energy, beta, position):
    """Draws of u = log c² of the first unit, whose orbit a chain of moves of its layer alone follows."""

    @jax.jit
    def run(key):
        def step(q, key):
            q = moves.move(key, path, energy, beta, q)
            return q, energy.free(q)["network"]["layer_0"]["weight"][0, 0]

        return jax.lax.scan(step, position, jax.random.split(key, DRAWS))[1]

    first = float(energy.free(position)["network"]["layer_0"]["weight"][0, 0])
    return 2 * np.log(np.asarray(run(jax.random.key(1)), float) / first)


class WrongExponent(Rescaling):
    """The negative control: the volume of the orbit is forgotten."""

    def _surplus(self, below, above):
        return 0.0


def p_value(draws, cdf):
    """Of a Kolmogorov-Smirnov test; independence proposals that are nearly all accepted are thinned by four."""
    return stats.kstest(draws[100::4], cdf).pvalue


@pytest.mark.parametrize("moves", [Rescaling(), WrongExponent()])
@pytest.mark.parametrize("beta", [1.0, 0.25])
def test_the_orbit_of_a_unit_is_a_generalised_inverse_gaussian(moves, beta):
    """One hidden layer, N(0, 1): exp(λu - (ψeᵘ + χe⁻ᵘ)/2), tempered on the posterior path by β."""
    energy = energy_of(hidden=(3,))
    position = energy.sample_prior(jax.random.key(3))
    layers = energy.free(position)["network"]
    psi = float(jnp.sum(layers["layer_0"]["weight"][:, 0] ** 2) + layers["layer_0"]["bias"][0] ** 2)
    chi = float(jnp.sum(layers["layer_1"]["weight"][0] ** 2))
    u = orbit(moves, tempering.Posterior(), energy, jnp.float32(beta), position)
    exponent, root = (2 + 1 - 1) / 2, beta * np.sqrt(psi * chi)
    law = stats.geninvgauss(exponent, root, scale=np.sqrt(chi / psi))  # of eᵘ, in SciPy's units
    found = p_value(np.exp(u), law.cdf)
    assert found > 1e-3 if type(moves) is Rescaling else found < 1e-8


PRIORS = {
    "normal": None,
    "fan-in": tx.priors.FanInNormal(),
    "Laplace": tx.priors.Laplace(0.7),
    "Student-t": tx.priors.StudentT(3.0),
    "Cauchy": dist.Cauchy(0.0, 1.0),
    "ARD": tx.priors.ARD(),
    "off centre": dist.Normal(0.5, 0.7),
}
P = energy_of().size
PATHS = {
    "likelihood": tempering.Likelihood(),
    "posterior": tempering.Posterior(),
    "reference": tempering.Reference(jnp.linspace(-0.5, 0.5, P), jnp.linspace(0.5, 1.5, P)),
}


def check_orbit(energy, path, activation):
    """Against the potential itself, data and all, on a grid of the orbit."""
    beta, position = jnp.float32(0.6), energy.sample_prior(jax.random.key(5)) + 0.1

    class FirstUnit(Rescaling):
        """Of the first unit alone, so that its orbit is all that changes."""

        def move(self, key, path, energy, beta, q):
            one, two = jax.random.split(key)
            moved = self.first(one, path, energy, beta, q, walk=False)
            return self.first(two, path, energy, beta, moved, walk=True)

        def first(self, key, path, energy, beta, q, *, walk):
            """One proposal for the first layer, of which all units but one are put back."""
            free, precision = energy.free(q), rescaling._precisions(path, energy, beta, q)
            heights = partial(rescaling._of_units, path, energy, beta)
            moved = self.rescale(key, heights, precision, free, 0, walk=walk)
            free, first = energy.free(q), jnp.arange(3) == 0
            layer, above = (dict(free["network"][f"layer_{i}"]) for i in (0, 1))
            new, after = (moved["network"][f"layer_{i}"] for i in (0, 1))
            ratio = new["bias"] / layer["bias"]  # what layer 0 was scaled by
            layer |= {n: jnp.where(first, layer[n] * ratio, layer[n]) for n in ("weight", "bias")}
            above |= {"weight": jnp.where(first[:, None], above["weight"] / ratio[:, None], above["weight"])}
            free = free | {"network": free["network"] | {"layer_0": layer, "layer_1": above}}
            return jax.flatten_util.ravel_pytree(free)[0]

    u = orbit(FirstUnit(), path, energy, beta, position)
    grid = np.linspace(-14, 14, 1401)

    def height(v):
        free = energy.free(position)
        layer, above = (dict(free["network"][f"layer_{i}"]) for i in (0, 1))
        c = jnp.where(jnp.arange(3) == 0, jnp.exp(v / 2), 1.0)
        layer |= {"weight": layer["weight"] * c, "bias": layer["bias"] * c}
        above |= {"weight": above["weight"] / c[:, None]}
        free = free | {"network": free["network"] | {"layer_0": layer, "layer_1": above}}
        q = jax.flatten_util.ravel_pytree(free)[0]
        return tempering.potential_at(path, energy, beta, q), energy.data_energy(q)

    potential, data = (np.asarray(values, float) for values in jax.vmap(height)(jnp.asarray(grid)))
    middle = np.abs(grid) < 6
    np.testing.assert_allclose(data[middle], data[700], rtol=1e-3)  # the symmetry itself
    log_density = -potential + 0.5 * (2 + 1 - 2) * grid
    density = np.exp(log_density - log_density.max())
    cdf = np.cumsum(density) / density.sum()
    assert p_value(u, lambda v: np.interp(v, grid, cdf)) > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("path", PATHS)
def test_every_path(path):
    check_orbit(energy_of(), PATHS[path], "relu")


@pytest.mark.parametrize("prior", [pytest.param(p, marks=pytest.mark.slow) if p != "Laplace" else p for p in PRIORS])
def test_every_prior_and_leaky_units(prior):
    check_orbit(energy_of("leaky_relu", PRIORS[prior]), tempering.Posterior(), "leaky_relu")


def test_it_is_chosen_where_it_fits_and_refused_where_it_does_not():
    assert isinstance(as_kernel("auto", energy_of()), Alternating)
    assert isinstance(as_kernel("auto", energy_of(jax.nn.relu)), Alternating)
    for energy in (energy_of("tanh"), energy_of(hidden=()), tx.Energy(lambda p: p**2, dist.Normal())):
        assert not isinstance(as_kernel("auto", energy), Alternating)
        with pytest.raises(tx.InputError, match="has no units to rescale"):
            as_kernel(Alternating(tx.HMC()), energy)
    assert not isinstance(as_kernel("hmc", energy_of()), Alternating)
    with pytest.raises(tx.InputError, match="are no symmetry moves"):
        as_kernel(Alternating(tx.HMC(), "rescale"), energy_of())


@pytest.mark.slow
def test_the_scales_of_a_deep_network_mix():
    """U0 of four chains, after so few gradients that trajectories alone have not moved it."""
    data = tx.datasets.load("diabetes")
    energy = tx.Energy.mlp(data, (10, 10, 10), "relu", tx.likelihoods.Gaussian(0.7))
    found = {}
    for name, kernel in (("alone", tx.HMC()), ("rescaled", Alternating(tx.HMC()))):
        tree = tx.sample(
            jax.random.key(0), energy, kernel=kernel, num_warmup=100, num_draws=200, progress=False, start="prior"
        )
        u0 = tree["sample_stats"]["prior_energy"].values
        between, within = u0.mean(axis=1).var(ddof=1), u0.var(axis=1, ddof=1).mean()
        found[name] = np.sqrt(1 + between / within)
    assert found["rescaled"] < 1.15 < found["alone"] + 0.15


@pytest.mark.slow
def test_other_numbers_compile_nothing_and_results_repeat():
    energy = energy_of(hidden=(3,))
    options = {"num_chains": 2, "num_warmup": 10, "num_draws": 5, "progress": False, "start": "prior"}
    first = tx.sample(jax.random.key(0), energy, kernel=Alternating(tx.HMC(max_steps=8)), **options)
    with Compilations() as compiled:
        tx.sample(jax.random.key(1), energy, kernel=Alternating(tx.HMC(max_steps=16)), **options)
    assert not compiled.count, compiled.programs
    again = tx.repeat(first, progress=False)
    np.testing.assert_array_equal(again["posterior"]["layer_0_weight"], first["posterior"]["layer_0_weight"])
