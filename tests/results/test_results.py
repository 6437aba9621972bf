"""Results are plain ArviZ DataTrees that files keep whole and that can be run again."""

import matplotlib
import numpy as np
import pytest

import temperax as tx

matplotlib.use("Agg")
az = pytest.importorskip("arviz")


@pytest.fixture(scope="module")
def energy(small_data):
    return tx.Energy.mlp(small_data, (4, 3), prior=tx.priors.ARD())


@pytest.fixture(scope="module")
def tree(energy):
    import jax

    return tx.sample(
        jax.random.key(1),
        energy,
        [1.0, 0.5],
        path="posterior",
        kernel=tx.HMC(inverse_mass=np.full(energy.size, 0.5)),
        num_warmup=100,
        num_draws=60,
        log_likelihood=True,
        progress=False,
    )


def test_groups_and_names(tree):
    assert {
        "posterior",
        "sample_stats",
        "tempered_posterior",
        "tempered_stats",
        "tempered_predictions",
    } <= set(tree.children)
    assert {"posterior_predictive", "log_likelihood", "observed_data", "constant_data"} <= set(tree.children)
    assert tree["posterior"]["layer_0_weight"].dims == ("chain", "draw", "input", "layer_0_unit")
    assert tree["posterior"]["layer_1_weight"].dims == ("chain", "draw", "layer_0_unit", "layer_1_unit")
    names = {"diverging", "acceptance_rate", "n_steps", "step_size", "energy", "lp"}
    assert names <= set(tree["sample_stats"].data_vars)
    np.testing.assert_array_equal(tree["tempered_posterior"]["temperature"], [1.0, 0.5])
    np.testing.assert_array_equal(
        tree["posterior"]["noise_scale"], tree["tempered_posterior"]["noise_scale"].sel(temperature=1.0)
    )


def test_lp_is_the_log_density_of_the_draws(tree, energy):
    positions = tx.predict.positions(tree, energy)
    lp = -(energy.prior_energy(positions[1, 7]) + energy.data_energy(positions[1, 7]))
    assert float(lp) == pytest.approx(float(tree["sample_stats"]["lp"][1, 7]), rel=1e-4)
    rows = tree["log_likelihood"]["y"][1, 7]
    assert float(rows.sum()) == pytest.approx(-float(tree["sample_stats"].ds["data_energy"][1, 7]), rel=1e-4)


@pytest.mark.filterwarnings("ignore")
def test_arviz_reads_it(tree):
    assert az.summary(tree, var_names=["noise_scale"]).shape[0] == 1
    assert float(az.rhat(tree)["noise_scale"].max()) < 2
    assert float(az.ess(tree)["layer_0_bias"].min()) > 1
    assert np.isfinite(az.loo(tree, var_name="y").elpd)
    az.plot_trace(tree, var_names=["noise_scale"])
    az.plot_energy(tree)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("how", ["netcdf", "zarr"])
def test_files_lose_nothing(tree, tmp_path, how):
    path = tmp_path / f"result.{how}"
    getattr(tree, f"to_{how}")(path)
    with (az.from_netcdf if how == "netcdf" else az.from_zarr)(path) as again:
        assert again.load().identical(tree)


def test_a_run_repeats_from_its_file_alone(tree, tmp_path):
    tree.to_netcdf(tmp_path / "result.nc")
    with az.from_netcdf(tmp_path / "result.nc") as file:
        again = tx.repeat(file.load())
    np.testing.assert_array_equal(again["posterior"]["layer_0_weight"], tree["posterior"]["layer_0_weight"])
    longer = tx.repeat(tree, num_draws=61)
    np.testing.assert_array_equal(longer["posterior"]["noise_scale"][:, :60], tree["posterior"]["noise_scale"])


@pytest.mark.slow
def test_functions_have_no_recipe(small_data):
    import jax

    energy = tx.Energy.mlp(small_data, (2,), activation=lambda x: x**3)
    tree = tx.sample(jax.random.key(0), energy, num_warmup=0, num_draws=2, start="prior", progress=False)
    with pytest.raises(tx.InputError, match="own function"):
        tx.repeat(tree)


def test_predictions_at_new_inputs(tree, energy):
    data = energy.dataset
    x = data.x_test * data.x_scale + data.x_mean
    f = tx.predict.predictions(tree, x, energy)["f"]
    expected = tree["predictions"]["f"] * data.y_scale + data.y_mean
    np.testing.assert_allclose(f, expected, rtol=1e-3, atol=1e-3)


def test_scores_by_hand(tree):
    scores = tx.predict.scores(tree)
    density = tree["tempered_predictions"]["log_density"].sel(temperature=0.5).values.reshape(-1, 20)
    assert scores["lppd"][0.5] == pytest.approx(np.log(np.exp(density.astype(float)).mean(0)).mean(), rel=1e-5)
    f = tree["predictions"]["f"].mean(("chain", "draw"))
    y_scale = tree["constant_data"]["y_scale"].values
    rmse = np.sqrt(float(((f - tree["constant_data"]["y_test"].values) ** 2).mean())) * y_scale
    assert scores["rmse"][1.0] == pytest.approx(float(rmse[0]), rel=1e-4)


def test_predictive_draws_spread_as_the_noise_says(tree):
    predictive = tree["predictions"]
    residual = (predictive["y"] - predictive["f"]).values
    assert residual.std() == pytest.approx(float(tree["posterior"]["noise_scale"].mean()), rel=0.1)


@pytest.mark.slow
def test_classification_end_to_end():
    import jax

    rng = np.random.default_rng(0)
    x = rng.normal(size=(120, 2))
    y = (x[:, 0] > 0).astype(int) + (x[:, 1] > 1)
    data = tx.Dataset.from_arrays(x[:100], y[:100], x[100:], y[100:], task="classification")
    tree = tx.sample(
        jax.random.key(0),
        tx.Energy.mlp(data, (5,)),
        num_warmup=200,
        num_draws=100,
        progress=False,
        log_likelihood=True,
    )
    scores = tx.predict.scores(tree)
    assert scores["accuracy"][1.0] > 0.7 and 0 <= scores["ece"][1.0] < 0.3
    assert tx.plots.summary(tree).axes


@pytest.mark.slow
def test_ensembles_and_map_are_results_too(small_data):
    import jax

    energy = tx.Energy.mlp(small_data, (4,))
    ensemble = tx.deep_ensemble(jax.random.key(0), energy, 3, max_steps=500)
    assert ensemble["posterior"].sizes["chain"] == 3
    best = tx.map_estimate(jax.random.key(0), energy, 4, max_steps=2000)
    assert best["posterior"].sizes["chain"] == 1
    assert tx.predict.scores(best)["lppd"][0.0] > -3
    assert float(best["sample_stats"]["lp"].max()) > float(ensemble["sample_stats"]["lp"].max())


def test_counts_are_drawn_by_keys_of_any_kind():
    """JAX itself draws Poisson counts by one kind alone."""
    import jax

    x = np.arange(12.0)[:, None]
    data = tx.Dataset.from_arrays(x, np.arange(12), x[:2], [0, 1], task="counts")
    energy = tx.Energy.mlp(data, ())
    tree = tx.map_estimate(jax.random.key(0, impl="rbg"), energy, num_starts=1, progress=False)
    assert (tree["predictions"]["y"] >= 0).all() and tree["predictions"]["y"].sizes["test_row"] == 2
    assert (tx.predict.predictions(tree, x, key=jax.random.key(1, impl="rbg"))["y"] >= 0).all()
    tx.add_log_likelihood(tree)
    assert (tree["posterior_predictive"]["y"] >= 0).all()
