"""Thermodynamic curves of a ladder."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from temperax.analysis import thermodynamics, transitions
from temperax.analysis.ensemble import Source, ensemble
from temperax.plots.canvas import legend, new_figure, temperature_axis

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def thermodynamic_curves(
    source: Source, num_points: int = 100, axes: np.ndarray | None = None, peaks: pd.DataFrame | None = None
) -> "Figure":
    """Six pictures of a ladder: mean energy, heat capacity, entropy, free energy, log Z, and energies at the top peak.

    Points are the rungs with two standard errors, lines the draws reweighted between them.  Entropy, free energy and
    log Z are relative to the hottest rung.

    Parameters
    ----------
    source
        As in `thermodynamics.curves`.
    num_points
        Points of the lines.
    axes
        Six of them to draw in; by default those of a new figure.
    peaks
        What `transitions.peaks` found, where that is known already.

    See Also
    --------
    temperax.thermodynamics.curves

    Examples
    --------
    >>> tx.plots.thermodynamic_curves(ladder, num_points=20).savefig("thermodynamic_curves.png")
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
        "entropy": found.entropy(betas, log_z, mean),
        "free_energy": -log_z / betas,
        "log_z": log_z,
    }
    titles = [
        "mean energy (nats)",
        "heat capacity (nats)",
        "entropy from the hottest rung (nats)",
        "free energy (nats)",
        "log Z (nats)",
    ]
    axes = new_figure(2, 3, (13.0, 7.0))[1] if axes is None else axes
    for panel, (name, line), title in zip(axes.ravel(), lines.items(), titles, strict=False):
        panel.plot(1 / betas, line, linewidth=1.0)
        error = 2 * rungs[f"{name}_error"].values
        panel.errorbar(rungs["temperature"], rungs[name], yerr=error, fmt="o", markersize=3, color="C0")
        temperature_axis(panel)
        panel.set_ylabel(title)
        spread = np.abs(line[np.isfinite(line)])
        if spread.max() > 100 * np.median(spread):  # a divergence at the hot end would flatten all else
            panel.set_yscale("symlog", linthresh=float(np.median(spread)))
    peaks = transitions.peaks(found) if peaks is None else peaks
    capacity = axes.ravel()[1]
    for peak in peaks.itertuples():
        capacity.axvline(peak.temperature, color="C3", linestyle=":", label=f"T = {peak.temperature:.3g}: {peak.kind}")
    if len(peaks):
        legend(capacity, 1)
    place = float(peaks["beta"].iloc[0]) if len(peaks) else float(coldest[-1])
    histogram = transitions.energy_histogram(found, place)
    axes.ravel()[5].plot(histogram["energy"], histogram["density"])
    axes.ravel()[5].set(xlabel="path energy (nats)", ylabel="density", title=f"Energies at T = {1 / place:.3g}")
    return axes.ravel()[0].figure
