"""The errors that a user's input can raise: one sentence each, with the argument, its value and the remedy."""

import math
from collections.abc import Callable, Mapping

import jax
import numpy as np


class InputError(ValueError):
    """An argument, a table or a file cannot be used as it is; raised before anything is compiled."""

    def __init__(self, argument: str, value: object, problem: str, remedy: str) -> None:
        super().__init__(f"{argument} = {_short(value)} {problem}; {remedy}.")
        self.argument = argument


def _short(value: object) -> str:
    """A value in at most one line."""
    if isinstance(value, (np.ndarray, jax.Array)) and not jax.dtypes.issubdtype(value.dtype, jax.dtypes.prng_key):
        if value.size > 8:
            return f"array of shape {tuple(value.shape)}"
        value = np.asarray(value).tolist()
    text = " ".join(repr(value).split())
    return text if len(text) <= 80 else text[:77] + "..."


def check_positive(argument: str, value: object) -> float:
    """Return ``value`` as a float, or say that it must be a positive finite number."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)):
        raise InputError(argument, value, "is not a number", "give a positive number such as 1.0")
    if not (math.isfinite(value) and value > 0):
        raise InputError(argument, value, "is not positive and finite", "give a positive number such as 1.0")
    return float(value)


def check_count(argument: str, value: object, minimum: int = 1) -> int:
    """Return ``value`` as an int, or say that it must be a whole number of at least ``minimum``."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise InputError(argument, value, "is not a whole number", f"give an int of at least {minimum}")
    if value < minimum:
        raise InputError(argument, value, "is too small", f"give at least {minimum}")
    return int(value)


def check_fraction(argument: str, value: object) -> float:
    """Return ``value`` as a float strictly between 0 and 1."""
    number = check_positive(argument, value)
    if number >= 1:
        raise InputError(argument, value, "is not below 1", "give a fraction between 0 and 1 such as 0.8")
    return number


def check_choice[T](argument: str, value: object, choices: Mapping[str, T]) -> T:
    """Look ``value`` up among the named ``choices``."""
    if not isinstance(value, str) or value not in choices:
        raise InputError(argument, value, "is not a known name", f"choose one of {', '.join(sorted(choices))}")
    return choices[value]


def check_callable(argument: str, value: object, what: str) -> Callable:
    """Return ``value`` if it can be called."""
    if not callable(value):
        raise InputError(argument, value, "cannot be called", f"give {what}")
    return value
