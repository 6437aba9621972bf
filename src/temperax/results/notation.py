"""How a run was made, as JSON and back: by which a result is read and run again from its file alone.

Only classes of temperax, distributions of NumPyro and Linen's layers are built.  What a user wrote is found by its
import path, in packages that the caller trusts alone; nothing is unpickled.
"""

import base64
import dataclasses
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
import numpyro.distributions as dist
from numpyro.distributions import Distribution

from temperax.energies import likelihoods, priors
from temperax.energies.importing import import_path, imported
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
#: Arrays of more values are written as bytes.
MOST_VALUES = 256
#: By which of these keys it has, an object is told to be something else than a mapping of names.
_OWN = {"tuple", "array", "function", "linen", "class", "distribution", "pairs"}


def encode(value: Any) -> Any:
    """A value as plain JSON; functions and classes of the user's appear by their import path, if they have one."""
    if isinstance(value, Distribution):
        if not _is_plain(type(value)):
            return {"function": type(value).__name__}
        arguments = {name: encode(getattr(value, name)) for name in value.arg_constraints}
        return {"distribution": type(value).__name__, "arguments": arguments}
    if type(value) in _NAMES:
        fields = {f.name: encode(getattr(value, f.name)) for f in dataclasses.fields(value) if f.init}
        return {"class": _NAMES[type(value)], "arguments": fields}
    if isinstance(value, Mapping):
        if all(isinstance(k, str) for k in value) and not _OWN & set(value):
            return {k: encode(v) for k, v in value.items()}
        return {"pairs": [[encode(k), encode(v)] for k, v in value.items()]}
    if isinstance(value, (list, tuple)):
        items = [encode(v) for v in value]
        # Of plain values it does not matter which of the two they are; of arrays, the structure is a model's own.
        return {"tuple": items} if isinstance(value, tuple) and any(isinstance(i, dict) for i in items) else items
    if isinstance(value, (np.ndarray, np.generic, jax.Array)):
        return _encode_array(np.asarray(value))
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    # A module that is bound to arrays is more than what it is made of: it has no name, as an array's function has none.
    if _is_linen(type(value)) and value.scope is None and (path := import_path(type(value))):
        fields = {
            f.name: encode(getattr(value, f.name))
            for f in dataclasses.fields(value)
            if f.init and f.name not in ("parent", "name") and getattr(value, f.name) is not f.default
        }
        return {"linen": path, "arguments": fields}
    name = getattr(value, "__qualname__", type(value).__qualname__)
    return {"function": import_path(value) or name}


def _is_plain(kind: type[Distribution]) -> bool:
    """Whether a distribution is made of its parameters alone, and not of other distributions."""
    needed = inspect.signature(kind).parameters.values()
    wanted = {p.name for p in needed if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD}
    return kind.__name__ in _DISTRIBUTIONS and wanted <= set(kind.arg_constraints)


def _encode_array(array: np.ndarray) -> Any:
    if array.ndim == 0:
        return array.item()
    values = {"values": array.tolist()}
    if array.size > MOST_VALUES and array.dtype.kind in "biuf":
        values = {"bytes": base64.b64encode(np.ascontiguousarray(array, array.dtype.newbyteorder("<"))).decode()}
    return {"array": array.dtype.name, "shape": list(array.shape)} | values


def _is_linen(kind: type) -> bool:
    return any(base.__module__ == "flax.linen.module" and base.__name__ == "Module" for base in kind.__mro__)


def decode(value: Any, trust: Sequence[str] = ()) -> Any:
    """The value that `encode` wrote.

    Parameters
    ----------
    value
        From a file.
    trust
        Packages from which it may import.

    Raises
    ------
    InputError
        For a function or a module that has no import path, is not found there or is of a package that is not trusted,
        and for names that are not on the list.
    """
    if isinstance(value, list):
        return [decode(v, trust) for v in value]
    if not isinstance(value, dict):
        return value
    if "tuple" in value and isinstance(value["tuple"], list):
        return tuple(decode(value["tuple"], trust))
    if isinstance(pairs := value.get("pairs"), list):
        return _decode_pairs(pairs, trust)
    if "array" in value:
        return _decode_array(value)
    if "function" in value:
        return _decode_function(value["function"], trust)
    if "linen" in value:
        return _decode_linen(value, trust)
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
                return known[name](**decode(arguments, trust))
            except InputError:
                raise
            except (
                TypeError,
                ValueError,
                AttributeError,
            ) as error:  # NumPyro's own checks
                raise InputError("recipe", arguments, f"makes no {name}", "use a result as it was written") from error
    return {k: decode(v, trust) for k, v in value.items()}


def _decode_pairs(pairs: list[Any], trust: Sequence[str]) -> dict[Any, Any]:
    """A mapping whose keys are no names: numbers, or tuples of them, say."""
    try:
        found = [(decode(key, trust), decode(value, trust)) for key, value in pairs]
        return {tuple(key) if isinstance(key, list) else key: value for key, value in found}
    except InputError:
        raise
    except (TypeError, ValueError) as error:  # not two, or what is no key
        raise InputError("recipe", pairs, "are no pairs", "use a result as it was written") from error


def _decode_array(value: dict[str, Any]) -> np.ndarray:
    try:
        if "bytes" in value:
            found = np.frombuffer(base64.b64decode(value["bytes"]), np.dtype(value["array"]).newbyteorder("<"))
        else:
            found = np.array(value["values"], value["array"])
        return found.astype(value["array"]).reshape(value["shape"])
    except (TypeError, ValueError, KeyError) as error:
        raise InputError("recipe", value.get("array"), "is no array", "use a result as it was written") from error


def _decode_function(path: Any, trust: Sequence[str]) -> Any:
    if not isinstance(path, str) or ":" not in path:
        problem = "is the user's own function or class, of no module that can be imported"
        raise InputError("recipe", path, problem, "give the energy itself (energy=, or to the sampler)")
    found = imported("recipe", path, trust)
    if not callable(found):
        raise InputError("recipe", path, "is no function", "use a result as it was written")
    return found


def _decode_linen(value: dict[str, Any], trust: Sequence[str]) -> Any:
    kind, arguments = imported("recipe", str(value["linen"]), trust), value.get("arguments")
    if not isinstance(kind, type) or not _is_linen(kind) or not isinstance(arguments, dict):
        raise InputError("recipe", value["linen"], "is no Linen module", "use a result as it was written")
    arguments = decode(arguments, trust)
    wanted = {f.name for f in dataclasses.fields(kind) if f.init}
    if not set(arguments) <= wanted:
        raise InputError("recipe", sorted(arguments), f"is not what {kind.__name__} is made of", "install its version")
    return kind(**arguments)
