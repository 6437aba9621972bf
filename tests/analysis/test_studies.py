"""Studies of temperature against draws whose answers are known, and on one small network's ladder."""

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import xarray as xr

import temperax as tx
from temperax import plots, predict, studies
from temperax.analysis.studies import compression, draws, generalisation
from temperax.results import reading, results

BETAS = np.array([0.5, 1.0, 2.0])


def made(energy, positions, betas=BETAS, energies=None):
    """A result whose draws (chain, draw, temperature, parameter) are given."""
    positions = np.asarray(positions, np.float32)
    target = int(np.argmin(np.abs(betas - 1)))
    groups = results.position_groups(energy, positions, betas, target, jax.random.key(0))
    path_energy = np.zeros(positions.shape[:3]) if energies is None else energies
    stats = xr.Dataset({"path_energy": (("chain", "draw", "temperature"), path_energy)})
    groups["tempered_stats"] = stats.assign_coords(results.temperature_coords(betas))
    attributes = {"num_parameters": energy.size, "path": "likelihood", "task": energy.dataset.task}
    return results.assemble(groups, attributes)


def on_reference_path(tree):
    """The result as one of a ladder that begins at a fitted Gaussian."""
    other = tree.copy()
    other.attrs = tree.attrs | {"path": "reference"}
    return other


def with_predictive(tree, **variables):
    """The result with other arrays among its held-out predictions."""
    group = tree["tempered_predictions"].to_dataset()
    groups = {name: tree[name].to_dataset() for name in tree.children}
    groups["tempered_predictions"] = group.assign({k: (group[k].dims, v) for k, v in variables.items()})
    out = xr.DataTree.from_dict(groups)
    out.attrs = tree.attrs
    return out


def linear(rows=200, inputs=3, task="regression", seed=0, scale=0.5, width=10.0):
    """A linear model with known weights, the last of which is zero."""
    rng = np.random.default_rng(seed)
    x, w = rng.normal(size=(rows + 50, inputs)), np.linspace(2.0, 0.0, inputs)
    y = x @ w + scale * rng.normal(size=len(x))
    if task == "classification":
        y = (y > 0).astype(float)
    data = tx.Dataset.from_arrays(x[:rows], y[:rows], x[rows:], y[rows:], task=task, standardise=False)
    likelihood = tx.likelihoods.Gaussian(scale) if task == "regression" else tx.likelihoods.Bernoulli()
    return tx.Energy.mlp(data, (), likelihood=likelihood, prior=tx.priors.Normal(width))


def posteriors(energy, betas, scale=0.5, width=10.0):
    """Means and covariances of the linear model's positions (bias first) at every β."""
    x = np.column_stack([np.ones(len(energy.dataset.x)), energy.dataset.x])
    for beta in betas:
        covariance = np.linalg.inv(beta * x.T @ x / scale**2 + np.eye(x.shape[1]) / width**2)
        yield covariance @ x.T @ energy.dataset.y[:, 0] * beta / scale**2, covariance


def exact_draws(energy, betas=BETAS, chains=4, count=250, seed=0):
    rng = np.random.default_rng(seed)
    found = [rng.multivariate_normal(m, c, size=(chains, count)) for m, c in posteriors(energy, betas)]
    return np.stack(found, axis=2)


@pytest.fixture(scope="module")
def regression():
    """A linear model and a result of its exact draws."""
    energy = linear()
    return energy, made(energy, exact_draws(energy))


@pytest.fixture(scope="module")
def ladder(small_data):
    """A small ReLU network with learned input scales, from the prior to the posterior."""
    energy = tx.Energy.mlp(small_data, (3,), activation="relu", prior=tx.priors.ARD())
    options = {"num_replicas": 5, "num_draws": 64, "num_chains": 3, "keep": "all", "progress": False}
    return energy, tx.parallel_tempering(jax.random.key(3), energy, **options)


# -- diversity -------------------------------------------------------------------------------------------------------


def functions(common, own, seed=0, draws=20, chains=4, rows=4000):
    """Functions of 4 chains at three temperatures that share a part."""
    rng = np.random.default_rng(seed)
    shared = rng.normal(size=(1, 1, 1, rows, 1))
    return np.sqrt(common) * shared + np.sqrt(own) * rng.normal(size=(chains, draws, len(common), rows, 1))


@pytest.fixture(scope="module")
def wide():
    """A result with 4000 held-out rows, to be filled with made functions."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4010, 1))
    data = tx.Dataset.from_arrays(x[:10], x[:10], x[10:], x[10:])
    energy = tx.Energy.mlp(data, (), likelihood=tx.likelihoods.Gaussian(0.1))
    return made(energy, rng.normal(size=(4, 20, 3, energy.size)))


def test_overlap_is_the_correlation_that_functions_were_made_with(wide):
    common = np.array([0.0, 0.6, 1.0])[:, None, None]
    found = studies.overlap(with_predictive(wide, f=functions(common, 1 - common)))
    np.testing.assert_allclose(found["overlap"], [0.0, 0.6, 1.0], atol=0.02)
    np.testing.assert_allclose(found["within"], found["overlap"], atol=0.02)
    assert float(found["overlap"][2]) == pytest.approx(1.0, abs=1e-9) and float(found["spread"][2]) < 1e-6
    np.testing.assert_allclose(found["density"].sum("q") * np.diff(found["q"])[0], 1.0)
    assert found["q"][int(found["density"][1].argmax("q"))] == pytest.approx(0.6, abs=0.05)
    # Offsets and scales are no part of what functions have in common, and signs are.
    f = functions(common, 1 - common)
    f[0] = 5.0 - 2.0 * f[0]
    turned = studies.overlap(with_predictive(wide, f=f))
    assert float(turned["overlap"][2]) == pytest.approx(0.0, abs=1e-9), "half of the six pairs have q = -1"


def test_chains_in_basins_of_their_own_show_within(wide):
    f = functions(np.zeros((3, 1, 1)), np.full((3, 1, 1), 0.1))
    f += np.random.default_rng(1).normal(size=(4, 1, 1, 4000, 1))
    found = studies.overlap(with_predictive(wide, f=f))
    assert (found["within"] > 0.85).all() and (np.abs(found["overlap"]) < 0.05).all()
    constant = studies.overlap(with_predictive(wide, f=np.full_like(f, 3.7)))
    assert (constant["overlap"] == 0).all(), "a constant has no shape"


def test_errors_of_the_overlap_are_those_of_repeated_runs(wide):
    """Chains that agree with the truth more and less: the jackknife knows of their differences."""
    found = []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        share = rng.uniform(0.3, 0.9, size=(4, 1, 1, 1, 1))
        truth, noise = rng.normal(size=(1, 1, 1, 4000, 1)), rng.normal(size=(4, 1, 3, 4000, 1))
        f = np.broadcast_to(share * truth + (1 - share) * noise, (4, 20, 3, 4000, 1))
        found.append(studies.overlap(with_predictive(wide, f=f), max_draws=3))
    spread = np.std([float(f["overlap"][0]) for f in found], ddof=1)
    assert 0.5 < np.mean([float(f["overlap_error"][0]) for f in found]) / spread < 2


def test_information_of_classes_is_exact():
    energy = linear(task="classification", inputs=1)
    agreed = np.broadcast_to([0.0, 0.3], (2, 10, 3, 2))
    found = studies.uncertainty(made(energy, agreed), energy)
    p = 1 / (1 + np.exp(-0.3 * energy.dataset.x_test[:, 0]))
    entropy = -(p * np.log(p) + (1 - p) * np.log(1 - p)).mean()
    np.testing.assert_allclose(found["entropy"].sel(where="held_out"), entropy, rtol=1e-5)
    np.testing.assert_allclose(found["mutual_information"], 0.0, atol=1e-7)
    np.testing.assert_allclose(found["disagreement"], 0.0, atol=1e-12)
    opposed = np.array(agreed)
    opposed[:, ::2, :, 1], opposed[:, 1::2, :, 1] = 1e5, -1e5
    found = studies.uncertainty(made(energy, opposed), energy)
    np.testing.assert_allclose(found["mutual_information"], np.log(2), rtol=1e-3)
    np.testing.assert_allclose(found["disagreement"], 0.5)


@pytest.mark.slow
def test_information_of_numbers_by_monte_carlo():
    energy = linear()
    agreed = np.broadcast_to([0.0, 1.0, 1.0, 0.0], (2, 20, 3, 4))
    found = studies.uncertainty(made(energy, agreed), energy)
    gaussian = 0.5 * np.log(2 * np.pi * np.e * 0.25)
    np.testing.assert_allclose(found["entropy"], gaussian, atol=0.1)
    np.testing.assert_allclose(found["mutual_information"], 0.0, atol=1e-5)
    apart = np.array(agreed)
    apart[1, ..., 0] = 100.0  # two chains of disjoint predictions: one bit
    found = studies.uncertainty(made(energy, apart), energy)
    np.testing.assert_allclose(found["mutual_information"], np.log(2), rtol=1e-4)
    np.testing.assert_allclose(found["disagreement"], 50.0, rtol=1e-4)


def test_a_linear_models_disagreement_grows_with_the_distance():
    energy = linear()
    positions = exact_draws(energy, count=20)
    tree = made(energy, positions)
    found = studies.uncertainty(tree, energy, push=4.0)
    centre = energy.dataset.x.mean(axis=0)
    at_centre = positions + 0.0
    at_centre[..., 0] = -positions[..., 1:] @ centre  # all functions meet in the middle of the data
    met = studies.uncertainty(made(energy, at_centre), energy, push=4.0)["disagreement"]
    np.testing.assert_allclose(met.sel(where="outside") / met.sel(where="held_out"), 4.0, rtol=1e-3)
    given = studies.uncertainty(tree, energy, energy.dataset.x_test)
    np.testing.assert_allclose(given["disagreement"][1], given["disagreement"][0], rtol=1e-5)
    assert (found["mutual_information"][1] > found["mutual_information"][0]).all()


# -- generalisation --------------------------------------------------------------------------------------------------

TEMPERATURES = np.array([4.0, 2.0, 1.0, 0.5, 0.25, 0.125])


def test_inputs_of_a_frame_are_read_by_their_names():
    """As predictions read them: text by the data set's encoding, columns in whatever order."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"place": rng.choice(["far", "near"], 40), "size": rng.normal(size=40)})
    frame["price"] = frame["size"] + (frame["place"] == "far")
    energy = tx.Energy.mlp(tx.Dataset.from_frame(frame, "price", train_fraction=0.75), ())
    tree = made(energy, 0.1 * rng.normal(size=(2, 5, 3, energy.size)))
    new = frame.head(6)
    found = studies.uncertainty(tree, energy, new[["size", "place"]])
    data = energy.dataset
    array = data.scaled("x", new) * data.x_scale + data.x_mean
    xr.testing.assert_allclose(found, studies.uncertainty(tree, energy, array), rtol=1e-4)
    for study in (studies.uncertainty, studies.expressivity, studies.gaussian_replacement):
        with pytest.raises(tx.InputError, match="key = 0 is not a JAX random key"):
            study(tree, energy, key=0)


def scored(best, seed=0, noise=0.5, sign=-1.0, level=0.0):
    """A result whose held-out score is a parabola in log T, on rows of different difficulty."""
    energy = linear(rows=20)
    rng = np.random.default_rng(seed)
    tree = made(energy, rng.normal(size=(3, 4, 6, energy.size)), 1 / TEMPERATURES)
    curve = level + sign * np.log(TEMPERATURES / best) ** 2
    rows = rng.normal(size=(50, 1)) * noise + rng.normal(size=(50, 6)) * 0.02
    log_density = np.broadcast_to((curve + rows).T, (3, 4, 6, 50))
    return energy, with_predictive(tree, log_density=log_density)


def test_the_best_temperature_of_a_parabola():
    score = -(np.log(TEMPERATURES / 0.4) ** 2)
    assert generalisation.best_temperature(TEMPERATURES, score) == (pytest.approx(0.4), 3)
    hot = np.concatenate([[np.inf], TEMPERATURES])
    assert generalisation.best_temperature(hot, np.concatenate([[9.0], score]))[1] == 4, "the prior is left out"
    assert generalisation.best_temperature(TEMPERATURES, TEMPERATURES) == (4.0, 0)


def test_cold_posterior_finds_the_optimum_with_its_interval():
    energy, tree = scored(0.4)
    found = studies.cold_posterior(tree, energy, resamples=100)
    assert float(found["optimum_low"]) <= 0.4 <= float(found["optimum_high"])
    assert 0.3 < float(found["optimum_low"]) and float(found["optimum_high"]) < 0.5
    assert float(found["best"].sum()) == pytest.approx(1.0) and float(found["best"][3]) > 0.9
    # A control: the curve turned upside down is best at an end.
    energy, turned = scored(0.4, sign=1.0)
    assert float(studies.cold_posterior(turned, energy, resamples=10)["optimum"]) in (4.0, 0.125)
    # Splits that disagree widen the interval.
    several = [scored(best, seed)[1] for seed, best in enumerate((0.2, 0.4, 0.8, 1.6))]
    wider = studies.cold_posterior(several, energy, resamples=100)
    width = {name: float(np.log(f["optimum_high"] / f["optimum_low"])) for name, f in (("one", found), ("4", wider))}
    assert width["4"] > 2 * width["one"]


def test_the_interval_of_the_optimum_covers_it():
    """Rows that are each predicted best at a T of their own: 90 % intervals over 40 sets of rows."""
    energy, tree = scored(0.4)
    inside = 0
    for seed in range(40):
        best = np.log(0.4) + np.random.default_rng(seed).normal(size=(50, 1))
        log_density = np.broadcast_to(-((np.log(TEMPERATURES) - best) ** 2).T, (3, 4, 6, 50))
        found = studies.cold_posterior(with_predictive(tree, log_density=log_density), energy, resamples=60)
        inside += bool(found["optimum_low"] <= 0.4 <= found["optimum_high"])
    assert 31 <= inside <= 39, inside


def test_errors_over_splits_are_the_spread_of_their_scores():
    energy, _ = scored(0.5)
    trees = {name: scored(0.5, 0, level=level)[1] for name, level in (("a", 0.0), ("b", 0.3))}
    found = studies.cold_posterior(trees, energy, resamples=5)
    np.testing.assert_allclose(found["test_lppd_error"], 0.15)
    np.testing.assert_allclose(found["split_lppd"].sel(split="b") - found["split_lppd"].sel(split="a"), 0.3)


def test_scores_are_those_of_predict(regression):
    energy, tree = regression
    found, table = studies.cold_posterior(tree, energy, resamples=5), predict.scores(tree)
    np.testing.assert_allclose(found["test_lppd"], table["lppd"], rtol=1e-5)
    np.testing.assert_allclose(found["test_rmse"], table["rmse"], rtol=1e-5)
    mean, covariance = list(posteriors(energy, BETAS))[1]
    x, y = np.column_stack([np.ones(200), energy.dataset.x]), energy.dataset.y[:, 0]
    variance = 0.25 + np.einsum("ni,ij,nj->n", x, covariance, x)
    exact = -0.5 * ((y - x @ mean) ** 2 / variance + np.log(2 * np.pi * variance)).mean()
    assert float(found["train_lppd"][1]) == pytest.approx(exact, abs=1e-3)


def test_the_gap_of_a_linear_model_is_predicted_exactly(regression):
    """β V in closed form: the variance of a squared Gaussian residual."""
    energy, tree = regression
    found = studies.generalisation_gap(tree, energy, learning_coefficient=2.0)
    x, y = np.column_stack([np.ones(200), energy.dataset.x]), energy.dataset.y[:, 0]
    for n, (mean, covariance) in enumerate(posteriors(energy, BETAS)):
        width = np.einsum("ni,ij,nj->n", x, covariance, x)
        v = ((2 * width**2 + 4 * (y - x @ mean) ** 2 * width) / (4 * 0.5**4)).sum()
        assert abs(float(found["waic_gap"][n]) - BETAS[n] * v / 200) < 5 * float(found["waic_gap_error"][n])
        assert float(found["waic_gap_error"][n]) < 0.1 * BETAS[n] * v / 200, "sharp enough to fail"
    assert float(found["loo_gap"]) == pytest.approx(float(found["waic_gap"][1]), rel=0.15)
    assert float(found["learning_gap"]) == pytest.approx(2 * 2.0 / 200) and float(found["pareto_k"]) < 0.7
    assert abs(float(found["gap"][1] - found["waic_gap"][1])) < 4 * float(found["gap_error"][1])


# -- compression -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_pruning_nothing_changes_nothing_and_everything_leaves_a_constant(regression, ladder):
    for energy, tree in (regression, ladder):
        found = studies.pruning(tree, energy, (0.0, 0.999), max_draws=64)
        thin = predict.scores(tree) if tree["posterior"].sizes["draw"] <= 64 else None
        if thin is not None:
            np.testing.assert_allclose(found["rmse"][0], thin["rmse"], rtol=1e-5)
            np.testing.assert_allclose(found["lppd"][0], thin["lppd"], rtol=1e-5)
        data = energy.dataset
        constant = float(np.sqrt(((data.y_test * data.y_scale) ** 2).mean()))
        np.testing.assert_allclose(found["rmse"][1], constant, rtol=1e-5)


def test_signal_to_noise_is_that_of_the_local_gaussian():
    energy = linear(rows=400)
    positions = np.broadcast_to([0.5, 2.0, 1.0, 1e-3], (2, 20, 3, 4)).astype(np.float32)
    found = compression._signal_to_noise(made(energy, positions), energy, positions)
    x = np.column_stack([np.ones(400), energy.dataset.x])
    exact = np.abs(positions[0, 0]) * np.sqrt(BETAS[:, None] * (x**2).sum(axis=0) / 0.25 + 1 / 100)
    np.testing.assert_allclose(found.mean(axis=(0, 1)), exact, rtol=0.05)


def test_the_weight_that_carries_nothing_goes_first(regression):
    energy, tree = regression
    found = studies.pruning(tree, energy, (0.0, 0.5, 0.75))
    np.testing.assert_allclose(found["lppd"][1], found["lppd"][0], atol=0.05)  # the bias and the last weight are ~0
    assert (found["lppd"][2] < found["lppd"][0] - 1).all()
    assert (found["signal_to_noise"][1] < 5).all() and (found["signal_to_noise"][2] > 10).all()
    twice = studies.pruning(tree, energy, (0.5, 0.0, 0.5))
    xr.testing.assert_allclose(twice, found.sel(share=[0.5, 0.0]))


@pytest.mark.slow
def test_noise_and_scales_are_no_weights(ladder):
    energy, _ = ladder
    parameters = energy.unravel(jnp.zeros(energy.size))
    weights = sum(
        leaf.size
        for layer in parameters["network"].values()
        for name, leaf in layer.items()
        if name in ("weight", "bias")
    )
    assert compression._is_weight(energy).sum() == weights == energy.size - 3 - 1


@pytest.mark.slow
def test_bits(regression, ladder):
    values = np.random.default_rng(0).normal(size=(5, 100))
    largest = np.abs(values).max(axis=-1, keepdims=True)
    for bits in (1, 2, 5):
        rounded = compression._rounded(values, largest, bits)
        assert (np.abs(rounded - values) <= largest * 2.0**-bits * (1 + 1e-12)).all()
        assert all(len(np.unique(row)) <= 2**bits for row in rounded)
    assert (compression._rounded(np.zeros(3), np.zeros(3), 1) == 0).all()
    for energy, tree in (regression, ladder):
        found = studies.quantisation(tree, energy, (1, 3, 32), max_draws=32)
        exact = studies.pruning(tree, energy, (0.0,), max_draws=32)
        np.testing.assert_allclose(found["lppd"].sel(bits=32), exact["lppd"][0], rtol=1e-4)
        np.testing.assert_allclose(found["rmse"].sel(bits=32), exact["rmse"][0], rtol=1e-4)
    assert (found["rmse"].sel(bits=1)[-1] > found["rmse"].sel(bits=32)[-1]).all()


def test_other_values_do_not_compile_again(regression):
    energy, tree = regression
    studies.quantisation(tree, energy, (2,), max_draws=10)
    before = reading._chunked._cache_size()
    studies.quantisation(tree, energy, (3, 4, 5), max_draws=10)
    studies.gaussian_replacement(tree, energy, jax.random.key(1), max_draws=10)
    assert reading._chunked._cache_size() == before


def test_a_gaussian_posterior_is_its_own_gaussian(regression):
    energy, tree = regression
    found = studies.gaussian_replacement(tree, energy, max_draws=200)
    assert found["lppd_error"].sel(posterior="gaussian").isnull().all(), (
        "no chain can be left out of what all have made"
    )
    assert found["lppd_error"].sel(posterior="gaussian per chain").notnull().all()
    for name in ("gaussian per chain", "gaussian"):
        np.testing.assert_allclose(found["lppd"].sel(posterior=name), found["lppd"][0], atol=0.01)
    np.testing.assert_allclose(found["lppd"][0], predict.scores(tree)["lppd"], atol=0.01)
    # Of two modes with opposite signs one Gaussian makes a bad average, and one for each chain a good one.
    positions = exact_draws(energy, count=40)
    modes = np.concatenate([positions, positions * [1, -1, -1, -1]])
    found = studies.gaussian_replacement(made(energy, modes), energy)
    lppd = found["lppd"]
    np.testing.assert_allclose(lppd.sel(posterior="gaussian per chain"), lppd[0], atol=0.05)
    assert (lppd.sel(posterior="gaussian") < lppd[0] - 0.1).all()


def test_the_gaussian_has_the_draws_mean_and_covariance():
    rng = np.random.default_rng(0)
    positions = rng.normal(size=(1, 2000, 1, 3)) @ np.array([[1, 0.9, 0], [0, 0.3, 0], [0, 0, 2.0]]) + [5, 0, -1]
    drawn = compression._gaussian(positions, rng)[0, :, 0]
    np.testing.assert_allclose(drawn.mean(axis=0), positions[0, :, 0].mean(axis=0), atol=0.2)
    np.testing.assert_allclose(np.cov(drawn.T), np.cov(positions[0, :, 0].T), atol=0.3)


def test_a_linear_model_uses_all_of_its_parameters():
    energy = linear()
    betas = 2.0 ** np.arange(-1, 10)
    positions = exact_draws(energy, betas, count=200)
    x, y = np.column_stack([np.ones(200), energy.dataset.x]), energy.dataset.y[:, 0]
    energies = 0.5 * (((y - positions @ x.T) / 0.5) ** 2).sum(axis=-1) + 200 * np.log(0.5 * np.sqrt(2 * np.pi))
    found = studies.effective_parameters(made(energy, positions, betas, energies), energy)
    for name in ("from_heat_capacity", "from_mean_energy"):
        assert (np.abs(found[name] - 4)[:6] < 4 * found[f"{name}_error"][:6] + 0.3).all(), name
    waic = studies.generalisation_gap(made(energy, positions, betas), energy)["waic_gap"] * 200
    np.testing.assert_allclose(found["from_waic"], waic)
    assert "from_waic" not in studies.effective_parameters(made(energy, positions, betas, energies))


@pytest.mark.parametrize(
    ("likelihood", "make"),
    [
        (tx.likelihoods.Categorical(), lambda x: np.digitize(x, [-0.5, 0.5])),
        pytest.param(
            tx.likelihoods.Bernoulli(), lambda x: np.stack([x > 0, x > 1], axis=1).astype(float), marks=pytest.mark.slow
        ),
        pytest.param(tx.likelihoods.Poisson(), lambda x: np.round(np.exp(x)), marks=pytest.mark.slow),
        pytest.param(
            tx.likelihoods.HeteroscedasticGaussian(), lambda x: np.stack([x, -x], axis=1), marks=pytest.mark.slow
        ),
    ],
)
def test_every_likelihood_can_be_studied(likelihood, make):
    x = np.random.default_rng(0).normal(size=(60, 2))
    y = make(x[:, 0])
    data = tx.Dataset.from_arrays(x[:40], y[:40], x[40:], y[40:], task=likelihood.task)
    energy = tx.Energy.mlp(data, (2,), likelihood=likelihood)
    position = energy.sample_prior(jax.random.key(1))
    tree = made(energy, np.broadcast_to(position, (2, 6, 3, energy.size)))
    table, point = predict.scores(tree), "accuracy" if likelihood.task == "classification" else "rmse"
    np.testing.assert_allclose(studies.uncertainty(tree, energy)["mutual_information"], 0.0, atol=1e-5)
    found = studies.cold_posterior(tree, energy, resamples=2)
    columns = y.ndim == 1  # `predict.scores` looks at the first column of classes
    if columns or point == "rmse":
        np.testing.assert_allclose(found[f"test_{point}"], table[point], rtol=1e-5)
    np.testing.assert_allclose(found["test_lppd"], table["lppd"], rtol=1e-5)
    np.testing.assert_allclose(studies.pruning(tree, energy, (0.0,))["lppd"][0], table["lppd"], rtol=1e-5)


# -- interpretation --------------------------------------------------------------------------------------------------


def test_sensitivity_of_a_linear_model_is_its_weights(regression):
    energy, tree = regression
    found = studies.relevance(tree, energy, max_draws=250)
    weights = np.abs(tree["tempered_posterior"]["layer_0_weight"].values[..., 0])
    np.testing.assert_allclose(found["sensitivity"].T, weights.mean(axis=(0, 1)), rtol=1e-4)
    np.testing.assert_allclose(found["sensitivity_low"].T, np.quantile(weights, 0.05, axis=(0, 1)), rtol=1e-4)
    assert (found["sensitivity"].argmin("input") == 2).all(), "the input that does nothing"
    assert (found["most_relevant"].sel(input="x0") == 1).all() and "scale" not in found


@pytest.mark.slow
def test_the_irrelevant_input_of_a_network(ladder):
    energy, tree = ladder
    found = studies.relevance(tree, energy)
    for name in ("sensitivity", "scale"):
        assert int(found[name][:, -1].argmin("input")) == 2, name
        assert float(found[f"{name}_high"][2, -1]) < float(found[f"{name}_high"][2, 0]), "the data speak"
    np.testing.assert_allclose(found["most_relevant"].sum("input"), 1.0)


@pytest.mark.slow
def test_a_line_crosses_its_mean_once(regression):
    energy, tree = regression
    found = studies.expressivity(tree, energy, max_draws=20)
    np.testing.assert_array_equal(found["crossings"], 1.0)
    np.testing.assert_array_equal(found["pieces"], 1.0)
    assert found["temperature"][0] == np.inf and len(found["temperature"]) == 4, "the prior stands beside"
    assert (found["size"][0] > found["size"][1:]).all()
    flat = studies.expressivity(made(energy, np.broadcast_to([0.3, 0, 0, 0], (2, 5, 3, 4))), energy)
    np.testing.assert_array_equal(flat["crossings"][1:], 0.0)


def test_functions_of_the_prior_are_not_those_of_a_fitted_gaussian():
    """Nor are there two kinds at T = inf."""
    energy = linear()
    fitted = np.broadcast_to([0.3, 0.1, 0.1, 0.1], (2, 5, 3, 4))
    tree = made(energy, fitted, np.array([0.0, 0.5, 1.0]))
    own, other = (studies.expressivity(t, energy, lines=5, points=20) for t in (tree, on_reference_path(tree)))
    assert own["temperature"].values.tolist() == other["temperature"].values.tolist() == [np.inf, 2.0, 1.0]
    assert own["size"][0] == own["size"][1] and other["size"][0] > 10 * other["size"][1]
    np.testing.assert_allclose(other["size"][1:], own["size"][1:], rtol=1e-6)


@pytest.mark.slow
def test_pieces_of_a_relu_network_and_crossings_of_a_wave_are_counted():
    """One input: kinks and waves are where they were put."""
    x = np.linspace(0, 1, 20)[:, None]
    data = tx.Dataset.from_arrays(x, x, x[:3], x[:3], standardise=False)
    knots = np.array([-5.0, 0.2, 0.4, 0.7, 0.9])
    lines = np.asarray(_places(data))
    for activation in ("relu", "sin"):
        energy = tx.Energy.mlp(data, (5,), activation=activation, likelihood=tx.likelihoods.Gaussian(0.1))
        frequency = 1.0 if activation == "relu" else 40.0
        variables = {
            "layer_0_weight": np.full((1, 5), frequency),
            "layer_0_bias": -knots if activation == "relu" else np.zeros(5),
            "layer_1_weight": np.array([[1.0], [-1.0], [2.0], [0.5], [1.0]]),
            "layer_1_bias": np.zeros(1),
        }
        position = energy.position({name: jnp.asarray(v, jnp.float32) for name, v in variables.items()})
        tree = made(energy, np.broadcast_to(position, (2, 3, 3, energy.size)))
        found = studies.expressivity(tree, energy, points=2000)
        if activation == "relu":
            inside = (lines.min(axis=1)[:, None] < knots) & (knots < lines.max(axis=1)[:, None])
            np.testing.assert_allclose(found["pieces"][1:], 1 + inside.sum(axis=1).mean())
            assert float(found["pieces"][0]) <= 6
        else:
            assert "pieces" not in found
            half_waves = 40 * np.abs(lines[:, -1] - lines[:, 0]) / np.pi
            np.testing.assert_allclose(found["crossings"][1:], half_waves.mean(), rtol=0.06)


def _places(data):
    """The lines that the default key draws."""
    from temperax.analysis.studies import interpretation

    line_key, _ = jax.random.split(jax.random.key(0))
    return interpretation._lines(line_key, jnp.asarray(data.x), 20, np.linspace(-0.5, 1.5, 2000))[..., 0]


# -- a network's ladder ----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_high_temperature_explores_and_low_temperature_agrees(ladder):
    energy, tree = ladder
    apart, unsure = studies.overlap(tree), studies.uncertainty(tree, energy)
    assert apart["overlap"][0] < 0.3 < 0.7 < apart["overlap"][-1]
    assert apart["spread"][0] > 2 * apart["spread"][-1]
    for name in ("disagreement", "mutual_information"):
        assert (unsure[name][:, 0] > unsure[name][:, -1]).all(), name
        assert unsure[name][1, -1] > unsure[name][0, -1], "more outside than on held-out inputs"
    many = studies.expressivity(tree, energy)
    assert (many["pieces"] <= 1 + 3).all() and np.isinf(many["temperature"][0]) and len(many["temperature"]) == 5


@pytest.mark.slow
def test_every_study_has_a_picture(ladder, tmp_path):
    energy, tree = ladder
    for name in set(studies.__all__) - {"equipartition", "annealing_against_restarts"}:  # those of the way to T = 0
        study = getattr(studies, name)
        found = study(tree) if name == "overlap" else study(tree, energy)
        assert isinstance(found, xr.Dataset) and "temperature" in found.dims
        axes = getattr(plots, name)(found)
        assert axes.get_xlabel() and axes.get_ylabel() and axes.get_title()
        axes.figure.savefig(tmp_path / f"{name}.png")


# -- what cannot be studied ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "problem"),
    [
        (lambda e, t: studies.overlap(xr.DataTree()), "keep='all'"),
        (lambda e, t: studies.overlap("tree"), "several temperatures"),
        (lambda e, t: studies.overlap(t, max_draws=1), "max_draws"),
        (lambda e, t: studies.overlap(made(e, exact_draws(e, chains=1, count=4))), "no independent replicas"),
        (lambda e, t: studies.relevance(t, linear(inputs=5)), "has 6 parameters"),
        (lambda e, t: studies.relevance(t, "energy"), "is not an Energy"),
        (lambda e, t: studies.uncertainty(t, e, np.zeros((3, 9))), "row, 3"),
        (lambda e, t: studies.uncertainty(t, e, push=0.0), "push"),
        (lambda e, t: studies.pruning(t, e, (0.5, 1.0)), "shares"),
        (lambda e, t: studies.pruning(t, e, ()), "shares"),
        (lambda e, t: studies.quantisation(t, e, (0,)), "bits"),
        (lambda e, t: studies.quantisation(t, e, (33,)), "bits"),
        (lambda e, t: studies.quantisation(t, e, (2.5,)), "bits"),
        (lambda e, t: studies.cold_posterior([], e), "is empty"),
        (lambda e, t: studies.cold_posterior([t, made(e, exact_draws(e, count=4), BETAS * 2)], e), "first split"),
        (lambda e, t: studies.generalisation_gap(t, e, learning_coefficient=-1.0), "learning_coefficient"),
        (lambda e, t: studies.expressivity(t, e, lines=0), "lines"),
        (lambda e, t: studies.generalisation_gap(on_reference_path(t), e), "not from the prior"),
        (lambda e, t: studies.effective_parameters(on_reference_path(t)), "not from the prior"),
        (lambda e, t: studies.pruning(on_reference_path(t), e), "not from the prior"),
        (lambda e, t: studies.effective_parameters((BETAS, np.ones((2, 9, 3)))), "is no result of a sampler"),
        (lambda e, t: studies.equipartition(3, 1.0), "is no result of a sampler"),
        (lambda e, t: studies.gaussian_replacement(made(e, exact_draws(e, count=1)), e), "has no spread"),
        (lambda e, t: tx.thermodynamics.curves(t, []), "betas = .* are none"),
    ],
)
def test_bad_inputs(regression, call, problem):
    with pytest.raises(tx.InputError, match=problem):
        call(*regression)


def test_results_without_held_out_rows():
    whole = linear()
    data = tx.Dataset.from_arrays(whole.dataset.x, whole.dataset.y, standardise=False)
    energy = tx.Energy.mlp(data, (), likelihood=tx.likelihoods.Gaussian(0.5), prior=tx.priors.Normal(10.0))
    tree = made(energy, exact_draws(energy, count=4))
    for study in (studies.uncertainty, studies.pruning, studies.cold_posterior, studies.gaussian_replacement):
        with pytest.raises(tx.InputError, match="no held-out rows"):
            study(tree, energy)
    assert "sensitivity" in studies.relevance(tree, energy)


def test_of_few_draws_the_gap_stands_without_leave_one_out():
    energy = linear()
    few, enough = (studies.generalisation_gap(made(energy, exact_draws(energy, count=n)), energy) for n in (6, 7))
    assert set(enough) - set(few) == {"loo_gap", "pareto_k"} and np.isfinite(few["gap"]).all()


def test_one_chain_has_no_error(regression):
    energy, _ = regression
    one = made(energy, exact_draws(energy, chains=1, count=20))
    found = studies.quantisation(one, energy, (4,))
    assert np.isfinite(found["lppd"]).all() and np.isnan(found["lppd_error"]).all()


def test_the_jackknife_of_a_mean_is_its_standard_error():
    values = np.random.default_rng(0).normal(size=(7, 5, 2))
    value, error = draws.mean(values)
    each = values.mean(axis=1)
    np.testing.assert_allclose(value, each.mean(axis=0))
    np.testing.assert_allclose(error, each.std(axis=0, ddof=1) / np.sqrt(7))
