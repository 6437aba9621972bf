"""Predictions with their bands, against closed forms; scores, against their definitions and libraries."""

import json
import warnings

import jax
import numpy as np
import pandas as pd
import pytest
import sklearn.metrics
import xarray as xr
from scipy import stats

import temperax as tx
from temperax.analysis.diagnostics.draws import kept_draws
from temperax.analysis.predict.scoring import _of_classes, of_probabilities
from temperax.results import notation
from tests.compilations import Compilations

RNG = np.random.default_rng(5)
X = RNG.normal(size=(60, 2)) * [1.0, 30.0] + [5.0, 0.0]
F = 40.0 * X[:, 0] + X[:, 1]
Y = F + 20.0 * RNG.normal(size=60)
NOISE = 0.5  # of the standardised target


@pytest.fixture(scope="module")
def line():
    """A line with known noise, whose posterior is normal: sampled at T = 1 and 1/4."""
    data = tx.Dataset.from_arrays(X[:45], Y[:45], X[45:], Y[45:])
    energy = tx.Energy.mlp(data, (), likelihood=tx.likelihoods.Gaussian(NOISE))
    tree = tx.sample(
        jax.random.key(2), energy, [1.0, 0.25], path="posterior", num_warmup=200, num_draws=1500, progress=False
    )
    return energy, tree


def exact(data, x, beta):
    """Mean and variances (of f, of the noise) of the line's predictions at β on the posterior path, original units."""

    def design(rows):
        return np.concatenate([rows, np.ones((len(rows), 1))], axis=1)

    a = design(data.x)
    precision = beta * (a.T @ a / NOISE**2 + np.eye(a.shape[1]))
    mean = np.linalg.solve(precision, beta * a.T @ data.y / NOISE**2)
    new = design((x - data.x_mean) / data.x_scale)
    f = (new @ mean) * data.y_scale + data.y_mean
    epistemic = np.einsum("ri,ij,rj->r", new, np.linalg.inv(precision), new) * data.y_scale**2
    return f[:, 0], epistemic, NOISE**2 * float(data.y_scale[0]) ** 2


@pytest.mark.parametrize("slot", [0, 1])
def test_bands_of_a_line_are_the_exact_ones(line, slot):
    """Within four standard errors, from the effective sample size; without the noise's part they are not."""
    energy, tree = line
    temperature = tree["tempered_posterior"]["temperature"].values[slot]
    new = np.array([[5.0, 0.0], [8.0, 60.0], [20.0, -300.0]])
    table = tx.predict.summary(tree, new, group="tempered_posterior", intervals=(0.5, 0.9)).loc[temperature]
    mean, epistemic, aleatoric = exact(energy.dataset, new, 1 / temperature)
    size = 1500  # of 6000 draws, at least, see below
    assert float(tx.diagnostics.summary(tree)["ess_f_min"].iloc[slot]) > size
    np.testing.assert_array_less(np.abs(table["mean"] - mean), 4 * np.sqrt(epistemic / size))
    np.testing.assert_allclose(table["sd_epistemic"], np.sqrt(epistemic), rtol=4 / np.sqrt(2 * size))
    np.testing.assert_allclose(table["sd_aleatoric"], np.sqrt(aleatoric), rtol=1e-5)
    sd = np.sqrt(epistemic + aleatoric)
    np.testing.assert_allclose(table["sd"], sd, rtol=4 / np.sqrt(2 * size))
    for level in (50, 90):
        low, high = stats.norm.interval(level / 100, mean, sd)
        np.testing.assert_array_less(np.abs(table[f"eti{level}_lb"] - low), 0.1 * sd)
        np.testing.assert_array_less(np.abs(table[f"eti{level}_ub"] - high), 0.1 * sd)
    assert not np.allclose(table["eti90_ub"] - mean, 1.645 * np.sqrt(epistemic), atol=0.1 * sd[0])  # the control


def test_a_row_does_not_depend_on_its_company_and_nothing_compiles_again(line):
    energy, tree = line
    x = RNG.normal(size=(300, 2))
    whole = tx.predict.predictions(tree, x)
    with Compilations() as compiled:
        part = tx.predict.predictions(tree, x[140:150])
    assert compiled.count == 0, compiled.programs
    np.testing.assert_array_equal(part["f"], whole["f"].isel(row=slice(140, 150)).assign_coords(row=np.arange(10)))
    assert float((whole["y"] - whole["f"]).std()) == pytest.approx(NOISE * float(energy.dataset.y_scale[0]), rel=0.02)
    other = tx.predict.predictions(tree, x[:5], key=jax.random.key(9))
    assert not np.array_equal(other["y"], whole["y"].isel(row=slice(0, 5)))


def test_frames_keep_their_index_and_temperatures_come_together(line):
    _, tree = line
    frame = pd.DataFrame(X[:4], columns=["x0", "x1"], index=["a", "b", "c", "d"])
    table = tx.predict.summary(tree, frame, intervals=(), quantiles=(0.5,))
    assert table.index.tolist() == ["a", "b", "c", "d"]
    assert list(table) == ["mean", "sd", "sd_epistemic", "sd_aleatoric", "q0.5"]
    both = tx.predict.summary(tree, frame, group="tempered_posterior")
    assert both.index.names == ["temperature", None] and len(both) == 8
    pd.testing.assert_series_equal(both.loc[1.0]["mean"], table["mean"])


def test_weights_of_chains(line):
    """Of a chain alone its own predictions; alike where nothing tells them apart; and never what is no weight."""
    _, tree = line
    x = X[:3]
    alone = tx.predict.summary(tree.isel(chain=[2]), x)
    weighted = tx.predict.summary(tree, x, weights=[0, 0, 5.0, 0])
    np.testing.assert_allclose(weighted[["mean", "sd_epistemic"]], alone[["mean", "sd_epistemic"]], rtol=1e-6)
    np.testing.assert_allclose(weighted["eti90_ub"], alone["eti90_ub"], atol=0.2 * alone["sd"].max())
    for method in ("draws", "evidence", "stacking", "BB-pseudo-BMA"):
        found = tx.predict.chain_weights(tree, method)
        assert found.sum() == pytest.approx(1) and (found >= 0).all()
    for wrong in ([1.0, 2.0], [-1.0, 1, 1, 1], [0.0] * 4, [np.nan, 1, 1, 1], "loo"):
        with pytest.raises(tx.InputError, match="^weights = "):
            tx.predict.summary(tree, x, weights=wrong)


def test_leave_one_out_is_of_all_that_was_observed(line):
    """Whatever it is called, and in however many parts."""
    _, tree = line
    whole = tx.diagnostics.loo(tree)[1.0].elpd
    for group in ("log_likelihood", "tempered_log_likelihood"):
        if group not in tree.children:
            continue
        logs = tree[group].to_dataset()
        first, rest = logs["y"].isel(row=slice(0, 20)), logs["y"].isel(row=slice(20, None)).rename(row="other")
        parts = xr.Dataset({"obs": first, "rest": rest})
        named = tree.copy()
        named[group] = xr.DataTree(parts)
        assert tx.diagnostics.loo(named)[1.0].elpd == pytest.approx(whole)
        assert tx.predict.chain_weights(named, "stacking").sum() == pytest.approx(1.0)


def test_a_row_is_left_out_with_all_of_its_targets(line):
    """45 rows as 15 of three targets."""
    _, tree = line
    several, together = tree.copy(), tree.copy()
    for group in {"log_likelihood", "tempered_log_likelihood"} & set(tree.children):
        rows = tree[group].to_dataset().drop_vars("row", errors="ignore")
        apart = rows.coarsen(row=3).construct(row=("row", "target"))
        several[group], together[group] = xr.DataTree(apart), xr.DataTree(apart.sum("target"))
    found, wanted = tx.diagnostics.loo(several), tx.diagnostics.loo(together)
    for temperature, score in found.items():
        assert score.n_data_points == 15 and score.elpd == pytest.approx(wanted[temperature].elpd)


def test_leave_one_out_at_infinite_temperature_warns_of_nothing(line):
    _, tree = line
    whole, hot = tree.copy(), [np.inf, *tree["tempered_posterior"]["temperature"].values[1:]]
    for group in ("tempered_posterior", "tempered_log_likelihood"):
        whole[group] = xr.DataTree(tree[group].to_dataset().assign_coords(temperature=hot))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = tx.diagnostics.loo(whole)
    assert list(found) == hot and np.isfinite([score.elpd for score in found.values()]).all()


def test_a_posterior_keeps_its_temperature_when_its_rung_is_cut_away():
    """A ladder down to T = 0.5 that kept the draws at T = 1 alone, cut to its two hottest and its coldest rung."""
    rng, draws = np.random.default_rng(0), ("chain", "draw")
    coords = {"chain": range(4), "draw": range(60)}
    posterior = xr.Dataset({"w": (draws, rng.normal(size=(4, 60)))}, coords, {"temperature": 1.0})
    logs = xr.Dataset({"y": ((*draws, "row"), rng.normal(size=(4, 60, 9)))}, coords)
    betas = np.array([0.25, 0.5, 1.0, 2.0])
    rungs = coords | {"temperature": 1 / betas, "beta": ("temperature", betas)}
    energies = xr.Dataset({"path_energy": ((*draws, "temperature"), rng.normal(size=(4, 60, 4)))}, rungs)
    whole = {"posterior": posterior, "log_likelihood": logs, "tempered_stats": energies}
    cut = xr.DataTree.from_dict(whole | {"tempered_stats": energies.isel(temperature=[0, 1, 3])})
    before, after = tx.diagnostics.loo(xr.DataTree.from_dict(whole)), tx.diagnostics.loo(cut)
    assert list(after) == [1.0] and after[1.0].elpd == before[1.0].elpd
    assert kept_draws(cut)["temperature"].values.tolist() == [1.0]
    assert tx.predict.chain_weights(cut).sum() == pytest.approx(1.0)


def test_on_the_reference_path_rows_are_left_out_at_one_alone(line):
    """At other temperatures draws follow a Gaussian that was fitted to these rows."""
    _, tree = line
    fitted = tree.copy()
    fitted.attrs = tree.attrs | {"path": "reference"}
    assert tx.diagnostics.loo(tree).keys() == {1.0, 0.25} and tx.diagnostics.loo(fitted).keys() == {1.0}
    cold = fitted.isel(temperature=[-1])
    cold.attrs = fitted.attrs
    with pytest.raises(tx.InputError, match="at T = 1 alone"):
        tx.diagnostics.loo(cold)


def test_weights_of_a_series_are_read_by_their_labels(line):
    _, tree = line
    turned = pd.Series([0.0, 0.0, 0.0, 1.0], index=[0, 1, 3, 2])
    alone = tx.predict.summary(tree, X[:3], weights=[0, 0, 1, 0])
    pd.testing.assert_frame_equal(tx.predict.summary(tree, X[:3], weights=turned), alone)
    with pytest.raises(tx.InputError, match="are not the chains"):
        tx.predict.summary(tree, X[:3], weights=pd.Series([1.0], index=["a"]))


def test_several_targets_of_classes_are_told_apart(tmp_path):
    y = (X > X.mean(axis=0)).astype(int)
    data = tx.Dataset.from_arrays(X[:45], y[:45], X[45:], y[45:], task="classification", targets=["u", "v"])
    tree = tx.sample(
        jax.random.key(0), tx.Energy.mlp(data, ()), num_chains=2, num_warmup=50, num_draws=50, progress=False
    )
    table = tx.predict.summary(tree, X)
    for t, name in enumerate(("u", "v")):
        np.testing.assert_allclose(table[name][["p(0)", "p(1)"]].sum(axis=1), 1.0)
        assert (table[name]["class"].astype(int) == y[:, t]).mean() > 0.8
    for call in (tx.predict.selective_risk, lambda tree: tx.predict.agreement(tree, tree)):
        with pytest.raises(tx.InputError, match="targets it has; compare each target's column"):
            call(tree)
    drawn = tx.plots.predictions(tree).lines[0]  # each target's probability of its own class
    p = tree["predictions"]["f"].mean(("chain", "draw")).values
    assert np.mean(drawn.get_xdata()) == pytest.approx(np.maximum(p, 1 - p).mean(), abs=0.02)
    assert np.mean(drawn.get_ydata()) == pytest.approx(((p > 0.5) == y[45:]).mean(), abs=0.05)
    page = tx.report(tree, tmp_path / "page.html").read_text()
    assert "Calibration" in page and "withheld" not in page


@pytest.mark.slow
def test_a_student_of_few_degrees_has_a_centre_and_no_variance():
    data = tx.Dataset.from_arrays(X[:45], Y[:45], X[45:], Y[45:])
    energy = tx.Energy.mlp(data, (), likelihood=tx.likelihoods.StudentT(df=0.8))
    tree = tx.sample(jax.random.key(0), energy, num_chains=2, num_warmup=50, num_draws=50, progress=False)
    table = tx.predict.summary(tree, X[45:])
    assert np.isfinite(table[["mean", "sd_epistemic", "eti90_lb"]]).all(axis=None) and np.isinf(table["sd"]).all()
    assert np.isfinite(tx.predict.scores(tree)[["rmse", "crps", "lppd"]]).all(axis=None)


def test_a_chain_that_predicts_nothing_has_no_weight(line):
    _, tree = line
    broken = tree.copy(deep=True)
    broken["log_likelihood"]["y"].values[3] -= 5.0
    assert tx.predict.chain_weights(broken, "stacking")[3] < 0.01
    assert tx.predict.chain_weights(broken, "pseudo-BMA")[3] < 0.01


def test_each_temperature_has_weights_of_its_own():
    """A chain that is lost at the colder temperature has its weight at the hotter one, and in summaries there."""
    data = tx.Dataset.from_arrays(X[:45], Y[:45], X[45:], Y[45:])
    energy = tx.Energy.mlp(data, ())
    options = {"num_chains": 2, "num_warmup": 50, "num_draws": 50, "path": "posterior", "progress": False}
    tree = tx.sample(jax.random.key(0), energy, [1.0, 0.5], **options)
    logs = tree["tempered_log_likelihood"]["y"]
    lost = (logs["chain"] == 1) & (logs["temperature"] == 0.5)
    tree["tempered_log_likelihood"]["y"] = logs.where(~lost, logs - 5.0)
    assert tx.predict.chain_weights(tree, "pseudo-BMA", 0.5)[1] < 0.01 < tx.predict.chain_weights(tree, "pseudo-BMA")[1]
    both = tx.predict.summary(tree, X[:2], group="tempered_posterior", weights="pseudo-BMA")
    alone = tx.predict.summary(tree.isel(chain=[0]), X[:2], group="tempered_posterior")
    cold, hot = (both["mean"] - alone["mean"]).abs().groupby("temperature").max()
    assert cold < 1e-3 < hot
    with pytest.raises(tx.InputError, match="temperature = 0.7 was not kept; give one of 1, 0.5"):
        tx.predict.chain_weights(tree, "stacking", 0.7)


def test_scores_are_those_of_the_libraries(line):
    """RMSE, MAE, coverage and CRPS of predictive draws against the definitions, in original units."""
    _, tree = line
    row = tx.predict.scores(tree).loc[1.0]
    y, scale, shift = (tree["constant_data"][n].values for n in ("y_test", "y_scale", "y_mean"))
    held = tree["tempered_predictions"].sel(temperature=1.0)
    f, drawn = (
        held[n].stack(s=("chain", "draw")).transpose("test_row", "target", "s").values[:, 0] * scale + shift
        for n in ("f", "y")
    )
    target = y[:, 0] * scale + shift
    assert row["rmse"] == pytest.approx(np.sqrt(np.mean((f.mean(axis=1) - target) ** 2)), rel=1e-5)
    assert row["mae"] == pytest.approx(np.mean(np.abs(f.mean(axis=1) - target)), rel=1e-5)
    # Of a Gaussian, CRPS is known (Gneiting & Raftery 2007); the predictive of a line with known noise is one.
    mean, sd = f.mean(axis=1), drawn.std(axis=1)
    z = (target - mean) / sd
    gaussian = sd * (z * (2 * stats.norm.cdf(z) - 1) + 2 * stats.norm.pdf(z) - 1 / np.sqrt(np.pi))
    assert row["crps"] == pytest.approx(gaussian.mean(), rel=0.02)
    low, high = np.quantile(drawn, [0.05, 0.95], axis=1)
    assert row["coverage_90"] == pytest.approx(np.mean((low <= target) & (target <= high)), abs=1e-9)
    assert row["width_90"] == pytest.approx(np.mean(high - low), rel=0.01)


def few_draws(tree, chains=(0,), draws=(100, 400, 700, 1000, 1300)):
    """As many as a deep ensemble has members, or an optimum."""
    cut = tree.isel(chain=list(chains), draw=list(draws))
    cut.attrs = dict(tree.attrs)
    return cut


def test_few_draws_are_scored_by_as_many_targets_as_they_predict(line):
    """Coverage and width are those of the intervals of `summary`, and not those of one noisy target a draw."""
    cut = few_draws(line[1])
    table = tx.predict.summary(cut, X[45:])
    inside = (table["eti90_lb"] <= Y[45:]) & (Y[45:] <= table["eti90_ub"])
    width = (table["eti90_ub"] - table["eti90_lb"]).mean()
    row = tx.predict.scores(cut).loc[1.0]
    assert row["coverage_90"] == pytest.approx(inside.mean(), abs=0.1)
    assert row["width_90"] == pytest.approx(width, rel=0.05)
    one = cut["predictions"]["y"].quantile([0.05, 0.95], ("chain", "draw")).diff("quantile").mean()
    assert float(one) * line[0].dataset.y_scale[0] < 0.85 * width, "the control"
    bars = tx.plots.predictions(cut).containers[0].lines[2][0].get_segments()
    assert np.mean([bar[1, 1] - bar[0, 1] for bar in bars]) == pytest.approx(row["width_90"], rel=1e-3)
    assert tx.plots.calibration(cut).axes
    student = notation.encode(tx.likelihoods.StudentT(4.0, NOISE))
    cut.attrs["energy"] = json.dumps(json.loads(cut.attrs["energy"]) | {"likelihood": student})
    ratio = stats.t(4.0).ppf(0.95) / stats.norm.ppf(0.95)
    assert tx.predict.scores(cut).loc[1.0]["width_90"] == pytest.approx(ratio * row["width_90"], rel=0.05)


def test_one_optimum_is_unsure_where_its_noise_is_wide(line):
    cut = few_draws(line[1], draws=[7]).copy(deep=True)
    wide = np.linspace(0.1, 2.0, 15)
    cut["tempered_predictions"]["variance"].values[:] = wide[:, None] ** 2
    scale = line[0].dataset.y_scale[0]
    np.testing.assert_allclose(tx.predict.selective_risk(cut)["uncertainty"], wide * scale, rtol=1e-5)
    np.testing.assert_allclose(tx.predict.scores(cut)["width_90"], 3.29 * wide.mean() * scale, rtol=0.02)
    assert tx.predict.selective_risk(few_draws(line[1], draws=[7]))["uncertainty"].nunique() == 1, "of constant noise"


def test_counts_of_one_optimum_have_the_spread_of_their_rates(line):
    cut = few_draws(line[1], draws=[7]).copy(deep=True)
    rates = np.arange(1.0, 16.0)
    cut["tempered_predictions"]["f"].values[:] = rates[:, None]
    cut["tempered_predictions"] = cut["tempered_predictions"].to_dataset().drop_vars("variance")
    recipe = json.loads(cut.attrs["energy"]) | {"likelihood": notation.encode(tx.likelihoods.Poisson())}
    cut.attrs |= {"task": "counts", "energy": json.dumps(recipe)}
    found = tx.predict.selective_risk(cut)["uncertainty"] / line[0].dataset.y_scale[0]
    np.testing.assert_allclose(found, np.sqrt(rates), rtol=0.05)


P = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.3, 0.3, 0.4], [0.5, 0.25, 0.25]])


@pytest.mark.parametrize("labels", [[0, 1, 2, 1], [0, 1, 0, 1], [1, 1, 1, 1]])
def test_scores_of_classes_by_hand_also_where_some_do_not_occur(labels):
    labels = np.array(labels)
    found = _of_classes(np.stack([P, P]), labels[:, None].astype(float))
    assert found["log_loss"] == pytest.approx(-np.mean(np.log(P[np.arange(4), labels])))
    assert found["brier"] == pytest.approx(np.mean(np.sum((P - np.eye(3)[labels]) ** 2, axis=1)))
    assert found["accuracy"] == np.mean(P.argmax(axis=1) == labels)
    assert found["mutual_information"] == pytest.approx(0, abs=1e-12)  # the draws agree
    if len(set(labels)) == 3:
        expected = sklearn.metrics.roc_auc_score(labels, P, multi_class="ovr")
        assert found["auc"] == pytest.approx(expected)
    assert np.isnan(found["auc"]) == (len(set(labels)) == 1)


def test_whoever_is_surely_wrong_pays_for_it():
    found = of_probabilities(np.array([[1.0, 1e-30], [0.5, 0.5]]), np.array([1, 0]))
    assert found["log_loss"] == pytest.approx((30 * np.log(10) + np.log(2)) / 2)


def test_draws_that_contradict_one_another_are_epistemic():
    sure = np.stack([np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]])])
    found = _of_classes(sure, np.array([[0.0]]))
    assert found["mutual_information"] == pytest.approx(np.log(2)) == found["entropy"]


@pytest.fixture(scope="module")
def flowers():
    """Two runs of one classifier of three classes, and one of another data set."""
    from sklearn.datasets import load_iris

    iris = load_iris(as_frame=True)
    names = iris.target.map(dict(enumerate(iris.target_names)))
    order = np.random.default_rng(0).permutation(150)
    x, y = iris.data.iloc[order], names.iloc[order]
    data = tx.Dataset.from_arrays(x[:100], y[:100], x[100:], y[100:], task="classification")
    energy = tx.Energy.mlp(data, ())
    options = {"num_chains": 2, "num_warmup": 200, "num_draws": 200, "progress": False}
    trees = [tx.sample(jax.random.key(seed), energy, **options) for seed in (0, 1)]
    return x, y, trees


def test_classes_have_names_and_uncertainty_its_parts(flowers):
    x, y, (tree, _) = flowers
    table = tx.predict.summary(tree, x[100:])
    assert set(table["class"]) <= {"setosa", "versicolor", "virginica"} and table.index.equals(x[100:].index)
    assert (table["class"].to_numpy() == y[100:].to_numpy()).mean() > 0.85
    np.testing.assert_allclose(table.filter(regex="^p").sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(table["entropy"], table["entropy_aleatoric"] + table["mutual_information"])
    assert (table["mutual_information"] > -1e-6).all()
    row = tx.predict.scores(tree).iloc[0]
    assert row["accuracy"] > 0.85 and row["auc"] > 0.95 and 0 < row["brier"] < 0.3
    titles = [axes.get_title() for axes in tx.plots.calibration(tree).axes]
    assert titles == [f"{name} against the others" for name in ("setosa", "versicolor", "virginica")]


def test_two_runs_agree_and_others_cannot_be_compared(flowers, line):
    _, _, (tree, other) = flowers
    found = tx.predict.agreement(tree, other)
    assert found["agreement"] > 0.95 and found["total_variation"] < 0.03
    assert tx.predict.agreement(tree, tree)["total_variation"] == 0
    turned = other.copy(deep=True)
    turned["predictions"]["f"].values[:] = turned["predictions"]["f"].values[..., ::-1]  # a control
    assert tx.predict.agreement(tree, turned)["agreement"] < 0.6
    with pytest.raises(tx.InputError, match="is no classification"):
        tx.predict.agreement(line[1], line[1])
    with pytest.raises(tx.InputError, match="is of other held-out rows"):
        tx.predict.agreement(tree, other.isel(test_row=slice(5, None)))


def test_models_stand_beside_one_another_best_first(line, flowers):
    energy, tree = line
    wrong = tree.copy(deep=True)
    wrong["tempered_predictions"]["log_density"].values[..., ::2] -= 3.0
    table = tx.predict.compare({"wrong": wrong, "right": tree} | tx.optimise.baselines(jax.random.key(0), energy))
    assert table["lppd"].is_monotonic_decreasing and table.index.names == ["model", "temperature"]
    assert table.iloc[0][["lppd_behind", "lppd_behind_error"]].tolist() == [0.0, 0.0]
    np.testing.assert_allclose(table["lppd"] + table["lppd_behind"], table["lppd"].iloc[0], rtol=1e-6)
    for temperature in (1.0, 0.25):  # eight rows of fifteen lose three nats, and the others none
        ours, shifted = (table["lppd_behind"][name, temperature] for name in ("right", "wrong"))
        np.testing.assert_allclose(shifted - ours, 3 * 8 / 15, rtol=1e-5)
    lost = np.where(np.arange(15) % 2, 0, 3)
    best = tx.predict.compare({"right": tree.sel(temperature=[1.0]), "wrong": wrong.sel(temperature=[1.0])})
    np.testing.assert_allclose(best["lppd_behind_error"].iloc[1], stats.sem(lost), rtol=1e-5)
    with pytest.raises(tx.InputError, match=r"trees\['flowers'\] .* other held-out rows .* one data set"):
        tx.predict.compare({"line": tree, "flowers": flowers[2][0]})
    data = energy.dataset
    fewer = tx.Dataset.from_arrays(X[:45, :1], Y[:45], X[45:, :1], Y[45:], inputs=["x0"])
    again = tx.map_estimate(jax.random.key(0), tx.Energy.mlp(fewer, ()), num_starts=1, progress=False)
    assert len(tx.predict.compare({"both inputs": tree, "one of them": again})) == 3
    for other in (
        tx.Dataset.from_arrays(X[:45], Y[:45], X[45:][::-1], Y[45:], inputs=data.inputs),
        tx.Dataset.from_arrays(X[:45, :1], 2 * Y[:45], X[45:, :1], 2 * Y[45:], inputs=["x0"]),
    ):
        found = tx.map_estimate(jax.random.key(0), tx.Energy.mlp(other, ()), num_starts=1, progress=False)
        with pytest.raises(tx.InputError, match="is of other held-out rows"):
            tx.predict.compare({"ours": tree, "other": found})
    for trees in ({}, tree, [tree]):
        with pytest.raises(tx.InputError, match="is no mapping of names to results"):
            tx.predict.compare(trees)


def test_withholding_the_uncertain_lowers_the_risk(flowers, line):
    _, _, (tree, _) = flowers
    found = tx.predict.selective_risk(tree)
    assert found["risk"].iloc[-1] == pytest.approx(1 - tx.predict.scores(tree)["accuracy"].iloc[0])
    assert found["risk"].loc[:0.5].iloc[-1] <= found["risk"].iloc[-1]
    assert (np.diff(found["uncertainty"]) >= 0).all()
    rmse = float(tx.predict.scores(line[1])["rmse"].loc[1.0])
    assert tx.predict.selective_risk(line[1])["risk"].iloc[-1] == pytest.approx(rmse, rel=1e-4)


def test_arguments_are_checked(line):
    energy, tree = line
    for argument, call in {
        "intervals": lambda: tx.predict.summary(tree, X[:2], intervals=(1.0,)),
        "quantiles": lambda: tx.predict.summary(tree, X[:2], quantiles=("a",)),
        "x": lambda: tx.predict.predictions(tree, energy, X[:2]),
        "energy": lambda: tx.predict.predictions(tree, X[:2], "mlp"),
    }.items():
        with pytest.raises(tx.InputError, match=f"^{argument} = "):
            call()
    with pytest.raises(tx.InputError, match=r"^x = .* is empty"):
        tx.predict.summary(tree, X[:0])


def test_new_rows_come_from_a_file(tmp_path):
    """A path is read as the training table was: text stays text, columns are found by name."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"zip": rng.choice(["01", "02"], 60), "size": rng.normal(size=60)})
    frame["price"] = frame["size"] + (frame["zip"] == "01")
    frame.to_csv(tmp_path / "all.csv", index=False)
    data = tx.Dataset.from_csv(tmp_path / "all.csv", "price", columns={"zip": "category"})
    frame[["size", "zip"]].head(3).to_csv(tmp_path / "new.csv", index=False)
    np.testing.assert_array_equal(data.scaled("x", tmp_path / "new.csv"), data.scaled("x", frame.head(3)))
