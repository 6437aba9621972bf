"""Published tables come verified, split as published, and standardised by their training part."""

import os
from pathlib import Path

import numpy as np
import pytest

import temperax as tx
from temperax import datasets


def test_splits_are_the_published_ones():
    """The recipe of the published splits, stated with the legacy global generator."""
    state = np.random.get_state()  # noqa: NPY002
    try:
        np.random.seed(1)  # noqa: NPY002
        n = 442
        orders = [np.random.choice(range(n), n, replace=False) for _ in range(3)]  # noqa: NPY002
    finally:
        np.random.set_state(state)  # noqa: NPY002
    for split, order in enumerate(orders):
        data = tx.datasets.load("diabetes", split=split)
        from sklearn.datasets import load_diabetes

        y = load_diabetes().target[order]
        np.testing.assert_allclose(data.y[:, 0] * data.y_scale + data.y_mean, y[: round(0.9 * n)])
        np.testing.assert_allclose(data.y_test[:, 0] * data.y_scale + data.y_mean, y[round(0.9 * n) :])


def test_loading_leaves_the_global_generator_alone():
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    tx.datasets.load("diabetes", split=4)
    np.testing.assert_array_equal(before, np.random.get_state()[1])  # noqa: NPY002


@pytest.mark.parametrize("name", datasets.SKLEARN)
def test_offline_sets(name):
    data = tx.datasets.load(name)
    assert len(data.x) + len(data.x_test) in (150, 442, 569, 1797)
    constant = data.x.std(axis=0) < 1e-9  # digits has pixels that are always blank
    np.testing.assert_allclose(data.x.mean(axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(data.x.std(axis=0)[~constant], 1)
    assert tx.Energy.mlp(data, (3,)).size > 0


def test_the_motorcycle_comes_with_the_package():
    """Against what is published of the table: rows, ends, and the sums of both columns."""
    data = tx.datasets.load("motorcycle", split=3)
    assert data.inputs == ("time (ms)",) and data.targets == ("acceleration (g)",)
    time = np.concatenate([data.x, data.x_test])[:, 0] * data.x_scale + data.x_mean
    acceleration = np.concatenate([data.y, data.y_test])[:, 0] * data.y_scale + data.y_mean
    assert len(data.x) == 100 and len(time) == 133
    np.testing.assert_allclose([time.min(), time.max(), time.mean()], [2.4, 57.6, 25.1789], atol=1e-4)
    np.testing.assert_allclose(
        [acceleration.min(), acceleration.max(), acceleration.mean()], [-134, 75, -25.5459], atol=1e-4
    )


def test_constant_columns_only_lose_their_mean():
    x = np.stack([np.full(8, 3.7), np.arange(8.0)], axis=1)
    data = tx.Dataset.from_arrays(x, np.arange(8.0), x + 1, np.arange(8.0))
    np.testing.assert_allclose(data.x[:, 0], 0, atol=1e-12)
    np.testing.assert_allclose(data.x_test[:, 0], 1)


def test_csv(tmp_path):
    file = tmp_path / "table.csv"
    file.write_text("a,b,price\n" + "\n".join(f"{i},{i * i},{3 * i + 1}" for i in range(20)))
    data = tx.Dataset.from_csv(file, "price", split=1)
    assert data.inputs == ("a", "b") and data.targets == ("price",) and data.name == "table"
    assert data.x.shape == (18, 2) and data.x_test.shape == (2, 2)
    for target, problem in (("cost", "not a column"), ("price", "not numeric")):
        if target == "price":
            file.write_text("a,b,price\n1,2,x\n2,3,y\n")
        with pytest.raises(tx.InputError, match=problem):
            tx.Dataset.from_csv(file, target)


def test_a_damaged_download_is_refused(tmp_path, monkeypatch):
    """A file with the wrong sha256 is not used; without a network the sentence says what to do."""
    (tmp_path / "yacht.txt").write_text("1 2 3\n")
    monkeypatch.setenv("TEMPERAX_DATA", str(tmp_path))
    source = datasets.UCI["yacht"]._replace(url="http://127.0.0.1:9/yacht.txt")
    monkeypatch.setitem(datasets.UCI, "yacht", source)
    with pytest.raises(tx.InputError, match="could not be downloaded"):
        tx.datasets.load("yacht")


DATA = Path(os.environ.get("TEMPERAX_DATA", "/nonexistent"))
CACHED = [n for n in datasets.UCI if (DATA / f"{n}.txt").exists() or (DATA / "uci" / f"{n}.txt").exists()]


@pytest.mark.skipif(not CACHED, reason="TEMPERAX_DATA does not name a folder with the published tables")
@pytest.mark.parametrize("name", CACHED or ["none"])
def test_published_tables(name):
    data = tx.datasets.load(name, split=datasets.UCI[name].splits - 1)
    n = datasets.UCI[name].rows
    assert len(data.x) == round(0.9 * n) and len(data.x) + len(data.x_test) == n
    assert np.isfinite(data.x).all() and data.y.std() == pytest.approx(1)
