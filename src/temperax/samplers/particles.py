"""A run of `smc`: the program at the temperature of now, its state, and the populations on their way down."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
import xarray as xr
from jaxtyping import Array, Float, Int

from temperax.energies.energy import Energy
from temperax.engine import engine, tempering
from temperax.engine.kernels import most_steps
from temperax.engine.program import Program, Record, State
from temperax.errors import InputError
from temperax.results import results
from temperax.results.carried import PREDICT, STARTS
from temperax.samplers.drawing import Clock, Draws
from temperax.samplers.populations import ENERGIES, NO_ENERGY, SUMS, Populations
from temperax.samplers.runs import Run
from temperax.samplers.setup import explored_by
from temperax.training.curvature import laplace
from temperax.training.descent import minimise
from temperax.training.landscape import generator, prior_draws
from temperax.training.starts import Origin

#: Starts of which the lowest is where a Gaussian is fitted on the reference path.
FITTED_TO = 4


class Particles:
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
    def on_the_way(self) -> bool:
        """Whether a step is not at its end: a run goes on in the middle of it."""
        return len(self.populations.records) < len(self.populations.betas)

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
            self.sums = {name: arrays[f"sums.{name}"] for name in SUMS}
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
            self._replace_infinite()
        self._evaluate()
        self.populations.record(self._energies() | self.sums, self._rng())

    def descend(
        self, bar: Any, scans: int, least: float, below: float, ladder: Float[np.ndarray, " step"] | None
    ) -> None:
        """One step of β: weigh the particles, draw them again where few count, and move them."""
        found = self.populations
        if not self.on_the_way:
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
            for name in SUMS:
                for scan in np.asarray(getattr(record, name))[:, :, 0]:  # one by one, in whatever blocks they came
                    self.sums[name] = self.sums[name] + scan.reshape(found.shape)
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
        attributes |= explored_by(program)
        spread = log_z[-1].std(ddof=1) / np.sqrt(len(log_z[-1])) if len(log_z[-1]) > 1 else np.nan
        attributes |= {"log_z": float(log_z[-1].mean()), "log_z_error": float(spread)}
        cap = most_steps(program.kernel) * scans
        attributes |= {"step_cap": [(float(b), min(cap, 2.0**53)) for b in betas], "warmup_gradients": self.before}
        draws = Draws(self.run, build, attributes, self.clock, self.origin, self.extra()[0], {"before": self.before})
        if not len(draws):
            draws.add(self._record(scans))
            self.run.save(program, self.state, self.stage + 1, len(draws), len(draws), draws.keep)
        return draws.tree(found.shape[1])

    def extra(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """What a checkpoint keeps besides the state."""
        arrays = self.origin.arrays | self.populations.arrays
        arrays |= {f"sums.{name}": values for name, values in self.sums.items()}
        if isinstance(self.program.path, tempering.Reference):
            arrays |= {"mean": np.asarray(self.program.path.mean), "scale": np.asarray(self.program.path.scale)}
        return arrays, {
            "started": self.origin.report,
            "num_draws": 0,
            "before": self.before,
            "beta": self.beta,
        } | self.clock.notes

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

    def _replace_infinite(self) -> None:
        """Others in the place of particles without an energy, which are no draws of any β > 0 and can become none."""
        sound = np.isfinite(self._energies()["path_energy"])
        if not sound.any(axis=1).all():
            raise InputError("hottest", float(1 / self.beta), NO_ENERGY, "start from β = 0, or narrow the prior")
        there = np.arange(sound.shape[1])
        self._resample(np.array([np.where(row, there, np.resize(there[row], len(there))) for row in sound]))

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
            ENERGIES, (terms.prior, terms.data, terms.path, terms.base), (prior, data, along, base), strict=True
        )
        return {name: (np.asarray(e, float)[:, 0] + off).reshape(self.populations.shape) for name, e, off in columns}

    def _nothing(self) -> dict[str, np.ndarray]:
        return {name: np.zeros(self.populations.shape) for name in SUMS}

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
        columns = {name: np.stack([r[name].T for r in found.records], axis=-1) for name in (*ENERGIES, *SUMS)}
        shape, betas = (particles, chains, len(found.betas)), np.array(found.betas)
        position = engine.to_host(self.program, self.state).points.position.reshape(chains, particles, 1, -1)
        potential = tempering.temper_on_host(columns["base_energy"], columns["path_energy"], betas)
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
        return Record(**({name: columns[name] for name in ENERGIES} | numbers))
