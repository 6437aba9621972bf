"""The learning coefficient against exact values: closed forms at finite n, and the theory's own limits."""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from jax.tree_util import register_dataclass
from numpyro.infer.util import ParamInfo
from regression import linear, make_energy
from scipy.integrate import quad

import temperax as tx
from temperax.engine.kernels import Info

SIGMAS = 4
ROWS = 10_000


def z(found, expected):
    return abs(found.value - expected) / found.standard_error


# -- a regular model -------------------------------------------------------------------------------------------------


def exact_regular(case, beta, mean, precision, at):
    """β(⟨E⟩ - E(at)) of a linear regression under N(mean, 1/precision) on every weight, by conjugacy."""
    x, y, scale = (np.asarray(case[name]) for name in ("X", "y", "noise_scale"))
    gram = x.T @ x / scale**2
    covariance = np.linalg.inv(beta * gram + precision * np.eye(len(gram)))
    centre = covariance @ (beta * x.T @ y / scale**2 + precision * np.asarray(mean))
    excess = np.sum((y - x @ centre) ** 2) - np.sum((y - x @ at) ** 2)
    return 0.5 * beta * (excess / scale**2 + np.trace(gram @ covariance))


@pytest.mark.parametrize("localisation", [pytest.param(None, marks=pytest.mark.slow), 3.0])
def test_regular_model(key, exact_cases, localisation):
    case = exact_cases["linear_regression"]
    energy = make_energy(case)
    found = tx.learning_coefficient(key, energy, localisation=localisation, num_draws=2000, progress=False)
    assert found.num_rows == len(case["y"])
    assert found.beta == pytest.approx(1 / np.log(found.num_rows))
    assert found.wbic == pytest.approx(found.minimum + found.value / found.beta)
    assert found.minimum == pytest.approx(float(energy.data_energy(jnp.asarray(found.position))), rel=1e-5)
    if localisation is None:
        expected = exact_regular(case, found.beta, np.zeros(5), case["prior_scale"] ** -2, found.position)
    else:
        expected = exact_regular(case, found.beta, found.position, localisation, found.position)
    assert found.rhat < 1.01
    assert found.standard_error < 0.05 and z(found, expected) < SIGMAS
    # The draws of another temperature do not give this value: neither twice as cold nor untempered.
    for beta in (2 * found.beta, 1.0):
        wrong = tx.learning_coefficient(
            key, energy, at=found.position, localisation=localisation, beta=beta, num_draws=500, progress=False
        )
        rescaled = wrong._replace(
            value=wrong.value * found.beta / beta, standard_error=wrong.standard_error * found.beta / beta
        )
        assert z(rescaled, expected) > 2 * SIGMAS


@register_dataclass
@dataclass(frozen=True)
class Langevin:
    """Langevin steps, none of them refused: stochastic gradient Langevin dynamics with all rows in the batch."""

    step_size: float
    trajectory_length: ClassVar[float] = 0.0
    inverse_mass: ClassVar[float] = 1.0
    target_acceptance: ClassVar[float] = 0.8

    def step(self, key, potential_at, beta, start, tuning, jitter):
        h, zero = tuning.step_size, jnp.zeros_like(start.z)
        position = start.z - 0.5 * h**2 * start.z_grad + h * jax.random.normal(key, start.z.shape)
        potential, gradient = jax.value_and_grad(potential_at(beta))(position)
        info = Info(jnp.ones(()), jnp.int32(1), jnp.bool(False), potential, zero, h)
        return ParamInfo(position, potential, gradient), info


@pytest.mark.slow
def test_a_kernel_without_an_accept_step_is_caught(key, exact_cases):
    """Its stationary covariance is A⁻¹(1 - h²A/4)⁻¹ instead of A⁻¹: λ̂ comes out at that value, and is refused here."""
    case = exact_cases["linear_regression"]
    energy = make_energy(case)
    at = np.linalg.lstsq(case["X"], case["y"])[0]
    beta, localisation = 1 / np.log(len(case["y"])), 3.0
    gram = np.asarray(case["X"]).T @ case["X"] / case["noise_scale"] ** 2
    precision = beta * gram + localisation * np.eye(5)
    h = 1.4 / np.sqrt(np.linalg.eigvalsh(precision).max())
    biased = 0.5 * beta * np.trace(gram @ np.linalg.inv(precision @ (np.eye(5) - h**2 * precision / 4)))
    expected = exact_regular(case, beta, at, localisation, at)
    options = dict(at=at, localisation=localisation, num_warmup=100, progress=False)
    wrong = tx.learning_coefficient(key, energy, kernel=Langevin(h), num_draws=4000, **options)
    assert z(wrong, biased) < SIGMAS and z(wrong, expected) > 2 * SIGMAS
    right = tx.learning_coefficient(key, energy, kernel="nuts", num_draws=1000, **options)
    assert z(right, expected) < SIGMAS and z(right, biased) > 2 * SIGMAS


@pytest.mark.slow
def test_regular_limit_is_half_the_parameters(key):
    """Both estimates are P/2; the energy averaged over the rows, which λ is not made of, gives next to 0."""
    rng = np.random.default_rng(4)
    x = rng.normal(size=(2000, 4))
    y = x @ [1.0, -2.0, 0.5, 0.0] + rng.normal(size=len(x))
    data = tx.Dataset.from_arrays(x, y, standardise=False)
    energy = tx.Energy.network(data, linear, jnp.zeros(4), tx.likelihoods.Gaussian(1.0), tx.priors.Normal(1.0))
    found = tx.learning_coefficient(key, energy, num_warmup=300, num_draws=500, progress=False)
    assert z(found, 2.0) < SIGMAS
    assert abs(found.heat_capacity - 2.0) < SIGMAS * found.heat_capacity_error

    def averaged(w, data):
        return 0.5 * jnp.mean((data["x"] @ w - data["y"]) ** 2)

    mean = tx.Energy(averaged, dist.Normal(0, 1).expand([4]).to_event(1), {"x": x, "y": y})
    wrong = tx.learning_coefficient(key, mean, beta=found.beta, num_warmup=300, num_draws=500, progress=False)
    assert wrong.value < 1


# -- two minima of one energy ----------------------------------------------------------------------------------------


def bend(w):
    """Zero at 0, where the square of it is quartic, and at 2, where it is quadratic."""
    return w**2 * (1 - w / 2)


def exact_bend(amount, centre, precision):
    """⟨βE⟩ of one parameter, by quadrature, for βE = ``amount`` · bend²/2 around a minimum."""
    points = dict(points=[centre], limit=500)

    def weight(w):
        return np.exp(-0.5 * amount * bend(w) ** 2 - 0.5 * precision * (w - centre) ** 2)

    low, high = centre - 1.3, centre + 1.3  # the ridge between the minima, at 4/3, is 190 nats high
    total = quad(weight, low, high, **points)[0]
    return quad(lambda w: 0.5 * amount * bend(w) ** 2 * weight(w), low, high, **points)[0] / total


@pytest.mark.slow
def test_degenerate_and_regular_minimum_of_one_energy(key):
    """Local λ is P/4 where the energy is quartic and P/2 where it is quadratic."""
    num_parameters, precision = 3, 0.1
    x = np.random.default_rng(5).normal(size=ROWS)
    x /= np.sqrt(np.mean(x**2))
    energy = tx.Energy(
        lambda w, x: 0.5 * x**2 * jnp.sum(bend(w) ** 2), dist.Normal(0, 1).expand([num_parameters]).to_event(1), x
    )
    values = []
    for minimum, limit in ((0.0, num_parameters / 4), (2.0, num_parameters / 2)):
        found = tx.learning_coefficient(
            key,
            energy,
            at=np.full(num_parameters, minimum),
            localisation=precision,
            num_warmup=300,
            num_draws=1000,
            progress=False,
        )
        expected = num_parameters * exact_bend(ROWS * found.beta, minimum, precision)
        assert found.rhat < 1.01 and z(found, expected) < SIGMAS
        assert expected == pytest.approx(limit, rel=0.03)
        values.append(found)
    assert z(values[1], values[0].value) > 2 * SIGMAS


@pytest.mark.slow
def test_localised_prior(key, small_data):
    """N(θ*, 1/γ) on the unconstrained parameters, of whatever constraint, and the data energy as it was."""
    energy = tx.Energy.mlp(small_data, (2,), prior=tx.priors.ARD())  # learned scales: positive parameters
    at, other = jax.random.normal(key, (2, energy.size))
    local = energy.localised_at(at, 4.0)
    expected = 2.0 * np.sum((other - at) ** 2) + 0.5 * energy.size * np.log(2 * np.pi / 4.0)
    np.testing.assert_allclose(local.prior_energy(other), expected, rtol=1e-5)
    np.testing.assert_allclose(local.data_energy(other), energy.data_energy(other), rtol=1e-6)
    draws = jax.vmap(local.sample_prior)(jax.random.split(key, 2000))
    np.testing.assert_allclose(draws.mean(0), at, atol=0.06)
    np.testing.assert_allclose(draws.std(0), 0.5, atol=0.05)


# -- reduced-rank regression -----------------------------------------------------------------------------------------


def generated_rows(case, seed=0):
    """Rows y = B A x + N(0, 1) with x ~ N(0, 1), and standard normal A and B of the case's rank."""
    rng = np.random.default_rng(seed)
    inputs, hidden, outputs, rank = (case[name] for name in ("inputs", "hidden", "outputs", "rank"))
    a, b = rng.normal(size=(hidden, inputs)), rng.normal(size=(outputs, hidden))
    a[rank:], b[:, rank:] = 0, 0
    x = rng.normal(size=(ROWS, inputs))
    return x, x @ (b @ a).T + rng.normal(size=(ROWS, outputs))


def map_energy(parameters, data):
    """E of all rows less a constant, from what the rows say of the map BA: its least squares and their Gram matrix."""
    return 0.5 * jnp.sum(((parameters["b"] @ parameters["a"] - data["map"]) @ data["root"]) ** 2)


def factors(case):
    """N(0, 1) on every weight: the library's default prior."""
    shapes = {"a": (case["hidden"], case["inputs"]), "b": (case["outputs"], case["hidden"])}
    return {name: dist.Normal(0, 1).expand(shape).to_event(2) for name, shape in shapes.items()}


def reduced_rank(case, seed=0):
    """The energy of the generated rows, by the sufficient statistics of the least squares in them."""
    x, y = generated_rows(case, seed)
    gram = x.T @ x
    return tx.Energy(
        map_energy, factors(case), {"map": np.linalg.solve(gram, x.T @ y).T, "root": np.linalg.cholesky(gram)}
    )


def lowest(case, seed=0):
    """The minimum of `map_energy`: what the best map of the hidden rank leaves of the least squares (Eckart-Young)."""
    data = reduced_rank(case, seed).data
    values = np.linalg.svd(np.asarray(data["map"], float) @ np.asarray(data["root"], float), compute_uv=False)
    return 0.5 * np.sum(values[case["hidden"] :] ** 2)


def estimate(key, case, num_draws):
    return tx.learning_coefficient(
        key, reduced_rank(case), beta=1 / np.log(ROWS), num_warmup=500, num_draws=num_draws, progress=False
    )


def test_sufficient_statistics_are_the_rows(key, exact_cases):
    """The energies of the reduced-rank tests and those of a network on the rows differ by one constant."""
    case = exact_cases["reduced_rank_rlct"][2]
    x, y = generated_rows(case)
    data = tx.Dataset.from_arrays(x, y, standardise=False)
    zeros = {name: np.zeros(prior.shape()) for name, prior in factors(case).items()}
    rows = tx.Energy.network(data, lambda p, x: x @ p["a"].T @ p["b"].T, zeros, tx.likelihoods.Gaussian(1.0))
    brief = reduced_rank(case)
    start, *others = jax.random.normal(key, (4, brief.size))
    assert rows.num_rows == ROWS and brief.num_rows is None
    for other in others:
        differences = [float(energy.relative_to(start).data_energy(other)) for energy in (rows, brief)]
        np.testing.assert_allclose(*differences, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("index", [6])
def test_reduced_rank(key, exact_cases, index):
    case = exact_cases["reduced_rank_rlct"][index]
    found = estimate(key, case, num_draws=1000)
    assert found.rhat < 1.01
    assert found.minimum == pytest.approx(lowest(case), abs=0.02)
    assert abs(found.value / case["rlct"] - 1) < 0.05
    num_parameters = case["hidden"] * (case["inputs"] + case["outputs"])
    assert z(found, num_parameters / 2) > 2 * SIGMAS, "a singular model is below P/2"


@pytest.mark.slow
def test_reduced_rank_all_cases(key, exact_cases):
    """Five of seven within 5 %.

    What is off is the theory's: minima of multiplicity 2 come out 1/(λ log(nβ)) low, 14 % where λ = 1 and 7 % where
    λ = 2, and noise that θ* fits along degenerate directions comes out high, by 4 % on average over rows where λ = 29.
    """
    close = []
    for case in exact_cases["reduced_rank_rlct"]:
        found = estimate(key, case, num_draws=2000)
        error = found.value / case["rlct"] - 1
        print(f"{case} {found.value:.3f} ± {found.standard_error:.3f} ({error:+.1%}) R-hat {found.rhat:.4f}")
        assert found.rhat < 1.01
        close.append(abs(error) < 0.05)
    assert sum(close) >= 5


# -- input -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"at": np.zeros(3)}, "at = .* is not of shape"),
        ({"at": np.full(5, np.nan)}, "at = .* has values that are NaN"),
        ({"at": "there"}, "at = 'there' is not made of numbers"),
        ({"localisation": 0.0}, "localisation = 0.0 is not positive"),
        ({"localisation": -1.0}, "localisation = -1.0 is not positive"),
        ({"beta": 0.0}, "beta = 0.0 is not positive"),
        ({"num_draws": 3}, "num_draws = 3 is too small"),
        ({"kernel": "gibbs"}, "kernel = 'gibbs' is not a known name"),
    ],
)
def test_bad_arguments(key, exact_cases, arguments, message):
    energy = make_energy(exact_cases["linear_regression"])
    with pytest.raises(tx.InputError, match=message):
        tx.learning_coefficient(key, energy, **arguments)


def test_what_cannot_be_sampled_is_said_before_anything_is_trained(key, exact_cases, small_data, monkeypatch):
    """Kernels that do not fit, or whose bias λ̂ would keep, and a prior that is flat."""
    trained = "trained before the input was checked"
    monkeypatch.setattr(tx.optimise, "minimise", lambda *_, **__: pytest.fail(trained))
    five = make_energy(exact_cases["linear_regression"])
    one = tx.Energy(lambda w: jnp.sum(w**2), dist.Normal(0.0, 1.0))
    flat = tx.Energy.from_log_density(lambda p: -jnp.sum(p**2), jnp.zeros(2))
    units = tx.Energy.mlp(small_data, (2,), activation="relu")
    refused = [
        (five, {"kernel": "mclmc"}, "is not exact"),
        (units, {"kernel": tx.kernels.Alternating(tx.MCLMC())}, "is not exact"),
        (one, {"kernel": "mams", "beta": 0.5}, "needs two parameters"),
        (five, {"kernel": tx.HMC(inverse_mass=np.ones(3))}, "does not fit the energy's parameters"),
        (flat, {"beta": 0.5}, "localisation = None leaves a prior that is flat"),
    ]
    for energy, arguments, message in refused:
        with pytest.raises(tx.InputError, match=message):
            tx.learning_coefficient(key, energy, **arguments)


def test_energies_that_leave_n_open(key):
    prior = dist.Normal(0, 1).expand([2]).to_event(1)
    for data_energy in (lambda w: jnp.sum(w**2), lambda w: jnp.sum(w**2)[None]):  # a scalar, and one row
        with pytest.raises(tx.InputError, match="has fewer than two rows; return one value"):
            tx.learning_coefficient(key, tx.Energy(data_energy, prior))
    with pytest.raises(tx.InputError, match="energy = 3 is not an Energy"):
        tx.learning_coefficient(key, 3)
