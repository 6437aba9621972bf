"""Exploration: how much the functions of independent replicas have in common, and how unsure they are together."""

from itertools import combinations
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float
from scipy.special import entr, logsumexp

from temperax.analysis.studies import draws
from temperax.energies.energy import Energy
from temperax.errors import InputError, check_count, check_key, check_positive, check_result
from temperax.results import reading


def overlap(tree: xr.DataTree, bins: int = 40, max_draws: int = 200) -> xr.Dataset:
    """Overlap q of independent replicas' functions at the same temperature, and its distribution P(q).

    q is the correlation over the held-out inputs of f(x) in two draws from *different* chains (each output centred over
    the inputs): 1 where replicas agree up to scale, about 0 where they have nothing in common.  It is the order
    parameter of spin glasses (Parisi 1983) asked in the space of functions, where permuted units count as the same.
    A function that does not vary over the inputs has q = 0 with every other.

    Parameters
    ----------
    tree
        A result with ``keep="all"``, held-out rows and at least two chains.
    bins
        Bins of P(q) on [-1, 1].
    max_draws
        Draws used of every chain.

    Returns
    -------
    xarray.Dataset
        ``overlap`` (temperature), the mean of q, with ``overlap_error`` (NaN for two chains, whose one pair has no
        spread); ``spread``, the standard deviation of q; ``within``, the mean of q between the two halves of each
        chain: well above ``overlap`` where chains stay in basins of their own; ``density`` (temperature, q), which is
        P(q).

    Raises
    ------
    InputError
        For a result without draws of several temperatures or without held-out rows, and for a single chain.

    See Also
    --------
    temperax.diagnostics.function_space, temperax.plots.overlap

    Examples
    --------
    >>> study = tx.studies.overlap(tree)
    >>> bool((abs(study["overlap"]) <= 1).all())
    True
    """
    check_count("bins", bins, 2)
    predictive = draws.tempered(tree, max_draws, "tempered_predictions")
    f = predictive["f"].values.astype(float)
    chains, count, rungs = f.shape[:3]
    if chains < 2:
        raise InputError("tree", f"{chains} chain", "has no independent replicas", "sample with num_chains=4")
    shape = _shapes(f)
    pairs = list(combinations(range(chains), 2))
    q = np.stack([_overlaps(shape[a], shape[b]) for a, b in pairs])  # pair, temperature, draw, draw
    mean = q.mean(axis=(2, 3))

    def over(kept: np.ndarray) -> np.ndarray:
        both = [n for n, pair in enumerate(pairs) if set(pair) <= set(kept.tolist())]
        return mean[both].mean(axis=0) if both else np.full(rungs, np.nan)

    edges = np.linspace(-1, 1, bins + 1)
    density = np.stack([np.histogram(q[:, t], edges, density=True)[0] for t in range(rungs)])
    half = count // 2
    halves = [_overlaps(shape[c][:, :half], shape[c][:, half:]).mean(axis=(1, 2)) for c in range(chains)]
    found = draws.with_errors(["temperature"], draws.temperatures(tree), overlap=draws.jackknife(over, chains))
    return found.assign(
        spread=("temperature", q.std(axis=(0, 2, 3))),
        within=("temperature", np.mean(halves, axis=0)),
        density=(("temperature", "q"), density),
    ).assign_coords(q=(edges[1:] + edges[:-1]) / 2)


def _shapes(f: Float[np.ndarray, "chain draw temperature row value"]) -> np.ndarray:
    """Functions as unit vectors (chain, temperature, draw, row · value), centred over the rows."""
    centred = (f - f.mean(axis=3, keepdims=True)).reshape(*f.shape[:3], -1)
    size = np.linalg.norm(centred, axis=-1, keepdims=True)
    # What is left of a constant after rounding is no shape.
    varies = size > 1e-6 * np.abs(f).max(axis=(3, 4))[..., None] * np.sqrt(centred.shape[-1])
    return np.where(varies, centred / np.where(varies, size, 1.0), 0.0).swapaxes(1, 2)


def _overlaps(a: np.ndarray, b: np.ndarray) -> Float[np.ndarray, "temperature one other"]:
    return np.clip(a @ b.swapaxes(-1, -2), -1.0, 1.0)


def uncertainty(
    tree: xr.DataTree,
    energy: Energy,
    x: Any = None,
    *,
    push: float = 3.0,
    key: Array | None = None,
    max_draws: int = 50,
) -> xr.Dataset:
    """Predictive entropy, its part that more data would remove, and disagreement: on held-out inputs and outside.

    The entropy of the averaged predictive distribution is the mean entropy of the draws' own (the noise) plus the
    mutual information between target and parameters (Houlsby et al. 2011).  For classes the three are exact sums over
    classes, added over target columns.  For other targets they are differential entropies by Monte Carlo: of every draw
    s one target y_s is drawn, and the mutual information is the mean of log p(y_s|θ_s) / (1/S Σ_t p(y_s|θ_t)), which
    is zero where all draws agree and at most log S.

    Parameters
    ----------
    tree, energy
        A result with ``keep="all"`` and held-out rows, and what was sampled.
    x
        Inputs out of distribution, as `predict.predictions` takes them: a frame with the data set's columns, or an
        array (row, input) in its units.  By default the held-out inputs, pushed away from the mean of the training
        inputs.
    push
        By what factor they are pushed.
    key
        Randomness of the drawn targets; by default a fixed key.
    max_draws
        Draws used of every chain; at most 500 rows are used.

    Returns
    -------
    xarray.Dataset
        Dimensions (where, temperature), with ``where`` = ``held_out``, ``outside``: ``entropy``, ``noise_entropy``
        and ``mutual_information``, in nats a row (of targets in standardised units), and ``disagreement``: the chance
        that two draws predict different classes, or else the standard deviation of f(x) over draws, in standardised
        units; each with its ``_error``.

    Raises
    ------
    InputError
        For a result without draws of several temperatures or without held-out rows, and for inputs of another shape.

    See Also
    --------
    temperax.predict.summary, temperax.plots.uncertainty

    Examples
    --------
    >>> study = tx.studies.uncertainty(tree, energy)
    >>> study["where"].values.tolist()
    ['held_out', 'outside']
    """
    check_positive("push", push)
    positions = draws.positions(tree, energy, max_draws)
    data = draws.held_out(tree)
    constant = check_result(tree, "constant_data")
    centre = constant["x"].values.mean(axis=0)
    outside = centre + push * (data.x - centre) if x is None else _scaled(energy, x)
    key = jax.random.key(0) if key is None else check_key(key)
    measure = _of_classes if data.task == "classification" else _of_numbers
    places = [np.asarray(inputs)[draws.some_of(len(inputs), draws.MOST_ROWS)] for inputs in (data.x, outside)]
    found = [measure(energy, jnp.asarray(inputs), positions, key) for inputs in places]
    value, error = np.stack([v for v, _ in found], axis=1), np.stack([e for _, e in found], axis=1)
    names = ("entropy", "noise_entropy", "mutual_information", "disagreement")
    coords = draws.temperatures(tree) | {"where": ["held_out", "outside"]}
    pairs = {name: (value[i], error[i]) for i, name in enumerate(names)}
    return draws.with_errors(["where", "temperature"], coords, **pairs)


def _scaled(energy: Energy, x: Any) -> np.ndarray:
    """Inputs as the network takes them, read as `predict.predictions` reads them."""
    if energy.dataset is None:
        raise InputError("energy", energy, "carries no data set", "build it by Energy.mlp or Energy.network")
    return energy.dataset.scaled("x", x)


def _of_classes(energy: Energy, x: Array, positions: np.ndarray, key: Array) -> tuple[np.ndarray, np.ndarray]:
    """Entropy, noise, mutual information and disagreement (4, temperature) of classes, and errors."""
    p = reading.over_draws(reading.means, energy, x, positions).astype(float)
    targets = energy.data["y"].shape[1]
    # chain, draw, temperature, row, target, class
    p = p[..., None, :] if p.shape[-1] > targets else np.stack([1 - p, p], axis=-1)
    votes = np.eye(p.shape[-1])[p.argmax(axis=-1)]

    def over(kept: np.ndarray) -> np.ndarray:
        total = entr(p[kept].mean(axis=(0, 1))).sum(axis=(-2, -1)).mean(axis=-1)
        noise = entr(p[kept]).sum(axis=(-2, -1)).mean(axis=(0, 1, 3))
        differ = 1 - (votes[kept].mean(axis=(0, 1)) ** 2).sum(axis=-1)
        return np.stack([total, noise, total - noise, differ.mean(axis=(-2, -1))])

    return draws.jackknife(over, len(positions))


def _of_numbers(energy: Energy, x: Array, positions: np.ndarray, key: Array) -> tuple[np.ndarray, np.ndarray]:
    """The same of numbers, by Monte Carlo."""
    chains, count, rungs, _ = positions.shape
    keys = jax.random.split(key, positions.shape[:3])
    f = reading.over_draws(reading.means, energy, x, positions)
    own, mixed = _log_densities(energy.bare(), x, jnp.asarray(positions), keys)
    own, mixed = (np.asarray(v, float) for v in (own, mixed))

    def over(kept: np.ndarray) -> np.ndarray:
        here = mixed[kept][..., kept]  # of targets and of densities, the same chains
        total = -(logsumexp(here, axis=-1) - np.log(len(kept))).mean(axis=(0, 1, 3))
        noise = -own[kept].mean(axis=(0, 1, 3))
        return np.stack([total, noise, total - noise, np.sqrt(f[kept].var(axis=(0, 1)).mean(axis=(-2, -1)))])

    return draws.jackknife(over, chains)


@jax.jit
def _log_densities(
    energy: Energy, x: Array, positions: Float[Array, "chain draw temperature parameter"], keys: Array
) -> tuple[Float[Array, "chain draw temperature row"], Float[Array, "chain draw temperature row chain"]]:
    """Log density of every draw's own target under itself, and under the mixture of each chain's draws."""

    def at_one_temperature(inputs: tuple[Array, Array]) -> tuple[Array, Array]:
        theta, keys = inputs
        flat = theta.reshape(-1, theta.shape[-1])

        def drawn(item: tuple[Array, Array]) -> tuple[Array, Array]:
            distribution = energy.distribution(item[0], x)
            y = distribution.sample(item[1])
            return y, distribution.log_prob(y)

        y, own = jax.lax.map(drawn, (flat, keys.reshape(-1)))

        def add(total: Array, position: Array) -> tuple[Array, None]:
            return jnp.logaddexp(total, energy.distribution(position, x).log_prob(y)), None

        def mixture(chain: Array) -> Array:
            return jax.lax.scan(add, jnp.full_like(own, -jnp.inf), chain)[0] - jnp.log(len(chain))

        return own, jnp.moveaxis(jax.lax.map(mixture, theta), 0, -1)

    own, mixed = jax.lax.map(at_one_temperature, (jnp.moveaxis(positions, 2, 0), jnp.moveaxis(keys, 2, 0)))
    lead = positions.shape[:2]
    own, mixed = (jnp.moveaxis(v, 0, 1).reshape(*lead, *jnp.moveaxis(v, 0, 1).shape[1:]) for v in (own, mixed))
    return own, mixed
