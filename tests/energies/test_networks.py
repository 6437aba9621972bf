"""Energies of MLPs as the engine evaluates them, against the same networks written out as a user's own function."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import some
from jax.scipy.special import gammaln
from jax.test_util import check_grads
from test_energy import LIKELIHOODS, PRIORS

import temperax as tx
from temperax.energies.networks import ACTIVATIONS
from temperax.machine import sharding

REPLICAS = 5
#: Largest error in single precision: of an energy as a share of its rows' moduli, of a gradient as a share of its norm.
TOLERANCE = 5e-6
WIDTHS = (1, 2, 3, 7, 24, 50)


def case(number):
    """A network, its data and its description, from a number: every choice comes round in turn, widths are random."""
    rng = np.random.default_rng(number)
    likelihood = list(LIKELIHOODS)[number % len(LIKELIHOODS)]
    activation = list(ACTIVATIONS)[number % len(ACTIVATIONS)]
    prior = list(PRIORS)[(number // 2) % len(PRIORS)]
    depth, rows, targets = number % 5, int(rng.integers(1, 60)), int(rng.integers(1, 4))
    hidden = tuple(int(width) for width in rng.choice(WIDTHS, depth))
    task = LIKELIHOODS[likelihood].task
    targets = 1 if likelihood == "categorical" else targets
    y = rng.normal(size=(rows, targets)) if task == "regression" else rng.integers(0, 2, size=(rows, targets))
    data = tx.Dataset.from_arrays(rng.normal(size=(rows, 3)), y, task=task, standardise=False)
    energy = tx.Energy.mlp(data, hidden, activation, LIKELIHOODS[likelihood], PRIORS[prior])
    return energy, partial(rows_by_hand, likelihood, ACTIVATIONS[activation], depth)


def rows_by_hand(likelihood, activation, depth, parameters, data, *, forget=None):
    """-log p of every row, rows × units, with the formulas of the densities.

    ``forget`` leaves out the bias of a layer, which a comparison must notice.
    """
    h, y, noise = data["x"], data["y"], parameters["noise"]
    for i in range(depth + 1):
        layer = parameters["network"][f"layer_{i}"]
        h = (h * layer.get("input_scale", 1.0)) @ layer["weight"]
        h = h if i == forget else h + layer["bias"]
        h = activation(h) if i < depth else h
    half_log_two_pi = 0.5 * np.log(2 * np.pi)
    match likelihood:
        case "gaussian_fixed" | "gaussian_learned":
            scale = noise.get("scale", 0.5)
            rows = 0.5 * ((y - h) / scale) ** 2 + jnp.log(scale) + half_log_two_pi
        case "heteroscedastic":
            mean, raw = jnp.split(h, 2, axis=1)
            scale = 1e-3 + jnp.logaddexp(raw, 0.0)
            rows = 0.5 * ((y - mean) / scale) ** 2 + jnp.log(scale) + half_log_two_pi
        case "student_t":
            df, scale = noise["df"], noise["scale"]
            constant = gammaln(df / 2) - gammaln((df + 1) / 2) + 0.5 * jnp.log(df * np.pi) + jnp.log(scale)
            rows = constant + (df + 1) / 2 * jnp.log1p(((y - h) / scale) ** 2 / df)
        case "bernoulli":
            rows = jnp.logaddexp(h, 0.0) - y * h
        case "categorical":
            own = jnp.take_along_axis(h, y.astype(int), axis=1)
            rows = jax.scipy.special.logsumexp(h, axis=1, keepdims=True) - own
        case "poisson":
            rows = jnp.exp(h) - y * h + gammaln(y + 1)
    return rows.sum(axis=1)


def both(energy, position):
    """Prior and data energy, and the gradient of each."""
    return [jax.value_and_grad(part)(position) for part in (energy.prior_energy, energy.data_energy)]


@partial(jax.jit, static_argnames="batch_size")
def as_the_engine(energy, positions, batch_size):
    """Energies and gradients of a batch of replicas, ``batch_size`` at once."""
    return sharding.map_batch(partial(both, energy), positions, batch_size, jnp.int32(0))


def worst_error(number, batch_size, forget=None):
    """Largest error of an MLP's energies and gradients against double precision by hand."""
    energy, by_hand = case(number)
    keys = jax.random.split(jax.random.key(number), REPLICAS)
    # Whole draws of deep networks are exponents of hundreds.
    positions = 0.2 * np.asarray(jax.jit(jax.vmap(energy.sample_prior))(keys))
    found = jax.tree.map(np.asarray, as_the_engine(energy, positions, batch_size))
    with jax.enable_x64(True):
        data = jax.tree.map(lambda x: jnp.asarray(np.asarray(x), float), energy.data)
        exact = tx.Energy(partial(by_hand, forget=forget), energy.prior, data)
        points = jnp.asarray(np.asarray(positions), float)
        wanted, rows = jax.jit(jax.vmap(lambda q: (both(exact, q), exact.log_likelihood(q))))(points)
        wanted, rows = jax.tree.map(np.asarray, wanted), np.asarray(rows)
        sizes = [np.abs(wanted[0][0]) + energy.size, np.abs(rows).sum(1) + 1]
    errors: list[float] = []
    for (value, gradient), (truth, slope), size in zip(found, wanted, sizes, strict=True):
        errors += [np.max(np.abs(value - truth) / size)]
        errors += [np.max(np.linalg.norm(gradient - slope, axis=1) / (np.linalg.norm(slope, axis=1) + 1e-3))]
    return max(errors)


@pytest.mark.parametrize("number", some([1], [0, 2]))
def test_mlps_agree_with_a_network_by_hand(number):
    """All depths, activations and likelihoods, these with one replica at a time and with all at once."""
    assert worst_error(number, number % 2) < TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("number", [3, 4, 5, *range(6, 74)])
def test_all_kinds_of_mlps_agree_with_a_network_by_hand(number):
    assert worst_error(number, number % 2) < TOLERANCE


@pytest.mark.parametrize("number", some([1], [4]))
def test_a_forgotten_bias_is_noticed(number):
    assert worst_error(number, 1, forget=0) > 20 * TOLERANCE


@pytest.mark.slow
def test_derivatives_of_both_modes_and_two_orders():
    """Forward and reverse, against finite differences in double precision."""
    number = 11
    energy = case(number)[0]
    assert energy.model.network.sizes == (3, 24, 1)
    with jax.enable_x64(True):
        exact = jax.tree.map(lambda x: jnp.asarray(np.asarray(x), float), energy)
        position = 0.25 * jax.random.normal(jax.random.key(number), (energy.size,), float)
        check_grads(exact.data_energy, (position,), order=2, modes=("fwd", "rev"), rtol=1e-4)
