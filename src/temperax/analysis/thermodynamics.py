"""Thermodynamics of a ladder: log Z, mean energy, heat capacity, free energy and entropy at any β between its ends.

Units are nats, k_B = 1.  U is the *path energy* of the ladder, so that ⟨U⟩_β = -∂ log Z/∂β: the data energy E on the
likelihood path, U0 + E on the posterior path.  log Z is that of the hottest rung's distance, log Z(β) - log Z(hottest);
on a path that begins at β = 0 with a normalised reference it is log Z itself, and at β = 1 the log evidence.
"""

import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Float
from scipy.special import softmax

from temperax.analysis import statistics
from temperax.analysis.ensemble import Ensemble, Source, ensemble
from temperax.errors import InputError, check_array
from temperax.machine.progress import patiently

#: Neighbours that overlap less than this are too far apart to be believed.
MIN_OVERLAP = 0.03
#: Part of all squared deviations beyond which one of at least some hundred draws says that there is no variance.
LARGEST_PART = 0.25


class SteppingStone(NamedTuple):
    """Log Z(coldest) - log Z(hottest), from both sides, in nats.

    ``forward`` averages over the hotter draws of each pair and is too low in expectation, ``backward`` over the colder
    ones and is too high: they bracket log Z, and their distance says how far to trust them.

    See Also
    --------
    temperax.thermodynamics.stepping_stone

    Examples
    --------
    >>> tx.thermodynamics.SteppingStone._fields
    ('forward', 'forward_error', 'backward', 'backward_error')
    """

    forward: float
    forward_error: float
    backward: float
    backward_error: float


class Evidence(NamedTuple):
    """Log Z(coldest) - log Z(hottest) by four methods, in nats; ``mbar`` is the one to report.

    See Also
    --------
    temperax.thermodynamics.log_evidence

    Examples
    --------
    >>> tx.thermodynamics.Evidence._fields[:6]
    ('forward', 'forward_error', 'backward', 'backward_error', 'mbar', 'mbar_error')
    """

    forward: float
    forward_error: float
    backward: float
    backward_error: float
    mbar: float
    mbar_error: float
    integration: float
    integration_error: float


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
        ``mean_energy`` ⟨U⟩, ``heat_capacity`` = β² Var(U), ``entropy`` = log Z + β⟨U⟩ (on the likelihood path minus the
        Kullback-Leibler divergence of the tempered posterior from the prior), each with its ``_error``, in nats.

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
    table = pd.DataFrame([found.at(float(beta)) for beta in patiently(betas, "curves")])
    with np.errstate(divide="ignore"):
        coords = {"temperature": 1.0 / betas, "beta": ("temperature", betas)}
    return xr.Dataset({name: ("temperature", table[name].to_numpy()) for name in table}, coords=coords)


def stepping_stone(source: Source) -> SteppingStone:
    """Log Z from both sides of every pair of neighbours.

    Forward Σ log⟨exp(-Δβ U)⟩ over the hotter draws of each pair, backward -Σ log⟨exp(+Δβ U)⟩ over the colder ones
    (Xie, Lewis, Fan, Kuo & Chen 2011); errors by the delta method with the ESS of each summand.

    Parameters
    ----------
    source
        As in `curves`.

    See Also
    --------
    temperax.thermodynamics.log_evidence

    Examples
    --------
    >>> bounds = tx.thermodynamics.stepping_stone(ladder)
    >>> abs(bounds.backward - bounds.forward) < 2
    True
    """
    found = ensemble(source)
    steps = np.diff(found.betas)
    forward = [_log_mean(-step * found.energies[..., n]) for n, step in enumerate(steps)]
    backward = [_log_mean(step * found.energies[..., n + 1]) for n, step in enumerate(steps)]
    (up, up_error), (down, down_error) = (
        (sum(value for value, _ in part), float(np.sqrt(sum(error**2 for _, error in part))))
        for part in (forward, backward)
    )
    return SteppingStone(up, up_error, -down, down_error)


def log_evidence(source: Source) -> Evidence:
    """Log Z between the ends of a ladder by four methods: on a path from β = 0 to 1, the log evidence.

    Stepping stones from both sides, MBAR, and thermodynamic integration of the rungs' mean energies by the trapezoid
    rule with its variance correction (Friel, Hurn & Wyse 2014), whose error includes what the correction was.  It
    begins with a stepping stone at β = 0, where a mean energy need not exist.

    Parameters
    ----------
    source
        As in `curves`.

    See Also
    --------
    temperax.thermodynamics.doubts, temperax.thermodynamics.compare_evidence, temperax.smc

    Examples
    --------
    >>> found = tx.thermodynamics.log_evidence(ladder)
    >>> abs(found.mbar - found.forward) < 1  # nats
    True
    """
    found = ensemble(source)
    end = found.at(float(found.betas[-1]))
    return Evidence(*stepping_stone(found), end["log_z"], end["log_z_error"], *_integrate(found))


def _integrate(found: Ensemble) -> tuple[float, float]:
    """-∫⟨U⟩dβ, with its sampling error and the size of the rule's correction in quadrature."""
    first = int(found.betas[0] == 0)
    betas, energies = found.betas[first:], found.energies[..., first:]
    begin, begin_error = _log_mean(-betas[0] * found.energies[..., 0]) if first else (0.0, 0.0)
    steps = np.diff(betas)
    mean, variance = energies.mean(axis=(0, 1)), energies.var(axis=(0, 1))
    correction = float(np.sum(steps**2 / 12 * np.diff(variance)))
    widths = np.concatenate([steps, [0.0]]) / 2 + np.concatenate([[0.0], steps]) / 2
    series = (energies - mean) @ widths
    error = found.error(series.reshape(-1))
    return begin - float(widths @ mean) - correction, float(np.sqrt(error**2 + begin_error**2 + correction**2))


def doubts(source: Source) -> list[str]:
    """What speaks against believing a ladder's log Z, a sentence each; an empty list is good.

    See Also
    --------
    temperax.thermodynamics.log_evidence

    Examples
    --------
    >>> all(isinstance(doubt, str) for doubt in tx.thermodynamics.doubts(ladder))
    True
    """
    found = ensemble(source)
    return _doubts(found, log_evidence(found))


def _doubts(found: Ensemble, z: Evidence) -> list[str]:
    """`doubts` of a ladder whose log Z is known already."""
    overlap = found.overlap
    said = []
    if overlap.min() < MIN_OVERLAP:
        n = int(overlap.argmin())
        said.append(
            f"rungs β = {found.betas[n]:.3g} and {found.betas[n + 1]:.3g} overlap by {overlap[n]:.3f} only "
            f"(less than {MIN_OVERLAP}): put replicas between them"
        )
    gap, error = abs(z.backward - z.forward), float(np.hypot(z.forward_error, z.backward_error))
    if gap > max(4 * error, 1.0):
        said.append(f"log Z forward and backward are {gap:.1f} nats apart (error {error:.1f}): more draws or replicas")
    apart, error = abs(z.integration - z.mbar), float(np.hypot(z.integration_error, z.mbar_error))
    if apart > max(4 * error, 1.0):
        said.append(f"thermodynamic integration is {apart:.1f} nats from MBAR (error {error:.1f}): more replicas")
    rhat = found.rhat()
    if (rhat > 1.05).any():
        worst = int(np.nanargmax(rhat))
        said.append(
            f"ladders disagree on the mean energy at β = {found.betas[worst]:.3g} (R-hat {rhat[worst]:.2f}): the run "
            "is not in equilibrium, and errors are too small"
        )
    return said


def summary(source: Source) -> pd.DataFrame:
    """The quantities of `curves` at every rung, as a table with index ``temperature``.

    See Also
    --------
    temperax.thermodynamics.curves

    Examples
    --------
    >>> len(tx.thermodynamics.summary(ladder))
    8
    """
    return curves(source).to_dataframe()


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
    found = ensemble(source)
    table = summary(found)
    shown = {
        name: [_with_error(*pair) for pair in zip(table[name], table[f"{name}_error"], strict=True)]
        for name in ("log_z", "free_energy", "mean_energy", "heat_capacity", "entropy")
    }
    if found.betas[0] == 0 and _heavy(found.energies[..., 0]):
        shown["mean_energy"][0] = shown["free_energy"][0] = "no finite variance"
    index = pd.Index([f"{t:.4g}" for t in table.index], name="T")
    print(pd.DataFrame(shown, index=index).to_string())
    z = log_evidence(found)
    print(
        f"\nlog Z between the ends, in nats: MBAR {_with_error(z.mbar, z.mbar_error)}, "
        f"forward {_with_error(z.forward, z.forward_error)}, backward {_with_error(z.backward, z.backward_error)}, "
        f"thermodynamic integration {_with_error(z.integration, z.integration_error)}"
    )
    for doubt in _doubts(found, z):
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
        and ``elpd_loo`` with ``elpd_loo_error`` where every result has the ``log_likelihood`` group (as ``az.compare``
        ranks them).

    Raises
    ------
    InputError
        If there are no results, or a ladder does not reach from 0 to 1.

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
    if not isinstance(trees, Mapping) or not trees:
        raise InputError("trees", trees, "is empty or no mapping", "give results by name")
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
            "doubts": len(_doubts(found, z)),
        }
    table = pd.DataFrame(rows).T.rename_axis("model").sort_values("log_evidence", ascending=False)
    table["log_bayes_factor"] = table["log_evidence"] - table["log_evidence"].iloc[0]
    error = np.hypot(table["log_evidence_error"], table["log_evidence_error"].iloc[0])
    table["log_bayes_factor_error"] = np.where(np.arange(len(table)) == 0, 0.0, error)
    table["probability"] = softmax(table["log_evidence"])
    if all(isinstance(tree, xr.DataTree) and "log_likelihood" in tree.children for tree in trees.values()):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of large Pareto shapes, which `diagnostics.loo` returns
            loo = {name: statistics.loo(tree) for name, tree in trees.items()}
        table["elpd_loo"] = pd.Series({name: found.elpd for name, found in loo.items()})
        table["elpd_loo_error"] = pd.Series({name: found.se for name, found in loo.items()})
    return table


def _heavy(energies: Float[np.ndarray, "chain draw"]) -> bool:
    """Whether one draw makes up a part of the variance that no finite variance would leave it."""
    deviations = (energies - energies.mean()) ** 2
    return bool(deviations.max() > LARGEST_PART * deviations.sum()) if deviations.sum() > 0 else False


def _with_error(value: float, error: float) -> str:
    return f"{value:.2f} ± {error:.2f}"


def _log_mean(exponents: Float[np.ndarray, "chain draw"]) -> tuple[float, float]:
    """Log⟨exp⟩ and its standard error."""
    largest = exponents.max()
    weights = np.exp(exponents - largest)
    value = float(largest + np.log(weights.mean()))
    if weights.std() == 0:
        return value, 0.0
    # The ESS of the summand itself; it cannot be told from fewer than four draws.
    error = statistics.base.array_stats.mcse(weights, chain_axis=0, draw_axis=1) if weights.shape[1] >= 4 else np.nan
    return value, float(error / weights.mean())
