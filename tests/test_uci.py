"""The tables' harness: cells run once, fail alone, go on, and are taken by a cluster; scores are what they say."""

import json
from pathlib import Path

import jax
import joblib
import numpy as np
import pytest
from scipy import stats

import temperax as tx
from benchmarks.uci import __main__ as command
from benchmarks.uci import cells, methods, protocols, tables

CONFIG = """
protocol = "gal"
data = ["diabetes"]
splits = 2
[methods.linear]
[methods.broken]
method = "last_layer_laplace"
activation = "no such"
"""


def broken(data, settings, seed):
    raise RuntimeError("broken on purpose")
    yield


@pytest.fixture
def chosen(tmp_path, monkeypatch):
    monkeypatch.setitem(methods.METHODS, "last_layer_laplace", broken)
    (tmp_path / "config.toml").write_text(CONFIG)
    return cells.read_config(tmp_path / "config.toml")


def test_cells_run_once_and_failures_stay_in_the_table(chosen, tmp_path):
    folder = tmp_path / "out"
    assert cells.run_all(chosen, folder) == 4
    assert cells.run_all(chosen, folder) == 0  # what is there is not run again
    assert cells.run_all(chosen, folder, retry=True) == 2  # what failed is, when it is asked for
    mine = [cell for cell in chosen if cell.label == "linear"]
    changed = [cells.Cell(**vars(cell) | {"settings": '{"a": 1}'}) for cell in mine]
    assert cells.stored(changed[0], folder) is None  # nor is what was run with other settings taken for it
    rows = cells.collect([*chosen, cells.Cell("gal", "diabetes", 0, "waiting", "linear", "{}")], folder)
    text = tables.markdown(rows, "gal")
    assert "RuntimeError: broken on purpose" in text and "| waiting | not run |" in text and "| linear | 2 |" in text
    assert tables.pictures(rows, tmp_path) == [tmp_path / "diabetes.png"]
    row = next(row for row in rows if row["label"] == "linear")
    assert {"machine", "versions", "date", "rmse", "lppd", "coverage_90"} <= set(row)
    elsewhere = tmp_path / "elsewhere"
    cells.restore(json.loads(json.dumps(rows)), elsewhere)
    assert [r for r in cells.collect(chosen, elsewhere) if r["state"] == "done"] == [
        r for r in json.loads(json.dumps(rows)) if r["state"] == "done"
    ]
    assert cells.run_all(mine, elsewhere) == 0


def test_a_dask_cluster_takes_the_cells(chosen, tmp_path):
    distributed = pytest.importorskip("dask.distributed")
    mine = [cell for cell in chosen if cell.label == "linear"]
    with (
        distributed.Client(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None),
        joblib.parallel_config(backend="dask"),
    ):
        assert cells.run_all(mine, tmp_path / "out") == 2
    assert all(cells.stored(cell, tmp_path / "out")["rows"] for cell in mine)


def test_a_part_of_the_tables_leaves_the_rest_of_the_json(chosen, tmp_path, monkeypatch):
    file = tmp_path / "rows.json"
    for part in (["--methods", "linear"], ["--methods", "linear", "--splits", "1", "--only-tables"]):
        asked = [str(tmp_path / "config.toml"), "--out", str(tmp_path / "out"), *part, "--json", str(file)]
        monkeypatch.setattr("sys.argv", ["uci", *asked])
        command.main()
        assert [row["split"] for row in json.loads(file.read_text())["rows"]] == [0, 1]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('protocol = "gall"\ndata = ["yacht"]\n[methods.linear]', "protocol"),
        ('data = ["yachts"]\n[methods.linear]', "data"),
        ('data = ["yacht"]\n[methods.linnear]', "method"),
    ],
)
def test_a_configuration_names_what_is_there(tmp_path, line, words):
    (tmp_path / "c.toml").write_text(line)
    with pytest.raises(ValueError, match=f"{words} = .* is not known; choose from"):
        cells.read_config(tmp_path / "c.toml")


CONFIGS = sorted((Path(cells.__file__).parent / "configs").glob("*.toml"))


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.stem)
def test_the_configurations_are_of_what_is_there(file):
    """As many splits of a set as it has, and settings from which every network can be made."""
    chosen = cells.read_config(file)
    assert max([cell.split for cell in chosen if cell.data == "protein"], default=0) < tx.datasets.UCI["protein"].splits
    data = tx.datasets.load("diabetes")
    for text in {cell.settings for cell in chosen if cell.method != "bde"}:
        assert methods.energy_of(data, json.loads(text)).size > 0


def row(method, split, lppd, **more):
    scores = {"rmse": 3.0, "lppd": lppd, "coverage_90": 0.89} | more
    return {
        "data": "boston",
        "split": split,
        "label": more.pop("label", method),
        "state": "done",
        "method": method,
    } | scores


def test_goals_compare_the_same_splits_and_see_no_test_row():
    """An easy split of one method's own says nothing, and of several of ours leave-one-out chooses."""
    rows = [row("temperax", split, lppd, loo=-2.3, temperature=1.0) for split, lppd in enumerate([-2.0, -3.0])]
    rows += [row("temperax", split, -1.0, label="lucky", loo=-2.9) for split in (0, 1)]
    rows += [row("ladder", 0, -0.1, loo=-0.1), row("deep_ensemble", 1, -3.5), row("linear", 0, -1.9)]
    found = {goal["name"]: goal for goal in tables.goals(rows, "gal")}
    assert found["boston: LPPD of MC dropout, by temperax, T = 1"]["value"] == -2.5
    assert found["boston: LPPD over a deep ensemble's"]["value"] == pytest.approx(0.5)
    assert found["share of sets with an LPPD over every other method's"]["value"] == 0.0
    assert (
        found["boston: coverage of 90 % bands, distance"]["met"]
        and not found["boston: RMSE of MC dropout, by temperax, T = 1"]["met"]
    )


def test_who_stops_a_cell_stops_the_tables():
    """Part of a run is no cell, unless its time was to be cut."""
    data = tx.datasets.load("diabetes")
    tree = tx.sample(
        jax.random.key(0), tx.Energy.mlp(data, (2,)), num_warmup=20, num_draws=20, num_chains=2, progress=False
    )
    tree.attrs["interrupted"] = 1
    with pytest.raises(KeyboardInterrupt):
        next(methods._of_tree(data, tree))
    assert next(methods._of_tree(data, tree, cut=True)).about["temperature"] == 1.0


def test_every_member_of_a_mixture_counts_alike():
    """Of more members than targets are drawn, too."""
    data = protocols.gal("diabetes", 0)
    chains = np.repeat([[-100.0], [0.0], [100.0]], 2 * cells.DRAWN, axis=0) + np.zeros(len(data.x_test))
    found = cells.score(data, methods.Found(chains, np.full_like(chains, 1e-3), None, {}))
    assert found["width_90"] == pytest.approx(200.0, abs=1.0)


def test_scores_of_a_mixture_are_its_own():
    """Of one Gaussian, closed forms; of two alike, the same; and a band that is too narrow is seen."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(400, 1)), rng.normal(10.0, 3.0, 400)
    data = tx.Dataset.from_arrays(x[:200], y[:200], x[200:], y[200:])
    mean, sd = np.full((1, 200), 10.0), np.full((1, 200), 3.0)
    found = cells.score(data, methods.Found(mean, sd, None, {}))
    assert found["lppd"] == pytest.approx(stats.norm(10, 3).logpdf(y[200:]).mean())
    assert found["gaussian_lpd"] == pytest.approx(found["lppd"])
    z = (y[200:] - 10) / 3
    crps = 3 * (z * (2 * stats.norm.cdf(z) - 1) + 2 * stats.norm.pdf(z) - 1 / np.sqrt(np.pi))
    assert found["crps"] == pytest.approx(crps.mean(), rel=0.02)
    assert found["coverage_90"] == pytest.approx(0.9, abs=3 * np.sqrt(0.09 / 200))
    assert found["width_90"] == pytest.approx(2 * 1.645 * 3, rel=0.05)
    twice = cells.score(data, methods.Found(np.repeat(mean, 2, axis=0), np.repeat(sd, 2, axis=0), None, {}))
    assert twice["lppd"] == pytest.approx(found["lppd"])
    narrow = cells.score(data, methods.Found(mean, sd / 3, None, {}))
    assert narrow["coverage_90"] < 0.5 and narrow["lppd"] < found["lppd"] - 1  # the control


def test_the_protocol_of_bde(monkeypatch):
    """80/20 by the permutation of seed 1, in units of the training rows' standard deviation."""
    x, y = np.random.default_rng(2).normal(5, 2, (50, 3)), np.arange(50.0)
    monkeypatch.setattr(tx.datasets, "arrays", lambda name: (x, y))
    data = protocols.bde("airfoil", 0)
    np.random.seed(1)  # noqa: NPY002 - as its script does
    order = np.random.permutation(50)  # noqa: NPY002
    assert len(data.x) == 40 and len(data.x_test) == 10
    train = y[order[:40]]
    expected = (y[order[40:]] - train.mean()) / train.std()
    np.testing.assert_allclose(data.y_test[:, 0] * data.y_scale + data.y_mean, expected)
    assert float(data.y_scale[0]) == pytest.approx(1.0)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["map", "deep_ensemble", "last_layer_laplace", "sgld", "numpyro_nuts", "temperax"])
def test_methods_predict(method):
    data = tx.datasets.load("diabetes")
    quick = {"hidden": [4], "num_warmup": 50, "num_draws": 50, "num_chains": 2, "steps": 2000, "members": 2}
    for found in methods.METHODS[method](data, quick, 0):
        row = cells.score(data, found)
        assert 45 < row["rmse"] < 90 and row["lppd"] > -8


@pytest.mark.parametrize("method", ["linear", "gradient_boosting"])
def test_methods_classify(method):
    data = tx.datasets.load("iris", 1)
    (found,) = methods.METHODS[method](data, {}, 0)
    assert cells.score(data, found)["accuracy"] > 0.85 and data.classes == ("setosa", "versicolor", "virginica")
