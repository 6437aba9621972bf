"""A run that another process writes, followed in the terminal."""

import contextlib
import datetime
import time
from pathlib import Path

import numpy as np
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from temperax.errors import InputError
from temperax.pages.progress import Progress, progress

#: Heights of a bar of text, from nothing to full.
BARS = "▁▂▃▄▅▆▇█"
#: Bars that fit a line.
MOST_BARS = 64


def watch(run: Path, every: float, once: bool) -> None:
    """Show how far a run is until it has ended, or once."""
    console = Console()
    try:
        if not (run / "run.json").is_file():
            console.print(f"{run}: started, nothing is saved yet")
            while not once and not (run / "run.json").is_file():
                time.sleep(every)
        elif once:
            console.print(view(run, _read(run)))
        if not once:
            _follow(console, run, every)
    except KeyboardInterrupt:  # whoever watches may leave
        return


def _follow(console: Console, run: Path, every: float) -> None:
    """Show a run until it has ended: in place in a terminal, one view after another in a pipe or a file."""
    live = Live(console=console, auto_refresh=False) if console.is_terminal else None
    with live or contextlib.nullcontext():
        while True:
            found = _read(run)
            if live is None:
                console.print(view(run, found))
            else:
                live.update(view(run, found), refresh=True)
            if found.state != "running":
                return
            time.sleep(every)


def _read(run: Path) -> Progress:
    try:
        return progress(run)
    except InputError as error:
        raise InputError("RUN", str(run), error.problem, error.remedy) from error


def view(run: Path, found: Progress, now: float | None = None) -> RenderableType:
    """What is shown of a run."""
    now = time.time() if now is None else now
    saved = "nothing is saved yet" if np.isnan(found.saved) else f"saved {_span(now - found.saved)} ago"
    parts: list[RenderableType] = [Text.assemble((f"{run}: ", "bold"), f"{found.function}, {found.state}, {saved}")]
    parts.append(_bar(found, now))
    if found.mixing is not None:
        parts.append(_mixing(found))
    if found.round_trips is not None and found.flow is not None:
        parts.append(Text(f"{found.round_trips} round trips"))
        parts.append(Text(f"from the hot end {_bars(found.flow.to_numpy())} from the cold end"))
    if found.state == "stopped":
        parts.append(Text("its process is gone: resume=True, or temperax resume, goes on from the last checkpoint"))
    return Group(*parts)


def _bar(found: Progress, now: float) -> RenderableType:
    """The stage, a bar, numbers, and when it will end."""
    row = Table.grid(padding=(0, 1))
    of = "" if found.total is None else f" of {found.total}"
    said = [f"{found.done}{of}"]
    if found.stage == "smc":
        said = [f"step {found.done}, T = {found.temperature:.3g}"]
    if found.rate > 0:
        said.append(f"{found.rate:.3g} a second")
    left = found.seconds_left(now)
    if np.isfinite(left):
        end = datetime.datetime.fromtimestamp(now + left).strftime("%H:%M:%S")
        about = "" if found.stage == "draws" else "about "
        said.append(f"ends in {about}{_span(left)}, at {end}")
    bar = ProgressBar(total=found.total, completed=found.done, width=32) if found.total else ""
    row.add_row(found.stage, bar, ", ".join(said))
    return row


def _mixing(found: Progress) -> Table:
    """R-hat and ESS by temperature."""
    assert found.mixing is not None
    table = Table(title=f"of {found.judged}, so far", title_justify="left", title_style="", box=None, padding=(0, 2))
    for name in ("T", "R-hat", "ESS"):
        table.add_column(name, justify="right")
    for temperature, row in found.mixing.iterrows():
        table.add_row(f"{temperature:.3g}", f"{row['rhat']:.3f}", f"{row['ess']:.0f}")
    return table


def _bars(shares: np.ndarray) -> str:
    """Numbers from 0 to 1 as bars of text, a space where there is none."""
    shares = shares[np.unique(np.linspace(0, len(shares) - 1, MOST_BARS).round().astype(int))]
    return "".join(" " if np.isnan(s) else BARS[round(s * (len(BARS) - 1))] for s in shares)


def _span(seconds: float) -> str:
    """A time as 0:00:07."""
    return str(datetime.timedelta(seconds=round(max(seconds, 0.0))))
