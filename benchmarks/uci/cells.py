"""Cells of the tables: each is a data set, a split and a method, run once and kept in a file of its own.

Cells accumulate over days: what has a file with the same settings is not run again, and what failed stays as such
until it is asked for with ``retry``.  They run through joblib, so that a cluster of Dask or Ray can take them:
``joblib.parallel_config``.
"""

import datetime
import json
import os
import time
import tomllib
import traceback
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import scoringrules
from scipy.special import logsumexp
from tqdm import tqdm

import temperax as tx
from benchmarks import harness
from benchmarks.uci.methods import METHODS, Found
from benchmarks.uci.protocols import PROTOCOLS
from temperax.analysis.predict.scoring import of_probabilities

#: Targets that are drawn of a mixture for its quantiles and its CRPS.
DRAWN = 4000


@dataclass(frozen=True)
class Cell:
    """One cell.

    Attributes
    ----------
    protocol, data, split
        What is predicted.
    label, method, settings
        The row of the table, what makes it, and how.
    """

    protocol: str
    data: str
    split: int
    label: str
    method: str
    settings: str  # JSON, so that a cell can be compared

    def file(self, folder: Path) -> Path:
        """Where its result is."""
        return folder / self.data / f"{self.split:02d}" / f"{self.label}.json"


def read_config(file: Path) -> list[Cell]:
    """The cells of a configuration: data × splits × methods.

    Raises
    ------
    ValueError
        If it names a protocol, a data set or a method that is not there.
    """
    config = tomllib.loads(file.read_text())
    protocol = config.get("protocol", "gal")
    known = tx.datasets.NAMES
    for what, names, there in (
        ("protocol", [protocol], PROTOCOLS),
        ("data", config["data"], known),
        ("method", [m.get("method", label) for label, m in config["methods"].items()], METHODS),
    ):
        if strange := [name for name in names if name not in there]:
            raise ValueError(f"{file.name}: {what} = {strange} is not known; choose from {', '.join(there)}.")
    splits = config.get("splits", 1)
    cells = []
    for label, method in config["methods"].items():
        settings = {k: v for k, v in method.items() if k not in ("method", "data", "splits")}
        for data in method.get("data", config["data"]):
            most = tx.datasets.UCI[data].splits if data in tx.datasets.UCI and protocol == "gal" else 20
            count = min(method.get("splits", splits), most)
            text = json.dumps(settings, sort_keys=True)
            cells += [Cell(protocol, data, split, label, method.get("method", label), text) for split in range(count)]
    # All methods of a split before the next split, so that what is compared is there soon.
    return sorted(cells, key=lambda cell: (cell.split, config["data"].index(cell.data)))


def stored(cell: Cell, folder: Path) -> dict[str, Any] | None:
    """The result of a cell that was run with these settings; None where there is none."""
    file = cell.file(folder)
    if not file.exists():
        return None
    found = json.loads(file.read_text())
    return found if found["settings"] == json.loads(cell.settings) and found["method"] == cell.method else None


def run_all(cells: Iterable[Cell], folder: Path, jobs: int | None = None, *, retry: bool = False) -> int:
    """Run the cells that have no result yet, each in whatever process joblib gives it; returns how many were run.

    Parameters
    ----------
    cells, folder
        What to run, and where results are kept.
    jobs
        Cells at a time; by default as many as ``joblib.parallel_config`` says.
    retry
        Whether those that failed are run again.
    """
    left = []
    for cell in cells:
        found = stored(cell, folder)
        if found is None or (retry and "error" in found):
            left.append(cell)
    parallel = joblib.Parallel(n_jobs=jobs, return_as="generator_unordered")
    running = parallel(joblib.delayed(run_cell)(cell, folder, 1 if (jobs or 1) > 1 else 0) for cell in left)
    for label in tqdm(running, total=len(left), desc="cells", unit="cell"):
        tqdm.write(label)
    return len(left)


def run_cell(cell: Cell, folder: Path, devices: int = 0) -> str:
    """Run one cell and write its result, or how it failed; returns a line to show."""
    _prepare(devices)
    file = cell.file(folder)
    about: dict[str, Any] = {"data": cell.data, "split": cell.split, "label": cell.label, "method": cell.method}
    about |= {"protocol": cell.protocol, "settings": json.loads(cell.settings)}
    began = time.perf_counter()
    try:
        data = PROTOCOLS[cell.protocol](cell.data, cell.split)
        rows = [score(data, found) for found in METHODS[cell.method](data, about["settings"], cell.split)]
        about["rows"] = rows
        said = ", ".join(f"{name} {value:.3f}" for name, value in rows[-1].items() if name in ("rmse", "lppd"))
    except Exception as error:  # a cell that fails stays in the table, and the others run
        about["error"] = harness.last_error(traceback.format_exc())
        said = f"failed: {type(error).__name__}"
    about["seconds"] = time.perf_counter() - began
    _write(file, about | _made())
    return f"{cell.data} {cell.split} {cell.label}: {said}, {about['seconds']:.0f} s"


def _made() -> dict[str, str]:
    """Where, with what and when a cell was run, in words."""
    versions, today = harness.versions(), datetime.datetime.now(datetime.UTC).date().isoformat()
    names = {"temperax": "temperax", "jax": "JAX"}
    return {
        "machine": f"{harness.processor()}, {harness.cores()} cores",
        "versions": ", ".join(f"{shown} {versions[name]}" for name, shown in names.items() if name in versions),
        "date": today,
    }


def _write(file: Path, about: Mapping[str, Any]) -> None:
    """Write a cell's result, whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(harness.plain(about), indent=1, allow_nan=False)
    part = file.with_suffix(f".{os.getpid()}.part")
    part.write_text(text)
    part.replace(file)


def restore(rows: Iterable[Mapping[str, Any]], folder: Path) -> None:
    """Write the cells of rows that `collect` returned, elsewhere or long ago, where there are none."""
    about = ("data", "split", "label", "method", "protocol", "settings", "seconds", "machine", "versions", "date")
    cells: dict[tuple, list] = {}
    for row in rows:
        if row["state"] == "done":
            cells.setdefault((row["data"], row["split"], row["label"]), []).append(row)
    for (data, split, label), mine in cells.items():
        file = Cell("", data, split, label, "", "").file(folder)
        if not file.exists():
            scores = [{k: v for k, v in row.items() if k not in (*about, "state")} for row in mine]
            _write(file, {name: mine[0][name] for name in about} | {"rows": scores})


def _prepare(devices: int) -> None:
    """Set JAX up in a process that has not begun with it."""
    try:
        tx.use_cpu_devices(devices or harness.cores())
    except (tx.InputError, RuntimeError):  # it has begun, with an earlier cell
        return
    tx.use_compilation_cache()


def score(data: tx.Dataset, found: Found) -> dict[str, Any]:
    """The scores of what a method predicts, in original units, and what is to be said of it."""
    about = dict(found.about)
    if found.probability is not None:
        scores = of_probabilities(np.asarray(found.probability, float), data.y_test[:, 0].astype(int))
        return about | {"lppd": -scores["log_loss"]} | scores
    assert found.mean is not None and found.sd is not None  # which regressions have
    y = data.y_test[:, 0] * data.y_scale[0] + data.y_mean[0]
    mean, sd = found.mean, found.sd
    each = -0.5 * ((y - mean) / sd) ** 2 - np.log(sd) - 0.5 * np.log(2 * np.pi)
    center, whole = mean.mean(axis=0), np.sqrt(mean.var(axis=0) + (sd**2).mean(axis=0))
    generator = np.random.default_rng(0)
    member = np.arange(DRAWN) * len(mean) // DRAWN  # of all chains, which follow one another
    drawn = mean[member] + sd[member] * generator.normal(size=(DRAWN, len(y)))
    low, high = np.quantile(drawn, (0.05, 0.95), axis=0)
    return about | {
        "rmse": float(np.sqrt(np.mean((center - y) ** 2))),
        "lppd": float((logsumexp(each, axis=0) - np.log(len(mean))).mean()),
        "gaussian_lpd": float(np.mean(-0.5 * ((y - center) / whole) ** 2 - np.log(whole) - 0.5 * np.log(2 * np.pi))),
        "crps": float(np.mean(scoringrules.crps_ensemble(y, drawn, m_axis=0, estimator="qd"))),
        "coverage_90": float(((low <= y) & (y <= high)).mean()),
        "width_90": float((high - low).mean()),
    }


def collect(cells: Iterable[Cell], folder: Path) -> list[dict[str, Any]]:
    """The rows of all cells, those that failed and those that were not run among them."""
    rows = []
    for cell in cells:
        found = stored(cell, folder)
        about: dict[str, Any] = {"data": cell.data, "split": cell.split, "label": cell.label}
        if found is None:
            rows.append(about | {"state": "not run"})
        elif "error" in found:
            rows.append(about | {"state": "failed", "error": found["error"], "seconds": found["seconds"]})
        else:
            about |= {"state": "done", "seconds": found["seconds"], "settings": found["settings"]}
            about |= {name: found[name] for name in ("method", "protocol", "machine", "versions", "date")}
            rows += [about | row for row in found["rows"]]
    return rows


def labelled(row: Mapping[str, Any]) -> str:
    """The name of a row in the tables: the method's, with its temperature where it has several."""
    t = row.get("temperature")
    return row["label"] if t is None else f"{row['label']}, T = {t:.3g}"
