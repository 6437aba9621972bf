"""The types as a user's project sees them, through ``py.typed`` and the stubs: by mypy, and by pyright's rules."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import temperax as tx

STUBS = Path(tx.__file__).parent
#: What is right; and a line for each mistake, with what a checker must call it.
RIGHT = """
from typing import Any, assert_type

import jax
import numpy as np
import pandas as pd
import xarray as xr

import temperax as tx
from temperax.likelihoods import Gaussian
from temperax.numpyro import TemperedNUTS
from temperax.priors import Normal

data = tx.datasets.load("diabetes", split=0)
assert_type(data, tx.Dataset)
energy = tx.Energy.mlp(data, hidden=(10,), activation="tanh", likelihood=Gaussian(), prior=Normal(0.5))
assert_type(energy, tx.Energy)
assert_type(energy.size, int)
assert_type(energy.replace(activation="relu"), tx.Energy)
tree = tx.sample(jax.random.key(0), energy, temperature=[1.0, 0.5], path="posterior", kernel=tx.HMC())
ladder = tx.parallel_tempering(jax.random.key(1), energy, num_replicas="auto", keep="all")
langevin = tx.sample(jax.random.key(0), energy, kernel=tx.MCLMC())
deep = tx.sample(jax.random.key(0), energy, kernel=tx.kernels.Alternating(tx.MCLMC()))
assert_type(tree, xr.DataTree)
assert_type(ladder, xr.DataTree)
assert_type(tx.smc(jax.random.key(2), energy), xr.DataTree)
assert_type(tx.map_estimate(jax.random.key(2), energy), xr.DataTree)
assert_type(tx.open_run("run"), xr.DataTree)
assert_type(tx.repeat(tree), xr.DataTree)
assert_type(tx.energy_of(tree), tx.Energy)
assert_type(tx.predict.scores(tree), pd.DataFrame)
assert_type(tx.predict.summary(tree, data.x_test), pd.DataFrame)
assert_type(tx.thermodynamics.curves(ladder), xr.Dataset)
assert_type(tx.systems.ising((4, 4)), tx.Energy)
assert_type(tx.studies.cold_posterior(tree, energy), xr.Dataset)
assert_type(tx.numpyro.TemperedNUTS, type[TemperedNUTS])
tx.plots.ladder(ladder).savefig("ladder.png")
classifier = tx.TemperedClassifier()
classifier.fit(np.zeros((3, 1)), np.array(["a", "b", "a"]))
"""
WRONG = {
    "tx.sample(jax.random.key(0), energy, temprature=2.0)": ("call-arg", "reportCallIssue"),
    'tx.datasets.load("diabetes", split="first")': ("arg-type", "reportArgumentType"),
    "tx.paralel_tempering": ("attr-defined", "reportAttributeAccessIssue"),
}


@pytest.fixture
def project(tmp_path):
    (tmp_path / "project.py").write_text(RIGHT + "\n".join(WRONG) + "\n")
    return tmp_path


def lines_of_mistakes():
    first = RIGHT.count("\n") + 1
    return range(first, first + len(WRONG))


def test_every_public_room_has_a_stub():
    """So that ``from temperax.likelihoods import Gaussian`` is known to type checkers, as it is at run time."""
    rooms = {n: ".".join(v) for n, v in tx._PUBLIC.items() if tx._is_room(*v) and not (STUBS / n).is_dir()}
    found = {f.stem: f.read_text() for f in STUBS.glob("*.pyi") if f.stem != "__init__"}
    assert set(found) == set(rooms)
    for name, room in rooms.items():
        assert f"from {room} import *" in found[name], f"{name}.pyi does not name {room}"


@pytest.mark.slow
def test_mypy_sees_the_types(project):
    mypy = [sys.executable, "-m", "mypy", "--follow-imports=silent", "--ignore-missing-imports", "--output=json"]
    done = subprocess.run([*mypy, "project.py"], cwd=project, capture_output=True, text=True)
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert [(e["line"], e["code"]) for e in found] == [
        (line, codes[0]) for line, codes in zip(lines_of_mistakes(), WRONG.values(), strict=True)
    ], done.stdout


@pytest.mark.slow
def test_pyright_sees_the_types(project):
    """By basedpyright, which brings Node with it, under pyright's own standard rules."""
    program = shutil.which("basedpyright", path=Path(sys.executable).parent)
    if program is None:
        pytest.skip("basedpyright is not installed")
    rules = {"include": ["project.py"], "typeCheckingMode": "standard", "reportMissingModuleSource": "none"}
    (project / "pyrightconfig.json").write_text(json.dumps(rules))
    done = subprocess.run(
        [program, "--outputjson", "--pythonpath", sys.executable], cwd=project, capture_output=True, text=True
    )
    found = [e for e in json.loads(done.stdout)["generalDiagnostics"] if e["severity"] == "error"]
    assert [(e["range"]["start"]["line"] + 1, e["rule"]) for e in found] == [
        (line, codes[1]) for line, codes in zip(lines_of_mistakes(), WRONG.values(), strict=True)
    ], done.stdout
