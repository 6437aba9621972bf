"""Held-out targets with their noise: several of every draw where a result has few draws, as of optima."""

import json
from collections.abc import Callable, Iterator

import numpy as np
import xarray as xr
from jaxtyping import Float

from temperax.analysis.predict.summaries import LEAST_TARGETS
from temperax.energies.likelihoods import Gaussian, HeteroscedasticGaussian, Likelihood, Poisson, StudentT
from temperax.errors import InputError, check_result
from temperax.results import notation
from temperax.results.reading import one_sample, posterior_temperature

#: Rows whose targets are drawn together, and all targets that are drawn at once.
ROWS, MOST_TARGETS = 512, 20_000_000

#: What to say of a result without held-out rows.
HELD_OUT = {"problem": "has no held-out predictions", "remedy": "sample with a data set that holds rows out"}

#: Targets (repeat, sample, row, target) of some rows.
type Draw = Callable[[np.random.Generator, int, slice], np.ndarray]


def of_posterior(tree: xr.DataTree) -> xr.Dataset:
    """Predictions of the held-out rows at the posterior's temperature, with the noise's variance where it was kept."""
    found = check_result(tree, "predictions", "f", "y", **HELD_OUT)
    if "tempered_predictions" not in tree.children:
        return found
    kept = check_result(tree, "tempered_predictions", "temperature")
    here = np.isclose(kept["temperature"].values, posterior_temperature(tree))
    return kept.isel(temperature=int(np.argmax(here))) if here.any() else found


def noisy(tree: xr.DataTree, predictive: xr.Dataset) -> Iterator[tuple[slice, Float[np.ndarray, "sample row target"]]]:
    """Blocks of the held-out rows, with their targets as often as quantiles are taken of; in standardised units.

    Parameters
    ----------
    tree
        The result.
    predictive
        Its predictions at one temperature.

    Yields
    ------
    tuple
        The rows, and the targets.  Of a likelihood that the result does not carry they are those of the draws alone.
    """
    y, again = one_sample(predictive["y"]), _again(tree, predictive)
    repeats = -(-LEAST_TARGETS // len(y))
    generator = np.random.default_rng(0)
    for first in range(0, y.shape[1], ROWS):
        rows = slice(first, first + ROWS)
        if repeats == 1 or again is None:
            yield rows, y[:, rows]
        else:
            yield rows, again(generator, repeats, rows).reshape(-1, *y[0, rows].shape)


def noisy_at_once(tree: xr.DataTree, predictive: xr.Dataset) -> Float[np.ndarray, "sample row target"]:
    """The targets of all rows, thinned where they are too many to be held."""
    rows, targets = predictive.sizes["test_row"], predictive.sizes["target"]
    most = max(predictive.sizes["chain"] * predictive.sizes["draw"], MOST_TARGETS // max(1, rows * targets))
    return np.concatenate([drawn[:: -(-len(drawn) // most)] for _, drawn in noisy(tree, predictive)], axis=1)


def _again(tree: xr.DataTree, predictive: xr.Dataset) -> Draw | None:
    """How targets are drawn once more for the same draws; None where that is not known."""
    likelihood, f = _likelihood(tree), one_sample(predictive["f"])
    if not np.isfinite(f).all():
        return None
    if isinstance(likelihood, Poisson):
        rate = np.minimum(f, 1e18)  # which NumPy's counts can hold
        return lambda generator, repeats, rows: generator.poisson(rate[:, rows], (repeats, *rate[:, rows].shape))
    if isinstance(likelihood, (Gaussian, HeteroscedasticGaussian)) and "variance" in predictive:
        scale = np.sqrt(one_sample(predictive["variance"]))
        return lambda generator, repeats, rows: generator.normal(
            f[:, rows], scale[:, rows], (repeats, *f[:, rows].shape)
        )
    if isinstance(likelihood, StudentT):
        df, width = (_of_draws(tree, predictive, name, getattr(likelihood, name)) for name in ("df", "scale"))
        if df is not None and width is not None:
            return lambda generator, repeats, rows: (
                f[:, rows] + width * generator.standard_t(df, (repeats, *f[:, rows].shape))
            )
    return None


def _likelihood(tree: xr.DataTree) -> Likelihood | None:
    """The likelihood that a result carries, if it is one of ours."""
    try:
        recipe = json.loads(tree.attrs["energy"])
        found = notation.decode(recipe["likelihood"])
    except (KeyError, TypeError, ValueError, InputError):
        return None
    return found if isinstance(found, Likelihood) else None


def _of_draws(tree: xr.DataTree, predictive: xr.Dataset, name: str, fixed: object) -> np.ndarray | None:
    """A parameter of the noise, fixed or as it was drawn: (sample, 1, target), or None where its draws are not kept."""
    if isinstance(fixed, (int, float)):
        return np.full((1, 1, 1), float(fixed))
    several = "temperature" in predictive.coords and "tempered_posterior" in tree.children
    group = "tempered_posterior" if several else "posterior"
    draws = check_result(tree, group)
    if f"noise_{name}" not in draws or draws.sizes["draw"] != predictive.sizes["draw"]:
        return None
    learned = draws[f"noise_{name}"]
    if several:
        learned = learned.sel(temperature=float(predictive["temperature"]))
    return one_sample(learned)[:, None]
