"""The command line, as a user types it: exit codes, one-sentence errors, and the files it leaves."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from shell import said

import temperax as tx
from temperax.command.mistakes import COMMAND, MADE, read_command
from temperax.storage.rundir import RunDirectory

TEMPERAX = Path(sys.executable).parent / "temperax"
#: A user's cache for all of these processes, which share compiled programs through it.
CACHE = Path(__file__).parents[2] / ".pytest_cache" / "home"


def temperax(*arguments, cwd=None):
    environment = os.environ | {"COLUMNS": "200", "NO_COLOR": "1", "XDG_CACHE_HOME": str(CACHE)}
    return subprocess.run([TEMPERAX, *arguments], capture_output=True, text=True, cwd=cwd, env=environment, timeout=300)


QUICK = ("--hidden", "2", "--warmup", "20", "--draws", "20", "--chains", "2", "--quiet")


@pytest.mark.slow
def test_the_noise_and_the_acceptance_are_what_was_typed_and_one_input_has_bands(tmp_path):
    arguments = ("temper", "motorcycle", "--likelihood", "heteroscedastic", "--min-scale", "0.2", "--replicas", "4")
    arguments = (*arguments, "--target-acceptance", "0.9", "--hidden", "2", "--draws", "32", "--chains", "2", "--quiet")
    done = temperax(*arguments, "--out", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "bands.png").stat().st_size > 10_000
    made = xr.open_datatree(tmp_path / "out" / "result.nc").attrs
    assert "HeteroscedasticGaussian" in made["energy"] and '"min_scale": 0.2' in made["energy"]
    assert '"target_acceptance": 0.9' in made["arguments"]


@pytest.mark.slow
def test_a_csv_from_table_to_picture(tmp_path):
    rows = "\n".join(f"{'xy'[i % 2]},{(i * i) % 11},n{i},{3 * (i % 7) - (i * i) % 11}" for i in range(60))
    (tmp_path / "table.csv").write_text("kind,b,id,price\n" + rows)
    arguments = ("sample", "table.csv", "--target", "price", "--temperature", "1", "--temperature", "0.3")
    arguments = (*arguments, "--column", "id=drop", "--path", "posterior")
    done = temperax(*arguments, "--out", "out", *QUICK[:-1], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "category of 2: x, y" in done.stdout and "not used" in done.stdout
    expected = ("R-hat of f", "T = 1", "T = 0.3", "MAP, early stopping", "linear model", "rmse", "lppd", "nats a row")
    for words in expected:
        assert words in done.stdout
    assert {"result.nc", "summary.png", "scores.csv"} <= {p.name for p in (tmp_path / "out").iterdir()}
    again = temperax(*arguments, "--out", "out", *QUICK, cwd=tmp_path)
    assert again.returncode == 2 and "has a result" in again.stderr
    (tmp_path / "new.csv").write_text("b,kind\n3,x\n4,y\n")
    done = temperax("predict", "out", "new.csv", "--level", "0.5", "--quiet", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "2 rows predicted" in done.stdout
    file = temperax(
        "predict", "out/result.nc", "new.csv", "--out", "again.csv", "--level", "0.5", "--quiet", cwd=tmp_path
    )
    assert file.returncode == 0, file.stderr
    assert (tmp_path / "again.csv").read_text() == (tmp_path / "out" / "predictions.csv").read_text()
    header, *lines = (tmp_path / "out" / "predictions.csv").read_text().splitlines()
    done = temperax("report", "out", cwd=tmp_path)
    assert done.returncode == 0 and "the report is" in done.stdout, done.stderr
    assert "5 %" in (tmp_path / "out" / "report.html").read_text()
    assert header == "row,mean,sd,sd_epistemic,sd_aleatoric,eti50_lb,eti50_ub" and len(lines) == 2
    (tmp_path / "new.csv").write_text("b,kind\n3,z\n")
    done = temperax("predict", "out", "new.csv", cwd=tmp_path)
    assert done.returncode == 2 and "'kind' holds z in rows 0" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_ladder_from_table_to_pictures(tmp_path):
    rows = "\n".join(f"{i % 7},{(i * i) % 11},{3 * (i % 7) - (i * i) % 11}" for i in range(60))
    (tmp_path / "table.csv").write_text("a,b,price\n" + rows)
    arguments = ("temper", "table.csv", "--target", "price", "--hidden", "2", "--replicas", "5", "--draws", "32")
    done = temperax(*arguments, "--chains", "2", "--quiet", "--out", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert any((CACHE / "temperax" / "compiled").iterdir()), "compiled programs are kept"
    for words in ("round trips", "log Z(T = 1)", "T = inf", "T = 1", "5 replicas were given"):
        assert words in done.stdout
    assert {"result.nc", "ladder.png", "summary.png", "scores.csv"} <= {p.name for p in (tmp_path / "out").iterdir()}
    done = temperax("thermodynamics", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "log Z(T = 1) - log Z(T = inf)" in done.stdout and (tmp_path / "out" / "thermodynamics.png").exists()


MISTAKES = [
    (("sample", "diabetis"), "neither a data set nor a file"),
    (("sample", "table.csv"), "--target"),
    (("sample", "table.csv", "--target", "y"), "DATA = 'table.csv' cannot be read as CSV"),
    (("sample", "diabetes", "--target-acceptance", "2"), "--target-acceptance = 2.0 is not in (0, 1)"),
    (("sample", "diabetes", "--train-fraction", "1"), "--train-fraction = 1.0 is not in (0, 1)"),
    (("sample", "diabetes", "--train-fraction", "0.8"), "--train-fraction = 0.8 is not that of the published splits"),
    (("sample", "diabetes", "--target", "bmi"), "--target = ['bmi'] is not that of the published splits"),
    (("sample", "diabetes", "--task", "counts"), "--task = 'counts' is not that of the published splits"),
    (("temper", "iris", "--column", "a=drop"), "--column = ['a=drop'] is not that of the published splits"),
    (("sample", "iris", "--unknown", "column"), "--unknown = 'column' is not that of the published splits"),
    (("sample", "diabetes", "--split", "50"), "--split = 50 is not one of the 20 splits; give 0 … 19"),
    (("sample", "iris", "--likelihood", "student"), "--likelihood = 'student' is the noise of a regression"),
    (("sample", "numbers.csv", "--target", "y", "--task", "counts", "--likelihood", "gaussian"), "the task is counts"),
    (("sample", "diabetes", "--min-scale", "0.1"), "--min-scale = 0.1 is of no other noise; say --likelihood heteros"),
    (("sample", "numbers.csv", "--target", "y", "--target", "y"), "--target = ['y', 'y'] names a column twice"),
    (
        ("sample", "numbers.csv", "--target", "y", "--column", "a=category", "--column", "a=number"),
        "--column = 'a=number' says again what a is",
    ),
    (("sample", "diabetes", "--temperature", "0.3"), "say --path 'likelihood'"),
    (("sample", "diabetes", "--temperature", "-1", "--path", "posterior"), "not positive"),
    (("sample", "diabetes", "--kernel", "gibbs"), "kernel"),
    (("temper", "diabetes", "--path", "posterior", "--hottest", "inf"), "hottest"),
    (("temper", "diabetes", "--replicas", "many"), "--replicas = 'many'"),
    (("sample", "diabetes", "--out", "/proc/nowhere"), "cannot be written"),
    (("sample", "diabetes", "--chains", "two"), "--chains"),
    (("temper", "diabetes", "--coordinator", "node1:1234"), "--num-processes"),
    (("temper", "diabetes", "--coordinator", "auto"), "joins no processes"),
    (("resume", "nowhere"), "command.json"),
    (("thermodynamics", "nowhere"), "no result.nc"),
    (("thermodynamics", "."), "cannot be read"),
    (("report", "nowhere"), "has no result.nc and no run.json"),
    (("report", "."), "has a result.nc that cannot be read"),
    (("report", "result.nc"), "RUN = 'result.nc' cannot be read"),
    (("report", ".", "--out", "nowhere/o.html"), "--out = 'nowhere/o.html' cannot be written"),
    (("watch", "nowhere"), "RUN = 'nowhere' holds no run"),
    (("watch", "."), "RUN = '.' holds no run"),
    (("watch", "damaged"), "RUN = 'damaged' has a damaged run.json"),
    (("predict", "nowhere", "new.csv"), "has no result.nc and no run.json"),
    (("predict", ".", "new.csv"), "TABLE = 'new.csv' is no file"),
    (("predict", ".", "result.nc", "--out", "result.nc"), "--out = 'result.nc' is there, and no table of predictions"),
    (("sample", "table.csv", "--target", "y", "--column", "a"), "--column = 'a' is not name=kind"),
]


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """What the commands of `MISTAKES` say, in a folder with a broken result."""
    folder = tmp_path_factory.mktemp("mistakes")
    (folder / "result.nc").write_text("broken")
    (folder / "numbers.csv").write_text("a,y\n" + "\n".join(f"{i % 3},{i}" for i in range(20)))
    (folder / "damaged").mkdir()
    (folder / "damaged" / "run.json").write_text("{}")
    environment = os.environ | {"COLUMNS": "200", "NO_COLOR": "1", "XDG_CACHE_HOME": str(CACHE)}
    commands = [arguments for arguments, _ in MISTAKES]
    out = [() if takes_no_folder(arguments) else ("--out", f"o{n}") for n, arguments in enumerate(commands)]
    return said([[*one, *two] for one, two in zip(commands, out, strict=True)], cwd=folder, env=environment)


def takes_no_folder(arguments):
    return "--out" in arguments or arguments[0] in ("resume", "thermodynamics", "predict", "report", "watch")


@pytest.mark.parametrize("number", range(len(MISTAKES)), ids=[" ".join(arguments) for arguments, _ in MISTAKES])
def test_mistakes_are_one_sentence_and_status_2(answers, number):
    (status, error), (_, words) = answers[number], MISTAKES[number]
    assert status == 2
    assert words in error and "Traceback" not in error


def test_mistakes_are_found_before_jax_is_there():
    """And all of them at once, in words of the command line."""
    script = (
        "import sys\n"
        "from temperax.command import cli\n"
        "loaded = {'jax', 'xarray', 'pandas', 'scipy', 'matplotlib'} & set(sys.modules)\n"
        "assert not loaded, loaded\n"
        "cli.app(sys.argv[1:])\n"
    )
    wrong = ("--chains", "0", "--draws", "0", "--hidden", "0", "--activation", "tanhh", "--temperature", "-1")
    done = subprocess.run(
        [sys.executable, "-c", script, "sample", "diabetes", "--path", "posterior", "--prior-scale", "0", *wrong],
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 2, done.stderr
    for option in ("--hidden = 0", "--chains = 0", "--draws = 0", "--activation = 'tanhh'", "--temperature = "):
        assert option in done.stderr
    assert "--prior-scale = 0.0" in done.stderr and done.stderr.count("\n") == 1


def test_a_mistake_in_a_process_of_its_own(tmp_path):
    done = temperax("sample", "diabetes", "--kernel", "gibbs", "--out", str(tmp_path / "o"))
    assert done.returncode == 2 and "kernel" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_run_goes_on_from_the_shell(tmp_path):
    done = temperax("sample", "diabetes", *QUICK, "--devices", "1", "--out", "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    done = temperax("resume", "run", "--draws", "48", "--devices", "2", "--quiet", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "R-hat of f" in done.stdout and (tmp_path / "run" / "summary.png").exists()
    done = temperax("resume", "run", "--quiet", cwd=tmp_path)  # not back to the 20 that were asked for at first
    assert done.returncode == 0, done.stderr
    assert xr.open_datatree(tmp_path / "run" / "result.nc")["posterior"].sizes["draw"] == 48


@pytest.mark.parametrize(("draws", "noted"), [(48, 48), (10, 20), (None, 20)])
def test_more_draws_are_wanted_even_if_the_process_is_killed(draws, noted, monkeypatch, tmp_path):
    from temperax.command import shell

    def killed(*arguments, **options):
        raise SystemExit

    monkeypatch.setattr(shell, "_run", killed)
    monkeypatch.setattr(shell.Machine, "start", lambda machine: None)
    with pytest.raises(SystemExit):
        shell.resume(tmp_path, {"command": "sample", "options": {"draws": 20}}, draws, shell.Machine(), quiet=True)
    if noted == draws:
        assert read_command(tmp_path) == {"command": "sample", "options": {"draws": 48}}
    else:
        assert not (tmp_path / COMMAND).exists()


@pytest.mark.parametrize("target", [None, 0.7])
def test_the_kernel_of_the_shell_is_the_librarys(target, small_data):
    """With the scales of units that have some, whatever acceptance is aimed at; and HMC alone where it is named."""
    from temperax.command import shell

    for activation, kind in (("relu", tx.kernels.Alternating), ("tanh", tx.HMC)):
        energy = tx.Energy.mlp(small_data, (2,), activation)
        kernel = shell._kernel({"kernel": "auto", "target_acceptance": target}, energy)
        assert type(tx.kernels.as_kernel(kernel, energy)) is kind
        named = shell._kernel({"kernel": "hmc", "target_acceptance": target}, energy)
        assert type(tx.kernels.as_kernel(named, energy)) is tx.HMC


def test_predictions_keep_their_digits_and_what_tells_rows_apart(monkeypatch, tmp_path, key):
    from temperax.command import shell

    monkeypatch.setattr(shell.tx, "use_cpu_devices", lambda number: None)
    n = np.arange(30)
    frame = pd.DataFrame({"id": [f"{i:03}" for i in n], "a": n % 7, "y": 1.7e9 + 0.5 + 10.0 * (n % 7)})
    data = tx.Dataset.from_frame(frame, "y", columns={"id": "drop"})
    tx.map_estimate(key, tx.Energy.mlp(data, ()), num_starts=1, progress=False).to_netcdf(tmp_path / "result.nc")
    (tmp_path / "new.csv").write_text("id,a\n007,1\n12345678,2\n")
    shell.predict(tmp_path / "result.nc", tmp_path / "new.csv", tmp_path / "out.csv", 0.9, False, (), quiet=True)
    found = pd.read_csv(tmp_path / "out.csv", dtype={"id": str})
    assert found["id"].tolist() == ["007", "12345678"]
    np.testing.assert_allclose(found["mean"] - 1.7e9, [10.5, 20.5], atol=3.0)


#: What begins a run, of the options.
OPTIONS: dict = {"data": "diabetes", "target": None, "split": 0, "task": "regression", "hidden": [2]}
OPTIONS |= {"activation": "tanh", "prior_scale": 1.0, "seed": 0}


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"split": 50}, "split = 50 is not one of the 20 splits"),
        ({"data": "t.csv", "target": ["y"], "task": "counts"}, "has values that are not counts"),
        ({"data": "t.csv", "target": ["a"], "train_fraction": 0.99}, "has too few rows to hold any out"),
        ({"activation": "tanhh"}, "activation = 'tanhh'"),
    ],
)
def test_a_command_that_fails_leaves_the_result_of_the_run_before(wrong, words, monkeypatch, tmp_path):
    from temperax.command import shell

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(shell, "_run", lambda *arguments, **options: None)
    monkeypatch.setattr(shell.Machine, "start", lambda machine: None)
    Path("t.csv").write_text("a,y\n" + "\n".join(f"{i * i},{i - 5}" for i in range(20)))
    for name in ("result.nc", COMMAND):
        Path(name).write_text("old")
    with pytest.raises(tx.InputError, match=words):
        shell.begin("sample", OPTIONS | wrong, tmp_path, shell.Machine(), overwrite=True, quiet=True)
    assert Path("result.nc").read_text() == Path(COMMAND).read_text() == "old"


def test_a_published_name_is_no_file(monkeypatch, tmp_path):
    from temperax.command import shell

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(shell, "_run", lambda *arguments, **options: None)
    monkeypatch.setattr(shell.Machine, "start", lambda machine: None)
    Path("diabetes").write_text("a,y\n")
    shell.begin("sample", OPTIONS, tmp_path, shell.Machine(), overwrite=False, quiet=True)
    assert read_command(tmp_path)["options"]["data"] == "diabetes"


def test_overwriting_takes_what_was_made_of_the_run_before(monkeypatch, tmp_path):
    """A new run that is stopped early must not answer with the old one's result."""
    from temperax.command import shell

    monkeypatch.setattr(shell, "_run", lambda *arguments, **options: None)
    monkeypatch.setattr(shell.Machine, "start", lambda machine: None)
    made_later = ("thermodynamics.png", "report.html", "predictions.csv")
    for name in ("run.json", *MADE, *made_later, "notes.txt"):
        (tmp_path / name).write_text("old")
    shell.begin("sample", OPTIONS, tmp_path, shell.Machine(), overwrite=True, quiet=True)
    assert {path.name for path in tmp_path.iterdir()} == {COMMAND, "notes.txt", "lock", "writer"}


def test_a_run_that_is_written_is_not_overwritten(monkeypatch, tmp_path):
    from temperax.command import shell

    monkeypatch.setattr(shell.Machine, "start", lambda machine: None)
    run = RunDirectory.create(tmp_path / "run", {"function": "sample"})
    lock, before = run.lock(), (run.path / "run.json").read_text()
    with pytest.raises(tx.InputError, match="is being written by process"):
        shell.begin("sample", OPTIONS, run.path, shell.Machine(), overwrite=True, quiet=True)
    lock.release()
    assert (run.path / "run.json").read_text() == before and not (run.path / COMMAND).exists()


def test_help_reads_well():
    done = temperax("sample", "--help")
    assert done.returncode == 0
    assert "Sample a network's posterior" in done.stdout and "--temperature" in done.stdout
