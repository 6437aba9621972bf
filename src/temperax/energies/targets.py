"""Columns of a table that are to be predicted: numbers, or labels of classes."""

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from temperax.errors import InputError, all_at_once, listed

if TYPE_CHECKING:  # imported when there is a frame
    import pandas as pd

#: Whole numbers of at most so many values might be classes.
FEW_VALUES = 10


def check_target(target: object) -> list[str]:
    """Names of target columns."""
    targets = [target] if isinstance(target, str) else target
    if not isinstance(targets, Sequence) or not targets or not all(isinstance(name, str) for name in targets):
        raise InputError("target", target, "is not a column's name", "give one, or a list of several")
    names = [name.strip() for name in targets]
    if len(set(names)) < len(names):
        raise InputError("target", target, "names a column twice", "name each once")
    return names


def targets_of(frame: "pd.DataFrame", task: str) -> Any:
    """The targets (row, target) of a frame: numbers, or labels of classes; a categorical's labels keep their order."""
    import pandas as pd

    def column(name: str) -> np.ndarray:
        values = frame[name].infer_objects()  # numbers, whatever holds them
        label = task == "classification"
        if values.dtype.kind == "c":
            raise InputError("target", name, "holds complex numbers", "give real and imaginary parts as two targets")
        if not label and not pd.api.types.is_numeric_dtype(values):
            remedy = "encode it as numbers, or say task='classification'"
            raise InputError("target", name, "is not numeric", remedy)
        missing = values.isna().to_numpy() if label else ~np.isfinite(values.to_numpy(float, na_value=np.nan))
        if missing.any():
            rows, what = listed(np.flatnonzero(missing)), "label" if label else "finite number"
            problem = f"has no {what} in rows {rows} under the header"
            raise InputError("target", name, problem, "remove these rows")
        _say_what_it_is_taken_for(name, values, task)
        if label:
            return np.array(stripped(values), object)
        return values.to_numpy(float)

    def stripped(labels: Any) -> list[Any]:
        return [v.strip() if isinstance(v, str) else v for v in labels.tolist()]

    found = np.stack(all_at_once(*(lambda name=name: column(name) for name in frame.columns)), axis=1)
    kind = frame.dtypes.iloc[0]
    if task == "classification" and frame.shape[1] == 1 and isinstance(kind, pd.CategoricalDtype):
        return pd.Series(pd.Categorical(found[:, 0], list(dict.fromkeys(stripped(kind.categories)))))
    return found


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
