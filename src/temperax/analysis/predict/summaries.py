"""Predictions as a table: means, standard deviations and intervals of every row, in the user's own units."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from temperax.analysis.predict.predicting import Block, Predictor, rows_of
from temperax.analysis.predict.weights import as_weights
from temperax.energies.dataset import Dataset
from temperax.energies.energy import Energy
from temperax.errors import InputError

#: Noisy targets that quantiles are taken of, where there are fewer draws.
LEAST_TARGETS = 4000


def summary(
    tree: xr.DataTree,
    x: Any,
    energy: Energy | None = None,
    *,
    intervals: Sequence[float] = (0.9,),
    quantiles: Sequence[float] = (),
    weights: Any = "draws",
    group: str = "posterior",
    key: Any = None,
    trust: Sequence[str] = (),
    progress: bool = False,
) -> pd.DataFrame:
    """What a result predicts at new inputs, with noise, a row each, in original units.

    Parameters
    ----------
    tree, x, energy, group, key, trust, progress
        As in `predictions`.
    intervals
        Probabilities of equal-tailed intervals of new targets.
    quantiles
        Further quantiles of new targets.
    weights
        Of the chains, where they stand in separate modes: a method of `chain_weights`, or a number a chain (a series is
        read by its labels); a method looks at each temperature by itself.

    Returns
    -------
    pandas.DataFrame
        By the index of ``x`` (and by temperature before it, with ``group="tempered_posterior"``).  Of regressions and
        counts ``mean``, ``sd`` and its two parts by the law of total variance, ``sd_epistemic`` (of the expected
        target, over draws) and ``sd_aleatoric`` (of the noise); ``eti90_lb`` and ``eti90_ub`` of each interval,
        ``q0.5`` of each quantile; of several targets, these under each target's name.  Of classifications ``class``
        (the most probable), ``p(…)`` of every class, ``entropy`` and its two parts, ``entropy_aleatoric`` (of the
        draws' own) and ``mutual_information`` (of class and parameters), in nats.

    Raises
    ------
    InputError
        As `predictions`, and for probabilities outside (0, 1) or weights that are none.

    See Also
    --------
    temperax.predict.predictions, temperax.predict.chain_weights

    Examples
    --------
    >>> table = tx.predict.summary(tree, [[0.5], [1.0]], intervals=(0.5, 0.9))
    >>> list(table.columns)
    ['mean', 'sd', 'sd_epistemic', 'sd_aleatoric', 'eti50_lb', 'eti50_ub', 'eti90_lb', 'eti90_ub']
    >>> bool(np.allclose(table["sd"] ** 2, table["sd_epistemic"] ** 2 + table["sd_aleatoric"] ** 2))
    True
    """
    wanted = _wanted(intervals, quantiles)
    source = Predictor(tree, energy, group, key, trust)
    data = source.data
    temperatures = source.temperatures.tolist() if source.several else [None]
    chain = np.stack([as_weights(tree, weights, source.positions.shape[0], t) for t in temperatures])
    alike = np.ptp(chain) == 0
    of_draw = np.repeat(chain / source.positions.shape[1], source.positions.shape[1], axis=1)
    repeats = 1 if data.task == "classification" else -(-LEAST_TARGETS // source.num_draws)
    parts = []
    for block in source.blocks(x, repeats, progress=progress):
        variance = None if block.variance is None else _flat(block.variance)
        block = Block(_flat(block.f), variance, _flat_targets(block.y))
        if data.task == "classification":
            parts.append(_classes(data, block.f, of_draw))
        else:
            assert block.variance is not None  # which all but classifications have
            parts.append(_bands(data, block, of_draw, None if alike else of_draw, wanted))
    if not parts:
        raise InputError("x", np.shape(x), "has no rows", "give one at least")
    rows = rows_of(x, sum(len(part[0]) for part in parts))
    rows = rows if isinstance(rows, pd.Index) else pd.Index(rows)
    tables = [
        pd.concat([part[slot] for part in parts], ignore_index=True).set_index(rows)
        for slot in range(len(source.temperatures))
    ]
    if not source.several:
        return tables[0]
    return pd.concat(tables, keys=source.temperatures.tolist(), names=["temperature", *rows.names])


def _wanted(intervals: Sequence[float], quantiles: Sequence[float]) -> dict[str, float]:
    """Names of columns and their quantiles."""
    found: dict[str, float] = {}
    for argument, values in (("intervals", intervals), ("quantiles", quantiles)):
        for p in np.atleast_1d(np.asarray(values, object)).tolist():
            if isinstance(p, bool) or not isinstance(p, (int, float, np.number)) or not 0 < p < 1:
                raise InputError(argument, p, "is no probability in (0, 1)", "give such as 0.9")
            if argument == "intervals":
                found |= dict(zip(ends_of(float(p)), ((1 - p) / 2, (1 + p) / 2), strict=True))
            else:
                found[f"q{p:.10g}"] = float(p)
    return found


def ends_of(level: float) -> tuple[str, str]:
    """Names of the columns of an interval's ends, as ArviZ has them: ``eti90_lb`` and ``eti90_ub``."""
    return f"eti{100 * level:.10g}_lb", f"eti{100 * level:.10g}_ub"


def _flat(values: np.ndarray) -> np.ndarray:
    """(chain, draw, temperature, …) as (temperature, draw of all chains, …)."""
    return np.moveaxis(values.reshape(-1, *values.shape[2:]), 1, 0)


def _flat_targets(y: np.ndarray) -> np.ndarray:
    """(repeat, chain, draw, temperature, …) as (temperature, draw of all chains, repeat, …)."""
    of_draw = np.moveaxis(y, 0, 2)
    return np.moveaxis(of_draw.reshape(-1, *of_draw.shape[2:]), 2, 0)


def _bands(
    data: Dataset, block: Block, weights: np.ndarray, uneven: np.ndarray | None, wanted: dict[str, float]
) -> list[pd.DataFrame]:
    """Of every temperature, the columns of a regression or of counts."""
    f, variance, y = (np.asarray(part, float) for part in block)
    repeats = y.shape[2]
    of_target = None if uneven is None else np.repeat(uneven / repeats, repeats, axis=1)
    tables = []
    for slot, weight in enumerate(weights):
        mean = np.einsum("s,srt->rt", weight, f[slot])
        epistemic = np.einsum("s,srt->rt", weight, (f[slot] - mean) ** 2)
        aleatoric = np.einsum("s,srt->rt", weight, variance[slot])
        aleatoric = np.where(np.isnan(aleatoric), np.inf, aleatoric)  # a Student-t of so few degrees has no variance
        columns = {
            "mean": mean,
            "sd": np.sqrt(epistemic + aleatoric),
            "sd_epistemic": np.sqrt(epistemic),
            "sd_aleatoric": np.sqrt(aleatoric),
        }
        drawn = y[slot].reshape(-1, *y.shape[3:])
        if wanted:
            even: dict[str, Any] = {} if of_target is None else {"weights": of_target[slot], "method": "inverted_cdf"}
            found = np.quantile(drawn, list(wanted.values()), axis=0, **even)
            columns |= dict(zip(wanted, found, strict=True))
        by_target = [pd.DataFrame({n: v[:, t] for n, v in columns.items()}) for t in range(len(data.targets))]
        one = len(by_target) == 1
        tables.append(by_target[0] if one else pd.concat(by_target, axis=1, keys=data.targets))
    return tables


def _classes(data: Dataset, f: np.ndarray, weights: np.ndarray) -> list[pd.DataFrame]:
    """Of every temperature, the columns of a classification; of several targets of 0 and 1, under each one's name."""
    tables = []
    for slot, weight in enumerate(weights):
        if len(data.targets) == 1:
            tables.append(_of_one(np.asarray(f[slot], float), weight, data.classes))
            continue
        each = [_of_one(np.asarray(f[slot, ..., t : t + 1], float), weight, ()) for t in range(len(data.targets))]
        tables.append(pd.concat(each, axis=1, keys=data.targets))
    return tables


def _of_one(f: np.ndarray, weight: np.ndarray, classes: Sequence[str]) -> pd.DataFrame:
    """The columns of one target of classes."""
    p = probabilities(f)
    mean = np.einsum("s,src->rc", weight, p)
    names = classes if len(classes) == p.shape[-1] else tuple(map(str, range(p.shape[-1])))
    total, own = entropy(mean), np.einsum("s,sr->r", weight, entropy(p))
    columns: dict[str, Any] = {"class": np.array(names, object)[mean.argmax(axis=1)]}
    columns |= {f"p({name})": mean[:, n] for n, name in enumerate(names)}
    columns |= {"entropy": total, "entropy_aleatoric": own, "mutual_information": total - own}
    return pd.DataFrame(columns)


def probabilities(f: np.ndarray) -> np.ndarray:
    """Probabilities of every class (…, class), of two classes from the second's."""
    return np.concatenate([1 - f, f], axis=-1) if f.shape[-1] == 1 else f


def entropy(p: np.ndarray) -> np.ndarray:
    """Entropy of class probabilities along the last axis, in nats."""
    return -np.sum(p * np.log(np.where(p > 0, p, 1.0)), axis=-1)
