"""Pictures of any run: scores, mixing, energies and predictions."""

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from temperax.analysis import diagnostics, predict
from temperax.analysis.diagnostics.draws import check_held_out
from temperax.analysis.predict.targets import noisy, of_posterior
from temperax.errors import check_result
from temperax.plots.canvas import CONSTANTS, against_temperature, axes_or_new, legend, new_figure, temperature_axis

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def summary(tree: xr.DataTree, baselines: dict[str, float] | None = None) -> "Figure":
    """Four pictures of a run: scores, mixing and energies per temperature, and predictions against targets.

    Parameters
    ----------
    tree
        A result with held-out rows.
    baselines
        LPPD of other models to draw as lines, by name.

    Raises
    ------
    InputError
        If the result has no held-out rows.

    See Also
    --------
    temperax.diagnostics.report

    Examples
    --------
    >>> tx.plots.summary(tree).savefig("summary.png")
    """
    check_held_out(tree)
    figure, axes = new_figure(2, 2, (9.0, 7.0))
    scores(tree, axes[0, 0], baselines)
    mixing(tree, axes[0, 1])
    # Histograms of a few temperatures can be told apart; of a whole ladder the means say more.
    (energies if check_result(tree, "tempered_stats").sizes["temperature"] <= 5 else mean_energy)(tree, axes[1, 0])
    predictions(tree, axes[1, 1])
    figure.suptitle(f"{tree.attrs['data']}, {tree.attrs['num_parameters']} parameters")
    return figure


def scores(tree: xr.DataTree, axes: "Axes | None" = None, baselines: dict[str, float] | None = None) -> "Axes":
    """LPPD on held-out rows against temperature.

    See Also
    --------
    temperax.predict.scores, temperax.plots.summary

    Examples
    --------
    >>> tx.plots.scores(tree).get_ylabel()
    'LPPD per held-out row (nats)'
    """
    axes, lppd = axes_or_new(axes), predict.pointwise(tree).mean("test_row")
    against_temperature(axes, lppd["temperature"].values, lppd.values, label="draws")
    for i, (name, value) in enumerate((baselines or {}).items()):
        axes.axhline(value, color=f"C{i + 1}", linestyle=CONSTANTS[i % len(CONSTANTS)], label=name)
    axes.margins(y=0.1)  # no line at the edge
    axes.set(ylabel="LPPD per held-out row (nats)", title="Predictive score")
    legend(axes)
    return axes


def mixing(tree: xr.DataTree, axes: "Axes | None" = None) -> "Axes":
    """R-hat of held-out predictions against temperature: median and worst row.

    See Also
    --------
    temperax.diagnostics.function_space, temperax.plots.summary

    Examples
    --------
    >>> tx.plots.mixing(tree).get_ylabel()
    'R-hat of f(x*)'
    """
    axes, table = axes_or_new(axes), diagnostics.function_space(tree)
    for column, label in (("rhat_f_max", "worst row"), ("rhat_f_median", "median row")):
        against_temperature(axes, table.index.to_numpy(), table[column].to_numpy(), label=label)
    axes.axhline(1.01, color="black", linewidth=0.8, linestyle=":", label="1.01")
    axes.set(ylabel="R-hat of f(x*)", title="Do the chains agree?")
    legend(axes)
    return axes


def energies(tree: xr.DataTree, axes: "Axes | None" = None) -> "Axes":
    """Distribution of the data energy at every temperature.

    See Also
    --------
    temperax.diagnostics.energies, temperax.plots.summary

    Examples
    --------
    >>> tx.plots.energies(tree).get_ylabel()
    'density'
    """
    axes, stats = axes_or_new(axes), check_result(tree, "tempered_stats")
    for i, temperature in enumerate(stats["temperature"].values):
        values = stats["data_energy"].isel(temperature=i).values.ravel()
        values = values[np.isfinite(values)]  # the prior's draws may have infinite ones
        axes.hist(values, bins=60, histtype="stepfilled", alpha=0.5, density=True, label=f"T = {temperature:.3g}")
    axes.set(xlabel="data energy E (nats)", ylabel="density", title="Energies")
    legend(axes)
    return axes


def mean_energy(tree: xr.DataTree, axes: "Axes | None" = None) -> "Axes":
    """Mean data energy against temperature, with two standard errors.

    See Also
    --------
    temperax.thermodynamics.curves

    Examples
    --------
    >>> axes = tx.plots.mean_energy(ladder)
    >>> axes.get_xlabel()
    'temperature T'
    """
    axes = axes_or_new(axes)
    table = diagnostics.energies(tree)
    temperature = table.index.to_numpy()
    finite = np.isfinite(temperature)
    axes.errorbar(
        temperature[finite],
        table["data_energy"][finite],
        yerr=2 * table["data_energy_mcse"][finite],
        fmt="o-",
        markersize=3,
    )
    temperature_axis(axes)
    axes.set(ylabel="mean data energy (nats)", title="Energy")
    energy = table["data_energy"].to_numpy()[finite]
    if not len(energy):
        return axes
    axes.set_yscale("log" if energy.min() > 0 else "symlog", **({} if energy.min() > 0 else {"linthresh": 100.0}))
    return axes


def trace(tree: xr.DataTree, axes: "Axes | None" = None) -> "Axes":
    """The log density of every chain's draws at the target temperature, in the order in which they came.

    See Also
    --------
    temperax.plots.summary

    Examples
    --------
    >>> tx.plots.trace(tree).get_xlabel()
    'draw'
    """
    axes = axes_or_new(axes)
    lp = check_result(tree, "sample_stats", "lp")["lp"].transpose("chain", "draw")
    axes.plot(lp["draw"], lp.values.T, linewidth=0.7, alpha=0.8)
    axes.set(xlabel="draw", ylabel="log density (nats)", title=f"{lp.sizes['chain']} chains at the target temperature")
    return axes


def particles(tree: xr.DataTree, axes: "Axes | None" = None) -> "Axes":
    """What sequential Monte Carlo's particles are worth at every step, and how many of the first have descendants.

    See Also
    --------
    temperax.smc

    Examples
    --------
    >>> tree = tx.smc(jax.random.key(0), energy, num_particles=32, progress=False)
    >>> tx.plots.particles(tree).get_title()
    'Particles'
    """
    axes = axes_or_new(axes)
    steps = check_result(tree, "smc", "effective_size", "families").mean("chain")
    for name, label in (("effective_size", "effective size"), ("families", "families")):
        against_temperature(axes, steps["temperature"].values, steps[name].values, label=label)
    axes.set(ylabel="particles of a population", title="Particles", ylim=(0, None))
    legend(axes)
    return axes


def annealing(tree: xr.DataTree, axes: "Axes | None" = None) -> "Axes":
    """The energy of every chain along the schedule of `temperax.anneal`.

    See Also
    --------
    temperax.anneal

    Examples
    --------
    >>> cooled = tx.anneal(jax.random.key(0), energy, tx.ladder.geometric(5, hottest=0.1), progress=False)
    >>> tx.plots.annealing(cooled).get_title()
    '4 chains on their way'
    """
    axes = axes_or_new(axes)
    schedule = check_result(tree, "annealing", "path_energy", "temperature")
    finite = np.isfinite(schedule["temperature"].values)
    for chain in schedule["path_energy"].transpose("chain", "step").values:
        axes.plot(schedule["temperature"].values[finite], chain[finite], "o-", markersize=3, linewidth=0.9)
    temperature_axis(axes)
    axes.set(ylabel="mean path energy (nats)", title=f"{schedule.sizes['chain']} chains on their way")
    return axes


def predictions(tree: xr.DataTree, axes: "Axes | None" = None) -> "Axes":
    """Held-out targets against the posterior's predictions, with 90 % intervals; or calibration of a classifier.

    Of several targets the first is drawn.

    See Also
    --------
    temperax.predict.predictions, temperax.plots.summary

    Examples
    --------
    >>> tx.plots.predictions(tree).get_ylabel()
    'prediction, 90 % interval'
    """
    axes = axes_or_new(axes)
    constant, predictive = (check_result(tree, group) for group in ("constant_data", "predictions"))
    y = constant["y_test"].values
    f = predictive["f"].mean(("chain", "draw")).values
    if tree.attrs["task"] == "classification":
        of_targets = y.shape[1] > 1 or f.shape[1] == 1  # one number each, and a column of every class otherwise
        confidence = (np.maximum(f, 1 - f) if of_targets else f.max(axis=1)).ravel()
        right = ((f > 0.5) == y if of_targets else f.argmax(axis=1) == y[:, 0]).ravel().astype(float)
        order = np.argsort(confidence)
        groups = [g for g in np.array_split(order, 8) if len(g)]
        axes.plot([confidence[g].mean() for g in groups], [right[g].mean() for g in groups], "o-")
        axes.plot([0, 1], [0, 1], color="black", linewidth=0.8)
        axes.set(xlabel="confidence", ylabel="accuracy", title="Calibration", ylim=(0, 1.05))
        axes.set_xlim(min(0.3, 0.9 / max(f.shape[1], 1)) if not of_targets else 0.3, 1.02)
        return axes
    scale, mean = constant["y_scale"].values, constant["y_mean"].values
    ends = [np.quantile(drawn, (0.05, 0.95), axis=0) for _, drawn in noisy(tree, of_posterior(tree))]
    low, high = np.concatenate(ends, axis=1)
    f, y, low, high = ((v * scale + mean)[:, 0] for v in (f, y, low, high))
    error = np.maximum(np.stack([f - low, high - f]), 0.0)  # the mean of a skewed law can lie outside its interval
    axes.errorbar(y, f, yerr=error, fmt="o", markersize=3, linewidth=0.7)
    axes.axline((float(y.mean()), float(y.mean())), slope=1, color="black", linewidth=0.8)
    axes.set(
        xlabel="held-out target" + (f", the first of {len(scale)}" if len(scale) > 1 else ""),
        ylabel="prediction, 90 % interval",
        title="Predictions at the target temperature",
    )
    return axes
