"""Interpretability and expressivity: which inputs matter, and what kind of functions a temperature draws."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

from temperax.analysis.studies import draws
from temperax.energies.energy import Energy
from temperax.energies.models import NetworkModel
from temperax.energies.networks import ACTIVATIONS, MLP, effective_weight
from temperax.errors import check_count, check_key, check_result
from temperax.results import reading, results

#: Ends of the 90 % intervals over draws.
_ENDS = (0.05, 0.95)
#: Activations whose units are linear on either side of zero.
_PIECEWISE = ("relu", "leaky_relu", "identity")


def relevance(tree: xr.DataTree, energy: Energy, max_draws: int = 100) -> xr.Dataset:
    """Relevance of every input: how strongly predictions depend on it, and its ARD scale where the prior has one.

    Parameters
    ----------
    tree, energy
        A result with ``keep="all"``, and what was sampled.
    max_draws
        Draws used of every chain; at most 500 training rows are used.

    Returns
    -------
    xarray.Dataset
        Dimensions (input, temperature): ``sensitivity``, the mean over draws of the mean ``|∂f/∂x_j|`` over training
        rows and outputs, in standardised units, with ``sensitivity_error``, and the 90 % interval of draws
        ``sensitivity_low`` to ``sensitivity_high``; ``most_relevant``, the share of draws in which the input's
        sensitivity is the largest.  With the prior `priors.ARD` also ``scale``, the mean of the learned input scale
        (MacKay 1994), with ``scale_error``, ``scale_low`` and ``scale_high``.

    Raises
    ------
    InputError
        For a result without draws of several temperatures.

    See Also
    --------
    temperax.priors.ARD, temperax.plots.relevance

    Examples
    --------
    >>> study = tx.studies.relevance(tree, energy)
    >>> study["sensitivity"].dims
    ('input', 'temperature')
    """
    positions = draws.positions(tree, energy, max_draws)
    x = jnp.asarray(energy.data["x"])[draws.some_of(len(energy.data["x"]), draws.MOST_ROWS)]
    kept = draws.tempered(tree, max_draws)
    measured = {"sensitivity": reading.over_draws(_sensitivity, energy, x, positions).astype(float)}
    if "layer_0_input_scale" in kept:
        measured["scale"] = kept["layer_0_input_scale"].values.astype(float)
    inputs = check_result(tree, "constant_data")["input"].values
    found = xr.Dataset(coords=draws.temperatures(tree) | {"input": inputs})
    dims = ("input", "temperature")
    for name, values in measured.items():  # chain, draw, temperature, input
        value, error = draws.mean(values)
        low, high = np.quantile(values, _ENDS, axis=(0, 1))
        ends = {f"{name}_low": (dims, low.T), f"{name}_high": (dims, high.T)}
        found = found.assign({name: (dims, value.T), f"{name}_error": (dims, error.T)} | ends)
    first = measured["sensitivity"].argmax(axis=-1)[..., None] == np.arange(len(inputs))
    return found.assign(most_relevant=(dims, first.mean(axis=(0, 1)).T))


def _sensitivity(energy: Energy, x: Array, position: Array) -> Float[Array, " input"]:
    """Mean |∂f/∂x_j| over rows and outputs."""
    slopes = jax.vmap(jax.jacobian(lambda row: energy.mean(position, row[None])[0]))(x)  # row, value, input
    return jnp.abs(slopes).mean(axis=(0, 1))


def expressivity(
    tree: xr.DataTree,
    energy: Energy,
    key: Array | None = None,
    *,
    lines: int = 20,
    points: int = 200,
    functions: int = 6,
    max_draws: int = 50,
) -> xr.Dataset:
    """What kind of functions a temperature draws: zero crossings, linear pieces and size along lines through the data.

    A line goes through two random training rows and half their distance beyond either.  Draws of the prior (T = inf)
    are exact and stand beside the posterior's, also where the ladder has no such rung or begins at a fitted Gaussian.

    Parameters
    ----------
    tree, energy
        A result with ``keep="all"``, and what was sampled.
    key
        Randomness of the lines; by default a fixed key.
    lines, points
        How many lines, and points on each: what a function does between two points is not seen.
    functions
        Draws whose values along the first line are returned, for a picture.
    max_draws
        Draws used of every chain.

    Returns
    -------
    xarray.Dataset
        Per temperature, means over draws, lines and outputs with ``_error``: ``crossings``, how often f crosses its own
        mean along a line; ``size``, the standard deviation of f along a line in standardised units; and, for MLPs of
        ReLU units, ``pieces``: 1 plus how often a unit switches along a line, which for one hidden layer is at most
        1 + units (Montúfar et al. 2014; expected numbers: Hanin & Rolnick 2019).  ``f`` (function, temperature, point)
        with the coordinate ``place`` along the line, 0 and 1 at the two rows.

    Raises
    ------
    InputError
        For a result without draws of several temperatures.

    See Also
    --------
    temperax.studies.uncertainty, temperax.plots.expressivity

    Examples
    --------
    >>> study = tx.studies.expressivity(tree, energy)
    >>> bool((study["crossings"] >= 0).all())
    True
    """
    for name, value in {"lines": lines, "functions": functions}.items():
        check_count(name, value)
    check_count("points", points, 3)
    positions = draws.positions(tree, energy, max_draws)
    beta = draws.betas(tree)
    line_key, prior_key = jax.random.split(jax.random.key(0) if key is None else check_key(key))
    if tree.attrs.get("path") != "likelihood" or (beta > 0).all():
        keys = jax.random.split(prior_key, positions.shape[:2])
        prior = reading.over_draws(_of_prior, energy, None, positions[:, :, 0], keys)
        positions = np.concatenate([prior[:, :, None], positions[:, :, beta > 0]], axis=2)
        beta = np.concatenate([[0.0], beta[beta > 0]])
    place = np.linspace(-0.5, 1.5, points)
    x = _lines(line_key, energy.data["x"], lines, place)
    found = reading.over_draws(_along_lines, energy, x, positions)
    coords = results.temperature_coords(beta)
    pairs = {name: draws.mean(values) for name, values in found.items()}
    shown = positions.reshape(-1, *positions.shape[2:])
    shown = shown[draws.some_of(len(shown), functions)]
    f = reading.over_draws(reading.means, energy, jnp.asarray(x[0]), shown)[..., 0]
    return (
        draws.with_errors(["temperature"], coords, **pairs)
        .assign(f=(("function", "temperature", "point"), f))
        .assign_coords(place=("point", place))
    )


def _of_prior(energy: Energy, _: None, position: Array, key: Array) -> Array:
    return energy.sample_prior(key).astype(position.dtype)


def _lines(key: Array, rows: Any, lines: int, place: np.ndarray) -> Float[Array, "line point input"]:
    """Points on lines through pairs of different rows."""
    one, shift = jax.random.split(key)
    first = jax.random.randint(one, (lines,), 0, len(rows))
    second = (first + jax.random.randint(shift, (lines,), 1, max(len(rows), 2))) % len(rows)
    rows = jnp.asarray(rows)
    return rows[first][:, None] + place[:, None].astype(rows.dtype) * (rows[second] - rows[first])[:, None]


def _along_lines(energy: Energy, x: Float[Array, "line point input"], position: Array) -> dict[str, Array]:
    """Mean crossings, size and (for ReLU units) pieces of one draw."""
    f = jax.vmap(lambda line: energy.mean(position, line))(x)
    centred = f - f.mean(axis=1, keepdims=True)
    # A constant crosses its mean by rounding alone.
    sign = jnp.where(jnp.abs(centred) > 1e-5 * jnp.abs(f).max(axis=1, keepdims=True), jnp.sign(centred), 0.0)
    last = jax.lax.cummax(jnp.where(sign != 0, jnp.arange(x.shape[1])[:, None], 0), axis=1)
    sign = jnp.take_along_axis(sign, last, axis=1)  # a zero counts as the sign before it
    crossings = (sign[:, 1:] * sign[:, :-1] < 0).sum(axis=1)
    found = {"crossings": crossings.mean(), "size": f.std(axis=1).mean()}
    network = energy.model.network if isinstance(energy.model, NetworkModel) else None
    if isinstance(network, MLP) and _is_piecewise(network):
        layers = energy.unravel(position)["network"]
        on = jax.vmap(lambda line: _active(network, layers, line))(x)
        found["pieces"] = 1 + (on[:, 1:] != on[:, :-1]).sum(axis=(1, 2)).mean()
    return found


def _is_piecewise(network: MLP) -> bool:
    return network.activation in _PIECEWISE or len(network.sizes) == 2


def _active(network: MLP, layers: Any, x: Float[Array, "point input"]) -> Array:
    """Which hidden units are above zero (point, unit)."""
    patterns = [jnp.zeros((len(x), 0), bool)]
    for i in range(len(network.sizes) - 2):
        x = x @ effective_weight(layers[f"layer_{i}"]) + layers[f"layer_{i}"]["bias"]
        if network.activation != "identity":
            patterns.append(x > 0)
        x = ACTIVATIONS[str(network.activation)](x)
    return jnp.concatenate(patterns, axis=1)
