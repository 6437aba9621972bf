"""How the columns of a table become inputs: numbers, categories, dates and what is missing, by a recipe that is kept.

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

from temperax.energies.tables import in_order
from temperax.errors import InputError, all_at_once, check_choice, listed, told

Unknown = Literal["error", "column"]
UNKNOWN = dict.fromkeys(get_args(Unknown), "")
#: What a column may be said to be; a date may be followed by its format, ``"date:%d.%m.%Y"``, and what comes round, as
#: an hour does, is followed by its period, ``"cyclic:24"``.
KINDS = ("number", "category", "date", "cyclic", "drop")
#: Fewer consecutive numbers than this are no sign of an index.
LEAST_COUNTED = 25
#: A column of text with more values is a name or a number of its own rather than a category.
MOST_LEVELS = 50
#: Periods in days by which a date is wound up, and how long the training rows must span to learn of one.
PERIODS = {"year": (365.2425, 365.0), "week": (7.0, 14.0), "day": (1.0, 2.0)}
#: The level of a category for what is missing.
MISSING = "(missing)"
#: Microseconds of a day.
DAY = 86_400_000_000


@dataclass(frozen=True)
class Column:
    """How one column becomes inputs.

    Attributes
    ----------
    name
        As the table has it.
    kind
        ``number``, ``category``, ``date`` or ``cyclic``.
    levels
        Of a category: its values as text, sorted; ``(missing)`` is one where values are missing.
    text
        Of a category: whether the training rows held text, of which 1.1 is no spelling of 1.10.
    periods
        Of a date: the members of `PERIODS` whose sine and cosine are inputs, beside the days since 1970.
    format
        Of a date: how it is written, ``""`` for ISO 8601.
    zone
        Of a date: the time zone in which it is told, ``""`` where it has none.
    period
        Of what comes round, in its own unit.
    fill
        What stands for a missing number or date, the mean of the training rows; None where none is missing.
    other
        Of a category: whether values that training rows lack have an input of their own.
    """

    name: str
    kind: str
    levels: tuple[str, ...] = ()
    text: bool = False
    periods: tuple[str, ...] = ()
    format: str = ""
    zone: str = ""
    period: float = 0.0
    fill: float | None = None
    other: bool = False

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the inputs that it becomes."""
        if self.kind == "category":
            shown = self.levels[1:] if len(self.levels) == 2 and not self.other else self.levels
            return tuple(f"{self.name}={level}" for level in (*shown, *(["(other)"] if self.other else [])))
        waves = [f"{self.name} {wave}{of}" for of in self._waves for wave in ("sin", "cos")]
        straight = [] if self.kind == "cyclic" else [self.name]
        return (*straight, *waves, *([f"{self.name} is missing"] if self.fill is not None else []))

    @property
    def _waves(self) -> dict[str, float]:
        """Periods of its sines and cosines, by what their names end in."""
        if self.kind == "cyclic":
            return {"": self.period}
        return {f" of {period}": PERIODS[period][0] for period in self.periods}

    @property
    def marks(self) -> tuple[bool, ...]:
        """Which inputs are 0 or 1: whether it is a category, or is missing."""
        number = len(self.inputs)
        if self.kind == "category":
            return (True,) * number
        return (*(False,) * (number - 1), self.fill is not None)  # what says of a gap comes last

    def encode(self, values: pd.Series) -> np.ndarray:
        """The inputs (row, input) of its values."""
        if self.kind == "category":
            return self._encode_category(values)
        numbers = as_days(self, values) if self.kind == "date" else as_numbers(self, values)
        missing = np.isnan(numbers)
        if missing.any() and self.fill is None:
            problem = f"has no {self.kind} in rows {listed(np.flatnonzero(missing))}, and training rows lacked none"
            raise InputError("column", self.name, problem, "impute it, or train on rows that lack some")
        filled = np.where(missing, self.fill, numbers) if self.fill is not None else numbers
        waves = [wave(2 * np.pi * filled / length) for length in self._waves.values() for wave in (np.sin, np.cos)]
        straight = [] if self.kind == "cyclic" else [filled]
        return np.stack([*straight, *waves, *([missing.astype(float)] if self.fill is not None else [])], axis=1)

    def _encode_category(self, values: pd.Series) -> np.ndarray:
        if self.text and pd.api.types.is_numeric_dtype(values) and values.notna().any():
            problem = "holds numbers where training rows held text"
            raise InputError("column", self.name, problem, "read it as text, dtype=str in pandas.read_csv")
        labels = as_labels(values)
        codes = pd.Categorical(labels, categories=list(self.levels)).codes
        unknown = codes < 0
        if unknown.any() and not self.other:
            found = sorted(set(labels[unknown]))
            problem = f"holds {listed(found)} in rows {listed(np.flatnonzero(unknown))}, which no training row has"
            raise InputError("column", self.name, problem, "map it to a known one, or train with unknown='column'")
        one_hot = (codes[:, None] == np.arange(len(self.levels))).astype(float)
        if self.other:
            return np.concatenate([one_hot, unknown[:, None].astype(float)], axis=1)
        return one_hot[:, 1:] if len(self.levels) == 2 else one_hot

    def describe(self) -> dict[str, str]:
        """What it was taken for, in words."""
        if self.kind == "category":
            what = f"category of {len(self.levels)}: {listed(self.levels)}"
            return {"read as": what, "unknown": "an input of its own" if self.other else "an error"}
        what = f"cyclic, period {self.period:g}" if self.kind == "cyclic" else self.kind
        if self.kind == "date":
            what = f"date ({self.format or 'ISO 8601'}): days" + "".join(f", {period}" for period in self.periods)
        return {"read as": what, "missing": "" if self.fill is None else f"mean ({self.fill:.4g}), and an input"}


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
        return cls(tuple(all_at_once(*learners)), dropped)

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
        return tuple(column.name for column in self.columns if column.text)

    def encode(self, argument: str, frame: pd.DataFrame, targets: tuple[str, ...] = ()) -> np.ndarray:
        """The inputs (row, input) of a frame that has the same columns; dropped ones and targets may be among them.

        Raises
        ------
        InputError
            If columns are missing or there are others, or values cannot be read.
        """
        frame = frame.rename(columns=lambda name: str(name).strip())
        frame = frame.drop(columns=[name for name in (*self.dropped, *targets) if name in frame])
        frame = in_order(argument, frame, [column.name for column in self.columns])
        parts = all_at_once(*(partial(column.encode, frame[column.name]) for column in self.columns))
        return np.concatenate(parts, axis=1)

    def table(self) -> pd.DataFrame:
        """How each column was read: what it was taken for, what is done where it is missing or unknown, its inputs."""
        rows = {column.name: column.describe() | {"inputs": len(column.inputs)} for column in self.columns}
        rows |= {name: {"read as": "not used", "inputs": 0} for name in self.dropped}
        wanted = ["read as", "missing", "unknown", "inputs"]
        found = pd.DataFrame.from_dict(rows, orient="index").rename_axis("column").reindex(columns=wanted)
        return found.fillna("").loc[:, lambda table: (table != "").any()]

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
                and all(map(len, column.levels))
                and (column.period > 0) == (column.kind == "cyclic")
                for column in read.columns
            )
        except (TypeError, KeyError, AttributeError) as error:
            raise InputError("encoding", found, "is damaged", "use a result as it was written") from error
        if not sound:
            raise InputError("encoding", found, "is damaged", "use a result as it was written")
        return read


# -- what a column is --------------------------------------------------------------------------------------------------


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
    if pd.api.types.is_datetime64_any_dtype(values):
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
    if there.map(lambda value: bool(re.fullmatch(r"[+-]?[\d.]*\d,\d+", str(value).strip()))).mean() > 0.5:
        remedy = "write decimals with points, or say columns={…: 'category'}"
        raise InputError("column", str(values.name), "holds numbers with decimal commas", remedy)
    if numeric.mean() > 0.5:
        rows = listed(np.flatnonzero(values.notna())[~numeric.to_numpy()])
        problem = f"holds numbers, and in rows {rows} text ({listed(map(repr, there[~numeric]))})"
        remedy = f"leave these empty, or say columns={{{str(values.name)!r}: 'category'}}"
        raise InputError("column", str(values.name), problem, remedy)
    return "date" if _iso(there).notna().all() else "category"


def _iso(values: pd.Series) -> pd.Series:
    """Dates as ISO 8601 writes them; text that is no such date is missing."""
    text = values.map(lambda value: value if hasattr(value, "year") or re.match(r"\d{4}-?\d\d", str(value)) else None)
    return pd.to_datetime(text, format="ISO8601", errors="coerce", utc=True)


def as_labels(values: pd.Series) -> np.ndarray:
    """Values of a category as text; whole numbers look the same whatever holds them."""

    def label(value: Any) -> str:
        return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()

    return np.array([MISSING if pd.isna(value) else label(value) for value in values.tolist()], object)


def as_numbers(column: Column, values: pd.Series) -> np.ndarray:
    """Values as numbers, NaN where they are missing."""
    check_real(column.name, values)
    found = pd.to_numeric(values, errors="coerce")
    if (wrong := (found.isna() & values.notna()).to_numpy()).any():
        problem = f"holds {listed(map(repr, values[wrong]))} in rows {listed(np.flatnonzero(wrong))}"
        raise InputError("column", column.name, problem, "give numbers, or leave the values empty")
    numbers = found.to_numpy(float, na_value=np.nan)
    if (wrong := np.isinf(numbers)).any():
        problem = f"has no finite number in rows {listed(np.flatnonzero(wrong))}"
        raise InputError("column", column.name, problem, "remove the rows, or leave the values empty")
    return numbers


def check_real(name: str, values: pd.Series) -> None:
    """Say so where values are of a kind that would become numbers without a word: dates, spans of time, complex."""
    kind = getattr(values.dtype, "kind", "O")
    if kind in "mMc" or values.map(lambda value: isinstance(value, (pd.Timestamp, pd.Timedelta, complex))).any():
        what = {"m": "spans of time", "c": "complex numbers"}.get(kind, "dates or spans of time")
        remedy = "say columns={…: 'date'} of dates, and give spans as numbers of days"
        raise InputError("column", name, f"holds {what}, which are no numbers", remedy)


def _holds_numbers(values: pd.Series) -> bool:
    """Whether what is there is all numbers, or booleans, whatever the column's type."""
    kind = getattr(getattr(values, "cat", None), "categories", values).dropna()
    return bool(len(kind)) and all(isinstance(value, (int, float, np.number, np.bool_)) for value in kind.tolist())


def zone_of(name: str, values: pd.Series) -> str:
    """The time zone of dates: that of their type, UTC where text has an offset, "" where they have none."""
    if pd.api.types.is_datetime64_any_dtype(values):
        return str(values.dt.tz) if values.dt.tz is not None else ""
    offset = values.dropna().map(lambda v: bool(re.search(r"\d[T ]\d.*(Z|[+-]\d\d:?\d\d)$", str(v).strip())))
    if offset.any() and not offset.all():
        raise InputError("column", name, "has dates with an offset from UTC and dates without", "write all alike")
    return "UTC" if len(offset) and offset.all() else ""


def as_days(column: Column, values: pd.Series) -> np.ndarray:
    """Dates as days since 1970-01-01, by the clock of their zone where they have one, NaN where they are missing."""
    zone = zone_of(column.name, values) if values.notna().any() else column.zone
    if bool(zone) != bool(column.zone):
        has, lacks = ("a time zone", "none") if zone else ("no time zone", "one")
        problem = f"has dates of {has}, and training rows had {lacks}"
        raise InputError("column", column.name, problem, "use tz_localize or tz_convert, so that all are alike")
    try:
        if column.format:
            found = pd.to_datetime(values, format=column.format, errors="coerce", utc=True)
        elif pd.api.types.is_datetime64_any_dtype(values):
            found = pd.to_datetime(values, utc=True)
        else:
            found = _iso(values)
        if column.zone:
            found = found.dt.tz_convert(column.zone)
        found = found.dt.tz_localize(None).dt.as_unit("us")
    except (ValueError, OverflowError) as error:  # a format that is none, dates of no calendar
        problem = f"cannot be read as dates ({told(error)})"
        raise InputError("column", column.name, problem, "say columns={…: 'date:%d.%m.%Y'} or the like") from error
    if (wrong := (found.isna() & values.notna()).to_numpy()).any():
        shown, how = listed(map(repr, values[wrong])), column.format or "ISO 8601"
        problem = f"holds {shown} in rows {listed(np.flatnonzero(wrong))}, no dates as {how} writes them"
        raise InputError("column", column.name, problem, "say columns={…: 'date:%d.%m.%Y'} or the like")
    return np.where(found.isna(), np.nan, found.to_numpy("datetime64[us]").astype(np.int64) / DAY)
