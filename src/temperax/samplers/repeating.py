"""`repeat`: run a result again, from what it carries alone."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import xarray as xr
from jaxtyping import Array

from temperax.errors import InputError, check_key, check_result, listed
from temperax.results import notation
from temperax.results.carried import energy_of, key_of, recipe
from temperax.results.fingerprints import check_energy
from temperax.samplers.parallel_tempering import parallel_tempering
from temperax.samplers.sample import sample
from temperax.samplers.smc import smc

#: By the name that a result calls them.
SAMPLERS: Mapping[str, Callable[..., xr.DataTree]] = {
    "sample": sample,
    "parallel_tempering": parallel_tempering,
    "smc": smc,
}
#: Arguments that say the same: where one side is changed, the other is left out.
EITHER = (
    ({"temperature"}, {"beta"}),
    ({"num_draws"}, {"num_rounds"}),
    ({"ladder"}, {"num_replicas", "hottest", "coldest"}),
)


def repeat(tree: xr.DataTree, *, key: Array | None = None, trust: Sequence[str] = (), **changes: Any) -> xr.DataTree:
    """Run a result again, from what it carries alone: data, energy, arguments and key.

    Parameters
    ----------
    tree
        A result of `sample`, `parallel_tempering` or `smc` on an energy of `Energy.mlp` or `Energy.network`.
    key
        Another random key.
    trust
        Packages from which the result may import functions and modules of a user's own: to import is to execute, and a
        file may come from anybody.
    **changes
        Arguments to change, ``num_draws=5000`` say.

    Raises
    ------
    InputError
        If the energy was not a network's, holds functions that cannot be imported or that make another one now, or a
        change is no argument.

    See Also
    --------
    temperax.energy_of, temperax.open_run

    Examples
    --------
    >>> again = tx.repeat(tree, num_draws=20, progress=False)
    >>> again["posterior"].sizes["draw"]
    20
    """
    check_result(tree, "posterior")
    name = str(tree.attrs.get("function"))
    if name not in SAMPLERS:
        raise InputError("tree", name, f"is not what {listed(SAMPLERS)} return", "give one of their results")
    known = set(inspect.signature(SAMPLERS[name]).parameters) - {"key", "energy"}
    if unknown := sorted(set(changes) - known):
        raise InputError("changes", listed(unknown), f"are not arguments of {name}", f"use {listed(sorted(known), 40)}")
    energy = energy_of(tree, trust)
    check_energy(tree, energy)
    arguments = notation.decode(recipe(tree, "arguments"), trust)
    if not isinstance(arguments, dict) or not set(arguments) <= known:
        raise InputError("tree", "arguments", f"are not those of {name}", "use the version that wrote it")
    given = {argument for argument, value in changes.items() if value is not None}
    for one, other in EITHER:
        left_out = (other if one & given else set()) | (one if other & given else set())
        arguments = {argument: value for argument, value in arguments.items() if argument not in left_out}
    return SAMPLERS[name](key_of(tree) if key is None else check_key(key), energy, **(arguments | changes))
