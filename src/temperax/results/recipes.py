"""How a run was made, as JSON and back: what a result carries so that it can be run again from its file alone.

Only classes of temperax and distributions of NumPyro are built, by name from a fixed list; nothing is executed.
"""

import dataclasses
import inspect
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
import numpyro.distributions as dist
from numpyro.distributions import Distribution

from temperax.energies import likelihoods, priors
from temperax.engine import kernels
from temperax.errors import InputError

_CLASSES: dict[str, type] = {
    f"{module.__name__.rpartition('.')[2]}.{name}": cls
    for module in (priors, likelihoods, kernels)
    for name, cls in vars(module).items()
    if dataclasses.is_dataclass(cls) and isinstance(cls, type)
}
_NAMES = {cls: name for name, cls in _CLASSES.items()}
_DISTRIBUTIONS: dict[str, type[Distribution]] = {
    name: getattr(dist, name)
    for name in dist.__all__
    if isinstance(getattr(dist, name), type) and issubclass(getattr(dist, name), Distribution)
}


def encode(value: Any) -> Any:
    """A value as plain JSON; functions and classes of the user's appear by name, and cannot be decoded."""
    if isinstance(value, Distribution):
        arguments = {name: encode(getattr(value, name)) for name in value.arg_constraints}
        return {"distribution": type(value).__name__, "arguments": arguments}
    if type(value) in _NAMES:
        fields = {f.name: encode(getattr(value, f.name)) for f in dataclasses.fields(value) if f.init}
        return {"class": _NAMES[type(value)], "arguments": fields}
    if isinstance(value, Mapping):
        return {str(k): encode(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [encode(v) for v in value]
    if isinstance(value, (np.ndarray, np.generic, jax.Array)):
        return np.asarray(value).tolist()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return {"function": getattr(value, "__qualname__", type(value).__qualname__)}


def decode(value: Any) -> Any:
    """The value that `encode` wrote.

    Raises
    ------
    InputError
        For a function, which has no recipe, and for names that are not on the list.
    """
    if isinstance(value, list):
        return [decode(v) for v in value]
    if not isinstance(value, dict):
        return value
    if "function" in value:
        raise InputError("recipe", value["function"], "is the user's own function or class", "call the sampler with it")
    for kind, known in (("class", _CLASSES), ("distribution", _DISTRIBUTIONS)):
        if kind in value:
            name, arguments = value[kind], value.get("arguments")
            if not isinstance(name, str) or name not in known:
                raise InputError("recipe", name, "is not known to this version", "use the version that wrote it")
            wanted = set(inspect.signature(known[name]).parameters)
            if not isinstance(arguments, dict) or not set(arguments) <= wanted:
                raise InputError(
                    "recipe", arguments, f"is not what {name} is made of", "use a result as it was written"
                )
            try:
                return known[name](**decode(arguments))
            except InputError:
                raise
            except (
                TypeError,
                ValueError,
                AttributeError,
            ) as error:  # NumPyro's own checks
                raise InputError("recipe", arguments, f"makes no {name}", "use a result as it was written") from error
    return {k: decode(v) for k, v in value.items()}
