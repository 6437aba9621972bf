"""temperax: tempered posteriors of Bayesian neural networks by HMC, NUTS and parallel tempering, on JAX.

What is public stands in ``__init__.pyi`` and is imported when it is first asked for, so that the command line can say
what is wrong with its options before JAX is there.
"""

import ast
import sys
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

__version__ = "0.2.0.dev0"

_HERE = Path(__file__).parent
_STUB = ast.parse((_HERE / "__init__.pyi").read_text()).body
#: Module and name of everything that the stub imports, by the name that it has there.
_IMPORTED = {
    alias.asname or alias.name: (node.module or "", alias.name)
    for node in _STUB
    if isinstance(node, ast.ImportFrom)
    for alias in node.names
}
#: Rooms that users know by another name, which a stub says by an assignment.
_RENAMED = {
    target.id: _IMPORTED[node.value.id]
    for node in _STUB
    if isinstance(node, ast.Assign) and isinstance(node.value, ast.Name)
    for target in node.targets
    if isinstance(target, ast.Name)
}
#: Module and name of everything public, by the name that users know.
_PUBLIC = {name: place for name, place in _IMPORTED.items() if not name.startswith("_")} | _RENAMED
__all__ = sorted(_PUBLIC)  # noqa: PLE0605 - names are strings


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, inner = _PUBLIC[name]
    found = import_module(f"{module}.{inner}") if _is_room(module, inner) else getattr(import_module(module), inner)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return [*__all__, "__version__"]


def _is_room(module: str, name: str) -> bool:
    """Whether a name in a module is a module itself."""
    place = _HERE.joinpath(*module.split(".")[1:], name)
    return place.is_dir() or place.with_suffix(".py").exists()


class _WithoutFloor(MetaPathFinder, Loader):
    """Rooms are also known without their floor.

    `from temperax.likelihoods import Gaussian` is what a user writes, and what results that were pickled before the
    house had floors ask for.
    """

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        package, _, room = name.partition(".")
        own = self._own_name(room) if package == __name__ and room.isidentifier() else None
        return ModuleSpec(name, self, loader_state=own) if own else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        found = import_module(spec.loader_state)
        spec.loader_state = found.__spec__
        return found

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__ is not None  # that of this finder
        module.__spec__ = module.__spec__.loader_state  # the room has been built, and stays where it is

    @staticmethod
    def _own_name(room: str) -> str | None:
        """The name of a room with its floor; none where users know something else by its name."""
        if room in _PUBLIC:
            return ".".join(_PUBLIC[room]) if _is_room(*_PUBLIC[room]) else None
        found = [*_HERE.glob(f"*/{room}.py"), *_HERE.glob(f"*/{room}/__init__.py")]
        return f"{__name__}.{found[0].relative_to(_HERE).parts[0]}.{room}" if found else None


sys.meta_path.append(_WithoutFloor())
