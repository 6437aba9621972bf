"""A linear regression as a network without a hidden layer: its exact posterior at every temperature of both paths."""

import arviz_stats
import jax.numpy as jnp
import numpy as np

import temperax as tx


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
