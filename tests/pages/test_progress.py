"""How far a run is, told while it is written, when it has ended and when its process is gone."""

import io
import os
import subprocess
import sys
import time

import numpy as np
import pytest
from small_results import KEY, own

import temperax as tx
from temperax.command.watch import view
from temperax.pages.progress import Progress, progress

LADDER = {"num_replicas": 4, "num_chains": 2, "num_draws": 64, "start": "prior", "progress": False}
WRITER = """
import sys
import jax, temperax as tx
sys.path.insert(0, sys.argv[2])
from small_results import KEY, own
tx.parallel_tempering(KEY, own(), num_replicas=4, num_chains=2, num_draws=400_000, start="prior", progress=False,
                      directory=sys.argv[1], save_every=0.5)
"""


def said(found, now=None):
    from rich.console import Console

    console = Console(width=100, file=io.StringIO(), record=True)
    console.print(view("run", found, now))
    return console.export_text()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "run"
    return folder, tx.parallel_tempering(KEY, own(), directory=folder, save_every=0.05, **LADDER)


def test_a_finished_run_is_as_its_result_says(finished):
    folder, tree = finished
    found = progress(folder)
    assert (found.function, found.state, found.stage) == ("parallel_tempering", "finished", "draws")
    assert found.done == found.total == 64 and np.isnan(found.seconds_left())
    assert found.round_trips == tx.diagnostics.round_trips(tree)["round_trips"]
    np.testing.assert_array_equal(found.flow, tx.diagnostics.flow(tree))
    table = tx.diagnostics.energies(tree)
    np.testing.assert_allclose(found.mixing["rhat"], table["rhat_energy"])
    np.testing.assert_allclose(found.mixing["ess"], table["ess_energy"])
    text = said(found)
    assert "finished" in text and "64 of 64" in text and "round trips" in text and "from the hot end █" in text


def test_nothing_of_a_run_is_changed_by_looking(finished):
    folder, _ = finished
    files = {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in folder.rglob("*") if p.is_file()}
    progress(folder)
    assert files == {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in folder.rglob("*") if p.is_file()}


def test_a_run_that_begins_or_was_left(tmp_path):
    from temperax.storage.rundir import RunDirectory

    run = RunDirectory.create(tmp_path / "run", {"function": "sample", "arguments": {"num_warmup": 100}, "plan": None})
    assert progress(run.path).state == "running" and "nothing is saved yet" in said(progress(run.path))
    lock = run.lock()
    assert progress(run.path).state == "running"
    lock.release()
    machine = (run.path / "writer").read_text().split(" on ")[1]
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    (run.path / "writer").write_text(f"process {gone.pid} on {machine}")
    assert progress(run.path).state == "stopped" and "temperax resume" in said(progress(run.path))
    (run.path / "writer").write_text(f"process {gone.pid} on another {machine}")
    assert progress(run.path).state == "running"


def test_the_warm_up_of_chains_says_how_many_draws_follow(tmp_path, monkeypatch):
    from temperax.storage.rundir import RunDirectory

    def save_and_stop(run, *arguments, **options):
        save(run, *arguments, **options)
        raise tx.Interrupted(run.path, "warm-up")

    save = RunDirectory.save
    monkeypatch.setattr(RunDirectory, "save", save_and_stop)
    kept = {"directory": tmp_path / "run", "save_every": 1e-9, "progress": False, "start": np.array([[2.0], [-2.0]])}
    with pytest.raises(tx.Interrupted):
        tx.sample(KEY, own(), num_chains=2, num_warmup=40, num_draws=30, thin=2, **kept)
    found = progress(tmp_path / "run")
    assert (found.stage, found.total, found.later) == ("warm-up", 40, 60) and 0 < found.done <= 40
    assert "warm-up" in said(found)


def test_the_end_is_told_from_the_rate():
    found = Progress("sample", "running", "draws", done=300, total=1000, rate=10.0, saved=1000.0)
    assert found.seconds_left(1020.0) == pytest.approx(50.0)
    assert found.seconds_left(9000.0) == 0.0
    assert "ends in 0:00:50" in said(found, 1020.0) and "300 of 1000" in said(found, 1020.0)
    before = Progress("sample", "running", "warm-up", 30, 100, later=430, rate=10.0, saved=1000.0)
    assert before.seconds_left(1020.0) == pytest.approx(30.0) and "ends in about 0:00:30" in said(before, 1020.0)
    assert np.isnan(Progress("smc", "running", "smc", 3, None, rate=10.0, saved=1000.0).seconds_left(1020.0))


@pytest.mark.slow
def test_a_run_that_another_process_writes(tmp_path):
    """Looked at again and again from here and by the command line: it grows, and what is left is its own prefix."""
    folder, here = tmp_path / "run", os.path.dirname(__file__)
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(folder), here])
    seen = []
    try:
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline and len([f for f in seen if f.stage == "draws"]) < 8:
            assert writer.poll() is None
            if (folder / "run.json").exists():
                seen.append(progress(folder))
            time.sleep(0.2)
        command = [os.path.join(os.path.dirname(sys.executable), "temperax"), "watch", str(folder), "--once"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=100, env=os.environ | {"COLUMNS": "120"})
        assert done.returncode == 0, done.stderr
        assert "parallel_tempering, running" in done.stdout and "of 400000" in done.stdout and "a second" in done.stdout
        assert "ends in" in done.stdout and "round trips" in done.stdout and "R-hat" in done.stdout
    finally:
        writer.kill()
        writer.wait()
    assert {"beginning", "rounds"} & {f.stage for f in seen} and seen[-1].stage == "draws"
    counts = [f.done for f in seen if f.stage == "draws"]
    assert counts == sorted(counts) and counts[-1] > counts[0]
    left = progress(folder)
    assert left.state == "stopped"
    tree = tx.open_run(folder)
    assert tree["posterior"].sizes["draw"] == left.done >= counts[-1]
    assert left.round_trips == tree["exchange"]["round_trips"].isel(draw=-1).sum()


@pytest.mark.slow
def test_whoever_looks_uses_no_device(finished):
    """A device that JAX starts would take its memory from the run that is looked at."""
    code = (
        "import sys; from temperax.pages.progress import progress; progress(sys.argv[1]);"
        "import jax._src.xla_bridge as bridge; assert not bridge.backends_are_initialized()"
    )
    done = subprocess.run([sys.executable, "-c", code, str(finished[0])], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
