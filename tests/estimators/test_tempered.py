"""scikit-learn's estimators: all of its own checks, and what its users put them into."""

import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError
from sklearn.impute import SimpleImputer
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.utils.estimator_checks import check_estimator

import temperax as tx

QUICK = {"hidden": (3,), "num_chains": 2, "num_warmup": 60, "num_draws": 60, "random_state": 0}
RNG = np.random.default_rng(1)
FRAME = pd.DataFrame(
    {
        "size": np.where(np.arange(60) % 9 == 2, np.nan, RNG.normal(50, 10, 60)),
        "color": RNG.choice(["red", "green", "blue"], 60),
    }
)
PRICE = FRAME["size"].fillna(50) * 3 + 20 * (FRAME["color"] == "red") + RNG.normal(0, 4, 60)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")  # of what is not installed
@pytest.mark.parametrize("kind", [tx.TemperedRegressor, tx.TemperedClassifier])
def test_all_checks_of_scikit_learn(kind):
    found = check_estimator(kind(hidden=(4,), num_chains=2, num_warmup=100, num_draws=100), on_fail=None)
    failed = [result["check_name"] for result in found if result["status"] not in ("passed", "skipped")]
    assert len(found) > 40 and not failed


@pytest.fixture(scope="module")
def piped():
    """Text and gaps through scikit-learn's own transformers, whose output is a frame."""
    columns = ColumnTransformer(
        [("gaps", SimpleImputer(add_indicator=True), ["size"]), ("text", OneHotEncoder(sparse_output=False), ["color"])]
    )
    pipe = make_pipeline(columns, StandardScaler(), tx.TemperedRegressor(**QUICK)).set_output(transform="pandas")
    return pipe.fit(FRAME, PRICE)


def test_a_pipeline_predicts_in_its_own_units(piped):
    model, transform = piped[-1], piped[:-1].transform
    mean, sd = model.predict(transform(FRAME), return_std=True)
    assert piped.score(FRAME, PRICE) > 0.9 and mean.shape == sd.shape == (60,)
    assert 2 < sd.mean() < 12
    assert "text__color_red" in model.feature_names_in_ and "text__color_red" in model.energy_.dataset.inputs
    interval = model.predict_interval(transform(FRAME), level=0.8)
    inside = (interval[:, 0] < PRICE) & (interval[:, 1] > PRICE)
    assert 0.65 < inside.mean() < 0.95
    assert model.predict_interval(transform(FRAME[:2]), level=2 / 3).shape == (2, 2)
    drawn = model.sample_y(transform(FRAME[:5]), 300, random_state=3)
    assert drawn.shape == (5, 300)
    np.testing.assert_allclose(drawn.mean(axis=1), mean[:5], atol=4 * sd.max() / np.sqrt(100))
    for wrong in (0, -1, 2.5, "5"):
        with pytest.raises(tx.InputError, match="^n_samples = "):
            model.sample_y(transform(FRAME[:5]), wrong)
    np.testing.assert_array_equal(drawn, model.sample_y(transform(FRAME[:5]), 300, random_state=3))


def test_pickles_and_clones(piped):
    model, x = piped[-1], piped[:-1].transform(FRAME[:4])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict(x), model.predict(x))
    assert clone(model).get_params()["hidden"] == (3,) and not hasattr(clone(model), "tree_")
    assert {"posterior", "tempered_stats"} <= set(model.tree_.children)


@pytest.mark.slow
def test_a_search_over_temperatures():
    search = GridSearchCV(tx.TemperedRegressor(**QUICK), {"temperature": [0.1, 1.0]}, cv=2, error_score="raise")
    x = FRAME[["size"]].fillna(50)
    search.fit(x, PRICE)
    assert set(search.cv_results_["param_temperature"]) == {0.1, 1.0}
    assert float(search.best_estimator_.tree_["tempered_stats"]["temperature"][0]) == search.best_params_["temperature"]


@pytest.mark.slow
def test_classes_keep_their_labels():
    iris = load_iris()
    labels = np.array(["setosa", "versicolor", "virginica"])[iris.target]
    model = tx.TemperedClassifier(**QUICK | {"hidden": ()}).fit(iris.data, labels)
    p = model.predict_proba(iris.data)
    assert model.classes_.tolist() == ["setosa", "versicolor", "virginica"] and model.score(iris.data, labels) > 0.9
    np.testing.assert_allclose(p.sum(axis=1), 1)
    assert (model.predict(iris.data) == model.classes_[p.argmax(axis=1)]).all()


@pytest.mark.slow
def test_a_ladder_and_several_targets():
    x, y = RNG.normal(size=(40, 2)), RNG.normal(size=(40, 2))
    y[:, 0] += 5 * x[:, 0]
    options = {"num_replicas": 4, "num_rounds": 5}
    model = tx.TemperedRegressor(**QUICK | {"hidden": (), "num_draws": None}, ladder=True, options=options).fit(x, y)
    assert "exchange" in model.tree_.children
    assert model.predict(x).shape == (40, 2) and model.predict_interval(x).shape == (40, 2, 2)
    assert model.sample_y(x[:3], 7).shape == (3, 2, 7)


@pytest.mark.slow
def test_a_cold_ladder_predicts_at_its_coldest():
    """Targets of a line whose noise is .5: the band of its mean is √T wide."""
    x = RNG.normal(size=(60, 1))
    y = x[:, 0] + 0.5 * RNG.normal(size=60)
    options = {"num_replicas": 6, "num_rounds": 6}
    cold = tx.TemperedRegressor(
        **QUICK | {"hidden": (), "num_draws": None}, ladder=True, temperature=0.1, path="posterior"
    )
    cold = cold.set_params(options=options).fit(x, y)
    group = cold.tree_["tempered_posterior"]
    assert group["temperature"].values.tolist() == pytest.approx([1.0, 0.1], rel=1e-3)
    alone = tx.predict.summary(cold.tree_, x, cold.energy_, group="tempered_posterior")
    np.testing.assert_allclose(cold.predict(x), alone["mean"].to_numpy()[-60:])
    warm = tx.predict.summary(cold.tree_, x, cold.energy_)
    ratio = alone["sd_epistemic"].to_numpy()[-60:] / warm["sd_epistemic"].to_numpy()
    assert 0.2 < np.median(ratio) < 0.5  # √.1 is .32
    assert cold.sample_y(x[:3], 5).shape == (3, 5)


@pytest.mark.parametrize(
    ("change", "y", "words"),
    [
        ({"temperature": 0.0}, np.arange(20.0), "temperature = 0.0 is not positive"),
        ({"ladder": "tall"}, np.arange(20.0), "ladder = 'tall' is neither True nor False"),
        ({"activation": "tanhh"}, np.arange(20.0), "activation = 'tanhh'"),
        ({}, np.ones(20), "is the same in every row"),
        ({"options": {"hottest": 8.0}}, np.arange(20.0), "are not arguments of sample; give a dictionary of"),
        ({"options": ["thin"]}, np.arange(20.0), "are not arguments of sample"),
        (
            {"ladder": True, "temperature": 0.5, "options": {"ladder": [0.25, 0.5, 1.0]}},
            np.arange(20.0),
            "temperature = 0.5 is not that of the coldest rung of the ladder in options, 1;",
        ),
    ],
)
def test_mistakes_are_one_sentence(change, y, words):
    model = tx.TemperedRegressor(**QUICK | change)
    with pytest.raises(tx.InputError, match=words):
        model.fit(np.arange(20.0)[:, None], y)
    with pytest.raises(NotFittedError):
        model.predict(np.arange(20.0)[:, None])


def test_one_class_is_none():
    with pytest.raises(tx.InputError, match="has one class only"):
        tx.TemperedClassifier(**QUICK).fit(np.arange(20.0)[:, None], np.ones(20))


@pytest.mark.parametrize("kind", [tx.TemperedRegressor, tx.TemperedClassifier])
def test_a_refit_that_fails_leaves_nothing_fitted(kind):
    """Old draws with new labels would answer, and wrongly."""
    x, y = np.arange(20.0)[:, None], np.arange(20) % 2
    model = kind(**QUICK | {"hidden": (), "num_warmup": 5, "num_draws": 5}).fit(x, y)
    with pytest.raises(tx.InputError, match="activation = 'tanhh'"):
        model.set_params(hidden=(3,), activation="tanhh").fit(x, y + 5)
    with pytest.raises(NotFittedError):
        model.predict(x)
    assert not hasattr(model, "tree_") and not hasattr(model, "energy_")


def test_classes_that_no_label_has_are_refused():
    model = tx.TemperedClassifier(**QUICK, likelihood=tx.likelihoods.Categorical(num_classes=5))
    with pytest.raises(tx.InputError, match="num_classes = 5 is not the number of labels in y, 3; leave it out"):
        model.fit(np.arange(21.0)[:, None], np.arange(21) % 3)


def test_the_level_of_an_interval_is_any_number(piped):
    model, x = piped[-1], piped[:-1].transform(FRAME[:2])
    single = model.predict_interval(x, level=np.float32(0.9))
    np.testing.assert_allclose(single, model.predict_interval(x, level=0.9), rtol=1e-5)
