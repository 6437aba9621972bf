"""Temperature as an instrument: what high and low T say of a network's functions, scores, size and inputs.

Every study takes a result that kept the draws of all its temperatures (``keep="all"``) and, where it predicts anew, the
energy that was sampled.  It returns an `xarray.Dataset` with a ``temperature`` dimension, hottest first.  A value's
``_error`` is its standard error by leaving out one chain at a time, unless the study says otherwise: what chains that
do not mix disagree on is counted, and a single chain has none (NaN).  `temperax.plots` has a picture of the same name
for each of them.

- exploration and diversity: `overlap`, `uncertainty`
- generalisation: `cold_posterior`, `generalisation_gap`
- compressibility: `pruning`, `quantisation`, `gaussian_replacement`, `effective_parameters`
- interpretability and expressivity: `relevance`, `expressivity`
- the way to T = 0: `equipartition` (a result's energies alone) and `annealing_against_restarts` (a run of its own)
"""

from temperax.analysis.studies.compression import effective_parameters, gaussian_replacement, pruning, quantisation
from temperax.analysis.studies.cooling import annealing_against_restarts, equipartition
from temperax.analysis.studies.diversity import overlap, uncertainty
from temperax.analysis.studies.generalisation import cold_posterior, generalisation_gap
from temperax.analysis.studies.interpretation import expressivity, relevance

__all__ = [
    "annealing_against_restarts",
    "cold_posterior",
    "effective_parameters",
    "equipartition",
    "expressivity",
    "gaussian_replacement",
    "generalisation_gap",
    "overlap",
    "pruning",
    "quantisation",
    "relevance",
    "uncertainty",
]
