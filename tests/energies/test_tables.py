"""Frames, labels, gaps and files as users have them."""

import jax
import numpy as np
import pandas as pd
import pytest

import temperax as tx

RNG = np.random.default_rng(0)
X = RNG.normal(size=(12, 2))
FRAME = pd.DataFrame(X, columns=["width", " height "])


def classify(y, **options):
    return tx.Dataset.from_arrays(X, y, task="classification", **options)


LABELS = {
    "whole numbers from 1": ([1, 2, 3] * 4, ("1", "2", "3")),
    "whole numbers with gaps": ([0, 2, 7] * 4, ("0", "2", "7")),
    "minus one and one": ([-1, 1] * 6, ("-1", "1")),
    "whole floats": ([1.0, 3.0] * 6, ("1", "3")),
    "booleans": ([True, False] * 6, ("False", "True")),
    "strings": (["no", "yes", "maybe"] * 4, ("maybe", "no", "yes")),
    "strings of a series": (pd.Series(["b", "a"] * 6, name="letter"), ("a", "b")),
    "a column of a frame": (pd.DataFrame({"letter": ["b", "a"] * 6}), ("a", "b")),
    "an ordered categorical": (
        pd.Series(pd.Categorical(["low", "high", "mid"] * 4, ["low", "mid", "high", "never"])),
        ("low", "mid", "high"),
    ),
    "pandas strings": (pd.Series(["b", "a"] * 6, dtype="string"), ("a", "b")),
    "nullable integers": (pd.Series([4, 5] * 6, dtype="Int64"), ("4", "5")),
    "zero and one": ([0, 1] * 6, ("0", "1")),
}


@pytest.mark.parametrize("case", LABELS)
def test_classes_are_what_occurs(case):
    y, classes = LABELS[case]
    data = classify(y)
    assert data.classes == classes
    names = [str(v.item() if isinstance(v, np.generic) else v) for v in np.asarray(y, object).ravel()]
    back = [classes[int(code)] for code in data.y[:, 0]]
    assert back == [name.removesuffix(".0") for name in names]


def test_the_order_of_a_categorical_stays():
    """As a column of a frame of targets, and as the target of a table; classes that do not occur are none."""
    y = pd.Series(pd.Categorical(["low", "high", "mid "] * 4, ["low", "mid ", "high", "never"], ordered=True), name="y")
    assert classify(y.to_frame()).classes == ("low", "mid ", "high")
    data = tx.Dataset.from_frame(FRAME.assign(y=y), "y", task="classification")
    assert data.classes == ("low", "mid", "high") and data.targets == ("y",)
    split = np.concatenate([data.y, data.y_test])[:, 0]
    assert [(split == code).sum() for code in range(3)] == [4, 4, 4]


def test_numbers_among_objects_are_a_target():
    numbers = pd.Series(X[:, 0], dtype=object)
    same = [tx.Dataset.from_frame(FRAME.assign(y=y), "y").y for y in (numbers, X[:, 0])]
    np.testing.assert_array_equal(*same)


def test_a_class_of_held_out_rows_alone_counts():
    data = classify(["a", "b"] * 6, x_test=X[:2], y_test=["c", "a"])
    assert data.classes == ("a", "b", "c") and data.y_test[:, 0].tolist() == [2.0, 0.0]


def test_classes_can_be_named_in_their_order():
    data = classify(["low", "high"] * 6, classes=["low", "mid", "high"])
    assert data.classes == ("low", "mid", "high") and data.y[:2, 0].tolist() == [0.0, 2.0]
    with pytest.raises(tx.InputError, match=r"^y = 'high' are none of the classes; choose from low, mid\.$"):
        classify(["low", "high"] * 6, classes=["low", "mid"])


@pytest.mark.parametrize("y", [[0.5, 1.0] * 6, ["a", None] * 6, [1.0, np.nan] * 6, pd.Series([1, pd.NA] * 6)])
def test_what_is_no_label_is_refused(y):
    with pytest.raises(tx.InputError, match=r"^y = .*(is no label of a class|has no label in row 1); .*\.$"):
        classify(y)


def test_names_of_a_frame_stay():
    data = tx.Dataset.from_arrays(FRAME, pd.Series(X[:, 0], name="depth"))
    assert data.inputs == ("width", "height") and data.targets == ("depth",)
    assert tx.Dataset.from_arrays(FRAME, X[:, 0], inputs=["a", "b"]).inputs == ("a", "b")


def test_columns_are_found_by_name():
    turned = FRAME[[" height ", "width"]]
    data = tx.Dataset.from_arrays(FRAME, X[:, 0], turned, X[:, 0], standardise=False)
    np.testing.assert_array_equal(data.x, data.x_test)
    said = r"^x_test = .* lacks the columns height and has others, weight; give width, height\.$"
    with pytest.raises(tx.InputError, match=said):
        other = turned.rename(columns={" height ": "weight"})
        tx.Dataset.from_arrays(FRAME, X[:, 0], other, X[:, 0])


@pytest.mark.parametrize(
    "x",
    [
        np.ma.masked_array(X, np.arange(24).reshape(12, 2) == 7),
        pd.DataFrame(X).astype("Float64").mask(np.arange(24).reshape(12, 2) == 7),
    ],
)
def test_what_is_masked_is_missing(x):
    with pytest.raises(tx.InputError, match=r"^x = nan at row 3, column 1 is not finite; remove or impute it\.$"):
        tx.Dataset.from_arrays(x, X[:, 0])


@pytest.mark.parametrize("x", [X.tolist(), tuple(map(tuple, X)), pd.DataFrame(X), X])
@pytest.mark.parametrize("hidden", [[2], (2,), np.array([2]), pd.Index([2])])
def test_lists_arrays_and_tuples_are_alike(x, hidden):
    for names in (["a", "b"], ("a", "b"), np.array(["a", "b"]), pd.Index(["a", "b"])):
        data = tx.Dataset.from_arrays(x, X[:, 0].tolist(), inputs=names)
        assert data.inputs == ("a", "b")
    assert tx.Energy.mlp(data, hidden).size == 2 * 2 + 2 + 2 + 1 + 1


FILES = {
    "semicolons": ("a;b;y\n" + "\n".join(f"{i};{i % 3};{i / 2}" for i in range(20)), "utf-8"),
    "latin-1": ("gr\xf6\xdfe,b,y\n" + "\n".join(f"{i},{i % 3},{i / 2}" for i in range(20)), "latin-1"),
    "spaces": (" a , b , y \n" + "\n".join(f" {i} , {i % 3} , {i / 2} " for i in range(20)), "utf-8"),
    "an index": (",a,b,y\n" + "\n".join(f"{i},{i},{i % 3},{i / 2}" for i in range(20)), "utf-8"),
    "a byte order mark": ("\ufeffa,b,y\n" + "\n".join(f"{i},{i % 3},{i / 2}" for i in range(20)), "utf-8"),
}


@pytest.mark.parametrize("case", FILES)
def test_files_as_others_write_them(case, tmp_path):
    text, encoding = FILES[case]
    (tmp_path / "a table.csv").write_bytes(text.encode(encoding))
    data = tx.Dataset.from_csv(tmp_path / "a table.csv", "y")
    assert data.inputs == (("gr\xf6\xdfe" if case == "latin-1" else "a"), "b") and len(data.x) == 18


def test_strings_are_classes_of_a_csv(tmp_path):
    (tmp_path / "t.csv").write_text("a,y\n" + "\n".join(f"{i},{'cat' if i % 2 else 'dog'}" for i in range(20)))
    assert tx.Dataset.from_csv(tmp_path / "t.csv", "y", task="classification").classes == ("cat", "dog")


def test_few_whole_numbers_are_said_to_be_a_regression(tmp_path):
    (tmp_path / "t.csv").write_text("a,y\n" + "\n".join(f"{2 * i},{i % 3}" for i in range(30)))
    with pytest.warns(UserWarning, match=r"^y has 3 whole values \(0, 1, 2\) and is taken for a regression's target"):
        tx.Dataset.from_csv(tmp_path / "t.csv", "y")


def test_probabilities_carry_names_and_columns_are_found(key):
    y = np.array(["cat", "dog", "eel"])[np.digitize(X[:, 0], [-0.5, 0.5])]
    data = tx.Dataset.from_arrays(FRAME, y, FRAME[:4], y[:4], task="classification")
    energy = tx.Energy.mlp(data, (2,))
    tree = tx.sample(key, energy, num_chains=2, num_warmup=20, num_draws=5, start="prior", progress=False)
    assert tree["predictions"]["class"].values.tolist() == ["cat", "dog", "eel"]
    right = tx.predict.predictions(tree, FRAME)["f"]
    assert right["class"].values.tolist() == ["cat", "dog", "eel"]
    np.testing.assert_array_equal(right, tx.predict.predictions(tree, FRAME[[" height ", "width"]], energy)["f"])
    with pytest.raises(tx.InputError, match="has others, depth"):
        tx.predict.predictions(tree, FRAME.assign(depth=1.0), energy)
    gaps = X.copy()
    gaps[[2, 5], 1] = np.nan
    with pytest.raises(tx.InputError, match=r"^x = nan at row 2, column 1 is not finite \(rows 2, 5 in all\);"):
        tx.predict.predictions(tree, gaps, energy)
    again = tx.repeat(tree, num_draws=2)
    assert again["predictions"]["class"].values.tolist() == ["cat", "dog", "eel"]
    assert jax.tree.structure(again.attrs["classes"]) == jax.tree.structure(tree.attrs["classes"])


@pytest.mark.parametrize(
    "labels",
    [
        pd.Series([0.0, 1.0] * 6),
        pd.Series([1.0, 2.0] * 6),
        pd.Categorical(["a", "b"] * 6),
        pd.Series([1, 2] * 6, dtype="Int64"),
    ],
    ids=["floats", "floats from 1", "a bare categorical", "nullable integers"],
)
def test_whole_numbers_are_whatever_holds_them(labels):
    """The same labels as a series, as an array and with another type are the same classes."""
    x = np.arange(12.0)[:, None]
    plain = np.asarray([int(v) if not isinstance(v, str) else v for v in np.asarray(labels, object).tolist()])
    data = tx.Dataset.from_arrays(x, labels, x, plain, task="classification")
    assert len(data.classes) == 2 and set(data.y.ravel()) == {0, 1}
    np.testing.assert_array_equal(data.y, data.y_test)


@pytest.mark.parametrize("given", [["a", "b", "c", "d"], None])
@pytest.mark.slow
def test_classes_that_do_not_occur_have_a_probability(key, given):
    """Declared, or in held-out rows alone; each column of the probabilities carries its own name."""
    x, y = np.random.default_rng(0).normal(size=(30, 2)), np.tile(["a", "b", "c"], 10)
    held = (x[:3], ["a", "b", "d"])
    data = tx.Dataset.from_arrays(x, y, *held, task="classification", classes=given)
    energy = tx.Energy.mlp(data, (2,))
    tree = tx.sample(key, energy, num_chains=2, num_warmup=20, num_draws=10, progress=False)
    f = tx.predict.predictions(tree, x[:2], energy)["f"]
    assert f["class"].values.tolist() == ["a", "b", "c", "d"]
    np.testing.assert_allclose(f.sum("class"), 1.0, rtol=1e-5)
    assert float(f.sel(**{"class": "d"}).mean()) < 0.2
    assert np.isfinite(tx.predict.scores(tree)["lppd"]).all()


def test_columns_of_frames_that_are_none_of_pandas():
    """Whatever has columns and becomes an array."""

    class Frame:
        columns = ("b", "a")

        def __array__(self, dtype=None, copy=None):
            return np.arange(24.0).reshape(12, 2)

    by_name = pd.DataFrame(np.arange(24.0).reshape(12, 2), columns=["b", "a"])[["a", "b"]]
    data = tx.Dataset.from_arrays(by_name, np.arange(12.0), Frame(), np.arange(12.0))
    np.testing.assert_allclose(data.x, data.x_test)


def test_rows_with_more_fields_than_the_header(tmp_path):
    """Names of rows, as R writes them, are no input; decimal commas are refused."""
    rows = "\n".join(f'"row{i}",{i},{i * i}' for i in range(12))
    (tmp_path / "r.csv").write_text('"size","price"\n' + rows)
    data = tx.Dataset.from_csv(tmp_path / "r.csv", "price", split=0, train_fraction=1.0)
    assert data.inputs == ("size",) and data.x_mean[0] == pytest.approx(5.5)
    (tmp_path / "commas.csv").write_text("size,price\n" + "\n".join(f"{i * i},5,{2 * i},{i}" for i in range(12)))
    with pytest.raises(tx.InputError, match="has rows of more fields than its header names"):
        tx.Dataset.from_csv(tmp_path / "commas.csv", "price")


@pytest.mark.filterwarnings("ignore:overflow")
@pytest.mark.slow
def test_inputs_too_large_for_single_precision_are_refused_in_predictions(key):
    x = np.random.default_rng(0).normal(size=(30, 2))
    energy = tx.Energy.mlp(tx.Dataset.from_arrays(x, x[:, 0]), (2,))
    tree = tx.sample(key, energy, num_chains=2, num_warmup=5, num_draws=5, progress=False)
    with pytest.raises(tx.InputError, match="is too large to compute with"):
        tx.predict.predictions(tree, [[1e60, 0.0]], energy)


def write(path, text):
    path.write_text(text)
    return path


def rows(form, number=20):
    return "\n".join(form.format(i=i, mod=i % 3, half=i / 2) for i in range(number))


def test_two_columns_of_one_name_are_refused(tmp_path):
    """The second would be price.1, an input that knows the answer."""
    for header in ("a,price,price", "price, price ,a"):
        file = write(tmp_path / "t.csv", f"{header}\n{rows('{i},{half},{half}')}")
        with pytest.raises(tx.InputError, match=r"^path = .* has several columns of one name, price; give every"):
            tx.Dataset.from_csv(file, "price")
    unnamed = write(tmp_path / "u.csv", f"a,,,y\n{rows('{i},{mod},{half},{half}')}")
    assert tx.Dataset.from_csv(unnamed, "y").inputs == ("a", "Unnamed: 1", "Unnamed: 2")


def test_the_index_of_a_subset_is_no_input(tmp_path):
    frame = pd.DataFrame({"a": np.arange(40.0) % 7, "y": np.arange(40.0)}).sample(frac=0.8, random_state=0)
    frame.to_csv(tmp_path / "t.csv")
    data = tx.Dataset.from_csv(tmp_path / "t.csv", "y")
    assert data.inputs == ("a",)
    whole = data.scaled("x", frame)
    for new in (tmp_path / "t.csv", pd.read_csv(tmp_path / "t.csv")):
        np.testing.assert_allclose(data.scaled("x", new), whole)
    arrays = tx.Dataset.from_arrays(frame[["a"]], frame["y"])
    np.testing.assert_allclose(arrays.scaled("x", pd.read_csv(tmp_path / "t.csv")), arrays.scaled("x", frame))
    repeated = write(tmp_path / "r.csv", f",y\n{rows('{mod},{half}')}")
    assert tx.Dataset.from_csv(repeated, "y").inputs == ("Unnamed: 0",)


HEADERS = {
    "a blank first line": ("\n  \na;b;y\n", ";"),
    "commas in a quoted name": ('"a";"b, of c, d, e and f";y\n', ";"),
    "tabs": ("a\tb\ty\n", "\t"),
    "tabs, and a comma in a name": ("a\tb,c\ty\n", "\t"),
    "one column more": ('"a;b;c;d",b,y\n', ","),
}


@pytest.mark.parametrize("case", HEADERS)
def test_what_separates_columns_is_read_off_the_header(case, tmp_path):
    header, mark = HEADERS[case]
    file = write(tmp_path / "t.csv", header + rows(mark.join(("{i}", "{mod}", "{half}"))))
    data = tx.Dataset.from_csv(file, "y", train_fraction=1.0)
    assert len(data.inputs) == 2 and len(data.x) == 20
    np.testing.assert_allclose(data.x_mean, [9.5, 0.95])


def test_labels_keep_the_zeros_that_they_begin_with(tmp_path):
    file = write(tmp_path / "t.csv", f"a,y\n{rows('{i},0{mod}')}\n20,1\n")
    assert tx.Dataset.from_csv(file, "y", task="classification").classes == ("00", "01", "02", "1")
    plain = write(tmp_path / "p.csv", f"a,y\n{rows('{i},{mod}')}\n20,10\n")
    assert tx.Dataset.from_csv(plain, "y", task="classification").classes == ("0", "1", "2", "10")  # in their order


def test_names_are_stripped_wherever_they_are_given():
    frame = pd.DataFrame({"a ": np.arange(20.0), "price ": np.arange(20.0) ** 2})
    for target in ("price ", "price", ["price "]):
        data = tx.Dataset.from_frame(frame, target)
        assert data.inputs == ("a",) and data.targets == ("price",)
    x, y = frame[["a "]], frame["price "]
    for data in (tx.Dataset.from_arrays(x.to_numpy(), y, inputs=[" a"]), tx.Dataset.from_arrays(x, y)):
        assert data.inputs == ("a",) and data.targets == ("price",)
        assert data.scaled("x", frame).shape == (20, 1)
    with pytest.raises(tx.InputError, match=r"^target = \['price', 'price '\] names a column twice; name each once"):
        tx.Dataset.from_frame(frame, ["price", "price "])


def test_a_complex_target_is_refused():
    frame = pd.DataFrame({"a": np.arange(20.0), "y": np.arange(20.0) + 1j})
    for y in (frame["y"], frame["y"].astype(object)):
        with pytest.raises(tx.InputError, match=r"^target = 'y' holds complex numbers; give real and imaginary parts"):
            tx.Dataset.from_frame(frame.assign(y=y), "y")
