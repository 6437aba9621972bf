"""Pictures: matplotlib figures with labelled axes, made from results alone.

This is the one room that imports matplotlib, and only when a picture is drawn.
"""

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from temperax import diagnostics, predict, thermodynamics, transitions
from temperax.ensemble import Source, ensemble
from temperax.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
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
    """
    if "tempered_predictive" not in tree.children:
        raise InputError("tree", list(tree.children), "has no held-out predictions", "hold rows out of the data set")
    figure, axes = _figure(2, 2, (9.0, 7.0))
    scores(tree, axes[0, 0], baselines)
    mixing(tree, axes[0, 1])
    # Histograms of a few temperatures can be told apart; of a whole ladder the means say more.
    (energies if tree["tempered_stats"].sizes["temperature"] <= 5 else mean_energy)(tree, axes[1, 0])
    predictions(tree, axes[1, 1])
    figure.suptitle(f"{tree.attrs['data']}, {tree.attrs['num_parameters']} parameters")
    return figure


def scores(tree: xr.DataTree, axes: "Axes", baselines: dict[str, float] | None = None) -> None:
    """LPPD on held-out rows against temperature."""
    lppd = predict.scores(tree)["lppd"]
    _against_temperature(axes, lppd.index.to_numpy(), lppd.to_numpy(), label="draws")
    for i, (name, value) in enumerate((baselines or {}).items()):
        axes.axhline(value, color=f"C{i + 1}", linestyle="--", label=name)
    axes.set(ylabel="LPPD per held-out row (nats)", title="Predictive score")
    axes.legend(frameon=False)


def mixing(tree: xr.DataTree, axes: "Axes") -> None:
    """R-hat of held-out predictions against temperature: median and worst row."""
    table = diagnostics.function_space(tree)
    for column, label in (("rhat_f_max", "worst row"), ("rhat_f_median", "median row")):
        _against_temperature(axes, table.index.to_numpy(), table[column].to_numpy(), label=label)
    axes.axhline(1.01, color="black", linewidth=0.8, linestyle=":", label="1.01")
    axes.set(ylabel="R-hat of f(x*)", title="Do the chains agree?")
    axes.legend(frameon=False)


def energies(tree: xr.DataTree, axes: "Axes") -> None:
    """Distribution of the data energy at every temperature."""
    stats = tree["tempered_stats"].to_dataset()
    for i, temperature in enumerate(stats["temperature"].values):
        values = stats["data_energy"].isel(temperature=i).values.ravel()
        axes.hist(values, bins=60, histtype="stepfilled", alpha=0.5, density=True, label=f"T = {temperature:.3g}")
    axes.set(xlabel="data energy E (nats)", ylabel="density", title="Energies")
    axes.legend(frameon=False)


def predictions(tree: xr.DataTree, axes: "Axes") -> None:
    """Held-out targets against the posterior's predictions, with 90 % intervals; or calibration of a classifier."""
    constant, predictive = (tree[group].to_dataset() for group in ("constant_data", "posterior_predictive"))
    y = constant["y_test"].values
    f = predictive["f"].mean(("chain", "draw")).values
    if tree.attrs["task"] == "classification":
        confidence = f.max(axis=1) if f.shape[1] > 1 else np.maximum(f[:, 0], 1 - f[:, 0])
        predicted = f.argmax(axis=1) if f.shape[1] > 1 else (f[:, 0] > 0.5)
        right = (predicted == y[:, 0]).astype(float)
        order = np.argsort(confidence)
        groups = [g for g in np.array_split(order, 8) if len(g)]
        axes.plot([confidence[g].mean() for g in groups], [right[g].mean() for g in groups], "o-")
        axes.plot([0, 1], [0, 1], color="black", linewidth=0.8)
        axes.set(xlabel="confidence", ylabel="accuracy", title="Calibration", xlim=(0.3, 1.02), ylim=(0, 1.05))
        return
    scale, mean = constant["y_scale"].values, constant["y_mean"].values
    draws = predictive["y"].stack(sample=("chain", "draw")).transpose("sample", "test_row", "target").values
    low, high = np.quantile(draws, (0.05, 0.95), axis=0)
    f, y, low, high = (v * scale + mean for v in (f, y, low, high))
    error = np.abs(np.stack([f - low, high - f])[..., 0])
    axes.errorbar(y[:, 0], f[:, 0], yerr=error, fmt="o", markersize=3, linewidth=0.7)
    axes.axline((float(y.mean()), float(y.mean())), slope=1, color="black", linewidth=0.8)
    axes.set(
        xlabel="held-out target",
        ylabel="prediction, 90 % interval",
        title="Predictions at the target temperature",
    )


def ladder(tree: xr.DataTree, num_replicas: int = 3) -> "Figure":
    """Four pictures of a ladder: rejection and barrier, the index process, mean energy, and predictive score.

    Parameters
    ----------
    tree
        A result of `temperax.parallel_tempering`; the last picture needs held-out rows at every temperature
        (``keep="all"``) and shows the local barrier without them.
    num_replicas
        How many replicas' journeys to draw.
    """
    figure, axes = _figure(2, 2, (10.0, 7.0))
    swap_rates(tree, axes[0, 0])
    index_process(tree, axes[0, 1], num_replicas)
    mean_energy(tree, axes[1, 0])
    if "tempered_predictive" in tree.children and tree["tempered_predictive"].sizes["temperature"] > 1:
        scores(tree, axes[1, 1])
    else:
        barrier(tree, axes[1, 1])
    figure.suptitle(f"{tree.attrs['data'] or 'ladder'}: {len(tree['exchange']['beta'])} replicas")
    return figure


def swap_rates(tree: xr.DataTree, axes: "Axes | None" = None) -> "Axes":
    """Rejection of every pair along the ladder, with the cumulative barrier."""
    axes = _axes(axes)
    pairs = diagnostics.exchange(tree)
    position = np.arange(len(pairs)) + 0.5
    colours = ["C3" if wall else "C0" for wall in pairs["wall"]]
    axes.bar(position, pairs["rejection"], width=0.9, color=colours)
    _label_rungs(axes.xaxis, tree)
    axes.set(xlabel="inverse temperature β of the rungs", ylabel="rejection of the pair", ylim=(0, 1))
    twin = axes.twinx()
    twin.plot(np.arange(len(pairs) + 1), np.concatenate([[0.0], np.cumsum(pairs["rejection"])]), color="black")
    twin.set_ylabel("cumulative barrier")
    axes.set_title(f"Exchange: barrier {pairs['rejection'].sum():.1f}")
    return axes


def index_process(tree: xr.DataTree, axes: "Axes | None" = None, num_replicas: int = 3) -> "Axes":
    """The rungs that a few replicas of the first ladder visit over the run."""
    axes = _axes(axes)
    replica = tree["exchange"].to_dataset()["replica"].isel(chain=0).values  # (draw, slot): who sits there
    slots = np.argsort(replica, axis=1)  # (draw, replica): where it sits
    chosen = np.linspace(0, slots.shape[1] - 1, num_replicas).round().astype(int)
    for r in chosen:
        axes.plot(slots[:, r], linewidth=0.8)
    _label_rungs(axes.yaxis, tree)
    named = ", ".join(str(r) for r in chosen)
    axes.set(xlabel="draw", ylabel="inverse temperature β", title=f"Index process of replicas {named}")
    return axes


def barrier(tree: xr.DataTree, axes: "Axes | None" = None) -> "Axes":
    """The local communication barrier λ(β) along the ladder."""
    axes = _axes(axes)
    pairs = diagnostics.exchange(tree)
    middle = (pairs["beta_hot"] + pairs["beta_cold"]) / 2
    axes.step(middle, pairs["rejection"] / (pairs["beta_cold"] - pairs["beta_hot"]), where="mid")
    axes.set(xscale="log", yscale="log", xlabel="inverse temperature", ylabel="local barrier", title="Barrier")
    return axes


def mean_energy(tree: xr.DataTree, axes: "Axes | None" = None) -> "Axes":
    """Mean data energy against temperature, with two standard errors."""
    axes = _axes(axes)
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
    axes.set(xscale="log", xlabel="temperature T", ylabel="mean data energy (nats)", title="Energy")
    energy = table["data_energy"].to_numpy()[finite]
    axes.set_yscale("log" if energy.min() > 0 else "symlog", **({} if energy.min() > 0 else {"linthresh": 100.0}))
    return axes


def thermodynamic_curves(source: Source, num_points: int = 100) -> "Figure":
    """Six pictures of a ladder: mean energy, heat capacity, entropy, free energy, log Z, and energies at the top peak.

    Points are the rungs with two standard errors, lines the draws reweighted between them.

    Parameters
    ----------
    source
        As in `thermodynamics.curves`.
    num_points
        Points of the lines.
    """
    found = ensemble(source)
    coldest = found.betas[found.betas > 0]
    rungs = thermodynamics.curves(found, coldest)
    betas = np.geomspace(coldest[0], coldest[-1], num_points)
    moments = np.array([found.moments(float(beta)) for beta in betas])
    log_z, mean, variance = moments.T
    lines = {
        "mean_energy": mean,
        "heat_capacity": betas**2 * variance,
        "entropy": log_z + betas * mean,
        "free_energy": -log_z / betas,
        "log_z": log_z,
    }
    titles = ["mean energy (nats)", "heat capacity (nats)", "entropy (nats)", "free energy (nats)", "log Z (nats)"]
    figure, axes = _figure(2, 3, (13.0, 7.0))
    for panel, (name, line), title in zip(axes.ravel(), lines.items(), titles, strict=False):
        panel.plot(1 / betas, line, linewidth=1.0)
        error = 2 * rungs[f"{name}_error"].values
        panel.errorbar(rungs["temperature"], rungs[name], yerr=error, fmt="o", markersize=3, color="C0")
        panel.set(xscale="log", xlabel="temperature T", ylabel=title)
        spread = np.abs(line[np.isfinite(line)])
        if spread.max() > 100 * np.median(spread):  # a divergence at the hot end would flatten all else
            panel.set_yscale("symlog", linthresh=float(np.median(spread)))
    peaks = transitions.peaks(found)
    capacity = axes.ravel()[1]
    for peak in peaks.itertuples():
        capacity.axvline(peak.temperature, color="C3", linestyle=":", label=f"T = {peak.temperature:.3g}: {peak.kind}")
    if len(peaks):
        capacity.legend(frameon=False)
    place = float(peaks["beta"].iloc[0]) if len(peaks) else float(coldest[-1])
    histogram = transitions.energy_histogram(found, place)
    axes.ravel()[5].plot(histogram["energy"], histogram["density"])
    axes.ravel()[5].set(xlabel="path energy (nats)", ylabel="density", title=f"Energies at T = {1 / place:.3g}")
    return figure


# -- pictures of studies: each takes the dataset that the study of the same name returned ----------------------------


def overlap(study: xr.Dataset, axes: "Axes | None" = None) -> "Axes":
    """P(q): the distribution of the overlap of independent replicas, at up to six temperatures."""
    axes = _axes(axes)
    for rung in _some_rungs(study):
        here = study.isel(temperature=rung)
        label = f"T = {float(here['temperature']):.3g}, mean {float(here['overlap']):.2f}"
        axes.step(study["q"], here["density"], where="mid", label=label, color=_colour(study, rung))
    axes.set(xlabel="overlap q of two replicas", ylabel="P(q)", title="What replicas have in common")
    axes.legend(frameon=False)
    return axes


def uncertainty(study: xr.Dataset, axes: "Axes | None" = None) -> "Axes":
    """Mutual information and entropy of the noise against temperature, on held-out inputs and outside."""
    axes = _axes(axes)
    for i, place in enumerate(study["where"].values):
        here, name = study.sel(where=place), str(place).replace("_", "-")
        _curve(axes, here, "mutual_information", f"mutual information, {name}", color=f"C{i}")
        _curve(axes, here, "noise_entropy", f"noise, {name}", color=f"C{i}", fmt="s--")
    axes.set(ylabel="nats a row", title="Uncertainty")
    axes.legend(frameon=False)
    return axes


def cold_posterior(study: xr.Dataset, axes: "Axes | None" = None) -> "Axes":
    """Train and test LPPD against temperature, with the best temperature and its 90 % interval."""
    axes = _axes(axes)
    for name in ("train_lppd", "test_lppd"):
        _curve(axes, study, name, name.split("_")[0])
    axes.axvline(float(study["optimum"]), color="black", linewidth=0.8)
    axes.axvspan(float(study["optimum_low"]), float(study["optimum_high"]), color="black", alpha=0.1, label="best T")
    axes.set(ylabel="LPPD per row (nats)", title=f"Cold posterior: best T = {float(study['optimum']):.3g}")
    axes.legend(frameon=False)
    return axes


def generalisation_gap(study: xr.Dataset, axes: "Axes | None" = None) -> "Axes":
    """The gap between train and test beside the penalties of WAIC and LOO and the learning coefficient's."""
    axes = _axes(axes)
    _curve(axes, study, "gap", "train - test")
    _curve(axes, study, "waic_gap", "WAIC")
    for name, mark, label in (("loo_gap", "D", "LOO"), ("learning_gap", "*", "learning coefficient")):
        if name in study:
            axes.plot(1.0, float(study[name]), mark, color="black", label=label)
    axes.set(ylabel="nats a row", title="Generalisation gap")
    axes.legend(frameon=False)
    return axes


def pruning(study: xr.Dataset, axes: "Axes | None" = None) -> "Axes":
    """Score against the share of weights removed, at up to six temperatures."""
    return _compressed(study, _axes(axes), "share", "share of weights removed", "Pruning")


def quantisation(study: xr.Dataset, axes: "Axes | None" = None) -> "Axes":
    """Score against the bits of a weight, at up to six temperatures."""
    return _compressed(study, _axes(axes), "bits", "bits a weight", "Quantisation")


def gaussian_replacement(study: xr.Dataset, axes: "Axes | None" = None) -> "Axes":
    """Score of the draws and of the Gaussians in their place, against temperature."""
    axes = _axes(axes)
    for name in study["posterior"].values:
        _curve(axes, study.sel(posterior=name), "lppd", str(name))
    axes.set(ylabel="LPPD per held-out row (nats)", title="A Gaussian in place of the posterior")
    axes.legend(frameon=False)
    return axes


def effective_parameters(study: xr.Dataset, axes: "Axes | None" = None) -> "Axes":
    """Effective number of parameters against temperature."""
    axes = _axes(axes)
    labels = {"from_heat_capacity": "heat capacity", "from_mean_energy": "mean energy", "from_waic": "WAIC"}
    for name, label in labels.items():
        if name in study:
            _curve(axes, study, name, label)
    axes.set(ylabel="parameters that the data hold", title="Effective number of parameters")
    axes.legend(frameon=False)
    return axes


def relevance(study: xr.Dataset, axes: "Axes | None" = None) -> "Axes":
    """Sensitivity to every input with 90 % intervals of draws, at the hottest and at the coldest temperature."""
    axes = _axes(axes)
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
    axes.legend(frameon=False)
    return axes


def expressivity(study: xr.Dataset, axes: "Axes | None" = None) -> "Axes":
    """Functions of the prior beside those of the coldest temperature, along one line through the data."""
    axes = _axes(axes)
    for i, (rung, name) in enumerate(((0, "prior"), (-1, f"T = {float(study['temperature'][-1]):.3g}"))):
        here = study.isel(temperature=rung)
        lines = axes.plot(study["place"], here["f"].T, color=f"C{i}", linewidth=0.9)
        lines[0].set_label(f"{name}: {float(here['crossings']):.1f} crossings")
    axes.set(xlabel="place between two training rows", ylabel="f(x), standardised", title="Functions drawn")
    axes.legend(frameon=False)
    return axes


def _compressed(study: xr.Dataset, axes: "Axes", dim: str, xlabel: str, title: str) -> "Axes":
    for rung in _some_rungs(study):
        here = study.isel(temperature=rung)
        label = f"T = {float(here['temperature']):.3g}"
        error = 2 * here["lppd_error"].fillna(0.0)
        axes.errorbar(study[dim], here["lppd"], yerr=error, fmt="o-", label=label, color=_colour(study, rung))
    axes.set(xlabel=xlabel, ylabel="LPPD per held-out row (nats)", title=title)
    axes.legend(frameon=False)
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
    """A study's value with two standard errors over a logarithmic axis; the prior's (T = inf) as a dotted line."""
    temperature, value = study["temperature"].values, study[name].values
    error = 2 * np.nan_to_num(study[f"{name}_error"].values)
    finite = np.isfinite(temperature)
    drawn = axes.errorbar(
        temperature[finite], value[finite], yerr=error[finite], fmt=fmt, markersize=3, label=label, color=color
    )
    for level in value[~finite]:
        axes.axhline(level, color=drawn[0].get_color(), linestyle=":", linewidth=0.8)
    axes.set(xscale="log", xlabel="temperature T")


def _label_rungs(axis: "Axis", tree: xr.DataTree) -> None:
    """Label an axis of rungs, hottest first, by their β."""
    betas = tree["exchange"].to_dataset()["beta"].values
    rungs = np.unique(np.linspace(0, len(betas) - 1, 7).round().astype(int)).tolist()
    axis.set_ticks(rungs, [f"{betas[r]:.2g}" for r in rungs])


def _axes(axes: "Axes | None") -> "Axes":
    """The given axes, or those of a new figure."""
    return _figure(1, 1, (5.0, 3.6))[1][0, 0] if axes is None else axes


def _figure(rows: int, columns: int, size: tuple[float, float]) -> tuple["Figure", np.ndarray]:
    """A figure that does not touch pyplot's state, so that drawing has no side effects."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False)


def _against_temperature(axes: "Axes", temperature: np.ndarray, values: np.ndarray, label: str) -> None:
    """A curve over a logarithmic axis of finite temperatures."""
    finite = np.isfinite(temperature)
    axes.plot(temperature[finite], values[finite], "o-", label=label)
    axes.set_xscale("log")
    axes.set_xlabel("temperature T")
