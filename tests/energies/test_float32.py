"""Energies in single precision: differences of neighbouring states against double precision, and rows in chunks."""

import subprocess
import sys
from unittest.mock import Mock

import arviz_stats
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import some
from regression import linear
from scipy import stats

import temperax as tx
from temperax.energies import summed

NOISE = 0.5


def network_data(rows, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 3))
    y = np.sin(x[:, 0]) + 0.3 * x[:, 1] + NOISE * rng.normal(size=rows)
    return tx.Dataset.from_arrays(x, y, standardise=False)


def in_double(energy, position):
    """Prior and data energy of a network with one hidden tanh layer, N(0, 1) priors and fixed noise, by NumPy."""
    q = np.asarray(position, float)
    layers = jax.tree.map(lambda leaf: np.asarray(leaf, float), energy.unravel(position))["network"]
    x, y = np.asarray(energy.data["x"], float), np.asarray(energy.data["y"], float)
    hidden = np.tanh(x @ layers["layer_0"]["weight"] + layers["layer_0"]["bias"])
    residual = (y - hidden @ layers["layer_1"]["weight"] - layers["layer_1"]["bias"]) / NOISE
    data = 0.5 * np.sum(residual**2) + y.size * (np.log(NOISE) + 0.5 * np.log(2 * np.pi))
    return 0.5 * q @ q + 0.5 * q.size * np.log(2 * np.pi), data


@pytest.mark.parametrize(
    ("rows", "beta", "within"),
    some([(1_000, 1e3, 0.02), (1_000, 1e4, 0.15)], [(1_000_000, 1.0, 0.02), (10_000_000, 1.0, 0.02)]),
)
def test_differences_of_neighbours(key, rows, beta, within):
    """A million rows at T = 1, ten of them, a thousand at T = 10⁻³ and 10⁻⁴: β times the difference of two states.

    To .02 nats, and at T = 10⁻⁴ to what an acceptance can bear.
    """
    data = network_data(rows)
    energy = tx.Energy.mlp(data, (5,), likelihood=tx.likelihoods.Gaussian(NOISE))
    reference = 0.5 * jax.random.normal(key, (energy.size,))  # the truth of the data, as an optimum would be
    y = energy.mean(reference, jnp.asarray(data.x, jnp.float32)) + NOISE * np.random.default_rng(1).normal(
        size=(rows, 1)
    )
    energy = energy.replace(data=tx.Dataset.from_arrays(data.x, y, standardise=False))
    relative = energy.relative_to(reference)

    @jax.jit
    def total(energy, q):
        return energy.prior_energy(q) + energy.data_energy(q)

    width = 1 / np.sqrt(rows * beta)
    errors = {"relative": [], "absolute": []}
    for k in jax.random.split(key, 8 if rows < 10_000_000 else 3):
        a = reference + width * jax.random.normal(k, reference.shape)
        b = a + 0.3 * width * jax.random.normal(jax.random.fold_in(k, 1), reference.shape)
        exact = sum(in_double(energy, a)) - sum(in_double(energy, b))
        for name, one in (("relative", relative), ("absolute", energy)):
            errors[name].append(beta * (float(total(one, a)) - float(total(one, b)) - exact))
    rms = {name: np.sqrt(np.mean(np.square(values))) for name, values in errors.items()}
    assert rms["relative"] < within, rms
    assert rms["absolute"] > 2 * rms["relative"], "the yardstick must see what plain sums lose"


@pytest.mark.slow
def test_targets_of_very_different_scale(key):
    """Two targets of widths 10⁶ and 10⁻⁶: standardised, each has its digits, and predictions their units."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 2))
    y = np.stack([x[:, 0], x[:, 1]], axis=1) + 0.1 * rng.normal(size=(60, 2))
    scale = np.array([1e6, 1e-6])
    plain, wide = (tx.Energy.mlp(tx.Dataset.from_arrays(x, targets), ()) for targets in (y, y * scale))
    options = {"num_chains": 2, "num_warmup": 100, "num_draws": 100, "progress": False}
    trees = [tx.sample(key, energy, **options) for energy in (plain, wide)]
    f = [
        tx.predict.predictions(tree, x, energy)["f"].mean(("chain", "draw"))
        for tree, energy in zip(trees, (plain, wide), strict=True)
    ]
    np.testing.assert_allclose(f[1] / scale, f[0], atol=1e-2)


def test_offsets_restore_the_energies(key, small_data):
    energy = tx.Energy.mlp(small_data, (4,), prior=tx.priors.ARD())
    here, there = jax.random.normal(key, (2, energy.size))
    relative = energy.relative_to(here)
    prior, data = relative.offsets()
    np.testing.assert_allclose(relative.prior_energy(there) + prior, energy.prior_energy(there), rtol=1e-5)
    np.testing.assert_allclose(relative.data_energy(there) + data, energy.data_energy(there), rtol=1e-5)
    assert abs(relative.prior_energy(here)) < 1e-4 and abs(relative.data_energy(here)) < 1e-4
    assert energy.offsets() == (0.0, 0.0)


@pytest.mark.parametrize("family", [tx.likelihoods.Gaussian(0.3), tx.likelihoods.Poisson()], ids=["normal", "counts"])
def test_constants_are_counted_in_double_precision(family, monkeypatch):
    """Of a million rows: a constant that each rounds alike is tenths of nats in single precision."""
    rng = np.random.default_rng(2)
    x, rate = rng.normal(size=(1_000_000, 1)), 1e5
    counts = family.task == "counts"
    y = rng.poisson(rate, len(x)) if counts else 3.0 + rng.normal(size=len(x))
    data = tx.Dataset.from_arrays(x, y, standardise=False, task=family.task)
    energy = tx.Energy.mlp(data, (), likelihood=family)
    position = np.array([np.log(rate) if counts else 0.0, 0.0], np.float32)  # bias and weight
    y = np.asarray(energy.data["y"], float)  # as rounded
    output = np.full_like(y, position[0])
    exact = -(stats.poisson.logpmf(y, np.exp(output)) if counts else stats.norm.logpdf(y, output, 0.3)).sum()
    assert abs(energy.relative_to(position).offsets()[1] - exact) < 1e-3
    monkeypatch.setattr(jax, "local_devices", Mock(side_effect=RuntimeError("Unknown backend cpu")))  # but cuda, say
    assert abs(energy.relative_to(position).offsets()[1] - exact) < 1e-3
    wide = jax.config.jax_enable_x64
    assert wide or abs(float(energy.data_energy(position)) - exact) > 0.1  # as a sum in single precision is off


@pytest.mark.parametrize("path", ["likelihood", "posterior"])
@pytest.mark.slow
def test_results_hold_absolute_energies(key, small_data, path):
    """Whatever energies are counted from, a result's are -log p of its own draws."""
    energy = tx.Energy.mlp(small_data, (3,))
    tree = tx.sample(key, energy, [1.0, 0.5], path=path, num_chains=2, num_warmup=20, num_draws=5, progress=False)
    stats, positions = tree["tempered_stats"], tx.predict.positions(tree, energy)
    found = jax.vmap(jax.vmap(energy.data_energy))(positions)
    np.testing.assert_allclose(tree["sample_stats"]["data_energy"].values, found, rtol=1e-4)
    prior, data, beta = (stats[name].values for name in ("prior_energy", "data_energy", "beta"))
    lp = -(prior + beta * data) if path == "likelihood" else -beta * (prior + data)
    np.testing.assert_allclose(stats["lp"].values, lp, rtol=1e-6)


@pytest.mark.slow
def test_exact_posterior_of_many_rows(key):
    """Mean and variance of a linear regression's posterior at 100 000 rows."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(100_000, 4))
    y = x @ [1.0, -2.0, 0.5, 0.0] + NOISE * rng.normal(size=len(x))
    data = tx.Dataset.from_arrays(x, y, standardise=False)
    energy = tx.Energy.network(data, linear, jnp.zeros(4), tx.likelihoods.Gaussian(NOISE), tx.priors.Normal(1.0))
    covariance = np.linalg.inv(x.T @ x / NOISE**2 + np.eye(4))
    mean = covariance @ x.T @ y / NOISE**2
    start = np.tile(mean, (4, 1))
    tree = tx.sample(key, energy, num_warmup=100, num_draws=100, start=start, progress=False)
    draws = tree["posterior"]["theta"].values
    width = np.sqrt(np.diag(covariance))
    ess = np.array([float(arviz_stats.ess(draws[..., i])) for i in range(4)])
    assert (ess > 100).all()
    assert (np.abs(draws.mean((0, 1)) - mean) < 5 * width / np.sqrt(ess)).all()
    assert (np.abs(draws.var((0, 1)) / width**2 - 1) < 5 * np.sqrt(2 / ess)).all()


@pytest.mark.parametrize("rows", some([25], [24]))
def test_chunks_of_rows_add_up(key, monkeypatch, rows):
    """Energies and gradients do not depend on how many rows are held at once."""
    energy = tx.Energy.mlp(network_data(rows), (4,))
    q = jax.random.normal(key, (energy.size,))
    whole = jax.value_and_grad(energy.relative_to(0 * q).data_energy)(q)
    monkeypatch.setattr(summed, "CHUNK_ROWS", 8)
    chunked = jax.value_and_grad(energy.relative_to(0 * q).data_energy)(q)
    np.testing.assert_allclose(chunked[0], whole[0], rtol=1e-5)
    np.testing.assert_allclose(chunked[1], whole[1], rtol=1e-4, atol=1e-4)


MANY_ROWS = r"""
import re, sys
from pathlib import Path
import jax, numpy as np
import temperax as tx
from temperax.energies import summed as room
room.CHUNK_ROWS = int(sys.argv[1])
rng = np.random.default_rng(0)
x = rng.normal(size=(1_000_000, 20)).astype(np.float32)
y = np.sin(x[:, 0]) + 0.1 * rng.normal(size=len(x)).astype(np.float32)
energy = tx.Energy.mlp(tx.Dataset.from_arrays(x, y), (50,))
kernel = tx.HMC(step_size=1e-6, trajectory_length=2e-6)
options = {"num_warmup": 2, "num_draws": 2, "start": "prior", "batch_size": int(sys.argv[2]), "progress": False}
tree = tx.sample(jax.random.key(0), energy, kernel=kernel, **options)
assert np.isfinite(tree["sample_stats"]["lp"]).all() and tree["posterior"].sizes["chain"] == 4
# Of this process alone: what `getrusage` says is at least what its parent had resident when it began.
print(int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) / 2**20)
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize(("chunk", "batch_size", "fits"), [(summed.CHUNK_ROWS, 1, True), (1_000_000, 0, False)])
def test_a_million_rows_of_twenty_inputs_fit_two_gibibytes(chunk, batch_size, fits):
    """Four chains of 50 units, rows in chunks; all rows of all chains at once do not fit."""
    done = subprocess.run(
        [sys.executable, "-c", MANY_ROWS, str(chunk), str(batch_size)], capture_output=True, text=True, check=True
    )
    assert (float(done.stdout) < 2.0) == fits, f"{done.stdout.strip()} GiB"
