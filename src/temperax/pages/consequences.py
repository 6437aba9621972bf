"""Sections on what follows from a run: thermodynamics, phase transitions, predictions."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import xarray as xr

from temperax.analysis import diagnostics, predict, thermodynamics, transitions
from temperax.analysis.diagnostics.equilibrium import equilibrium
from temperax.analysis.diagnostics.journeys import is_ladder
from temperax.analysis.diagnostics.verdicts import Judged
from temperax.analysis.ensemble import MIN_OVERLAP, Ensemble, ensemble
from temperax.errors import InputError, check_result
from temperax.pages.findings import few
from temperax.pages.parts import Picture, Pictures, Section, Table, Text, spread, temperature_text
from temperax.plots import curves, predictive, runs
from temperax.plots.canvas import new_figure
from temperax.plots.inline import as_svg
from temperax.results.reading import posterior_temperature

#: Held-out rows that a picture shows.
MOST_ROWS = 500
#: What the picture of predictions shows, by task, and its caption.
WHAT = {
    "regression": (
        "Predictions against held-out targets",
        "Every held-out row, in the units of the target, with its 90 % interval.",
    ),
    "classification": (
        "Accuracy against confidence",
        "Of rows that are predicted with some confidence, how many are right: on the line is best.",
    ),
}
#: Of a picture.
SIZE = (5.0, 3.6)


def heat(tree: xr.DataTree, known: Judged | None) -> Section | None:
    """Log Z, mean energy, heat capacity and entropy along the temperatures, and phase transitions."""
    if known is None or tree["tempered_stats"].sizes["temperature"] < 2:
        return None
    if tree["tempered_stats"].sizes["draw"] < 4:
        return None
    try:
        found = ensemble(tree)
        if "exchange" not in tree.children and found.overlap.min() < MIN_OVERLAP:
            return None  # temperatures of their own, with nothing between them
        z, reasons = thermodynamics.log_evidence(found), known.unsettled if is_ladder(tree) else equilibrium(tree)
        doubts = thermodynamics.doubts_of(found, z, reasons)
        peaks, rungs = transitions.peaks(found), thermodynamics.curves(found)
        pictures = _curves(found, rungs, peaks)
    except InputError as error:
        return Section("Thermodynamics", [Text([f"There is none of these draws: {error}"])])
    methods = pd.DataFrame(
        {
            "method": ["MBAR", "stepping stones, forward", "stepping stones, backward", "thermodynamic integration"],
            "log Z": [z.mbar, z.forward, z.backward, z.integration],
            "error": [z.mbar_error, z.forward_error, z.backward_error, z.integration_error],
        }
    )
    ends = [temperature_text(float(t)) for t in rungs["temperature"].values[[0, -1]]]
    doubted = ", not equilibrated," if any(doubt.startswith("not equilibrated") for doubt in doubts) else ""
    said = [f"log Z from {ends[0]} to {ends[1]}{doubted} is {z.mbar:.2f} ± {z.mbar_error:.2f} nats."]
    said += [f"Doubt: {doubt}." for doubt in doubts]
    said += [_peak(*row) for row in peaks.itertuples(index=False)] or [
        "The heat capacity has no peak between the ends."
    ]
    blocks = [
        Text(said),
        Pictures(pictures),
        Table("log Z from the hottest to the coldest temperature, in nats", methods),
        Table("Every rung, in nats", rungs.to_dataframe().reset_index(), folded=True),
    ]
    return Section("Thermodynamics", blocks)


def _peak(*row: object) -> str:
    """What a peak of the heat capacity is, in a sentence."""
    names = ["beta", "beta_error", "temperature", "temperature_error", "heat_capacity", "heat_capacity_error"]
    peak = dict(zip([*names, "barrier", "barrier_error", "kind"], row, strict=True))
    return (
        f"The heat capacity has a peak of {peak['heat_capacity']:.3g} nats at T = {peak['temperature']:.3g} ± "
        f"{peak['temperature_error']:.2g}: {peak['kind']}."
    )


def _curves(found: Ensemble, rungs: xr.Dataset, peaks: pd.DataFrame) -> list[Picture]:
    """The six pictures of `plots.thermodynamic_curves`, one by one."""
    axes = np.array([new_figure(1, 1, SIZE)[1][0, 0] for _ in range(6)])
    curves.thermodynamic_curves(found, axes=axes, peaks=peaks)
    names = ("mean energy", "heat capacity", "entropy", "free energy", "log Z")
    captions = (
        "Mean path energy ⟨U⟩.",
        "Heat capacity β² Var(U): a peak is where the network changes fastest.",
        "Entropy, 0 at the hottest rung: how much is left of the volume there.",
        "Free energy -T log Z, with log Z from the hottest rung on.",
        "log Z from the hottest rung on.",
    )
    pictures = []
    for panel, name, caption in zip(axes, names, captions, strict=False):
        values = rungs["log_z" if name == "log Z" else name.replace(" ", "_")].values
        alt = f"{name[0].upper()}{name[1:]} against temperature: over {len(values)} rungs it is {spread(values)} nats"
        alt += f", with {len(peaks)} marked peaks." if name == "heat capacity" and len(peaks) else "."
        pictures.append(Picture(as_svg(panel, name.replace(" ", "").lower(), alt), caption))
    place = temperature_text(float(peaks["temperature"].iloc[0] if len(peaks) else 1 / found.betas[-1]))
    alt = f"Density of the path energy at {place}."
    pictures.append(
        Picture(as_svg(axes[5], "histogram", alt), f"Path energies at {place}: one hump is one phase, two are two.")
    )
    return pictures


def predictions(tree: xr.DataTree) -> Section | None:
    """Scores and calibration of the held-out rows."""
    if "tempered_predictions" not in tree.children:
        return None
    scores = predict.scores(tree)
    shown, drawn = few(tree, "test_row", MOST_ROWS), tree["predictions"].sizes
    rows, task, several = drawn["test_row"], tree.attrs["task"], len(scores) > 1
    temperature, here = _target(tree, scores.index.to_numpy())
    target = scores.loc[temperature]
    said = _in_words(target, rows) if temperature == here else f"{rows} held-out rows at {temperature_text(here)}"
    pictures: list[Picture] = []

    def add(name: str, draw: Callable, alt: str, caption: str) -> None:
        pictures.append(Picture(as_svg(draw(), name, alt), caption))

    if task in WHAT:
        what, caption = WHAT[task]
        targets = check_result(tree, "constant_data")["target"].values
        if len(targets) > 1 and task == "regression":
            caption += f" Of the {len(targets)} targets the first is drawn, {targets[0]}."
        add("predictions", lambda: runs.predictions(shown), f"{what}: {said}.", caption)
    if drawn["draw"] > 1:
        alt = f"Calibration of {rows} held-out rows, by ArviZ: {said}."
        calm = "Calibration: the curve stays within the band where targets fall where the predictions say."
        add("calibration", lambda: predictive.calibration(shown), alt, calm)
    one_class = task != "classification" or tree["constant_data"].sizes["target"] == 1  # to be sure of, a row
    if drawn["draw"] > 1 and one_class:
        risk = predict.selective_risk(tree)["risk"]
        alt = f"Error of the surest predictions: {spread(risk)}; of all rows it is {risk.iloc[-1]:.3g}."
        caption = "The error that is left when unsure rows are withheld."
        add("risk", lambda: predictive.selective_risk(tree), alt, caption)
    if several:
        best = scores["lppd"].idxmax()
        alt = f"LPPD of {len(scores)} temperatures, {spread(scores['lppd'])} nats, best at {temperature_text(best)}."
        add("scores", lambda: runs.scores(tree), alt, "Log predictive density of held-out rows: higher is better.")
        rhat = diagnostics.function_space(tree)["rhat_f_max"]
        alt = f"R-hat of the worst held-out row at {len(rhat)} temperatures: {spread(rhat)}."
        add("mixing", lambda: runs.mixing(tree), alt, "Whether chains agree on predictions: below 1.01 they do.")
    table = Table(f"Scores of {rows} held-out rows", scores.reset_index(), folded=len(scores) > 8)
    where = "the target temperature"
    if temperature != here:
        where = f"{temperature_text(temperature)} (of the target, {temperature_text(here)}, no scores were kept)"
    return Section("Predictions", [Text([f"At {where}, {_in_words(target, rows)}."]), Pictures(pictures), table])


def _target(tree: xr.DataTree, kept: np.ndarray) -> tuple[float, float]:
    """The kept temperature that is the posterior's, or next to it where its rung was cut away; and the posterior's."""
    target = posterior_temperature(tree)
    if (same := np.isclose(kept, target)).any():
        return (found := float(kept[same][0])), found
    return float(kept[np.abs(kept - target).argmin()]), target


def _in_words(scores: pd.Series, rows: int) -> str:
    """The scores that say most."""
    if "accuracy" in scores:
        return (
            f"{scores['accuracy']:.0%} of {rows} held-out rows are right, with {scores['ece']:.0%} error of calibration"
        )
    said = f"the RMSE of {rows} held-out rows is {scores['rmse']:.4g}"
    return said + (f", and 90 % intervals hold {scores['coverage_90']:.0%} of them" if "coverage_90" in scores else "")
