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
from temperax.energies.parameters import parameter_name
from temperax.errors import InputError, check_array, check_count, check_fraction, check_key, check_single, listed
from temperax.machine import sharding
from temperax.machine.compiling import mixing_types
from temperax.machine.progress import tqdm

#: Steps of one compiled call, between which stopping is decided.
BLOCK_STEPS = 100
#: What the parameters of a network's prior draw are multiplied by to begin at.  Functions of deep networks under
#: N(0, 1) have values of hundreds, from which the way down ends in optima that are worse than no function at all.
CALM = 0.3
#: Where a start without a finite energy is drawn again: times the prior's draws, ever nearer to 0.
NEARER = np.concatenate([np.ones(3), 0.5 ** np.arange(1.0, 30.0)])
#: An energy is at its bottom where another descent gains less than this, in nats; so many are tried.
AT_BOTTOM, DESCENTS = 0.1, 20
#: Steps that find the scales of the parameters before each descent.
SIGN_STEPS = 100
#: A bottom higher than the lowest by more than this, in nats, and one nat a parameter is looked for again, in so many
#: rounds.
WEIGHTLESS, ROUNDS = 10.0, 8


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
        Any optax optimiser.  By default `default_optimiser` for networks and with ``holdout``, else steps by the signs
        of the gradient and L-BFGS, in turn until neither gains a tenth of a nat: they know no scale of the parameters.
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
    if isinstance(tolerance, bool) or not isinstance(tolerance, (int, float)) or not 0 <= tolerance < np.inf:
        raise InputError("tolerance", tolerance, "is not a finite number of at least 0", "give nats such as 1e-3")
    if optimiser is not None and not isinstance(optimiser, optax.GradientTransformation):
        raise InputError("optimiser", optimiser, "is not an optax optimiser", "give one such as optax.adam(0.01)")
    train, held_out = (energy, None) if holdout is None else _hold_out(key, energy, holdout)
    if start is not None:
        start = check_positions("start", start, (num_starts, energy.size))
    if optimiser is None and holdout is None and not isinstance(energy.model, NetworkModel):
        return _bottoms(energy, key, num_starts, start)
    optimiser = _DEFAULT if optimiser is None else optimiser
    scale = CALM if isinstance(energy.model, NetworkModel) else 1.0
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
        fault = fault_of(energy, position[0]) or "lower the learning rate"
        raise InputError("energy", energy.model, "is not finite on the way down from the prior", fault)
    return Optima(position, *energies_at(energy, position), score, steps, stopped)


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
    found = _lbfgs(energy.relative_to(position), position)
    return found.x.astype(np.asarray(position).dtype) if found.fun < 0 else position


def _bottoms(energy: Energy, key: Array, number: int, start: np.ndarray | None) -> Optima:
    """Bottoms of U0 + E below given positions or below draws.

    A bottom is where another descent gains less than `AT_BOTTOM` nats.  A start below which none is found stays where
    it was: hierarchies whose scales may vanish have none.  A draw whose bottom is so far above the lowest that its mode
    has no weight to speak of is drawn again.
    """
    position = np.empty((number, energy.size), jnp.result_type(float))
    steps, score = np.zeros(number, int), np.full(number, np.inf)
    wanted = np.ones(number, bool)
    for again in range(ROUNDS if start is None else 1):
        draws = _draws_to_descend(energy, jax.random.fold_in(key, again), number) if start is None else start[:, None]
        position = position if again else draws[:, 0].copy()
        for i in np.flatnonzero(wanted):
            for draw in draws[i]:
                end, taken, at_bottom = _descend(energy, draw)
                steps[i] += taken
                height = float(np.sum(energies_at(energy, end[None]))) if at_bottom else np.inf
                if height < score[i]:
                    position[i], score[i] = end, height
        wanted = score > score.min() + WEIGHTLESS + energy.size
        if not wanted.any():
            break
    stopped = ["bottom" if np.isfinite(height) else "no bottom" for height in score]
    energies = energies_at(energy, position)
    return Optima(position, *energies, np.sum(energies, axis=0), steps, stopped)


def _draws_to_descend(energy: Energy, key: Array, number: int) -> Float[np.ndarray, "number 2 parameter"]:
    """Two positions each from which to descend: the lowest of the draws from the prior, and one of width 1 around 0.

    A prior that says next to nothing is far too wide to descend from its draws, and what is near 0, or lowest, may all
    lie above one bottom.

    Raises
    ------
    InputError
        If the energy is finite, with a finite gradient, at none: with what is not finite at 0.
    """
    tries = len(NEARER)
    wide = np.asarray(prior_draws(energy, key, number * tries)).reshape(number, tries, -1)
    wide = wide * NEARER[:, None].astype(wide.dtype)
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)).ravel())
    draws = np.concatenate([wide, rng.normal(size=(number, 4, energy.size)).astype(wide.dtype)], axis=1)
    absolute = energy.relative_to(None)
    heights = np.array([[_on_host(absolute, draw)[0] for draw in tried] for tried in draws])
    if not np.isfinite(heights).any(axis=1).all():
        raise nowhere(energy, fault_of(energy, 0 * draws[0, 0]) or "but at 0")
    lowest, near = heights[:, :tries].argmin(axis=1), np.isfinite(heights[:, tries:]).argmax(axis=1) + tries
    each = np.arange(number)
    near = np.where(np.isfinite(heights[each, near]), near, lowest)
    return draws[each[:, None], np.stack([lowest, near], axis=1)]


def _descend(
    energy: Energy, start: Float[np.ndarray, " parameter"]
) -> tuple[Float[np.ndarray, " parameter"], int, bool]:
    """The bottom below a start, the gradients it took, and whether it is one; the start where none is found."""
    position, steps = start, 0
    for _ in range(DESCENTS):  # each counts energies anew, since far from where it began no digits are left
        relative = energy.relative_to(position)
        nearer, height = _rprop(relative, position)
        end = _lbfgs(relative, nearer)
        steps += SIGN_STEPS + end.nfev
        below, gain = (end.x, end.fun) if end.fun < height else (nearer, height)
        if not np.isfinite(below).all() or gain > 0:
            break
        position = below.astype(start.dtype)
        if gain > -AT_BOTTOM:
            return (position, steps, True) if _resolved(relative, position) else (start, steps, False)
    return start, steps, False


def _resolved(energy: Energy, bottom: Float[np.ndarray, " parameter"]) -> bool:
    """Whether a bottom is wider than the last digits of the position.

    It is not at the end of a hierarchy whose scale vanishes: there a density without bound looks bounded.
    """
    digits = 4 * np.finfo(bottom.dtype).eps * bottom.astype(float)
    signs = np.random.default_rng(0).choice([-1.0, 1.0], size=(4, len(bottom)))
    height = _on_host(energy, bottom.astype(float))[0]
    return all(_on_host(energy, bottom + sign * digits)[0] < height + 1.0 for sign in signs)


def _rprop(energy: Energy, start: Float[np.ndarray, " parameter"]) -> tuple[Float[np.ndarray, " parameter"], float]:
    """A position below the start and its energy, by steps that know signs alone (Riedmiller & Braun 1993).

    A step grows while its parameter's gradient keeps its sign, so that scales of 10⁻³ and 10⁶ are found within a
    hundred steps, which L-BFGS, to which they are one problem of a terrible condition, takes for the bottom.
    """
    position = best = start.astype(float)
    lowest, step = np.inf, np.maximum(1e-3, 1e-2 * np.abs(position))
    last = np.zeros_like(position)
    for _ in range(SIGN_STEPS):
        value, gradient = _on_host(energy, position)
        if not np.isfinite(value):
            position, step, last = best, 0.3 * step, 0 * last
            continue
        if value < lowest:
            lowest, best = value, position
        turned = gradient * last < 0
        step = step * np.where(turned, 0.5, np.where(gradient * last > 0, 1.3, 1.0))
        last = np.where(turned, 0.0, gradient)
        position = position - np.sign(last) * step
    return best, lowest


def _lbfgs(energy: Energy, start: Float[np.ndarray, " parameter"]) -> scipy.optimize.OptimizeResult:
    """U0 + E lowered by L-BFGS."""

    def loss(position: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = _on_host(energy, position)
        return min(value, 1e30), gradient  # the line search steps back from where there is no energy

    options = {"maxiter": 1000, "gtol": 1e-9}
    return scipy.optimize.minimize(loss, start, jac=True, method="L-BFGS-B", options=options)


def _on_host(energy: Energy, position: Float[np.ndarray, " parameter"]) -> tuple[float, np.ndarray]:
    """U0 + E and its gradient in double precision; infinite, and 0, where one of them is not finite."""
    value, gradient = _loss_and_gradient(energy, position.astype(jnp.result_type(float)))
    gradient = np.asarray(gradient, float)
    sound = np.isfinite(value) and np.isfinite(gradient).all()
    return (float(value), gradient) if sound else (np.inf, np.zeros_like(gradient))


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


def fault_of(energy: Energy, position: Float[np.ndarray, " parameter"]) -> str:
    """What is not finite at a position, in words: parameters of the prior, rows of the data, or the gradient."""
    if energy.discrete:
        return "" if np.isfinite(energy.data_energy(jnp.asarray(position))) else "the data energy is not finite"
    at = jnp.asarray(position, jnp.result_type(float))
    for (name, _), terms in zip(energy.layout, jax.tree.leaves(energy.prior_terms(at)), strict=True):
        if not np.isfinite(np.asarray(terms)).all():
            return f"the prior energy of {name} is not finite"
    rows = np.atleast_1d(np.asarray(energy.model.row_energies(energy.unravel(at), energy.data)))
    if (bad := np.flatnonzero(~np.isfinite(rows))).size:
        return "the data energy is not finite" if rows.size == 1 else f"rows {listed(bad)} have no finite data energy"
    bad = np.flatnonzero(~np.isfinite(np.asarray(_loss_and_gradient(energy, at)[1])))
    return (
        f"the gradient is not finite at {listed(parameter_name(energy.layout, int(i)) for i in bad)}"
        if bad.size
        else ""
    )


def nowhere(energy: Energy, fault: str) -> InputError:
    """That chains cannot start anywhere, with what is not finite at the last place that was tried."""
    problem = f"has no finite energy where chains could start ({fault})"
    return InputError("energy", energy.model, problem, "give start=, or mend the energy there")


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


def energies_at(
    energy: Energy, positions: Float[np.ndarray, "start parameter"]
) -> tuple[Float[np.ndarray, " start"], Float[np.ndarray, " start"]]:
    """U0 and E of every position, in nats and double precision."""
    found = np.array([energy.relative_to(position).offsets() for position in positions])
    return found[:, 0], found[:, 1]
