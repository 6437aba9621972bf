"""How far a run on disk is, told from its checkpoints' notes and its draws: also while another process writes them."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from temperax.analysis import diagnostics, statistics
from temperax.engine import adaptation
from temperax.pages.findings import few
from temperax.results.results import renewed
from temperax.samplers.parallel_tempering import before_draws
from temperax.storage.rundir import RunDirectory

#: Temperatures and held-out rows that are judged, evenly spaced: reading must not take longer than writing.
MOST_TEMPERATURES, MOST_ROWS = 5, 50


@dataclass(frozen=True)
class Progress:
    """A run as its newest checkpoint has it.

    Attributes
    ----------
    function
        What runs.
    state
        ``running``, ``finished``, or ``stopped``: its process is gone.
    stage
        ``beginning``, ``warm-up``, ``rounds``, ``smc`` or ``draws``.
    done, total
        Scans of what comes before the draws, or draws of every chain; ``total`` is None where it cannot be told.
    later
        Scans that the draws will take, while they have not begun.
    rate
        Scans or draws a second, between the newest two checkpoints; NaN where there is none to compare with.
    saved
        When the checkpoint was written, in seconds since 1970; NaN before the first.
    temperature
        Of sequential Monte Carlo: where its particles are; else NaN.
    judged
        Of what R-hat and ESS are.
    mixing
        Index ``temperature``: ``rhat`` and ``ess`` of the worst row, or of the data energy; empty before the draws.
    round_trips
        Of all ladders together; None where replicas are not exchanged.
    flow
        As `diagnostics.flow`; None likewise.
    """

    function: str
    state: str
    stage: str = "beginning"
    done: int = 0
    total: int | None = None
    later: int = 0
    rate: float = np.nan
    saved: float = np.nan
    temperature: float = np.nan
    judged: str = ""
    mixing: pd.DataFrame | None = None
    round_trips: int | None = None
    flow: pd.Series | None = None

    def seconds_left(self, now: float | None = None) -> float:
        """Until the last draw, in seconds; NaN while that cannot be told.

        Before the draws it is a guess: warm-up changes what a scan takes, and a ladder its number of replicas.
        """
        if self.state != "running" or self.total is None or not self.rate > 0:
            return np.nan
        now = time.time() if now is None else now
        return max(0.0, (self.total - self.done + self.later) / self.rate - (now - self.saved))


def progress(directory: str | Path) -> Progress:
    """How far a run is that another process may be writing; nothing on disk is changed, and no device is used.

    Parameters
    ----------
    directory
        Of a run.

    Raises
    ------
    InputError
        If there is none.
    """
    run = RunDirectory.open(directory)
    alive, history = run.is_written(), run.history()  # in this order: a run may end in between
    function = str(run.configuration.get("function"))
    if not history:
        return Progress(function, "stopped" if alive is False else "running")
    saved, notes = history[0]
    stage, done, total = _place(run.configuration, notes)
    finished = stage == "draws" and done == total
    state = "finished" if finished else "stopped" if alive is False else "running"
    beta = float(notes.get("beta", np.nan))
    found: dict[str, Any] = {"temperature": 1 / beta if beta else np.inf, "rate": _rate(run.configuration, history)}
    if stage in ("rounds", "warm-up"):
        arguments, plan = run.configuration["arguments"], run.configuration.get("plan")
        found["later"] = (plan[-1] if plan else notes.get("draws_to_follow", 0)) * arguments.get("thin", 1)
    if notes["num_draws"]:
        tree = renewed(run.tree(notes["num_draws"]))
        tree.attrs = notes["attributes"]
        found |= _mixing(tree) | _journeys(tree)
    return Progress(function, state, stage, done, total, saved=saved, **found)


def _place(configuration: dict[str, Any], notes: dict[str, Any]) -> tuple[str, int, int | None]:
    """The stage, how much of it is done, and how long it is."""
    if "attributes" in notes:  # which checkpoints of the draws alone have
        return "draws", notes["done"], notes.get("length")
    if configuration.get("plan"):
        stage, lengths = "rounds", before_draws(configuration["plan"])
    elif "num_warmup" in configuration["arguments"] and configuration["function"] == "sample":
        stage, lengths = (
            "warm-up",
            [length for length, _ in adaptation.windows(configuration["arguments"]["num_warmup"])],
        )
    else:
        return "smc", notes["stage"], None
    return stage, sum(lengths[: notes["stage"]]) + notes["done"], sum(lengths)


def _rate(configuration: dict[str, Any], history: list[tuple[float, dict[str, Any]]]) -> float:
    """Scans or draws a second: by the run's own clock, which stands still while it is stopped.

    From the second checkpoint of a stage on: before the first of them programs were compiled.
    """
    stage, done, _ = _place(configuration, history[0][1])
    laps = history[0][1]["laps"]
    before, seconds = 0, 0.0
    for _, notes in history[1:]:
        if _place(configuration, notes)[0] == stage:
            before, seconds = _place(configuration, notes)[1], sum(laps.values()) - sum(notes["laps"].values())
            break
    return (done - before) / seconds if seconds > 0 and done > before else np.nan


def _mixing(tree: xr.DataTree) -> dict[str, Any]:
    """R-hat and ESS at a few temperatures: of predictions where there are held-out rows, else of the data energy."""
    if tree["sample_stats"].sizes["draw"] < 4:
        return {}
    some = few(few(tree, "temperature", MOST_TEMPERATURES), "test_row", MOST_ROWS)
    if "tempered_predictions" in some.children:
        table = diagnostics.function_space(some)
        table = table.rename(columns={"rhat_f_max": "rhat", "ess_f_min": "ess"})[["rhat", "ess"]]
        return {
            "mixing": table,
            "judged": f"the worst of {some['tempered_predictions'].sizes['test_row']} held-out rows",
        }
    energy = some["tempered_stats"].to_dataset()[["data_energy"]]
    table = pd.DataFrame({name: f(energy)["data_energy"].values for name, f in _STATISTICS.items()})
    index = pd.Index(energy["temperature"].values, name="temperature")
    return {"mixing": table.set_index(index), "judged": "the data energy"}


_STATISTICS = {"rhat": statistics.rhat, "ess": statistics.ess}


def _journeys(tree: xr.DataTree) -> dict[str, Any]:
    """What replicas did on a ladder."""
    if "exchange" not in tree.children:
        return {}
    trips = tree["exchange"].to_dataset()["round_trips"].transpose("chain", "draw").values[:, -1].sum()
    return {"round_trips": int(trips), "flow": diagnostics.flow(tree)}
