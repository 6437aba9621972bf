"""The house: imports run one way, importing changes nothing, and every public name is explained."""

import ast
import graphlib
import inspect
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import temperax as tx

SOURCE = Path(tx.__file__).parent

#: Floors from the top down; each may import from those before it, and from itself.
FLOORS = [
    "errors",
    "machine",
    "storage",
    "energies",
    "engine",
    "results",
    "training",
    "samplers",
    "analysis",
    "plots",
    "estimators",
    "pages",
    "command",
]
#: What a floor has that others may not import: the library as users see it is for the last floor alone.
WHOLE = "temperax"


def modules(source):
    """Every file under its dotted name, without the library's own."""
    files = sorted(source.rglob("*.py"))
    dotted = {".".join(f.relative_to(source).with_suffix("").parts).removesuffix(".__init__"): f for f in files}
    return {name: file for name, file in dotted.items() if name != "__init__"}


def imports(file, known):
    """(module, names) of every import of the library in a file, names that are modules as modules."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, []) for alias in node.names if alias.name.split(".")[0] == WHOLE)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == WHOLE:
            base = node.module.partition(".")[2]
            for alias in node.names:
                inner = f"{base}.{alias.name}".lstrip(".")
                yield (inner, []) if inner in known else (base, [alias.name])


def floor_of(module):
    return module.split(".")[0]


def what_is_wrong(source):
    """Every import that does not belong, with what to do about it."""
    known, found, graph = modules(source), [], {}
    for module, file in known.items():
        floor = floor_of(module)
        if floor not in FLOORS:
            found.append(f"{module} stands on no floor: move it to one of {', '.join(FLOORS)}, or add a floor here")
            continue
        graph[module] = set()
        for other, names in imports(file, known):
            if other == WHOLE or not other:
                if floor != FLOORS[-1]:
                    found.append(f"{module} imports all of temperax: import from the floor that has what it needs")
                continue
            if FLOORS.index(floor_of(other)) > FLOORS.index(floor):
                found.append(
                    f"{module} imports {other}, which is on a floor below: move what it needs up to {floor} or above"
                )
            private = [name for name in [*names, *other.split(".")] if name.startswith("_")]
            if private and floor_of(other) != floor:
                found.append(f"{module} imports {private} of {other}: make it public there, or do without")
            graph[module].add(other)
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        found.append(f"{' → '.join(error.args[1])} import each other: move what both need to a room of its own")
    return found


def test_imports_run_one_way():
    assert not what_is_wrong(SOURCE), "\n".join(what_is_wrong(SOURCE))


@pytest.mark.parametrize(
    ("room", "line", "words"),
    [
        ("energies/networks.py", "from temperax.samplers.sample import sample", "on a floor below"),
        ("engine/tempering.py", "from temperax.engine import engine", "import each other"),
        ("analysis/studies/draws.py", "from temperax.storage.rundir import _plain", "make it public"),
        ("results/extra.py", "import temperax", "imports all of temperax"),
        ("extra.py", "", "stands on no floor"),
    ],
)
def test_a_wrong_import_is_found(tmp_path, room, line, words):
    """The negative control: one line in a copy of the house."""
    shutil.copytree(SOURCE, tmp_path, dirs_exist_ok=True)
    with (tmp_path / room).open("a") as file:
        file.write(f"\n{line}\n")
    assert any(words in found for found in what_is_wrong(tmp_path))


def test_every_floor_says_what_it_is_for():
    for floor in FLOORS[1:]:
        text = ast.get_docstring(ast.parse((SOURCE / floor / "__init__.py").read_text()))
        assert text and len(text.splitlines()) >= 2, f"{floor}/__init__.py: say what it is for, and who may call it"


def test_one_room_each_for_numpyros_transition_matplotlib_and_arvizs_writers():
    owners = {"numpyro.infer.hmc": "engine.kernels", "arviz_base": "results.results", "matplotlib.pyplot": "plots"}
    for package, owner in owners.items():
        users = {
            name
            for name, file in modules(SOURCE).items()
            if f"from {package} import" in file.read_text() or f"import {package}" in file.read_text()
        }
        assert all(name.startswith(owner) for name in users), f"{package} is imported by {users}: ask {owner} for it"


def test_import_changes_nothing_and_prints_nothing():
    code = (
        "import jax; before = (jax.config.jax_enable_x64, jax.config.jax_platforms, jax.config.jax_num_cpu_devices);"
        "import temperax, temperax.storage.rundir, sys;"
        "assert before == (jax.config.jax_enable_x64, jax.config.jax_platforms, jax.config.jax_num_cpu_devices);"
        "assert not {'matplotlib.pyplot', 'orbax', 'tensorstore', 'zarr'} & set(sys.modules);"
        "import jax._src.xla_bridge as bridge; assert not bridge.backends_are_initialized()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_public_names_are_documented():
    for name in tx.__all__:
        assert inspect.getdoc(getattr(tx, name)), name


def test_samplers_describe_every_argument():
    """Arguments that samplers share are described once, and shown by ``help`` in each."""
    for sampler in (tx.sample, tx.parallel_tempering, tx.anneal):
        lines = inspect.getdoc(sampler).partition("\nReturns\n")[0].splitlines()
        for name in inspect.signature(sampler).parameters:
            (line,) = [i for i, text in enumerate(lines) if name in text.split(", ")]
            after = next(text for text in lines[line + 1 :] if text)
            assert after.startswith("    "), f"{sampler.__name__}: describe {name}"
