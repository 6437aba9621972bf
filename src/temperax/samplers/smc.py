"""`smc`: sequential Monte Carlo along a path, from draws of its hot end to the posterior.

Del Moral, Doucet & Jasra 2006, *Sequential Monte Carlo samplers*; steps in β by the conditional effective sample size
(Zhou, Johansen & Aston 2016).  With a resampling at every step it is population annealing (Hukushima & Iba 2003).

A population is a chain of the result and its particles are the draws; populations are independent but for the steps in
β and the kernel's tuning, which they share.  The particles are the engine's chains, at one temperature.
"""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import jax
import numpy as np
import scipy.optimize
import xarray as xr
from jaxtyping import Array, Float, Int
from scipy.special import logsumexp

from temperax.energies.energy import Energy
from temperax.engine import engine, tempering
from temperax.engine.kernels import Kernel, most_steps
from temperax.engine.ladder import check_ladder
from temperax.engine.program import Program, Record, State, make_program
from temperax.errors import InputError, all_at_once, check_choice, check_count, check_fraction, check_positive
from temperax.results import results
from temperax.samplers import runs
from temperax.samplers.arguments import described
from temperax.samplers.drawing import Clock, Draws
from temperax.samplers.runs import Run
from temperax.samplers.setup import PREDICT, RUN, STARTS, common
from temperax.training.curvature import laplace
from temperax.training.descent import minimise
from temperax.training.landscape import generator, prior_draws
from temperax.training.starts import Origin, check_rows, check_storage

#: Starts of which the lowest is where a Gaussian is fitted on the reference path.
FITTED_TO = 4
#: What a stage keeps of its particles, besides the last one's positions.
_ENERGIES = ("prior_energy", "data_energy", "path_energy", "base_energy")
#: And of its scans: sums over them.
_SUMS = ("acceptance_rate", "n_steps", "diverging")


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
        return now + float(scipy.optimize.brentq(excess, 0.0, whole, xtol=1e-12 * whole, rtol=1e-6))

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
            problem = "has no finite energy at any particle of a population"
            raise InputError("num_particles", self.shape[1], problem, "raise it, or narrow the prior")
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
        records = {f"records.{name}": np.array([r[name] for r in self.records]) for name in (*_ENERGIES, *_SUMS)}
        return of_stages | records | {"log_weights": self.log_weights, "ancestors": self.ancestors}

    @classmethod
    def restored(cls, chains: int, particles: int, arrays: Mapping[str, np.ndarray]) -> Self:
        """From a checkpoint."""
        found = cls(chains, particles)
        found.betas = arrays["betas"].tolist()
        found.rises, found.sizes, found.families = (list(arrays[name]) for name in ("rises", "sizes", "families"))
        names, count = (*_ENERGIES, *_SUMS), len(arrays["families"])
        found.records = [{name: arrays[f"records.{name}"][i] for name in names} for i in range(count)]
        found.log_weights, found.ancestors = arrays["log_weights"], arrays["ancestors"]
        return found


@described
def smc(
    key: Array,
    energy: Energy,
    *,
    path: str = "likelihood",
    kernel: str | Kernel = "auto",
    num_particles: int = 256,
    num_chains: int = 4,
    scans: int = 5,
    conditional_size: float = 0.9,
    resample_below: float = 0.5,
    hottest: float | None = None,
    coldest: float = 1.0,
    num_warmup: int = 100,
    ladder: Any = None,
    log_likelihood: bool | None = None,
    storage: str = "float32",
    batch_size: int | None = None,
    directory: str | Path | None = None,
    resume: bool = False,
    save_every: float = 60.0,
    progress: bool = True,
) -> xr.DataTree:
    """Draw from the posterior by sequential Monte Carlo, which needs no replica to travel.

    Parameters
    ----------
    key
    energy
    path
        As in `parallel_tempering`: ``"likelihood"`` from draws of the prior, ``"posterior"`` from ``hottest`` down,
        ``"reference"`` from draws of a Gaussian fitted to the lowest of a few optima and its curvature.
    kernel
        What moves the particles, as in `sample`; its step size and mass are learned from all of them.
    num_particles
        Of every population.
    num_chains
        Independent populations, whose spread is the error of log Z.
    scans
        Transitions of the kernel at every step of β.
    conditional_size
        How far a step of β goes: to where the particles are worth this share of themselves.
    resample_below
        Particles are resampled where they are worth less than this share; 1 resamples at every step, which is
        population annealing.
    hottest, coldest
        Temperatures of the two ends; ``hottest`` must be finite on the posterior path, where ``num_warmup`` scans from
        draws of the prior come first.
    num_warmup
    ladder
        Fixed steps instead: β in ascending order.
    log_likelihood
    storage
    batch_size
    directory, resume, save_every
    progress

    Returns
    -------
    xarray.DataTree
        As `temperax.sample`, with a population for a chain and a particle for a draw, at equal weights; the
        ``tempered_stats`` of every step, which `temperax.thermodynamics` reads; and the group ``smc``: ``log_z``
        (chain, temperature), relative to the hot end, effective sample sizes, and how many of the first particles have
        descendants.  Attributes: ``log_z`` and ``log_z_error`` of the cold end, in nats, from the populations' spread.

    Raises
    ------
    InputError
    StorageError
    Interrupted
    ProcessError
    """
    key, chosen, *_, betas = all_at_once(
        *common(key, energy, kernel, num_chains, batch_size, 1, storage, save_every),
        lambda: check_choice("path", path, {**tempering.PATHS, "reference": None}),
        lambda: check_count("num_particles", num_particles, 8),
        lambda: check_count("scans", scans),
        lambda: check_count("num_warmup", num_warmup, 0),
        lambda: check_fraction("conditional_size", conditional_size),
        lambda: resample_below == 1 or check_fraction("resample_below", resample_below),
        lambda: _ends(path, hottest, coldest, ladder),
    )
    check_rows(log_likelihood, energy)
    check_storage(storage, energy)
    if path == "reference" and energy.discrete:
        raise InputError("path", path, "fits a Gaussian, which spins are not", "use path='likelihood'")
    if path == "likelihood" and not energy.proper:
        problem = "leads from a prior that is flat or does not integrate to 1"
        raise InputError("path", path, problem, "use path='reference', or 'posterior'")
    arguments = {name: value for name, value in locals().items() if name in _ARGUMENTS}
    first = tempering.fitted(np.zeros(energy.size), np.ones(energy.size)) if path == "reference" else None
    program = make_program(
        energy,
        betas[-1:],
        path=first or tempering.PATHS[path],
        kernel=chosen,
        num_chains=num_chains * num_particles,
        kept=np.array([0]),
        thin=1,
        scheme=None,
        batch_size=batch_size,
        exact=False,
    )
    run = runs.begin(directory, resume, save_every, progress, lambda: runs.describe("smc", key, energy, arguments))
    clock, run_key = Clock(run), jax.random.fold_in(key, RUN)
    fixed = ladder is not None
    with run.stoppable():
        cooling = _Cooling(run, key, run_key, energy, program, clock, betas, num_chains, num_particles)
        cooling.begin(path, num_warmup)
        with run.bar(0, "smc", "scan") as bar:
            while cooling.beta < betas[-1]:
                cooling.descend(bar, scans, conditional_size, resample_below, betas if fixed else None)
        return cooling.result(arguments, scans, log_likelihood, storage)


#: What decides a result; how and where it is computed is left out.
_ARGUMENTS = [name for name in inspect.signature(smc).parameters if name not in ("key", "energy", *runs.MEANS)]


def _ends(path: str, hottest: Any, coldest: Any, ladder: Any) -> Float[np.ndarray, " step"]:
    """The first and the last β, or a user's own in between."""
    if ladder is not None:
        betas = check_ladder(ladder)
    else:
        cold = 1.0 / check_positive("coldest", coldest)
        infinite = hottest is None or hottest == np.inf
        betas = np.array([0.0 if infinite else 1.0 / check_positive("hottest", hottest), cold])
        if betas[0] >= cold:
            raise InputError("hottest", hottest, "is not above the coldest temperature", "raise it")
    name, given = ("hottest", hottest) if ladder is None else ("ladder", ladder)
    if path == "posterior" and betas[0] == 0:
        raise InputError(name, given, "begins at β = 0, where the posterior path is improper", "begin at T = 100, say")
    if path != "posterior" and betas[0] > 0:
        raise InputError(name, given, "leaves out β = 0, from which this path is drawn", "begin there")
    return betas


class _Cooling:
    """A run of `smc`: the program at the temperature of now, its state, and the populations."""

    def __init__(
        self,
        run: Run,
        key: Array,
        run_key: Array,
        energy: Energy,
        program: Program,
        clock: Clock,
        betas: Float[np.ndarray, " step"],
        chains: int,
        particles: int,
    ) -> None:
        self.run, self.key, self.run_key, self.energy = run, key, run_key, energy
        self.program, self.clock, self.ends = program, clock, betas
        self.populations = Populations(chains, particles)
        self.sums = self._nothing()
        self.before = 0  # gradients before the first step of β
        self.state: State
        self.origin: Origin

    @property
    def beta(self) -> float:
        """Where the particles are."""
        return self.populations.betas[-1]

    @property
    def stage(self) -> int:
        """The number of the step that is under way."""
        return len(self.populations.betas) - 1

    def begin(self, path: str, num_warmup: int) -> None:
        """Draw the particles of the hot end, or take them from a checkpoint."""
        chains, particles = self.populations.shape
        if self.run.resumes:
            arrays = self.run.arrays
            self.populations = Populations.restored(chains, particles, arrays)
            self.origin = Origin.at(self.energy, arrays.get("origin"), self.run.notes["started"])
            self.sums = {name: arrays[f"sums.{name}"] for name in _SUMS}
            if "mean" in arrays:
                values: Any = arrays["mean"], arrays["scale"]
                self.program = self.program.placed(path=tempering.Reference(*values))
            self.before = self.run.notes.get("before", 0)
            self._at(self.beta)
            self.state = self.run.state(self.program)
            return
        start_key = jax.random.fold_in(self.key, STARTS)
        count = chains * particles
        if path == "reference":
            optima = minimise(start_key, self.energy, FITTED_TO, progress=self.run.progress)
            self.clock.gradients += int(optima.num_steps.sum())
            reference = tempering.fitted(*laplace(self.energy, optima.position[optima.best()]))
            self.program = self.program.placed(path=reference)
            draws = jax.vmap(lambda k: reference.draw(k, self.energy))(jax.random.split(start_key, count))
        else:
            draws = prior_draws(self.energy.bare(), start_key, count)
        positions = np.asarray(draws)
        found = {"start": "reference" if path == "reference" else "prior"}
        self.origin = Origin.at_lowest(self.energy, positions[:FITTED_TO], found)
        self.clock.lap("start")
        self.before = self.clock.gradients
        self.populations.betas.append(float(self.ends[0]))
        self._at(self.beta if self.beta > 0 else float(self.ends[-1]))  # first steps are looked for where it is cold
        self.state, _ = engine.start(self.program, self.run_key, positions[:, None])
        # What looked for them has moved the particles.
        drawn = engine.blank_state(self.program, positions[:, None]).points
        whole = engine.to_host(self.program, self.state)._replace(points=drawn)
        self.state = engine.to_devices(self.program, whole)
        self._at(self.beta)
        if self.beta > 0:
            self._warm_up(num_warmup)
        self._evaluate()
        self.populations.record(self._energies() | self.sums, self._rng())

    def descend(
        self, bar: Any, scans: int, least: float, below: float, ladder: Float[np.ndarray, " step"] | None
    ) -> None:
        """One step of β: weigh the particles, draw them again where few count, and move them."""
        found = self.populations
        if len(found.records) == len(found.betas):  # else a run goes on in the middle of a step
            self._recount()
            self.sums, heights = self._nothing(), self._energies()["path_energy"]
            if ladder is None:
                found.weigh(heights, found.step(heights, least, float(self.ends[-1])))
            else:
                found.weigh(heights, float(ladder[len(found.betas)]))
            if below == 1 or found.sizes[-1].min() < below * found.shape[1] or self.beta == self.ends[-1]:
                self._resample(found.draw(self._rng()))
        self._at(self.beta)
        bar.total = (bar.total or 0) + scans
        bar.set_description(f"smc, T = {1 / self.beta:.3g}")
        stage = self.stage
        for after, record in self.run.blocks(
            self.program, self.run_key, self.state, scans, stage=stage, adapt=True, bar=bar, extra=self.extra
        ):
            self.state = after
            for name in _SUMS:
                seen = np.asarray(getattr(record, name))[:, :, 0].sum(axis=0)
                self.sums[name] = self.sums[name] + seen.reshape(found.shape)
            self.clock.count(record)
        self.state = engine.end_window(self.program, self.state)
        found.record(self._energies() | self.sums, self._rng())
        self.clock.lap("draws")

    def result(
        self, arguments: Mapping[str, Any], scans: int, log_likelihood: bool | None, storage: str
    ) -> xr.DataTree:
        """The particles at the cold end as draws, with what every step has left."""
        found, program = self.populations, self.program
        betas = np.array(found.betas)
        log_z = np.cumsum([np.zeros(found.shape[0]), *found.rises], axis=0)

        def build(record: Record, first: int) -> dict[str, xr.Dataset]:
            groups = results.groups(
                self.energy,
                record,
                first,
                betas=betas,
                kept=np.array([len(betas) - 1]),
                target=len(betas) - 1,
                step_size=np.full(len(betas), np.asarray(self.state.tuning.step_size)[0]),
                predict_key=jax.random.fold_in(self.key, PREDICT),
                log_likelihood=log_likelihood,
                storage=storage,
            )
            columns = {"log_z": log_z, "families": np.array(found.families)}
            columns["effective_size"] = np.array([np.full(found.shape[0], float(found.shape[1])), *found.sizes])
            each = {name: (("chain", "temperature"), values.T) for name, values in columns.items()}
            return groups | {"smc": xr.Dataset(each, coords=results.temperature_coords(betas))}

        attributes = results.describe(self.energy, self.key, "smc", arguments, self.origin.report)
        attributes |= {"path": program.path.name, "kernel": type(program.kernel).__name__}
        spread = log_z[-1].std(ddof=1) / np.sqrt(len(log_z[-1])) if len(log_z[-1]) > 1 else np.nan
        attributes |= {"log_z": float(log_z[-1].mean()), "log_z_error": float(spread)}
        cap = most_steps(program.kernel) * scans
        attributes |= {"step_cap": [(float(b), min(cap, 2.0**53)) for b in betas], "warmup_gradients": self.before}
        draws = Draws(self.run, build, attributes, self.clock, self.origin, self.extra()[0], {"before": self.before})
        if not len(draws):
            draws.add(self._record(scans))
            self.run.save(program, self.state, self.stage + 1, len(draws), draws.keep)
        return draws.tree(found.shape[1], interrupted=False)

    def extra(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """What a checkpoint keeps besides the state."""
        arrays = self.origin.arrays | self.populations.arrays
        arrays |= {f"sums.{name}": values for name, values in self.sums.items()}
        if isinstance(self.program.path, tempering.Reference):
            arrays |= {"mean": np.asarray(self.program.path.mean), "scale": np.asarray(self.program.path.scale)}
        return arrays, {"started": self.origin.report, "num_draws": 0, "before": self.before} | self.clock.notes

    # -- in between --------------------------------------------------------------------------------------------------

    def _at(self, beta: float) -> None:
        self.program = self.origin.seat(self.program.placed(betas=np.full(1, beta, self.program.betas.dtype)))

    def _rng(self) -> np.random.Generator:
        """Random numbers of this step, whether a run was stopped in between or not."""
        return generator(jax.random.fold_in(self.run_key, len(self.populations.betas) + 1_000_000))

    def _warm_up(self, scans: int) -> None:
        with self.run.bar(scans, "warm-up", "scan") as bar:
            for after, record in engine.run(self.program, self.run_key, self.state, scans, adapt=True, bar=bar):
                self.state = after
                self.clock.count(record)
        self.state = engine.end_window(self.program, self.state)
        self.before = self.clock.gradients
        self.clock.lap("warm-up")

    def _evaluate(self) -> None:
        """Energies and gradients of the particles as the program counts them."""
        self.state, _ = engine.evaluate_again(self.program, self.run_key, self.state)

    def _recount(self) -> None:
        """Count energies from the lowest particle: from a draw of the prior, of millions, no digits would be left."""
        points = engine.to_host(self.program, self.state).points
        total = np.asarray(points.terms.prior[:, 0] + points.terms.data[:, 0])
        total = np.where(np.isfinite(total), total, np.inf)
        lowest = np.asarray(points.position[int(total.argmin()), 0])
        self.origin = Origin.at(self.energy, lowest, self.origin.report)
        self._at(self.beta)
        self._evaluate()

    def _energies(self) -> dict[str, np.ndarray]:
        """Energies of every particle (population, particle), in nats and double precision."""
        terms = engine.to_host(self.program, self.state).points.terms
        prior, data = self.origin.energy.offsets()
        base, along = self.program.path.offsets(prior, data)
        columns = zip(
            _ENERGIES, (terms.prior, terms.data, terms.path, terms.base), (prior, data, along, base), strict=True
        )
        return {name: (np.asarray(e, float)[:, 0] + off).reshape(self.populations.shape) for name, e, off in columns}

    def _nothing(self) -> dict[str, np.ndarray]:
        return {name: np.zeros(self.populations.shape) for name in _SUMS}

    def _resample(self, chosen: Int[np.ndarray, "population particle"]) -> None:
        chains, particles = self.populations.shape
        flat = (np.arange(chains)[:, None] * particles + chosen).ravel()
        state = engine.to_host(self.program, self.state)
        points = jax.tree.map(lambda leaf: leaf[flat], state.points)
        self.state = engine.to_devices(self.program, state._replace(points=points))
        self.populations.resample(chosen)

    def _record(self, scans: int) -> Record:
        """All steps' numbers as a record: leading axes (particle, population, step)."""
        found = self.populations
        chains, particles = found.shape
        columns = {name: np.stack([r[name].T for r in found.records], axis=-1) for name in (*_ENERGIES, *_SUMS)}
        shape, betas = (particles, chains, len(found.betas)), np.array(found.betas)
        position = engine.to_host(self.program, self.state).points.position.reshape(chains, particles, 1, -1)
        with np.errstate(invalid="ignore"):
            potential = columns["base_energy"] + np.where(betas == 0, 0.0, betas * columns["path_energy"])
        numbers: dict[str, Any] = {
            "position": position.swapaxes(0, 1),
            "energy": potential,  # particles have no momentum between scans
            "acceptance_rate": np.where(betas == betas[0], 1.0, columns["acceptance_rate"] / scans),
            "n_steps": columns["n_steps"].astype(np.int32),
            "diverging": columns["diverging"] > 0,
            "virial": np.full(shape, np.nan, np.float32),  # whose centre must not be the particle's own past
            "fault": np.full(shape, -1, np.int32),
            "swap_acceptance": np.zeros((*shape[:2], shape[2] - 1), np.float32),
            "replica": np.zeros(shape, np.int32),
            "round_trips": np.zeros(shape[:2], np.int32),
            "restarts": np.zeros(shape[:2], np.int32),
        }
        return Record(**({name: columns[name] for name in _ENERGIES} | numbers))
