"""Kills, full disks, damage and lost processes: a run that goes on ends as if nothing had happened."""

import itertools
import json
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import temperax as tx
from temperax.engine import engine
from temperax.errors import InputError, StorageError
from temperax.samplers.parallel_tempering import round_lengths
from temperax.storage import checkpoint
from temperax.storage.rundir import RunDirectory

pytestmark = pytest.mark.faults
PLANE = dist.Normal(0.0, 1.0).expand([2]).to_event(1)

#: A run in a process of its own, which begins or goes on.
WORK = """
import json, sys
import jax, numpy as np
import temperax as tx
from temperax.machine import sharding

asked = json.loads(sys.argv[1])
tx.use_compilation_cache(asked["cache"])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
tx.use_cpu_devices(asked["devices"])
sharding.WORTH_SHARING = 0
if asked["processes"]:
    tx.use_processes(*asked["processes"])
rng = np.random.default_rng(1)
x = rng.normal(size=(30, 2))
y = np.sin(x[:, :1]) + 0.2 * rng.normal(size=(30, 1))
energy = tx.Energy.mlp(tx.Dataset.from_arrays(x, y), (3,), "tanh", tx.likelihoods.Gaussian(0.3))
kept = {"directory": asked["directory"], "resume": True, "save_every": 0.2, "progress": False}
try:
    tree = getattr(tx, asked["function"])(jax.random.key(1), energy, **asked["arguments"], **kept)
except tx.Interrupted as stop:
    print(stop)
    raise SystemExit(3)
print("interrupted =", tree.attrs["interrupted"])
"""
#: Every process orders its sets in another way, which must not matter.
HASH_SEEDS = itertools.cycle((1, 2, 3))
#: So many that they take several seconds, that is, many checkpoints ("pair" in two processes, which take longer).
DRAWS = {"tempering": 60_000, "reference": 30_000, "sample": 40_000, "pair": 2400}
KERNEL = {"start": "prior", "num_chains": 2}
LADDER = KERNEL | {"num_replicas": 4}
#: Runs that fit a disk of 30 MB.
SMALL = {"log_likelihood": False}
RUNS = {
    "tempering": ("parallel_tempering", LADDER | SMALL | {"num_draws": DRAWS["tempering"]}),
    "reference": ("parallel_tempering", LADDER | SMALL | {"num_draws": DRAWS["reference"], "path": "reference"}),
    "pair": ("parallel_tempering", LADDER | SMALL | {"num_draws": DRAWS["pair"]}),
    "sample": (
        "sample",
        KERNEL | {"temperature": [1.0, 3.0], "path": "likelihood", "num_draws": DRAWS["sample"]} | SMALL,
    ),
}
#: The stage of the scans that settle; the next is that of the draws.
ROUNDS, PAIR_ROUNDS = (len(round_lengths(num_draws=DRAWS[name])) - 1 for name in ("tempering", "pair"))


def run_it(name, directory, cache, *, devices=1, processes=None, **changes):
    """Start a process that runs ``name`` in ``directory``."""
    function, arguments = RUNS[name]
    asked = {
        "function": function,
        "arguments": arguments | changes,
        "directory": str(directory),
        "cache": str(cache),
        "devices": devices,
        "processes": processes,
    }
    path = os.pathsep.join([str(Path(tx.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(WORK), json.dumps(asked)],
        env=os.environ | {"PYTHONPATH": path, "JAX_PLATFORMS": "cpu", "PYTHONHASHSEED": str(next(HASH_SEEDS))},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process, seconds=300):
    """What a process says until it ends by itself."""
    try:
        said, errors = process.communicate(timeout=seconds)
    finally:
        process.kill()
    return process.returncode, said, errors


def to_the_end(*arguments, **options):
    code, said, errors = finish(run_it(*arguments, **options))
    assert (code, said) == (0, "interrupted = 0\n"), errors
    return errors


def newest(directory):
    """Step, stage and number of draws of the newest checkpoint."""
    folder = Path(directory) / "checkpoints"
    for step in checkpoint.steps(folder):
        try:
            found = checkpoint.notes(folder, step)
        except FileNotFoundError:  # another has replaced it
            return newest(directory)
        return step, found["stage"], found["num_draws"]
    return -1, -1, 0


def wait_for(process, directory, ready):
    """Wait for a checkpoint of this process that is as wanted; whether there was one."""
    before = newest(directory)[0]
    while process.poll() is None:
        step, stage, draws = newest(directory)
        if step > before and ready(stage, draws):
            return True
        time.sleep(0.01)
    return False


def readable(directory):
    """Draws that `open_run` finds."""
    try:
        tree = tx.open_run(directory)
    except InputError as error:
        assert re.search("has no draws yet|holds no run", str(error))
        return 0
    assert np.isfinite(tree["sample_stats"]["energy"].values).all()
    return tree["posterior"].sizes["draw"]


def bits(tree, num_draws=None):
    """All that a tree holds, bit for bit."""
    found = {}
    for node in tree.subtree:
        data = node.to_dataset(inherit=False)
        data = data.isel(draw=slice(num_draws)) if "draw" in data.dims else data
        for name, v in data.variables.items():
            content = v.values.tolist() if v.dtype.kind in "OUT" else v.values.tobytes()
            found[f"{node.path}/{name}"] = (v.dims, v.shape, content)
    return found


def assert_same(directory, expected, num_draws=None):
    a, b = bits(tx.open_run(directory), num_draws), bits(tx.open_run(expected), num_draws)
    assert a.keys() == b.keys() and len(a) > 20
    assert [name for name in a if a[name] != b[name]] == []


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("compiled")


@pytest.fixture(scope="module")
def whole(tmp_path_factory, cache):
    """Directories of runs that nothing interrupted."""
    folder, made = tmp_path_factory.mktemp("whole"), {}

    def get(name):
        if name not in made:
            to_the_end(name, folder / name, cache)
            made[name] = folder / name
        return made[name]

    return get


# -- kills -----------------------------------------------------------------------------------------------------------

#: When kills come: seconds after the start, or after a checkpoint of one of these stages (low, high).
START, LAST = "start", 10**6
PLANS = {
    "tempering": [START] * 4 + [(0, ROUNDS - 1)] * 7 + [(ROUNDS, ROUNDS)] * 2 + [(ROUNDS + 1, LAST)] * 9,
    "reference": [(0, LAST)] * 4,
    "sample": [START] + [(0, LAST)] * 5,
}


@pytest.mark.parametrize("name", PLANS)
def test_kills_at_random_moments_change_nothing(name, tmp_path, cache, whole):
    directory, rng, kills, saved, stages = tmp_path / "run", np.random.default_rng(20261124), 0, (-1, -1, 0), []
    expected = whole(name)
    for i, when in enumerate(PLANS[name]):
        process = run_it(name, directory, cache, devices=1 + i % 2)
        if when == START:
            time.sleep(0.7 * (i + 1))  # a start takes two to four seconds
        else:
            wait_for(process, directory, lambda stage, _, when=when: when[0] <= stage <= when[1])
            time.sleep(rng.uniform(0.0, 0.6))
        before = newest(directory)
        process.kill()
        process.communicate()
        kills += process.returncode == -signal.SIGKILL
        after = newest(directory)
        assert after[0] >= before[0] >= saved[0] and after[2] >= before[2] >= saved[2]
        assert readable(directory) == after[2]
        stages.append(after[1])
        saved = after
    to_the_end(name, directory, cache, devices=2)
    assert_same(directory, expected)
    assert kills == len(PLANS[name]), stages
    if name == "tempering":
        assert kills >= 20 and {-1, 0, ROUNDS, ROUNDS + 1} <= {min(s, 0) if s < ROUNDS else s for s in stages}


def test_a_finished_run_goes_on_for_more_draws(tmp_path, cache, whole):
    directory = tmp_path / "run"
    for name in ("sample", "tempering"):
        more = DRAWS[name] + 600
        shutil.copytree(whole(name), directory / name)
        to_the_end(name, directory / name, cache, num_draws=more)
        assert tx.open_run(directory / name)["posterior"].sizes["draw"] == more
        assert_same(directory / name, whole(name), num_draws=DRAWS[name])


# -- requests to stop ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("stage", [0, ROUNDS + 1])
def test_a_request_to_stop_saves_says_where_and_changes_nothing(number, stage, tmp_path, cache, whole):
    directory = tmp_path / "run"
    process = run_it("tempering", directory, cache)
    assert wait_for(process, directory, lambda at, _: at >= stage)
    process.send_signal(number)
    code, said, errors = finish(process, 30)
    if stage:  # what is there of the draws is the result
        assert (code, said) == (0, "interrupted = 1\n"), errors
        assert 0 < readable(directory) < DRAWS["tempering"]
    else:
        assert code == 3
        assert re.fullmatch(rf"stopped \(rounds, \d+ of \d+\); saved in {directory}: resume it\.\n", said)
        assert newest(directory)[1] < ROUNDS
    to_the_end("tempering", directory, cache)
    assert_same(directory, whole("tempering"))


# -- trouble with the disk -------------------------------------------------------------------------------------------


def assert_it_stops_and_goes_on(process, directory, reason, make_space, cache, expected):
    code, said, errors = finish(process, 60)
    last = errors.strip().splitlines()[-1]
    assert (code, said) == (1, "")
    assert re.fullmatch(
        rf"temperax.errors.StorageError: directory = .* cannot be written .*{reason}.* are safe\.", last
    )
    assert f" its {readable(directory)} draws up to the last checkpoint are safe." in last
    make_space()
    to_the_end("sample", directory, cache)
    assert_same(directory, expected)


def test_a_full_disk(disk, cache, whole):
    expected, directory = whole("sample"), disk / "run"
    process = run_it("sample", directory, cache)
    assert wait_for(process, directory, lambda _, draws: draws > 0)
    try:
        with (disk / "ballast").open("wb", buffering=0) as ballast:
            while ballast.write(bytes(2**12)):
                pass
    except OSError:
        pass
    space = (disk / "ballast").unlink
    assert_it_stops_and_goes_on(process, directory, "No space left on device", space, cache, expected)


def test_a_limit_on_files(tmp_path, cache, whole):
    expected, directory = whole("sample"), tmp_path / "run"
    process = run_it("sample", directory, cache)
    assert wait_for(process, directory, lambda _, draws: draws > 0)
    hard = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)[1]
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (1000, hard))
    assert_it_stops_and_goes_on(process, directory, "File too large", lambda: None, cache, expected)


def test_a_read_only_directory_is_refused_before_work(disk, monkeypatch, whole, key):
    shutil.copytree(whole("sample"), disk / "old")
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    monkeypatch.setattr(engine, "start", lambda *_: pytest.fail("work was done"))
    monkeypatch.setattr(engine, "run", lambda *_, **__: pytest.fail("work was done"))
    energy = tx.Energy(lambda x: jnp.sum(x**2), PLANE)
    said = r"directory = .*/new' cannot be written \(Read-only file system\); choose another folder\.$"
    with pytest.raises(InputError, match=said):
        tx.sample(key, energy, directory=disk / "new", progress=False)
    with pytest.raises(StorageError, match=r"cannot be written any more \(Read-only file system\)"):
        opened = RunDirectory.open(disk / "old")
        opened.truncate(opened.restore().notes["num_draws"])


@pytest.mark.parametrize("damage", ["truncate", "flip"])
def test_a_damaged_newest_checkpoint(damage, tmp_path, cache, whole):
    directory = tmp_path / "run"
    process = run_it("tempering", directory, cache)
    assert wait_for(process, directory, lambda _, draws: draws > DRAWS["tempering"] // 4)
    process.kill()
    process.communicate()
    step, _, draws = newest(directory)
    files = [f for f in (directory / "checkpoints" / str(step) / "state").rglob("*") if f.is_file()]
    largest = max(files, key=lambda f: f.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 1
    largest.write_bytes(content if damage == "flip" else content[:-1])
    with pytest.warns(UserWarning, match=f"checkpoint {step} in .* is damaged .* is used instead"):
        assert 0 < tx.open_run(directory)["posterior"].sizes["draw"] < draws
    errors = to_the_end("tempering", directory, cache)
    assert re.search(rf"checkpoint {step} in .* is damaged \(.*\), and checkpoint {step - 1} is used instead\.", errors)
    assert_same(directory, whole("tempering"))


# -- a lost process --------------------------------------------------------------------------------------------------


def two(directory, cache):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    return [run_it("pair", directory, cache, processes=(f"localhost:{port}", 2, i)) for i in range(2)]


@pytest.mark.parametrize("victim", [0, 1])
def test_a_process_that_is_killed_ends_the_other_which_says_so(victim, tmp_path, cache, whole):
    directory = tmp_path / "run"
    processes = two(directory, cache)
    try:
        assert wait_for(processes[0], directory, lambda stage, _: stage >= (PAIR_ROUNDS + 1 if victim else 0))
        processes[victim].kill()
        code, said, errors = finish(processes[1 - victim], 60)
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    last = errors.strip().splitlines()[-1]
    assert (code, said.replace("[Gloo]", "").count("interrupted")) == (1, 0)
    assert re.search(r"another process of the job has ended or cannot be reached \(.*\); start all of them again", last)
    if victim:
        to_the_end("pair", directory, cache)
    else:
        for process in (processes := two(directory, cache)):
            code, said, errors = finish(process)
            assert code == 0 and "interrupted = 0\n" in said, errors
    assert_same(directory, whole("pair"))


def test_a_process_that_hangs_ends_the_other(tmp_path, cache):
    processes = two(tmp_path / "run", cache)
    try:
        assert wait_for(processes[0], tmp_path / "run", lambda *_: True)
        processes[0].send_signal(signal.SIGSTOP)
        code, _, errors = finish(processes[1], 60)
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    assert code == 1 and "start all of them again" in errors.strip().splitlines()[-1]


def test_trouble_of_one_process_ends_both(tmp_path, cache):
    processes = two(tmp_path / "run", cache)
    try:
        assert wait_for(processes[0], tmp_path / "run", lambda *_: True)
        resource.prlimit(processes[0].pid, resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
        ends = [finish(process, 60) for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [end[0] for end in ends] == [1, 1]
    assert "StorageError" in ends[0][2].strip().splitlines()[-1]
    assert "start all of them again" in ends[1][2].strip().splitlines()[-1]


# -- energies that are not finite ------------------------------------------------------------------------------------


def broken_beyond(radius):
    """A Gaussian with standard deviation ½ (the prior's 1 and the data's), and no energy beyond a radius."""
    return tx.Energy(lambda x: jnp.where(jnp.abs(x).max() > radius, jnp.nan, 1.5 * jnp.sum(x**2)), PLANE)


def test_starts_without_an_energy_are_refused(key):
    start = np.array([[0.1, 0.0], [100.0, 0.0]])
    said = r"^start = 'row 1' cannot be moved from \(the data energy is not finite\); start that chain elsewhere\.$"
    with pytest.raises(InputError, match=said):
        tx.sample(key, broken_beyond(50.0), num_chains=2, start=start, progress=False)
