"""The exact posterior of a linear regression, a network with no hidden layer, at every temperature of both paths."""

import arviz_stats
import numpy as np
import pytest
from regression import largest_z, make_energy

import temperax as tx

SIGMAS = 5


@pytest.mark.parametrize(
    ("kernel", "path"),
    [
        ("hmc", "likelihood"),
        ("nuts", "posterior"),
        pytest.param("hmc", "posterior", marks=pytest.mark.slow),
        pytest.param("nuts", "likelihood", marks=pytest.mark.slow),
    ],
)
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


@pytest.mark.slow
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
