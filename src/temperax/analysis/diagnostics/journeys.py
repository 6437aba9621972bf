"""What replica exchange did: pairs of neighbours, walls between them, and the journeys of replicas."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import xarray as xr

from temperax.analysis import evidence, statistics
from temperax.analysis.diagnostics.draws import scans_of_a_draw, tempered_stats, thin
from temperax.engine import ladder
from temperax.errors import LARGEST, InputError, check_count, check_result

#: A pair that rejects at least this often is a wall.
WALL = 0.9
#: Held-out rows that tell whether a prediction is remembered, evenly spaced: all of them say the same.
ROWS = 32


def exchange(tree: xr.DataTree) -> pd.DataFrame:
    """What every pair of neighbours on a ladder did, and whether it is a wall.

    Returns
    -------
    pandas.DataFrame
        One row a pair: ``beta_hot`` and ``beta_cold``, ``rejection``, ``local_barrier`` λ(β) at the middle of the pair,
        ``lag_one`` (largest lag-one correlation of the path energy over a scan at the pair's two rungs, the assumption
        behind the theory), ``drift`` (largest change of the mean energy between the halves of the run, in standard
        errors), ``bimodality`` (largest coefficient of Sarle, 5/9 for a uniform law, more for two humps) and ``wall``:
        empty, ``transition`` or ``drifting``.

    See Also
    --------
    temperax.diagnostics.round_trips, temperax.plots.swap_rates

    Examples
    --------
    >>> len(tx.diagnostics.exchange(ladder))  # pairs of eight rungs
    7
    """
    barrier, stats = _barrier(tree), tempered_stats(tree)
    v = stats[["path_energy"]].transpose("chain", "draw", "temperature")
    values = np.minimum(v["path_energy"].values.astype(float), LARGEST)  # the prior's draws may have infinite ones
    half = values.shape[1] // 2
    # Where there are no data, nothing is there to be forgotten.
    lag = np.where(values.std(axis=(0, 1)) > 0, ladder.lag_one(values), 0.0)
    lag = np.sign(lag) * np.abs(lag) ** (1 / scans_of_a_draw(tree))  # over a scan, as if all of it fell off at one rate
    first, second = v.isel(draw=slice(0, half)), v.isel(draw=slice(half, None))
    change = second["path_energy"].mean(("chain", "draw")) - first["path_energy"].mean(("chain", "draw"))
    error = np.hypot(*(statistics.mcse(part)["path_energy"].values for part in (first, second)))
    drift = np.abs(change.values) / np.where(error > 0, error, np.inf)
    humps = np.array([bimodality(values[..., n]) for n in range(values.shape[-1])])
    rhat = statistics.rhat(v)["path_energy"].values
    unsettled = (drift > 4) | (rhat > 1.1)

    def pair(values: np.ndarray) -> np.ndarray:
        return np.maximum(values[1:], values[:-1])

    wall = np.where(barrier.rejection < WALL, "", np.where(pair(unsettled), "drifting", "transition"))
    return pd.DataFrame(
        {
            "beta_hot": barrier.betas[:-1],
            "beta_cold": barrier.betas[1:],
            "rejection": barrier.rejection,
            "local_barrier": barrier.local((barrier.betas[1:] + barrier.betas[:-1]) / 2),
            "lag_one": pair(lag),
            "drift": pair(drift),
            "bimodality": pair(humps),
            "wall": wall,
        }
    )


def is_ladder(tree: xr.DataTree) -> bool:
    """Whether a result has exchange and all of its rungs, of which ``isel`` or ``sel`` may have left some."""
    if "exchange" not in tree.children:
        return False
    group = check_result(tree, "exchange")
    return _has_all_rungs(group) and group.sizes["draw"] > 1


def whole_exchange(tree: xr.DataTree, *variables: str) -> xr.Dataset:
    """The exchange of all rungs; of a part of them nothing is known of pairs, and replicas have other numbers."""
    remedy = "give a result of temperax.parallel_tempering"
    group = check_result(tree, "exchange", *variables, problem="has no exchange", remedy=remedy)
    if not _has_all_rungs(group):
        sizes = {name: group.sizes.get(name, 0) for name in ("temperature", "pair")}
        raise InputError("tree", sizes, "has not all rungs of its ladder", "give it before temperatures are left out")
    return group


def _has_all_rungs(group: xr.Dataset) -> bool:
    return group.sizes.get("pair") == group.sizes["temperature"] - 1


def round_trips(tree: xr.DataTree) -> dict[str, float]:
    """How replicas travelled, against theory.

    Returns
    -------
    dict
        ``barrier`` Λ; ``round_trips`` and ``restarts`` of all ladders together; ``observed`` round trips a scan and
        ladder after the first quarter of the run, by when replicas have met an end; ``predicted`` by the rejections,
        1/(2 + 2Σr/(1-r)); their ratio ``efficiency``; ``restart_efficiency``, the same of restarts, of which every trip
        has one and which a short run sees sooner; ``log_z_forward`` and ``log_z_backward`` in nats with their
        ``_error``, NaN where a replica has no finite energy.

    See Also
    --------
    temperax.diagnostics.exchange, temperax.plots.index_process

    Examples
    --------
    >>> trips = tx.diagnostics.round_trips(ladder)
    >>> trips["round_trips"] > 0 and trips["barrier"] < 5
    False
    """
    barrier = _barrier(tree)
    group = check_result(tree, "exchange")
    counts = {name: group[name].transpose("chain", "draw").values for name in ("round_trips", "restarts")}
    scan = thin(tree) * group["draw"].values  # of which some may have been left out
    predicted = barrier.round_trip_rate()

    def rate(count: np.ndarray) -> float:
        """A scan and ladder, after the first quarter."""
        quarter = max(count.shape[1] // 4 - 1, 0)
        scans = scan[-1] - scan[quarter]
        return float((count[:, -1] - count[:, quarter]).mean() / scans) if scans else np.nan

    # Where a replica has no finite energy (see `faults`), the ladder has no log Z.
    stats = tempered_stats(tree)
    sound = bool((np.isfinite(stats["path_energy"]) | (stats["beta"] == 0)).all())
    z = evidence.stepping_stone(tree) if sound else evidence.SteppingStone(*[np.nan] * 4)
    return {
        "barrier": barrier.total,
        **{name: float(count[:, -1].sum()) for name, count in counts.items()},
        "observed": rate(counts["round_trips"]),
        "predicted": predicted,
        "efficiency": rate(counts["round_trips"]) / predicted,
        "restart_efficiency": rate(counts["restarts"]) / predicted,
        "log_z_forward": z.forward,
        "log_z_forward_error": z.forward_error,
        "log_z_backward": z.backward,
        "log_z_backward_error": z.backward_error,
    }


def flow(tree: xr.DataTree) -> pd.Series:
    """Of the replicas at every rung, the share that came last from the hot end, of those that have seen an end.

    It falls from 1 at the hot end to 0 at the cold one; where replicas travel best it does so in equal steps from rung
    to rung, and a sudden fall is where they turn back (Katzgraber, Trebst, Huse & Troyer 2006).

    Returns
    -------
    pandas.Series
        Index ``temperature``; NaN at rungs that no such replica has visited.

    See Also
    --------
    temperax.plots.flow, temperax.diagnostics.round_trips

    Examples
    --------
    >>> tx.diagnostics.flow(ladder).iloc[[0, -1]].tolist()
    [1.0, 0.0]
    """
    slots, rungs = _slots(tree)
    coldest = slots.shape[-1] - 1
    last = np.where(slots == 0, 1.0, np.where(slots == coldest, 0.0, np.nan))
    came = (
        pd.DataFrame(np.swapaxes(last, 0, 1).reshape(last.shape[1], -1)).ffill().to_numpy()
    )  # (draw, chain × replica)
    where = np.swapaxes(slots, 0, 1).reshape(came.shape)
    told = ~np.isnan(came)
    visits, hot = (np.bincount(where[told], weights, minlength=coldest + 1) for weights in (None, came[told]))
    with np.errstate(invalid="ignore"):
        share = hot / visits
    return pd.Series(share, index=rungs, name="flow")


def memory(tree: xr.DataTree, lags: Sequence[int] = (1, 4, 16, 64)) -> pd.DataFrame:
    """How well replicas remember, some draws later and wherever they are by then, what they were at a rung.

    Path energies and predictions f of held-out rows are standardised at each rung; this is their correlation with
    themselves along the replica's journey, 0 where all is forgotten.  Rungs where the energy, which decides of swaps,
    is forgotten and f is not are those where modes freeze: travel is not what is slow there, so that more rungs do not
    help, and `flow` falls there.

    Parameters
    ----------
    lags
        Numbers of draws; those that the run does not have are left out.

    Returns
    -------
    pandas.DataFrame
        Index ``temperature``, where the journey began; columns ``energy`` and, of a run that kept all temperatures of a
        model with held-out rows, ``f``, each by lag.

    Raises
    ------
    InputError
        If a lag is no positive whole number.

    See Also
    --------
    temperax.diagnostics.flow, temperax.diagnostics.round_trips

    Examples
    --------
    >>> tx.diagnostics.memory(ladder, lags=[1, 16]).columns.tolist()
    [('energy', 1), ('energy', 16), ('f', 1), ('f', 16)]
    """
    lags = [check_count("lags", lag) for lag in lags]
    slots, rungs = _slots(tree)
    told = {"energy": check_result(tree, "tempered_stats", "path_energy")["path_energy"]}
    if "tempered_predictions" in tree.children:
        f = check_result(tree, "tempered_predictions", "f")["f"]
        rows = np.linspace(0, f.sizes["test_row"] - 1, ROWS).astype(int)
        told |= {"f": f.isel(test_row=rows)} if f.sizes["temperature"] == slots.shape[-1] else {}
    found = {}
    for name, values in told.items():
        z = values.transpose("chain", "draw", "temperature", ...).values
        with np.errstate(invalid="ignore", divide="ignore"):  # of what is infinite or stands still there is no number
            z = (z - z.mean(axis=(0, 1))) / z.std(axis=(0, 1))
        journey = np.take_along_axis(z.reshape(*slots.shape, -1), slots[..., None], axis=2)
        for lag in (lag for lag in lags if lag < slots.shape[1]):
            product = journey[:, :-lag] * journey[:, lag:]
            began, known = np.broadcast_to(slots[:, :-lag, :, None], product.shape), np.isfinite(product)
            sums, counts = (np.bincount(began[known], weights, len(rungs)) for weights in (product[known], None))
            with np.errstate(invalid="ignore"):
                found[name, lag] = sums / counts
    return pd.DataFrame(found, index=rungs).rename_axis(columns=["of", "draws"])


def _slots(tree: xr.DataTree) -> tuple[np.ndarray, pd.Index]:
    """Where each replica sits (chain, draw, replica), and the temperatures of these places."""
    replica = whole_exchange(tree, "replica")["replica"].transpose("chain", "draw", "temperature")
    return np.argsort(replica.values, axis=-1), pd.Index(replica["temperature"].values, name="temperature")


def _barrier(tree: xr.DataTree) -> ladder.Barrier:
    group = whole_exchange(tree, "swap_acceptance", "round_trips", "restarts", "beta")
    acceptance = group["swap_acceptance"].mean(("chain", "draw")).values
    return ladder.barrier(group["beta"].values, np.clip(1.0 - acceptance, 0.0, 1.0))


def bimodality(values: np.ndarray) -> float:
    """Sarle's coefficient (skewness² + 1) / kurtosis."""
    if values.std() == 0:
        return 0.0
    z = (values - values.mean()) / values.std()
    return float(((z**3).mean() ** 2 + 1) / (z**4).mean())
