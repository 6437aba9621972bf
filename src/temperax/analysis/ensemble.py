"""The canonical ensemble at every β of a ladder: draws of all rungs, weighted for any β between its ends.

Units are nats, k_B = 1.  U is the *path energy* of the ladder, so that ⟨U⟩_β = -∂ log Z/∂β: the data energy E on the
likelihood path, U0 + E on the posterior path.
"""

from collections.abc import Callable, Iterator
from functools import cache, cached_property, wraps
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float
from scipy.special import logsumexp, softmax
from threadpoolctl import ThreadpoolController

from temperax.analysis import statistics
from temperax.engine import ladder
from temperax.errors import LARGEST, InputError, check_array, check_result

#: Samples × rungs whose shares are computed at once, and at most kept.
_CHUNK, _KEPT = 2_000_000, 40_000_000
#: Infinite energies of the hottest rung, as a number whose square is finite.
_HUGE = 1e100

#: Neighbours that overlap less than this are too far apart to be believed.
MIN_OVERLAP = 0.03

Source = Any  # a tempered DataTree, an Ensemble, or a pair (betas, energies)


@cache
def _libraries() -> ThreadpoolController:
    return ThreadpoolController()


def _on_one_thread[**P, R](function: Callable[P, R]) -> Callable[P, R]:
    """Let products of small matrices run on one thread: on busy cores, BLAS's others wait 40 times as long."""

    @wraps(function)
    def alone(*args: P.args, **kwargs: P.kwargs) -> R:
        with _libraries().limit(limits=1, user_api="blas"):
            return function(*args, **kwargs)

    return alone


class Ensemble:
    """The draws of all rungs of a ladder, weighted for any β between its ends.

    The weights are those of the multistate Bennett acceptance ratio (Shirts & Chodera 2008), which among all estimators
    that use every rung's draws has the least variance.  Errors are those of the infinitesimal jackknife over *scans*:
    how much each estimate would change with the weight of a scan, a series whose Monte Carlo error is taken with its
    effective sample size (ArviZ).  A scan holds all rungs, so that what exchange makes them share is counted.

    Parameters
    ----------
    betas
        The ladder, ascending.
    energies
        U of the draws (chain, draw, temperature), in nats; infinite only at β = 0.

    Raises
    ------
    InputError
        If the arrays do not fit, or an energy is NaN, or infinite at β > 0.
    """

    def __init__(self, betas: Any, energies: Any) -> None:
        self.betas = ladder.check_ladder(betas)
        energies = check_array("energies", energies, "give an array (chain, draw, temperature)")
        if energies.ndim != 3 or energies.shape[-1] != len(self.betas) or not energies.size:
            problem = f"is not of shape (chain, draw, {len(self.betas)})"
            raise InputError("energies", energies.shape, problem, "give one column a temperature")
        energies = np.where((self.betas == 0) & (energies > LARGEST), np.inf, energies)  # as single precision has them
        broken = ~(np.abs(energies) <= LARGEST) & ~((energies == np.inf) & (self.betas == 0))
        if broken.any():
            chain, draw, rung = np.argwhere(broken)[0].tolist()
            place = f"is not finite in single precision at chain {chain}, draw {draw}, β = {self.betas[rung]:g}"
            raise InputError("energies", energies[chain, draw, rung], place, "remove those draws, or sample again")
        self.chains, self.draws, _ = energies.shape
        self.energies = np.minimum(energies, _HUGE)
        self.has_infinite = bool((energies == np.inf).any())

    @property
    def scans(self) -> int:
        """Scans of all chains together."""
        return self.chains * self.draws

    @cached_property
    def _samples(self) -> Float[np.ndarray, " sample"]:
        return self.energies.reshape(-1)

    def _chunks(self) -> list[slice]:
        """Parts of the samples that hold whole scans."""
        size = max(1, _CHUNK // len(self.betas) ** 2) * len(self.betas)  # a scan has a sample a rung
        return [slice(i, i + size) for i in range(0, self._samples.size, size)]

    def _shares(self, free: np.ndarray, part: slice) -> Float[np.ndarray, "part temperature"]:
        """How much of each sample every rung owns: exp(f_i - β_i U), normalised over the rungs."""
        return softmax(free - self.betas * self._samples[part, None], axis=1)

    @cached_property
    def _solved_shares(self) -> list[np.ndarray] | None:
        """`_shares` of every part at the solution, if they fit."""
        if self._samples.size * len(self.betas) > _KEPT:
            return None
        return [self._shares(self._solution[0], part) for part in self._chunks()]

    def _parts(self) -> Iterator[tuple[slice, Float[np.ndarray, "part temperature"]]]:
        """Every part of the samples with its shares at the solution."""
        kept = self._solved_shares
        for n, part in enumerate(self._chunks()):
            yield part, self._shares(self._solution[0], part) if kept is None else kept[n]

    @cached_property
    @_on_one_thread
    def _solution(self) -> tuple[np.ndarray, np.ndarray]:
        """f_i = -log Z_i, f_0 = 0, and the curvature of the convex function that it minimises."""
        steps = np.diff(self.betas)
        hot, cold = self.energies[..., :-1], self.energies[..., 1:]
        ways = np.stack([log_mean_exp(-steps * hot), -log_mean_exp(steps * cold)])
        free = np.concatenate([[0.0], -np.cumsum(np.where(np.isfinite(ways), ways, 0.0).mean(axis=0))])

        def objective(free: np.ndarray) -> float:
            logs = (logsumexp(free - self.betas * self._samples[c, None], axis=1).sum() for c in self._chunks())
            return float(sum(logs) - self.scans * free.sum())

        value = objective(free)
        for _ in range(100):
            owned, products = np.zeros(len(free)), np.zeros((len(free), len(free)))
            for part in self._chunks():
                shares = self._shares(free, part)
                owned += shares.sum(axis=0)
                products += shares.T @ shares
            curvature = np.diag(owned) - products
            slope = owned - self.scans
            if np.abs(slope).max() < 1e-8 * self.scans:
                break
            move = np.concatenate([[0.0], -np.linalg.lstsq(curvature[1:, 1:], slope[1:], rcond=None)[0]])
            size = 1.0
            while (after := objective(free + size * move)) > value + 1e-9 * abs(value) and size > 1e-6:
                size /= 2
            free, value = free + size * move, after
        return free, curvature

    @cached_property
    @_on_one_thread
    def _pull(self) -> Float[np.ndarray, "scan temperature"]:
        """How the rungs' f change with the weight of each scan."""
        free, curvature = self._solution
        owned = [s.reshape(-1, len(free), len(free)).sum(axis=1) for _, s in self._parts()]
        excess = np.concatenate(owned) - 1.0
        inverse = np.linalg.pinv(curvature[1:, 1:], hermitian=True)
        return np.pad(-excess[:, 1:] @ inverse, ((0, 0), (1, 0)))

    @cached_property
    def _log_total(self) -> Float[np.ndarray, " sample"]:
        """Log of the density that all rungs together drew each sample from, times their number of scans."""
        free, _ = self._solution
        return np.log(self.scans) + np.concatenate(
            [logsumexp(free - self.betas * self._samples[part, None], axis=1) for part in self._chunks()]
        )

    def level_spacing(self, lowest: float, highest: float) -> float:
        """Median distance of the levels between two energies, in nats: next to 0 where they are continuous."""
        found = self._samples[(lowest <= self._samples) & (self._samples <= highest)]
        levels = np.unique(np.round(found / (resolution := max(found.std() * 1e-3, 1e-300)))) * resolution
        return float(np.median(np.diff(levels))) if len(levels) > 1 else 0.0

    @property
    def overlap(self) -> Float[np.ndarray, " pair"]:
        """Share of a rung's weight on its colder neighbour's draws, for each pair: 1/2 or less, 0 is a gap."""
        _, curvature = self._solution
        return -np.diagonal(curvature, 1) / self.scans

    def rhat(self) -> Float[np.ndarray, " temperature"]:
        """R-hat of the energy over chains, or the halves of a single one, per rung; NaN of fewer than four draws."""
        each, half = self.energies, self.draws // 2
        if self.chains == 1:
            each = np.concatenate([each[:, :half], each[:, -half:]])
        if each.shape[1] < 4:
            return np.full(len(self.betas), np.nan)
        return statistics.rhat(xr.Dataset({"energy": (("chain", "draw", "rung"), each)}))["energy"].values

    def weights(self, beta: float) -> Float[np.ndarray, "chain draw temperature"]:
        """Weight of every draw of every rung in an average at ``beta``; they sum to 1.

        Raises
        ------
        InputError
            For a β outside the ladder.
        """
        return self._weigh(beta)[1].reshape(self.energies.shape)

    def _weigh(self, beta: float) -> tuple[float, np.ndarray]:
        """Log Z(β) and normalised weights."""
        lowest, highest = self.betas[[0, -1]]
        if isinstance(beta, bool) or not isinstance(beta, (int, float, np.number)):
            raise InputError("beta", beta, "is not a number", f"stay between {lowest:g} and {highest:g}")
        if not lowest * (1 - 1e-9) <= beta <= highest * (1 + 1e-9):
            raise InputError("beta", beta, "is outside the ladder", f"stay between {lowest:g} and {highest:g}")
        logs = -beta * self._samples - self._log_total
        log_z = float(logsumexp(logs))
        return log_z, np.exp(logs - log_z)

    def moments(self, beta: float) -> tuple[float, float, float]:
        """Log Z, mean and variance of U at one β, without errors (which take most of the time)."""
        log_z, weights = self._weigh(beta)
        # Sums and no dot products, whose threads would wait for each other: see `_on_one_thread`.
        mean = float(np.sum(weights * self._samples))
        return log_z, mean, float(np.sum(weights * (self._samples - mean) ** 2))

    def expectation(self, values: Any, beta: float) -> tuple[float, float]:
        """Average of any observable of the draws at any β of the ladder, and its standard error.

        Parameters
        ----------
        values
            The observable at every draw of every rung (chain, draw, temperature).
        beta
            Where.
        """
        values = check_array("values", values, "give one value a draw and rung")
        if values.shape != self.energies.shape:
            raise InputError("values", values.shape, f"is not {self.energies.shape}", "give one value a draw and rung")
        _, weights = self._weigh(beta)
        average = float(np.sum(weights * values.reshape(-1)))
        terms = weights * (values.reshape(-1) - average)
        return average, self.error(self._influence(lambda part: terms[None, part])[0])

    @_on_one_thread
    def _influence(self, terms: Callable[[slice], np.ndarray]) -> Float[np.ndarray, "quantity scan"]:
        """Change of sums over all samples with the weight of each scan: directly, and through the rungs' f.

        ``terms`` gives the summands (quantity, part) of a part of the samples.
        """
        direct, through = [], 0.0
        for part, shares in self._parts():
            summands = terms(part)
            through = through + summands @ shares
            direct.append(summands.reshape(len(summands), -1, len(self.betas)).sum(axis=-1))
        return self.scans * (np.concatenate(direct, axis=1) - through @ self._pull.T)

    def error(self, influence: Float[np.ndarray, " scan"]) -> float:
        """Standard error of the mean of a series over scans, from its effective sample size."""
        series = influence.reshape(self.chains, self.draws)
        if self.draws < 4 or series.std() == 0:
            return 0.0 if series.std() == 0 else np.nan
        return float(statistics.base.array_stats.mcse(series, chain_axis=0, draw_axis=1))

    def _changes(self, beta: float, log_z: float, mean: float, variance: float) -> Float[np.ndarray, "quantity scan"]:
        """Influence of the scans on log Z, mean and variance of U at one β, whose `moments` these are."""

        def terms(part: slice) -> np.ndarray:
            energies = self._samples[part]
            weights = np.exp(-beta * energies - self._log_total[part] - log_z)
            return np.stack([weights, weights * (energies - mean), weights * ((energies - mean) ** 2 - variance)])

        return self._influence(terms)

    @cached_property
    def _start(self) -> tuple[float, np.ndarray]:
        """β₁⟨U⟩ of the hottest rung, and its influence; nothing of a rung at β = 0."""
        beta = float(self.betas[0])
        if beta == 0:
            return 0.0, np.zeros(self.scans)
        log_z, mean, variance = self.moments(beta)
        return beta * mean, beta * self._changes(beta, log_z, mean, variance)[1]

    def entropy(self, beta: Any, log_z: Any, mean: Any) -> Any:
        """Log Z + β⟨U⟩, less β₁⟨U⟩ of the hottest rung: there 0, and the same whatever is added to U."""
        return log_z + beta * mean - self._start[0]

    def at(self, beta: float) -> dict[str, float]:
        """Log Z, free energy, mean energy, heat capacity and entropy at one β, each with its ``_error``, in nats."""
        log_z, mean, variance = self.moments(beta)
        of_z, of_mean, of_variance = self._changes(beta, log_z, mean, variance)
        of_z = of_z - 1.0
        infinite = beta == 0 and self.has_infinite
        found = {
            "log_z": (log_z, of_z),
            "free_energy": (-log_z / beta if beta else mean, of_z / beta if beta else of_mean),
            "mean_energy": (mean, of_mean),
            "heat_capacity": (beta**2 * variance, beta**2 * of_variance),
            "entropy": (self.entropy(beta, log_z, mean), of_z + beta * of_mean - self._start[1]),
        }
        out = {}
        for name, (value, influence) in found.items():
            lost = infinite and name in ("mean_energy", "free_energy")
            out[name] = np.inf if lost else value
            out[f"{name}_error"] = np.nan if lost else self.error(influence)
        return out


def ensemble(source: Source) -> Ensemble:
    """The `Ensemble` of a tempered DataTree, or of a pair (betas, energies).

    Raises
    ------
    InputError
        If there are fewer than two temperatures.

    See Also
    --------
    temperax.thermodynamics.curves

    Examples
    --------
    >>> found = tx.thermodynamics.ensemble(ladder)
    >>> found.energies.shape[-1] == len(found.betas)
    True
    """
    if isinstance(source, Ensemble):
        return source
    if isinstance(source, xr.DataTree):
        stats = check_result(source, "tempered_stats", "beta", "path_energy", problem="has no tempered draws")
        if set(stats["path_energy"].dims) != {"chain", "draw", "temperature"}:
            raise InputError("tree", stats["path_energy"].dims, "are not the dimensions of draws", "give a result")
        return Ensemble(stats["beta"].values, stats["path_energy"].transpose("chain", "draw", "temperature").values)
    if isinstance(source, tuple) and len(source) == 2:
        return Ensemble(*source)
    raise InputError("source", source, "has no energies at several β", "give a DataTree or (betas, energies)")


def log_mean_exp(exponents: Float[np.ndarray, "chain draw *rest"]) -> Float[np.ndarray, "*rest"]:
    """Log⟨exp⟩ over chains and draws."""
    return logsumexp(exponents, axis=(0, 1)) - np.log(exponents.shape[0] * exponents.shape[1])
