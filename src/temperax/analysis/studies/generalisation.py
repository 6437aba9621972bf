"""Generalisation: train and test scores against temperature, the best temperature, and the gap that theory predicts."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Float
from scipy.special import logsumexp

from temperax.analysis.leave_one_out import LEAST_DRAWS, loo_of
from temperax.analysis.studies import draws
from temperax.energies.energy import Energy
from temperax.errors import InputError, check_count, check_positive, check_result
from temperax.results import reading

#: What is reported of every temperature's optimum: this share of the resamples lies within the interval.
INTERVAL = 0.9


class Split(NamedTuple):
    """What one result says of its training and held-out rows, each chain averaged over its draws."""

    log_density: dict[str, Float[np.ndarray, "chain temperature row"]]
    f: dict[str, Float[np.ndarray, "chain temperature row value"]]
    y: dict[str, Float[np.ndarray, "row target"]]
    y_scale: np.ndarray
    task: str

    def lppd(self, part: str, kept: Any = slice(None)) -> Float[np.ndarray, "temperature row"]:
        """Log predictive density of the mixture of the kept chains."""
        logs = self.log_density[part][kept]
        return logsumexp(logs, axis=0) - np.log(len(logs))

    def point(self, part: str, kept: Any = slice(None)) -> Float[np.ndarray, " temperature"]:
        """RMSE or accuracy of the mean prediction of the kept chains."""
        return draws.point_score(self.f[part][kept].mean(axis=0), self.y[part], self.y_scale, self.task)


def cold_posterior(
    trees: xr.DataTree | Sequence[xr.DataTree] | Mapping[str, xr.DataTree],
    energy: Energy,
    *,
    resamples: int = 400,
    seed: int = 0,
    max_draws: int = 500,
) -> xr.Dataset:
    """Train and test scores against T, and the temperature that predicts best (Wenzel et al. 2020).

    Parameters
    ----------
    trees
        A result with ``keep="all"`` and held-out rows, or one for each split of a data set, on the same temperatures.
    energy
        The model that was sampled; each result brings its own rows.
    resamples, seed
        Bootstrap of the optimum: splits, chains within a split and held-out rows within a split are drawn anew with
        replacement.  Few chains or splits make its interval too short.
    max_draws
        Draws used of every chain.

    Returns
    -------
    xarray.Dataset
        ``train_lppd`` and ``test_lppd`` (temperature) in nats a row (targets in standardised units), ``train_rmse``
        and ``test_rmse`` in the target's units (``train_accuracy`` and ``test_accuracy`` of classes), and ``gap``
        (train_lppd - test_lppd): means over splits, with ``_error`` from the spread over splits, or over chains where
        there is one split.  ``split_lppd`` (split, temperature): the test score of each.  ``optimum``: the finite T of
        the highest test_lppd, by a parabola in log T through the best rung and its neighbours, with the 90 % interval
        ``optimum_low`` to ``optimum_high``; at the end of the ladder it is only a bound.  ``best`` (temperature): the
        share of resamples in which a rung is best.

    Raises
    ------
    InputError
        For results without draws of several temperatures or held-out rows, and for splits on different temperatures.

    See Also
    --------
    temperax.diagnostics.loo, temperax.predict.scores, temperax.plots.cold_posterior

    Examples
    --------
    >>> study = tx.studies.cold_posterior(tree, energy)
    >>> bool(study["optimum_low"] <= study["optimum"] <= study["optimum_high"])
    True
    """
    check_count("resamples", resamples)
    named = _named(trees)
    splits = [_split(tree, energy, max_draws) for tree in named.values()]
    first, *others = named.values()
    coords, betas = draws.temperatures(first), draws.betas(first)
    for other in map(draws.betas, others):
        if other.shape != betas.shape or not np.allclose(other, betas):
            remedy = "sample all splits on one ladder (parallel_tempering's ladder=)"
            raise InputError("trees", other, "are not the β of the first split", remedy)
    point = "accuracy" if splits[0].task == "classification" else "rmse"

    def scores(split: Split, kept: Any = slice(None)) -> np.ndarray:
        train, test = (split.lppd(part, kept).mean(axis=-1) for part in ("train", "test"))
        return np.stack([train, test, train - test, split.point("train", kept), split.point("test", kept)])

    each = np.stack([scores(split) for split in splits])
    if len(splits) > 1:
        value, error = each.mean(axis=0), each.std(axis=0, ddof=1) / np.sqrt(len(splits))
    else:
        value, error = draws.jackknife(lambda kept: scores(splits[0], kept), len(splits[0].f["test"]))
    names = ("train_lppd", "test_lppd", "gap", f"train_{point}", f"test_{point}")
    found = draws.with_errors(["temperature"], coords, **{n: (value[i], error[i]) for i, n in enumerate(names)})
    temperature = coords["temperature"]
    place, _ = best_temperature(temperature, value[1])
    rng = np.random.default_rng(seed)
    drawn = [best_temperature(temperature, _resampled(splits, rng)) for _ in range(resamples)]
    low, high = np.quantile([t for t, _ in drawn], [(1 - INTERVAL) / 2, (1 + INTERVAL) / 2])
    best = np.bincount([rung for _, rung in drawn], minlength=len(temperature)) / resamples
    return found.assign(
        split_lppd=(("split", "temperature"), each[:, 1]),
        best=("temperature", best),
        optimum=place,
        optimum_low=low,
        optimum_high=high,
    ).assign_coords(split=list(named))


def _named(trees: Any) -> dict[Any, xr.DataTree]:
    """Results by the names of their splits, or by number."""
    if isinstance(trees, xr.DataTree):  # which is a mapping itself
        return {0: trees}
    named = dict(trees) if isinstance(trees, Mapping) else dict(enumerate(trees))
    if not named:
        raise InputError("trees", trees, "is empty", "give at least one result")
    return named


def best_temperature(temperature: np.ndarray, score: np.ndarray) -> tuple[float, int]:
    """The finite temperature of the highest score, and its rung.

    Parameters
    ----------
    temperature
        Of the rungs, in order, positive; infinite ones are left out.
    score
        Of every rung; larger is better.
    """
    usable = np.flatnonzero(np.isfinite(temperature))
    x, y = np.log(temperature[usable]), np.asarray(score, float)[usable]
    top = int(y.argmax())
    if 0 < top < len(y) - 1:
        a, b, _ = np.polyfit(x[top - 1 : top + 2] - x[top], y[top - 1 : top + 2], 2)
        move = -b / (2 * a) if a < 0 else 0.0
        low, high = np.sort(x[[top - 1, top + 1]] - x[top]) / 2  # beyond half-way the neighbour would be the best
        return float(np.exp(x[top] + np.clip(move, low, high))), int(usable[top])
    return float(np.exp(x[top])), int(usable[top])


def _resampled(splits: Sequence[Split], rng: np.random.Generator) -> Float[np.ndarray, " temperature"]:
    """The mean test score of splits, chains and rows drawn with replacement."""
    curves = []
    for n in rng.integers(len(splits), size=len(splits)):
        chains, _, rows = splits[n].log_density["test"].shape
        logs = splits[n].lppd("test", rng.integers(chains, size=chains))
        curves.append(logs[:, rng.integers(rows, size=rows)].mean(axis=-1))
    return np.mean(curves, axis=0)


def _split(tree: xr.DataTree, energy: Energy, max_draws: int) -> Split:
    positions = draws.positions(tree, energy, max_draws, other_rows=True)
    held = draws.held_out(tree)
    predictive = draws.tempered(tree, max_draws, "tempered_predictions")
    rows: dict[str, np.ndarray] = {
        "x": check_result(tree, "constant_data")["x"].values,
        "y": check_result(tree, "observed_data")["y"].values.reshape(len(tree["constant_data"]["x"]), -1),
    }
    model = energy.with_data({name: jnp.asarray(values) for name, values in rows.items()})
    train = reading.over_draws(reading.log_likelihoods, model, model.data, positions)
    f = reading.over_draws(reading.means, model, model.data["x"], positions)
    logs = {"train": train, "test": predictive["log_density"].values}
    return Split(
        {part: logsumexp(v.astype(float), axis=1) - np.log(v.shape[1]) for part, v in logs.items()},
        {part: v.mean(axis=1, dtype=float) for part, v in (("train", f), ("test", predictive["f"].values))},
        {"train": rows["y"], "test": held.y},
        held.y_scale,
        held.task,
    )


def generalisation_gap(
    tree: xr.DataTree, energy: Energy, learning_coefficient: float | None = None, max_draws: int = 500
) -> xr.Dataset:
    """The gap between train and test scores beside what WAIC, LOO and the learning coefficient predict.

    On the likelihood path the expected gap at inverse temperature β is β V / n, V the sum over training rows of the
    variance of log p(y|x, θ) (Watanabe 2010, *Asymptotic equivalence of Bayes cross validation and WAIC*), which at
    β = 1 is WAIC's penalty.  A regular model's is 2λ/n with the learning coefficient λ = P/2.

    Parameters
    ----------
    tree, energy
        A result with ``keep="all"`` and held-out rows, and what was sampled.
    learning_coefficient
        λ, if it is known.
    max_draws
        Draws used of every chain.

    Returns
    -------
    xarray.Dataset
        In nats a row: ``train_lppd``, ``test_lppd``, ``gap`` and ``waic_gap`` = β V / n (temperature) with
        ``_error`` over chains; that of ``gap`` also holds the errors of both parts over rows.  Where T = 1 is a rung
        of at least 25 draws, ``loo_gap`` = p_loo / n with ``pareto_k``, the largest shape of LOO's weights (not to be
        believed above 0.7); and ``learning_gap`` = 2λ/n where λ is given.

    Raises
    ------
    InputError
        As `cold_posterior`, and for the reference path, where these laws do not hold.

    See Also
    --------
    temperax.learning_coefficient, temperax.diagnostics.loo, temperax.plots.generalisation_gap

    Examples
    --------
    >>> study = tx.studies.generalisation_gap(tree, energy)
    >>> study["gap"].dims
    ('temperature',)
    """
    positions = draws.positions(tree, energy, max_draws)
    draws.check_begins_at_prior(tree)
    test = draws.tempered(tree, max_draws, "tempered_predictions")["log_density"].values.astype(float)
    train = reading.over_draws(reading.log_likelihoods, energy, energy.data, positions).astype(float)
    if learning_coefficient is not None:
        check_positive("learning_coefficient", learning_coefficient)
    coords, beta, rows = draws.temperatures(tree), draws.betas(tree), train.shape[-1]

    def over(kept: np.ndarray) -> np.ndarray:
        seen, unseen = draws.lppd(train[kept]), draws.lppd(test[kept])
        return np.stack([seen, unseen, seen - unseen, draws.penalty(train[kept], beta) / rows])

    value, error = draws.jackknife(over, len(train))
    of_rows = [draws.row_lppd(part).var(axis=-1, ddof=1) / part.shape[-1] for part in (train, test)]
    error[2] = np.sqrt(error[2] ** 2 + of_rows[0] + of_rows[1])
    names = ("train_lppd", "test_lppd", "gap", "waic_gap")
    found = draws.with_errors(["temperature"], coords, **{n: (value[i], error[i]) for i, n in enumerate(names)})
    one, enough = np.flatnonzero(np.isclose(beta, 1.0, rtol=1e-6)), train.shape[0] * train.shape[1] >= LEAST_DRAWS
    if one.size and enough:
        at_one = loo_of(train[:, :, int(one[0])], 1.0)
        found = found.assign(loo_gap=float(at_one.p) / rows, pareto_k=float(at_one.pareto_k.max()))
    if learning_coefficient is not None:
        found = found.assign(learning_gap=2 * learning_coefficient / rows)
    return found
