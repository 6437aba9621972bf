"""Runs beside one another, and predictions that may be withheld."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Float

from temperax.analysis.predict.scoring import pointwise, scores
from temperax.analysis.predict.summaries import probabilities
from temperax.analysis.predict.targets import HELD_OUT, noisy, of_posterior
from temperax.errors import InputError, check_named, check_result
from temperax.results.reading import one_sample


def compare(trees: Mapping[str, xr.DataTree]) -> pd.DataFrame:
    """Held-out scores of several results beside one another, with how far each is behind the best.

    Parameters
    ----------
    trees
        Results by name, all of the same held-out rows: of networks, of other priors or noise, of
        `temperax.optimise.baselines`.

    Returns
    -------
    pandas.DataFrame
        Index (``model``, ``temperature``), best LPPD first: ``lppd``; ``lppd_behind``, what it lacks to the best, and
        ``lppd_behind_error``, the standard error of that difference over the rows (nats); then what
        `temperax.predict.scores` has besides.

    Raises
    ------
    InputError
        If there are no results, or they are not of the same held-out rows.

    See Also
    --------
    temperax.optimise.baselines, temperax.predict.scores, temperax.thermodynamics.compare_evidence

    Examples
    --------
    >>> table = tx.predict.compare({"network": tree} | tx.optimise.baselines(key, energy))
    >>> table.index[0][0], float(table["lppd_behind"].iloc[0])
    ('network', 0.0)
    """
    check_named(trees)
    first = next(iter(trees.values()))
    rows, tables = [], []
    for name, tree in trees.items():
        found = pointwise(tree)
        if not _same_rows(first, tree):
            problem = "is of other held-out rows than the first, or of another target of theirs"
            raise InputError(f"trees[{name!r}]", dict(found.sizes), problem, "compare results on one data set")
        rows.append(found.transpose("temperature", "test_row").values)
        tables.append(scores(tree))
    table = pd.concat(tables, keys=list(trees), names=["model", "temperature"])
    logs = np.concatenate(rows)
    behind, error = paired(logs[table["lppd"].argmax()], logs)
    table.insert(1, "lppd_behind", behind)
    table.insert(2, "lppd_behind_error", error)
    return table.sort_values("lppd", ascending=False, kind="stable")


def paired(
    ours: Float[np.ndarray, "*model test_row"], theirs: Float[np.ndarray, "*model test_row"]
) -> tuple[Float[np.ndarray, "*model"], Float[np.ndarray, "*model"]]:
    """By how much ours is ahead, a row, and the standard error of that over the rows: NaN of a single one."""
    ahead = ours - theirs
    rows = ahead.shape[-1]
    error = ahead.std(axis=-1, ddof=1) / np.sqrt(rows) if rows > 1 else np.full(ahead.shape[:-1], np.nan)
    return ahead.mean(axis=-1), error


def _same_rows(one: xr.DataTree, other: xr.DataTree) -> bool:
    """Whether two results have the same held-out rows, as far as can be told, in the same units.

    Their targets, as they are before they are standardised; and their inputs, where those are the same columns.
    """
    data = [tree["constant_data"].to_dataset() for tree in (one, other)]
    names = ["y_test", "y_mean", "y_scale"]
    names += ["x_test"] if data[0]["input"].values.tolist() == data[1]["input"].values.tolist() else []
    parts = [[np.asarray(d[name]) for d in data] for name in names]
    return all(a.shape == b.shape and np.allclose(a, b) for a, b in parts)


def agreement(tree: xr.DataTree, other: xr.DataTree) -> pd.Series:
    """How far two classifiers say the same of the same held-out rows.

    Izmailov, Vikram, Hoffman & Wilson 2021, *What are Bayesian neural network posteriors really like?*

    Parameters
    ----------
    tree, other
        Results on one data set.

    Returns
    -------
    pandas.Series
        ``agreement`` (share of rows whose most probable class is the same) and ``total_variation`` (mean over rows of
        half the sum of the probabilities' distances).

    Raises
    ------
    InputError
        If one is no classification's, has no held-out rows, or they are not the other's.

    See Also
    --------
    temperax.predict.scores

    Examples
    --------
    >>> flowers = tx.Energy.mlp(tx.datasets.load("iris"), (3,))
    >>> options = {"num_warmup": 50, "num_draws": 20, "progress": False}
    >>> one, two = (tx.sample(jax.random.key(seed), flowers, **options) for seed in (1, 2))
    >>> bool(tx.predict.agreement(one, two)["agreement"] > 0.8)
    True
    """
    ours, theirs = (_mean_probabilities(name, result) for name, result in (("tree", tree), ("other", other)))
    if ours.shape != theirs.shape or not _same_rows(tree, other):
        raise InputError("other", theirs.shape, "is of other held-out rows", "compare results on one data set")
    same = ours.argmax(axis=1) == theirs.argmax(axis=1)
    distance = 0.5 * np.abs(ours - theirs).sum(axis=1)
    return pd.Series({"agreement": same.mean(), "total_variation": distance.mean()})


def _mean_probabilities(argument: str, tree: xr.DataTree) -> np.ndarray:
    """Class probabilities (row, class) of the posterior's draws together."""
    f = check_result(tree, "predictions", "f", **HELD_OUT)["f"]
    if tree.attrs.get("task") != "classification":
        raise InputError(argument, tree.attrs.get("task"), "is no classification", "give results of classifiers")
    if f.sizes.get("target", 1) > 1:
        raise InputError(argument, f.sizes["target"], "targets it has", "compare each target's column of f")
    return probabilities(f.mean(("chain", "draw")).transpose("test_row", ...).values.astype(float))


def selective_risk(tree: xr.DataTree) -> pd.DataFrame:
    """The error that is left when the least certain predictions are withheld.

    Geifman & El-Yaniv 2017, *Selective classification for deep neural networks*.

    Parameters
    ----------
    tree
        A result with held-out rows.

    Returns
    -------
    pandas.DataFrame
        By ``coverage``, the share of rows that are predicted, surest first: ``risk``, the share of them that is wrong,
        or the RMSE in original units (of several targets, over all), and ``uncertainty``, that of the last of them:
        one minus the highest probability, or the predictive standard deviation.

    Raises
    ------
    InputError
        If the result has no held-out rows.

    See Also
    --------
    temperax.plots.selective_risk

    Examples
    --------
    >>> risk = tx.predict.selective_risk(tree)
    >>> list(risk.columns), float(risk.index[-1])
    (['risk', 'uncertainty'], 1.0)
    """
    data = check_result(tree, "constant_data", "y_test", "y_scale", **HELD_OUT)
    y, scale = data["y_test"].values, data["y_scale"].values
    if tree.attrs.get("task") == "classification":
        p = _mean_probabilities("tree", tree)
        uncertainty, loss = 1 - p.max(axis=1), (p.argmax(axis=1) != y[:, 0]).astype(float)
    else:
        drawn = of_posterior(tree)
        f = one_sample(drawn["f"])
        uncertainty = (_standard_deviation(tree, drawn) * scale).mean(axis=1)
        loss = (((f.mean(axis=0) - y) * scale) ** 2).mean(axis=1)
    order = np.argsort(uncertainty, kind="stable")
    count = np.arange(1, len(order) + 1)
    risk = np.cumsum(loss[order]) / count
    if tree.attrs.get("task") != "classification":
        risk = np.sqrt(risk)
    columns = {"risk": risk, "uncertainty": uncertainty[order]}
    return pd.DataFrame(columns, index=pd.Index(count / len(order), name="coverage"))


def _standard_deviation(tree: xr.DataTree, drawn: xr.Dataset) -> Float[np.ndarray, "test_row target"]:
    """Of the predictive law, by its two parts; of targets with noise where the noise's variance is not known."""
    if "variance" not in drawn or not np.isfinite(noise := one_sample(drawn["variance"]).mean(axis=0)).all():
        return np.concatenate([y.std(axis=0) for _, y in noisy(tree, drawn)])
    return np.sqrt(one_sample(drawn["f"]).var(axis=0) + noise)
