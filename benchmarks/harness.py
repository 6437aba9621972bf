"""What every benchmark shares: the machine, the versions, the table and the JSON.

A long benchmark can be run in parts: with ``--merge`` the rows of this run replace those of the same key in the JSON
and leave the others, and the table and the goals are those of all rows.  Rows then carry their own machine, versions
and date, since the parts need not have the same.
"""

import argparse
import datetime
import json
import math
import os
import platform
import re
import shutil
import signal
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import pooch

if TYPE_CHECKING:
    import xarray as xr

#: Draws of a chain that a benchmark takes at most.
MOST_DRAWS = 200_000
#: Draws that a ladder is to have at least, and that its rounds are made for.
LADDER_DRAWS = 512
PACKAGES = ("temperax", "jax", "jaxlib", "numpyro", "blackjax", "nutpie", "arviz", "numpy")


def arguments(description: str) -> argparse.ArgumentParser:
    """A parser with the options that all benchmarks have."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="a short run that shows that everything works")
    parser.add_argument("--json", type=Path, help="also write the results here")
    return parser


def add_merge(parser: argparse.ArgumentParser) -> None:
    """The option of benchmarks that are run in parts."""
    parser.add_argument("--merge", action="store_true", help="keep the other rows that the JSON has already")


def goal(name: str, value: float, goal: float, *, at_most: bool) -> dict:
    """A goal and whether it is met."""
    return {"name": name, "value": value, "goal": goal, "met": bool(value <= goal if at_most else value >= goal)}


def cores() -> int:
    """Cores of this machine."""
    return os.cpu_count() or 1


def environment() -> dict[str, str]:
    """Of a process whose compilations are timed: on the processor unless the user names another platform, no cache."""
    return {"JAX_PLATFORMS": "cpu"} | {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}


@contextmanager
def stopped_after(seconds: float) -> Iterator[None]:
    """Ask for an end once the time is over, as Ctrl-C does: a run returns what it has drawn by then."""
    timer = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def ladder_within(seconds: float, run: Callable[..., "xr.DataTree"]) -> "xr.DataTree":
    """A ladder of as many draws as fit into a time: one with rounds of `LADDER_DRAWS`, which goes on from its files.

    The rounds before its draws are as long as these let them be, so that one asked for all draws at once has none.
    """
    with tempfile.TemporaryDirectory() as folder, stopped_after(seconds):
        options = {"directory": Path(folder) / "run"}
        tree = run(num_draws=LADDER_DRAWS, **options)
        if not tree.attrs["interrupted"]:
            tree = run(num_draws=MOST_DRAWS, resume=True, **options)
        return tree.load()  # before its files are gone


def seconds(call: Callable[[], object]) -> float:
    """What a call takes until its arrays are there."""
    import jax

    began = time.perf_counter()
    jax.block_until_ready(call())
    return time.perf_counter() - began


def medians(measures: Mapping[str, Callable[[], float]], repeats: int) -> dict[str, float]:
    """The median of each measurement, all taken in turn; the first of each, which compiles, does not count."""
    found: dict[str, list[float]] = {name: [] for name in measures}
    for repeat in range(repeats + 1):
        for name, measure in measures.items():
            value = measure()
            if repeat:
                found[name].append(value)
    return {name: statistics.median(values) for name, values in found.items()}


def versions() -> dict[str, str]:
    """Versions of what is installed."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def machine() -> dict:
    """What the numbers were measured on; asks JAX for its devices, and so starts it."""
    import jax

    return {
        "processor": processor(),
        "cores": cores(),
        "devices": [str(d) for d in jax.local_devices()],
        "python": platform.python_version(),
    }


def processor() -> str:
    """The processor's name, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def stamp(row: dict) -> dict:
    """A row with its machine, versions and date."""
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    return row | {"machine": machine(), "versions": versions(), "date": today}


def merged(rows: list[dict], file: Path | None, key: Iterable[str]) -> list[dict]:
    """The rows that a JSON file has already, those with the key of a new row replaced."""
    if file is None or not file.exists():
        return rows
    key = tuple(key)
    new = {tuple(row.get(k) for k in key) for row in rows}
    old = [row for row in json.loads(file.read_text())["rows"] if tuple(row.get(k) for k in key) not in new]
    return old + rows


def python_of(name: str, pins: Iterable[str], works: str, pythons: Iterable[str] = ("python3",)) -> Path:
    """The interpreter of another package's environment, made once in the user's cache if it is not there.

    Parameters
    ----------
    name
        Of the environment.
    pins
        What to install.
    works
        A statement that works there.
    pythons
        Interpreters to make it with, in turn.

    Raises
    ------
    RuntimeError
        If no Python is found that it runs on, or its packages cannot be installed.
    """
    folder = Path(pooch.os_cache("temperax")) / name
    python = folder / "bin" / "python"
    if python.exists() and subprocess.run([python, "-c", works], capture_output=True).returncode == 0:
        return python
    reasons = []
    for interpreter in pythons:
        if shutil.which(interpreter) is None:
            reasons.append(f"{interpreter} is not there")
            continue
        print(f"making {folder} with {interpreter} …", flush=True)
        commands: tuple[list[str | Path], ...] = (
            [interpreter, "-m", "venv", "--clear", str(folder)],
            [python, "-m", "pip", "install", "--quiet", *pins],
            [python, "-c", works],
        )
        for command in commands:
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                reasons.append(f"{interpreter}: {last_error(done.stderr)}")
                break
        else:
            return python
    raise RuntimeError("; ".join(reasons))


def last_error(text: str) -> str:
    """The line of a process's error output that says most: its last exception, or its last line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    named = [line for line in lines if re.match(r"[\w.]*(Error|Exception|Interrupt)\b", line)]
    return (named or lines or [""])[-1][:300]


def finish(rows: list[dict], goals: list[dict], file: Path | None) -> None:
    """Print the table and the goals, and write the JSON."""
    show(rows, goals)
    write(rows, goals, file)


def show(rows: list[dict], goals: list[dict], columns: Iterable[str] | None = None) -> None:
    """Print the table (all plain columns, or those named that there are) and the goals."""
    flat = [{name: value for name, value in row.items() if not isinstance(value, (dict, list))} for row in rows]
    table = pd.DataFrame(flat)
    table = table if columns is None else table[[c for c in columns if c in table]]
    print(table.to_string(index=False, float_format="{:.4g}".format, na_rep=""))
    for g in goals:
        print(in_words(g))


def in_words(goal: Mapping) -> str:
    """A goal and whether it is met, in a line."""
    return f"{'met   ' if goal['met'] else 'missed'}  {goal['name']}: {goal['value']:.4g} (goal {goal['goal']:.4g})"


def write(rows: list[dict], goals: list[dict], file: Path | None) -> None:
    """Write the JSON, if a file is named."""
    if file is not None:
        result = {"machine": machine(), "versions": versions(), "rows": rows, "goals": goals}
        file.write_text(json.dumps(plain(result), indent=1, allow_nan=False))


def plain(value: object) -> object:
    """Numbers that JSON cannot write become null."""
    if isinstance(value, dict):
        return {name: plain(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
