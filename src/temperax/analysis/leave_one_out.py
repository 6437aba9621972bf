"""Leave-one-out cross-validation of tempered posteriors: ArviZ's, with the weights that a temperature asks for."""

import warnings
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float
from scipy.special import logsumexp

from temperax.analysis import statistics
from temperax.errors import InputError, check_result
from temperax.results.reading import posterior_temperature

#: A fifth of the draws are a tail to which a Pareto law is fitted.
LEAST_DRAWS = 25


def loo(tree: xr.DataTree) -> dict[float, Any]:
    """Leave-one-out scores of every kept temperature, for ``az.compare``: {T: ArviZ's ``ELPDDataLOO``}.

    Tempered by β, a row's likelihood has entered the draws as its β-th power, and is taken out by weights p(y|θ)^-β
    (smoothed by Vehtari et al. 2024); ``az.loo`` alone takes it out once, which is right at T = 1 only.

    Parameters
    ----------
    tree
        A result with log likelihoods (of many rows not of every draw; see `add_log_likelihood`).

    Returns
    -------
    dict
        By temperature, hottest first, of the reference path T = 1 alone: expected log predictive density of unseen rows
        (of all their targets) in nats (targets in standardised units), its standard error, and ``pareto_k`` of every
        row.

    Raises
    ------
    InputError
        If the result has no log likelihoods, or on the reference path none at T = 1.

    See Also
    --------
    temperax.studies.cold_posterior, temperax.add_log_likelihood

    Examples
    --------
    >>> import arviz as az
    >>> ranked = az.compare(tx.diagnostics.loo(tree))
    >>> sorted(ranked.index)
    [0.5, 1.0, 2.0]
    """
    return loo_by_temperature(tree)


def loo_by_temperature(tree: xr.DataTree, *, posterior: bool = False) -> dict[float, Any]:
    """`loo`, or of the posterior alone."""
    logs = kept_logs(tree, posterior=posterior)
    tempered = "tempered_posterior" in tree.children and not posterior
    draws = check_result(tree, "tempered_posterior" if tempered else "posterior").sel(draw=logs["draw"])
    found = {}
    for slot, t in enumerate(logs["temperature"].values.tolist()):
        own = draws.sel(temperature=t) if tempered else draws
        found[t] = loo_of(flat(logs[:, :, slot]), 1.0 / t, _efficiency(own))
    return found


def _efficiency(draws: xr.Dataset) -> float:
    """Effective draws for a draw, on average over all that moves: what ArviZ has the length of tails from."""
    count = draws.sizes["chain"] * draws.sizes["draw"]
    effective = statistics.ess(draws, method="mean")
    each = np.concatenate([v.values.ravel() for v in effective.values()])
    moving = each[np.isfinite(each)]
    return float(moving.mean()) / count if draws.sizes["chain"] > 1 and len(moving) else 1.0


def kept_logs(tree: xr.DataTree, *, posterior: bool = False) -> xr.DataArray:
    """Log likelihoods (chain, draw, temperature, value) of every kept temperature, hottest first, or of the posterior.

    Of all that was observed, whatever it is called; those of a row's targets are one.  Of the reference path only those
    at T = 1, since the Gaussian that is in the others was fitted to every row.
    """
    tempered = "tempered_log_likelihood" in tree.children and not posterior
    group = "tempered_log_likelihood" if tempered else "log_likelihood"
    words = {"problem": "has no log likelihoods", "remedy": "call temperax.add_log_likelihood first"}
    logs = check_result(tree, group, **words)
    if not logs.data_vars:
        raise InputError("tree", group, **words)
    if "temperature" not in logs.dims:
        logs = logs.expand_dims(temperature=[posterior_temperature(tree)])
    if tree.attrs.get("path") == "reference":
        logs = logs.isel(temperature=np.isclose(logs["temperature"], 1.0))
        if not logs.sizes["temperature"]:
            problem = "is a path on which rows can be left out at T = 1 alone, of which it has no draws"
            raise InputError("tree", "reference", problem, "sample to coldest=1.0, or with path='likelihood'")
    rows = [v.sum("target") if {"row", "target"} <= set(v.dims) else v for v in logs.data_vars.values()]
    parts = [v.transpose("chain", "draw", "temperature", ...).values for v in rows]
    values = np.concatenate([part.reshape(*part.shape[:3], -1) for part in parts], axis=-1)
    dims = ("chain", "draw", "temperature")
    return xr.DataArray(values, {name: logs[name] for name in dims}, (*dims, "value"))


def flat(logs: xr.DataArray) -> Float[np.ndarray, "chain draw value"]:
    """Log likelihoods with rows and targets on one axis."""
    values = logs.transpose("chain", "draw", ...).values
    return values.reshape(*values.shape[:2], -1)


def loo_of(log_density: Float[np.ndarray, "chain draw row"], beta: float, efficiency: float = 1.0) -> Any:
    """LOO by ArviZ at inverse temperature β; shapes that are large are returned, without its warning."""
    if (count := log_density.shape[0] * log_density.shape[1]) < LEAST_DRAWS:
        raise InputError("tree", count, "draws are too few for leave-one-out", f"give at least {LEAST_DRAWS}")
    values = xr.Dataset({"y": (("chain", "draw", "row"), log_density)})
    values = values.assign_coords({d: np.arange(n) for d, n in values.sizes.items()})
    tree = xr.DataTree.from_dict({"posterior": values, "log_likelihood": values})
    whole = statistics.loo
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if beta > 0:
            weights, shape = _smoothed(beta * values["y"], efficiency)
        else:  # no row has had a part in the draws
            weights = xr.full_like(values["y"], -np.log(values.sizes["chain"] * values.sizes["draw"]))
            shape = xr.zeros_like(values["y"][0, 0])
        return whole(tree, pointwise=True, log_weights=weights, pareto_k=shape)


def _smoothed(logs: xr.DataArray, efficiency: float) -> tuple[xr.DataArray, xr.DataArray]:
    """ArviZ's smoothed log weights and shapes of every row.

    Where the largest weights of a row are one number, from a replica that stood still, no tail can be fitted: they stay
    as they are, and the shape is infinite.
    """
    flat = np.sort(logs.values.reshape(-1, logs.sizes["row"]), axis=0)
    tail = max(1, int(min(0.2 * len(flat), 3 * np.sqrt(len(flat) / efficiency))))  # as long as ArviZ takes it
    stands = xr.DataArray(flat[tail - 1] - flat[0] <= np.finfo(float).tiny, dims="row", coords={"row": logs["row"]})
    if not stands.any():
        return logs.azstats.psislw(dim=("chain", "draw"), r_eff=efficiency)
    weights = -logs - logsumexp(-logs.values, axis=(0, 1))
    shape = xr.full_like(logs[0, 0], np.inf)
    moves = ~stands.values
    if moves.any():
        weights[..., moves], shape[moves] = (found.values for found in _ordered(logs[..., moves], efficiency))
    return weights, shape


def _ordered(logs: xr.DataArray, efficiency: float) -> tuple[xr.DataArray, xr.DataArray]:
    weights, shape = logs.azstats.psislw(dim=("chain", "draw"), r_eff=efficiency)
    return weights.transpose(*logs.dims), shape
