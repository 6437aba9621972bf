"""Populations of weighted particles on their way along a path: steps of β, resampling, and what is recorded."""

from collections.abc import Mapping
from typing import Self

import numpy as np
import scipy.optimize
from jaxtyping import Float, Int
from scipy.special import logsumexp

from temperax.errors import InputError

#: What a stage keeps of its particles, besides the last one's positions.
ENERGIES = ("prior_energy", "data_energy", "path_energy", "base_energy")
#: And of its scans: sums over them.
SUMS = ("acceptance_rate", "n_steps", "diverging")
#: What is wrong where particles have nowhere to go.
NO_ENERGY = "has no finite energy at any particle of a population"


class Populations:
    """Weights of particles (population, particle), and what every stage has left: the thread through the stages."""

    def __init__(self, chains: int, particles: int) -> None:
        self.shape = chains, particles
        self.betas: list[float] = []
        self.log_weights: Float[np.ndarray, "population particle"] = np.full(self.shape, -np.log(particles))
        self.rises: list[np.ndarray] = []  # of log Z, by population
        self.sizes: list[np.ndarray] = []  # effective sample sizes after the step, by population
        self.ancestors: Int[np.ndarray, "population particle"] = np.tile(np.arange(particles), (chains, 1))
        self.families: list[np.ndarray] = []  # how many of the first particles have descendants
        self.records: list[dict[str, np.ndarray]] = []

    def step(self, heights: Float[np.ndarray, "population particle"], least: float, last: float) -> float:
        """How far β can go: to where the conditional effective sample size is this share of the particles."""
        now = self.betas[-1]

        def excess(change: float) -> float:
            return self.conditional_size(heights, change) - least

        whole = last - now
        if excess(whole) >= 0:
            return last
        return now + float(scipy.optimize.brentq(excess, 0.0, whole, xtol=5e-324, rtol=1e-6, maxiter=5000))

    def conditional_size(self, heights: Float[np.ndarray, "population particle"], change: float) -> float:
        """(Σ W w)² / Σ W Σ W w² of the step's weights w = exp(-Δβ V), between 0 and 1, of all populations.

        Particles of infinite energy weigh nothing after any step, and have no part in how long it is.
        """
        finite = np.isfinite(heights)
        weights, rise = self.log_weights[finite], -change * heights[finite]
        if not finite.any():
            return 1.0
        return float(np.exp(2 * logsumexp(weights + rise) - logsumexp(weights) - logsumexp(weights + 2 * rise)))

    def weigh(self, heights: Float[np.ndarray, "population particle"], beta: float) -> None:
        """Go to another β."""
        with np.errstate(invalid="ignore"):
            rise = np.where(np.isfinite(heights), -(beta - self.betas[-1]) * heights, -np.inf)
        whole = logsumexp(self.log_weights + rise, axis=1)
        if not np.isfinite(whole).all():
            raise InputError("num_particles", self.shape[1], NO_ENERGY, "raise it, or narrow the prior")
        self.rises.append(whole)
        self.log_weights = self.log_weights + rise - whole[:, None]
        self.betas.append(beta)
        self.sizes.append(np.exp(-logsumexp(2 * self.log_weights, axis=1)))

    def draw(self, rng: np.random.Generator) -> Int[np.ndarray, "population particle"]:
        """Particles by their weights, each population by itself, with systematic resampling."""
        chains, particles = self.shape
        if (self.log_weights == self.log_weights[0, 0]).all():  # rounding might take one of them twice
            return np.tile(np.arange(particles), (chains, 1))
        points = (rng.uniform(size=(chains, 1)) + np.arange(particles)) / particles
        ends = np.cumsum(np.exp(self.log_weights), axis=1)
        ends /= ends[:, -1:]
        return np.stack([np.searchsorted(end, point) for end, point in zip(ends, points, strict=True)])

    def resample(self, chosen: Int[np.ndarray, "population particle"]) -> None:
        """Make particles of these equal ones."""
        self.ancestors = np.take_along_axis(self.ancestors, chosen, axis=1)
        self.log_weights = np.full(self.shape, -np.log(self.shape[1]))

    def record(self, kept: Mapping[str, np.ndarray], rng: np.random.Generator) -> None:
        """Keep what a stage ends with, by equal weights."""
        chosen = self.draw(rng)
        self.records.append({name: np.take_along_axis(values, chosen, axis=1) for name, values in kept.items()})
        self.families.append(np.array([len(np.unique(row)) for row in self.ancestors]))

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """What a checkpoint keeps."""
        of_stages = {name: np.array(getattr(self, name)) for name in ("betas", "rises", "sizes", "families")}
        records = {f"records.{name}": np.array([r[name] for r in self.records]) for name in (*ENERGIES, *SUMS)}
        return of_stages | records | {"log_weights": self.log_weights, "ancestors": self.ancestors}

    @classmethod
    def restored(cls, chains: int, particles: int, arrays: Mapping[str, np.ndarray]) -> Self:
        """From a checkpoint."""
        found = cls(chains, particles)
        found.betas = arrays["betas"].tolist()
        found.rises, found.sizes, found.families = (list(arrays[name]) for name in ("rises", "sizes", "families"))
        names, count = (*ENERGIES, *SUMS), len(arrays["families"])
        found.records = [{name: arrays[f"records.{name}"][i] for name in names} for i in range(count)]
        found.log_weights, found.ancestors = arrays["log_weights"], arrays["ancestors"]
        return found
