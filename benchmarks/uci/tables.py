"""Tables of the cells: means and standard errors over splits, beside published figures, in Markdown and as pictures."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks import harness
from benchmarks.uci.cells import labelled
from benchmarks.uci.published import BDE_GOALS, BDE_PAPER, MC_DROPOUT

#: Methods that are temperax.
OURS = ("temperax", "ladder", "recipe")

#: Columns of a table, and their digits.
REGRESSION = {"rmse": 3, "lppd": 3, "gaussian_lpd": 3, "crps": 3, "coverage_90": 3, "rhat_f_max": 2, "seconds": 0}
CLASSES = {"accuracy": 3, "lppd": 3, "brier": 3, "ece": 3, "rhat_f_max": 2, "seconds": 0}


def by_method(rows: Iterable[Mapping[str, Any]], data: str) -> dict[str, pd.DataFrame]:
    """Of a data set, the rows of every method (with its temperature) that has any, one a split."""
    found: dict[str, list] = {}
    for row in rows:
        if row["data"] == data and row["state"] == "done":
            found.setdefault(labelled(row), []).append(row)
    return {label: pd.DataFrame(mine) for label, mine in found.items()}


def mean_and_error(values: pd.Series) -> tuple[float, float]:
    """Mean over splits and its standard error; NaN of one split."""
    values = values.dropna().astype(float)
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else np.nan


def markdown(rows: list[dict[str, Any]], protocol: str) -> str:
    """A table for every data set; failures and what was not run are in it."""
    parts = []
    for data in dict.fromkeys(row["data"] for row in rows):
        methods = by_method(rows, data)
        columns = CLASSES if any("accuracy" in table for table in methods.values()) else REGRESSION
        lines = [
            f"### {data}",
            "",
            "| method | splits | " + " | ".join(columns) + " |",
            "|---" * (len(columns) + 2) + "|",
        ]
        for label, table in methods.items():
            values = []
            for name, digits in columns.items():
                mean, error = mean_and_error(table[name]) if name in table else (np.nan, np.nan)
                text = "" if np.isnan(mean) else f"{mean:.{digits}f}"
                values.append(text if np.isnan(error) or not digits else f"{text} ± {error:.{digits}f}")
            lines.append(f"| {label} | {len(table)} | " + " | ".join(values) + " |")
        lines += [f"| {label} | | {text} |" for label, text in _published(data, protocol, len(columns))]
        for label in dict.fromkeys(row["label"] for row in rows if row["data"] == data):
            mine = [row for row in rows if row["data"] == data and row["label"] == label]
            failed = [row for row in mine if row["state"] == "failed"]
            waiting = sum(row["state"] == "not run" for row in mine)
            if failed:
                lines.append(f"| {label} | {len(failed)} failed: {failed[0]['error']} |" + " |" * len(columns))
            if waiting == len(mine):
                lines.append(f"| {label} | not run |" + " |" * len(columns))
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _published(data: str, protocol: str, width: int) -> list[tuple[str, str]]:
    blank = " | ".join([""] * (width - 2))
    if protocol == "gal" and data in MC_DROPOUT:
        rmse, lppd = MC_DROPOUT[data]
        return [("*MC dropout, published*", f"{rmse} | {lppd} | {blank}")]
    if protocol == "bde":
        found = BDE_PAPER.get(data, {}).items()
        rest = " | ".join([""] * (width - 3))
        return [
            (f"*{name}, published*", f"{rmse} | | {score if score else ''} | {rest}") for name, (rmse, score) in found
        ]
    return []


def goals(rows: list[dict[str, Any]], protocol: str) -> list[dict]:
    """Of regressions: better than what is published and than what ran beside it, and coverage within 3 %.

    Ours is the method with the most splits and, of several, the best by leave-one-out, which sees no test row; another
    method is compared with it on the splits that both have.
    """
    found, ahead = [], []
    for data in dict.fromkeys(row["data"] for row in rows):
        methods = by_method(rows, data)
        ours = {label: table for label, table in methods.items() if table["method"].iloc[0] in OURS}
        if not ours or "rmse" not in next(iter(ours.values())):
            continue
        best = max(ours, key=lambda label: (len(ours[label]), _mean(ours[label], "loo", -np.inf)))
        mine, score = ours[best].set_index("split"), ours[best].mean(numeric_only=True)
        if protocol == "gal" and data in MC_DROPOUT:
            rmse, lppd = MC_DROPOUT[data]
            found.append(harness.goal(f"{data}: RMSE of MC dropout, by {best}", score["rmse"], rmse, at_most=True))
            found.append(harness.goal(f"{data}: LPPD of MC dropout, by {best}", score["lppd"], lppd, at_most=False))
        if protocol == "bde" and data in BDE_GOALS:
            for column, (asked, at_most) in BDE_GOALS[data].items():
                found.append(harness.goal(f"{data}: {column}, by {best}", score[column], asked, at_most=at_most))
        beside = {}
        for label, table in methods.items():
            theirs = table.set_index("split")
            both = mine.index.intersection(theirs.index)
            if label not in ours and len(both):
                beside[label] = float((mine.loc[both, "lppd"] - theirs.loc[both, "lppd"]).mean())
        if "deep_ensemble" in beside:
            found.append(
                harness.goal(f"{data}: LPPD over a deep ensemble's", beside["deep_ensemble"], 0, at_most=False)
            )
        ahead.append(min(beside.values(), default=np.inf) > 0)
        off = abs(score["coverage_90"] - 0.9)
        found.append(harness.goal(f"{data}: coverage of 90 % bands, distance", off, 0.03, at_most=True))
    if protocol == "gal" and ahead:
        share = float(np.mean(ahead))
        found.append(harness.goal("share of sets with an LPPD over every other method's", share, 0.5, at_most=False))
    return found


def _mean(table: pd.DataFrame, column: str, missing: float) -> float:
    return float(table[column].mean()) if column in table else missing


def pictures(rows: list[dict[str, Any]], folder: Path) -> list[Path]:
    """For every data set LPPD with its standard error by method, and against temperature where there are several."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    files = []
    for data in dict.fromkeys(row["data"] for row in rows):
        methods = by_method(rows, data)
        if not methods:
            continue
        figure = Figure(figsize=(9.0, 0.6 + 0.3 * max(6, len(methods))), layout="constrained")
        FigureCanvasAgg(figure)
        left, right = figure.subplots(1, 2)
        scores = {label: mean_and_error(table["lppd"]) for label, table in methods.items()}
        order = sorted(scores, key=lambda label: scores[label][0])
        left.errorbar(
            [scores[label][0] for label in order],
            order,
            xerr=[scores[label][1] for label in order],
            fmt="o",
            color="black",
        )
        left.set(xlabel="LPPD (nats a row), ± standard error over splits", title=data)
        cold_posterior(right, methods)
        files.append(folder / f"{data}.png")
        figure.savefig(files[-1], dpi=110)
    return files


def cold_posterior(axes: Any, methods: Mapping[str, pd.DataFrame]) -> None:
    """LPPD against temperature, and leave-one-out's score of training rows beside it, which no test row has seen."""
    series: dict[str, list] = {}
    for label, table in methods.items():
        if "temperature" in table and table["temperature"].notna().all():
            series.setdefault(label.split(",")[0], []).append(table)
    for (label, tables), marker in zip(series.items(), "os^vD", strict=False):
        tables = sorted(tables, key=lambda table: table["temperature"].iloc[0])
        t = [float(table["temperature"].iloc[0]) for table in tables]
        for column, style in (("lppd", "-"), ("loo", ":")):
            if all(column in table for table in tables):
                means, errors = zip(*(mean_and_error(table[column]) for table in tables), strict=True)
                name = f"{label}: held out" if column == "lppd" else f"{label}: leave-one-out"
                axes.errorbar(t, means, yerr=errors, marker=marker, linestyle=style, capsize=2, label=name)
    if series:
        axes.legend(fontsize="small")
    axes.set(xscale="log", xlabel="temperature T", ylabel="LPPD (nats a row)", title="Temperature")
