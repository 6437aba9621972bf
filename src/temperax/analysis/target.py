"""The temperature of the posterior's draws, also where its rung was cut away."""

import numpy as np
import xarray as xr

from temperax.engine.tempering import target_slot
from temperax.errors import check_result
from temperax.results.reading import posterior_temperature


def target_temperature(tree: xr.DataTree) -> float:
    """What the posterior's group says; of a result that does not, that of the rung which samplers take."""
    if "temperature" in check_result(tree, "posterior").attrs:
        return posterior_temperature(tree)
    betas = check_result(tree, "tempered_stats", "beta")["beta"].values
    with np.errstate(divide="ignore"):
        return float(1.0 / betas[target_slot(betas)])
