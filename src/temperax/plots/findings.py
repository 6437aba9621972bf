"""Pictures of the studies: each takes the data set that the study of its name returned."""

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from temperax.plots.canvas import axes_or_new, legend, temperature_axis

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def overlap(study: xr.Dataset, axes: "Axes | None" = None) -> "Axes":
    """P(q): the distribution of the overlap of independent replicas, at up to six temperatures.

    See Also
    --------
    temperax.studies.overlap

    Examples
    --------
    >>> axes = tx.plots.overlap(tx.studies.overlap(tree))
    >>> axes.get_xlabel()
    'overlap q of two replicas'
    """
    axes = axes_or_new(axes)
    for rung in _some_rungs(study):
        here = study.isel(temperature=rung)
        label = f"T = {float(here['temperature']):.3g}, mean {float(here['overlap']):.2f}"
        axes.step(study["q"], here["density"], where="mid", label=label, color=_colour(study, rung))
    axes.set(xlabel="overlap q of two replicas", ylabel="P(q)", title="What replicas have in common")
    legend(axes)
    return axes


def uncertainty(study: xr.Dataset, axes: "Axes | None" = None) -> "Axes":
    """Mutual information and entropy of the noise against temperature, on held-out inputs and outside.

    See Also
    --------
    temperax.studies.uncertainty

    Examples
    --------
    >>> axes = tx.plots.uncertainty(tx.studies.uncertainty(tree, energy))
    >>> axes.get_xlabel()
    'temperature T'
    """
    axes = axes_or_new(axes)
    for i, place in enumerate(study["where"].values):
        here, name = study.sel(where=place), str(place).replace("_", "-")
        _curve(axes, here, "mutual_information", f"mutual information, {name}", color=f"C{i}")
        _curve(axes, here, "noise_entropy", f"noise, {name}", color=f"C{i}", fmt="s--")
    axes.set(ylabel="nats a row", title="Uncertainty")
    legend(axes)
    return axes


def cold_posterior(study: xr.Dataset, axes: "Axes | None" = None) -> "Axes":
    """Train and test LPPD against temperature, with the best temperature and its 90 % interval.

    See Also
    --------
    temperax.studies.cold_posterior

    Examples
    --------
    >>> axes = tx.plots.cold_posterior(tx.studies.cold_posterior(tree, energy))
    >>> axes.get_xlabel()
    'temperature T'
    """
    axes = axes_or_new(axes)
    for name in ("train_lppd", "test_lppd"):
        _curve(axes, study, name, name.split("_")[0])
    axes.axvline(float(study["optimum"]), color="black", linewidth=0.8)
    axes.axvspan(float(study["optimum_low"]), float(study["optimum_high"]), color="black", alpha=0.1, label="best T")
    axes.set(ylabel="LPPD per row (nats)", title=f"Cold posterior: best T = {float(study['optimum']):.3g}")
    legend(axes)
    return axes


def generalisation_gap(study: xr.Dataset, axes: "Axes | None" = None) -> "Axes":
    """The gap between train and test beside the penalties of WAIC and LOO and the learning coefficient's.

    See Also
    --------
    temperax.studies.generalisation_gap

    Examples
    --------
    >>> axes = tx.plots.generalisation_gap(tx.studies.generalisation_gap(tree, energy))
    >>> axes.get_xlabel()
    'temperature T'
    """
    axes = axes_or_new(axes)
    _curve(axes, study, "gap", "train - test")
    _curve(axes, study, "waic_gap", "WAIC")
    for name, mark, label in (("loo_gap", "D", "LOO"), ("learning_gap", "*", "learning coefficient")):
        if name in study:
            axes.plot(1.0, float(study[name]), mark, color="black", label=label)
    axes.set(ylabel="nats a row", title="Generalisation gap")
    legend(axes)
    return axes


def pruning(study: xr.Dataset, axes: "Axes | None" = None) -> "Axes":
    """Score against the share of weights removed, at up to six temperatures.

    See Also
    --------
    temperax.studies.pruning

    Examples
    --------
    >>> axes = tx.plots.pruning(tx.studies.pruning(tree, energy))
    >>> axes.get_xlabel()
    'share of weights removed'
    """
    return _compressed(study, axes_or_new(axes), "share", "share of weights removed", "Pruning")


def quantisation(study: xr.Dataset, axes: "Axes | None" = None) -> "Axes":
    """Score against the bits of a weight, at up to six temperatures.

    See Also
    --------
    temperax.studies.quantisation

    Examples
    --------
    >>> axes = tx.plots.quantisation(tx.studies.quantisation(tree, energy))
    >>> axes.get_xlabel()
    'bits a weight'
    """
    return _compressed(study, axes_or_new(axes), "bits", "bits a weight", "Quantisation")


def gaussian_replacement(study: xr.Dataset, axes: "Axes | None" = None) -> "Axes":
    """Score of the draws and of the Gaussians in their place, against temperature.

    See Also
    --------
    temperax.studies.gaussian_replacement

    Examples
    --------
    >>> axes = tx.plots.gaussian_replacement(tx.studies.gaussian_replacement(tree, energy))
    >>> axes.get_xlabel()
    'temperature T'
    """
    axes = axes_or_new(axes)
    for name in study["posterior"].values:
        _curve(axes, study.sel(posterior=name), "lppd", str(name))
    axes.set(ylabel="LPPD per held-out row (nats)", title="A Gaussian in place of the posterior")
    legend(axes)
    return axes


def effective_parameters(study: xr.Dataset, axes: "Axes | None" = None) -> "Axes":
    """Effective number of parameters against temperature.

    See Also
    --------
    temperax.studies.effective_parameters

    Examples
    --------
    >>> axes = tx.plots.effective_parameters(tx.studies.effective_parameters(ladder))
    >>> axes.get_xlabel()
    'temperature T'
    """
    axes = axes_or_new(axes)
    labels = {"from_heat_capacity": "heat capacity", "from_mean_energy": "mean energy", "from_waic": "WAIC"}
    for name, label in labels.items():
        if name in study:
            _curve(axes, study, name, label)
    axes.set(ylabel="parameters that the data hold", title="Effective number of parameters")
    legend(axes)
    return axes


def relevance(study: xr.Dataset, axes: "Axes | None" = None) -> "Axes":
    """Sensitivity to every input with 90 % intervals of draws, at the hottest and at the coldest temperature.

    See Also
    --------
    temperax.studies.relevance

    Examples
    --------
    >>> axes = tx.plots.relevance(tx.studies.relevance(tree, energy))
    >>> axes.get_xlabel()
    'input'
    """
    axes = axes_or_new(axes)
    place = np.arange(study.sizes["input"])
    for i, rung in enumerate((0, -1)):
        here = study.isel(temperature=rung)
        middle, low, high = (here[f"sensitivity{end}"].values for end in ("", "_low", "_high"))
        # The mean of a skewed law can lie outside its interval.
        error = np.maximum(np.stack([middle - low, high - middle]), 0.0)
        label = f"T = {float(here['temperature']):.3g}"
        axes.errorbar(place + 0.2 * i - 0.1, middle, yerr=error, fmt="o", capsize=3, label=label)
    axes.set_xticks(place, [str(name) for name in study["input"].values], rotation=45)
    axes.set(xlabel="input", ylabel="mean |∂f/∂x|, standardised", title="Relevance of the inputs")
    legend(axes)
    return axes


def expressivity(study: xr.Dataset, axes: "Axes | None" = None) -> "Axes":
    """Functions of the prior beside those of the coldest temperature, along one line through the data.

    See Also
    --------
    temperax.studies.expressivity

    Examples
    --------
    >>> axes = tx.plots.expressivity(tx.studies.expressivity(tree, energy))
    >>> axes.get_xlabel()
    'place between two training rows'
    """
    axes = axes_or_new(axes)
    for i, (rung, name) in enumerate(((0, "prior"), (-1, f"T = {float(study['temperature'][-1]):.3g}"))):
        here = study.isel(temperature=rung)
        lines = axes.plot(study["place"], here["f"].T, color=f"C{i}", linewidth=0.9)
        lines[0].set_label(f"{name}: {float(here['crossings']):.1f} crossings")
    axes.set(xlabel="place between two training rows", ylabel="f(x), standardised", title="Functions drawn")
    legend(axes)
    return axes


def equipartition(study: xr.Dataset, axes: "Axes | None" = None) -> "Axes":
    """Energy above the ground state against T, beside P T/2.

    See Also
    --------
    temperax.studies.equipartition

    Examples
    --------
    >>> study = tx.studies.equipartition(tree, -1000.0)
    >>> tx.plots.equipartition(study).get_xlabel()
    'temperature T'
    """
    axes = axes_or_new(axes)
    temperature = study["temperature"].values
    axes.errorbar(temperature, study["excess"], yerr=2 * study["excess_error"], fmt="o", markersize=3, label="draws")
    axes.plot(temperature, study.attrs["num_parameters"] / 2 * temperature, color="black", linewidth=0.8, label="P T/2")
    axes.set(xscale="log", yscale="log", xlabel="temperature T", ylabel="energy above the ground state (nats)")
    axes.set_title("Equipartition")
    legend(axes)
    return axes


def annealing_against_restarts(study: xr.Dataset, axes: "Axes | None" = None) -> "Axes":
    """Distributions of the energies at which the two methods ended.

    See Also
    --------
    temperax.studies.annealing_against_restarts

    Examples
    --------
    >>> betas = tx.ladder.geometric(5, hottest=0.1, coldest=50.0)
    >>> study = tx.studies.annealing_against_restarts(key, energy, betas, steps=100)
    >>> axes = tx.plots.annealing_against_restarts(study)
    """
    axes = axes_or_new(axes)
    for name in ("restarted", "annealed"):
        values = np.sort(study[name].values)
        axes.step(values, np.arange(1, len(values) + 1) / len(values), where="post", label=f"{name}, {len(values)}")
    axes.set(xlabel="U0 + E at the end (nats)", ylabel="share at or below", title="Ends at equal gradients")
    legend(axes)
    return axes


def _compressed(study: xr.Dataset, axes: "Axes", dim: str, xlabel: str, title: str) -> "Axes":
    for rung in _some_rungs(study):
        here = study.isel(temperature=rung)
        label = f"T = {float(here['temperature']):.3g}"
        error = 2 * here["lppd_error"].fillna(0.0)
        axes.errorbar(study[dim], here["lppd"], yerr=error, fmt="o-", label=label, color=_colour(study, rung))
    axes.set(xlabel=xlabel, ylabel="LPPD per held-out row (nats)", title=title)
    legend(axes)
    return axes


def _some_rungs(study: xr.Dataset) -> list[int]:
    """Up to six rungs, hottest first."""
    count = study.sizes["temperature"]
    return np.unique(np.linspace(0, count - 1, min(6, count)).round().astype(int)).tolist()


def _colour(study: xr.Dataset, rung: int) -> tuple[float, float, float]:
    """From red, the hottest, to blue."""
    cold = rung / max(study.sizes["temperature"] - 1, 1)
    return (0.85 * (1 - cold) + 0.1, 0.25, 0.75 * cold + 0.1)


def _curve(axes: "Axes", study: xr.Dataset, name: str, label: str, fmt: str = "o-", color: str | None = None) -> None:
    """A study's value with two standard errors over a logarithmic axis; that of T = inf as a dotted line."""
    temperature, value = study["temperature"].values, study[name].values
    error = 2 * np.nan_to_num(study[f"{name}_error"].values)
    finite = np.isfinite(temperature)
    drawn = axes.errorbar(
        temperature[finite], value[finite], yerr=error[finite], fmt=fmt, markersize=3, label=label, color=color
    )
    for level in value[~finite]:
        axes.axhline(level, color=drawn[0].get_color(), linestyle=":", linewidth=0.8)
    temperature_axis(axes)
