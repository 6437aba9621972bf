"""Draws read back: their positions, and functions of an energy over all of them."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

from temperax.energies.energy import Energy
from temperax.engine.tempering import target_slot
from temperax.errors import InputError, check_result
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
    # Whole chunks only, so that a draw's numbers do not depend on how many come with it; of no draws one, of zeros.
    count = int(np.prod(lead))
    spare = -count % batch_size if count else batch_size

    def whole(values: Array | np.ndarray) -> Array | np.ndarray:
        keys = jnp.issubdtype(values.dtype, jax.dtypes.prng_key)
        xp: Any = jnp if keys else np  # NumPy knows no keys, and compiles nothing
        flat = (values if keys else np.asarray(values)).reshape(count, *values.shape[len(lead) :])
        last = flat[-1:] if count else xp.zeros((1, *flat.shape[1:]), flat.dtype)
        return xp.concatenate([flat, xp.repeat(last, spare, axis=0)])

    flat = tuple(whole(values) for values in (positions, *others))
    out = _chunked(function, energy.bare(), x, flat, batch_size)
    return jax.tree.map(lambda a: np.asarray(a)[:count].reshape(*lead, *a.shape[1:]), out)


def posterior_temperature(tree: xr.DataTree) -> float:
    """The temperature of the draws in the posterior's group, also where its rung was cut away.

    Of a result that does not say, that of the rung which samplers take; 1 of one without temperatures.
    """
    if "temperature" in (said := tree["posterior"].attrs):
        return float(said["temperature"])
    if "tempered_stats" not in tree.children:
        return 1.0
    betas = check_result(tree, "tempered_stats", "beta")["beta"].values
    with np.errstate(divide="ignore"):
        return float(1.0 / betas[target_slot(betas)])


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
        values = in_order(variables[name], lead, dims[name])
        if (shape := values.shape[len(lead) :]) != like.shape:
            raise InputError("tree", name, f"is of shape {shape}, not {like.shape}", "give the energy that was sampled")
        arrays[name] = values
    check_energy(tree, energy, other_rows=other_rows)
    return np.asarray(_positions(energy.bare(), arrays, len(lead)))


def one_sample(variable: Any) -> np.ndarray:
    """Values of the draws of all chains on one leading axis, in double precision."""
    return variable.stack(sample=("chain", "draw")).transpose("sample", ...).values.astype(float)


def in_order(variable: Any, lead: list[str], own: list[str]) -> np.ndarray:
    """Values with the dimensions of draws first, and then those of the variable, in whatever order they came."""
    return variable.transpose(*lead, *(d for d in own if d in variable.dims), ...).values
