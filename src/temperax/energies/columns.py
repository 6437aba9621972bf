"""A column of a table as inputs: numbers, categories, dates, what comes round, and what of them is missing."""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from temperax.errors import InputError, listed, told

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
        numbers = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
        if self.text and numbers and values.notna().any():
            problem = "holds numbers where training rows held text"
            raise InputError("column", self.name, problem, "read it as text, dtype=str in pandas.read_csv")
        labels = as_labels(values)
        if MISSING not in self.levels and (gap := labels == MISSING).any():
            if "" not in self.levels:
                problem = f"has no value in rows {listed(np.flatnonzero(gap))}, and training rows lacked none"
                raise InputError("column", self.name, problem, "impute it, or train on rows that lack some")
            labels[gap] = ""  # as which a table may hold what a file has not
        codes = pd.Index(self.levels, dtype=object).get_indexer(labels)
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


# -- reading its values ------------------------------------------------------------------------------------------------


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


def as_days(column: Column, values: pd.Series) -> np.ndarray:
    """Dates as days since 1970-01-01, by the clock of their zone where they have one, NaN where they are missing."""
    zone = zone_of(column.name, values) if values.notna().any() else column.zone
    if bool(zone) != bool(column.zone):
        has, lacks = ("a time zone", "none") if zone else ("no time zone", "one")
        problem = f"has dates of {has}, and training rows had {lacks}"
        raise InputError("column", column.name, problem, "use tz_localize or tz_convert, so that all are alike")
    try:
        if column.format:
            if pd.api.types.is_numeric_dtype(values):
                values = _digits(column, values)
            found = pd.to_datetime(values, format=column.format, errors="coerce", utc=True)
        elif pd.api.types.is_datetime64_any_dtype(values):
            found = pd.to_datetime(values, utc=True)
        else:
            found = iso(values)
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


def _digits(column: Column, values: pd.Series) -> pd.Series:
    """Dates that are numbers as text, where no zero can have been lost."""
    if re.match(r"%[^Y]%", column.format) or (values.dropna() % 1 != 0).any():
        problem = f"holds numbers, which may have lost zeros of dates as {column.format} writes them"
        raise InputError("column", column.name, problem, "read it as text, dtype=str in pandas.read_csv")
    return values.map(lambda value: None if pd.isna(value) else f"{value:.0f}").astype(object)


def iso(values: pd.Series) -> pd.Series:
    """Dates as ISO 8601 writes them, and the first days of periods; text that is no such date is missing."""

    def date(value: Any) -> Any:
        if isinstance(value, pd.Period):
            return value.to_timestamp()
        return value if hasattr(value, "year") or re.match(r"\d{4}-?\d\d", str(value)) else None

    text = values.map(date)
    return pd.to_datetime(text, format="ISO8601", errors="coerce", utc=True)


def zone_of(name: str, values: pd.Series) -> str:
    """The time zone of dates: that of their type, "" where they have none.

    UTC where text has an offset, and of a zone without a name that could be kept, as dateutil's are.
    """
    if pd.api.types.is_datetime64_any_dtype(values):
        return "" if values.dt.tz is None else _kept(str(values.dt.tz))
    offset = values.dropna().map(lambda v: bool(re.search(r"\d[T ]\d.*(Z|[+-]\d\d(:?\d\d)?)$", str(v).strip())))
    if offset.any() and not offset.all():
        raise InputError("column", name, "has dates with an offset from UTC and dates without", "write all alike")
    return "UTC" if len(offset) and offset.all() else ""


def _kept(zone: str) -> str:
    """The name of a time zone, UTC if it is none by which the zone is found again."""
    try:
        pd.Timestamp(0, tz=zone)
    except (KeyError, ValueError, OSError):
        return "UTC"
    return zone


def dense(frame: pd.DataFrame) -> pd.DataFrame:
    """A frame whose sparse columns are ordinary ones."""
    kinds = {name: kind.subtype for name, kind in frame.dtypes.items() if isinstance(kind, pd.SparseDtype)}
    return frame.astype(kinds) if kinds else frame


def check_real(name: str, values: pd.Series) -> None:
    """Say so where values are of a kind that would become numbers without a word: dates, spans of time, complex."""
    kind = getattr(values.dtype, "kind", "O")
    strange = (pd.Timestamp, pd.Timedelta, pd.Period, complex)
    if kind in "mMc" or values.map(lambda value: isinstance(value, strange)).any():
        what = {"m": "spans of time", "c": "complex numbers"}.get(kind, "dates or spans of time")
        remedy = "say columns={…: 'date'} of dates, and give spans as numbers of days"
        raise InputError("column", name, f"holds {what}, which are no numbers", remedy)
