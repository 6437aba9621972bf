"""The house: imports run one way, importing changes nothing, and every public name is explained."""

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import temperax as tx

SOURCE = Path(tx.__file__).parent

#: Rooms from left to right; each may import from those before it.
ROOMS = [
    "errors",
    "progress",
    "sharding",
    "densities",
    "priors",
    "likelihoods",
    "networks",
    "datasets",
    "parameters",
    "positions",
    "models",
    "energy",
    "tempering",
    "kernels",
    "systems",
    "adaptation",
    "ladder",
    "exchange",
    "tallies",
    "program",
    "scanning",
    "engine",
    "recipes",
    "predict",
    "results",
    "drawstore",
    "checkpoint",
    "rundir",
    "descent",
    "starts",
    "optimise",
    "runs",
    "drawing",
    "sampling",
    "singular",
    "tuner",
    "rounds",
    "ensemble",
    "thermodynamics",
    "transitions",
    "diagnostics",
    "studies",
    "plots",
    "shell",
    "cli",
]


def room_of(file):
    """A file's room, which for the files of a package is the package."""
    return file.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported_rooms(file):
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "temperax":
            parts = node.module.split(".")
            yield from parts[1:2] or [alias.name for alias in node.names]


def test_imports_run_one_way():
    files = sorted(SOURCE.rglob("*.py"))
    assert {room_of(f) for f in files} - {"__init__"} <= set(ROOMS)
    for file in files:
        room = room_of(file)
        if room in ("__init__", "cli"):
            continue
        for other in imported_rooms(file):
            within = other == room and file.parent != SOURCE
            assert within or ROOMS.index(other) < ROOMS.index(room), f"{file} imports {other}"


def test_one_room_each_for_numpyros_transition_matplotlib_and_arvizs_writers():
    owners = {"numpyro.infer.hmc": "kernels", "arviz_base": "results"}
    for module, owner in owners.items():
        users = {
            room_of(f)
            for f in SOURCE.rglob("*.py")
            if f"from {module} import" in f.read_text() or f"{module}." in f.read_text()
        }
        if owner is not None:
            assert users == {owner}, module


def test_import_changes_nothing_and_prints_nothing():
    code = (
        "import jax; before = (jax.config.jax_enable_x64, jax.config.jax_platforms, jax.config.jax_num_cpu_devices);"
        "import temperax, temperax.rundir, sys;"
        "assert before == (jax.config.jax_enable_x64, jax.config.jax_platforms, jax.config.jax_num_cpu_devices);"
        "assert not {'matplotlib.pyplot', 'orbax', 'tensorstore', 'zarr'} & set(sys.modules);"
        "import jax._src.xla_bridge as bridge; assert not bridge.backends_are_initialized()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_public_names_are_documented():
    for name in tx.__all__:
        assert inspect.getdoc(getattr(tx, name)), name
