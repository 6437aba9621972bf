"""The picture of what a ladder is for: a frequency by chains, by a ladder, and by quadrature.

``python -m benchmarks.modes_picture docs/static/pictures/modes.png --seconds 40``
"""

import argparse

import jax
import matplotlib.pyplot as plt
import numpy as np

import temperax as tx
from benchmarks import harness
from benchmarks.modes import METHODS, judge
from benchmarks.multimodal import FASTEST, SLOWEST, TARGETS, frequency_density, signal

SHOWN = {"hmc": "HMC, four chains", "numpyro-nuts": "NumPyro's NUTS, four chains", "ladder": "four ladders"}
#: Lines that can be told apart in grey.
LINES = [("C0", "-"), ("C1", "--"), ("C2", "-."), ("C3", ":")]


def main() -> None:
    """Run the three methods for the same time, and draw what each makes of the frequency."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file")
    parser.add_argument("--seconds", type=float, default=40.0, help="wall time of a method")
    options = parser.parse_args()
    tx.use_cpu_devices(harness.cores())
    target, energy = TARGETS["frequency"], TARGETS["frequency"].energy()
    grid, density, _ = frequency_density()
    figure, panels = plt.subplots(1, len(SHOWN), figsize=(11, 3.0), sharey=True, layout="constrained")
    edges = np.linspace(SLOWEST, FASTEST, 150)
    for panel, (method, name) in zip(panels, SHOWN.items(), strict=True):
        found = METHODS[method](target, jax.random.key(0), options.seconds)
        row = judge(target, energy, found)
        print(f"{name}: R-hat {row['rhat_max']:.3f}, weight of the true peak {row['weight']:.3f}, {row['about']}")
        panel.fill_between(grid, density, color="0.8", label="exact")
        for number, (chain, (colour, line)) in enumerate(zip(signal(energy, found.positions), LINES, strict=True), 1):
            heights, _ = np.histogram(chain[:, 0], edges, density=True)
            middles = (edges[1:] + edges[:-1]) / 2
            panel.plot(middles, heights, color=colour, linestyle=line, linewidth=1.2, label=f"{number}")
        panel.set(xlabel="frequency", title=f"{name}: R-hat {row['rhat_max']:.4g}")
        panel.set(yscale="log", ylim=(1e-3, 40), xlim=(SLOWEST, FASTEST))
    panels[0].set_ylabel("posterior density")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=5, frameon=False)
    figure.savefig(options.file, dpi=90)


if __name__ == "__main__":
    main()
