"""Every likelihood and prior is normalised, gradients are right, and positions and parameters are two views of one."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from cases import some
from scipy import integrate

import temperax as tx
from temperax import tempering

LIKELIHOODS = {
    "gaussian_fixed": tx.likelihoods.Gaussian(0.5),
    "gaussian_learned": tx.likelihoods.Gaussian(),
    "heteroscedastic": tx.likelihoods.HeteroscedasticGaussian(),
    "student_t": tx.likelihoods.StudentT(dist.Gamma(2.0, 0.5)),
    "bernoulli": tx.likelihoods.Bernoulli(),
    "categorical": tx.likelihoods.Categorical(3),
    "poisson": tx.likelihoods.Poisson(),
}
OTHERS = [name for name in LIKELIHOODS if name not in ("heteroscedastic", "student_t")]
PRIORS = {
    "normal": tx.priors.Normal(0.7),
    "fan_in": tx.priors.FanInNormal(),
    "laplace": tx.priors.Laplace(0.5),
    "student_t": tx.priors.StudentT(),
    "ard": tx.priors.ARD(),
    "elementwise": tx.priors.Elementwise(dist.Logistic(0.0, 0.5)),
    "by_layer": {"layer_0": tx.priors.Laplace(0.5), "default": dist.Normal(0.0, 2.0)},
}


def make(likelihood="gaussian_learned", prior="normal", targets=1, rows=6, **options):
    chosen = LIKELIHOODS[likelihood]
    rng = np.random.default_rng(5)
    y = rng.integers(0, 2, size=(rows, targets)) if chosen.task != "regression" else rng.normal(size=(rows, targets))
    data = tx.Dataset.from_arrays(rng.normal(size=(rows, 2)), y, task=chosen.task)
    return tx.Energy.mlp(data, options.pop("hidden", (3,)), likelihood=chosen, prior=PRIORS[prior], **options)


@jax.jit
def draw(energy, key):
    """A draw of the prior; compiled whole, as are the other calls here, since single operations take longer."""
    return energy.sample_prior(key)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_likelihoods_integrate_to_one(name, key):
    energy = make(name)
    position, x = 0.5 * np.asarray(draw(energy, key)), jnp.ones((1, 2))
    log_prob = jax.jit(lambda y: energy.log_prob(position, x, y)[0])

    def density(y):
        return float(np.exp(log_prob(np.full((1, 1), y, np.float32))))

    if LIKELIHOODS[name].task == "regression":
        # Heavy tails need a far window, in which sinh is at home; the quadrature is told where the mass is.
        centre = float(jax.jit(lambda: energy.distribution(position, x).mean.squeeze())())
        centre = centre if np.isfinite(centre) else 0.0
        stretched = lambda t: density(centre + np.sinh(t)) * np.cosh(t)  # noqa: E731
        total = integrate.quad(stretched, -16, 16, points=[0.0], limit=200, epsabs=1e-4, epsrel=1e-4)[0]
        assert total == pytest.approx(1.0, abs=2e-3)
    else:
        support = range({"bernoulli": 2, "categorical": 3, "poisson": 200}[name])
        assert sum(density(float(y)) for y in support) == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("pair", [("bernoulli", "poisson"), ("gaussian_fixed", "heteroscedastic")])
def test_likelihoods_share_no_program(pair):
    """Energies of the same arrays that differ in the kind of their likelihood alone, by one compiled function."""
    compiled = jax.jit(lambda energy, position: energy.data_energy(position))
    targets = 2 if "heteroscedastic" in pair else 1  # as many outputs as the Gaussian of two targets has
    one = make(pair[0], targets=targets)
    other = make(pair[1])
    position = np.full(one.size, 0.3, np.float32)
    assert one.size == other.size
    for energy in (one, other):
        assert float(compiled(energy, position)) == pytest.approx(float(energy.data_energy(position)), rel=1e-5)


@pytest.mark.parametrize("name", some(["laplace", "ard", "by_layer"], ["normal", "fan_in", "student_t", "elementwise"]))
def test_prior_energy_is_normalised_with_its_jacobian(name, key):
    """∫ exp(-U0) = 1 over unconstrained positions, by importance sampling from a wide Student-t."""
    energy = make(prior=name, hidden=())
    proposal = dist.StudentT(3.0, 0.0, 1.5).expand([energy.size]).to_event(1)

    @jax.jit
    def log_ratios(key):
        draws = proposal.sample(key, (200_000,))
        return -jax.vmap(energy.prior_energy)(draws) - proposal.log_prob(draws)

    ratio = np.exp(np.asarray(log_ratios(key), float))
    assert abs(ratio.mean() - 1) < 5 * ratio.std() / np.sqrt(len(ratio))
    assert ratio.std() / np.sqrt(len(ratio)) < 0.05, "the estimate must be sharp enough to fail"


@pytest.mark.parametrize("name", some(["ard"], [p for p in PRIORS if p != "ard"]))
def test_prior_draws_have_the_prior_energy_as_density(name, key):
    """E[∇U0] = 0 and E[θ·∇U0] = P under exact draws: draws and density agree."""
    energy = make(prior=name)
    draws = jax.jit(jax.vmap(energy.sample_prior))(jax.random.split(key, 20_000))
    gradients = np.asarray(jax.jit(jax.vmap(jax.grad(energy.prior_energy)))(draws), float)
    virial = (np.asarray(draws) * gradients).sum(-1)
    for values, expected in ((gradients, 0.0), (virial[:, None], energy.size)):
        error = values.std(0) / np.sqrt(len(values))
        assert np.max(np.abs(values.mean(0) - expected) / error) < 5


@pytest.mark.parametrize("likelihood", some(["heteroscedastic", "student_t"], OTHERS))
@pytest.mark.parametrize("prior", ["normal", pytest.param("ard", marks=pytest.mark.slow)])
def test_gradients_are_finite_differences_in_float64(likelihood, prior, key):
    with jax.enable_x64(True):
        energy = make(likelihood, prior)
        position = np.asarray(draw(energy, key))
        for path in tempering.PATHS.values():
            point = jax.jit(tempering.evaluate)(path, energy, position)
            steps = 1e-6 * np.eye(energy.size)
            ends = jax.jit(jax.vmap(tempering.terms, (None, None, 0)))(
                path, energy, np.asarray(position) + np.stack([steps, -steps]).reshape(-1, energy.size)
            )
            for part, gradient in (("base", point.base_gradient), ("path", point.path_gradient)):
                up, down = np.asarray(getattr(ends, part)).reshape(2, -1)
                np.testing.assert_allclose((up - down) / 2e-6, gradient, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize(
    ("likelihood", "prior"),
    some(
        [("heteroscedastic", "normal"), ("student_t", "normal"), ("gaussian_learned", "ard")],
        [*((name, "normal") for name in OTHERS), *(("gaussian_learned", p) for p in PRIORS if p != "ard")],
    ),
)
def test_positions_and_variables_are_two_views(likelihood, prior, key):
    energy = make(likelihood, prior, hidden=(3, 2))

    @jax.jit
    def views(key):
        position = energy.sample_prior(key)
        again = energy.position(energy.variables(position)), energy.ravel(energy.unravel(position))
        return position, again, energy.log_likelihood(position).sum(), energy.data_energy(position)

    position, again, log_likelihood, data_energy = views(key)
    for one in again:
        np.testing.assert_allclose(one, position, rtol=2e-4, atol=2e-5)
    assert -float(log_likelihood) == pytest.approx(float(data_energy), rel=1e-5)


def test_several_outputs(key):
    energy = make(targets=3)
    assert energy.variables(energy.sample_prior(key))["noise_scale"].shape == (3,)
    assert energy.mean(energy.sample_prior(key), jnp.ones((4, 2))).shape == (4, 3)


@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu", jnp.cos])
def test_activations(activation, key):
    energy = make(activation=activation)
    assert np.isfinite(jax.jit(energy.data_energy)(draw(energy, key)))


def test_a_change_is_seen(key):
    energy = make()
    wider = energy.replace(hidden=(7,), activation="relu", prior=tx.priors.Laplace())
    assert wider.size > energy.size
    assert energy.replace(prior=tx.priors.Normal(0.7)).size == energy.size
    position = energy.sample_prior(key)
    other = energy.replace(prior=tx.priors.Normal(1.4))
    p = energy.size - 1  # all but the noise scale
    weights = jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(energy.unravel(position)["network"])])
    expected = p * jnp.log(2.0) + jnp.sum(weights**2) * (1 / (2 * 1.4**2) - 1 / (2 * 0.7**2))
    assert float(other.prior_energy(position) - energy.prior_energy(position)) == pytest.approx(
        float(expected), rel=1e-3
    )


def test_users_function_of_a_pytree(key):
    prior = {"a": dist.Normal(0.0, 1.0).expand([2]).to_event(1), "rate": dist.Gamma(2.0, 1.0)}
    energy = tx.Energy(lambda p, d: -dist.Poisson(p["rate"]).log_prob(d), prior, data=jnp.array([1.0, 3.0, 2.0]))
    position = energy.sample_prior(key)
    assert energy.size == 3
    assert energy.log_likelihood(position).shape == (3,)
    assert float(energy.unravel(position)["rate"]) > 0


def test_equinox_module(key):
    import equinox as eqx

    module = eqx.nn.MLP(2, 1, 4, 1, key=key)
    arrays, static = eqx.partition(module, eqx.is_array)

    def apply(parameters, x):
        return jax.vmap(eqx.combine(parameters, static))(x)

    rng = np.random.default_rng(0)
    data = tx.Dataset.from_arrays(rng.normal(size=(9, 2)), rng.normal(size=9))
    energy = tx.Energy.network(data, apply, arrays)
    assert energy.size == 2 * 4 + 4 + 4 + 1 + 1
    assert np.isfinite(energy.data_energy(energy.sample_prior(key)))


def test_infinite_energy_at_beta_zero_is_no_nan():
    assert float(jax.jit(tempering.temper)(jnp.float32(2.0), jnp.float32(jnp.inf), jnp.float32(0.0))) == 2.0


AWKWARD = ["beta", "chain", "draw", "temperature", "input", "target", "x_dim_0", "a/b", "a\\c", "..", "row", "lp"]


@pytest.mark.slow
def test_parameters_may_have_any_name(tmp_path, key):
    """A result tells them apart and gives them back, in memory and from disk, on a ladder as well."""
    prior = {name: dist.Normal(0.0, 1.0) for name in AWKWARD} | {"x": dist.Normal(0.0, 1.0).expand([2]).to_event(1)}
    energy = tx.Energy(lambda p: 0.5 * sum(jnp.sum((leaf - i) ** 2) for i, leaf in enumerate(p.values())), prior)
    options = {"num_chains": 2, "num_draws": 32, "progress": False, "keep": "all"}
    options |= {"kernel": "hmc", "start": "prior"}
    tree = tx.parallel_tempering(key, energy, num_replicas=3, directory=tmp_path / "run", **options)
    assert len(set(energy.names)) == len(prior) and {"beta", "target", "row", "lp"} <= set(energy.names)
    for found in (tree, tx.open_run(tmp_path / "run")):
        for group in ("posterior", "tempered_posterior"):
            assert set(found[group].data_vars) == set(energy.names)
            assert {"chain", "draw"} <= set(found[group].dims)
            ours, theirs = (tx.predict.positions(t, energy, group) for t in (found, tree))
            np.testing.assert_array_equal(ours, theirs)
    values = energy.variables(jnp.arange(float(energy.size)))
    np.testing.assert_allclose(energy.position(values), np.arange(energy.size))
    assert tx.diagnostics.verdicts(tree) is not None


def test_whole_numbers_among_data_are_indices(key):
    """Arrays of them stay whole; lists and numbers are numbers like any other."""
    y, group = np.array([0.3, -1.2, 0.7, 2.0]), np.array([0, 1, 1, 0])
    energy = tx.Energy.from_log_density(
        lambda p, data: -jnp.sum((data["y"] - p[data["group"]]) ** 2), jnp.zeros(2), data={"y": y, "group": group}
    )
    assert float(energy.data_energy(jnp.zeros(2))) == pytest.approx(np.sum(y**2), rel=1e-6)
    listed = tx.Energy(lambda p, data: p * data[0], dist.Normal(), [1, 2])
    assert all(jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in jax.tree.leaves(listed.data))


def test_targets_may_have_no_axis_of_their_own(small_data):
    energy = tx.Energy.mlp(small_data, (2,))
    q, x, y = jnp.full(energy.size, 0.3), jnp.asarray(small_data.x_test), jnp.asarray(small_data.y_test)
    np.testing.assert_array_equal(energy.log_prob(q, x, y[:, 0]), energy.log_prob(q, x, y))


def test_masked_values_are_no_data():
    with pytest.raises(tx.InputError, match="data = .*masked values"):
        tx.Energy(lambda p, d: jnp.sum((p - d) ** 2), dist.Normal(0.0, 1.0), data=np.ma.masked_less(np.arange(4.0), 1))
