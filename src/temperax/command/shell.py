"""What the commands of the shell do: prepare a folder and the devices, run, show, and go on with what was stopped."""

import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import pandas as pd
import typer
import xarray as xr
from jax import Array
from matplotlib.figure import Figure

import temperax as tx
from temperax.energies import datasets
from temperax.energies.datasets import Dataset
from temperax.energies.energy import Energy
from temperax.errors import InputError, Interrupted, ProcessError, check_result
from temperax.machine import sharding

#: What a folder holds of a run: its options, and what the library keeps there.
COMMAND, RUN = "command.json", ("run.json", "checkpoints", "draws.zarr")


class Machine(NamedTuple):
    """The part that a command has in a job: its devices, and the processes that it joins."""

    devices: int | None = None
    coordinator: str | None = None
    num_processes: int | None = None
    process_id: int | None = None

    def start(self) -> None:
        """Set up what must be set up before JAX starts."""
        if self != Machine(self.devices):
            tx.use_cpu_devices(self.devices or 1)
            coordinator = None if self.coordinator == "auto" else self.coordinator
            tx.use_processes(coordinator, self.num_processes, self.process_id)
        else:
            tx.use_cpu_devices(self.devices or os.cpu_count() or 1)
        tx.use_compilation_cache()


def begin(kind: str, options: Mapping[str, Any], out: Path, machine: Machine, *, overwrite: bool, quiet: bool) -> None:
    """Start a run of `SAMPLERS` in a folder, and show its result."""
    _prepare(out, overwrite)
    machine.start()
    if sharding.first_process():
        if overwrite:
            _remove(out)
        options = dict(options)
        if Path(options["data"]).is_file():
            options["data"] = str(Path(options["data"]).resolve())  # to be found again from wherever it goes on
        (out / COMMAND).write_text(json.dumps({"command": kind, "options": options}))
    sharding.meet("prepared")
    _run(kind, options, out, quiet=quiet, resume=False)


def resume(out: Path, draws: int | None, machine: Machine, *, quiet: bool) -> None:
    """Go on with a run where its newest checkpoint stands, perhaps for more draws."""
    try:
        found = json.loads((out / COMMAND).read_text())
        kind, options = found["command"], found["options"]
        known = kind in SAMPLERS and isinstance(options, dict)
    except (OSError, ValueError, KeyError, TypeError) as error:
        remedy = "name the folder of a run that the command line began"
        raise InputError("RUN", str(out), f"has no {COMMAND} that can be read", remedy) from error
    if not known:
        raise InputError("RUN", str(out), f"has a damaged {COMMAND}", "start another run")
    machine.start()
    _run(kind, options | ({"draws": draws} if draws is not None else {}), out, quiet=quiet, resume=True)


def _sample(key: Array, energy: Energy, options: Mapping[str, Any], **run: Any) -> xr.DataTree:
    return tx.sample(
        key,
        energy,
        options["temperature"] or [1.0],
        path=options["path"],
        kernel=options["kernel"],
        num_chains=options["chains"],
        num_warmup=options["warmup"],
        num_draws=options["draws"],
        storage=options["storage"],
        **run,
    )


def _temper(key: Array, energy: Energy, options: Mapping[str, Any], **run: Any) -> xr.DataTree:
    replicas = options["replicas"]
    return tx.parallel_tempering(
        key,
        energy,
        path=options["path"],
        kernel=options["kernel"],
        num_replicas=int(replicas) if replicas.isdecimal() and len(replicas) < 10 else replicas,
        num_chains=options["chains"],
        num_draws=options["draws"],
        transitions=options["transitions"],
        hottest=options["hottest"],
        coldest=options["coldest"],
        keep="all",
        storage=options["storage"],
        **run,
    )


#: Samplers by the name of their command.
SAMPLERS: dict[str, Callable] = {"sample": _sample, "temper": _temper}


def _run(kind: str, options: Mapping[str, Any], out: Path, *, quiet: bool, resume: bool) -> None:
    """Run or go on, print the tables, and write result, scores and pictures."""
    try:
        energy, key = _energy(options)
        every = {"directory": out, "resume": resume, "save_every": options["save_every"], "progress": not quiet}
        tree = SAMPLERS[kind](key, energy, options, **every)
    except KeyError as error:
        raise InputError("RUN", str(out), f"has a {COMMAND} without {error}", "start another run") from error
    if not sharding.first_process():
        return
    baselines = _show(tree, energy, key, out)
    if kind == "temper":
        save_picture(tx.plots.ladder(tree), out / "ladder.png")
    save_picture(tx.plots.summary(tree, baselines), out / "summary.png")
    if tree.attrs["interrupted"]:
        draws = tree["posterior"].sizes["draw"]
        print(f"stopped after {draws} of {options['draws']} draws, which are saved; temperax resume {out} goes on")
        raise typer.Exit(130)


def read_result(run: Path) -> xr.DataTree:
    """The result in the folder of a finished run."""
    import h5py

    result = run / "result.nc"
    if not result.is_file():
        raise InputError("RUN", str(run), "has no result.nc", "name the folder of a finished run")
    try:
        with h5py.File(result):  # damaged files are found out here: h5netcdf leaves a traceback when it is collected
            pass
        # By the reader of what was written, so that no other one that is installed guesses what the file is.
        tree = xr.open_datatree(result, engine="h5netcdf").load()
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:  # what HDF5 says of damaged files
        raise InputError("RUN", str(run), f"has a result.nc that cannot be read ({error})", "run it again") from error
    stats = check_result(tree, "tempered_stats", "beta", "path_energy")
    if not {"chain", "draw", "temperature"} <= set(stats["path_energy"].dims) or stats["beta"].ndim != 1:
        raise InputError("RUN", str(run), "has a result.nc of another kind", "name the folder of a finished run")
    return tree


def _prepare(out: Path, overwrite: bool) -> None:
    """The folder of the results, before any work is done."""
    try:
        str(out).encode()
    except UnicodeEncodeError as error:
        raise InputError("--out", str(out), "is not a name in UTF-8", "choose another folder") from error
    there = [name for name in ("result.nc", *RUN) if (out / name).exists()]
    if there and not overwrite:
        remedy = "choose another folder, add --overwrite, or go on with temperax resume"
        raise InputError("--out", str(out), f"has a result ({there[0]})", remedy)
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / ".writable").touch()
        (out / ".writable").unlink()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", error)
        raise InputError("--out", str(out), f"cannot be written ({reason})", "choose another folder") from error


def _remove(out: Path) -> None:
    """Take a run out of its folder, and leave everything else that is there."""
    for name in RUN:
        found = out / name
        if found.is_dir() and not found.is_symlink():
            shutil.rmtree(found)
        else:
            found.unlink(missing_ok=True)


def _energy(options: Mapping[str, Any]) -> tuple[Energy, Array]:
    """The energy that the options describe, and the key of the run."""
    widths = tuple(options["hidden"]) if options["hidden"] is not None else (50,)
    prior = tx.priors.Normal(options["prior_scale"])
    dataset = _load(options["data"], options["target"], options["task"], options["split"])
    if not len(dataset.x_test):
        few = "has too few rows to hold any out for the scores"
        raise InputError("DATA", options["data"], few, "give at least 5 rows")
    return Energy.mlp(dataset, widths, options["activation"], prior=prior), jax.random.key(options["seed"])


def _load(data: str, target: list[str] | None, task: str, split: int) -> Dataset:
    """A published data set by its name, or the user's CSV."""
    if data in datasets.UCI or data in datasets.SKLEARN:
        return datasets.load(data, split)
    if not Path(data).suffix and not Path(data).exists():
        known = ", ".join(sorted([*datasets.UCI, *datasets.SKLEARN]))
        raise InputError("DATA", data, "is neither a data set nor a file", f"choose one of {known}")
    if not target:
        raise InputError("--target", target, "is missing", "name the target column of the CSV file")
    return Dataset.from_csv(data, target, task=task, split=split)  # type: ignore[arg-type]


def _show(tree: xr.DataTree, energy: Energy, key: Array, folder: Path) -> dict[str, float]:
    """Print the tables and write result and scores; returns the LPPD of the models to compare with."""
    tree.to_netcdf(folder / "result.nc")  # first of all: what was computed is safe, and can be passed on
    print()
    tx.diagnostics.report(tree)
    scores = tx.predict.scores(tree)
    scores.index = [f"T = {t:.4g}" for t in scores.index]
    if len(scores) > 8:  # of a ladder, the target and a few others
        rows = np.unique([*np.linspace(0, len(scores) - 1, 6).round().astype(int), len(scores) - 1])
        shown = scores.iloc[rows]
    else:
        shown = scores
    key, baselines = jax.random.fold_in(key, 99), {}
    for name, model, holdout in (
        ("MAP, early stopping", energy, 0.1),
        ("linear model, MAP", energy.replace(hidden=()), None),
    ):
        baselines[name] = tx.predict.scores(tx.map_estimate(key, model, holdout=holdout)).iloc[0]
    others = pd.DataFrame(baselines).T
    print("\n" + pd.concat([shown, others]).to_string(float_format="{:.3f}".format))
    pd.concat([scores, others]).to_csv(folder / "scores.csv")
    seconds = sum(json.loads(tree.attrs["timings"]).values())
    print(f"\n{seconds:.0f} s of sampling; draws, scores and pictures are in {folder}")
    return {name: float(row["lppd"]) for name, row in baselines.items()}


def save_picture(figure: Figure, path: Path) -> None:
    """Write a figure."""
    figure.savefig(path, dpi=120)


#: The options of the library's arguments.
SAME = (
    *("temperature", "path", "kernel", "hidden", "activation", "hottest", "coldest", "transitions", "storage", "split"),
    *("task", "target", "save_every", "devices", "coordinator", "num_processes", "process_id"),
)
OPTIONS = {name: name.replace("_", "-") for name in SAME} | {
    "num_chains": "chains",
    "num_warmup": "warmup",
    "num_draws": "draws",
    "num_replicas": "replicas",
    "scale": "prior-scale",
    "directory": "out",
}


def as_typed(sentence: str) -> str:
    """What the library says of its arguments, said of the options of the command line."""
    names = "|".join(OPTIONS)
    sentence = re.sub(rf"^({names}) = ", lambda found: f"--{OPTIONS[found[1]]} = ", sentence)
    return re.sub(rf"\b({names})=", lambda found: f"--{OPTIONS[found[1]]} ", sentence)


class errors_in_one_sentence:  # noqa: N801 - a context manager, used like a function
    """Print the user's mistakes as one sentence and leave with status 2; other failures keep their traceback."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type | None, value: BaseException | None, trace: object) -> None:
        if isinstance(value, InputError):
            print(f"temperax: {as_typed(str(value))}", file=sys.stderr)
            raise typer.Exit(2)
        if isinstance(value, Interrupted):
            print(f"temperax: {value}", file=sys.stderr)
            raise typer.Exit(130)
        if isinstance(value, ProcessError):
            print(f"temperax: {value}", file=sys.stderr)
            raise typer.Exit(1)
        if isinstance(value, KeyboardInterrupt):
            print("temperax: stopped at once; what the last checkpoint has is safe.", file=sys.stderr)
            raise typer.Exit(130)
        if isinstance(value, OSError):
            where = f": {value.filename}" if value.filename else ""
            print(f"temperax: {value.strerror or value}{where}", file=sys.stderr)
            raise typer.Exit(1)
        if isinstance(value, MemoryError):
            print("temperax: there is not enough memory for a network and data of this size.", file=sys.stderr)
            raise typer.Exit(1)
