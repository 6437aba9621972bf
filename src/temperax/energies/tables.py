"""What a user calls a table: arrays, lists, masked arrays, frames with named columns, CSV files, labels of classes."""

import io
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from temperax.errors import InputError, check_array, listed

#: Numbers up to here have differences that a float can hold; energies are computed in single precision, up to here.
LARGEST, LARGEST_SINGLE = 1e300, float(np.finfo(np.float32).max)


def column_names(values: Any) -> tuple[str, ...] | None:
    """Names of the columns of a frame or a series; None of what has none."""
    if hasattr(values, "columns"):
        return tuple(str(name).strip() for name in values.columns)
    name = getattr(values, "name", None) if hasattr(values, "index") and hasattr(values, "dtype") else None
    return None if name is None else (str(name),)


def in_order(argument: str, values: Any, names: Sequence[str] | None) -> Any:
    """A frame with its columns in the order of ``names``; what has no column names is taken as it is.

    Raises
    ------
    InputError
        If columns are missing, or there are others.
    """
    own = column_names(values)
    if own is None or names is None or not hasattr(values, "columns"):
        return values
    missing, others = [n for n in names if n not in own], [n for n in own if n not in names]
    if missing or others:
        parts = ["lacks the columns " + listed(missing)] * bool(missing) + ["has others, " + listed(others)] * bool(
            others
        )
        raise InputError(argument, list(own), " and ".join(parts), f"give {listed(names)}")
    return values.iloc[:, [own.index(name) for name in names]]


def as_table(argument: str, values: Any, rows: int = 1) -> np.ndarray:
    """A float table (row, column) without missing values, from whatever the user gave."""
    table = check_array(argument, _with_gaps(values), "give an array (row, column)")
    table = table[:, None] if table.ndim == 1 else table
    if table.ndim != 2:
        raise InputError(argument, table.shape, "is not (row, column)", "give a two-dimensional array")
    if len(table) < rows or table.shape[1] == 0:
        raise InputError(argument, table.shape, "is empty", "give at least one row and one column")
    check_size(argument, table, np.abs(table) <= LARGEST, column_names(values))
    return table


def _with_gaps(values: Any) -> Any:
    """NaN where values are masked, or pandas' NA."""
    if isinstance(values, np.ma.MaskedArray):
        return np.ma.filled(values.astype(float), np.nan)
    if hasattr(values, "to_numpy") and hasattr(values, "isna"):  # a frame, a series or an index
        try:
            return values.to_numpy(dtype=float, na_value=np.nan)
        except (TypeError, ValueError):
            return values
    return values


def check_size(argument: str, table: np.ndarray, fine: np.ndarray, names: Sequence[str] | None = None) -> None:
    """Say where the numbers of a table are that cannot be computed with."""
    if fine.all():
        return
    row, column = np.argwhere(~fine)[0].tolist()
    value, where = float(table[row, column]), names[column] if names else column
    bad = np.flatnonzero(~fine.all(axis=1))
    others = f" (rows {listed(bad)} in all)" if len(bad) > 1 else ""
    problem, remedy = (
        ("is too large to compute with", "rescale the column or remove the row")
        if np.isfinite(value)
        else ("is not finite", "remove or impute it")
    )
    raise InputError(argument, value, f"at row {row}, column {where} {problem}{others}", remedy)


# -- labels ----------------------------------------------------------------------------------------------------------


def as_classes(
    y: Any, y_test: Any, classes: Sequence[str] | None
) -> tuple[np.ndarray, np.ndarray | None, tuple[str, ...]]:
    """Numbers 0 … K-1 of labels, and the classes' names: what occurs, sorted, or what ``classes`` names in its order.

    Labels may be whole numbers, booleans, strings or a pandas categorical.  Several target columns are left as they
    are: each then has to be 0 or 1.

    Raises
    ------
    InputError
        If labels are missing or no labels, or are none of ``classes``.
    """
    sides = [_labels(name, values) for name, values in (("y", y), ("y_test", y_test)) if values is not None]
    if any(side.ndim > 1 and side.shape[1] != 1 for side in sides):
        return y, y_test, ()
    flat = [side.ravel() for side in sides]
    if classes is not None:
        names = [str(name) for name in classes]
    else:
        found = set(np.concatenate([np.asarray(side, object) for side in flat]).tolist())
        if found <= {0, 1}:  # also where one of the two does not occur
            found = {False, True} if any(isinstance(label, bool) for label in found) else {0, 1}
        names = [_name(label) for label in _sorted(found, y)]
    codes = {name: i for i, name in enumerate(names)}
    coded = []
    for argument, side in zip(("y", "y_test"), flat, strict=False):
        if unknown := sorted({_name(label) for label in side} - set(codes)):
            raise InputError(argument, listed(unknown), "are none of the classes", f"choose from {listed(names)}")
        coded.append(np.array([[codes[_name(label)]] for label in side], float).reshape(-1, 1))
    return coded[0], coded[1] if y_test is not None else None, tuple(names)


def _labels(argument: str, values: Any) -> np.ndarray:
    """Labels as an array of objects or numbers, none of them missing."""
    values = _decategorised(values)
    found = np.asarray(np.ma.filled(values.astype(object), None) if isinstance(values, np.ma.MaskedArray) else values)
    if found.dtype.kind in "fc":
        missing = ~np.isfinite(found)
        fine = missing | ((found == np.round(found.real)) & (np.abs(found) < 2**53))
        if found.dtype.kind == "c" or not fine.all():
            bad = found[~fine].ravel()[0] if not fine.all() else found.ravel()[0]
            raise InputError(argument, bad, "is no label of a class", "give whole numbers, booleans or strings")
    else:
        missing = np.array([label is None or label != label for label in found.ravel().tolist()], bool).reshape(
            found.shape
        )
    if missing.any():
        row = int(np.argwhere(missing)[0][0])
        raise InputError(argument, None, f"has no label in row {row}", "remove the row, or give it a label")
    return found.astype(int) if found.dtype.kind == "f" else found


def _decategorised(values: Any) -> Any:
    """A frame or series with its values as objects, so that a categorical is its labels."""
    if hasattr(values, "isna") and hasattr(values, "astype"):
        return values.astype(object).where(~values.isna(), None).to_numpy()
    return values


def _sorted(found: set, y: Any) -> list:
    """Classes in order: that of a pandas categorical, of numbers, or of names."""
    categories = getattr(getattr(y, "cat", y), "categories", None)
    if categories is not None:
        return [label for label in categories if label in found]
    try:
        return sorted(found)
    except TypeError:
        return sorted(found, key=str)


def _name(label: Any) -> str:
    return str(label.item() if isinstance(label, np.generic) else label)


# -- CSV -------------------------------------------------------------------------------------------------------------


def read_csv(path: Any) -> Any:
    """A CSV file as a frame: commas or semicolons, UTF-8 or Latin-1; names are stripped, and an index is left out.

    Raises
    ------
    InputError
        If there is no such file, or it is no table.
    """
    import pandas as pd

    if not isinstance(path, (str, os.PathLike)):
        raise InputError("path", path, "is not a path", "give the name of a CSV file")
    try:
        # Opened here, so that neither an address is fetched nor an archive unpacked, and no device is waited for.
        place = Path(path).expanduser()
        if place.exists() and not place.is_file():
            raise OSError("it is not a regular file")
        content = place.read_bytes()
        header = content[: content.find(b"\n")] if b"\n" in content else content
        if re.search(rb"[\x00-\x08\x0e-\x1f]", content):
            raise OSError("it is no text")
        separator = ";" if header.count(b";") > header.count(b",") else ","
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = content.decode("latin-1")
        table = pd.read_csv(io.StringIO(text), sep=separator, low_memory=False, skipinitialspace=True)
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(
            "path", str(path), f"cannot be read as CSV ({error})", "give a CSV file with a header"
        ) from error
    table.columns = [str(name).strip() for name in table.columns]
    first = table.columns[0] if len(table.columns) else ""
    if first.startswith("Unnamed: 0") and len(table):
        counted = pd.to_numeric(table[first], errors="coerce")
        if (counted.diff().dropna() == 1).all() and counted.notna().all():  # what to_csv writes of a frame's index
            table = table.drop(columns=first)
    return table
