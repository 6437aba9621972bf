"""Reproducibility is an equality: devices, processes, blocks and directories change no bit of any result."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent / "same_answer.py"
#: What every run of `make test` compares; the others of `same_answer.CASES` are slow to compile.
FAST = ["ladder"]
SLOW = [
    "gaussian",
    "heteroscedastic",
    "bernoulli",
    "student_t",
    "categorical",
    "poisson",
    "fixed_noise",
    "batches",
    "cold",
    "large",
    "own",
]


def begin(cases, **order):
    """A process that runs cases as it is told."""
    command = [sys.executable, str(SCRIPT), json.dumps({"cases": cases} | order)]
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, cwd=SCRIPT.parents[2], env=environment)


def end(process):
    """Its hashes, case by case."""
    out, errors = process.communicate(timeout=900)
    assert process.returncode == 0, errors
    lines = [line for line in out.splitlines() if line.startswith("{")]  # Gloo prints some of its own
    return json.loads(lines[-1]) if lines else None


def answers(cases, **order):
    """The hashes of cases, run in a process of their own."""
    return end(begin(cases, **order))


def joined(cases, **order):
    """The hashes of cases that two processes run together."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    join = {"coordinator": f"localhost:{port}", "num_processes": 2}
    both = [begin(cases, join=join | {"process_id": i}, **order) for i in range(2)]
    found = [end(process) for process in both]
    assert found[1] is None, "only the first process reports"
    return found[0]


def different(one, other):
    """Variables of one answer that are not the same in another, and those that only one has."""
    return sorted(name for name in one | other if one.get(name) != other.get(name))


@pytest.fixture(scope="module")
def alone():
    """The answers of one device."""
    return answers(FAST, devices=1)


@pytest.fixture(scope="module")
def two():
    """Those of two devices."""
    return answers(FAST, devices=2)


@pytest.mark.parametrize("case", FAST)
def test_devices_change_nothing(alone, two, case):
    """Five replicas on one and two devices; and the hashes cover what a result holds."""
    covered = {"/posterior/layer_0_weight", "/sample_stats/energy", "/tempered_stats/n_steps", "/exchange/replica"}
    assert covered <= set(alone[case])
    assert not different(alone[case], two[case])


@pytest.mark.slow
@pytest.mark.parametrize("case", FAST)
def test_four_devices_and_two_processes_change_nothing(alone, case):
    assert not different(alone[case], answers([case], devices=4)[case])
    assert not different(alone[case], joined([case])[case])


@pytest.mark.slow
def test_a_key_of_the_place_changes_the_answer():
    """The negative control: streams that belong to places on devices differ as soon as the places do."""
    one, two = (answers(["broken"], devices=devices)["broken"] for devices in (1, 2))
    changed = set(different(one, two))
    assert {"/posterior/layer_0_weight", "/sample_stats/energy"} <= changed


@pytest.mark.slow
def test_blocks_and_directories_change_nothing(alone, tmp_path):
    for i, order in enumerate(
        ({"block_draws": 7, "block_seconds": 1e9}, {"block_seconds": 0.0}, {"directory": str(tmp_path / "saved")})
    ):
        other = answers(FAST, devices=2 if i else 1, **order)
        assert not any(different(alone[case], other[case]) for case in FAST), order


@pytest.mark.slow
def test_processes_write_one_directory(alone, tmp_path):
    other = joined(FAST, directory=str(tmp_path / "saved"))
    assert not any(different(alone[case], other[case]) for case in FAST)


@pytest.mark.slow
@pytest.mark.parametrize("case", SLOW)
def test_every_model_and_kernel(case):
    """Every likelihood, prior, kernel and path, at depths 0 to 3."""
    one = answers([case], devices=1)[case]
    for other in (answers([case], devices=2), answers([case], devices=4), joined([case])):
        assert not different(one, other[case])
