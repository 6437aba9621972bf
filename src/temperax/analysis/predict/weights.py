"""Weights of chains, where they stand in separate modes: by evidence, or by how well they predict."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Float
from scipy.special import softmax

from temperax.analysis import statistics
from temperax.analysis.ensemble import ensemble
from temperax.analysis.evidence import log_evidence
from temperax.analysis.leave_one_out import flat, kept_logs, loo_of
from temperax.errors import InputError, check_array, check_choice, check_result
from temperax.results.reading import posterior_temperature

#: How chains may be weighted, and by what: ArviZ's names where it has them.
METHODS: Mapping[str, str] = {
    "draws": "every draw alike",
    "evidence": "the evidence that each ladder found",
    "stacking": "the leave-one-out score of the mixture",
    "pseudo-BMA": "the leave-one-out score of each",
    "BB-pseudo-BMA": "the same, by Bayesian bootstrap",
}


def chain_weights(tree: xr.DataTree, method: str = "stacking", temperature: float | None = None) -> pd.Series:
    """Weights of the chains of a result, which add to 1.

    Chains that mixed are one sample, and their draws count alike; chains that stayed in separate modes have no weights
    by their number.  Yao, Vehtari & Gelman 2022, *Stacking for non-mixing Bayesian computations*.  Of chains that agree
    stacking keeps whichever chance prefers, and throws the other draws away: look at the report first.

    Parameters
    ----------
    tree
        A result.
    method
        ``"draws"``: alike.  ``"evidence"``: exp of each independent ladder's log Z, which takes their mode's mass to
        be what each ladder found.  ``"stacking"``, ``"pseudo-BMA"``, ``"BB-pseudo-BMA"``: `az.compare` of the chains by
        leave-one-out scores.
    temperature
        Of the chains at this one of the kept temperatures; by default the posterior's.

    Returns
    -------
    pandas.Series
        By chain.

    Raises
    ------
    InputError
        For another method or temperature, a result without a ladder or without log likelihoods, and fewer than 25
        draws a chain.

    See Also
    --------
    temperax.predict.summary

    Examples
    --------
    >>> tx.predict.chain_weights(tree, "draws").tolist()
    [0.25, 0.25, 0.25, 0.25]
    """
    check_choice("weights", method, METHODS)
    chains = check_result(tree, "posterior")["chain"].values.tolist()
    if len(chains) == 1 or method == "draws":
        weights = np.full(len(chains), 1 / len(chains))
    elif method == "evidence":
        found = ensemble(tree)
        slot = _slot(tree, temperature, [1.0 / beta if beta else np.inf for beta in found.betas]) + 1
        below = found.betas[:slot], found.energies[..., :slot]
        log_z = [log_evidence((below[0], below[1][n : n + 1])).mbar if slot > 1 else 0.0 for n in range(len(chains))]
        weights = softmax(log_z)
    else:
        logs = kept_logs(tree, posterior=temperature is None)
        temperatures = logs["temperature"].values.tolist()
        slot = _slot(tree, temperature, temperatures)
        values = flat(logs.isel(temperature=slot))
        each = {str(n): loo_of(values[n : n + 1], 1.0 / temperatures[slot]) for n in range(len(chains))}
        table = statistics.compare(each, method=method, round_to="none")  # by default to hundredths, which add to 1.01
        weights = table["weight"][list(each)].to_numpy(float)
    return pd.Series(weights, pd.Index(chains, name="chain"), name=method)


def _slot(tree: xr.DataTree, temperature: float | None, kept: list[float]) -> int:
    """Which of the kept temperatures is meant."""
    target = posterior_temperature(tree) if temperature is None else temperature
    found = np.flatnonzero(np.isclose(kept, target))
    if not len(found):
        listed = ", ".join(f"{t:.4g}" for t in kept)
        raise InputError("temperature", temperature, "was not kept", f"give one of {listed}")
    return int(found[0])


def as_weights(
    tree: xr.DataTree, weights: Any, chains: int, temperature: float | None = None
) -> Float[np.ndarray, " chain"]:
    """Weights by a method's name or as they are given, adding to 1.

    Raises
    ------
    InputError
        If they are not one number ≥ 0 a chain, or all 0.
    """
    if isinstance(weights, str):
        return chain_weights(tree, weights, temperature).to_numpy()
    if isinstance(weights, pd.Series):
        labels = check_result(tree, "posterior")["chain"].values.tolist()
        if set(weights.index) != set(labels):
            raise InputError("weights", list(weights.index), "are not the chains", f"label them {labels}")
        weights = weights.reindex(labels).to_numpy()
    found = np.ravel(check_array("weights", weights, "give one number a chain, or a method's name"))
    if found.shape != (chains,) or not np.isfinite(found).all() or (found < 0).any() or not found.sum():
        raise InputError("weights", weights, f"are not {chains} numbers ≥ 0", "give one a chain, or a method's name")
    return found / found.sum()
