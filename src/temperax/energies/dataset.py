"""A data set: training and held-out rows, standardised by the training part, with what undoes it."""

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from temperax.energies.labels import as_classes
from temperax.energies.tables import LARGEST_SINGLE, as_table, check_size, column_names, in_order, read_csv
from temperax.errors import InputError, all_at_once, check_choice, check_count, listed

Task = Literal["regression", "classification", "counts"]
TASKS = {"regression": "regression", "classification": "classification", "counts": "counts"}
#: Random splits of a table that is no published one: each costs a shuffle, since all come from one stream in turn.
_MOST_SPLITS = 1000
#: Of a column's standard deviation, the fewest steps of single precision.
FEW_STEPS = 16
#: Whole numbers of at most so many values might be classes.
FEW_VALUES = 10


@dataclass(frozen=True, eq=False)
class Dataset:
    """Training and held-out rows, standardised by the training part.

    Attributes
    ----------
    x, y
        Training inputs (row, input) and targets (row, target); targets of regressions are standardised too.
    x_test, y_test
        Held-out rows in the same units; possibly none.
    x_mean, x_scale, y_mean, y_scale
        What was subtracted and divided by, so that ``y * y_scale + y_mean`` is in original units.
    task
        ``regression``, ``classification`` (targets 0, 1, …) or ``counts``.
    name, inputs, targets
        Names of the data set and of its columns.
    classes
        Names of the classes 0, 1, … of a classification.
    """

    x: np.ndarray
    y: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    x_mean: np.ndarray
    x_scale: np.ndarray
    y_mean: np.ndarray
    y_scale: np.ndarray
    task: Task
    name: str
    inputs: tuple[str, ...]
    targets: tuple[str, ...]
    classes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """What it is, in a line."""
        rows = f"{len(self.x)} training and {len(self.x_test)} held-out rows"
        shown = ", ".join(self.inputs[:3]) + (", …" if len(self.inputs) > 3 else "")
        about = f"{len(self.inputs)} inputs ({shown}) → {', '.join(self.targets)}"
        about += f" of {len(self.classes)} classes ({listed(self.classes)})" if self.classes else ""
        return f"Dataset({self.name!r}, {self.task}, {rows}, {about})"

    @classmethod
    def from_arrays(
        cls,
        x: Any,
        y: Any,
        x_test: Any = None,
        y_test: Any = None,
        *,
        task: Task = "regression",
        standardise: bool = True,
        name: str = "arrays",
        inputs: Sequence[str] | None = None,
        targets: Sequence[str] | None = None,
        classes: Sequence[str] | None = None,
    ) -> "Dataset":
        """A data set from training rows and, if there are any, held-out rows.

        Parameters
        ----------
        x, y
            Inputs (row, input) and targets (row,) or (row, target): arrays, lists, masked arrays or frames, whose
            columns keep their names.  Targets of a classification are labels of any kind: whole numbers, booleans,
            strings, a pandas categorical.
        x_test, y_test
            Held-out rows of the same columns; those of a frame are put in the order of ``x`` by their names.
        task
            Kind of targets.
        standardise
            Give inputs, and targets of a regression, mean 0 and standard deviation 1 over the training rows.  Inputs
            that are constant there only lose their mean.
        name, inputs, targets
            Names to show.
        classes
            Labels of a classification in the order of their numbers, also those that do not occur; by default what
            occurs, sorted.

        Raises
        ------
        InputError
            For shapes that do not fit, no rows, missing, NaN or infinite values, labels that are none, columns of other
            names, values that single precision cannot hold or tell apart, and a constant target of a regression.
        """
        check_choice("task", task, TASKS)
        if (x_test is None) != (y_test is None):
            raise InputError("x_test", x_test, "and y_test must come together", "give both or neither")
        inputs = column_names(x) if inputs is None else inputs
        targets = column_names(y) if targets is None else targets
        x_test, y_test = in_order("x_test", x_test, column_names(x)), in_order("y_test", y_test, column_names(y))
        named: tuple[str, ...] = ()
        if task == "classification":
            y, y_test, named = as_classes(y, y_test, classes)
        elif classes is not None:
            raise InputError("classes", classes, f"are given to a {task}", "say task='classification'")
        x, y, x_test, y_test = all_at_once(
            lambda: as_table("x", x),
            lambda: as_table("y", y),
            lambda: None if x_test is None else as_table("x_test", x_test, rows=0),
            lambda: None if y_test is None else as_table("y_test", y_test, rows=0),
        )
        x_test, y_test = x[:0] if x_test is None else x_test, y[:0] if y_test is None else y_test
        for part, a, b in (("y", x, y), ("y_test", x_test, y_test)):
            if len(a) != len(b):
                raise InputError(part, b.shape, f"does not have the {len(a)} rows of the inputs", "match the rows")
        for part, a, b in (("x_test", x, x_test), ("y_test", y, y_test)):
            if a.shape[1] != b.shape[1]:
                raise InputError(part, b.shape, f"does not have the {a.shape[1]} training columns", "match the columns")
        if task == "regression" and _constant(y).any():
            raise InputError("y", y[0], "is the same in every row", "give targets that vary or choose another task")
        x_mean, x_scale = _moments(x) if standardise else _no_moments(x)
        y_mean, y_scale = _moments(y) if standardise and task == "regression" else _no_moments(y)
        for part, table, mean in (("x", x, x_mean), ("y", y, y_mean)):
            if not mean.any():  # nothing is subtracted
                _check_digits(part, table)
        return cls(
            _standardised("x", x, x_mean, x_scale),
            _standardised("y", y, y_mean, y_scale),
            _standardised("x_test", x_test, x_mean, x_scale),
            _standardised("y_test", y_test, y_mean, y_scale),
            x_mean,
            x_scale,
            y_mean,
            y_scale,
            task,
            name,
            _names("inputs", inputs, x, "x"),
            _names("targets", targets, y, "y"),
            named,
        )

    @classmethod
    def from_csv(
        cls,
        path: str | os.PathLike,
        target: str | Sequence[str],
        *,
        task: Task = "regression",
        split: int = 0,
        train_fraction: float = 0.9,
        standardise: bool = True,
    ) -> "Dataset":
        """A data set from a CSV file with a header, split at random as the published sets are.

        Parameters
        ----------
        path
            The file, on this machine, with commas or semicolons; every column but ``target`` is an input and must be
            numeric.  A first column without a name that counts the rows is left out.
        target
            Name of the target's column, or several.
        task, standardise
            As in `from_arrays`.
        split
            Which random split, 0 … 999.
        train_fraction
            Share of the rows to train on; 1.0 holds nothing out.

        Raises
        ------
        InputError
            If the file cannot be read as a table, the target is not a column, or a column is not numeric.
        """
        import pandas as pd

        check_choice("task", task, TASKS)
        targets = [target] if isinstance(target, str) else target
        if not isinstance(targets, Sequence) or not targets or not all(isinstance(name, str) for name in targets):
            raise InputError("target", target, "is not a column's name", "give one, or a list of several")
        targets = list(targets)
        table = read_csv(path)
        for column in targets:
            if column not in table.columns:
                columns = ", ".join(map(str, table.columns[:20])) + (", …" if len(table.columns) > 20 else "")
                raise InputError("target", column, "is not a column", f"choose from {columns}")
        if not len(table):
            raise InputError("path", str(path), "has a header and no rows", "give one row an observation")

        def check_column(column: str) -> None:
            label = column in targets and task == "classification"
            if not label and not pd.api.types.is_numeric_dtype(table[column]):
                raise InputError("column", column, "is not numeric", "encode it as numbers or drop it")
            missing = table[column].isna() if label else ~np.isfinite(table[column].to_numpy(float))
            if missing.any():
                rows, what = listed(np.flatnonzero(missing)), "label" if label else "finite number"
                raise InputError(
                    "column", column, f"has no {what} in rows {rows} under the header", "impute or drop it"
                )

        all_at_once(*(partial(check_column, column) for column in table.columns))
        for column in targets:
            _say_what_it_is_taken_for(column, table[column], task)
        inputs = [column for column in table.columns if column not in targets]
        return split_at_random(
            table[inputs].to_numpy(float),
            table[targets].to_numpy() if task == "classification" else table[targets].to_numpy(float),
            split,
            train_fraction,
            task=task,
            standardise=standardise,
            name=Path(path).stem,
            inputs=[str(column) for column in inputs],
            targets=targets,
        )


def _say_what_it_is_taken_for(column: str, values: Any, task: str) -> None:
    """Say so where a regression's target looks like classes or counts: whole numbers of few values."""
    if task != "regression":
        return
    numbers = values.to_numpy(float)
    found = np.unique(numbers)
    if 2 <= len(found) <= FEW_VALUES and len(numbers) > 2 * FEW_VALUES and (found == np.round(found)).all():
        shown = listed(f"{value:g}" for value in found)
        warnings.warn(
            f"{column} has {len(found)} whole values ({shown}) and is taken for a regression's target: say "
            "task='classification' or task='counts' if it is not.",
            stacklevel=3,
        )


def split_at_random(
    x: np.ndarray,
    y: np.ndarray,
    split: int,
    train_fraction: float = 0.9,
    *,
    task: Task = "regression",
    **names: Any,
) -> Dataset:
    """Hold rows out by the published recipe."""
    check_count("split", split, 0, _MOST_SPLITS - 1)
    if isinstance(train_fraction, bool) or not isinstance(train_fraction, (int, float)) or not 0 < train_fraction <= 1:
        raise InputError("train_fraction", train_fraction, "is not in (0, 1]", "give a share such as 0.9")
    # The published splits come from the legacy global generator; an own RandomState gives the same stream.
    generator = np.random.RandomState(1)  # noqa: NPY002
    for _ in range(split + 1):
        order = generator.choice(range(len(x)), len(x), replace=False)
    train, test = np.split(order, [round(train_fraction * len(x))])
    return Dataset.from_arrays(x[train], y[train], x[test], y[test], task=task, **names)


def _standardised(argument: str, table: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """The table in units of the training part."""
    with np.errstate(over="ignore"):
        found = (table - mean) / scale
    check_size(argument, table, np.abs(found) <= LARGEST_SINGLE)
    return found


def _moments(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of the columns; a constant column keeps its unit, up to 1e12."""
    # By a power of two, which is exact, so that squares neither overflow nor vanish.
    unit = _unit(table)
    scaled = table / unit
    mean, scale = scaled.mean(axis=0) * unit, scaled.std(axis=0) * unit
    return mean, np.where(_constant(table), np.maximum(1.0, 1e-12 * unit), scale)  # what is left is rounding


def _constant(table: np.ndarray) -> np.ndarray:
    """Which columns do not vary, by more than rounding does."""
    scaled = table / _unit(table)
    return scaled.std(axis=0) <= 1e-12 * np.abs(scaled).max(axis=0)


def _unit(table: np.ndarray) -> np.ndarray:
    """A power of two near the largest number of each column; 1 for a column of zeros."""
    _, exponent = np.frexp(np.abs(table).max(axis=0))
    return np.ldexp(1.0, np.maximum(exponent, -1000))


def _check_digits(argument: str, table: np.ndarray) -> None:
    """Say so where a column varies by less than single precision tells from its mean."""
    scaled = table / _unit(table)
    step = np.finfo(np.float32).eps * np.abs(scaled).max(axis=0)
    lost = ~_constant(table) & (scaled.std(axis=0) < FEW_STEPS * step)
    if lost.any():
        column = int(lost.argmax())
        problem = f"varies in column {column} by less than single precision tells apart"
        remedy = "leave standardise=True, or subtract a constant"
        raise InputError(argument, float(table[0, column]), problem, remedy)


def _no_moments(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.zeros(table.shape[1]), np.ones(table.shape[1])


def _names(argument: str, names: Sequence[str] | None, table: np.ndarray, letter: str) -> tuple[str, ...]:
    if names is None:
        return (letter,) if table.shape[1] == 1 else tuple(f"{letter}{i}" for i in range(table.shape[1]))
    names = names.tolist() if hasattr(names, "tolist") else names  # an array's or a frame's
    if isinstance(names, str) or not isinstance(names, Sequence):
        raise InputError(argument, names, "is not a list of names", "give one name a column")
    if len(names) != table.shape[1]:
        raise InputError(argument, names, f"does not name {table.shape[1]} columns", "give one name a column")
    if not all(isinstance(name, str) and "\0" not in name for name in names) or len(set(names)) < len(names):
        raise InputError(argument, names, "are not distinct strings", "give every column a name of its own")
    return tuple(names)
