"""The exact posterior of a linear regression, a network with no hidden layer, at every temperature of both paths."""

import arviz_stats
import jax.numpy as jnp
import numpy as np
import pytest

import temperax as tx

SIGMAS = 5


def linear(parameters, x):
    return x @ parameters[:, None]


def make_energy(case):
    data = tx.Dataset.from_arrays(case["X"], case["y"], standardise=False)
    likelihood = tx.likelihoods.Gaussian(case["noise_scale"])
    return tx.Energy.network(data, linear, jnp.zeros(5), likelihood, tx.priors.Normal(case["prior_scale"]))


def exact(case, path, beta):
    """Mean, covariance and mean data energy: of the reference file, or by conjugacy where it has no entry."""
    if path == "likelihood":
        entry = case["temperatures"][str(beta)]
        return (
            np.array(entry["posterior_mean"]),
            np.array(entry["posterior_covariance"]),
            entry["mean_energy"],
        )
    one = case["temperatures"]["1.0"]
    mean, covariance = np.array(one["posterior_mean"]), np.array(one["posterior_covariance"]) / beta
    x, y, scale = np.array(case["X"]), np.array(case["y"]), case["noise_scale"]
    energy = 0.5 * np.sum((y - x @ mean) ** 2) / scale**2 + 0.5 * len(y) * np.log(2 * np.pi * scale**2)
    return mean, covariance, energy + 0.5 * np.trace(x.T @ x @ covariance) / scale**2


def largest_z(tree, case, path):
    """Largest deviation, in standard errors from the ESS, over every temperature's moments."""
    worst = 0.0
    for i, beta in enumerate(tree["tempered_stats"]["beta"].values):
        if (beta := round(float(beta), 6)) == 0 and path == "posterior":
            continue  # improper there
        mean, covariance, energy = exact(case, path, beta)
        draws = tree["tempered_posterior"]["theta"].isel(temperature=i).values
        centred = draws - mean
        products = np.einsum("cdi,cdj->cdij", centred, centred)
        energies = tree["tempered_stats"]["data_energy"].isel(temperature=i).values
        for values, expected in ((draws, mean), (products, covariance), (energies, energy)):
            error = arviz_stats.base.array_stats.mcse(values, chain_axis=0, draw_axis=1)
            worst = max(worst, float(np.max(np.abs(values.mean((0, 1)) - expected) / error)))
    return worst


@pytest.mark.parametrize("kernel", ["hmc", "nuts"])
@pytest.mark.parametrize("path", ["likelihood", "posterior"])
def test_moments_at_every_temperature(key, exact_cases, kernel, path):
    case = exact_cases["linear_regression"]
    beta = [float(b) for b in case["temperatures"] if path == "likelihood" or float(b) > 0]
    tree = tx.sample(
        key,
        make_energy(case),
        beta=beta,
        path=path,
        kernel=kernel,
        num_warmup=500,
        num_draws=2000,
        progress=False,
    )
    assert largest_z(tree, case, path) < SIGMAS
    # The same draws held against the other path's moments: the yardstick can fail.
    assert largest_z(tree, case, "posterior" if path == "likelihood" else "likelihood") > 2 * SIGMAS


def test_draws_at_small_temperature_surround_the_map(key, exact_cases):
    case = exact_cases["linear_regression"]
    energy = make_energy(case)
    tree = tx.sample(key, energy, 1e-4, path="posterior", num_warmup=500, num_draws=1000, progress=False)
    optimum = tx.map_estimate(key, energy)["posterior"]["theta"].values[0, 0]
    draws = tree["posterior"]["theta"].values
    error = arviz_stats.base.array_stats.mcse(draws, chain_axis=0, draw_axis=1)
    # A float32 loss of 50 nats cannot tell parameters apart that are closer than this.
    resolution = 5e-4
    assert np.all(np.abs(draws.mean((0, 1)) - optimum) < SIGMAS * error + resolution)
    np.testing.assert_allclose(optimum, case["temperatures"]["1.0"]["posterior_mean"], atol=resolution)
    # At this temperature the whole posterior is this narrow, so that the agreement means something.
    assert draws.std() > 0 and np.all(draws.std((0, 1)) < 3e-3)
