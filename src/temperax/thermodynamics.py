"""Thermodynamics of a ladder, from arrays of β and energies: what replica exchange says about log Z.

Units are nats, k_B = 1.  V is the path energy, so that -∂ log Z/∂β = ⟨V⟩_β on every path.
"""

from typing import NamedTuple

import arviz_stats
import numpy as np
import xarray as xr
from jaxtyping import Float

from temperax.errors import InputError


class SteppingStone(NamedTuple):
    """Log Z(coldest) - log Z(hottest), from both sides, in nats.

    ``forward`` averages over the hotter draws of each pair and is too low in expectation, ``backward`` over the colder
    ones and is too high: they bracket log Z, and their distance says how far to trust them.
    """

    forward: float
    forward_error: float
    backward: float
    backward_error: float


def stepping_stone(
    betas: Float[np.ndarray, " temperature"], path_energy: Float[np.ndarray, "chain draw temperature"]
) -> SteppingStone:
    """Stepping-stone estimates of a difference of log partition functions.

    Forward Σ log⟨exp(-Δβ V)⟩ over the hotter draws of each pair, backward -Σ log⟨exp(+Δβ V)⟩ over the colder ones
    (Xie, Lewis, Fan, Kuo & Chen 2011); errors by the delta method with the ESS of each summand.

    Parameters
    ----------
    betas
        The ladder, ascending.
    path_energy
        V of the draws, in nats.

    Raises
    ------
    InputError
        If the arrays do not fit.
    """
    betas, v = np.asarray(betas, float), np.asarray(path_energy, float)
    if v.ndim != 3 or v.shape[-1] != len(betas):
        raise InputError("path_energy", v.shape, f"is not (chain, draw, {len(betas)})", "give one column a temperature")
    steps = np.diff(betas)
    forward = [_log_mean(-step * v[..., n]) for n, step in enumerate(steps)]
    backward = [_log_mean(step * v[..., n + 1]) for n, step in enumerate(steps)]
    (up, up_error), (down, down_error) = (
        (sum(value for value, _ in part), float(np.sqrt(sum(error**2 for _, error in part))))
        for part in (forward, backward)
    )
    return SteppingStone(up, up_error, -down, down_error)


def _log_mean(exponents: Float[np.ndarray, "chain draw"]) -> tuple[float, float]:
    """Log⟨exp⟩ and its standard error."""
    largest = exponents.max()
    if not np.isfinite(largest):
        return float(largest), np.inf
    weights = np.exp(exponents - largest)
    value = float(largest + np.log(weights.mean()))
    if weights.std() == 0:
        return value, 0.0
    # The ESS of the summand itself; it cannot be told from fewer than four draws.
    error = arviz_stats.base.array_stats.mcse(weights, chain_axis=0, draw_axis=1) if weights.shape[1] >= 4 else np.nan
    return value, float(error / weights.mean())


def log_evidence(tree: xr.DataTree) -> SteppingStone:
    """Log Z of a parallel-tempering result between the ends of its ladder: on a path from β = 0 to 1, the evidence."""
    if "exchange" not in tree.children:
        raise InputError("tree", list(tree.children), "has no ladder", "give a result of temperax.parallel_tempering")
    stats = tree["tempered_stats"].to_dataset()
    return stepping_stone(stats["beta"].values, stats["path_energy"].transpose("chain", "draw", "temperature").values)
