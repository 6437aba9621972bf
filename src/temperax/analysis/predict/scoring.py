"""Scores of the held-out rows, at every kept temperature."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Float, Int
from scipy.special import logsumexp

from temperax.analysis.predict.summaries import entropy, probabilities
from temperax.analysis.predict.targets import HELD_OUT, noisy
from temperax.errors import check_result
from temperax.results.reading import one_sample


def log_predictive_density(log_density: np.ndarray) -> np.ndarray:
    """Log (1/S Σ_s p(y | x, θ_s)) of each row, from log densities (draw, row)."""
    return logsumexp(log_density, axis=0) - np.log(len(log_density))


def pointwise(tree: xr.DataTree) -> xr.DataArray:
    """Log predictive density of every held-out row: (temperature, test_row), in nats, in standardised units.

    Raises
    ------
    InputError
        If the result has no held-out rows.

    See Also
    --------
    temperax.predict.scores

    Examples
    --------
    >>> tx.predict.pointwise(tree).dims
    ('temperature', 'test_row')
    """
    logs = check_result(tree, "tempered_predictions", "log_density", "temperature", **HELD_OUT)["log_density"]
    found = log_predictive_density(logs.stack(sample=("chain", "draw")).transpose("sample", ...).values)
    rows = logs.isel(chain=0, draw=0, drop=True)
    return rows.copy(data=found).rename("log_density")


def scores(tree: xr.DataTree) -> pd.DataFrame:
    """Held-out scores of every temperature's draws.

    Parameters
    ----------
    tree
        A result with held-out rows.

    Returns
    -------
    pandas.DataFrame
        One row a temperature: ``lppd`` (mean log pointwise predictive density, nats, in standardised units of the
        target) and ``lppd_original`` (the same as a density in original units).

        Of regressions and counts, in original units: ``rmse`` and ``mae`` of the mean; ``crps`` (continuous ranked
        probability score); ``coverage_90`` and ``width_90`` of the equal-tailed interval; of regressions
        ``gaussian_lpd`` too, the score of one Gaussian with the predictive mean and variance that some papers report.
        CRPS, coverage and width are of 4000 noisy targets at least, several of each draw where draws are fewer.

        Of classifications: ``accuracy``, ``log_loss``, ``brier`` (Σ over classes of squared errors), ``ece`` (expected
        calibration error in 15 bins, Guo et al. 2017), ``auc`` (area under the ROC curve, of several classes the mean
        of each against the rest), ``entropy`` and ``mutual_information`` (of class and parameters), nats.

    Raises
    ------
    InputError
        If the result has no held-out rows.

    See Also
    --------
    temperax.plots.scores, temperax.predict.selective_risk, temperax.studies.cold_posterior

    Examples
    --------
    >>> scores = tx.predict.scores(tree)
    >>> scores.index.tolist(), bool(scores["rmse"].loc[1.0] < 0.5)
    ([2.0, 1.0, 0.5], True)
    """
    predictive = check_result(tree, "tempered_predictions", "f", "log_density", "temperature", **HELD_OUT)
    data = check_result(tree, "constant_data", "y_test", "y_scale", **HELD_OUT)
    rows = pointwise(tree)
    y, y_scale = data["y_test"].values, data["y_scale"].values
    table = []
    for temperature in predictive["temperature"].values:
        here = predictive.sel(temperature=temperature)
        parts = {name: one_sample(here[name]) for name in ("f", "variance") if name in here}
        lppd = float(rows.sel(temperature=temperature).mean())
        row = {
            "temperature": float(temperature),
            "lppd": lppd,
            "lppd_original": lppd - float(np.log(y_scale).sum()),
        }
        task = tree.attrs["task"]
        if task == "classification":
            row |= _of_classes(parts["f"], y)
        else:
            row |= _of_mean(parts["f"].mean(axis=0), y, y_scale)
            row |= _of_targets(noisy(tree, here), y, y_scale) if "y" in here else {}
        if task == "regression" and "variance" in parts:
            row["gaussian_lpd"] = _gaussian(parts, y, y_scale)
        table.append(row)
    return pd.DataFrame(table).set_index("temperature")


def _of_mean(mean: np.ndarray, y: np.ndarray, y_scale: np.ndarray) -> dict[str, float]:
    """Scores of a mean."""
    from sklearn.metrics import mean_absolute_error, root_mean_squared_error

    # Each target in its own unit; of several, the mean over them, and the root of the mean square for RMSE.
    return {
        "rmse": float(root_mean_squared_error((y * y_scale).ravel(), (mean * y_scale).ravel())),
        "mae": float(mean_absolute_error(y * y_scale, mean * y_scale)),
    }


def _of_targets(blocks: Iterable[tuple[slice, np.ndarray]], y: np.ndarray, y_scale: np.ndarray) -> dict[str, float]:
    """Scores of targets drawn with noise, rows by rows; none of a single one."""
    import scoringrules

    parts = []
    for rows, drawn in blocks:
        if len(drawn) < 2:
            return {}
        each = scoringrules.crps_ensemble(y[rows], drawn, m_axis=0, estimator="qd")
        parts.append(np.stack([each, *np.quantile(drawn, (0.05, 0.95), axis=0)]))
    each, low, high = np.concatenate(parts, axis=1)
    return {
        "crps": float(np.mean(each * y_scale)),
        "coverage_90": float(((low <= y) & (y <= high)).mean()),
        "width_90": float(np.mean((high - low) * y_scale)),
    }


def _gaussian(parts: dict[str, np.ndarray], y: np.ndarray, y_scale: np.ndarray) -> float:
    """The score of the one Gaussian with the predictive mean and variance."""
    mean, variance = parts["f"].mean(axis=0), parts["f"].var(axis=0) + parts["variance"].mean(axis=0)
    log_density = -0.5 * ((y - mean) ** 2 / variance + np.log(2 * np.pi * variance)) - np.log(y_scale)
    return float(log_density.sum(axis=-1).mean())


def _of_classes(f: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """Scores of class probabilities (draw, row, class); those of several targets apart, and averaged."""
    if y.shape[1] > 1:
        each = [_of_classes(f[..., t : t + 1], y[:, t : t + 1]) for t in range(y.shape[1])]
        return pd.DataFrame(each).mean().to_dict()
    p = probabilities(f)
    mean = p.mean(axis=0)
    total, own = entropy(mean), entropy(p).mean(axis=0)
    return of_probabilities(mean, y[:, 0].astype(int)) | {
        "entropy": float(total.mean()),
        "mutual_information": float((total - own).mean()),
    }


def of_probabilities(probability: Float[np.ndarray, "row class"], labels: Int[np.ndarray, " row"]) -> dict[str, float]:
    """Scores of class probabilities, whatever predicted them, beside the labels of the rows."""
    from sklearn.metrics import accuracy_score

    p = probability / probability.sum(axis=1, keepdims=True)  # single precision's last digit
    own = p[np.arange(len(labels)), labels]
    return {
        "accuracy": float(accuracy_score(labels, p.argmax(axis=1))),
        # scikit-learn's takes no probability for less than 2e-16, which spares whoever is surely wrong.
        "log_loss": float(-np.log(np.maximum(own, np.finfo(own.dtype).tiny)).mean()),
        "brier": float(((p - np.eye(p.shape[1])[labels]) ** 2).sum(axis=1).mean()),
        "ece": expected_calibration_error(p, labels),
        "auc": _auc(p, labels),
    }


def expected_calibration_error(
    probability: Float[np.ndarray, "row class"], labels: np.ndarray, bins: int = 15
) -> float:
    """Mean distance of confidence and accuracy over bins of confidence."""
    confidence, correct = probability.max(axis=1), probability.argmax(axis=1) == labels
    which = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = [abs(np.sum(confidence[which == b] - correct[which == b])) for b in range(bins)]
    return float(np.sum(gaps) / len(labels))


def _auc(probability: np.ndarray, labels: np.ndarray) -> float:
    """Area under the ROC curve: of each class that occurs, and not alone, against the rest; NaN if there is none."""
    from sklearn.metrics import roc_auc_score

    classes = [1] if probability.shape[1] == 2 else range(probability.shape[1])
    mixed = [c for c in classes if 0 < np.sum(labels == c) < len(labels)]
    found: list[Any] = [roc_auc_score(labels == c, probability[:, c]) for c in mixed]
    return float(np.mean(found)) if found else np.nan
