"""What can be wrong with what was typed, found before JAX is there, and how it is said."""

import json
import os
import platform
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer

from temperax.energies import datasets
from temperax.energies.dataset import TRAIN_FRACTION, Dataset
from temperax.errors import (
    InputError,
    Interrupted,
    ProcessError,
    all_at_once,
    check_choice,
    check_count,
    check_positive,
)

#: What a folder holds of a run: its options, and what the library keeps there.
COMMAND, RUN = "command.json", ("run.json", "checkpoints", "draws.zarr")
#: What is made of a run that has ended, and by other commands where they are not told another place.
MADE = (
    *("result.nc", "scores.csv", "summary.png", "ladder.png", "bands.png"),
    *("thermodynamics.png", "report.html", "predictions.csv"),
)
#: Least noise of the heteroscedastic likelihood, in standard deviations of the target, unless it is said otherwise.
MIN_SCALE = 1e-3
#: Files up to so many bytes are read to see whether they are tables; larger ones once, when the run begins.
SMALL = 10_000_000


def check(kind: str, options: Mapping[str, Any], out: Path, *, overwrite: bool) -> None:
    """All that is wrong with the options of ``sample`` or ``temper``; the folder is made last.

    Raises
    ------
    InputError
        With everything that was found.
    """
    counts = {"hidden": 1, "chains": 1, "draws": 1, "warmup": 0, "transitions": 1}
    many = [(name, value, least) for name, least in counts.items() for value in _values(options.get(name))]
    shares = _values(options["target_acceptance"])
    all_at_once(
        lambda: _check_data(options),
        *(lambda name=name, value=value, least=least: check_count(name, value, least) for name, value, least in many),
        lambda: check_positive("scale", options["prior_scale"]),
        lambda: _check_noise(options),
        *(lambda share=share: check_share("target_acceptance", share, such=0.95) for share in shares),
        lambda: check_positive("save_every", options["save_every"]),
        lambda: _check_activation(options["activation"]),
        lambda: _check_temperatures(kind, options),
    )
    _prepare(out, overwrite)


def _values(option: Any) -> list[Any]:
    return [] if option is None else option if isinstance(option, list) else [option]


def _check_data(options: Mapping[str, Any]) -> None:
    check_share("train_fraction", options["train_fraction"])
    data = options["data"]
    large = Path(data).is_file() and Path(data).stat().st_size > SMALL
    if data in datasets.NAMES:
        _check_published(data, options)
    elif not (large and options["target"]):
        load(options)


def _check_published(data: str, options: Mapping[str, Any]) -> None:
    """Say so where an option is of a CSV file, and would change nothing of data that are published."""
    settled: dict[str, list[Any]] = {
        "target": [None],
        "task": ["regression", datasets.SKLEARN.get(data)],  # the first of which stands there if nobody says so
        "column": [None],
        "unknown": ["error"],
        "train_fraction": [TRAIN_FRACTION],
    }

    def check(name: str) -> None:
        if options[name] not in settled[name]:
            problem = "is not that of the published splits"
            raise InputError(f"--{name.replace('_', '-')}", options[name], problem, "leave it out, or give a CSV file")

    checks = (lambda name=name: check(name) for name in settled)
    all_at_once(*checks, lambda: datasets.check_split(data, options["split"]))


def _check_noise(options: Mapping[str, Any]) -> None:
    """Say so where a noise is that of another task, or its least scale that of another noise."""
    data, name = options["data"], options["likelihood"]
    task = datasets.SKLEARN.get(data, "regression") if data in datasets.NAMES else options["task"]
    if name is not None and task != "regression":
        problem = f"is the noise of a regression, and the task is {task}"
        raise InputError("--likelihood", name, problem, "leave it out")
    if check_positive("min_scale", options["min_scale"]) != MIN_SCALE and name != "heteroscedastic":
        raise InputError("min_scale", options["min_scale"], "is of no other noise", "say --likelihood heteroscedastic")


def _check_activation(name: str) -> None:
    from temperax.energies.networks import ACTIVATIONS

    check_choice("activation", name, ACTIVATIONS)


def _check_temperatures(kind: str, options: Mapping[str, Any]) -> None:
    from temperax.engine import ladder, tempering

    if kind == "sample":
        tempering.inverse_temperatures(options["temperature"] or [1.0], None, options["path"])
    else:
        ladder.first(options["path"], as_replicas(options["replicas"]), options["hottest"], options["coldest"], None)


def as_replicas(replicas: str) -> int | str:
    """Rungs as they were typed: a number, or ``auto``."""
    return int(replicas) if replicas.isdecimal() and len(replicas) < 10 else replicas


def read_command(run: Path) -> dict[str, Any]:
    """What was typed when a run began: its ``command`` and ``options``."""
    try:
        found = json.loads((run / COMMAND).read_text())
        known = found["command"] in ("sample", "temper") and isinstance(found["options"], dict)
    except (OSError, ValueError, KeyError, TypeError) as error:
        remedy = "name the folder of a run that the command line began"
        raise InputError("RUN", str(run), f"has no {COMMAND} that can be read", remedy) from error
    if not known:
        raise InputError("RUN", str(run), f"has a damaged {COMMAND}", "start another run")
    return found


def check_finished(run: Path) -> None:
    """Say so where a folder has no result."""
    if not (run / "result.nc").is_file():
        raise InputError("RUN", str(run), "has no result.nc", "name the folder of a finished run")


def check_share(name: str, value: float, such: float = 0.9) -> None:
    """Say so where an option is no probability or share."""
    if not 0 < value < 1:
        raise InputError(name, value, "is not in (0, 1)", f"give such as {such}")


def check_table(table: Path) -> None:
    """Say so where there is no table."""
    if not table.is_file():
        raise InputError("TABLE", str(table), "is no file", "name a CSV file")


#: Endings of the files that the command line writes over.
OWN = (".csv", ".html")


def writable(file: Path, what: str, given: Path) -> Path:
    """A file for ``what`` that can be written and is no other's, before any work is done."""
    if file.exists() and (file.samefile(given) or file.suffix not in OWN):
        raise InputError("--out", str(file), f"is there, and no {what}", "choose another file")
    try:
        there = file.exists()
        with file.open("a"):
            pass
        if not there:
            file.unlink()  # of what fails later, nothing is left
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", error)
        raise InputError("--out", str(file), f"cannot be written ({reason})", "choose another file") from error
    return file


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
        mine = out / f".writable-{platform.node()}-{os.getpid()}"  # several processes of a job do this at once
        mine.touch()
        mine.unlink()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", error)
        raise InputError("--out", str(out), f"cannot be written ({reason})", "choose another folder") from error


def load(options: Mapping[str, Any]) -> Dataset:
    """A published data set by its name, or the user's CSV."""
    data, target, split = options["data"], options["target"], options["split"]
    fraction = options.get("train_fraction", TRAIN_FRACTION)
    if data in datasets.NAMES:
        return datasets.load(data, split)
    if not Path(data).suffix and not Path(data).exists():
        raise InputError("DATA", data, "is neither a data set nor a file", f"choose one of {', '.join(datasets.NAMES)}")
    if not target:
        raise InputError("--target", target, "is missing", "name the target column of the CSV file")
    more = {"columns": _columns(options), "unknown": options.get("unknown", "error"), "train_fraction": fraction}
    try:
        return Dataset.from_csv(data, target, task=options["task"], split=split, **more)
    except InputError as error:
        if error.argument != "path":
            raise
        raise InputError("DATA", data, error.problem, error.remedy) from error


def _columns(options: Mapping[str, Any]) -> dict[str, str]:
    """What columns were said to be, each once."""
    found: dict[str, str] = {}
    for said in options.get("column") or []:
        name, kind = _column(said)
        if name in found:
            raise InputError("--column", said, f"says again what {name} is", "say it once")
        found[name] = kind
    return found


def _column(said: str) -> tuple[str, str]:
    """A column's name and what it is, from ``name=kind``."""
    name, equals, kind = said.rpartition("=")
    if not equals or not name.strip():
        raise InputError("--column", said, "is not name=kind", "write such as zip=category")
    return name.strip(), kind


def check_drawn(run: Path) -> None:
    """Say so of what is no file and neither the folder of a finished run nor one of the library's run directories."""
    if not any(file.is_file() for file in (run, run / "result.nc", run / "run.json")):
        raise InputError("RUN", str(run), "has no result.nc and no run.json", "name the folder of a run")


def check_run(run: Path) -> None:
    """Say so where a folder is not one of the library's run directories, nor about to become one."""
    if not (run / "run.json").is_file() and not (run / COMMAND).is_file():
        raise InputError("RUN", str(run), "holds no run (run.json)", "name the folder of a run")


#: The options of the library's arguments.
SAME = (
    *("temperature", "path", "kernel", "hidden", "activation", "hottest", "coldest", "transitions", "storage", "split"),
    *(
        "train_fraction",
        "target_acceptance",
        "task",
        "target",
        "unknown",
        "likelihood",
        "min_scale",
        "save_every",
        "devices",
        "coordinator",
        "num_processes",
        "process_id",
    ),
)
OPTIONS = {name: name.replace("_", "-") for name in SAME} | {
    "num_chains": "chains",
    "num_warmup": "warmup",
    "num_draws": "draws",
    "num_replicas": "replicas",
    "scale": "prior-scale",
    "directory": "out",
    "columns": "column",
}


def as_typed(sentence: str) -> str:
    """What the library says of its arguments, said of the options of the command line."""
    # A column, in an error, is one of a table.
    options = OPTIONS | {option: option for option in OPTIONS.values() if option != "column"}
    names = "|".join(options)
    sentence = re.sub(rf"(^|\. )({names}) = ", lambda found: f"{found[1]}--{options[found[2]]} = ", sentence)
    return re.sub(rf"\b({names})=", lambda found: f"--{options[found[1]]} ", sentence)


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
