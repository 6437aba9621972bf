"""A user's arguments, taken apart: arrays, which may change without compiling, and all else, which may not."""

from enum import Enum
from hashlib import sha256
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

#: A spread of fewer steps of single precision than this has lost its digits.
FEW_STEPS = 1000


#: Types whose values do not change, so that equal ones are the same constant of a program; and packages whose functions
#: do not either.
UNCHANGING = (str, bytes, int, float, complex, bool, type(None), type, np.dtype, Enum)
PACKAGES = ("builtins", "functools", "jax", "jaxlib", "numpy")


class Kept:
    """A value that is no array of a program: equal to an equal one if it cannot change, else to itself alone.

    Arrays are equal while their numbers are.  What else may be changed in place, a table or an object with attributes,
    is another constant whenever it is given again, so that no program goes on with what it had been.
    """

    def __init__(self, value: Any) -> None:
        self.value = value
        fixed = callable(value) and type(value).__module__.split(".")[0] in PACKAGES
        self.content: Any = (type(value), value) if fixed or isinstance(value, UNCHANGING) else self
        if isinstance(value, (np.ndarray, np.generic, jax.Array)):
            plain: Any = value
            if jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
                plain = jax.random.key_data(plain)
            array = np.ascontiguousarray(plain)
            if array.dtype != object:
                self.content = (str(value.dtype), array.shape, sha256(array).hexdigest())

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Kept):
            return False
        return self is other or (self.content is not self and self.content == other.content)

    def __hash__(self) -> int:
        return id(self) if self.content is self else hash(self.content)


class Arguments:
    """The structure of (args, kwargs), with all that is no array of numbers; hashable.

    Parameters
    ----------
    given
        Any pytree.
    constant
        Kinds of arrays (as `numpy.dtype.kind`) that stay constants of the program, since it computes with them in
        Python; ``"biuf"`` is all of them.
    """

    def __init__(self, given: Any, constant: str = "") -> None:
        leaves, self.structure = jax.tree.flatten(given)
        self.places = tuple(None if _is_array(leaf, constant) else Kept(leaf) for leaf in leaves)

    def arrays(self, given: Any) -> list[Any]:
        """The arrays of arguments of this structure."""
        pairs = zip(jax.tree.leaves(given), self.places, strict=True)
        return [jnp.asarray(leaf) for leaf, place in pairs if place is None]

    @property
    def constants(self) -> list[Any]:
        """The arrays of numbers that stay constants of the program."""
        values = [place.value for place in self.places if place is not None]
        arrays = [value for value in values if isinstance(value, (np.ndarray, jax.Array))]
        return [a for a in arrays if any(jnp.issubdtype(a.dtype, kind) for kind in (jnp.number, jnp.bool_))]

    def filled(self, arrays: list[Any]) -> Any:
        """The arguments again, with these arrays."""
        remaining = iter(arrays)
        leaves = [next(remaining) if place is None else place.value for place in self.places]
        return jax.tree.unflatten(self.structure, leaves)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Arguments) and (self.structure, self.places) == (other.structure, other.places)

    def __hash__(self) -> int:
        return hash((self.structure, self.places))


def _is_array(leaf: Any, constant: str) -> bool:
    if not isinstance(leaf, (np.ndarray, np.generic, jax.Array)) or jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return False
    return leaf.dtype.kind in set("biuf") - set(constant) and not _would_round(leaf)


def _would_round(leaf: Any) -> bool:
    """Whether JAX's precision cannot hold whole numbers, or tell values from one another: times since 1970, say.

    As a constant it is what NumPy computes with before a model makes smaller numbers of it.
    """
    kept = np.asarray(leaf)
    if not kept.size:
        return False
    if kept.dtype.kind in "iu":
        held = np.iinfo(jnp.result_type(int))
        return int(kept.min()) < held.min or int(kept.max()) > held.max
    if kept.dtype != np.float64 or jnp.result_type(float) == np.float64:
        return False
    columns = kept.reshape(-1, kept.shape[-1]) if kept.ndim > 1 else kept[:, None]
    for column in columns.T:
        column = column[np.isfinite(column)]
        if column.size and 0 < column.std() < FEW_STEPS * np.abs(column).max() * 2.0**-23:
            return True
    return False
