"""Labels of classes, whatever a user calls them: whole numbers, booleans, strings, a pandas categorical."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from temperax.errors import InputError, listed


def as_classes(
    y: Any, y_test: Any, classes: Sequence[Any] | None
) -> tuple[np.ndarray, np.ndarray | None, tuple[str, ...]]:
    """Numbers 0 … K-1 of labels, and the classes' names: what occurs, sorted, or what ``classes`` names in its order.

    Several target columns are left as they are: each then has to be 0 or 1.

    Raises
    ------
    InputError
        If labels are missing or no labels, two of them have one name, or are none of ``classes``.
    """
    sides = [_labels(name, values) for name, values in (("y", y), ("y_test", y_test)) if values is not None]
    if any(side.ndim > 1 and side.shape[1] != 1 for side in sides):
        if classes is not None:
            raise InputError("classes", classes, "are given for several target columns", "code each as 0 and 1")
        return y, y_test, ()
    flat = [side.ravel() for side in sides]
    names = _occurring(flat, y) if classes is None else _given(classes)
    codes = {name: i for i, name in enumerate(names)}
    coded = []
    for argument, side in zip(("y", "y_test"), flat, strict=False):
        if unknown := sorted({_name(label) for label in side} - set(codes)):
            raise InputError(argument, listed(unknown), "are none of the classes", f"choose from {listed(names)}")
        coded.append(np.array([[codes[_name(label)]] for label in side], float).reshape(-1, 1))
    return coded[0], coded[1] if y_test is not None else None, tuple(names)


def _given(classes: Any) -> list[str]:
    """Names of the classes that the user lists."""
    remedy = "give a list of the labels"
    if isinstance(classes, str) or not hasattr(classes, "__iter__"):
        raise InputError("classes", classes, "is no list of labels", remedy)
    names = [_name(label) for label in classes]
    if len(set(names)) < len(names) or len(names) < 2:
        raise InputError("classes", classes, "does not name two classes or more, each once", remedy)
    return names


def _occurring(flat: list[np.ndarray], y: Any) -> list[str]:
    """Names of the labels that occur."""
    found = set(np.concatenate([np.asarray(side, object) for side in flat]).tolist())
    if found <= {0, 1}:  # also where one of the two does not occur
        found = {False, True} if any(isinstance(label, bool) for label in found) else {0, 1}
    names = [_name(label) for label in _sorted(found, y)]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError("y", twice, "is a label both as a number and as a string", "give labels of one kind")
    return names


def _labels(argument: str, values: Any) -> np.ndarray:
    """Labels as an array of whole numbers, booleans or strings, none of them missing."""
    import pandas as pd

    found = _as_array(values)
    if found.dtype.kind in "mM":
        raise InputError(argument, values, "is made of dates", "give whole numbers, booleans or strings")
    if found.dtype.kind in "biu" or not found.size:
        return found
    missing = np.asarray(pd.isna(found))
    if missing.any():
        row = int(np.argwhere(missing)[0][0])
        raise InputError(argument, None, f"has no label in row {row}", "remove the row, or give it a label")
    return np.array([_label(argument, label) for label in found.ravel()], object).reshape(found.shape)


def _as_array(values: Any) -> np.ndarray:
    """What the user gave as an array; of objects where NumPy would make strings of what is missing."""
    if isinstance(values, np.ma.MaskedArray):
        return np.ma.filled(values.astype(object), None)
    if hasattr(values, "isna") or isinstance(values, (list, tuple)):  # pandas' frames, series, categoricals
        return np.asarray(values, object)
    return np.asarray(values)


def _label(argument: str, label: Any) -> Any:
    """A label; numbers that are whole are whole numbers, whatever holds them."""
    label = label.item() if isinstance(label, np.generic) else label
    if isinstance(label, float) and label == round(label) and abs(label) < 2**53:
        return int(label)
    if isinstance(label, (float, complex)) or type(label).__hash__ is None:
        raise InputError(argument, label, "is no label of a class", "give whole numbers, booleans or strings")
    return label


def _sorted(found: set, y: Any) -> list:
    """Classes in order: that of a pandas categorical, of numbers, or of names."""
    y = y.iloc[:, 0] if hasattr(y, "columns") and hasattr(y, "iloc") else y  # of a frame, the one column
    categories = getattr(getattr(y, "cat", y), "categories", None)
    if categories is not None:
        return [label for label in categories if label in found]
    try:
        return sorted(found)
    except TypeError:
        return sorted(found, key=str)


def _name(label: Any) -> str:
    label = label.item() if isinstance(label, np.generic) else label
    return str(int(label)) if isinstance(label, float) and label.is_integer() else str(label)
