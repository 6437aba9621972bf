"""What all pictures share: figures without global state, and axes of temperatures."""

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from temperax.errors import check_result

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure


def axes_or_new(axes: "Axes | None") -> "Axes":
    """The given axes, or those of a new figure."""
    return new_figure(1, 1, (5.0, 3.6))[1][0, 0] if axes is None else axes


def new_figure(rows: int, columns: int, size: tuple[float, float]) -> tuple["Figure", np.ndarray]:
    """A figure that does not touch pyplot's state, so that drawing has no side effects."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False)


#: Of the curves of a picture in turn, which can be told apart in grey too; and of its constants.
CURVES, CONSTANTS = ("o-", "s--", "^-.", "D:"), ("--", "-.", ":")


def against_temperature(axes: "Axes", temperature: np.ndarray, values: np.ndarray, label: str) -> None:
    """A curve over a logarithmic axis of finite temperatures."""
    finite = np.isfinite(temperature)
    style = CURVES[len(axes.lines) % len(CURVES)]
    axes.plot(temperature[finite], values[finite], style, markersize=4, label=label)
    temperature_axis(axes)


def legend(axes: "Axes", columns: int = 2) -> None:
    """A legend below the axis of x, where it covers nothing; none of a single curve."""
    from matplotlib.transforms import ScaledTranslation

    handles, labels = axes.get_legend_handles_labels()
    if len(handles) < 2:
        return
    rotated = any(tick.get_rotation() for tick in axes.xaxis.get_ticklabels())
    points = 64.0 if rotated else 34.0  # of ticks and label
    below = axes.transAxes + ScaledTranslation(0, -points / 72, axes.figure.dpi_scale_trans)
    look: dict[str, Any] = {"frameon": False, "ncols": columns, "fontsize": "small", "borderaxespad": 0.0}
    axes.legend(handles, labels, loc="upper center", bbox_to_anchor=(0.5, 0.0), bbox_transform=below, **look)


def label_rungs(axis: "Axis", tree: xr.DataTree) -> None:
    """Label an axis of rungs, hottest first, by their β."""
    betas = check_result(tree, "exchange")["beta"].values
    rungs = np.unique(np.linspace(0, len(betas) - 1, 7).round().astype(int)).tolist()
    axis.set_ticks(rungs, [f"{betas[r]:.2g}" for r in rungs])


def temperature_axis(axes: "Axes") -> None:
    """A logarithmic axis of T; over a decade or two, where powers of ten say too little, with 1, 2 and 5 of each."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set(xscale="log", xlabel="temperature T")
    low, high = axes.get_xlim()
    if high < 200 * low:
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda t, _: f"{t:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
