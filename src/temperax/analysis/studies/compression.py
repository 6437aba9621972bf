"""Compressibility: the score that survives pruning, quantisation and a Gaussian, and how many parameters are in use."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float
from numpyro.distributions import Distribution, biject_to, constraints

from temperax.analysis import thermodynamics
from temperax.analysis.studies import draws
from temperax.energies.energy import Energy
from temperax.errors import InputError, check_count, check_key, check_result
from temperax.results import reading
from temperax.training.landscape import prior_draws

#: Exact draws of the prior that its scales are read from.
_PRIOR_DRAWS = 2000
_QUARTILES = 1.3489795  # from the lower to the upper one of a standard normal


def pruning(
    tree: xr.DataTree,
    energy: Energy,
    shares: Sequence[float] = (0.0, 0.25, 0.5, 0.75, 0.9, 0.95),
    *,
    max_draws: int = 50,
) -> xr.Dataset:
    """Score as the weights with the least signal-to-noise are set to zero.

    Hidden units can be permuted and their signs turned, so that the mean of a weight over draws says little. Signal
    and noise are therefore read off each draw: the signal is ``|θ_i|`` and the noise the standard deviation of θ_i
    given all other parameters in the Gaussian around this draw, 1/σ_i² = β F_ii + 1/s_i², with F the Fisher
    information of the training rows at the draw (targets drawn from the model) and s_i the prior's scale. Half of
    (θ_i/σ_i)² is what removing the weight costs to second order (LeCun, Denker & Solla 1990, *Optimal brain
    damage*); the ranking is that of Blundell et al. 2015 without their one Gaussian. Every draw loses its own
    weights; biases count as weights, noise and ARD scales stay, so that the LPPD of a learned noise scale falls
    deeper than the RMSE.

    Parameters
    ----------
    tree, energy
        A result with ``keep="all"`` and held-out rows, and what was sampled.
    shares
        Shares of the weights to remove, in [0, 1).
    max_draws
        Draws used of every chain; at most 500 training rows are used for the Fisher information.

    Returns
    -------
    xarray.Dataset
        ``lppd`` (share, temperature) in nats a held-out row (targets in standardised units), and ``rmse`` in the
        target's units or ``accuracy``, with their ``_error``; ``signal_to_noise`` (share, temperature): the median
        over draws of the ``|θ_i|/σ_i`` up to which weights are removed.

    Raises
    ------
    InputError
        For shares outside [0, 1), for the reference path, and for results without draws of several temperatures or
        held-out rows.

    See Also
    --------
    temperax.studies.quantisation, temperax.plots.pruning

    Examples
    --------
    >>> study = tx.studies.pruning(tree, energy)
    >>> study["lppd"].dims
    ('share', 'temperature')
    """
    wanted = np.atleast_1d(np.asarray(shares, float))
    if wanted.ndim != 1 or not len(wanted) or not ((wanted >= 0) & (wanted < 1)).all():
        raise InputError("shares", shares, "are not in [0, 1)", "give shares such as (0.0, 0.5, 0.9)")
    positions, held = draws.positions(tree, energy, max_draws), draws.held_out(tree)
    draws.check_begins_at_prior(tree)
    ratio = _signal_to_noise(tree, energy, positions)
    weights = np.isfinite(ratio[0, 0, 0]).sum()
    # Where in the order of its draw a weight stands, from 0 to 1; what is no weight stands above.
    rank = ratio.argsort(axis=-1).argsort(axis=-1) / weights
    changed = {s: np.where(rank < s, 0.0, positions).astype(positions.dtype) for s in wanted.tolist()}
    found = _scores(tree, held, energy, "share", changed)
    order = np.sort(ratio, axis=-1)
    wanted = found["share"].values  # each once
    cut = [np.median(order[..., max(int(np.ceil(s * weights)) - 1, 0)], axis=(0, 1)) for s in wanted]
    return found.assign(signal_to_noise=(("share", "temperature"), np.where(wanted[:, None] > 0, np.stack(cut), 0.0)))


def _signal_to_noise(
    tree: xr.DataTree, energy: Energy, positions: np.ndarray
) -> Float[np.ndarray, "chain draw temperature parameter"]:
    """|θ_i|/σ_i of every weight, and infinity for what is no weight."""
    rows = len(energy.data["x"])
    chosen = draws.some_of(rows, draws.MOST_ROWS)
    x, keys = energy.data["x"][chosen], jax.random.split(jax.random.key(0), positions.shape[:-1])
    fisher = reading.over_draws(_fisher, energy, x, positions, keys) * (rows / len(chosen))
    beta = draws.betas(tree)[:, None]
    prior = _prior_scale(energy) ** -2.0 * (beta if tree.attrs["path"] == "posterior" else 1.0)
    return np.where(_is_weight(energy), np.abs(positions) * np.sqrt(beta * fisher + prior), np.inf)


def _fisher(energy: Energy, x: Array, position: Array, key: Array) -> Float[Array, " parameter"]:
    """Diagonal of the Fisher information of the rows, with one target a row drawn from the model."""
    y = jax.lax.stop_gradient(energy.distribution(position, x).sample(key))

    def squares(total: Array, row: tuple[Array, Array]) -> tuple[Array, None]:
        slope = jax.grad(lambda p: energy.log_prob(p, row[0][None], row[1][None])[0])(position)
        return total + slope**2, None

    return jax.lax.scan(squares, jnp.zeros_like(position), (x, y))[0]


def _prior_scale(energy: Energy) -> Float[np.ndarray, " parameter"]:
    """Scale of the prior of every position, from quartiles, which heavy tails do not move."""
    draws = np.asarray(prior_draws(energy, jax.random.key(0), _PRIOR_DRAWS))
    low, high = np.quantile(draws, (0.25, 0.75), axis=0)
    return (high - low) / _QUARTILES


def _is_weight(energy: Energy) -> np.ndarray:
    """Which parameters are unconstrained ones of the network: weights and biases."""

    def weight(path: Any, prior: Distribution) -> Any:
        support = prior.support
        while hasattr(support, "base_constraint"):
            support = support.base_constraint
        return support is constraints.real and path[0].key == "network"

    return _by_leaf(energy, weight).astype(bool)


def _by_leaf(energy: Energy, value: Callable[[Any, Distribution], Any]) -> np.ndarray:
    """One number a parameter (parameter,), from the path and the prior of the array it belongs to."""

    def fill(path: Any, prior: Distribution) -> np.ndarray:
        return np.full(biject_to(prior.support).inverse_shape(prior.shape()), float(value(path, prior)))

    is_leaf = lambda leaf: isinstance(leaf, Distribution)  # noqa: E731
    return np.asarray(ravel_pytree(jax.tree_util.tree_map_with_path(fill, energy.prior, is_leaf=is_leaf))[0])


def quantisation(
    tree: xr.DataTree, energy: Energy, bits: Sequence[int] = (1, 2, 3, 4, 6, 8), *, max_draws: int = 50
) -> xr.Dataset:
    """Score when the weights of every draw are rounded to k bits.

    Each array of weights or biases is rounded to the middles of 2^k equal steps from minus to plus its own largest
    absolute value in that draw, so that its worst error is that value times 2^-k.  Noise and ARD scales stay.

    Parameters
    ----------
    tree, energy, max_draws
        As in `pruning`.
    bits
        Numbers of bits, from 1 to 32.

    Returns
    -------
    xarray.Dataset
        ``lppd`` and ``rmse`` or ``accuracy`` (bits, temperature) as in `pruning`.

    Raises
    ------
    InputError
        For numbers of bits outside 1 … 32, and as `pruning`.

    See Also
    --------
    temperax.studies.pruning, temperax.plots.quantisation

    Examples
    --------
    >>> study = tx.studies.quantisation(tree, energy)
    >>> study["lppd"].dims
    ('bits', 'temperature')
    """
    wanted = [check_count("bits", k) for k in np.atleast_1d(np.asarray(bits)).tolist()]
    if not wanted or max(wanted) > 32:
        raise InputError("bits", bits, "are not between 1 and 32", "give numbers such as (2, 4, 8)")
    positions, held = draws.positions(tree, energy, max_draws), draws.held_out(tree)
    numbers = iter(range(energy.size))
    leaf, weight = _by_leaf(energy, lambda *_: next(numbers)), _is_weight(energy)
    largest = np.zeros_like(positions)
    for n in np.unique(leaf):
        largest[..., leaf == n] = np.abs(positions[..., leaf == n]).max(axis=-1, keepdims=True)
    changed = {k: np.where(weight, _rounded(positions, largest, k), positions) for k in wanted}
    return _scores(tree, held, energy, "bits", changed)


def _rounded(values: np.ndarray, largest: np.ndarray, bits: int) -> np.ndarray:
    """The middles of the 2^bits steps in [-largest, largest] that the values lie in."""
    step = np.where(largest > 0, largest, 1.0).astype(float) * 2.0 ** (1 - bits)
    level = np.clip(np.floor(values / step), -(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    return np.where(largest > 0, (level + 0.5) * step, 0.0).astype(values.dtype)


def gaussian_replacement(
    tree: xr.DataTree, energy: Energy, key: Array | None = None, *, max_draws: int = 100
) -> xr.Dataset:
    """Score when the draws are replaced by those of a Gaussian with their mean and covariance.

    That Gaussian is the closest to the posterior in KL(posterior ‖ Gaussian).  It is fitted to the unconstrained
    positions of the draws that are used, of every chain apart or of all together; with fewer draws than parameters its
    covariance is singular, and it stays in the plane of the draws.

    Parameters
    ----------
    tree, energy, max_draws
        As in `pruning`.
    key
        Randomness of the Gaussian's draws (as many as there were); by default a fixed key.

    Returns
    -------
    xarray.Dataset
        ``lppd`` and ``rmse`` or ``accuracy`` (posterior, temperature) as in `pruning`, with ``posterior`` one of
        ``draws``, ``gaussian per chain``, ``diagonal per chain`` (without covariances) and ``gaussian`` (of all chains
        together, which symmetries of the network make the worst).

    Raises
    ------
    InputError
        As `pruning`.

    See Also
    --------
    temperax.studies.pruning, temperax.plots.gaussian_replacement

    Examples
    --------
    >>> study = tx.studies.gaussian_replacement(tree, energy)
    >>> study["posterior"].values.tolist()
    ['draws', 'gaussian per chain', 'diagonal per chain', 'gaussian']
    """
    positions, held = draws.positions(tree, energy, max_draws), draws.held_out(tree)
    if positions.shape[1] < 2:
        raise InputError("tree", f"{positions.shape[1]} draw", "of a chain has no spread", "keep two draws at least")
    seed = np.asarray(jax.random.key_data(jax.random.key(0) if key is None else check_key(key))).ravel()
    rng = np.random.default_rng(seed.tolist())
    together = positions.reshape(1, -1, *positions.shape[2:])
    shift = positions.std(axis=1, ddof=1, keepdims=True) * rng.normal(size=positions.shape)
    changed = {
        "draws": positions,
        "gaussian per chain": _gaussian(positions, rng),
        "diagonal per chain": (positions.mean(axis=1, keepdims=True) + shift).astype(positions.dtype),
        "gaussian": _gaussian(together, rng).reshape(positions.shape),
    }
    found = _scores(tree, held, energy, "posterior", changed)
    # All chains have made the pooled one, so that leaving one out of its draws says nothing of its error.
    return found.map(lambda v: v.where(found["posterior"] != "gaussian") if str(v.name).endswith("_error") else v)


def _gaussian(positions: Float[np.ndarray, "chain draw temperature parameter"], rng: np.random.Generator) -> np.ndarray:
    """As many draws of each chain's Gaussian: random sums of the deviations have their covariance exactly."""
    count = positions.shape[1]
    mean = positions.mean(axis=1, keepdims=True)
    z = rng.normal(size=(*positions.shape[:1], positions.shape[2], count, count)) / np.sqrt(count - 1)
    moved = np.einsum("ctsd,cdtp->cstp", z, positions - mean, optimize=True)
    return (mean + moved).astype(positions.dtype)


def effective_parameters(tree: xr.DataTree, energy: Energy | None = None, max_draws: int = 500) -> xr.Dataset:
    """How many parameters the data hold in place, per temperature, in three ways.

    In a quadratic well of d directions on the likelihood path the mean path energy is d/(2β) above its minimum and the
    heat capacity d/2 (equipartition), and WAIC's penalty β V is d for a model that is right (Watanabe 2010).  A flat
    or singular valley counts for less, a phase transition for more.  On the posterior path the first two count what the
    prior holds as well.

    Parameters
    ----------
    tree
        A result of a ladder, whose energies suffice for the first two.
    energy
        What was sampled, for the third (which needs ``keep="all"``).
    max_draws
        Draws used of every chain for the third.

    Returns
    -------
    xarray.Dataset
        ``from_heat_capacity`` = 2C and ``from_mean_energy`` = 2β(⟨U⟩ - U_min) with U_min the lowest energy of any draw
        (too high, so that the number is too low, unless the ladder reaches far below T = 1), and ``from_waic`` = β V;
        each (temperature) with its ``_error``.

    Raises
    ------
    InputError
        If the result has no energies of a ladder, no draws of several temperatures where ``energy`` is given, or is of
        the reference path, whose energy is not the data's.

    See Also
    --------
    temperax.learning_coefficient, temperax.plots.effective_parameters

    Examples
    --------
    >>> study = tx.studies.effective_parameters(ladder)
    >>> sorted(name for name in study if "error" not in name)
    ['from_heat_capacity', 'from_mean_energy']
    """
    stats = check_result(tree, "tempered_stats", "path_energy")
    curves = thermodynamics.curves(tree)
    draws.check_begins_at_prior(tree)
    beta = curves["beta"].values
    lowest = float(stats["path_energy"].min())
    with np.errstate(invalid="ignore"):
        above = np.where(beta == 0, 0.0, 2 * beta * (curves["mean_energy"].values - lowest))
        error = np.where(beta == 0, 0.0, 2 * beta * curves["mean_energy_error"].values)
    found = draws.with_errors(
        ["temperature"],
        {"temperature": curves["temperature"].values, "beta": ("temperature", beta)},
        from_heat_capacity=(2 * curves["heat_capacity"].values, 2 * curves["heat_capacity_error"].values),
        from_mean_energy=(above, error),
    )
    if energy is None:
        return found
    positions = draws.positions(tree, energy, max_draws, network=False)
    logs = reading.over_draws(reading.log_likelihoods, energy, energy.data, positions)
    value, error = draws.jackknife(lambda c: draws.penalty(logs[c], draws.betas(tree)), len(logs))
    waic = draws.with_errors(["temperature"], draws.temperatures(tree), from_waic=(value, error))
    return found.merge(waic, join="left", compat="override")


def _scores(
    tree: xr.DataTree, held: draws.HeldOut, energy: Energy, dim: str, changed: Mapping[Any, np.ndarray]
) -> xr.Dataset:
    """Held-out scores of changed positions (chain, draw, temperature, parameter), along a new dimension."""
    x, y = jnp.asarray(held.x), jnp.asarray(held.y)
    values, errors = [], []
    for positions in changed.values():
        logs = reading.over_draws(reading.log_densities, energy, (x, y), positions).astype(float)
        f = reading.over_draws(reading.means, energy, x, positions)

        def over(kept: np.ndarray, logs: np.ndarray = logs, f: np.ndarray = f) -> np.ndarray:
            mean = f[kept].mean(axis=(0, 1), dtype=float)
            return np.stack([draws.lppd(logs[kept]), draws.point_score(mean, held.y, held.y_scale, held.task)])

        value, error = draws.jackknife(over, len(positions))
        values.append(value)
        errors.append(error)
    value, error = np.stack(values, axis=1), np.stack(errors, axis=1)
    point = "accuracy" if held.task == "classification" else "rmse"
    coords = draws.temperatures(tree) | {dim: list(changed)}
    pairs = {"lppd": (value[0], error[0]), point: (value[1], error[1])}
    return draws.with_errors([dim, "temperature"], coords, **pairs)
