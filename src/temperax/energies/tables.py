"""What a user calls a table: arrays, lists, masked arrays, frames with named columns, CSV files."""

import io
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from temperax.errors import InputError, check_array, listed

#: The header of a file ends within so many characters.
MOST_HEADER = 100_000
#: What pandas calls a first column without a name.
UNNAMED = "Unnamed: 0"
#: Numbers up to here have differences that a float can hold; energies are computed in single precision, up to here.
LARGEST, LARGEST_SINGLE = 1e300, float(np.finfo(np.float32).max)


def column_names(values: Any) -> tuple[str, ...] | None:
    """Names of the columns of a frame or a series; None of what has none."""
    if hasattr(values, "columns"):
        return tuple(str(name).strip() for name in values.columns)
    name = getattr(values, "name", None) if hasattr(values, "index") and hasattr(values, "dtype") else None
    return None if name is None else (str(name).strip(),)


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
    twice = sorted({n for n in own if own.count(n) > 1})
    found = {"lacks the columns": missing, "has others,": others, "has twice": twice}
    if parts := [f"{what} {listed(columns)}" for what, columns in found.items() if columns]:
        raise InputError(argument, list(own), " and ".join(parts), f"give {listed(names)}")
    order = [own.index(name) for name in names]
    return values.iloc[:, order] if hasattr(values, "iloc") else np.asarray(values)[:, order]


def as_rows(values: Any, names: Sequence[str]) -> Any:
    """A series of the values of one row as a frame of it; a frame without the index that a file has kept of it."""
    if hasattr(values, "to_frame") and set(names) <= {str(name).strip() for name in getattr(values, "index", ())}:
        return values.to_frame().T.infer_objects()
    if UNNAMED in (column_names(values) or ()) and UNNAMED not in names and hasattr(values, "drop"):
        return values.drop(columns=[name for name in values.columns if str(name).strip() == UNNAMED])
    return values


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
        kinds = [getattr(kind, "kind", "O") for kind in (values.dtypes if values.ndim > 1 else [values.dtype])]
        if set(kinds) & set("mMc"):
            return values.to_numpy(dtype=object)  # dates and complex numbers would become real ones
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


# -- CSV -------------------------------------------------------------------------------------------------------------


def read_as_text(kinds: object) -> list[str]:
    """Names of the columns that are text in a file, of what columns are said to be: categories and dates."""
    said = kinds if isinstance(kinds, Mapping) else {}
    return [str(name).strip() for name, kind in said.items() if str(kind).partition(":")[0] in ("category", "date")]


def read_csv(path: Any, text: Sequence[str] = (), labels: Sequence[str] = ()) -> Any:
    """A CSV file as a frame; names are stripped, and an index is left out.

    Commas, semicolons or tabs, UTF-8 or Latin-1.

    Parameters
    ----------
    path
        The file.
    text
        Columns that stay text, whatever they look like: ``01`` and ``1.10`` are not 1 and 1.1 there.
    labels
        Columns that stay text where a number in them begins with a zero, as ``01`` does.

    Raises
    ------
    InputError
        If there is no such file, it is no table, or two columns have one name.
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
        if re.search(rb"[\x00-\x08\x0e-\x1f]", content):
            raise OSError("it is no text")
        try:
            decoded = content.decode("utf-8-sig")
        except UnicodeDecodeError:
            decoded = content.decode("latin-1")
        how: dict[str, Any] = {"sep": _separator(decoded), "skipinitialspace": True, "low_memory": False}
        top = pd.read_csv(io.StringIO(decoded), header=None, nrows=1, dtype=str, keep_default_na=False, **how)
        header = top.iloc[0].tolist()
        kinds = {name: str for name in header if name.strip() in text}
        table = pd.read_csv(io.StringIO(decoded), na_values="?", dtype=kinds, **how)
        if coded := {name: str for name in header if name.strip() in labels}:
            written = pd.read_csv(io.StringIO(decoded), na_values="?", dtype=kinds | coded, **how)
            for name in coded:
                if written[name].dropna().astype(str).str.match(r"\s*[+-]?0\d").any():
                    table[name] = written[name]
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(
            "path", str(path), f"cannot be read as CSV ({error})", "give a CSV file with a header"
        ) from error
    names = [name.strip() for name in header if name.strip()]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        problem = f"has several columns of one name, {listed(twice)}"
        raise InputError("path", str(path), problem, "give every column a name of its own")
    table = _without_row_names(path, table)
    table.columns = [str(name).strip() for name in table.columns]
    if len(table) and table.columns[0].startswith(UNNAMED):
        index = pd.to_numeric(table.iloc[:, 0], errors="coerce")
        if index.is_unique and (index % 1 == 0).all():  # what to_csv writes of a frame's index
            table = table.iloc[:, 1:]
    return table


def _separator(text: str) -> str:
    """What separates the names of a header, the first line that is not empty; quoted names may hold it."""
    lines = re.sub(r'"[^"]*"', "", text[:MOST_HEADER]).splitlines()
    header = next((line for line in lines if line.strip()), "")
    return max(",;\t", key=header.count)  # the first of them where there is none


def _without_row_names(path: Any, table: Any) -> Any:
    """The table of a file whose rows have one field more than the header: names of rows, as R writes them."""
    import pandas as pd

    if isinstance(table.index, pd.RangeIndex):
        return table
    names = table.index if table.index.nlevels == 1 else None
    if names is not None and (names.dtype.kind not in "biuf" or (np.diff(names.to_numpy()) == 1).all()):
        return table.reset_index(drop=True)
    problem = "has rows of more fields than its header names"
    raise InputError("path", str(path), problem, "name every column, and write decimals with points")
