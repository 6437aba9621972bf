"""Predictions of a result on new inputs, their bands in the user's own units, and scores of held-out rows.

Predictive densities are always those of the model at T = 1, also for tempered draws.
"""

from temperax.analysis.predict.comparisons import agreement as agreement
from temperax.analysis.predict.comparisons import compare as compare
from temperax.analysis.predict.comparisons import selective_risk as selective_risk
from temperax.analysis.predict.predicting import predictions as predictions
from temperax.analysis.predict.predicting import predictive as predictive
from temperax.analysis.predict.scoring import pointwise as pointwise
from temperax.analysis.predict.scoring import scores as scores
from temperax.analysis.predict.summaries import summary as summary
from temperax.analysis.predict.weights import chain_weights as chain_weights
from temperax.results.reading import positions as positions
