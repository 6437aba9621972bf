"""Import paths: ``package.module:name``, by which what a user wrote is named in a file and found again."""

import sys
from importlib import import_module
from typing import Any

from temperax.errors import InputError, told


def import_path(value: Any) -> str | None:
    """Where a function or class can be imported from; None for what has no such place (a lambda, a notebook's own)."""
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(name, str) or module == "__main__":
        return None
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return f"{module}:{name}" if found is value else None


def imported(argument: str, path: str) -> Any:
    """What stands at an import path.

    Raises
    ------
    InputError
        If nothing does, or the path leads into Python's own library, where no model lives.
    """
    module, colon, name = path.partition(":")
    if not colon or not module or not name:
        raise InputError(argument, path, "is no import path", "write it as package.module:name")
    if module.split(".")[0] in sys.stdlib_module_names:
        raise InputError(argument, path, "is of Python's own library", "name a module of yours")
    try:
        found = import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except Exception as error:  # whatever a user's module raises
        remedy = "put its module where Python finds it (PYTHONPATH), or give the energy itself"
        raise InputError(argument, path, f"cannot be imported ({told(error)})", remedy) from error
    return found
