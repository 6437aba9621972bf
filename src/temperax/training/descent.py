"""Training: the minima of U0 + E by any optax optimiser from many starts at once, polished by L-BFGS."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import scipy.optimize
from jaxtyping import Array, Float, Int

from temperax.energies.energy import Energy
from temperax.energies.models import NetworkModel
from temperax.errors import InputError, check_array, check_count, check_fraction, check_key, check_single
from temperax.machine import sharding
from temperax.machine.progress import tqdm

#: Steps of one compiled call, between which stopping is decided.
BLOCK_STEPS = 100
#: What the parameters of a network's prior draw are multiplied by to begin at.  Functions of deep networks under
#: N(0, 1) have values of hundreds, from which the way down ends in optima that are worse than no function at all.
CALM = 0.3


class Optima(NamedTuple):
    """Where the starts ended, the best point that each has seen.

    Attributes
    ----------
    position
        (start, parameter), unconstrained.
    prior_energy, data_energy
        U0 and E there, in nats.
    score
        What was minimised at the end: U0 + E, or the data energy of held-out rows, in nats.
    num_steps
        Steps each start took.
    stopped
        What ended each start: ``plateau``, ``held-out`` or ``max_steps``.
    """

    position: Float[np.ndarray, "start parameter"]
    prior_energy: Float[np.ndarray, " start"]
    data_energy: Float[np.ndarray, " start"]
    score: Float[np.ndarray, " start"]
    num_steps: Int[np.ndarray, " start"]
    stopped: list[str]

    def best(self) -> int:
        """Index of the start with the lowest score."""
        return int(np.nanargmin(self.score))


class _Training(NamedTuple):
    """State of one start."""

    position: Array
    optimiser: optax.OptState
    best_position: Array
    best_loss: Array


def default_optimiser() -> optax.GradientTransformation:
    """Adam at 0.02, halved every 500 steps: quick on standardised data, and it settles."""
    return optax.adam(optax.exponential_decay(0.02, transition_steps=500, decay_rate=0.5))


_DEFAULT = default_optimiser()


def minimise(
    key: Array,
    energy: Energy,
    num_starts: int = 8,
    *,
    optimiser: optax.GradientTransformation | None = None,
    max_steps: int = 5000,
    patience: int = 3,
    tolerance: float = 1e-3,
    holdout: float | None = None,
    start: Float[np.ndarray, "start parameter"] | None = None,
    progress: bool = False,
) -> Optima:
    """Minimise U0 + E from several draws of the prior, all at once; those of networks are shrunk to 0.3 of their size.

    A start stops when its score has not fallen by ``tolerance`` nats a parameter over ``patience`` blocks of 100
    steps, and returns the best point it has seen.  The score is U0 + E or, with ``holdout``, the data energy of rows
    that are held out of the training rows: early stopping, without which a learned noise scale collapses wherever the
    network can fit every row.

    Parameters
    ----------
    key
        Randomness of the starts.
    energy
        What to minimise.
    num_starts
        How many independent starts.
    optimiser
        Any optax optimiser; by default `default_optimiser`.
    max_steps
        Most steps of a start.
    patience, tolerance
        When a start has reached its plateau.
    holdout
        Share of the training rows to decide stopping on; None trains on all rows until the loss is level.
    start
        Unconstrained positions to begin at, one a start; by default drawn as above.
    progress
        Show a progress bar.

    Returns
    -------
    Optima

    Raises
    ------
    InputError
        For bad arguments, if there are no rows to hold out, and if no start keeps a finite loss.
    """
    key = check_key(key)
    _check_energy(energy)
    check_count("num_starts", num_starts)
    check_count("max_steps", max_steps)
    check_count("patience", patience)
    optimiser = _DEFAULT if optimiser is None else optimiser
    if isinstance(tolerance, bool) or not isinstance(tolerance, (int, float)) or not 0 <= tolerance < np.inf:
        raise InputError("tolerance", tolerance, "is not a finite number of at least 0", "give nats such as 1e-3")
    if not isinstance(optimiser, optax.GradientTransformation):
        raise InputError("optimiser", optimiser, "is not an optax optimiser", "give one such as optax.adam(0.01)")
    train, held_out = (energy, None) if holdout is None else _hold_out(key, energy, holdout)
    if start is None:
        scale = np.float32(CALM if isinstance(energy.model, NetworkModel) else 1.0)
        state = _begin_at_draws(optimiser, energy, key, num_starts, scale)
    else:
        state = _begin(optimiser, check_positions("start", start, (num_starts, energy.size)))
    margin = tolerance * energy.size
    reference = np.full(num_starts, np.inf)
    waited, steps, running = np.zeros(num_starts, int), np.zeros(num_starts, int), np.ones(num_starts, bool)
    with tqdm(total=max_steps, desc="optimise", unit="step", disable=not progress) as bar:
        bar.set_postfix_str("compiling …")
        while running.any() and steps.max() < max_steps:
            size = min(BLOCK_STEPS, max_steps - int(steps.max()))
            state = _advance(optimiser, train, held_out, state, np.int32(size), running)
            loss = np.asarray(state.best_loss)
            steps += size * running
            improved = loss < reference - margin
            reference = np.where(improved, loss, reference)
            waited = np.where(improved, 0, waited + 1)
            running &= waited < patience
            bar.update(size)
            bar.set_postfix(energy=f"{loss.min():.1f}", refresh=False)
    if not np.isfinite(state.best_loss).any():
        raise InputError(
            "energy", energy.model, "is not finite on the way down from the prior", "lower the learning rate"
        )
    reason = "plateau" if holdout is None else "held-out"
    stopped = ["max_steps" if still else reason for still in running]
    position = np.asarray(state.best_position)
    return Optima(position, *energies_at(energy, position), np.asarray(state.best_loss), steps, stopped)


def polish(energy: Energy, position: Float[np.ndarray, " parameter"]) -> Float[np.ndarray, " parameter"]:
    """Go on from an optimum of `minimise` to the bottom of U0 + E, by L-BFGS on all rows.

    Energies are counted from where it starts, so that single precision sees the last hundredths of a nat.

    Parameters
    ----------
    energy
        What was minimised.
    position
        Where to start, unconstrained.

    Returns
    -------
    numpy.ndarray
        The bottom, or the start if nothing lower was found.

    Raises
    ------
    InputError
        If the energy is none that a gradient can lower, or the position is not one of its own.
    """
    _check_energy(energy)
    check_positions("position", check_array("position", position, "give an optimum")[None], (1, energy.size))
    relative = energy.relative_to(position)

    def loss(q: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = _loss_and_gradient(relative, q.astype(jnp.result_type(float)))
        return float(value), np.asarray(gradient, float)

    found = scipy.optimize.minimize(loss, position, jac=True, method="L-BFGS-B", options={"maxiter": 1000})
    return found.x.astype(np.asarray(position).dtype) if found.fun < 0 else position


def _hold_out(key: Array, energy: Energy, share: float) -> tuple[Energy, Energy]:
    """The same model on most of the rows, and on the held-out rest."""
    check_fraction("holdout", share)
    if energy.dataset is None:
        raise InputError("holdout", share, "needs an energy with rows", "use Energy.mlp, or leave holdout out")
    rows = len(energy.dataset.x)
    count = max(1, round(share * rows))
    if rows == count:
        raise InputError("holdout", share, f"leaves no training rows of {rows}", "hold out fewer")
    order = np.random.default_rng(np.asarray(jax.random.key_data(key)).ravel()).permutation(rows)
    return _rows(energy, order[count:]), _rows(energy, order[:count])


def _check_energy(energy: object) -> None:
    """Say so where something is no energy that a gradient can lower."""
    if not isinstance(energy, Energy):
        raise InputError("energy", energy, "is not an Energy", "give one such as Energy.mlp(data)")
    if energy.discrete:
        raise InputError("energy", energy, "has spins, which follow no gradient", "anneal them by systems.heat_bath")


def _rows(energy: Energy, rows: np.ndarray) -> Energy:
    """The same model on some of the rows."""
    return energy.with_data(jax.tree.map(lambda a: np.asarray(a)[rows], energy.data))


@partial(jax.jit, static_argnames="number")
def prior_draws(energy: Energy, key: Array, number: int) -> Float[Array, "number parameter"]:
    """So many positions from the prior."""
    return jax.vmap(energy.sample_prior)(jax.random.split(key, number))


def check_positions(argument: str, positions: object, shape: tuple[int, int]) -> np.ndarray:
    """Positions of the shape that is needed and finite, or what is wrong with them."""
    found = check_array(argument, positions, "give one row of parameters each")
    if found.shape != shape:
        raise InputError(argument, found.shape, f"is not of shape {shape}", "give one row of parameters each")
    check_single(argument, positions, found)
    return found.astype(jnp.result_type(float))


@jax.jit
def _loss_and_gradient(energy: Energy, position: Array) -> tuple[Array, Array]:
    return jax.value_and_grad(lambda q: energy.prior_energy(q) + energy.data_energy(q))(position)


@partial(jax.jit, static_argnames="optimiser")
def _begin(optimiser: optax.GradientTransformation, position: Array) -> _Training:
    infinite = jnp.full(len(position), jnp.inf, position.dtype)
    return _Training(position, jax.vmap(optimiser.init)(position), position, infinite)


@partial(jax.jit, static_argnames=("optimiser", "number"))
def _begin_at_draws(
    optimiser: optax.GradientTransformation, energy: Energy, key: Array, number: int, scale: Array
) -> _Training:
    """Begin at draws from the prior, shrunk."""
    return _begin(optimiser, scale * prior_draws(energy, key, number))


@partial(jax.jit, static_argnames="optimiser")
def _advance(
    optimiser: optax.GradientTransformation,
    energy: Energy,
    held_out: Energy | None,
    state: _Training,
    num_steps: Array,
    running: Array,
) -> _Training:
    """A block of steps of the starts that still run."""

    def step(state: _Training) -> _Training:
        loss, gradient = _loss_and_gradient(energy, state.position)
        score = loss if held_out is None else held_out.data_energy(state.position)
        better = score < state.best_loss  # false for NaN
        updates, optimiser_state = optimiser.update(gradient, state.optimiser, state.position)
        return _Training(
            optax.apply_updates(state.position, updates),
            optimiser_state,
            jnp.where(better, state.position, state.best_position),
            jnp.where(better, score, state.best_loss),
        )

    def block(item: tuple[_Training, Array]) -> _Training:
        state, runs = item
        return jax.lax.fori_loop(0, jnp.where(runs, num_steps, 0), lambda _, state: step(state), state)

    # One after the other on a processor, where a finished start costs nothing; together on an accelerator.
    each: Callable = jax.lax.map if sharding.on_processor() else lambda f, xs: jax.vmap(f)(xs)
    return each(block, (state, running))


def energies_at(
    energy: Energy, positions: Float[np.ndarray, "start parameter"]
) -> tuple[Float[np.ndarray, " start"], Float[np.ndarray, " start"]]:
    """U0 and E of every position, in nats and double precision."""
    found = np.array([energy.relative_to(position).offsets() for position in positions])
    return found[:, 0], found[:, 1]
