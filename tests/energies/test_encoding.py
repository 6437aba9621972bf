"""Columns of a table become inputs by a recipe that is kept: text, dates, gaps, and what new rows may hold."""

import json

import numpy as np
import pandas as pd
import pytest

import temperax as tx
from temperax.energies.encoding import MOST_LEVELS, Encoding

N = 60
RNG = np.random.default_rng(0)
FRAME = pd.DataFrame(
    {
        "size": np.where(np.arange(N) % 9 == 4, np.nan, np.arange(N, dtype=float)),
        "color": np.array(["red", "green", "blue"])[np.arange(N) % 3],
        "new": np.where(np.arange(N) % 2, "yes", "no"),
        "built": pd.date_range("2001-03-01", periods=N, freq="30D").strftime("%Y-%m-%d"),
        "zip": [8001 + i % 4 for i in range(N)],
        "id": [f"n{i}" for i in range(N)],
        "price": RNG.normal(size=N),
    }
)
KINDS = {"id": "drop", "zip": "category"}


def dataset(frame=FRAME, **options):
    return tx.Dataset.from_frame(frame, "price", **{"columns": KINDS} | options)


def original(data):
    return np.concatenate([data.x, data.x_test]) * data.x_scale + data.x_mean


def test_each_kind_becomes_what_it_says():
    data = dataset(train_fraction=1.0)
    names = ("size", "size is missing", "color=blue", "color=green", "color=red", "new=yes", "built")
    waves = [f"built {wave} of {period}" for period in ("year", "week") for wave in ("sin", "cos")]
    assert data.inputs == (*names, *waves, "zip=8001", "zip=8002", "zip=8003", "zip=8004")
    by_name = dict(zip(data.inputs, original(data).T, strict=True))
    order = np.random.RandomState(1).choice(range(N), N, replace=False)  # noqa: NPY002 - the published split
    frame = FRAME.iloc[order]
    known = frame["size"].mean()
    np.testing.assert_allclose(by_name["size"], frame["size"].fillna(known), rtol=1e-9)
    np.testing.assert_allclose(by_name["size is missing"], frame["size"].isna(), atol=1e-9)
    np.testing.assert_allclose(by_name["color=red"], frame["color"] == "red", atol=1e-9)
    np.testing.assert_allclose(by_name["new=yes"], frame["new"] == "yes", atol=1e-9)
    days = (pd.to_datetime(frame["built"]) - pd.Timestamp("1970-01-01")).dt.days
    np.testing.assert_allclose(by_name["built"], days, rtol=1e-9)
    np.testing.assert_allclose(by_name["built sin of year"], np.sin(2 * np.pi * days / 365.2425), atol=1e-6)
    np.testing.assert_allclose(by_name["zip=8002"], frame["zip"] == 8002, atol=1e-9)


def test_what_stands_for_a_gap_is_learned_from_training_rows_alone():
    data = dataset()
    order = np.random.RandomState(1).choice(range(N), N, replace=False)  # noqa: NPY002
    train = FRAME["size"].iloc[order[: round(0.9 * N)]]
    assert data.encoding.columns[0].fill == pytest.approx(train.mean())
    assert data.encoding.columns[0].fill != pytest.approx(FRAME["size"].mean())


def test_the_recipe_survives_json_and_does_the_same():
    data = dataset()
    again = Encoding.from_json(json.loads(json.dumps(data.encoding.to_json())))
    assert again == data.encoding
    turned = FRAME[FRAME.columns[::-1]].drop(columns="id")  # in another order, dropped columns left out, target in
    np.testing.assert_array_equal(again.encode("x", turned, ("price",)), again.encode("x", FRAME.drop(columns="price")))
    with pytest.raises(tx.InputError, match="is damaged"):
        Encoding.from_json({"columns": [{"name": "a"}], "dropped": []})


def test_unknown_categories_are_named_or_have_an_input_of_their_own():
    new = FRAME.drop(columns="price").head(3).assign(color=["violet", "red", "violet"])
    with pytest.raises(tx.InputError, match=r"^column = 'color' holds violet in rows 0, 2, which no training row has;"):
        dataset().scaled("x", new)
    data = dataset(unknown="column")
    other = data.inputs.index("color=(other)")
    assert (data.x[:, other] == 0).all() and data.scaled("x", new)[:, other].tolist() == [1.0, 0.0, 1.0]


def test_gaps_in_new_rows_are_filled_where_training_rows_had_some():
    new = FRAME.drop(columns="price").head(2).assign(size=np.nan)
    data = dataset()
    found = data.scaled("x", new)
    np.testing.assert_allclose(found[:, 0], 0.0, atol=1e-9)  # the mean
    with pytest.raises(
        tx.InputError, match=r"^column = 'built' has no date in rows 0, 1, and training rows lacked none"
    ):
        data.scaled("x", new.assign(built=None))


def test_dates_in_other_forms():
    for values, kind in (
        (pd.date_range("2020-01-01", periods=N, freq="3h"), ""),
        (pd.date_range("2020-01-01", periods=N, freq="3h", tz="UTC"), ""),
        (pd.date_range("2020-01-01", periods=N, freq="3h").strftime("%d.%m.%Y %H:%M"), "date:%d.%m.%Y %H:%M"),
    ):
        frame = pd.DataFrame({"when": values, "price": FRAME["price"]})
        data = tx.Dataset.from_frame(frame, "price", columns={"when": kind} if kind else None, train_fraction=1.0)
        assert data.inputs == ("when", "when sin of day", "when cos of day")
        assert data.x_mean[0] == pytest.approx(18262 + (N - 1) / 16)


def test_a_table_says_how_columns_were_read():
    table = dataset().encoding.table()
    assert table.loc["color", "read as"] == "category of 3: blue, green, red"
    assert table.loc["built", "read as"] == "date (ISO 8601): days, year, week"
    assert table.loc["id", "read as"] == "not used" and table.loc["size", "missing"].startswith("mean (")
    assert table["inputs"].sum() == len(dataset().inputs)


WRONG = {
    "too many levels": ({}, FRAME, r"^column = 'id' has 60 different values"),
    "numbers and text": (
        {"columns": KINDS},
        FRAME.assign(size=["x", *range(1, N)]),
        r"holds numbers, and in rows 0 text",
    ),
    "no numbers": ({"columns": KINDS | {"color": "number"}}, FRAME, r"^column = 'color' holds 'red'"),
    "no dates": ({"columns": KINDS | {"color": "date"}}, FRAME, r"no dates as ISO 8601 writes them"),
    "no kind": ({"columns": KINDS | {"color": "colour"}}, FRAME, "is no kind of column; choose from number, category"),
    "no column": ({"columns": {"cost": "drop"}}, FRAME, "columns = 'cost' are not among the inputs"),
    "nothing left": ({"columns": dict.fromkeys(FRAME.columns[:-1], "drop")}, FRAME, "drops every input"),
    "infinite": ({"columns": KINDS}, FRAME.assign(size=np.inf), "has no finite number in rows 0, 1"),
    "empty": ({"columns": KINDS}, FRAME.assign(size=np.nan), "has no number in any training row; drop it"),
    "unknown what": ({"columns": KINDS, "unknown": "ignore"}, FRAME, "unknown = 'ignore'"),
    "a gap in the target": ({"columns": KINDS}, FRAME.assign(price=np.nan), r"^column = 'price' has no finite number"),
    "text as target": ({"columns": KINDS}, FRAME.assign(price="a"), "'price' is not numeric, and is the target"),
    "two of one name": ({"columns": KINDS}, FRAME.rename(columns={"new": "color"}), "are names of several columns"),
    "no frame": ({}, FRAME.to_numpy(), "is no frame"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_read_is_said_in_a_sentence(case):
    options, frame, words = WRONG[case]
    assert MOST_LEVELS < N
    with pytest.raises(tx.InputError, match=words):
        tx.Dataset.from_frame(frame, "price", **options)
