"""The errors that a user's input can raise: one sentence each, with the argument, its value and the remedy.

JAX, pandas and xarray are imported where they are asked for, so that a mistake is found before they are.
"""

import sys
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import jax
    import xarray as xr

#: The largest count: JAX's integers have 32 bits.
MOST = 2**31 - 1
#: Positive numbers that single precision can hold, subnormal ones left out since JAX takes them for 0.
SMALLEST, LARGEST = 1e-37, 1e37


class InputError(ValueError):
    """An argument, a table or a file cannot be used as it is; raised before anything is compiled.

    See Also
    --------
    temperax.StorageError

    Examples
    --------
    >>> try:
    ...     tx.sample(key, energy, temperature=-1.0, path="posterior")
    ... except tx.InputError as error:
    ...     print(error.argument, error.remedy)
    temperature give T > 0 (T = inf is the prior; T → 0 is optimise)
    """

    def __init__(self, argument: str, value: object, problem: str, remedy: str) -> None:
        super().__init__(_one_line(f"{argument} = {short(value)} {problem}; {remedy}."))
        self.argument, self.problem, self.remedy = argument, problem, remedy
        self.others: tuple[InputError, ...] = ()

    def __str__(self) -> str:
        """What is wrong, and what is wrong besides."""
        return " ".join([super().__str__(), *map(str, self.others)])


def all_at_once(*checks: Callable[[], Any]) -> list[Any]:
    """What each check returns, or all that they find wrong together: the first error, with the ``others``.

    Raises
    ------
    InputError
        If a check does.
    """
    found, errors = [], []
    for check in checks:
        try:
            found.append(check())
        except InputError as error:
            errors.append(error)
    if errors:
        errors[0].others = tuple(errors[1:])
        raise errors[0]
    return found


class Interrupted(KeyboardInterrupt):
    """A run that was asked to stop has stopped, after its last block."""

    def __init__(self, directory: object, where: str, *, saved: bool = True) -> None:
        kept = f"saved in {directory}: resume it" if directory else "nothing was saved: give a directory next time"
        super().__init__(f"stopped ({where}); {kept if saved else 'nothing was saved'}.")


class StorageError(OSError):
    """A run directory can no longer be written: the disk is full, say, or the folder became read-only.

    Raised in the middle of a run, whose draws up to its last checkpoint are safe.
    """

    def __init__(self, folder: object, reason: str, num_draws: int) -> None:
        safe = f"its {num_draws} draws up to" if num_draws else "the run up to"
        are = "are" if num_draws else "is"
        super().__init__(
            f"directory = {short(str(folder))} cannot be written any more ({reason}); "
            f"free space or make it writable, then resume: {safe} the last checkpoint {are} safe."
        )


class ProcessError(RuntimeError):
    """Another process of a job has ended or cannot be reached; raised in the middle of a run, in those that are left.

    Such a process cannot go on with JAX, and ends with status 1 whatever is done about the error.
    """

    def __init__(self, directory: object, reason: str) -> None:
        safe = f": what is saved in {directory} is safe" if directory else ""
        super().__init__(
            _one_line(
                f"another process of the job has ended or cannot be reached ({reason}); "
                f"start all of them again, with resume=True where they had a directory{safe}."
            )
        )


def _one_line(text: str) -> str:
    """Text that a file or another library's message may have a part in, as one line that moves no terminal's cursor."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def short(value: Any) -> str:
    """A value in at most one line."""
    if isinstance(value, np.ndarray) or (_is_jax_array(value) and not _is_key(value)):
        if value.size > 8:
            return f"array of shape {tuple(value.shape)}"
        value = np.asarray(value).tolist()
    try:
        text = _one_line(repr(value))
    except Exception:  # what cannot say what it is (an int of 5000 digits, say) must not hide what is wrong with it
        text = f"<{type(value).__name__}>"
    return text if len(text) <= 80 else text[:77] + "..."


def _is_jax_array(value: object) -> Any:
    """Whether it is one; without JAX, there is none."""
    return "jax" in sys.modules and isinstance(value, sys.modules["jax"].Array)


def _is_key(value: Any) -> bool:
    return "key<" in str(value.dtype)


def listed(values: Iterable[object], most: int = 5) -> str:
    """The first values, and how many more there are."""
    texts = [str(value) for value in values]
    rest = f" and {len(texts) - most} more" if len(texts) > most else ""
    return ", ".join(texts[:most]) + rest


def check_positive(argument: str, value: object) -> float:
    """Return ``value`` as a float, or say that it must be a positive finite number."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)):
        raise InputError(argument, value, "is not a number", "give a positive number such as 1.0")
    if not 0 < value <= sys.float_info.max:  # NaN fails too, and so does an int that no float can hold
        raise InputError(argument, value, "is not positive and finite", "give a positive number such as 1.0")
    if not SMALLEST <= value <= LARGEST:
        raise InputError(argument, value, "is beyond single precision", f"stay between {SMALLEST:g} and {LARGEST:g}")
    return float(value)


def check_count(argument: str, value: object, minimum: int = 1, maximum: int = MOST) -> int:
    """Return ``value`` as an int, or say that it must be a whole number from ``minimum`` to ``maximum``."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise InputError(argument, value, "is not a whole number", f"give an int of at least {minimum}")
    if value < minimum:
        raise InputError(argument, value, "is too small", f"give at least {minimum}")
    if value > maximum:
        raise InputError(argument, value, "is too large", f"give at most {maximum}")
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
    """Return ``value`` if it can be called and can name a compiled program."""
    if not callable(value):
        raise InputError(argument, value, "cannot be called", f"give {what}")
    if type(value).__hash__ is None:
        raise InputError(argument, value, "cannot be hashed, as compiled programs ask", f"give {what}")
    return value


def check_array(argument: str, values: object, remedy: str) -> np.ndarray:
    """Return ``values`` as an array of floats, of any shape and perhaps not finite, or say that they are no numbers."""
    try:
        array = np.asarray(values)
        if array.dtype.kind in "cmM":  # NumPy would drop imaginary parts and count days
            raise TypeError(f"{array.dtype} is not real")
        return array.astype(float, copy=False)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(argument, values, "is not made of numbers", remedy) from error


def check_single(argument: str, values: object, array: np.ndarray) -> None:
    """Say so where an array has NaN, or values that single precision cannot hold."""
    if not (np.abs(array) <= np.finfo(np.float32).max).all():
        raise InputError(argument, values, "has values that are NaN or too large", "give numbers below 1e38")


def check_betas(argument: str, given: object, betas: np.ndarray) -> None:
    """Say so where inverse temperatures are not numbers that single precision can hold and tell apart from 0."""
    if not ((betas == 0) | ((betas >= SMALLEST) & (betas <= LARGEST))).all():  # NaN fails too
        problem = "has a β that is negative, not finite, or beyond single precision"
        raise InputError(argument, given, problem, f"give β = 0 or {SMALLEST:g} ≤ β ≤ {LARGEST:g}")


def check_key(key: Any) -> "jax.Array":
    """Return a random key as one of JAX's typed ones, an old ``PRNGKey`` too, or say what is wrong with it."""
    import jax

    array = isinstance(key, (np.ndarray, jax.Array))
    if array and key.dtype == np.uint32 and key.shape == (2,):
        return jax.random.wrap_key_data(jax.numpy.asarray(key))
    if not array or not jax.dtypes.issubdtype(key.dtype, jax.dtypes.prng_key) or key.shape != ():
        raise InputError("key", key, "is not a JAX random key", "give jax.random.key(0)")
    return key


def told(error: Exception) -> str:
    """What kind of error somebody else's code raised, and the first line of what it says."""
    return f"{type(error).__name__}: {(str(error) or ' ').splitlines()[0]}"


def check_result(
    tree: object,
    group: str,
    *variables: str,
    problem: str = "is no result of a sampler",
    remedy: str = "give what temperax.sample returned",
) -> "xr.Dataset":
    """Return a group of a result, or say that the result lacks it or the group lacks some of ``variables``."""
    import xarray as xr

    if not isinstance(tree, xr.DataTree):
        raise InputError("tree", type(tree).__name__, problem, remedy)
    if group not in tree.children:
        raise InputError("tree", list(tree.children), problem, remedy)
    found = _whole(tree[group].to_dataset())
    if found.sizes.get("draw") == 0:
        raise InputError("tree", dict(found.sizes), "has no draws", "keep at least one")
    missing = sorted(set(variables) - set(map(str, found.variables)))
    if missing:
        raise InputError("tree", missing, f"are not in its group {group}", remedy)
    return found


def check_named(trees: object) -> None:
    """Say so where something is not results by name; one result is a mapping too, of its groups."""
    import xarray as xr

    if isinstance(trees, xr.DataTree) or not isinstance(trees, Mapping) or not trees:
        raise InputError("trees", trees, "is no mapping of names to results", "give such as {'narrow': tree}")


#: Dimensions in the order in which groups have them, before those of a variable's own.
_ORDER = ("chain", "draw", "temperature", "pair", "row", "test_row")


def _whole(found: "xr.Dataset") -> "xr.Dataset":
    """A group with the dimensions of draws that ``isel(chain=0)``, ``sel(temperature=1.0)`` or ``stack`` took away."""
    for dim in map(str, found.dims):
        if getattr(found.indexes.get(dim), "nlevels", 1) > 1:
            found = found.unstack(dim)
    if lost := [d for d in ("chain", "draw", "temperature") if d in found.coords and not found.coords[d].dims]:
        found = found.expand_dims(lost)
    if "beta" in found.coords and "temperature" in found.dims and not found["beta"].dims:
        found = found.assign_coords(beta=("temperature", np.atleast_1d(found["beta"].values)))
    return found.transpose(*_ORDER, ..., missing_dims="ignore")
