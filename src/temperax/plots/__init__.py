"""Pictures: matplotlib figures with labelled axes, made from results alone.

This is the one room that imports matplotlib, and only when a picture is drawn.
"""

from temperax.plots.bands import bands
from temperax.plots.curves import thermodynamic_curves
from temperax.plots.findings import (
    annealing_against_restarts,
    cold_posterior,
    effective_parameters,
    equipartition,
    expressivity,
    gaussian_replacement,
    generalisation_gap,
    overlap,
    pruning,
    quantisation,
    relevance,
    uncertainty,
)
from temperax.plots.ladders import barrier, flow, index_process, ladder, swap_rates
from temperax.plots.predictive import calibration, selective_risk
from temperax.plots.runs import annealing, energies, mean_energy, mixing, particles, predictions, scores, summary, trace

__all__ = [
    "annealing",
    "annealing_against_restarts",
    "bands",
    "barrier",
    "calibration",
    "cold_posterior",
    "effective_parameters",
    "energies",
    "equipartition",
    "expressivity",
    "flow",
    "gaussian_replacement",
    "generalisation_gap",
    "index_process",
    "ladder",
    "mean_energy",
    "mixing",
    "overlap",
    "particles",
    "predictions",
    "pruning",
    "quantisation",
    "relevance",
    "scores",
    "selective_risk",
    "summary",
    "swap_rates",
    "thermodynamic_curves",
    "trace",
    "uncertainty",
]
