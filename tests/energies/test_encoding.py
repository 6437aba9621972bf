"""Columns of a table become inputs by a recipe that is kept: text, dates, gaps, and what new rows may hold."""

import json

import dateutil.tz
import numpy as np
import pandas as pd
import pytest

import temperax as tx
from temperax.energies.encoding import MOST_LEVELS, Encoding
from temperax.energies.tables import read_csv

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
    good = {"name": "a", "kind": "date"}
    for wrong in (
        {"name": "a"},
        good | {"kind": "colour"},
        good | {"periods": ["month"]},
        good | {"levels": None},
        good | {"kind": "cyclic"},
    ):
        with pytest.raises(tx.InputError, match="is damaged"):
            Encoding.from_json({"columns": [wrong], "dropped": []})


def test_a_category_may_be_called_nothing():
    frame = pd.DataFrame({"kind": ["a", ""] * 20, "price": np.arange(40.0)})
    data = tx.Dataset.from_frame(frame, "price")
    again = Encoding.from_json(json.loads(json.dumps(data.encoding.to_json())))
    assert again == data.encoding and again.columns[0].levels == ("", "a")
    np.testing.assert_array_equal(again.encode("x", frame[:2], ("price",)), [[1.0], [0.0]])


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


def test_dates_in_a_column_of_numbers_are_refused():
    data = tx.Dataset.from_frame(FRAME[["size", "price"]].dropna(), "price")
    for value in (pd.Timestamp("2023-01-02"), pd.Timedelta(days=1), pd.Period("2023-01")):
        with pytest.raises(tx.InputError, match="are no numbers"):
            data.encoding.encode("x", pd.DataFrame({"size": [value]}))


@pytest.mark.skipif(pd.__version__.startswith("2."), reason="pandas 2 reads no text as a date beyond the year 2262")
def test_far_dates_are_read():
    days = pd.DataFrame({"when": ["9999-12-31", "0001-01-01"] * 10, "y": np.arange(20.0)})
    assert tx.Dataset.from_frame(days, "y", train_fraction=1.0).x_mean[0] == pytest.approx((2932896 - 719162) / 2)


def test_what_comes_round_becomes_sine_and_cosine():
    hours = np.arange(N, dtype=float) % 24
    hours[[3, 5]] = np.nan
    frame = pd.DataFrame({"hour": hours, "price": FRAME["price"]})
    data = tx.Dataset.from_frame(frame, "price", columns={"hour": "cyclic:24"}, standardise=False, train_fraction=1.0)
    assert data.inputs == ("hour sin", "hour cos", "hour is missing")
    assert "cyclic, period 24" in data.encoding.table().to_string()
    again = Encoding.from_json(json.loads(json.dumps(data.encoding.to_json())))
    found = again.encode("x", pd.DataFrame({"hour": [0.0, 6.0, 24.0, np.nan]}))
    mean = np.array([data.x[data.x[:, 2] == 0][:, i].mean() for i in range(2)])
    np.testing.assert_allclose(found[:3], [[0, 1, 0], [1, 0, 0], [0, 1, 0]], atol=1e-9)
    np.testing.assert_allclose(found[3], [*mean / np.hypot(*mean), 1], atol=1e-5)  # the mean direction


def test_dates_in_other_forms():
    for values, kind in (
        (pd.date_range("2020-01-01", periods=N, freq="3h"), ""),
        (pd.date_range("2020-01-01", periods=N, freq="3h", tz="UTC"), ""),
        (pd.date_range("2020-01-01", periods=N, freq="3h").strftime("%d.%m.%Y %H:%M"), "date:%d.%m.%Y %H:%M"),
        (pd.period_range("2020-01-01", periods=N, freq="3h"), ""),
        (pd.Series(pd.period_range("2020-01-01", periods=N, freq="3h"), dtype=object), "date"),
        (pd.date_range("2020-01-01", periods=N, freq="3h", tz=dateutil.tz.tzutc()), ""),
        (pd.date_range("2020-01-01", periods=N, freq="3h", tz=dateutil.tz.tzoffset("home", 0)), ""),
        (pd.date_range("2020-01-01 01:00", periods=N, freq="3h").strftime("%Y-%m-%d %H:%M:%S+01"), ""),
    ):
        frame = pd.DataFrame({"when": values, "price": FRAME["price"]})
        data = tx.Dataset.from_frame(frame, "price", columns={"when": kind} if kind else None, train_fraction=1.0)
        assert data.inputs == ("when", "when sin of day", "when cos of day")
        assert data.x_mean[0] == pytest.approx(18262 + (N - 1) / 16)


def test_text_that_looks_like_numbers_stays_text(tmp_path):
    """1.10 is another version than 1.1, whatever else stands in the file, and 01 no 1."""
    versions = ["1.1", "1.10", "2.0b", "01"]
    rows = "\n".join(f"{versions[i % 4]},{i % 4 + 0.1 * (i % 3)}" for i in range(40))
    (tmp_path / "t.csv").write_text("version,y\n" + rows)
    data = tx.Dataset.from_csv(tmp_path / "t.csv", "y", columns={"version": "category"})
    assert data.encoding.text == ("version",) and data.encoding.columns[0].levels == ("01", "1.1", "1.10", "2.0b")
    (tmp_path / "new.csv").write_text("version\n1.10\n1.1\n")
    new = read_csv(tmp_path / "new.csv", data.encoding.text)
    assert data.encoding.encode("x", new)[:, 1:3].tolist() == [[0, 1], [1, 0]]
    with pytest.raises(tx.InputError, match="holds numbers where training rows held text; read it as text"):
        data.encoding.encode("x", read_csv(tmp_path / "new.csv"))
    (tmp_path / "z.csv").write_text("zip,y\n" + "\n".join(f"0{i % 3},{i}" for i in range(20)))
    said = tx.Dataset.from_csv(tmp_path / "z.csv", "y", columns={" zip": "category"})
    assert said.encoding.columns[0].levels == ("00", "01", "02")
    (tmp_path / "b.csv").write_text("new,y\n" + "\n".join(f"{i % 3 == 0},{i}" for i in range(20)))
    told = tx.Dataset.from_csv(tmp_path / "b.csv", "y", columns={"new": "category"})
    assert told.encoding.encode("x", pd.DataFrame({"new": [True, False]})).tolist() == [[1.0], [0.0]]


@pytest.mark.parametrize("zone", ["Europe/Berlin", "UTC"])
def test_dates_are_told_by_the_clock_of_their_zone(zone):
    """Noon is noon, whatever zone new rows are written in; and without a zone it cannot be known."""
    when = pd.date_range("2023-07-01", periods=N, freq="6h", tz=zone)
    data = tx.Dataset.from_frame(pd.DataFrame({"when": when, "y": FRAME["price"]}), "y")
    noon = pd.Timestamp("2023-07-03 12:00", tz=zone)
    for same in (noon, noon.tz_convert("Asia/Tokyo")):
        found = data.encoding.encode("x", pd.DataFrame({"when": [same]}))
        assert found[0, 0] == 19541.5 and found[0, -2:] == pytest.approx([0, -1], abs=1e-9)  # half a day
    with pytest.raises(tx.InputError, match="has dates of no time zone, and training rows had one"):
        data.encoding.encode("x", pd.DataFrame({"when": [pd.Timestamp("2023-07-03 12:00")]}))
    naive = tx.Dataset.from_frame(pd.DataFrame({"when": when.tz_localize(None), "y": FRAME["price"]}), "y")
    for written in ("2023-07-03T12:00:00+02:00", "2023-07-03 12:00:00+02"):
        with pytest.raises(tx.InputError, match="has dates of a time zone, and training rows had none"):
            naive.encoding.encode("x", pd.DataFrame({"when": [written]}))
    days = tx.Dataset.from_frame(
        pd.DataFrame({"when": pd.date_range("2023-07-01", periods=N, tz=zone), "y": FRAME["price"]}), "y"
    )
    assert "when sin of day" not in days.inputs  # midnights of their own zone


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
    "no period": ({"columns": KINDS | {"size": "cyclic"}}, FRAME, "has no period; say such as .* of hours"),
    "no number of a period": ({"columns": KINDS | {"size": "cyclic:day"}}, FRAME, "has no period"),
    "a period of 0": ({"columns": KINDS | {"size": "cyclic:0"}}, FRAME, "has no period"),
    "a detail of none": ({"columns": KINDS | {"size": "number:24"}}, FRAME, "is no kind of column"),
    "no column": ({"columns": {"cost": "drop"}}, FRAME, "columns = 'cost' is not among the inputs"),
    "nothing left": ({"columns": dict.fromkeys(FRAME.columns[:-1], "drop")}, FRAME, "drops every input"),
    "infinite": ({"columns": KINDS}, FRAME.assign(size=np.inf), "has no finite number in rows 0, 1"),
    "empty": ({"columns": KINDS}, FRAME.assign(size=np.nan), "has no number in any training row; drop it"),
    "unknown what": ({"columns": KINDS, "unknown": "ignore"}, FRAME, "unknown = 'ignore'"),
    "a gap in the target": ({"columns": KINDS}, FRAME.assign(price=np.nan), r"^target = 'price' has no finite number"),
    "text as target": ({"columns": KINDS}, FRAME.assign(price="a"), "^target = 'price' is not numeric"),
    "two of one name": ({"columns": KINDS}, FRAME.rename(columns={"new": "color"}), "are names of several columns"),
    "decimal commas": ({"columns": KINDS}, FRAME.assign(size=[f"1,{i}" for i in range(N)]), "decimal commas"),
    "spans": ({"columns": KINDS}, FRAME.assign(size=pd.to_timedelta(range(N), "h")), "holds spans of time"),
    "complex": ({"columns": KINDS}, FRAME.assign(size=1j), "holds complex numbers"),
    "a format": ({"columns": KINDS | {"built": "date:%Q"}}, FRAME, "cannot be read as dates"),
    "kinds by place": ({"columns": ["drop"]}, FRAME, "is no mapping of names to kinds"),
    "a category called (other)": (
        {"columns": KINDS, "unknown": "column"},
        FRAME.assign(color=["(other)", *FRAME["color"][1:]]),
        r"^columns = 'color' would make two inputs of one name, color=\(other\); rename",
    ),
    "no text": ({"columns": {"id": 5}}, FRAME, "is no mapping of names to kinds"),
    "no frame": ({}, FRAME.to_numpy(), "is no frame"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_read_is_said_in_a_sentence(case):
    options, frame, words = WRONG[case]
    assert MOST_LEVELS < N
    with pytest.raises(tx.InputError, match=words):
        tx.Dataset.from_frame(frame, "price", **options)


def test_a_rare_gap_weighs_no_more_than_half_of_the_rows():
    """One gap in a hundred training rows: its mark would stand ten deviations from all others."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=100), "kind": ["rare"] + ["often", "other"] * 49 + ["other"]})
    frame["y"] = frame["a"]
    frame.loc[3, "a"] = np.nan
    data = tx.Dataset.from_frame(frame, "y", train_fraction=1.0, columns={"a": "number"})
    marks = [n for n, name in enumerate(data.inputs) if name != "a"]
    assert data.inputs == ("a", "a is missing", "kind=often", "kind=other", "kind=rare")
    assert np.abs(data.x[:, marks]).max() <= 2.0 and data.x[:, 0].std() == pytest.approx(1.0, abs=1e-5)
    again = data.scaled("x", frame)  # in the order of the frame
    np.testing.assert_allclose(*(np.sort(x, axis=0) for x in (again, data.x)), atol=1e-5)


def test_what_counts_the_rows_is_said_to_be_an_input():
    """Once, in a warning that names what silences it; a gap, a repeat or a word of the user's is enough to be quiet."""
    frame = pd.DataFrame({"id": np.random.default_rng(0).permutation(40) + 1001, "y": np.arange(40.0)})
    with pytest.warns(UserWarning, match=r"^id has one whole number a row without a gap.*columns=\{'id': 'drop'\}"):
        tx.Dataset.from_frame(frame, "y")
    assert tx.Dataset.from_frame(frame, "y", columns={"id": "number"}).inputs == ("id",)
    assert tx.Dataset.from_frame(frame.assign(id=2 * frame["id"]), "y").inputs == ("id",)
    assert tx.Dataset.from_frame(frame.assign(id=frame["id"] // 2), "y").inputs == ("id",)


@pytest.mark.parametrize("form", ["%m%d%Y", "%d%m%Y", "%d.%m.%Y", "%y%m%d", "%Y%m%d"])
def test_dates_of_a_file_keep_their_zeros(form, tmp_path):
    """As numbers, 01012020 would be 1012020, which is the first of October too."""
    days = pd.date_range("2001-01-01", periods=N, freq="61D")
    frame = pd.DataFrame({"when": days.strftime(form), "y": FRAME["price"]})
    frame.to_csv(tmp_path / "t.csv", index=False)
    data = tx.Dataset.from_csv(tmp_path / "t.csv", "y", columns={"when": f"date:{form}"}, split=0, train_fraction=1.0)
    known = tx.Dataset.from_frame(frame.assign(when=days), "y", train_fraction=1.0)
    np.testing.assert_allclose(data.x, known.x, atol=1e-9)
    frame[["when"]].head(7).to_csv(tmp_path / "new.csv", index=False)
    right = known.scaled("x", pd.DataFrame({"when": days[:7]}))
    np.testing.assert_allclose(data.scaled("x", tmp_path / "new.csv"), right, atol=1e-9)
    assert data.encoding.text == ("when",)  # what `temperax predict` reads as text
    numbers = pd.DataFrame({"when": pd.to_numeric(frame["when"].head(7).str.replace(".", ""))})
    if form == "%Y%m%d":
        np.testing.assert_allclose(data.scaled("x", numbers), right, atol=1e-9)
    elif form != "%d.%m.%Y":
        with pytest.raises(tx.InputError, match="may have lost zeros of dates as .* read it as text"):
            data.scaled("x", numbers)


def test_a_gap_is_no_category_of_its_own_where_training_rows_had_none(tmp_path):
    frame = pd.DataFrame({"kind": ["a", "b"] * 20, "y": np.arange(40.0)})
    new = pd.DataFrame({"kind": ["a", None]})
    for unknown in ("error", "column"):
        data = tx.Dataset.from_frame(frame, "y", unknown=unknown)
        with pytest.raises(tx.InputError, match=r"^column = 'kind' has no value in rows 1, and training rows lacked"):
            data.scaled("x", new)
    empty = tx.Dataset.from_frame(frame.replace("b", ""), "y")  # which a file cannot tell from a gap
    assert empty.encoding.encode("x", new).ravel().tolist() == [1.0, 0.0]


@pytest.mark.parametrize("written", ["{},234", "{},234,567", "-{},234.5"])
@pytest.mark.parametrize("few", [False, True])
def test_thousands_separators_are_no_decimal_commas(written, few):
    """Also where most numbers are too small to have one."""
    size = [str(i) if few and i > 3 else written.format(i + 1) for i in range(N)]
    with pytest.raises(tx.InputError, match=r"^column = 'size' holds thousands separators .*; remove them, or say"):
        tx.Dataset.from_frame(FRAME[["price"]].assign(size=size), "price")


def test_sparse_columns_are_as_dense_ones():
    frame = pd.DataFrame({"a": [0, 1, 2, 0] * 10, "b": [0.0, 0.0, 1.5, np.nan] * 10, "y": np.arange(40.0)})
    kinds = {"a": pd.SparseDtype(int, 0), "b": pd.SparseDtype(float, np.nan), "y": pd.SparseDtype(float, 0.0)}
    dense, sparse = (tx.Dataset.from_frame(each, "y") for each in (frame, frame.astype(kinds)))
    np.testing.assert_array_equal(sparse.x, dense.x)
    np.testing.assert_array_equal(sparse.y, dense.y)
    np.testing.assert_array_equal(dense.scaled("x", frame.astype(kinds)), dense.scaled("x", frame))


@pytest.mark.filterwarnings("error")
def test_a_table_of_columns_without_gaps_is_shown():
    data = tx.Dataset.from_frame(pd.DataFrame({"a": [0.5, 1.0, 2.5], "y": [1.0, 2.0, 4.0]}), "y")
    assert data.encoding.table().to_dict("index") == {"a": {"read as": "number", "inputs": 1}}


def test_one_row_of_a_frame_is_one_row():
    data = dataset()
    new = FRAME.drop(columns="price")
    for row in (FRAME.iloc[7], new.iloc[7], new.iloc[7][::-1]):
        np.testing.assert_allclose(data.scaled("x", row), data.scaled("x", new.iloc[[7]]))
    numbers = tx.Dataset.from_arrays(FRAME[["zip", "price"]], FRAME.index)
    row = FRAME[["zip", "price"]].iloc[3]
    np.testing.assert_allclose(numbers.scaled("x", row), numbers.scaled("x", FRAME[["zip", "price"]].iloc[[3]]))
    plain = tx.Dataset.from_arrays(FRAME["price"].to_numpy(), FRAME.index)
    assert plain.scaled("x", pd.Series([0.0, 1.0])).shape == (2, 1)  # a column of an array has two rows
