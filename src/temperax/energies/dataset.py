"""A data set: training and held-out rows, standardised by the training part, with what undoes it."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

from temperax.energies.labels import as_classes
from temperax.energies.scaling import check_digits, constant, moments, no_moments, standardised
from temperax.energies.tables import as_rows, as_table, column_names, in_order, read_as_text, read_csv
from temperax.energies.targets import check_target, targets_of
from temperax.errors import InputError, all_at_once, check_choice, check_count, listed

if TYPE_CHECKING:  # pandas is imported when there is a frame, so that a mistake in a command line is found before it is
    import pandas as pd

    from temperax.energies.encoding import Encoding, Unknown

Task = Literal["regression", "classification", "counts"]
TASKS = {"regression": "regression", "classification": "classification", "counts": "counts"}
#: Share of the rows that published splits train on.
TRAIN_FRACTION = 0.9
#: Random splits of a table that is no published one: each costs a shuffle, since all come from one stream in turn.
_MOST_SPLITS = 1000


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
    encoding
        How a table's columns became inputs, of a data set from a frame or a CSV file.

    See Also
    --------
    temperax.datasets.load, temperax.Energy.mlp

    Examples
    --------
    >>> data.x.shape, data.x_test.shape, data.task
    ((40, 1), (40, 1), 'regression')
    >>> bool(abs(data.x.mean()) < 1e-6)  # standardised by the training part
    True
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
    encoding: "Encoding | None" = None

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

        See Also
        --------
        temperax.Dataset.from_frame, temperax.datasets.load

        Examples
        --------
        >>> rows = np.array([[0.0], [1.0], [2.0], [3.0]])
        >>> pets = tx.Dataset.from_arrays(rows[:3], ["cat", "dog", "cat"], rows[3:], ["dog"], task="classification")
        >>> pets.classes
        ('cat', 'dog')
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
        if task == "regression" and constant(y).any():
            raise InputError("y", y[0], "is the same in every row", "give targets that vary or choose another task")
        x_mean, x_scale = moments(x) if standardise else no_moments(x)
        y_mean, y_scale = moments(y) if standardise and task == "regression" else no_moments(y)
        for part, table, mean in (("x", x, x_mean), ("y", y, y_mean)):
            if not mean.any():  # nothing is subtracted
                check_digits(part, table)
        return cls(
            standardised("x", x, x_mean, x_scale),
            standardised("y", y, y_mean, y_scale),
            standardised("x_test", x_test, x_mean, x_scale),
            standardised("y_test", y_test, y_mean, y_scale),
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

    def scaled(self, argument: str, x: Any) -> np.ndarray:
        """New inputs as the network takes them: encoded as the data set's own table was, and standardised.

        Parameters
        ----------
        argument
            How the caller names them.
        x
            A frame with the columns of the table (targets may be among them), a series with them (one row), the path
            of a CSV file with them, or an array (row, input) in the units that the data set was given in.

        Raises
        ------
        InputError
            If the columns are not the inputs, or values are missing, unknown or too large: with their rows.
        """
        if isinstance(x, (str, os.PathLike)):
            x = read_csv(x, () if self.encoding is None else self.encoding.text)
        x = as_rows(x, self.inputs if self.encoding is None else [column.name for column in self.encoding.columns])
        if self.encoding is not None and hasattr(x, "columns") and hasattr(x, "rename"):
            x = self.encoding.encode(argument, x, self.targets)
        elif hasattr(x, "columns") and hasattr(x, "drop"):
            x = x.drop(
                columns=[name for name in x.columns if str(name).strip() in set(self.targets) - set(self.inputs)]
            )
        x = as_table(argument, in_order(argument, x, self.inputs))
        if x.shape[1] != self.x.shape[1]:
            raise InputError(argument, x.shape, f"is not (row, {self.x.shape[1]})", "give one column an input")
        return standardised(argument, x, self.x_mean, self.x_scale)

    @classmethod
    def from_csv(cls, path: str | os.PathLike, target: str | Sequence[str], **options: Any) -> "Dataset":
        """A data set from a CSV file with a header.

        Parameters
        ----------
        path
            The file, on this machine, with commas, semicolons or tabs.  A first column without a name that has whole
            numbers, each once, is left out.  Labels of a classification keep the zeros that they begin with.
        target, **options
            As in `from_frame`.

        Raises
        ------
        InputError
            If the file cannot be read as a table, and as `from_frame`.

        See Also
        --------
        temperax.Dataset.from_frame

        Examples
        --------
        >>> import pandas as pd
        >>> pd.DataFrame({"size": [50.0, 80.0, 65.0], "price": [1.0, 2.0, 1.5]}).to_csv("table.csv", index=False)
        >>> tx.Dataset.from_csv("table.csv", target="price").x.shape
        (3, 1)
        """
        targets = check_target(target)
        labels = targets if options.get("task") == "classification" else []
        table = read_csv(path, read_as_text(options.get("columns")), labels)
        return cls.from_frame(table, target, **{"name": Path(path).stem} | options)

    def _with_even_marks(self, marks: np.ndarray) -> Self:
        """Marks of 0 and 1 scaled as if both were as frequent.

        By its own deviation a mark that one row in 160 has would be 12.6 there, and the network's answer that row's.
        """
        scale = np.where(marks, np.maximum(self.x_scale, 0.5), self.x_scale)
        x, x_test = (part * (self.x_scale / scale) for part in (self.x, self.x_test))
        return replace(self, x=x.astype(self.x.dtype), x_test=x_test.astype(self.x.dtype), x_scale=scale)

    @classmethod
    def from_frame(
        cls,
        frame: "pd.DataFrame",
        target: str | Sequence[str],
        *,
        task: Task = "regression",
        columns: Mapping[str, str] | None = None,
        unknown: "Unknown" = "error",
        split: int = 0,
        train_fraction: float = TRAIN_FRACTION,
        standardise: bool = True,
        name: str | None = None,
    ) -> "Dataset":
        """A data set from a frame, split at random as the published sets are.

        Columns become inputs by a recipe that is learned from the training rows, kept with every result and applied to
        new rows: numbers as they are, text as categories (one input a category, or one for two), dates as days since
        1970 and as sine and cosine of the year, week and day that they span; where numbers are missing, the training
        rows' mean stands, with an input that says so.  ``data.encoding.table()`` shows it.

        Parameters
        ----------
        frame
            One row an observation; every column but ``target`` is an input.
        target
            Name of the target's column, or several.
        task, standardise
            As in `from_arrays`.
        columns
            What columns are, where they do not say it themselves: ``"number"``, ``"category"``, ``"date"`` (ISO 8601),
            ``"date:%d.%m.%Y"``, ``"cyclic:24"`` (an hour, say: a sine and a cosine) or ``"drop"``, by name.
        unknown
            What is done about a category that is in no row: ``"error"`` names it; ``"column"`` keeps an input for it,
            of whose weights the data say nothing.
        split
            Which random split, 0 … 999.
        train_fraction
            Share of the rows to train on; 1.0 holds nothing out.
        name
            Of the data set, to show; by default the target's.

        Raises
        ------
        InputError
            If the target is not a column or is missing in a row, or a column cannot be read as what it is.

        See Also
        --------
        temperax.Dataset.from_csv, temperax.predict.summary

        Examples
        --------
        >>> import pandas as pd
        >>> table = pd.DataFrame({"size": [50.0, 80.0, 65.0], "town": ["A", "B", "A"], "price": [1.0, 2.0, 1.5]})
        >>> tx.Dataset.from_frame(table, "price").inputs
        ('size', 'town=B')
        """
        import pandas as pd

        from temperax.energies.columns import dense
        from temperax.energies.encoding import Encoding

        check_choice("task", task, TASKS)
        if not isinstance(frame, pd.DataFrame):
            raise InputError("frame", frame, "is no frame", "give a pandas.DataFrame, or use from_arrays")
        targets = check_target(target)
        frame = frame.rename(columns=lambda name: str(name).strip()).reset_index(drop=True)
        if twice := sorted(set(frame.columns[frame.columns.duplicated()])):
            raise InputError("frame", twice, "are names of several columns", "give every column a name of its own")
        for column in targets:
            if column not in frame.columns:
                some = ", ".join(map(str, frame.columns[:20])) + (", …" if len(frame.columns) > 20 else "")
                raise InputError("target", column, "is not a column", f"choose from {some}")
        if not len(frame):
            raise InputError("frame", frame.shape, "has a header and no rows", "give one row an observation")
        if len(targets) == len(frame.columns):
            raise InputError("target", listed(targets), "leaves no inputs", "give a table with inputs")
        frame, (train, test) = dense(frame), split_rows(len(frame), split, train_fraction)
        y, encoding = all_at_once(
            lambda: targets_of(frame[targets], task),
            lambda: Encoding.learn(frame.drop(columns=targets), train, columns, unknown),
        )
        x = encoding.encode("frame", frame, tuple(targets))
        shown = ", ".join(targets) if name is None else name
        options: dict[str, Any] = {"task": task, "standardise": standardise, "name": shown}
        names = {"inputs": encoding.inputs, "targets": targets}
        found = cls.from_arrays(x[train], y[train], x[test], y[test], **options, **names)
        return replace(found._with_even_marks(encoding.marks) if standardise else found, encoding=encoding)


def split_at_random(
    x: np.ndarray,
    y: np.ndarray,
    split: int,
    train_fraction: float = TRAIN_FRACTION,
    *,
    task: Task = "regression",
    **names: Any,
) -> Dataset:
    """Hold rows out by the published recipe."""
    train, test = split_rows(len(x), split, train_fraction)
    return Dataset.from_arrays(x[train], y[train], x[test], y[test], task=task, **names)


def split_rows(rows: int, split: int, train_fraction: float = TRAIN_FRACTION) -> list[np.ndarray]:
    """Numbers of the training and of the held-out rows of a split, by the published recipe."""
    check_count("split", split, 0, _MOST_SPLITS - 1)
    if isinstance(train_fraction, bool) or not isinstance(train_fraction, (int, float)) or not 0 < train_fraction <= 1:
        raise InputError("train_fraction", train_fraction, "is not in (0, 1]", "give a share such as 0.9")
    # The published splits come from the legacy global generator; an own RandomState gives the same stream.
    generator = np.random.RandomState(1)  # noqa: NPY002
    for _ in range(split + 1):
        order = generator.choice(range(rows), rows, replace=False)
    return np.split(order, [round(train_fraction * rows)])


def _names(argument: str, names: Sequence[str] | None, table: np.ndarray, letter: str) -> tuple[str, ...]:
    if names is None:
        return (letter,) if table.shape[1] == 1 else tuple(f"{letter}{i}" for i in range(table.shape[1]))
    names = names.tolist() if hasattr(names, "tolist") else names  # an array's or a frame's
    if isinstance(names, str) or not isinstance(names, Sequence):
        raise InputError(argument, names, "is not a list of names", "give one name a column")
    if len(names) != table.shape[1]:
        raise InputError(argument, names, f"does not name {table.shape[1]} columns", "give one name a column")
    names = [name.strip() if isinstance(name, str) else name for name in names]
    if not all(isinstance(name, str) and "\0" not in name for name in names) or len(set(names)) < len(names):
        raise InputError(argument, names, "are not distinct strings", "give every column a name of its own")
    return tuple(names)
