"""Pictures of a small run: bands over one input, legends that cover nothing, and no line at an edge."""

import jax
import numpy as np
import pytest
import xarray as xr

import temperax as tx
from temperax.plots.canvas import new_figure


@pytest.fixture(scope="module")
def tree():
    data = tx.datasets.load("motorcycle")
    energy = tx.Energy.mlp(data, (2,), likelihood=tx.likelihoods.HeteroscedasticGaussian(0.1))
    short = {"num_warmup": 20, "num_draws": 20, "num_chains": 2, "progress": False}
    return tx.sample(jax.random.key(0), energy, [10.0, 1.0], path="likelihood", **short)


def test_bands_hold_what_the_summary_says(tree):
    """The line is the mean of `predict.summary` in the user's units; all rows are drawn; panels share their targets."""
    figure = tx.plots.bands(tree, [1.0, 10.0])
    figure.canvas.draw()
    hot, cold = figure.axes
    assert (hot.get_title(), cold.get_title()) == ("T = 10", "T = 1") and hot.get_ylim() == cold.get_ylim()
    line, rows, held_out = cold.lines
    table = tx.predict.summary(tree, line.get_xdata()[:, None])
    np.testing.assert_allclose(line.get_ydata(), table["mean"], rtol=1e-4, atol=1e-2)
    assert len(rows.get_xdata()) == 100 and len(held_out.get_xdata()) == 33
    assert min(rows.get_ydata().min(), held_out.get_ydata().min()) == pytest.approx(-134, abs=1e-3)


def test_bands_of_a_ladder_without_some_of_its_rungs(tree):
    rungs = {"temperature": [4.0, 2.0, 1.0], "pair": [0, 1]}
    cut = tree.copy()
    cut["exchange"] = xr.DataTree(xr.Dataset(coords=rungs).isel(temperature=[0, 2]).expand_dims(draw=20))
    assert len(tx.plots.bands(cut).axes) == 2


def test_intervals_point_away_from_their_middle(tree):
    """The mean of one draw that is far from all others lies outside of their interval."""
    far = tree.copy(deep=True)
    far["predictions"]["f"][0, 0] += 1e4
    bars = tx.plots.predictions(far).collections[0].get_segments()
    middles = far["predictions"]["f"].mean(("chain", "draw")) * far["constant_data"]["y_scale"].values
    middles = (middles + far["constant_data"]["y_mean"].values).values[:, 0]
    assert len(bars) == len(middles)
    for (low, high), middle in zip(bars, middles, strict=True):
        assert low[1] < high[1] and high[1] == pytest.approx(middle, rel=1e-5)


def test_legends_cover_nothing_and_lines_keep_off_the_edges(tree):
    lppd = tx.predict.scores(tree)["lppd"]
    baselines = {"best": float(lppd.max()) + 0.5, "worst": float(lppd.min()) - 0.5}
    figure = tx.plots.summary(tree, baselines)
    figure.canvas.draw()
    legends = [(axes, axes.get_legend()) for axes in figure.axes if axes.get_legend()]
    assert len(legends) >= 3
    for axes, legend in legends:
        place = legend.get_window_extent()
        assert not any(place.overlaps(other.get_window_extent()) for other in figure.axes), axes.get_title()
        assert not place.overlaps(axes.xaxis.label.get_window_extent())
    low, high = figure.axes[0].get_ylim()
    for value in baselines.values():
        assert low + 0.03 * (high - low) < value < high - 0.03 * (high - low)


def test_bands_without_held_out_rows_have_the_barrier(tree):
    groups = {name: group.to_dataset() for name, group in tree.children.items() if "predictions" not in name}
    groups["constant_data"] = groups["constant_data"].isel(test_row=slice(0))
    swaps = {"swap_acceptance": (("chain", "draw", "pair"), np.full((2, 20, 1), 0.5))}
    swaps |= {"replica": (("chain", "draw", "temperature"), np.tile([[0, 1], [1, 0]], (2, 10, 1)))}
    swaps |= {name: (("chain", "draw"), np.ones((2, 20))) for name in ("round_trips", "restarts")}
    coords = {name: groups["tempered_stats"][name] for name in ("chain", "draw", "temperature", "beta")}
    groups["exchange"] = xr.Dataset(swaps, coords | {"pair": [0]})
    bare = xr.DataTree.from_dict(groups)
    bare.attrs = tree.attrs
    titles = [axes.get_title() for axes in tx.plots.bands(bare).axes]
    assert "Barrier" in titles and "Predictive score" not in titles


def test_an_energy_at_infinite_temperature_alone_has_a_picture(tree):
    hot = tree.isel(temperature=[0])
    rung = {"temperature": [np.inf], "beta": ("temperature", [0.0])}
    hot["tempered_stats"] = hot["tempered_stats"].to_dataset().assign_coords(rung)
    hot.attrs = tree.attrs
    assert not len(tx.plots.mean_energy(hot).lines[0].get_xdata())


def test_what_has_no_bands_is_told(tree):
    with pytest.raises(tx.InputError, match="has one temperature"):
        tx.plots.bands(tree.isel(temperature=[0]))
    other = tree.copy()
    other.attrs["task"] = "classification"
    with pytest.raises(tx.InputError, match="plots.summary"):
        tx.plots.bands(other)
    with pytest.raises(tx.InputError, match="temperatures"):
        tx.plots.bands(tree, [-1.0])


def test_a_single_curve_needs_no_legend(tree):
    _, axes = new_figure(1, 1, (5.0, 3.6))
    from temperax.plots.runs import scores

    scores(tree, axes[0, 0])
    assert axes[0, 0].get_legend() is None
