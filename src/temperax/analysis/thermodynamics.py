"""Thermodynamics of a ladder: log Z, mean energy, heat capacity, free energy and entropy at any β between its ends.

Units are nats, k_B = 1.  U is the *path energy* of the ladder, so that ⟨U⟩_β = -∂ log Z/∂β: the data energy E on the
likelihood path, U0 + E on the posterior path.  log Z is that of the hottest rung's distance, log Z(β) - log Z(hottest);
on a path that begins at β = 0 with a normalised reference it is log Z itself, and at β = 1 the log evidence.  Entropy
is that of the hottest rung's distance too, and there 0: it does not depend on the zero of the energy.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Float
from scipy.special import softmax

from temperax.analysis.diagnostics.equilibrium import equilibrium, in_words
from temperax.analysis.ensemble import MIN_OVERLAP, Ensemble, Source, ensemble
from temperax.analysis.evidence import Evidence, SteppingStone, log_evidence, stepping_stone
from temperax.analysis.leave_one_out import LEAST_DRAWS, loo_by_temperature
from temperax.errors import InputError, check_array, check_named, check_result
from temperax.machine.progress import patiently

__all__ = [
    "Evidence",
    "SteppingStone",
    "compare_evidence",
    "curves",
    "doubts",
    "ensemble",
    "log_evidence",
    "report",
    "stepping_stone",
    "summary",
]

#: Part of all squared deviations beyond which one of at least some hundred draws says that there is no variance.
LARGEST_PART = 0.25


def curves(source: Source, betas: Any = None) -> xr.Dataset:
    """Thermodynamic quantities against temperature.

    Parameters
    ----------
    source
        A result of `temperax.parallel_tempering` (or of `temperax.sample` at several temperatures), an `Ensemble`, or
        a pair of β (temperature,) and energies (chain, draw, temperature).
    betas
        Where; by default the rungs of the ladder.  Between them draws are reweighted.

    Returns
    -------
    xarray.Dataset
        Dimension ``temperature`` (hottest first) with a coordinate ``beta``; ``log_z``, ``free_energy`` = -T log Z,
        ``mean_energy`` ⟨U⟩, ``heat_capacity`` = β² Var(U), ``entropy`` = log Z + β⟨U⟩ - β₁⟨U⟩ of the hottest rung β₁,
        how much of its volume is left (on the likelihood path minus the Kullback-Leibler divergence of the tempered
        posterior from the prior), each with its ``_error``, in nats.  As log Z is, the free energy is relative to the
        hottest rung: it lacks T times that rung's log Z, and where β₁ > 0 a constant c that is added to U adds
        c(1 - β₁/β) to it, and c where β₁ = 0.

    Raises
    ------
    InputError
        For a β outside the ladder, and if the source has fewer than two temperatures.

    See Also
    --------
    temperax.plots.thermodynamic_curves, temperax.transitions.peaks

    Examples
    --------
    >>> curves = tx.thermodynamics.curves(ladder, np.geomspace(0.05, 1.0, 30))
    >>> curves.sizes["temperature"]
    30
    >>> bool((np.diff(curves["entropy"]) < 0).all())  # it falls as the system cools
    True
    """
    found = ensemble(source)
    betas = found.betas if betas is None else np.sort(np.ravel(check_array("betas", betas, "give a β or several")))
    if not len(betas):
        raise InputError("betas", betas, "are none", "give a β or several, or leave them out")
    table = pd.DataFrame([found.at(float(beta)) for beta in patiently(betas, "curves")])
    with np.errstate(divide="ignore"):
        coords = {"temperature": 1.0 / betas, "beta": ("temperature", betas)}
    return xr.Dataset({name: ("temperature", table[name].to_numpy()) for name in table}, coords=coords)


def doubts(source: Source) -> list[str]:
    """What speaks against believing a ladder's log Z, a sentence each; an empty list is good.

    Rungs that are too far apart, estimates that differ, and what `diagnostics.equilibrium` finds.

    Parameters
    ----------
    source
        As in `curves`.

    See Also
    --------
    temperax.thermodynamics.log_evidence

    Examples
    --------
    >>> all(isinstance(doubt, str) for doubt in tx.thermodynamics.doubts(ladder))
    True
    """
    found = ensemble(source)
    return doubts_of(found, log_evidence(found), equilibrium(source))


def doubts_of(found: Ensemble, z: Evidence, reasons: pd.DataFrame) -> list[str]:
    """The `doubts` of a source of which log Z and equilibrium are known."""
    return _far_apart(found, z) + in_words(reasons)


def _far_apart(found: Ensemble, z: Evidence) -> list[str]:
    """What speaks of too few rungs or draws."""
    overlap = found.overlap
    said = []
    if overlap.min() < MIN_OVERLAP:
        n = int(overlap.argmin())
        said.append(
            f"rungs β = {found.betas[n]:.3g} and {found.betas[n + 1]:.3g} overlap by {overlap[n]:.3f} only "
            f"(less than {MIN_OVERLAP}): put replicas between them"
        )
    gap, error = abs(z.backward - z.forward), float(np.hypot(z.forward_error, z.backward_error))
    if gap > np.nanmax([4 * error, 1.0]):
        said.append(f"log Z forward and backward are {gap:.1f} nats apart (error {error:.1f}): more draws or replicas")
    apart, error = abs(z.integration - z.mbar), float(np.hypot(z.integration_error, z.mbar_error))
    if apart > np.nanmax([4 * error, 1.0]):
        said.append(f"thermodynamic integration is {apart:.1f} nats from MBAR (error {error:.1f}): more replicas")
    return said


def summary(source: Source) -> pd.DataFrame:
    """The quantities of `curves` at every rung, with what they are worth, as a table with index ``temperature``.

    Its column ``verdict`` is *good*, or *not equilibrated* from the first rung on at which `diagnostics.equilibrium`
    finds something: their errors are then too small, whatever they are.

    See Also
    --------
    temperax.thermodynamics.curves

    Examples
    --------
    >>> len(tx.thermodynamics.summary(ladder))
    8
    """
    return _summary(ensemble(source), equilibrium(source))


def _summary(found: Ensemble, reasons: pd.DataFrame) -> pd.DataFrame:
    table = curves(found).to_dataframe()
    first = reasons["rung"].min() if len(reasons) else len(table)
    table["verdict"] = np.where(np.arange(len(table)) < first, "good", "not equilibrated")
    return table


def report(source: Source) -> pd.DataFrame:
    """Print the table of `summary`, log Z by every method, and doubts; return the table.

    Parameters
    ----------
    source
        As in `curves`.

    See Also
    --------
    temperax.thermodynamics.summary, temperax.thermodynamics.doubts

    Examples
    --------
    >>> table = tx.thermodynamics.report(ladder)
                   log_z     free_energy     mean_energy heat_capacity        entropy
    ...
    """
    found, reasons = ensemble(source), equilibrium(source)
    table = _summary(found, reasons)
    shown = {
        name: [_with_error(*pair) for pair in zip(table[name], table[f"{name}_error"], strict=True)]
        for name in ("log_z", "free_energy", "mean_energy", "heat_capacity", "entropy")
    }
    if found.betas[0] == 0 and _heavy(found.energies[..., 0]):
        shown["mean_energy"][0] = shown["free_energy"][0] = "no finite variance"
    if len(reasons):
        shown["verdict"] = table["verdict"].to_list()
    index = pd.Index([f"{t:.4g}" for t in table.index], name="T")
    print(pd.DataFrame(shown, index=index).to_string())
    z = log_evidence(found)
    print(
        f"\nlog Z(T = {1 / found.betas[-1]:.4g}) - log Z(T = {table.index[0]:.4g})"
        f"{', not equilibrated' if len(reasons) else ''}, in nats: MBAR {_with_error(z.mbar, z.mbar_error)}, "
        f"forward {_with_error(z.forward, z.forward_error)}, backward {_with_error(z.backward, z.backward_error)}, "
        f"thermodynamic integration {_with_error(z.integration, z.integration_error)}"
    )
    for doubt in doubts_of(found, z, reasons):
        print(f"doubt: {doubt}.")
    return table


def compare_evidence(trees: Mapping[str, Source]) -> pd.DataFrame:
    """Compare models by their log evidence; Bayes factors are exp of the differences.

    Parameters
    ----------
    trees
        Results by name, each of a ladder from β = 0 to β = 1 on the same data.

    Returns
    -------
    pandas.DataFrame
        Index ``model``, best first: ``log_evidence`` and ``log_evidence_error`` in nats, ``log_bayes_factor`` against
        the best with its ``log_bayes_factor_error``, ``probability`` under equal prior odds, ``doubts`` (how many),
        ``verdict`` (as in `summary`), and ``elpd_loo`` with ``elpd_loo_error`` where every result has the
        ``log_likelihood`` group of at least 25 draws (as ``az.compare`` ranks them).

    Raises
    ------
    InputError
        If there are no results, they carry other targets than the first, or a ladder does not reach from 0 to 1.

    See Also
    --------
    temperax.thermodynamics.log_evidence

    Examples
    --------
    >>> narrow = energy.replace(prior=tx.priors.Normal(0.1))
    >>> other = tx.parallel_tempering(key, narrow, num_replicas=8, num_draws=256, progress=False)
    >>> tx.thermodynamics.compare_evidence({"N(0, 1)": ladder, "N(0, 0.01)": other}).index[0]
    'N(0, 1)'
    """
    check_named(trees)
    _check_same_targets(trees)
    rows = {}
    for name, source in trees.items():
        found = ensemble(source)
        if found.betas[0] != 0 or not np.isclose(found.betas[-1], 1.0, rtol=1e-6):
            raise InputError(
                f"trees[{name!r}]",
                found.betas[[0, -1]],
                "are the ends of its ladder",
                "sample from β = 0 to β = 1 (path='likelihood' or 'reference')",
            )
        z = log_evidence(found)
        rows[name] = {
            "log_evidence": z.mbar,
            "log_evidence_error": z.mbar_error,
            "doubts": len(doubts_of(found, z, reasons := equilibrium(source))),
            "verdict": "not equilibrated" if len(reasons) else "good",
        }
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("model")
    table = table.sort_values("log_evidence", ascending=False)
    table["log_bayes_factor"] = table["log_evidence"] - table["log_evidence"].iloc[0]
    error = np.hypot(table["log_evidence_error"], table["log_evidence_error"].iloc[0])
    table["log_bayes_factor_error"] = np.where(np.arange(len(table)) == 0, 0.0, error)
    table["probability"] = softmax(table["log_evidence"])
    if all(map(_can_leave_out, trees.values())):
        loo = {name: next(iter(loo_by_temperature(tree, posterior=True).values())) for name, tree in trees.items()}
        table["elpd_loo"] = pd.Series({name: found.elpd for name, found in loo.items()})
        table["elpd_loo_error"] = pd.Series({name: found.se for name, found in loo.items()})
    return table


def _check_same_targets(trees: Mapping[str, Source]) -> None:
    """Say so where results carry targets that are not those of the first; inputs may be others."""
    targets = {
        name: np.concatenate([v.values.ravel() for v in check_result(tree, "observed_data").data_vars.values()])
        for name, tree in trees.items()
        if isinstance(tree, xr.DataTree) and "observed_data" in tree.children
    }
    for name, found in targets.items():
        first = next(iter(targets.values()))
        if found.shape != first.shape or not np.allclose(found, first, equal_nan=True):
            problem = "is of other targets than the first, or in other units of theirs"
            raise InputError(f"trees[{name!r}]", found, problem, "compare results on one data set")


def _can_leave_out(source: Source) -> bool:
    """Whether a result has the log likelihoods of draws enough for leave-one-out."""
    if not isinstance(source, xr.DataTree) or "log_likelihood" not in source.children:
        return False
    sizes = check_result(source, "log_likelihood").sizes
    return sizes["chain"] * sizes["draw"] >= LEAST_DRAWS


def _heavy(energies: Float[np.ndarray, "chain draw"]) -> bool:
    """Whether one draw makes up a part of the variance that no finite variance would leave it."""
    deviations = (energies - energies.mean()) ** 2
    return bool(deviations.max() > LARGEST_PART * deviations.sum()) if deviations.sum() > 0 else False


def _with_error(value: float, error: float) -> str:
    return f"{value:.2f} ± {error:.2f}"
