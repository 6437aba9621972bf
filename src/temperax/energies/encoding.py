"""How the columns of a table become inputs, by a recipe that is kept.

The recipe is learned from the training rows and applied to new ones; it is plain data, and travels with a result.
"""

import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from scipy import stats

from temperax.energies.columns import (
    MISSING,
    PERIODS,
    Column,
    as_days,
    as_labels,
    as_numbers,
    check_real,
    dense,
    iso,
    zone_of,
)
from temperax.energies.tables import in_order
from temperax.errors import InputError, all_at_once, check_choice, listed

Unknown = Literal["error", "column"]
UNKNOWN = dict.fromkeys(get_args(Unknown), "")
#: What a column may be said to be; a date may be followed by its format, ``"date:%d.%m.%Y"``, and what comes round, as
#: an hour does, is followed by its period, ``"cyclic:24"``.
KINDS = ("number", "category", "date", "cyclic", "drop")
#: Fewer consecutive numbers than this are no sign of an index.
LEAST_COUNTED = 25
#: How numbers are written with separators of thousands, and with decimal commas.
WITH_COMMAS = r"[+-]?\d{1,3}(,\d{3})+(\.\d*)?", r"[+-]?[\d.]*\d,\d+"
#: A column of text with more values is a name or a number of its own rather than a category.
MOST_LEVELS = 50


@dataclass(frozen=True)
class Encoding:
    """How the columns of a table become inputs.

    Attributes
    ----------
    columns
        One for each column that is used, in the order of the table.
    dropped
        Columns that are not.
    """

    columns: tuple[Column, ...]
    dropped: tuple[str, ...] = ()

    @classmethod
    def learn(
        cls, frame: pd.DataFrame, train: np.ndarray, kinds: Mapping[str, str] | None = None, unknown: Unknown = "error"
    ) -> "Encoding":
        """The encoding of a frame's columns.

        Parameters
        ----------
        frame
            The inputs, all rows: categories that only held-out rows have are known too.
        train
            Numbers of the training rows, from which the means that stand for missing values are taken.
        kinds
            What columns are, where they do not say it themselves: ``number``, ``category``, ``date`` (ISO 8601),
            ``date:<format>``, ``cyclic:<period>`` or ``drop``.
        unknown
            What a category does with a value that it does not know: ``"error"``, or ``"column"``, an input of its own,
            of whose weights the data say nothing.

        Raises
        ------
        InputError
            If a column cannot be read as what it is or is said to be, with its rows.
        """
        kinds = _checked_kinds(kinds)
        check_choice("unknown", unknown, UNKNOWN)
        if strange := [name for name in kinds if name not in frame.columns]:
            problem = f"{'is' if len(strange) == 1 else 'are'} not among the inputs"
            raise InputError("columns", listed(strange), problem, f"choose from {listed(frame.columns, 20)}")
        dropped = tuple(name for name in frame.columns if kinds.get(name) == "drop")
        used = [name for name in frame.columns if name not in dropped]
        if not used:
            raise InputError("columns", kinds, "drops every input", "keep one at least")
        learners: list[Callable[[], Column]] = [
            partial(_learn, frame[name], train, kinds.get(name, ""), unknown) for name in used
        ]
        for name in used:
            if name not in kinds and _counts_the_rows(frame[name]):
                warnings.warn(
                    f"{name} has one whole number a row without a gap, and is taken for an input: say "
                    f"columns={{{name!r}: 'drop'}} if it only names the rows, 'number' if not.",
                    stacklevel=3,
                )
        found = cls(tuple(all_at_once(*learners)), dropped)
        if twice := sorted({name for name in found.inputs if found.inputs.count(name) > 1}):
            makers = listed(column.name for column in found.columns if set(twice) & set(column.inputs))
            remedy = "rename the column or the category, or leave unknown='column' out"
            raise InputError("columns", makers, f"would make two inputs of one name, {listed(twice)}", remedy)
        return found

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the inputs."""
        return tuple(name for column in self.columns for name in column.inputs)

    @property
    def marks(self) -> np.ndarray:
        """Which inputs are 0 or 1, as of a category or of what is missing."""
        return np.array([mark for column in self.columns for mark in column.marks], bool)

    @property
    def text(self) -> tuple[str, ...]:
        """Names of the columns that are to be read as text."""
        return tuple(column.name for column in self.columns if column.text or column.kind == "date")

    def encode(self, argument: str, frame: pd.DataFrame, targets: tuple[str, ...] = ()) -> np.ndarray:
        """The inputs (row, input) of a frame that has the same columns; dropped ones and targets may be among them.

        Raises
        ------
        InputError
            If columns are missing or there are others, or values cannot be read.
        """
        frame = frame.rename(columns=lambda name: str(name).strip())
        frame = frame.drop(columns=[name for name in (*self.dropped, *targets) if name in frame])
        frame = dense(in_order(argument, frame, [column.name for column in self.columns]))
        parts = all_at_once(*(partial(column.encode, frame[column.name]) for column in self.columns))
        return np.concatenate(parts, axis=1)

    def table(self) -> pd.DataFrame:
        """How each column was read: what it was taken for, what is done where it is missing or unknown, its inputs."""
        rows = {column.name: column.describe() | {"inputs": len(column.inputs)} for column in self.columns}
        rows |= {name: {"read as": "not used", "inputs": 0} for name in self.dropped}
        wanted = ["read as", "missing", "unknown", "inputs"]
        found = pd.DataFrame.from_dict(rows, orient="index").rename_axis("column").reindex(columns=wanted)
        return found.astype(object).where(found.notna(), "").loc[:, lambda table: (table != "").any()]

    def to_json(self) -> dict[str, Any]:
        """Plain values from which `from_json` makes it again."""
        return asdict(self)

    @classmethod
    def from_json(cls, found: Any) -> "Encoding | None":
        """The encoding that `to_json` wrote; None of None.

        Raises
        ------
        InputError
            If it is none.
        """
        if found is None:
            return None
        try:
            columns: list[dict[str, Any]] = [
                {k: tuple(v) if isinstance(v, list) else v for k, v in c.items()} for c in found["columns"]
            ]
            read = cls(tuple(Column(**column) for column in columns), tuple(found["dropped"]))
            sound = all(
                column.kind in KINDS[:-1]
                and set(column.periods) <= set(PERIODS)
                and all(isinstance(level, str) for level in column.levels)
                and (column.period > 0) == (column.kind == "cyclic")
                for column in read.columns
            )
        except (TypeError, KeyError, AttributeError) as error:
            raise InputError("encoding", found, "is damaged", "use a result as it was written") from error
        if not sound:
            raise InputError("encoding", found, "is damaged", "use a result as it was written")
        return read


# -- learning what a column is -----------------------------------------------------------------------------------------


def _learn(values: pd.Series, train: np.ndarray, kind: str, unknown: str) -> Column:
    """The column of a frame, as what it is said to be or looks like."""
    name, said, (kind, _, detail) = str(values.name), kind, kind.partition(":")
    if kind and kind not in KINDS or (detail and kind not in ("date", "cyclic")):
        written = ", ".join(KINDS).replace("date", "date, date:FORMAT").replace("cyclic", "cyclic:PERIOD")
        raise InputError("columns", f"{name}={said}", "is no kind of column", f"choose from {written}")
    period = _period(name, detail) if kind == "cyclic" else 0.0
    kind = kind or _looks_like(values)
    if kind == "category":
        labels = as_labels(values)
        levels = sorted(set(labels) - {MISSING}) + ([MISSING] if (labels == MISSING).any() else [])
        if len(levels) > MOST_LEVELS:
            problem = f"has {len(levels)} different values, {listed(map(repr, levels))}"
            remedy = f"drop it (columns={{{name!r}: 'drop'}}), group them, or write dates as ISO 8601"
            raise InputError("column", name, problem, remedy)
        text = not pd.api.types.is_numeric_dtype(values) and not _holds_numbers(values)
        return Column(name, kind, levels=tuple(levels), text=text, other=unknown == "column")
    form, zone = (detail, zone_of(name, values)) if kind == "date" else ("", "")
    column = Column(name, kind, format=form, zone=zone, period=period)
    numbers = as_days(column, values) if kind == "date" else as_numbers(column, values)
    missing, known = np.isnan(numbers), numbers[train][~np.isnan(numbers[train])]
    if not known.size:
        raise InputError("column", name, f"has no {kind} in any training row", "drop it")
    with np.errstate(over="ignore"):
        mean = stats.circmean(known, high=period) if kind == "cyclic" else np.mean(known)
        fill = float(mean) if missing.any() else None
    periods: tuple[str, ...] = ()
    if kind == "date":
        whole = (known == np.floor(known)).all()  # dates without a time of day
        span = {p: np.ptp(known) >= least and not (p == "day" and whole) for p, (_, least) in PERIODS.items()}
        periods = tuple(period for period, long in span.items() if long)
    return replace(column, periods=periods, fill=fill)


def _period(name: str, text: str) -> float:
    """The period of what comes round, as it was said."""
    try:
        period = float(text)
    except ValueError:
        period = 0.0
    if not 0 < period < np.inf:
        remedy = f"say such as {{{name!r}: 'cyclic:24'}} of hours"
        raise InputError("columns", {name: f"cyclic:{text}"}, "has no period", remedy)
    return period


def _looks_like(values: pd.Series) -> str:
    if pd.api.types.is_datetime64_any_dtype(values) or pd.api.types.infer_dtype(values) == "period":
        return "date"
    if getattr(values.dtype, "kind", "O") in "mc":
        check_real(str(values.name), values)
    if pd.api.types.is_numeric_dtype(values):  # booleans too
        return "number"
    if isinstance(values.dtype, pd.CategoricalDtype):
        return "category"
    there = values[values.notna()]
    if not len(there):
        return "number"  # which says that none is there
    numeric = pd.to_numeric(there, errors="coerce").notna()
    if numeric.all():
        return "number"
    _check_commas(str(values.name), there, numeric)
    if numeric.mean() > 0.5:
        rows = listed(np.flatnonzero(values.notna())[~numeric.to_numpy()])
        problem = f"holds numbers, and in rows {rows} text ({listed(map(repr, there[~numeric]))})"
        remedy = f"leave these empty, or say columns={{{str(values.name)!r}: 'category'}}"
        raise InputError("column", str(values.name), problem, remedy)
    return "date" if iso(there).notna().all() else "category"


def _check_commas(name: str, there: pd.Series, numeric: pd.Series) -> None:
    """Say so where text is numbers with commas, of thousands or of decimals."""
    text = there.map(lambda value: str(value).strip())
    thousands, decimals = (text.map(lambda value, form=form: bool(re.fullmatch(form, value))) for form in WITH_COMMAS)
    commas = thousands | decimals
    if not commas.any() or (commas.mean() <= 0.5 and not (numeric | commas).all()):
        return
    if (thousands == commas).all():
        problem, remedy = f"holds thousands separators ({listed(map(repr, there[thousands]), 2)})", "remove them"
    else:
        problem, remedy = "holds numbers with decimal commas", "write decimals with points"
    raise InputError("column", name, problem, f"{remedy}, or say columns={{…: 'category'}}")


def _holds_numbers(values: pd.Series) -> bool:
    """Whether what is there is all numbers, or booleans, whatever the column's type."""
    kind = getattr(getattr(values, "cat", None), "categories", values).dropna()
    return bool(len(kind)) and all(isinstance(value, (int, float, np.number, np.bool_)) for value in kind.tolist())


def _checked_kinds(kinds: object) -> dict[str, str]:
    """What columns are said to be, by names as a frame's are read."""
    if kinds is None:
        return {}
    if not isinstance(kinds, Mapping) or not all(isinstance(kind, str) for kind in kinds.values()):
        raise InputError("columns", kinds, "is no mapping of names to kinds", "give such as {'zip': 'category'}")
    return {str(name).strip(): kind for name, kind in kinds.items()}


def _counts_the_rows(values: pd.Series) -> bool:
    """Whether the values are consecutive whole numbers in any order, as of an index that has become a column."""
    if not pd.api.types.is_integer_dtype(values) or len(values) < LEAST_COUNTED or values.isna().any():
        return False
    return bool(values.is_unique and values.max() - values.min() == len(values) - 1)
