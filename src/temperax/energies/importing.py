"""Import paths: ``package.module:name``, by which what a user wrote is named in a file and found again.

To import is to execute, and a file may come from anybody: what it names is imported only from packages that the caller
trusts, and from those parts of JAX and Flax that only compute.
"""

import sys
from collections.abc import Sequence
from importlib import import_module
from types import ModuleType
from typing import Any

from temperax.errors import InputError, told

#: Modules of functions of arrays and of plain layers, which a file may name.
COMPUTING = (
    *("jax.nn", "jax.numpy", "jax.scipy.special", "jax.lax", "jax._src.nn", "jax._src.numpy", "jax._src.scipy.special"),
    *("jax._src.lax", "flax.linen", "temperax.energies"),
)


def import_path(value: Any) -> str | None:
    """Where a function or class can be imported from; None for what has no such place (a lambda, a notebook's own)."""
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(name, str) or module == "__main__":
        return None
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return f"{module}:{name}" if found is value else None


def imported(argument: str, path: str, trust: Sequence[str] | None = None) -> Any:
    """What stands at an import path.

    Parameters
    ----------
    argument
        How the caller names the path.
    path
        ``package.module:name``.
    trust
        Of a path from a file, the packages that it may be of besides `COMPUTING`; None for a path that the user wrote.

    Raises
    ------
    InputError
        If nothing stands there, or it is of a package that is not trusted.
    """
    module, colon, name = path.partition(":")
    if not colon or not module or not name:
        raise InputError(argument, path, "is no import path", "write it as package.module:name")
    package = module.split(".")[0]
    computing = any(module == known or module.startswith(f"{known}.") for known in COMPUTING)
    if trust is not None and not computing and package not in trust:
        remedy = f"add trust=[{package!r}] if the file is yours, or give the energy itself"
        raise InputError(argument, path, f"is of {package}, from which a file may not import by itself", remedy)
    try:
        found = import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
            if isinstance(found, ModuleType):
                raise AttributeError(f"{part} is a module")
    except Exception as error:  # whatever a user's module raises
        remedy = "put its module where Python finds it (PYTHONPATH), or give the energy itself"
        raise InputError(argument, path, f"cannot be imported ({told(error)})", remedy) from error
    if trust is not None and import_path(found) != path:
        raise InputError(argument, path, "is not where it was defined", "use a result as it was written")
    return found
