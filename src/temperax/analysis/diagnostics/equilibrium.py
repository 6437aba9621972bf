"""Whether a ladder is in equilibrium, rung by rung: what its log Z is worth."""

import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Float
from scipy.stats import chi2

from temperax.analysis import statistics
from temperax.analysis.diagnostics.temperatures import largest_rhat
from temperax.analysis.ensemble import Ensemble, Source, ensemble, log_mean_exp
from temperax.analysis.evidence import stepping_stone
from temperax.errors import check_result

#: R-hats beyond this are no equilibrium.
MOST_RHAT = 1.05
#: Ladders' own log Z differ by chance with this probability, and by less than so many nats without harm.
CHANCE, HARMLESS = 1e-3, 0.2


def equilibrium(source: Source) -> pd.DataFrame:
    """What speaks against equilibrium, from which rung on.

    A bracket that has closed says that neighbours overlap, and not that replicas have found the modes: that is asked of
    independent ladders, which must agree on log Z and on the mean energies, of the predictions at the rungs whose draws
    were kept (of the parameters where these can be judged), and of replicas that must have come from the hottest rung
    to the coldest.  What is hotter than the first rung of a row is not in question.

    Parameters
    ----------
    source
        A result of several temperatures; of an `Ensemble` or a pair (betas, energies) the energies alone are judged.

    Returns
    -------
    pandas.DataFrame
        One row a reason, ``rung`` and ``beta`` from which on it counts and ``reason``, a sentence; empty where nothing
        speaks against it.

    Raises
    ------
    InputError
        If the source has fewer than two temperatures.

    See Also
    --------
    temperax.thermodynamics.doubts, temperax.diagnostics.round_trips

    Examples
    --------
    >>> tx.diagnostics.equilibrium(ladder).columns.tolist()
    ['rung', 'beta', 'reason']
    """
    found = ensemble(source)
    rows = [*_wrong_way_round(found), *_ladders_disagree(found), *_energies_disagree(found)]
    if isinstance(source, xr.DataTree):
        rows += [*_draws_disagree(source, found), *_no_restarts(source)]
    table = pd.DataFrame(sorted(rows, key=lambda row: row[0]), columns=["rung", "reason"])
    table.insert(1, "beta", found.betas[table["rung"].to_numpy(int)])
    return table


def in_words(reasons: pd.DataFrame) -> list[str]:
    """What `equilibrium` found, in words."""
    return [f"not equilibrated from β = {row.beta:.3g} on: {row.reason}" for row in reasons.itertuples()]


def _wrong_way_round(found: Ensemble) -> list[tuple[int, str]]:
    """A log Z whose lower estimate is above the upper one."""
    z = stepping_stone(found)
    if not z.forward - z.backward > 3 * (z.forward_error + z.backward_error):
        return []
    return [(1, "log Z from below is above that from above")]


def _ladders_disagree(found: Ensemble) -> list[tuple[int, str]]:
    """Independent ladders whose own log Z are further apart than their errors let them be."""
    if found.chains < 2 or found.draws < 4:
        return []
    each = [_own_log_z(found, n) for n in range(found.chains)]
    values, errors = (np.array(part) for part in zip(*each, strict=True))  # chain, rung
    spread = values.max(axis=0) - values.min(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = (values / errors**2).sum(axis=0) / (1 / errors**2).sum(axis=0)
        distance = (((values - mean) / errors) ** 2).sum(axis=0)
    apart = (spread > HARMLESS) & (distance > chi2.isf(CHANCE, found.chains - 1))
    if not apart.any():
        return []
    first = int(np.argmax(apart)) + 1
    said = f"ladders disagree on log Z by {spread[apart].max():.1f} nats, beyond their errors"
    return [(first, said)]


def _own_log_z(found: Ensemble, chain: int) -> tuple[Float[np.ndarray, " pair"], Float[np.ndarray, " pair"]]:
    """One ladder's log Z at every rung but the hottest, midway between the two stepping stones, and its error.

    The error is of all rungs together, since a replica that is in the wrong mode is so on one rung after another.
    """
    energies, steps = found.energies[chain : chain + 1], np.diff(found.betas)
    up, down = -steps * energies[..., :-1], steps * energies[..., 1:]
    log_up, log_down = log_mean_exp(up), log_mean_exp(down)
    influence = np.cumsum((np.exp(up - log_up) - np.exp(down - log_down)) / 2, axis=-1)
    series = xr.Dataset({"log_z": (("chain", "draw", "rung"), influence)})
    return np.cumsum(log_up - log_down) / 2, statistics.mcse(series)["log_z"].values


def _energies_disagree(found: Ensemble) -> list[tuple[int, str]]:
    """Ladders whose mean energies differ at a rung."""
    rhat = found.rhat()
    beyond = np.flatnonzero(rhat > MOST_RHAT)
    if not len(beyond):
        return []
    worst = int(np.nanargmax(rhat))
    said = f"ladders disagree on the mean energy (R-hat {rhat[worst]:.2f} at β = {found.betas[worst]:.3g})"
    return [(int(beyond[0]), said)]


def _draws_disagree(tree: xr.DataTree, found: Ensemble) -> list[tuple[int, str]]:
    """Kept rungs at which ladders differ in their predictions, or in what else can be judged."""
    if found.draws < 4:
        return []
    what, rhat = largest_rhat(tree)
    rhat = rhat[rhat > MOST_RHAT]
    if rhat.empty:
        return []
    rung = int(np.abs(found.betas - 1.0 / rhat.index.max()).argmin())
    return [(rung, f"ladders disagree on {what} (R-hat {rhat.max():.2f} at T = {rhat.idxmax():.3g})")]


def _no_restarts(tree: xr.DataTree) -> list[tuple[int, str]]:
    """Ladders in which no replica has come from the hottest rung to the coldest."""
    if "exchange" not in tree.children:
        return []
    restarts = check_result(tree, "exchange", "restarts")["restarts"].isel(draw=-1).values
    without = int((restarts == 0).sum())
    if not without:
        return []
    return [(1, f"in {without} of {len(restarts)} ladders no replica has come from the hottest rung to the coldest")]
