"""The last stage of a run: its draws, gathered in memory or written to the run's directory as they come."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

from temperax.energies.energy import Energy
from temperax.engine import engine
from temperax.engine.kernels import MCLMC
from temperax.engine.program import Program, Record, State
from temperax.errors import Interrupted
from temperax.machine import sharding
from temperax.machine.compiling import compiled_seconds
from temperax.machine.progress import waiting
from temperax.results import results
from temperax.samplers.bias import energy_bias, heights_of
from temperax.samplers.runs import Run
from temperax.training.landscape import count_nan
from temperax.training.starts import Origin

#: Points near draws at which energies are looked at where trajectories have diverged.
PROBES = 256
#: Draws that have a directory wait in memory for the next checkpoint, unless they are more than this.
WAITING_BYTES = 64e6


class Clock:
    """What a run has cost, also one that was interrupted: seconds of each stage, and gradients before the draws."""

    def __init__(self, run: Run) -> None:
        self.laps: dict[str, float] = dict(run.notes["laps"]) if run.resumes else {}
        self.gradients: int = run.notes["gradients"] if run.resumes else 0
        self._last, self._compiled = time.perf_counter(), compiled_seconds()
        self._compiled_before: float = run.notes.get("compilation", 0.0) if run.resumes else 0.0

    def lap(self, name: str) -> None:
        """Add the time since the last lap to a stage."""
        now = time.perf_counter()
        self.laps[name] = round(self.laps.get(name, 0.0) + now - self._last, 3)
        self._last = now

    def count(self, record: Record) -> None:
        """Add the leapfrog steps of a block."""
        self.gradients += int(record.n_steps.sum())

    @property
    def compilation(self) -> float:
        """Seconds of all of it in which programs were compiled."""
        return round(self._compiled_before + compiled_seconds() - self._compiled, 3)

    @property
    def notes(self) -> dict[str, Any]:
        """What a checkpoint keeps of it."""
        return {"laps": self.laps, "gradients": self.gradients, "compilation": self.compilation}

    @property
    def attributes(self) -> dict[str, Any]:
        """What a result says of it."""
        return {"timings": self.laps, "compilation": self.compilation}


class Draws:
    """Draws on their way to a result.

    Parameters
    ----------
    run
        Where they are saved, if anywhere.
    build
        Groups of datasets from a record and the number of its first draw.
    attributes
        What the result says of the run.
    clock
        Of the run.
    origin
        Of the run's energies.
    arrays, notes
        What a checkpoint keeps besides.
    """

    def __init__(
        self,
        run: Run,
        build: Callable[[Record, int], dict[str, xr.Dataset]],
        attributes: Mapping[str, Any],
        clock: Clock,
        origin: Origin,
        arrays: Mapping[str, np.ndarray] | None = None,
        notes: Mapping[str, Any] | None = None,
    ) -> None:
        self.run, self.build, self.attributes, self.clock, self.origin = run, build, dict(attributes), clock, origin
        self.arrays, self.notes = origin.arrays | dict(arrays or {}), dict(notes or {})
        self.written = run.notes["num_draws"] if run.resumes else 0
        self.waiting: list[Record] = []
        self.waiting_bytes = 0
        self.unsaved = False  # whether draws have come since the last checkpoint
        self.attributes["interrupted"] = 0
        if run.resumes:  # what was found out about the draws before
            found = run.notes.get("attributes", {})
            self.attributes |= {name: found[name] for name in ("nan_nearby", "energy_bias") if name in found}
        self.said = dict(self.attributes)  # at the last checkpoint

    def __len__(self) -> int:
        return self.written + sum(len(record.fault) for record in self.waiting)

    def add(self, record: Record) -> None:
        """Take the draws of a block."""
        self.waiting.append(record)
        self.waiting_bytes += sum(leaf.nbytes for leaf in record)
        self.unsaved = True
        if self.waiting_bytes > WAITING_BYTES:
            self._write()  # the next checkpoint counts them

    def keep(self) -> tuple[Mapping[str, np.ndarray], dict[str, Any]]:
        """Write the draws that wait, and return what a checkpoint keeps."""
        self._write()
        self.unsaved, self.said = False, dict(self.attributes)
        self.clock.lap("draws")
        attributes = results.attributes(self.attributes | self.clock.attributes)
        notes = {"started": self.origin.report, "attributes": attributes}
        return self.arrays, self.notes | self.clock.notes | notes

    def tree(self, num_draws: int) -> xr.DataTree:
        """The result of all draws so far, at most so many."""
        attributes = self.attributes
        if self.run.directory is None:
            groups = self._groups()
            self.clock.lap("results")
            return results.assemble(groups, attributes | self.clock.attributes)
        sharding.meet("written")
        tree = self.run.directory.tree(min(self.written, num_draws))
        tree.attrs = results.attributes(attributes | self.clock.attributes)
        return tree

    def _write(self) -> None:
        if self.run.directory is not None and self.waiting:
            if sharding.first_process():
                self.run.directory.append(self._groups())
            self.waiting, self.waiting_bytes, self.written = [], 0, len(self)

    def _groups(self) -> dict[str, xr.Dataset]:
        record = jax.tree.map(lambda *parts: np.concatenate(parts), *self.waiting)
        return self.build(record, self.written)


def collect(
    run: Run, program: Program, key: Array, state: State, num_draws: int, stage: int, draws: Draws
) -> xr.DataTree:
    """Run the draws and gather them; a request to stop ends the run with those that are there."""
    offsets, betas = draws.origin.energy.offsets(), np.asarray(program.betas)
    diverging, last, before = False, np.zeros((0, 0, 0, 0)), len(draws)
    exact, heights = not isinstance(program.kernel, MCLMC), []
    with run.bar(num_draws, "draws", "draw") as bar:
        blocks = run.blocks(program, key, state, num_draws, stage=stage, adapt=False, bar=bar, extra=draws.keep)
        try:
            for after, record in blocks:
                state = after
                diverging, last = diverging or bool(record.diverging.any()), np.asarray(record.position)
                if not exact:
                    heights.append(heights_of(record, betas))
                draws.add(engine.absolute(program.path, betas, offsets, record))
        except KeyboardInterrupt as stop:
            # Stopped in the middle of a block, the state is gone, and a directory has what the last checkpoint has.
            if not len(draws) or (run.directory and not isinstance(stop, Interrupted)):
                raise
            draws.attributes["interrupted"] = 1
    if diverging:
        draws.attributes["nan_nearby"] = _nan_nearby(draws.origin.energy, last)
    if draws.unsaved and run.directory is not None:  # what has come since the last checkpoint
        run.save(program, state, stage, len(draws), num_draws, draws.keep)
    draws.clock.lap("draws")
    drawn = len(draws) - before
    # Not of a few draws more than were judged before, and not by scans that nobody waits for any more.
    judged = "energy_bias" in draws.attributes and drawn < len(draws) / 2
    if drawn and not (exact or judged or draws.attributes["interrupted"]):
        try:
            found = energy_bias(program, key, state, np.concatenate(heights))
            draws.attributes["energy_bias"] = [[float(b), *pair] for b, pair in zip(betas, found, strict=True)]
        except KeyboardInterrupt:  # the draws are there without it; but no process goes on without the others
            if jax.process_count() > 1:
                raise
        draws.clock.lap("bias")
    if draws.attributes != draws.said and run.directory is not None:
        run.save(program, state, stage, len(draws), num_draws, draws.keep)
    with waiting("predictions", run.progress):
        return draws.tree(num_draws)


def _nan_nearby(energy: Energy, positions: Float[np.ndarray, "draw chain kept parameter"]) -> tuple[int, int]:
    """Near draws, at how many points of how many an energy is NaN: why trajectories may have diverged.

    A trajectory that meets one is rejected and leaves no trace of what it met, so it is looked for: on the lines
    through pairs of draws of a temperature, as far beyond them as they are apart.
    """
    rng = np.random.default_rng(0)
    flat = np.moveaxis(positions, 2, 0).reshape(positions.shape[2], -1, positions.shape[3])
    rung = rng.integers(len(flat), size=PROBES)
    one, other = (flat[rung, rng.integers(flat.shape[1], size=PROBES)] for _ in range(2))
    points = one + rng.uniform(-1.0, 2.0, size=(PROBES, 1)) * (other - one)
    return count_nan(energy, points), PROBES
