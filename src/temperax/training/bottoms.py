"""The bottom of U0 + E below positions of any scale: by the signs of its gradient, and by L-BFGS."""

import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize
from jaxtyping import Array, Bool, Float, Int

from temperax.energies.energy import Energy
from temperax.errors import check_array
from temperax.training.landscape import (
    REDRAWN,
    check_energy,
    check_positions,
    energies_at,
    fault_of,
    generator,
    loss_and_gradient,
    nowhere,
    prior_draws,
)

#: An energy is at its bottom where another descent gains less than this, in nats; so many are tried.
AT_BOTTOM, DESCENTS = 0.1, 20
#: Steps that find the scales of the parameters before each descent.
SIGN_STEPS = 100
#: Draws of width 1 around 0, of which the first that has an energy is descended from.
NEAR = 4
#: A bottom higher than the lowest by more than this, in nats, and one nat a parameter is looked for again, in so many
#: rounds.
WEIGHTLESS, ROUNDS = 10.0, 8


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

    See Also
    --------
    temperax.optimise.minimise, temperax.learning_coefficient

    Examples
    --------
    >>> optima = tx.optimise.minimise(key, energy, num_starts=4)
    >>> bottom = tx.optimise.polish(energy, optima.position[optima.best()])
    >>> bool(energy.prior_energy(bottom) + energy.data_energy(bottom) <= optima.score.min() + 1e-3)
    True
    """
    check_energy(energy)
    optimum = check_array("position", position, "give an optimum")[None]
    position = check_positions("position", optimum, (1, energy.size))[0]
    found = _lbfgs(energy.relative_to(position), position)
    return found.x.astype(position.dtype) if found.fun < 0 else position


def bottoms(
    energy: Energy, key: Array, number: int, start: Float[np.ndarray, "start parameter"] | None = None
) -> tuple[Float[np.ndarray, "start parameter"], Int[np.ndarray, " start"], Bool[np.ndarray, " start"]]:
    """Bottoms of U0 + E below given positions or below draws, the gradients that each took, and whether it is one.

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
    return position, steps, np.isfinite(score)


def _draws_to_descend(energy: Energy, key: Array, number: int) -> Float[np.ndarray, "number 2 parameter"]:
    """Two positions each from which to descend: the lowest of the draws from the prior, and one of width 1 around 0.

    A prior that says next to nothing is far too wide to descend from its draws, and what is near 0, or lowest, may all
    lie above one bottom.

    Raises
    ------
    InputError
        If the energy is finite, with a finite gradient, at none: with what is not finite at 0.
    """
    tries = len(REDRAWN)
    wide = np.asarray(prior_draws(energy, key, number * tries)).reshape(number, tries, -1)
    wide = wide * REDRAWN[:, None].astype(wide.dtype)
    narrow = generator(key).normal(size=(number, NEAR, energy.size)).astype(wide.dtype)
    draws = np.concatenate([wide, narrow], axis=1)
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
        if not np.isfinite(_on_host(relative, position)[0]):  # at a wall, rounded into it
            break
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
    value, gradient = loss_and_gradient(energy, position.astype(jnp.result_type(float)))
    gradient = np.asarray(gradient, float)
    sound = np.isfinite(value) and np.isfinite(gradient).all()
    return (float(value), gradient) if sound else (np.inf, np.zeros_like(gradient))
