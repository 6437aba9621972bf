"""A user's arguments, taken apart: arrays, which may change without compiling, and all else, which may not."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

#: A spread of fewer steps of single precision than this has lost its digits.
FEW_STEPS = 1000


class Kept:
    """A value that is no array of a program: equal to an equal one if it can be hashed, else to itself alone."""

    def __init__(self, value: Any) -> None:
        self.value = value
        try:
            self._hash, self._by_value = hash(value), True
        except TypeError:
            self._hash, self._by_value = id(value), False

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Kept):
            return False
        mine, theirs = self.value, other.value
        return mine is theirs or (self._by_value and type(mine) is type(theirs) and bool(mine == theirs))

    def __hash__(self) -> int:
        return self._hash


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
    """Whether single precision cannot tell the values of an array from one another: times since 1970, say.

    As a constant it is what NumPy computes with before a model makes smaller numbers of it.
    """
    kept = np.asarray(leaf)
    if kept.dtype != np.float64 or jnp.result_type(float) == np.float64 or not kept.size:
        return False
    spread, largest = float(np.nanstd(kept)), float(np.nanmax(np.abs(kept)))
    return 0 < spread < FEW_STEPS * largest * 2.0**-23
