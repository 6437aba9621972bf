"""The pictures of the physics pages, each from a real run: ``make pictures``, some five minutes on two cores.

The pages quote the figures that are printed.  Further names on the command line draw those alone.
"""

import sys
from pathlib import Path

import jax
import matplotlib.pyplot as plt
import numpy as np

import temperax as tx

HERE = Path(__file__).parent / "static" / "pictures"
DPI = 90


def sine() -> tx.Dataset:
    """Sixty points of a smooth curve with noise of .05, and twenty held out."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-2, 2, size=(80, 1))
    y = np.sin(2.5 * x[:, 0]) + 0.05 * rng.normal(size=80)
    return tx.Dataset.from_arrays(x[:60], y[:60], x[60:], y[60:], name="sine")


def save(figure: plt.Figure, name: str) -> None:
    """Write a picture."""
    HERE.mkdir(parents=True, exist_ok=True)
    figure.savefig(HERE / f"{name}.png", dpi=DPI)
    print(f"{name}.png: {(HERE / f'{name}.png').stat().st_size / 1000:.0f} kB")
    plt.close(figure)


def first() -> None:
    """The front page's ten lines."""
    data = tx.datasets.load("diabetes", split=0)
    energy = tx.Energy.mlp(data, hidden=(10,), prior=tx.priors.Normal(0.5))
    tree = tx.parallel_tempering(jax.random.key(1), energy, num_draws=512, keep="all", progress=False)
    save(tx.plots.ladder(tree), "first")


def temperatures(data: tx.Dataset, energy: tx.Energy) -> None:
    """Functions of one network at four temperatures of the posterior path, and at T = 0."""
    degrees = [30.0, 8.0, 3.0, 1.0]
    tree = tx.sample(jax.random.key(0), energy, degrees, path="posterior", num_draws=200, progress=False)
    best = tx.map_estimate(jax.random.key(0), energy, progress=False)
    x = np.linspace(-2.4, 2.4, 120)[:, None]
    hot = tx.predict.predictions(tree, x, group="tempered_posterior")["f"].isel(target=0)
    cold = tx.predict.predictions(best, x)["f"].isel(target=0, chain=0, draw=0)
    figure, axes = plt.subplots(1, 5, figsize=(11, 2.6), sharey=True, layout="constrained")
    for panel, temperature in zip(axes, degrees, strict=False):
        draws = hot.sel(temperature=temperature).stack(sample=("chain", "draw")).transpose("sample", "row").values
        for f in draws[:: len(draws) // 12]:
            panel.plot(x, f, color="0.35", linewidth=0.6)
        panel.set_title(f"T = {temperature:g}")
    axes[-1].plot(x, cold, color="0.35", linewidth=1.2)
    axes[-1].set_title("T = 0: training")
    for panel in axes:
        panel.plot(data.x * data.x_scale + data.x_mean, data.y * data.y_scale + data.y_mean, "k.", markersize=2.5)
        panel.set(xlabel="x", ylim=(-2.2, 2.2))
    axes[0].set_ylabel("f(x)")
    save(figure, "temperatures")


def ladder(energy: tx.Energy) -> object:
    """The ladder of the same network, and its thermodynamics."""
    tree = tx.parallel_tempering(
        jax.random.key(0), energy, kernel=tx.HMC(max_steps=256), num_draws=512, keep="all", progress=False
    )
    tx.diagnostics.report(tree)
    found = tx.diagnostics.round_trips(tree)
    print({name: round(value, 3) for name, value in found.items()})
    save(tx.plots.ladder(tree), "ladder")
    ensemble = tx.thermodynamics.ensemble(tree)
    print(tx.thermodynamics.log_evidence(ensemble))
    print("doubts:", tx.thermodynamics.doubts(ensemble))
    save(tx.plots.thermodynamic_curves(ensemble), "thermodynamics")
    return ensemble


def transition(energy: tx.Energy, ensemble: object) -> None:
    """The energy's two humps at the peak of the heat capacity, and hysteresis at two speeds."""
    peaks = tx.transitions.peaks(ensemble)
    print(peaks.round(3).to_string())
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.0), layout="constrained")
    beta = float(peaks["beta"].iloc[0])
    for factor, style in ((0.75, ":"), (1.0, "-"), (1.33, "--")):
        humps = tx.transitions.energy_histogram(ensemble, beta * factor)
        axes[0].plot(humps["energy"], humps["density"], style, color="black", label=f"T = {1 / beta / factor:.1f}")
    axes[0].set(
        xlabel="data energy E (nats)", ylabel="density", xlim=(-120, 130), title="two phases at one temperature"
    )
    axes[0].legend(frameon=False)
    betas = np.geomspace(0.02, 1.0, 16)
    for panel, scans in zip(axes[1:], (4, 64), strict=True):
        cycle = tx.transitions.hysteresis(
            jax.random.key(1),
            energy,
            betas,
            scans=scans,
            path="likelihood",
            kernel=tx.HMC(max_steps=64),
            num_chains=16,
        )
        for direction, style in (("cooling", "k-"), ("heating", "k--")):
            mean = cycle["path_energy"].sel(direction=direction).mean("chain")
            panel.plot(cycle["temperature"], mean, style, marker="o", markersize=3, label=direction)
        worst = cycle.isel(temperature=int(np.argmin(cycle["gap"].values)))
        print(f"{scans} scans: gap {float(worst['gap']):.0f} ± {float(worst['gap_error']):.0f} nats")
        panel.set(xscale="log", xlabel="temperature T", title=f"{scans} scans a temperature")
        panel.legend(frameon=False)
    axes[1].set_ylabel("mean data energy (nats)")
    save(figure, "transition")


def singular() -> None:
    """Learning coefficients of networks of one to four units on rows that one unit made, beside P/2."""
    rng = np.random.default_rng(1)
    x = rng.uniform(-2, 2, size=(500, 1))
    y = np.tanh(x[:, 0]) + 0.3 * rng.normal(size=500)
    data = tx.Dataset.from_arrays(x, y, name="one unit")
    scale = 0.3 / float(data.y_scale[0])
    found = []
    for units in (1, 2, 3, 4):
        energy = tx.Energy.mlp(data, (units,), likelihood=tx.likelihoods.Gaussian(scale), prior=tx.priors.Normal(3.0))
        one = tx.learning_coefficient(jax.random.key(units), energy, progress=False)
        found.append((energy.size, one.value, one.standard_error))
        print(f"P = {energy.size}: λ = {one.value:.2f} ± {one.standard_error:.2f}, R-hat {one.rhat:.3f}")
    size, value, error = np.array(found).T
    figure, axes = plt.subplots(figsize=(5.2, 3.2), layout="constrained")
    axes.errorbar(size, value, 2 * error, fmt="ko", capsize=3, label="measured, ± two standard errors")
    axes.plot(size, size / 2, "k:", label="P/2, a regular model")
    axes.set(xlabel="parameters P", ylabel="learning coefficient λ", xticks=size, ylim=(0, None))
    axes.legend(frameon=False)
    save(figure, "singular")


def main() -> None:
    """Draw all of them, or those that are named."""
    tx.use_cpu_devices(2)
    data = sine()
    energy = tx.Energy.mlp(data, hidden=(10,))
    draw = {
        "first": first,
        "temperatures": lambda: temperatures(data, energy),
        "ladder": lambda: transition(energy, ladder(energy)),
        "singular": singular,
    }
    for name in sys.argv[1:] or draw:
        draw[name]()


if __name__ == "__main__":
    main()
