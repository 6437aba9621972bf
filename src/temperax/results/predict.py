"""Predictions of draws on inputs, and the scores of those predictions.

Predictive densities are always those of the model at T = 1, also for tempered draws.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Array, Float
from scipy.special import logsumexp

from temperax.energies.energy import Energy
from temperax.energies.tables import LARGEST_SINGLE, as_table, check_size, in_order
from temperax.errors import InputError, check_key, check_result
from temperax.results.fingerprints import check_energy

#: Values (rows × units) that a chunk of draws may hold at once.
CHUNK_VALUES = 4_000_000


@partial(jax.jit, static_argnames=("function", "batch_size"))
def _chunked(function: Callable, energy: Energy, x: Any, items: Any, batch_size: int) -> Any:
    return jax.lax.map(lambda item: function(energy, x, *item), items, batch_size=batch_size)


def over_draws(
    function: Callable, energy: Energy, x: Any, positions: Array | np.ndarray, *others: Array | np.ndarray
) -> Any:
    """``function(energy, x, position, …)`` of every draw, in chunks that bound the memory.

    Parameters
    ----------
    function
        A module-level function (it is part of the compiled program's name).
    energy, x
        Passed on.
    positions, *others
        Arrays whose leading axes, all of ``positions`` but the last, are the draws.
    """
    lead = positions.shape[:-1]
    rows = max((len(leaf) for leaf in jax.tree.leaves(x) if jnp.ndim(leaf) > 0), default=1)
    width = max(1, energy.size // 10)
    batch_size = int(np.clip(CHUNK_VALUES // (rows * width), 1, 64))
    # Whole chunks only, so that a draw's numbers do not depend on how many come with it.
    count = int(np.prod(lead))
    spare = -count % batch_size

    def whole(values: Array | np.ndarray) -> Array | np.ndarray:
        keys = jnp.issubdtype(values.dtype, jax.dtypes.prng_key)
        xp: Any = jnp if keys else np  # NumPy knows no keys, and compiles nothing
        flat = (values if keys else np.asarray(values)).reshape(count, *values.shape[len(lead) :])
        return xp.concatenate([flat, xp.repeat(flat[-1:], spare, axis=0)])

    flat = tuple(whole(values) for values in (positions, *others))
    out = _chunked(function, energy.bare(), x, flat, batch_size)
    return jax.tree.map(lambda a: np.asarray(a)[:count].reshape(*lead, *a.shape[1:]), out)


def means(energy: Energy, x: Any, position: Array) -> Float[Array, "row value"]:
    """f(x) of one draw."""
    return energy.mean(position, x)


def log_densities(energy: Energy, xy: Any, position: Array) -> Float[Array, " row"]:
    """Log p(y | x, θ) of one draw at other rows, in nats."""
    x, y = xy
    return energy.log_prob(position, x, y)


def log_likelihoods(energy: Energy, x: Any, position: Array) -> Float[Array, " row"]:
    """Log p(y_i | x_i, θ) of one draw at the energy's own rows, in nats."""
    return energy.log_likelihood(position)


@partial(jax.jit, static_argnames="num_axes")
def _positions(energy: Energy, variables: dict[str, Array], num_axes: int) -> Array:
    convert = energy.position
    for _ in range(num_axes):
        convert = jax.vmap(convert)
    return convert(variables)


def positions(
    tree: xr.DataTree, energy: Energy, group: str = "posterior", *, other_rows: bool = False
) -> Float[np.ndarray, "*draws parameter"]:
    """The unconstrained positions (chain, draw[, temperature], parameter) of a result's draws.

    With ``other_rows`` the energy may have other data than those of the result.
    """
    if not isinstance(energy, Energy):
        raise InputError("energy", energy, "is not an Energy", "give the one that was sampled")
    variables = check_result(tree, group, *energy.names, problem=f"has no group {group}")
    lead = [d for d in ("chain", "draw", "temperature") if d in variables.dims]
    expected = jax.eval_shape(energy.bare().variables, jax.ShapeDtypeStruct((energy.size,), jnp.result_type(float)))
    arrays = {}
    dims = energy.dims
    for name, like in expected.items():
        values = _in_order(variables[name], lead, dims[name])
        if (shape := values.shape[len(lead) :]) != like.shape:
            raise InputError("tree", name, f"is of shape {shape}, not {like.shape}", "give the energy that was sampled")
        arrays[name] = values
    check_energy(tree, energy, other_rows=other_rows)
    return np.asarray(_positions(energy.bare(), arrays, len(lead)))


def _in_order(variable: Any, lead: list[str], own: list[str]) -> np.ndarray:
    """Values with the dimensions of draws first, and then those of the variable, in whatever order they came."""
    return variable.transpose(*lead, *(d for d in own if d in variable.dims), ...).values


def predictions(tree: xr.DataTree, energy: Energy, x: Any, group: str = "posterior") -> xr.DataArray:
    """f(x) of a result's draws at new inputs.

    Parameters
    ----------
    tree, group
        A result, and which of its draws: ``posterior`` or ``tempered_posterior``.
    energy
        The energy that was sampled.
    x
        Inputs (row, input) in the units of the data set as it was given; the columns of a frame are found by name.

    Returns
    -------
    xarray.DataArray
        Expected targets in their original units, or class probabilities: (chain, draw[, temperature], row, value),
        where ``value`` names the targets or the classes (of two, the second's probability is given).

    Raises
    ------
    InputError
        If the energy has no predictions or the result lacks its parameters, the columns are not the inputs, or values
        are missing: with their rows.
    """
    data = energy.dataset if isinstance(energy, Energy) else None
    if data is None:
        raise InputError("energy", energy, "has no predictions", "build it by Energy.mlp or Energy.network")
    x = as_table("x", in_order("x", x, data.inputs))
    if x.shape[1] != data.x.shape[1]:
        raise InputError("x", x.shape, f"is not (row, {data.x.shape[1]})", "give one column an input")
    scaled = (x - data.x_mean) / data.x_scale
    check_size("x", x, np.abs(scaled) <= LARGEST_SINGLE)
    f = over_draws(means, energy, jnp.asarray(scaled), positions(tree, energy, group))
    if data.task == "regression":
        f = f * data.y_scale + data.y_mean
    draws = check_result(tree, group)
    dims = [d for d in ("chain", "draw", "temperature") if d in draws.dims]
    coords: dict[str, Any] = {d: draws[d].values for d in dims}
    names = data.targets if data.task != "classification" else data.classes[-f.shape[-1] :]
    if len(names) == f.shape[-1]:
        coords["value"] = list(names)
    return xr.DataArray(f, dims=[*dims, "row", "value"], coords=coords, name="f")


def predictive(key: Any, tree: xr.DataTree | xr.Dataset, energy: Energy, /, *args: Any, **kwargs: Any) -> xr.Dataset:
    """What a NumPyro model makes of a result's draws with new arguments, by NumPyro's own ``Predictive``.

    Parameters
    ----------
    key
        Randomness of what is drawn.
    tree
        A result, of which the ``posterior`` group is used, or draws: ``tree["tempered_posterior"].dataset``, say.
    energy
        The energy that was sampled, from `temperax.Energy.from_numpyro`.
    *args, **kwargs
        New arguments of the model; what it shall predict is left out, as in a call without observations.  Latent sites
        to which they give another shape (effects of new groups) are drawn again, given the others.

    Returns
    -------
    xarray.Dataset
        Sites that are drawn and deterministic ones: (chain, draw[, temperature], …).

    Raises
    ------
    InputError
        If the energy is not a NumPyro model's, the draws are not its own, or the model fails on these arguments.
    """
    key = check_key(key)
    model: Any = getattr(energy, "model", None)
    if not hasattr(model, "predicted"):
        raise InputError("energy", energy, "is not of a NumPyro model", "use predictions for networks")
    draws = tree
    if isinstance(tree, xr.DataTree):
        draws = check_result(tree, "posterior", *energy.names)
        check_energy(tree, energy)
    missing = sorted(set(energy.names) - set(map(str, draws)))
    if missing:
        raise InputError("tree", missing, "are not among the draws", "give a result of this energy")
    lead = [d for d in ("chain", "draw", "temperature") if d in draws.dims]
    own = energy.dims
    drawn, sizes = {}, [draws.sizes[d] for d in lead]
    for name, site in zip(energy.names, model.shapes(), strict=True):
        ordered = _in_order(draws[name], lead, own[name])
        drawn[site] = ordered.reshape(-1, *ordered.shape[len(lead) :])
    values, dims = model.predicted(key, drawn, energy.data, args, kwargs)
    found = {name: ([*lead, *dims[name]], value.reshape(*sizes, *value.shape[1:])) for name, value in values.items()}
    return xr.Dataset(found, coords={d: draws[d] for d in lead if d in draws.coords})


def log_predictive_density(log_density: np.ndarray) -> np.ndarray:
    """Log (1/S Σ_s p(y | x, θ_s)) of each row, from log densities (draw, row)."""
    return logsumexp(log_density, axis=0) - np.log(len(log_density))


def pointwise(tree: xr.DataTree) -> xr.DataArray:
    """Log predictive density of every held-out row: (temperature, test_row), in nats, in standardised units.

    Raises
    ------
    InputError
        If the result has no held-out rows.
    """
    logs = check_result(tree, "tempered_predictions", "log_density", "temperature", **_HELD_OUT)["log_density"]
    found = log_predictive_density(logs.stack(sample=("chain", "draw")).transpose("sample", ...).values)
    rows = logs.isel(chain=0, draw=0, drop=True)
    return rows.copy(data=found).rename("log_density")


#: What to say of a result without held-out rows.
_HELD_OUT = {"problem": "has no held-out predictions", "remedy": "sample with a data set that holds rows out"}


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
        target), ``lppd_original`` (the same as a density in original units) and, for regressions, ``rmse`` and
        ``gaussian_lpd`` (the one-Gaussian, moment-matched score that some papers report) with ``coverage_90`` of its
        90 % interval, in original units; for classifications, ``accuracy`` and ``ece`` (expected calibration error in
        15 bins, Guo et al. 2017).

    Raises
    ------
    InputError
        If the result has no held-out rows.
    """
    predictive = check_result(tree, "tempered_predictions", "f", "log_density", "temperature", **_HELD_OUT)
    data = check_result(tree, "constant_data", "y_test", "y_scale", **_HELD_OUT)
    rows = pointwise(tree)
    y, y_scale = data["y_test"].values, data["y_scale"].values
    table = []
    for temperature in predictive["temperature"].values:
        here = predictive.sel(temperature=temperature)
        f = here["f"].stack(sample=("chain", "draw")).transpose("sample", "test_row", ...).values
        lppd = float(rows.sel(temperature=temperature).mean())
        row = {
            "temperature": float(temperature),
            "lppd": lppd,
            "lppd_original": lppd - float(np.log(y_scale).sum()),
        }
        if tree.attrs["task"] == "classification":
            row |= _classification_scores(f.mean(axis=0), y[:, 0])
        else:
            row["rmse"] = float(np.sqrt(np.mean(((f.mean(axis=0) - y) * y_scale) ** 2)))
        if tree.attrs["task"] == "regression" and "variance" in here:
            noise = here["variance"].stack(sample=("chain", "draw")).transpose("sample", "test_row", ...).values
            row |= _gaussian_scores(f, noise, y, y_scale)
        table.append(row)
    return pd.DataFrame(table).set_index("temperature")


def _gaussian_scores(f: np.ndarray, noise: np.ndarray, y: np.ndarray, y_scale: np.ndarray) -> dict[str, float]:
    """Scores of the one Gaussian with the predictive mean and variance."""
    mean, variance = f.mean(axis=0), f.var(axis=0) + noise.mean(axis=0)
    z = (y - mean) / np.sqrt(variance)
    log_density = -0.5 * (z**2 + np.log(2 * np.pi * variance)) - np.log(y_scale)
    return {
        "gaussian_lpd": float(log_density.sum(axis=-1).mean()),
        "coverage_90": float((np.abs(z) < 1.6448536269514722).mean()),
    }


def _classification_scores(probability: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """Accuracy and expected calibration error of class probabilities (row, class), or of p(1) (row, 1)."""
    if probability.shape[1] == 1:
        probability = np.concatenate([1 - probability, probability], axis=1)
    confidence, correct = probability.max(axis=1), probability.argmax(axis=1) == y
    bins = np.minimum((confidence * 15).astype(int), 14)
    gaps = [abs(np.sum(confidence[bins == b] - correct[bins == b])) for b in range(15)]
    return {"accuracy": float(correct.mean()), "ece": float(np.sum(gaps) / len(y))}
