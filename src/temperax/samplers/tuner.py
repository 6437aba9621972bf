"""What the rounds of a ladder change: its rungs, their number, the kernel's tuning, and a reference fitted on the way.

Rungs at equal steps of the communication barrier, and 2Λ + 1 of them: Syed, Bouchard-Côté, Deligiannidis & Doucet,
JRSS-B 2022, doi 10.1111/rssb.12464.
"""

import math
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float, Int

from temperax.engine import adaptation, engine
from temperax.engine import ladder as ladders
from temperax.engine.ladder import Barrier
from temperax.engine.program import Program, State
from temperax.engine.tallies import Tally
from temperax.engine.tempering import Reference, fitted, target_slot
from temperax.machine import sharding
from temperax.samplers.runs import Run

#: Numbers of rungs that "auto" takes, so that ladders on their way to different lengths share compiled programs.
SIZES = (4, 6, 8, 12, 16, 20, 24, 32, 40, 48, 56, 64)
MOST_REPLICAS = SIZES[-1]
#: A replica makes transitions until its path energy keeps less than this correlation over a scan.
LAG_ONE = 0.7
#: At most so many of them where the user does not say.
MOST_TRANSITIONS = 4
#: "auto" wants no pair to reject more often than this.
WORST_REJECTION = 0.8
#: Rounds of fewer scans decide nothing about the path.
LEARNT = 64
#: A ladder from β = 0 starts colder than rungs of which more than this share does,
LOST = 0.25
#: or of whose energies more than this share is infinite: β = 0 leads nowhere then.
INFINITE = 0.9
#: Factor by which "auto" grows a ladder with such a pair.
GROWTH = 1.6


class Tuner:
    """What changes between rounds: the ladder, its length, the kernel's tuning, and the reference."""

    def __init__(self, *, fixed: bool, auto: bool, path: str, transitions: tuple[int, int]) -> None:
        self.fixed, self.auto, self.path, self.transitions = fixed, auto, path, transitions
        self.history: list[dict[str, Any]] = []

    def arrays(self, program: Program) -> dict[str, np.ndarray]:
        """What a checkpoint keeps of the ladder and the reference."""
        found = {"betas": np.asarray(program.betas)}
        if isinstance(program.path, Reference):
            found |= {"mean": np.asarray(program.path.mean), "scale": np.asarray(program.path.scale)}
        return found

    def restore(self, program: Program, run: Run) -> Program:
        """The program with the ladder and the reference of a checkpoint."""
        self.history = list(run.notes["rounds"])
        betas = run.arrays["betas"]
        path = program.path
        if "mean" in run.arrays:
            values: Any = run.arrays["mean"], run.arrays["scale"]
            path = Reference(*values)
        keep = np.array([target_slot(betas)], np.int32)
        return program.refit(betas, path=path, keep=keep)

    def learn(self, program: Program, key: Array, state: State, tally: Tally) -> tuple[Program, State]:
        """Move to the ladder that a round suggests."""
        found = ladders.barrier(np.asarray(program.betas, float), tally.rejection)
        self.history.append(
            {
                "scans": tally.length,
                "path": program.path.name,
                "replicas": len(found.betas),
                "barrier": round(found.total, 3),
                "worst_rejection": round(float(found.rejection.max()), 3),
            }
        )
        state = engine.end_window(program, state)
        transitions = transitions_needed(np.asarray(state.transitions), tally.lag_one, *self.transitions)
        state = state._replace(transitions=sharding.place(program.mesh, transitions))
        first_fit = False
        if tally.fits:
            first_fit = not isinstance(program.path, Reference)
            program = program.placed(path=fitted(*tally.target))
            state, _ = engine.evaluate_again(program, key, state)
        if self.fixed:
            return program, state
        if first_fit:  # nothing is known of its barrier but that it is short: that of the way from the prior misleads
            number = ladders.FIRST_REPLICAS if self.auto else len(found.betas)
            betas = ladders.linear(number, hottest=float(found.betas[0]), coldest=float(found.betas[-1]))
        else:
            left = found if np.asarray(state.journeys.restarts).any() else self._passable(found, tally)
            betas = ladders.adaptive(left, max(self._replicas(left), SIZES[0] if self.auto else len(found.betas)))
        betas = ladders.pin(betas, 1.0) if betas[0] < 1.0 < betas[-1] else betas
        return _move(program, state, found, betas)

    def _passable(self, found: Barrier, tally: Tally) -> Barrier:
        """Of a ladder that no replica has passed, what is colder than infinite energies and steps that fail."""
        lost = (tally.diverging > LOST) | (tally.infinite > INFINITE)
        if self.path != "likelihood" or tally.length < LEARNT or found.betas[0] != 0 or not lost.any():
            return found
        first = min(int(np.flatnonzero(lost)[-1]) + 1, len(found.betas) - 2)
        self.history[-1] |= {"left_out": float(found.betas[first])}
        return ladders.barrier(found.betas[first:], found.rejection[first:])

    def _replicas(self, found: Barrier) -> int:
        """How many rungs the next ladder has."""
        now = len(found.betas)
        if not self.auto:
            return now
        wanted = math.ceil(2 * found.total) + 1
        if found.rejection.max() > WORST_REJECTION:
            wanted = max(wanted, math.ceil(GROWTH * now))  # rejections near 1 hide how long the barrier is
        # Another number means another program: change it only where it matters, and to one of few.
        if abs(wanted - now) <= 0.15 * now:
            return now
        return next((size for size in SIZES if size >= wanted), MOST_REPLICAS)


def transitions_needed(
    now: Int[np.ndarray, " temperature"], lag: Float[np.ndarray, " temperature"], least: int, most: int
) -> Int[np.ndarray, " temperature"]:
    """Transitions in a scan: as many as take the lag-one correlation of the path energy to `LAG_ONE`.

    The correlation over k transitions is that over one to the power of k.
    """
    wanted = now * np.log(LAG_ONE) / np.log(np.clip(lag, 1e-3, 1 - 1e-3))
    return np.clip(np.round(wanted), least, most).astype(np.int32)


def _move(program: Program, state: State, found: Barrier, betas: np.ndarray) -> tuple[Program, State]:
    """Take replicas and tuning to another ladder."""
    old = np.asarray(program.betas)
    moved = program.refit(betas, keep=np.array([target_slot(betas)], np.int32))
    state = engine.to_host(program, state)
    if len(betas) == len(old) and (betas[0] == 0) == (old[0] == 0):  # the replicas are the same, their journeys go on
        points, journeys, source = state.points, state.journeys, np.arange(len(betas))
    else:  # from the old rung that is nearest along the barrier; some have become two, and all start again
        apart = np.abs(found.at(betas)[:, None] - found.cumulative)
        apart[np.ix_(betas > 0, old == 0)] = np.inf  # where energies may be infinite
        source = apart.argmin(axis=1)
        tenant = state.journeys.replica[:, source]
        points = jax.tree.map(lambda x: x[np.arange(len(x))[:, None], tenant], state.points)
        journeys = engine.departures(program.num_chains, len(betas))
    # Directions have no order in which to be interpolated: those of the nearest rung.
    moving = np.flatnonzero(old > 0)
    nearest = moving[np.abs(np.asarray(betas)[:, None] - old[moving]).argmin(axis=1)]
    tuning = jax.tree.map(lambda values: values[nearest], state.tuning)
    numbers = ("step_size", "inverse_mass", "trajectory_length")
    smooth: dict[str, Any] = {
        name: interpolate(old, betas, getattr(state.tuning, name)).astype(old.dtype) for name in numbers
    }
    tuning = tuning._replace(**smooth)
    state = state._replace(
        points=points,
        journeys=journeys,
        transitions=state.transitions[source],
        tuning=tuning,
        adaptation=adaptation.fresh(program.kernel, tuning, program.num_chains),
    )
    return moved, engine.to_devices(moved, state)


def interpolate(
    old: Float[np.ndarray, " old"], new: Float[np.ndarray, " new"], values: Float[np.ndarray, "old *rest"]
) -> Float[np.ndarray, "new *rest"]:
    """Positive values at the rungs ``old`` (leading axis), log-linearly in log β at the rungs ``new``.

    A rung at β = 0 is drawn exactly and has no tuning of its own, so it is neither read nor trusted.
    """
    usable = np.asarray(old) > 0
    x = np.log(np.asarray(old, float)[usable])
    where = np.log(np.maximum(np.asarray(new, float), np.exp(x[0])))
    left = np.clip(np.searchsorted(x, where) - 1, 0, max(len(x) - 2, 0))
    right = np.minimum(left + 1, len(x) - 1)
    width = x[right] - x[left]
    weight = np.where(width > 0, (where - x[left]) / np.where(width > 0, width, 1.0), 0.0)
    y = np.log(np.asarray(values, float)[usable])
    weight = np.clip(weight, 0.0, 1.0).reshape(-1, *[1] * (y.ndim - 1))
    return np.exp((1 - weight) * y[left] + weight * y[right])
