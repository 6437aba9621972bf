"""Mean 0 and standard deviation 1: how the columns of a table are scaled, in digits that are enough."""

import numpy as np

from temperax.energies.tables import LARGEST_SINGLE, check_size
from temperax.errors import InputError

#: Of a column's standard deviation, the fewest steps of single precision.
FEW_STEPS = 16


def standardised(argument: str, table: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """The table in units of the training part."""
    with np.errstate(over="ignore"):
        found = (table - mean) / scale
    check_size(argument, table, np.abs(found) <= LARGEST_SINGLE)
    return found


def moments(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of the columns; a constant column keeps its unit, up to 1e12."""
    # By a power of two, which is exact, so that squares neither overflow nor vanish.
    power = _unit(table)
    scaled = table / power
    mean, scale = scaled.mean(axis=0) * power, scaled.std(axis=0) * power
    return mean, np.where(constant(table), np.maximum(1.0, 1e-12 * power), scale)  # what is left is rounding


def no_moments(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Nothing to subtract, and nothing to divide by."""
    return np.zeros(table.shape[1]), np.ones(table.shape[1])


def constant(table: np.ndarray) -> np.ndarray:
    """Which columns do not vary, by more than rounding does."""
    scaled = table / _unit(table)
    return scaled.std(axis=0) <= 1e-12 * np.abs(scaled).max(axis=0)


def check_digits(argument: str, table: np.ndarray) -> None:
    """Say so where a column varies by less than single precision tells from its mean."""
    scaled = table / _unit(table)
    step = np.finfo(np.float32).eps * np.abs(scaled).max(axis=0)
    lost = ~constant(table) & (scaled.std(axis=0) < FEW_STEPS * step)
    if lost.any():
        column = int(lost.argmax())
        problem = f"varies in column {column} by less than single precision tells apart"
        remedy = "leave standardise=True, or subtract a constant"
        raise InputError(argument, float(table[0, column]), problem, remedy)


def _unit(table: np.ndarray) -> np.ndarray:
    """A power of two near the largest number of each column; 1 for a column of zeros."""
    _, exponent = np.frexp(np.abs(table).max(axis=0))
    return np.ldexp(1.0, np.maximum(exponent, -1000))
