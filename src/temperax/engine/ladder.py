"""Temperature ladders: arrays of β in ascending order (hottest first), and where to put their rungs.

The best ladder for non-reversible exchange has equal rejection between neighbours, so its rungs stand at equal steps of
the cumulative communication barrier (Syed, Bouchard-Côté, Deligiannidis & Doucet, JRSS-B 2022, sections 3-5).
"""

import math
from typing import Any, NamedTuple, TypeGuard

import numpy as np
from jaxtyping import Float
from scipy.interpolate import PchipInterpolator

from temperax.errors import InputError, check_array, check_betas, check_count, check_positive

#: Rungs of the first ladder, where it finds its number itself, and its hottest β above 0 on a path from β = 0.
FIRST_REPLICAS, FIRST_BETA = 8, 1e-4
#: Temperatures that are tried, times the coldest, where the hottest of a ladder is looked for.
TRIED = 2.0 ** (np.arange(1, 13) / 2)
#: The hottest that is tried, at least: a ladder that goes below T = 1 has it.
HOT = 2.0
#: Rungs of a ladder, or steps of a schedule, at most.
MOST_RUNGS = 1_000_000


class Barrier(NamedTuple):
    """The communication barrier of a path, estimated from the rejections of a ladder.

    Attributes
    ----------
    betas
        The ladder.
    rejection
        Rejection rate of each pair of neighbours.
    cumulative
        Barrier from the hottest rung to each rung: the running sum of the rejections.

    See Also
    --------
    temperax.ladder.barrier, temperax.diagnostics.round_trips

    Examples
    --------
    >>> found = tx.ladder.barrier(tx.ladder.linear(5), np.full(4, 0.5))
    >>> found.total, found.round_trip_rate()
    (2.0, 0.1)
    """

    betas: Float[np.ndarray, " temperature"]
    rejection: Float[np.ndarray, " pair"]
    cumulative: Float[np.ndarray, " temperature"]

    @property
    def total(self) -> float:
        """Λ: the global communication barrier."""
        return float(self.cumulative[-1])

    def at(self, beta: Float[np.ndarray, "*points"]) -> Float[np.ndarray, "*points"]:
        """Cumulative barrier at any β of the ladder, by monotone interpolation."""
        return self._interpolated()(beta)

    def local(self, beta: Float[np.ndarray, "*points"]) -> Float[np.ndarray, "*points"]:
        """λ(β): the local barrier, the derivative of the cumulative one."""
        return self._interpolated().derivative()(beta)

    def _interpolated(self) -> PchipInterpolator:
        last = np.append(np.diff(self.betas) > 0, True)  # of rungs that coincide, at a wall that is steep
        return PchipInterpolator(self.betas[last], self.cumulative[last])

    def round_trip_rate(self) -> float:
        """Round trips a scan, over all replicas, that the deterministic scheme has if exploration is perfect."""
        return 1.0 / (2.0 + 2.0 * float(np.sum(self.rejection / np.maximum(1.0 - self.rejection, 1e-12))))


def linear(num_replicas: int, *, hottest: float = 0.0, coldest: float = 1.0) -> Float[np.ndarray, " temperature"]:
    """β at equal distances from ``hottest`` to ``coldest``.

    See Also
    --------
    temperax.ladder.geometric

    Examples
    --------
    >>> tx.ladder.linear(5)
    array([0.  , 0.25, 0.5 , 0.75, 1.  ])
    """
    check_count("num_replicas", num_replicas, 2, MOST_RUNGS)
    hottest = 0.0 if _is_zero(hottest) else check_positive("hottest", hottest)
    return check_ladder(np.linspace(hottest, check_positive("coldest", coldest), num_replicas))


def geometric(
    num_replicas: int, *, hottest: float = 1e-3, coldest: float = 1.0, prior: bool = False
) -> Float[np.ndarray, " temperature"]:
    """β at equal ratios from ``hottest`` > 0 to ``coldest``; with ``prior``, below them a rung at β = 0.

    See Also
    --------
    temperax.ladder.linear, temperax.anneal

    Examples
    --------
    >>> tx.ladder.geometric(4, hottest=0.001, coldest=1.0, prior=True)
    array([0.        , 0.001     , 0.03162278, 1.        ])
    """
    check_count("num_replicas", num_replicas, 3 if prior else 2, MOST_RUNGS)
    ends = check_positive("hottest", hottest), check_positive("coldest", coldest)
    rungs = np.geomspace(*ends, num_replicas - bool(prior))
    return check_ladder(np.concatenate([[0.0], rungs]) if prior else rungs)


def logarithmic(num_replicas: int, *, hottest: float = 1e-3, coldest: float = 1.0) -> Float[np.ndarray, " temperature"]:
    """β that grows with the logarithm of the step: the schedule for which annealing provably finds the ground state.

    Geman & Geman 1984, T_k ∝ 1/log(1 + k), here shifted and scaled to the two ends.

    See Also
    --------
    temperax.ladder.geometric, temperax.anneal

    Examples
    --------
    >>> tx.ladder.logarithmic(4, hottest=0.1).round(3)
    array([0.1  , 0.55 , 0.813, 1.   ])
    """
    check_count("num_replicas", num_replicas, 2, MOST_RUNGS)
    hottest, coldest = check_positive("hottest", hottest), check_positive("coldest", coldest)
    grown = np.log1p(np.arange(num_replicas)) / np.log(num_replicas)
    return check_ladder(hottest + (coldest - hottest) * grown)


def constant_speed(
    num_replicas: int, betas: Float[np.ndarray, " point"], heat_capacity: Float[np.ndarray, " point"]
) -> Float[np.ndarray, " temperature"]:
    """β at equal steps of thermodynamic length, ∫ √C dβ/β, from a measured heat capacity.

    A system that is cooled so dissipates least for its number of steps (Salamon & Berry 1983; Nulton & Salamon 1988):
    it lingers where the heat capacity peaks.

    Parameters
    ----------
    num_replicas
        Steps of the schedule.
    betas, heat_capacity
        As `temperax.thermodynamics.curves` finds them, ascending and positive; the schedule has their ends.

    See Also
    --------
    temperax.thermodynamics.curves, temperax.anneal

    Examples
    --------
    >>> curves = tx.thermodynamics.curves(ladder, np.geomspace(0.01, 1.0, 20)).sortby("beta")
    >>> tx.ladder.constant_speed(8, curves["beta"].values, curves["heat_capacity"].values).shape
    (8,)
    """
    check_count("num_replicas", num_replicas, 2, MOST_RUNGS)
    betas, capacity = check_ladder(betas), check_array("heat_capacity", heat_capacity, "give one value for each β")
    if betas[0] == 0 or capacity.shape != betas.shape or not (np.isfinite(capacity) & (capacity >= 0)).all():
        raise InputError("heat_capacity", heat_capacity, "is not one value ≥ 0 for each β > 0", "leave β = 0 out")
    speed = np.sqrt(np.maximum(capacity, 1e-12 * max(capacity.max(), 1e-300)))
    steps = np.diff(np.log(betas)) * (speed[1:] + speed[:-1]) / 2
    length = np.concatenate([[0.0], np.cumsum(steps)])
    found = np.exp(np.interp(np.linspace(0.0, length[-1], num_replicas), length, np.log(betas)))
    found[[0, -1]] = betas[[0, -1]]
    return check_ladder(found)


def barrier(betas: Float[np.ndarray, " temperature"], rejection: Float[np.ndarray, " pair"]) -> Barrier:
    """The barrier that rejection rates of a ladder's neighbours show.

    See Also
    --------
    temperax.ladder.adaptive, temperax.diagnostics.exchange

    Examples
    --------
    >>> found = tx.diagnostics.exchange(ladder)
    >>> 0 < tx.ladder.barrier(ladder["exchange"]["beta"].values, found["rejection"].values).total < 5
    False
    """
    betas, rejection = check_array("betas", betas, "give a ladder"), check_array("rejection", rejection, "give rates")
    # Rungs of a ladder that was adapted may coincide in single precision.
    if betas.ndim != 1 or not (np.diff(betas) >= 0).all():
        raise InputError("betas", betas, "are no ladder", "give inverse temperatures, hottest first")
    if rejection.shape != (len(betas) - 1,) or not ((rejection >= 0) & (rejection <= 1)).all():
        raise InputError("rejection", rejection, "is not one rate in [0, 1] a pair", "give len(betas) - 1 of them")
    return Barrier(betas, rejection, np.concatenate([[0.0], np.cumsum(rejection)]))


def adaptive(found: Barrier, num_replicas: int) -> Float[np.ndarray, " temperature"]:
    """A ladder with the same ends and equal steps of the barrier that an earlier round found.

    Parameters
    ----------
    found
        From `barrier`.
    num_replicas
        Rungs of the new ladder.

    See Also
    --------
    temperax.ladder.barrier, temperax.parallel_tempering

    Examples
    --------
    >>> found = tx.ladder.barrier(np.array([0.0, 0.5, 1.0]), np.array([0.6, 0.2]))
    >>> tx.ladder.adaptive(found, 5).round(2)  # more rungs where more is rejected
    array([0.  , 0.07, 0.25, 0.5 , 1.  ])
    """
    check_count("num_replicas", num_replicas, 2, MOST_RUNGS)
    if not isinstance(found, Barrier):
        raise InputError("found", found, "is not a Barrier", "give what ladder.barrier returned")
    # A pair that never rejects has no width on this axis; a sliver keeps the map invertible.
    cumulative = np.concatenate([[0.0], np.cumsum(np.maximum(found.rejection, 1e-6))])
    betas = PchipInterpolator(cumulative, found.betas)(np.linspace(0.0, cumulative[-1], num_replicas))
    betas[[0, -1]] = found.betas[[0, -1]]
    return betas


def lag_one(values: Float[np.ndarray, "chain draw *rest"]) -> Float[np.ndarray, "*rest"]:
    """Correlation of successive draws, about each chain's own mean; 1 where nothing ever changes."""
    values = check_array("values", values, "give an array (chain, draw, …)")
    if values.ndim < 2 or values.shape[1] < 2:
        raise InputError("values", values.shape, "has no two successive draws", "give an array (chain, draw, …)")
    centred = values - values.mean(axis=1, keepdims=True)
    variance = (centred**2).mean(axis=(0, 1))
    product = (centred[:, 1:] * centred[:, :-1]).mean(axis=(0, 1))
    return np.where(variance > 0, product / np.where(variance > 0, variance, 1.0), 1.0)


def lag_one_of_sums(
    count: int,
    total: Float[np.ndarray, "chain *rest"],
    squares: Float[np.ndarray, "chain *rest"],
    products: Float[np.ndarray, "chain *rest"],
    last: Float[np.ndarray, "chain *rest"],
) -> Float[np.ndarray, "*rest"]:
    """`lag_one` of draws of which only sums are known.

    Parameters
    ----------
    count
        Draws.
    total, squares, products
        Sums over the draws of x, x² and x times the x after it, where x is counted from the first draw.
    last
        The last x.
    """
    with np.errstate(invalid="ignore"):
        mean = total / count
        variance = (squares / count - mean**2).mean(axis=0)
        centred = products - mean * (2 * total - last) + (count - 1) * mean**2  # the first x is 0
        product = (centred / max(count - 1, 1)).mean(axis=0)
    return np.where(variance > 0, product / np.where(variance > 0, variance, 1.0), 1.0)


def pin(betas: Float[np.ndarray, " temperature"], beta: float) -> Float[np.ndarray, " temperature"]:
    """The ladder with its nearest inner rung moved to ``beta``."""
    betas = np.array(check_array("betas", betas, "give a ladder"))
    if betas.ndim != 1 or len(betas) < 3 or not betas[0] < check_positive("beta", beta) < betas[-1]:
        raise InputError("beta", beta, "is not inside a ladder of three rungs or more", "give one between its ends")
    betas[1 + int(np.argmin(np.abs(np.log(betas[1:-1] / beta))))] = beta
    return betas


def first(path: Any, num_replicas: Any, hottest: Any, coldest: Any, own: Any) -> Float[np.ndarray, " temperature"]:
    """The ladder before anything is known, or the user's ``own``.

    Parameters
    ----------
    path
        On the posterior path β = 0 is improper, and on the reference path β > 1.
    num_replicas
        Rungs, or ``"auto"``.
    hottest, coldest
        Temperatures of the two ends; None, or infinity, is β = 0.  Where the hottest is looked for (`finds_hottest`),
        the ladder begins at the hottest that is tried.
    own
        β in ascending order; what the others say beside it must be the same.
    """
    exact = path != "posterior"
    if own is not None:
        betas = check_ladder(own)
        check_beside(betas, hottest, coldest, num_replicas)
        check_end(path, "ladder", own, betas[-1])
        if betas[0] == 0 and not exact:
            raise InputError(
                "ladder", own, "starts at β = 0, which is improper on the posterior path", "start hotter than 0"
            )
        return betas
    auto = isinstance(num_replicas, str) and num_replicas == "auto"
    if not auto:
        check_count("num_replicas", num_replicas, 3, 4096)
    cold = 1.0 / check_positive("coldest", coldest)
    check_end(path, "coldest", coldest, cold)
    if finds_hottest(path, hottest):
        if path == "reference":
            raise InputError(
                "hottest", hottest, "is looked for on the other paths", "leave it out: β = 0 is short here"
            )
        hottest = float(tried(1.0 / cold)[-1])
    if hottest is not None and not (isinstance(hottest, float) and hottest == math.inf):
        hot = 1.0 / check_positive("hottest", hottest)
        if hot >= cold:
            raise InputError("hottest", hottest, "is not above the coldest temperature", "raise it")
    elif exact:
        hot = 0.0
    else:
        raise InputError(
            "hottest", hottest, "is not finite, and the posterior path is improper there", "give T such as 100"
        )
    count = FIRST_REPLICAS if auto else int(num_replicas)
    betas = geometric(count, hottest=hot or FIRST_BETA * cold, coldest=cold, prior=hot == 0)
    return pin(betas, 1.0) if hot < 1.0 < cold else betas


def tried(coldest: float) -> Float[np.ndarray, " temperature"]:
    """Temperatures that are tried where the hottest of a ladder is looked for, coldest first."""
    return max(coldest, HOT / TRIED[-1]) * TRIED


def finds_hottest(path: Any, hottest: Any) -> bool:
    """Whether the hottest temperature is looked for: on the posterior path, which has none, unless it is given."""
    return (hottest is None and path == "posterior") or (isinstance(hottest, str) and hottest == "auto")


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, (int, float, np.number)) and not isinstance(value, bool)


def _is_zero(value: object) -> bool:
    return _is_number(value) and value == 0


def check_ladder(betas: object) -> Float[np.ndarray, " temperature"]:
    """Return a user's ladder as an array, or say what is wrong with it."""
    ladder = check_array("ladder", betas, "give inverse temperatures, hottest first")
    if ladder.ndim != 1 or len(ladder) < 2:
        raise InputError("ladder", betas, "has fewer than two rungs", "give at least two inverse temperatures")
    check_betas("ladder", betas, ladder)
    if not (np.diff(ladder) > 0).all():
        raise InputError("ladder", betas, "does not ascend", "sort β from the hottest to the coldest, each once")
    return ladder


def check_beside(
    betas: Float[np.ndarray, " temperature"], hottest: Any, coldest: Any, num_replicas: Any = "auto"
) -> None:
    """Say so where an argument that makes a ladder, and is not its default, differs from the user's own ladder."""
    with np.errstate(divide="ignore"):
        ends = 1.0 / betas[[0, -1]]
    own = [
        ("num_replicas", num_replicas, "auto", len(betas)),
        ("hottest", hottest, None, ends[0]),
        ("coldest", coldest, 1.0, ends[1]),
    ]
    for name, given, default, there in own:
        plain = _is_number(given) or isinstance(given, str)
        same = _is_number(given) and there * (1 - 1e-5) <= given <= there * (1 + 1e-5)
        if not (same or given is default or (plain and given == default)):
            raise InputError(name, given, "is not what the ladder beside it has", "give one of the two")


def check_end(path: Any, argument: str, given: object, beta: float) -> None:
    """Say so where the reference path goes past β = 1: p^β / q^(β - 1) grows without end where p's tails are heavier.

    q is the Gaussian, and p the posterior.
    """
    if path == "reference" and np.float32(beta) > 1:
        problem = "goes below T = 1, where the reference path is improper"
        raise InputError(argument, given, problem, "end at T = 1, or take path='posterior' or 'likelihood'")
