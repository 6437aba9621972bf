"""Thermodynamics of a ladder: log Z, mean energy, heat capacity, free energy and entropy at any β between its ends.

Units are nats, k_B = 1.  U is the *path energy* of the ladder, so that ⟨U⟩_β = -∂ log Z/∂β: the data energy E on the
likelihood path, U0 + E on the posterior path.  log Z is that of the hottest rung's distance, log Z(β) - log Z(hottest);
on a path that begins at β = 0 with a normalised reference it is log Z itself, and at β = 1 the log evidence.
"""

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, NamedTuple

import arviz_stats
import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Float
from scipy.special import logsumexp, softmax

from temperax import ladder
from temperax.errors import InputError

#: Samples × rungs whose shares are computed at once, and at most kept.
_CHUNK, _KEPT = 2_000_000, 40_000_000
#: Infinite energies of the hottest rung, as a number whose square is finite.
_HUGE = 1e100
#: Neighbours that overlap less than this are too far apart to be believed.
MIN_OVERLAP = 0.03

Source = Any  # a tempered DataTree, an Ensemble, or a pair (betas, energies)


class SteppingStone(NamedTuple):
    """Log Z(coldest) - log Z(hottest), from both sides, in nats.

    ``forward`` averages over the hotter draws of each pair and is too low in expectation, ``backward`` over the colder
    ones and is too high: they bracket log Z, and their distance says how far to trust them.
    """

    forward: float
    forward_error: float
    backward: float
    backward_error: float


class Evidence(NamedTuple):
    """Log Z(coldest) - log Z(hottest) by four methods, in nats; ``mbar`` is the one to report."""

    forward: float
    forward_error: float
    backward: float
    backward_error: float
    mbar: float
    mbar_error: float
    integration: float
    integration_error: float


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
        energies = np.asarray(energies, float)
        if energies.ndim != 3 or energies.shape[-1] != len(self.betas):
            problem = f"is not of shape (chain, draw, {len(self.betas)})"
            raise InputError("energies", energies.shape, problem, "give one column a temperature")
        broken = ~np.isfinite(energies) & ~((energies == np.inf) & (self.betas == 0))
        if broken.any():
            chain, draw, rung = np.argwhere(broken)[0].tolist()
            place = f"is not finite at chain {chain}, draw {draw}, β = {self.betas[rung]:g}"
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

    @cached_property
    def _solution(self) -> tuple[np.ndarray, np.ndarray]:
        """f_i = -log Z_i, f_0 = 0, and the curvature of the convex function that it minimises."""
        steps = np.diff(self.betas)
        hot, cold = self.energies[..., :-1], self.energies[..., 1:]
        ways = np.stack([_log_mean_exp(-steps * hot), -_log_mean_exp(steps * cold)])
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
    def _pull(self) -> Float[np.ndarray, "scan temperature"]:
        """How the rungs' f change with the weight of each scan."""
        free, curvature = self._solution
        excess = np.concatenate([self._shares(free, part) for part in self._chunks()])
        excess = excess.reshape(self.scans, len(free), len(free)).sum(axis=1) - 1.0
        inverse = np.linalg.pinv(curvature[1:, 1:], hermitian=True)
        return np.pad(-excess[:, 1:] @ inverse, ((0, 0), (1, 0)))

    @cached_property
    def _log_total(self) -> Float[np.ndarray, " sample"]:
        """Log of the density that all rungs together drew each sample from, times their number of scans."""
        free, _ = self._solution
        return np.log(self.scans) + np.concatenate(
            [logsumexp(free - self.betas * self._samples[part, None], axis=1) for part in self._chunks()]
        )

    @property
    def overlap(self) -> Float[np.ndarray, " pair"]:
        """Share of a rung's weight on its colder neighbour's draws, for each pair: 1/2 or less, 0 is a gap."""
        _, curvature = self._solution
        return -np.diagonal(curvature, 1) / self.scans

    def rhat(self) -> Float[np.ndarray, " temperature"]:
        """R-hat of the energy over chains, per rung; NaN from a single short chain."""
        if self.draws < 4:
            return np.full(len(self.betas), np.nan)
        return arviz_stats.base.array_stats.rhat(np.moveaxis(self.energies, -1, 0), chain_axis=1, draw_axis=2)

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
        if not lowest * (1 - 1e-9) <= beta <= highest * (1 + 1e-9):
            raise InputError("beta", beta, "is outside the ladder", f"stay between {lowest:g} and {highest:g}")
        logs = -beta * self._samples - self._log_total
        log_z = float(logsumexp(logs))
        return log_z, np.exp(logs - log_z)

    def moments(self, beta: float) -> tuple[float, float, float]:
        """Log Z, mean and variance of U at one β, without errors (which take most of the time)."""
        log_z, weights = self._weigh(beta)
        mean = float(weights @ self._samples)
        return log_z, mean, float(weights @ (self._samples - mean) ** 2)

    def expectation(self, values: Any, beta: float) -> tuple[float, float]:
        """Average of any observable of the draws at any β of the ladder, and its standard error.

        Parameters
        ----------
        values
            The observable at every draw of every rung (chain, draw, temperature).
        beta
            Where.
        """
        values = np.asarray(values, float)
        if values.shape != self.energies.shape:
            raise InputError("values", values.shape, f"is not {self.energies.shape}", "give one value a draw and rung")
        _, weights = self._weigh(beta)
        average = float(weights @ values.reshape(-1))
        terms = weights * (values.reshape(-1) - average)
        return average, self._error(self._influence(lambda part: terms[None, part])[0])

    def _influence(self, terms: Callable[[slice], np.ndarray]) -> Float[np.ndarray, "quantity scan"]:
        """Change of sums over all samples with the weight of each scan: directly, and through the rungs' f.

        ``terms`` gives the summands (quantity, part) of a part of the samples.
        """
        free, _ = self._solution
        kept = self._solved_shares
        direct, through = [], 0.0
        for n, part in enumerate(self._chunks()):
            summands = terms(part)
            through = through + summands @ (self._shares(free, part) if kept is None else kept[n])
            direct.append(summands.reshape(len(summands), -1, len(self.betas)).sum(axis=-1))
        return self.scans * (np.concatenate(direct, axis=1) - through @ self._pull.T)

    def _error(self, influence: np.ndarray) -> float:
        series = influence.reshape(self.chains, self.draws)
        if self.draws < 4 or series.std() == 0:
            return 0.0 if series.std() == 0 else np.nan
        return float(arviz_stats.base.array_stats.mcse(series, chain_axis=0, draw_axis=1))

    def at(self, beta: float) -> dict[str, float]:
        """Log Z, free energy, mean energy, heat capacity and entropy at one β, each with its ``_error``, in nats."""
        log_z, mean, variance = self.moments(beta)

        def terms(part: slice) -> np.ndarray:
            energies = self._samples[part]
            weights = np.exp(-beta * energies - self._log_total[part] - log_z)
            return np.stack([weights, weights * (energies - mean), weights * ((energies - mean) ** 2 - variance)])

        of_z, of_mean, of_variance = self._influence(terms)
        of_z = of_z - 1.0
        infinite = beta == 0 and self.has_infinite
        found = {
            "log_z": (log_z, of_z),
            "free_energy": (-log_z / beta if beta else mean, of_z / beta if beta else of_mean),
            "mean_energy": (mean, of_mean),
            "heat_capacity": (beta**2 * variance, beta**2 * of_variance),
            "entropy": (log_z + beta * mean, of_z + beta * of_mean),
        }
        out = {}
        for name, (value, influence) in found.items():
            lost = infinite and name in ("mean_energy", "free_energy")
            out[name] = np.inf if lost else value
            out[f"{name}_error"] = np.nan if lost else self._error(influence)
        return out


def ensemble(source: Source) -> Ensemble:
    """The `Ensemble` of a tempered DataTree, or of a pair (betas, energies).

    Raises
    ------
    InputError
        If there are fewer than two temperatures.
    """
    if isinstance(source, Ensemble):
        return source
    if isinstance(source, xr.DataTree):
        if "tempered_stats" not in source.children:
            raise InputError("source", list(source.children), "has no tempered draws", "give a result of a sampler")
        stats = source["tempered_stats"].to_dataset()
        return Ensemble(stats["beta"].values, stats["path_energy"].transpose("chain", "draw", "temperature").values)
    if isinstance(source, tuple) and len(source) == 2:
        return Ensemble(*source)
    raise InputError("source", source, "has no energies at several β", "give a DataTree or (betas, energies)")


def curves(source: Source, betas: Any = None) -> xr.Dataset:
    """Thermodynamic quantities against temperature.

    Parameters
    ----------
    source
        A result of `temperax.parallel_tempering` (or of `temperax.sample` at several temperatures), an `Ensemble`, or
        a pair of β (temperature,) and energies (chain, draw, temperature).
    betas
        Where; by default the rungs of the ladder.  Between them draws are reweighted.

    Returns
    -------
    xarray.Dataset
        Dimension ``temperature`` (hottest first) with a coordinate ``beta``; ``log_z``, ``free_energy`` = -T log Z,
        ``mean_energy`` ⟨U⟩, ``heat_capacity`` = β² Var(U), ``entropy`` = log Z + β⟨U⟩ (on the likelihood path minus the
        Kullback-Leibler divergence of the tempered posterior from the prior), each with its ``_error``, in nats.

    Raises
    ------
    InputError
        For a β outside the ladder, and if the source has fewer than two temperatures.
    """
    found = ensemble(source)
    betas = found.betas if betas is None else np.sort(np.atleast_1d(np.asarray(betas, float)))
    table = pd.DataFrame([found.at(float(beta)) for beta in betas])
    with np.errstate(divide="ignore"):
        coords = {"temperature": 1.0 / betas, "beta": ("temperature", betas)}
    return xr.Dataset({name: ("temperature", table[name].to_numpy()) for name in table}, coords=coords)


def stepping_stone(source: Source) -> SteppingStone:
    """Log Z from both sides of every pair of neighbours.

    Forward Σ log⟨exp(-Δβ U)⟩ over the hotter draws of each pair, backward -Σ log⟨exp(+Δβ U)⟩ over the colder ones
    (Xie, Lewis, Fan, Kuo & Chen 2011); errors by the delta method with the ESS of each summand.

    Parameters
    ----------
    source
        As in `curves`.
    """
    found = ensemble(source)
    steps = np.diff(found.betas)
    forward = [_log_mean(-step * found.energies[..., n]) for n, step in enumerate(steps)]
    backward = [_log_mean(step * found.energies[..., n + 1]) for n, step in enumerate(steps)]
    (up, up_error), (down, down_error) = (
        (sum(value for value, _ in part), float(np.sqrt(sum(error**2 for _, error in part))))
        for part in (forward, backward)
    )
    return SteppingStone(up, up_error, -down, down_error)


def log_evidence(source: Source) -> Evidence:
    """Log Z between the ends of a ladder by four methods: on a path from β = 0 to 1, the log evidence.

    Stepping stones from both sides, MBAR, and thermodynamic integration of the rungs' mean energies by the trapezoid
    rule with its variance correction (Friel, Hurn & Wyse 2014), whose error includes what the correction was.

    Parameters
    ----------
    source
        As in `curves`.
    """
    found = ensemble(source)
    end = found.at(float(found.betas[-1]))
    return Evidence(*stepping_stone(found), end["log_z"], end["log_z_error"], *_integrate(found))


def _integrate(found: Ensemble) -> tuple[float, float]:
    """-∫⟨U⟩dβ, its sampling error and the size of the rule's correction in quadrature."""
    steps = np.diff(found.betas)
    mean, variance = found.energies.mean(axis=(0, 1)), found.energies.var(axis=(0, 1))
    correction = float(np.sum(steps**2 / 12 * np.diff(variance)))
    widths = np.concatenate([steps, [0.0]]) / 2 + np.concatenate([[0.0], steps]) / 2
    series = (found.energies - mean) @ widths
    value = -float(widths @ mean) - correction
    return value, float(np.hypot(found._error(series.reshape(-1)), correction))


def doubts(source: Source) -> list[str]:
    """What speaks against believing a ladder's log Z, a sentence each; an empty list is good."""
    found = ensemble(source)
    z, overlap = log_evidence(found), found.overlap
    said = []
    if overlap.min() < MIN_OVERLAP:
        n = int(overlap.argmin())
        said.append(
            f"rungs β = {found.betas[n]:.3g} and {found.betas[n + 1]:.3g} overlap by {overlap[n]:.3f} only "
            f"(less than {MIN_OVERLAP}): put replicas between them"
        )
    gap, error = abs(z.backward - z.forward), float(np.hypot(z.forward_error, z.backward_error))
    if gap > max(4 * error, 1.0):
        said.append(f"log Z forward and backward are {gap:.1f} nats apart (error {error:.1f}): more draws or replicas")
    apart, error = abs(z.integration - z.mbar), float(np.hypot(z.integration_error, z.mbar_error))
    if apart > max(4 * error, 1.0):
        said.append(f"thermodynamic integration is {apart:.1f} nats from MBAR (error {error:.1f}): more replicas")
    rhat = found.rhat()
    if (rhat > 1.05).any():
        worst = int(np.nanargmax(rhat))
        said.append(
            f"ladders disagree on the mean energy at β = {found.betas[worst]:.3g} (R-hat {rhat[worst]:.2f}): the run "
            "is not in equilibrium, and errors are too small"
        )
    return said


def summary(source: Source) -> pd.DataFrame:
    """The quantities of `curves` at every rung, as a table with index ``temperature``."""
    return curves(source).to_dataframe()


def report(source: Source) -> pd.DataFrame:
    """Print the table of `summary`, log Z by every method, and doubts; return the table.

    Parameters
    ----------
    source
        As in `curves`.
    """
    found = ensemble(source)
    table = summary(found)
    shown = {
        name: [_with_error(*pair) for pair in zip(table[name], table[f"{name}_error"], strict=True)]
        for name in ("log_z", "free_energy", "mean_energy", "heat_capacity", "entropy")
    }
    index = pd.Index([f"{t:.4g}" for t in table.index], name="T")
    print(pd.DataFrame(shown, index=index).to_string())
    z = log_evidence(found)
    print(
        f"\nlog Z between the ends, in nats: MBAR {_with_error(z.mbar, z.mbar_error)}, "
        f"forward {_with_error(z.forward, z.forward_error)}, backward {_with_error(z.backward, z.backward_error)}, "
        f"thermodynamic integration {_with_error(z.integration, z.integration_error)}"
    )
    for doubt in doubts(found):
        print(f"doubt: {doubt}.")
    return table


def compare_evidence(trees: Mapping[str, Source]) -> pd.DataFrame:
    """Compare models by their log evidence; Bayes factors are exp of the differences.

    Parameters
    ----------
    trees
        Results by name, each of a ladder from β = 0 to β = 1 on the same data.

    Returns
    -------
    pandas.DataFrame
        Index ``model``, best first: ``log_evidence`` and ``log_evidence_error`` in nats, ``log_bayes_factor`` against
        the best with its ``log_bayes_factor_error``, ``probability`` under equal prior odds, ``doubts`` (how many),
        and ``elpd_loo`` with ``elpd_loo_error`` where every result has the ``log_likelihood`` group (as ``az.compare``
        ranks them).

    Raises
    ------
    InputError
        If there are no results, or a ladder does not reach from 0 to 1.
    """
    if not trees:
        raise InputError("trees", dict(trees), "is empty", "give results by name")
    rows = {}
    for name, source in trees.items():
        found = ensemble(source)
        if found.betas[0] != 0 or not np.isclose(found.betas[-1], 1.0, rtol=1e-6):
            raise InputError(
                f"trees[{name!r}]",
                found.betas[[0, -1]],
                "are the ends of its ladder",
                "sample from β = 0 to β = 1 (path='likelihood' or 'reference')",
            )
        end = found.at(float(found.betas[-1]))
        rows[name] = {
            "log_evidence": end["log_z"],
            "log_evidence_error": end["log_z_error"],
            "doubts": len(doubts(found)),
        }
    table = pd.DataFrame(rows).T.rename_axis("model").sort_values("log_evidence", ascending=False)
    table["log_bayes_factor"] = table["log_evidence"] - table["log_evidence"].iloc[0]
    error = np.hypot(table["log_evidence_error"], table["log_evidence_error"].iloc[0])
    table["log_bayes_factor_error"] = np.where(np.arange(len(table)) == 0, 0.0, error)
    table["probability"] = softmax(table["log_evidence"])
    if all(isinstance(tree, xr.DataTree) and "log_likelihood" in tree.children for tree in trees.values()):
        loo = {name: arviz_stats.loo(tree) for name, tree in trees.items()}
        table["elpd_loo"] = pd.Series({name: found.elpd for name, found in loo.items()})
        table["elpd_loo_error"] = pd.Series({name: found.se for name, found in loo.items()})
    return table


def _with_error(value: float, error: float) -> str:
    return f"{value:.2f} ± {error:.2f}"


def _log_mean_exp(exponents: np.ndarray) -> Float[np.ndarray, " pair"]:
    """Log⟨exp⟩ over chains and draws."""
    return logsumexp(exponents, axis=(0, 1)) - np.log(exponents.shape[0] * exponents.shape[1])


def _log_mean(exponents: Float[np.ndarray, "chain draw"]) -> tuple[float, float]:
    """Log⟨exp⟩ and its standard error."""
    largest = exponents.max()
    weights = np.exp(exponents - largest)
    value = float(largest + np.log(weights.mean()))
    if weights.std() == 0:
        return value, 0.0
    # The ESS of the summand itself; it cannot be told from fewer than four draws.
    error = arviz_stats.base.array_stats.mcse(weights, chain_axis=0, draw_axis=1) if weights.shape[1] >= 4 else np.nan
    return value, float(error / weights.mean())
