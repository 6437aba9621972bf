"""Training: the minima of U0 + E from many starts at once, by any optax optimiser or down to the bottom."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from temperax.energies.energy import Energy
from temperax.errors import InputError, check_count, check_fraction, check_key
from temperax.machine import sharding
from temperax.machine.compiling import mixing_types
from temperax.machine.progress import tqdm, waiting
from temperax.training.bottoms import bottoms
from temperax.training.landscape import (
    CALM,
    NEARER,
    check_energy,
    check_positions,
    energies_at,
    fault_of,
    generator,
    has_units,
    loss_and_gradient,
    prior_draws,
    scaled_draws,
)

#: Steps of one compiled call, between which stopping is decided.
BLOCK_STEPS = 100


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
        What ended each start: ``plateau``, ``held-out`` or ``max_steps``; of descents to the bottom ``bottom``, or
        ``no bottom`` where none was found and the start stayed where it was.

    See Also
    --------
    temperax.optimise.minimise

    Examples
    --------
    >>> optima = tx.optimise.minimise(key, energy, num_starts=4)
    >>> optima.position.shape == (4, energy.size)
    True
    >>> bool(optima.score[optima.best()] == optima.score.min())
    True
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
#: Steps of `train`, and its optimiser.
TRAINED = 30_000
_TRAINING = optax.adam(optax.cosine_decay_schedule(1e-2, TRAINED))


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
        Any optax optimiser.  By default `default_optimiser` for networks with hidden units and with ``holdout``, else
        steps by the signs of the gradient and L-BFGS, in turn until neither gains a tenth of a nat: they know no scale
        of the parameters.
    max_steps
        Most steps of an optimiser's start; descents to the bottom end where it is.
    patience, tolerance
        When a start has reached its plateau, with an optimiser.
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

    See Also
    --------
    temperax.optimise.polish, temperax.map_estimate

    Examples
    --------
    >>> import optax
    >>> optima = tx.optimise.minimise(key, energy, num_starts=4, optimiser=optax.adam(1e-2), max_steps=500)
    >>> bool((optima.data_energy < energy.data_energy(energy.sample_prior(key))).all())
    True
    """
    key = check_key(key)
    check_energy(energy)
    num_starts = check_count("num_starts", num_starts)
    max_steps = check_count("max_steps", max_steps)
    patience = check_count("patience", patience)
    if isinstance(tolerance, bool) or not isinstance(tolerance, (int, float)) or not 0 <= tolerance < np.inf:
        raise InputError("tolerance", tolerance, "is not a finite number of at least 0", "give nats such as 1e-3")
    if optimiser is not None and not isinstance(optimiser, optax.GradientTransformation):
        raise InputError("optimiser", optimiser, "is not an optax optimiser", "give one such as optax.adam(0.01)")
    train, held_out = (energy, None) if holdout is None else _hold_out(key, energy, holdout)
    energy, train = energy.bare(), train.bare()
    if start is not None:
        start = check_positions("start", start, (num_starts, energy.size))
    if optimiser is None and holdout is None and not has_units(energy):
        with waiting("optimise", progress):
            position, steps, found = bottoms(energy, key, num_starts, start)
        energies = energies_at(energy, position)
        stopped = ["bottom" if at_bottom else "no bottom" for at_bottom in found]
        return Optima(position, *energies, np.sum(energies, axis=0), steps, stopped)
    optimiser = _DEFAULT if optimiser is None else optimiser
    scale = CALM if has_units(energy) else 1.0
    margin, reason = tolerance * energy.size, "plateau" if holdout is None else "held-out"
    position, score = np.zeros((num_starts, energy.size), jnp.result_type(float)), np.full(num_starts, np.inf)
    steps, stopped = np.zeros(num_starts, int), [reason] * num_starts
    with tqdm(total=max_steps, desc="optimise", unit="step", disable=not progress) as bar:
        bar.set_postfix_str("compiling …")
        for again, nearer in enumerate(NEARER if start is None else NEARER[:1]):
            running = ~np.isfinite(score)  # all, and then those that have found nothing finite
            if start is None:
                start_key = jax.random.fold_in(key, again) if again else key
                begun = np.float32(scale * nearer) * np.asarray(prior_draws(energy, start_key, num_starts))
            else:
                begun = start
            state = _begin(optimiser, begun)
            reference, waited, taken = np.full(num_starts, np.inf), np.zeros(num_starts, int), 0
            while running.any() and taken < max_steps:
                size = min(BLOCK_STEPS, max_steps - taken)
                state = _advance(optimiser, train, held_out, state, np.int32(size), running)
                loss = np.asarray(state.best_loss)
                steps, taken = steps + size * running, taken + size
                improved = loss < reference - margin
                reference = np.where(improved, loss, reference)
                waited = np.where(improved, 0, waited + 1)
                running &= waited < patience
                bar.update(size)
                bar.set_postfix(energy=f"{loss.min():.1f}", refresh=False)
            new = ~np.isfinite(score)
            position = np.where(new[:, None], state.best_position, position)
            score = np.where(new, state.best_loss, score)
            stopped = ["max_steps" if still else before for still, before in zip(running, stopped, strict=True)]
            if np.isfinite(score).all():
                break
    if not np.isfinite(score).any():
        fault = fault_of(energy, position[0])
        problem = "is not finite on the way down from the prior" + (f" ({fault})" if fault else "")
        raise InputError("energy", energy.model, problem, "lower the learning rate")
    return Optima(position, *energies_at(energy, position), score, steps, stopped)


def train(key: Array, energy: Energy, num_starts: int, *, progress: bool = False) -> Optima:
    """Minimise U0 + E of a network on all rows, for as long as deep ones need: from below the posterior's energies.

    Weights begin at N(0, gain²/fan-in) for their activation (LeCun et al. 1998, He et al. 2015), the last layer's at
    .1²/fan-in, biases at 0: a function near 0 whose layers neither blow up nor die away.  Then Adam on all rows, whose
    rate falls from .01 to 0 as a cosine over 30 000 steps (Loshchilov & Hutter 2017).

    Parameters
    ----------
    key, energy, num_starts, progress
        As in `minimise`.

    See Also
    --------
    temperax.optimise.minimise

    Examples
    --------
    >>> found = tx.optimise.train(jax.random.key(0), energy, 2)
    >>> found.stopped
    ['schedule', 'schedule']
    """
    optima = minimise(
        key,
        energy,
        num_starts,
        optimiser=_TRAINING,
        max_steps=TRAINED,
        patience=TRAINED,
        start=scaled_draws(energy, key, num_starts),
        progress=progress,
    )
    return optima._replace(stopped=["schedule"] * num_starts)


def _hold_out(key: Array, energy: Energy, share: float) -> tuple[Energy, Energy]:
    """The same model on most of the rows, and on the held-out rest."""
    check_fraction("holdout", share)
    if energy.dataset is None:
        raise InputError("holdout", share, "needs an energy with rows", "use Energy.mlp, or leave holdout out")
    rows = len(energy.dataset.x)
    count = max(1, round(share * rows))
    if rows == count:
        raise InputError("holdout", share, f"leaves no training rows of {rows}", "hold out fewer")
    order = generator(key).permutation(rows)
    return _rows(energy, order[count:]), _rows(energy, order[:count])


def _rows(energy: Energy, rows: np.ndarray) -> Energy:
    """The same model on some of the rows."""
    return energy.with_data(jax.tree.map(lambda a: np.asarray(a)[rows], energy.data))


@partial(jax.jit, static_argnames="optimiser")
def _begin(optimiser: optax.GradientTransformation, position: Array) -> _Training:
    infinite = jnp.full(len(position), jnp.inf, position.dtype)
    return _Training(position, jax.vmap(optimiser.init)(position), position, infinite)


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
        loss, gradient = loss_and_gradient(energy, state.position)
        # Where training rows have no energy, there is no optimum whatever the others say.
        score = loss
        if held_out is not None:
            score = jnp.where(jnp.isfinite(loss), held_out.data_energy(state.position), jnp.inf)
        better = score < state.best_loss  # false for NaN
        with mixing_types():
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
