"""Pictures of replica exchange: swaps, barrier, and the journeys of replicas."""

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from temperax.analysis import diagnostics
from temperax.analysis.diagnostics.journeys import whole_exchange
from temperax.errors import check_result
from temperax.plots.canvas import axes_or_new, label_rungs, legend, new_figure
from temperax.plots.runs import mean_energy, scores

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def ladder(tree: xr.DataTree, num_replicas: int = 3) -> "Figure":
    """Four pictures of a ladder: rejection and barrier, the index process, mean energy, and predictive score.

    Parameters
    ----------
    tree
        A result of `temperax.parallel_tempering`; the last picture needs held-out rows at every temperature
        (``keep="all"``) and shows the local barrier without them.
    num_replicas
        How many replicas' journeys to draw.

    See Also
    --------
    temperax.diagnostics.report, temperax.plots.thermodynamic_curves

    Examples
    --------
    >>> tx.plots.ladder(ladder).savefig("ladder.png")
    """
    figure, axes = new_figure(2, 2, (10.0, 7.0))
    swap_rates(tree, axes[0, 0])
    index_process(tree, axes[0, 1], num_replicas)
    mean_energy(tree, axes[1, 0])
    scores_or_barrier(tree, axes[1, 1])
    figure.suptitle(f"{tree.attrs['data'] or 'ladder'}: {len(tree['exchange']['beta'])} replicas")
    return figure


def scores_or_barrier(tree: xr.DataTree, axes: "Axes") -> None:
    """The predictive score at every temperature; without held-out rows there the local barrier."""
    if "tempered_predictions" in tree.children and check_result(tree, "tempered_predictions").sizes["temperature"] > 1:
        scores(tree, axes)
    else:
        barrier(tree, axes)


def swap_rates(tree: xr.DataTree, axes: "Axes | None" = None) -> "Axes":
    """Rejection of every pair along the ladder, with the cumulative barrier.

    See Also
    --------
    temperax.diagnostics.exchange

    Examples
    --------
    >>> axes = tx.plots.swap_rates(ladder)
    >>> axes.get_xlabel()
    'inverse temperature β of the rungs'
    """
    axes = axes_or_new(axes)
    pairs = diagnostics.exchange(tree)
    position = np.arange(len(pairs)) + 0.5
    colours = ["C3" if wall else "C0" for wall in pairs["wall"]]
    axes.bar(position, pairs["rejection"], width=0.9, color=colours, alpha=0.6)
    label_rungs(axes.xaxis, tree)
    axes.set(xlabel="inverse temperature β of the rungs", ylabel="rejection of the pair", ylim=(0, 1))
    twin = axes.twinx()
    twin.plot(np.arange(len(pairs) + 1), np.concatenate([[0.0], np.cumsum(pairs["rejection"])]), color="black")
    twin.set_ylabel("cumulative barrier")
    axes.set_title(f"Exchange: barrier {pairs['rejection'].sum():.1f}")
    return axes


def index_process(tree: xr.DataTree, axes: "Axes | None" = None, num_replicas: int = 3) -> "Axes":
    """The rungs that a few replicas of the first ladder visit over the run.

    See Also
    --------
    temperax.diagnostics.round_trips

    Examples
    --------
    >>> axes = tx.plots.index_process(ladder)
    >>> axes.get_xlabel()
    'draw'
    """
    axes = axes_or_new(axes)
    replica = whole_exchange(tree, "replica")["replica"].isel(chain=0)  # (draw, slot): who sits there
    slots, draw = np.argsort(replica.values, axis=1), replica["draw"].values  # (draw, replica): where it sits
    chosen = np.linspace(0, slots.shape[1] - 1, num_replicas).round().astype(int)
    for r, grey in zip(chosen, np.linspace(0.0, 0.75, num_replicas), strict=True):
        axes.plot(draw, slots[:, r], linewidth=0.9, color=str(grey))
    label_rungs(axes.yaxis, tree)
    named = ", ".join(str(r) for r in chosen)
    axes.set(xlabel="draw", ylabel="inverse temperature β", title=f"Index process of replicas {named}")
    return axes


def flow(tree: xr.DataTree, axes: "Axes | None" = None) -> "Axes":
    """Share of the replicas at every rung that came last from the hot end, beside equal steps from rung to rung.

    See Also
    --------
    temperax.diagnostics.flow

    Examples
    --------
    >>> tx.plots.flow(ladder).get_title()
    'Flow'
    """
    axes = axes_or_new(axes)
    share = diagnostics.flow(tree).to_numpy()
    axes.plot(share, "o-", markersize=3, label="replicas")
    axes.plot([0, len(share) - 1], [1, 0], color="black", linewidth=0.8, linestyle=":", label="equal steps")
    label_rungs(axes.xaxis, tree)
    axes.set(xlabel="inverse temperature β of the rungs", ylabel="share that came from the hot end", title="Flow")
    legend(axes)
    return axes


def barrier(tree: xr.DataTree, axes: "Axes | None" = None) -> "Axes":
    """The local communication barrier λ(β) along the ladder.

    See Also
    --------
    temperax.ladder.barrier

    Examples
    --------
    >>> axes = tx.plots.barrier(ladder)
    >>> axes.get_xlabel()
    'inverse temperature'
    """
    axes = axes_or_new(axes)
    pairs = diagnostics.exchange(tree)
    middle = (pairs["beta_hot"] + pairs["beta_cold"]) / 2
    axes.step(middle, pairs["rejection"] / (pairs["beta_cold"] - pairs["beta_hot"]), where="mid")
    axes.set(xscale="log", yscale="log", xlabel="inverse temperature", ylabel="local barrier", title="Barrier")
    return axes
