"""Pictures of predictions on held-out rows: their calibration by ArviZ, and what withholding some of them gains."""

from typing import TYPE_CHECKING, Any

import xarray as xr

from temperax.analysis import predict
from temperax.analysis.predict.targets import HELD_OUT, noisy_at_once, of_posterior
from temperax.errors import check_result
from temperax.plots.canvas import axes_or_new

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def calibration(tree: xr.DataTree, *, coverage: bool = False) -> "Figure":
    """Whether held-out targets fall where the posterior's predictions say, by ArviZ.

    Of regressions and counts the probability integral transform of every row as the distance of its ECDF from the
    uniform one, in an envelope that a calibrated model leaves in few cases (``plot_ppc_pit``); of classifications the
    frequency of each class against its predicted probability (``plot_ppc_pava``).

    Parameters
    ----------
    tree
        A result with held-out rows.
    coverage
        Of regressions: draw the coverage of central intervals instead.

    Raises
    ------
    InputError
        If the result has no held-out rows.

    See Also
    --------
    temperax.predict.scores

    Examples
    --------
    >>> tx.plots.calibration(tree).savefig("calibration.png")
    """
    drawn = _drawn(tree).rename(test_row="row")
    observed = check_result(tree, "constant_data", "y_test", **HELD_OUT)["y_test"].rename(test_row="row")
    names = [str(name) for name in drawn["target"].values]

    def by_target(values: xr.DataArray) -> xr.Dataset:
        return xr.Dataset({name: values.isel(target=i, drop=True) for i, name in enumerate(names)})

    found = xr.DataTree.from_dict({"posterior_predictive": by_target(drawn), "observed_data": by_target(observed)})
    import arviz_plots
    from matplotlib import pyplot

    classes = tree.attrs.get("task") == "classification" and not _two(tree)
    several = classes or len(names) > 1
    figure_options = {"layout": "constrained"} | ({} if several else {"figsize": (5.0, 3.6)})
    options: dict[str, Any] = {"backend": "matplotlib", "figure_kwargs": figure_options}
    if tree.attrs.get("task") == "classification":
        found = found.map_over_datasets(lambda group: group.astype(int))
        kind = "categorical" if classes else "binary"
        picture = arviz_plots.plot_ppc_pava(found, data_type=kind, **options)
    else:
        picture = arviz_plots.plot_ppc_pit(found, coverage=coverage, **options)
    figure = picture.viz["figure"].item()
    pyplot.close(figure)  # which ArviZ leaves among pyplot's own
    if classes:  # ArviZ knows classes by their numbers alone, and those up to the last that occurs
        titled = [axes for axes in figure.axes if axes.get_title()]
        for axes, label in zip(titled, check_result(tree, "predictions", "f")["class"].values, strict=False):
            axes.set_title(f"{label} against the others")
    return figure


def _drawn(tree: xr.DataTree) -> xr.DataArray:
    """Targets with noise (chain, draw, test_row, target), several of every draw where a regression has few."""
    drawn = check_result(tree, "predictions", "y", **HELD_OUT)["y"]
    if tree.attrs.get("task") == "classification":
        return drawn
    values = noisy_at_once(tree, of_posterior(tree))[None]
    coords = {"test_row": drawn["test_row"], "target": drawn["target"], "chain": [0], "draw": range(values.shape[1])}
    return xr.DataArray(values, coords, ("chain", "draw", "test_row", "target"))


def _two(tree: xr.DataTree) -> bool:
    """Whether a classification is of two classes."""
    return check_result(tree, "predictions", "f")["f"].sizes.get("class", 1) <= 2


def selective_risk(tree: xr.DataTree, axes: "Axes | None" = None) -> "Axes":
    """The error of the surest predictions against the share of rows that is predicted.

    See Also
    --------
    temperax.predict.selective_risk

    Examples
    --------
    >>> axes = tx.plots.selective_risk(tree)
    >>> axes.get_xlabel()
    'share of rows that is predicted, surest first'
    """
    found = predict.selective_risk(tree)
    axes = axes_or_new(axes)
    axes.plot(found.index, found["risk"])
    what = "error rate" if tree.attrs.get("task") == "classification" else "RMSE"
    axes.set(xlabel="share of rows that is predicted, surest first", ylabel=what, title="Selective prediction")
    axes.set_xlim(0, 1.02)
    return axes
