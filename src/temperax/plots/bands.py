"""A network of one input at a few temperatures: its mean and its band, over the data."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from temperax.analysis import predict
from temperax.analysis.diagnostics.journeys import is_ladder
from temperax.analysis.predict.summaries import ends_of
from temperax.errors import InputError, check_positive, check_result
from temperax.plots.canvas import new_figure
from temperax.plots.ladders import index_process, scores_or_barrier, swap_rates

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Places along the input, and the share of its range that is shown beyond the data on either side.
PLACES, MARGIN = 200, 0.03
GROUP = "tempered_posterior"


def bands(
    tree: xr.DataTree, temperatures: Sequence[float] | None = None, *, level: float = 0.9, trust: Sequence[str] = ()
) -> "Figure":
    """What a network of one input predicts at a few temperatures, hottest first, over the data.

    Each panel has the mean, the band that holds new targets with their noise, training rows (black) and held-out rows
    (white).  Below them are, of a ladder, the swaps, the journeys and the predictive score (the local barrier without
    held-out rows).

    Parameters
    ----------
    tree
        A result of a regression or of counts with one input and one target, whose draws were kept at several
        temperatures (``keep="all"``).
    temperatures
        Which to draw, each the nearest that was kept; by default T = 10, 1 and the coldest, or 10, 3 and
        the coldest where that is 1 or more.
    level
        Probability of the band.
    trust
        As in `predict.predictions`.

    Raises
    ------
    InputError
        If there are several inputs or targets, targets are classes, or draws of one temperature alone were kept.

    See Also
    --------
    temperax.predict.predictions, temperax.plots.ladder

    Examples
    --------
    >>> tx.plots.bands(tree).savefig("bands.png")
    """
    check_one_input(tree)
    rungs = _rungs(tree, temperatures)
    ladder = is_ladder(tree)
    columns = max(len(rungs), 3) if ladder else len(rungs)
    figure, axes = new_figure(2 if ladder else 1, columns, (3.7 * columns, 6.6 if ladder else 3.4))
    shown = axes[0, : len(rungs)]
    for panel, rung in zip(shown, rungs, strict=True):
        _band(tree, rung, panel, level, trust)
    _share_targets(tree, shown)
    for panel in axes[0, 1 : len(rungs)]:
        panel.set_ylabel("")
    if ladder:
        swap_rates(tree, axes[1, 0])
        index_process(tree, axes[1, 1])
        scores_or_barrier(tree, axes[1, 2])
    for panel in [*axes[0, len(rungs) :], *(axes[1, 3:] if ladder else [])]:
        panel.remove()
    share = f"{100 * level:.10g} %"
    figure.suptitle(
        f"{tree.attrs['data']}: mean and {share} band with noise, {tree.attrs['num_parameters']} parameters"
    )
    return figure


def check_one_input(tree: xr.DataTree) -> None:
    """Say so where a result has no picture of one input against one target."""
    constant = check_result(tree, "constant_data", "x", "x_test", "y_test", "x_mean", "x_scale", "y_mean", "y_scale")
    inputs, targets = constant["x"].shape[-1], constant.sizes.get("target", 0)
    if constant["x"].ndim != 2 or (inputs, targets) != (1, 1) or tree.attrs.get("task") == "classification":
        problem = f"is not of one input and one target of numbers, but of {inputs} and {targets} ({tree.attrs['task']})"
        raise InputError("tree", tree.attrs["data"], problem, "draw it by plots.summary")
    if check_result(tree, GROUP, problem="has no draws of several temperatures").sizes["temperature"] < 2:
        raise InputError("tree", GROUP, "has one temperature", "sample several, with keep='all' on a ladder")


def has_one_input(tree: xr.DataTree) -> bool:
    """Whether `bands` draws this result."""
    try:
        check_one_input(tree)
    except InputError:
        return False
    return True


def _rungs(tree: xr.DataTree, temperatures: Sequence[float] | None) -> list[int]:
    """Numbers of the temperatures to draw, hottest first."""
    kept = check_result(tree, GROUP)["temperature"].values
    usual = (10.0, 1.0, kept.min()) if kept.min() < 1 else (10.0, 3.0, kept.min())
    wanted = usual if temperatures is None else temperatures
    distance = [np.abs(np.log(kept) - np.log(check_positive("temperatures", t))) for t in wanted]
    chosen = {int(np.argmin(d)) for d in distance}
    return sorted(chosen, key=lambda rung: -kept[rung])


def _band(tree: xr.DataTree, rung: int, axes: "Axes", level: float, trust: Sequence[str]) -> None:
    """Mean and band of one temperature, with the data."""
    constant = check_result(tree, "constant_data")
    draws = check_result(tree, GROUP).isel(temperature=[rung])
    x, x_test = (_in_units(tree, name) for name in ("x", "x_test"))
    low, high = np.min([x.min(), x_test.min(initial=np.inf)]), np.max([x.max(), x_test.max(initial=-np.inf)])
    places = np.linspace(low - MARGIN * (high - low), high + MARGIN * (high - low), PLACES)
    here = xr.DataTree.from_dict({**{name: tree[name].to_dataset() for name in tree.children}, GROUP: draws})
    here.attrs = dict(tree.attrs)
    table = predict.summary(here, places[:, None], intervals=(level,), group=GROUP, trust=trust)
    axes.fill_between(places, *(table[end] for end in ends_of(level)), color="0.85", linewidth=0, zorder=1)
    axes.plot(places, table["mean"], color="C0", linewidth=2.0, zorder=3)
    axes.plot(x, _in_units(tree, "y"), "o", color="black", markersize=2.5, zorder=2)
    axes.plot(x_test, _in_units(tree, "y_test"), "o", color="black", markerfacecolor="white", markersize=4.5, zorder=4)
    axes.set(xlabel=str(constant["input"].values[0]), ylabel=str(constant["target"].values[0]))
    axes.set(title=f"T = {float(draws['temperature'][0]):.3g}", xlim=(places[0], places[-1]))


def _in_units(tree: xr.DataTree, name: str) -> np.ndarray:
    """A column of the data (row,) in the units that it was given in."""
    constant = check_result(tree, "constant_data")
    values = (check_result(tree, "observed_data") if name == "y" else constant)[name].values.reshape(-1)
    return values * float(constant[f"{name[0]}_scale"].values[0]) + float(constant[f"{name[0]}_mean"].values[0])


def _share_targets(tree: xr.DataTree, panels: np.ndarray) -> None:
    """One range of targets for all panels: that of the data, and as much again where a band is wider."""
    y = np.concatenate([_in_units(tree, "y"), _in_units(tree, "y_test")])
    limits = np.array([panel.get_ylim() for panel in panels])
    spare = (y.max() - y.min()) / 2
    low, high = max(limits[:, 0].min(), y.min() - spare), min(limits[:, 1].max(), y.max() + spare)
    for panel in panels:
        panel.set_ylim(low, high)
