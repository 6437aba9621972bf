"""A run from its first block to its last: progress, saving, stopping, and going on from what was saved.

A run is a sequence of *stages* (windows of warm-up, rounds, the draws), and a stage a number of scans or draws.
Between blocks a run may save where it stands, or be asked to stop (Ctrl-C, SIGTERM), in whichever process of several.
What was saved is always the state after a block and before what its stage's end brings about, so that a run that goes
on does the same things in the same order as one that was never interrupted.
"""

import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array
from numpyro.infer.util import ParamInfo

from temperax.energies.energy import Energy
from temperax.engine import engine
from temperax.engine.kernels import Kernel, Tuning
from temperax.engine.kernels.choice import KERNELS
from temperax.engine.program import Program, Record, State
from temperax.errors import InputError, Interrupted, ProcessError, StorageError
from temperax.machine import sharding
from temperax.machine.progress import tqdm
from temperax.results import notation, results
from temperax.results.fingerprints import digest, program_of, without_addresses
from temperax.storage.checkpoint import Checkpoint
from temperax.storage.rundir import RunDirectory, place

#: Packages whose version may change the answer.
VERSIONS = ("temperax", "jax", "jaxlib", "numpyro", "numpy")
#: Arguments that say where a run is kept, and do not decide its draws.
MEANS = ("directory", "resume", "save_every", "progress")
#: Arguments with which a run may go on that began with others.
FREE = ("num_draws", "num_rounds")


class Run:
    """The thread through a run's stages.

    Parameters
    ----------
    directory
        Where to save, or None to save nowhere.
    saved
        The checkpoint that the run goes on from.
    save_every
        Seconds between checkpoints.
    progress
        Whether to show bars; with several processes the first shows them.
    plan
        Lengths of the run's rounds, where it has any.
    """

    def __init__(
        self,
        directory: RunDirectory | None = None,
        saved: Checkpoint | None = None,
        save_every: float = 60.0,
        progress: bool = False,
        plan: list[int] | None = None,
        held: ExitStack | None = None,
    ) -> None:
        self.directory, self.save_every, self.plan = directory, save_every, plan or []
        self._held = held or ExitStack()
        self.progress = progress and sharding.first_process()
        self._saved = saved
        self._last_save = time.monotonic()
        self._asked_to_stop = False
        self._doing = ""
        self._step = saved.step if saved else 0

    # -- going on ----------------------------------------------------------------------------------------------------

    @property
    def resumes(self) -> bool:
        """Whether there is a checkpoint to go on from."""
        return self._saved is not None

    @property
    def notes(self) -> dict[str, Any]:
        """Notes of the checkpoint that the run goes on from."""
        assert self._saved is not None
        return self._saved.notes

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """Arrays of that checkpoint besides the state."""
        assert self._saved is not None
        return {name: self._saved.leaves[f"['{name}']"] for name in self.notes["arrays"]}

    def state(self, program: Program) -> State:
        """The state of that checkpoint, laid out on the program's devices."""
        assert self._saved is not None
        shape = (program.num_chains, len(program.betas), program.energy.size)
        like = self.arrays | {"state": engine.blank_state(program, np.zeros(shape))}
        return engine.to_devices(program, self._saved.into(like)["state"])

    def past(self, stage: int) -> bool:
        """Whether the run that was saved had left a stage behind."""
        return self._saved is not None and stage < self.notes["stage"]

    def done(self, stage: int) -> int:
        """Scans of a stage that are done already."""
        return self.notes["done"] if self._saved is not None and stage == self.notes["stage"] else 0

    # -- blocks ------------------------------------------------------------------------------------------------------

    def bar(self, total: int, doing: str, unit: str) -> tqdm:
        """A progress bar of what the run does now."""
        self._doing = doing
        return tqdm(total=total, desc=doing, unit=unit, disable=not self.progress)

    def blocks(
        self,
        program: Program,
        key: Array,
        state: State,
        length: int,
        *,
        stage: int,
        adapt: bool,
        bar: tqdm,
        extra: Callable[[], tuple[Mapping[str, np.ndarray], Mapping[str, Any]]],
    ) -> Iterator[tuple[State, Record]]:
        """The blocks of what is left of a stage; saves between them when it is time.

        Parameters
        ----------
        program, key, state, adapt, bar
            As `engine.run`.
        length
            Scans or draws of the whole stage.
        stage
            Its number.
        extra
            Returns arrays and notes to save with the state.  Called when the record of the block has been used.

        Raises
        ------
        Interrupted
            After a request to stop, when all is saved that can be.
        """
        done = self.done(stage)
        bar.update(done)
        for after, record in engine.run(program, key, state, length - done, adapt=adapt, bar=bar):
            yield after, record
            done += len(record.fault)
            stop = sharding.agree(float(self._asked_to_stop)) > 0
            if stop or (self.directory and sharding.agree(time.monotonic() - self._last_save) >= self.save_every):
                self.save(program, after, stage, done, length, extra)
            if stop:
                raise Interrupted(self.directory and self.directory.path, f"{self._doing}, {done} of {length}")

    def save(self, program: Program, state: State, stage: int, done: int, length: int, extra: Callable) -> None:
        """Write a checkpoint, if there is a place for it."""
        if self.directory is None:
            return
        arrays, notes = extra()
        kept = dict(arrays) | {"state": engine.to_host(program, state)}
        self._step += 1
        if sharding.first_process():
            about = {"stage": stage, "done": done, "length": length, "arrays": list(arrays)}
            self.directory.save(self._step, kept, dict(notes) | about)
        self._last_save = time.monotonic()

    # -- stopping ----------------------------------------------------------------------------------------------------

    @contextmanager
    def stoppable(self) -> Iterator[None]:
        """Take SIGINT and SIGTERM as requests to stop after the block that runs; a second SIGINT stops at once.

        At the end, whatever it is, other processes may write to the directory again.
        """
        with self._held, self._asked():
            try:
                yield
            except (InputError, StorageError, ProcessError, KeyboardInterrupt):
                raise
            except Exception as error:
                error.add_note(f"temperax: {self._what_is_saved()}")
                raise

    def _what_is_saved(self) -> str:
        """What is left of a run that ends by an error of somebody else's."""
        if self.directory is None:
            return "nothing of this run was saved; directory= keeps what is drawn."
        if not self._step:
            return f"nothing was saved yet in {self.directory.path}."
        there = f"{self.directory.num_draws} draws of every chain are saved in {self.directory.path}"
        return f"{there}; resume=True goes on from its last checkpoint."

    def __repr__(self) -> str:
        """Where it is saved, and how far it is."""
        return f"Run({self.directory!r}, {self._doing or 'beginning'})"

    @contextmanager
    def _asked(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            with together(self.directory.path if self.directory else None):
                yield  # signals are none of this thread's business
            return

        def ask(number: int, frame: Any) -> None:
            if self._asked_to_stop and number == signal.SIGINT:
                raise KeyboardInterrupt
            self._asked_to_stop = True

        before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            with together(self.directory.path if self.directory else None):
                yield
        finally:
            for number, handler in before.items():
                if handler is not None:  # one that C has installed cannot be put back
                    signal.signal(number, handler)


@contextmanager
def together(directory: str | Path | None) -> Iterator[None]:
    """Work that the processes of a job do together: what one of them fails in ends all.

    Raises
    ------
    ProcessError
        If another one was lost.
    """
    try:
        yield
    except Interrupted:
        raise  # all of them stop, after the same block
    except BaseException as error:
        sharding.leave_alone()
        if reason := sharding.lost(error):
            raise ProcessError(directory, reason) from error
        raise


# -- beginning or going on -------------------------------------------------------------------------------------------


def begin(
    directory: str | Path | None,
    resume: bool,
    save_every: float,
    progress: bool,
    configuration: Callable[[], dict[str, Any]],
    plan: list[int] | None = None,
) -> Run:
    """A run that begins, or goes on from the newest checkpoint of its directory.

    Parameters
    ----------
    directory, resume, save_every, progress
        As in `temperax.sample`.
    configuration
        Returns what `describe` says of the run; it is only asked for where there is a directory.
    plan
        Lengths of its rounds; a run that goes on keeps those that it began with.

    Raises
    ------
    InputError
        If the directory holds another run, or one that was not to be resumed.
    """
    if directory is None:
        if resume:
            raise InputError("resume", resume, "names no run", "give its directory too")
        return Run(progress=progress, plan=plan)
    with together(directory):
        return _begin(place(directory), resume, save_every, progress, configuration, plan)


def _begin(
    directory: Path,
    resume: bool,
    save_every: float,
    progress: bool,
    configuration: Callable[[], dict[str, Any]],
    plan: list[int] | None,
) -> Run:
    there = RunDirectory.is_one(directory)
    sharding.meet("looked")  # everybody has, before somebody writes
    with ExitStack() as held:  # the lock, until the run ends or fails to begin
        if not there or not resume:
            if sharding.first_process():
                held.callback(RunDirectory.create(directory, configuration() | {"plan": plan}).lock().release)
            sharding.meet("created")
            return Run(RunDirectory.open(directory), None, save_every, progress, plan, held.pop_all())
        opened = RunDirectory.open(directory)
        opened.check(configuration() | {"plan": opened.configuration["plan"]})
        if sharding.first_process():
            held.callback(opened.lock().release)
        saved = opened.restore()
        sharding.meet("restored")
        if sharding.first_process():
            opened.truncate(saved.notes["num_draws"] if saved else 0)
        sharding.meet("truncated")
        return Run(opened, saved, save_every, progress, opened.configuration["plan"], held.pop_all())


def describe(function: str, key: Array, energy: Energy, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """All that decides the draws of a run, as JSON: what a run that goes on must have in common with its beginning."""
    kernel = arguments.get("kernel")
    both = (kernel, getattr(kernel, "kernel", None))  # one that alternates, too
    own = [k for k in both if isinstance(k, Kernel) and type(k) not in KERNELS.values()]
    return {
        **({"moves": [_program_of_moves(each, energy.size) for each in own]} if own else {}),
        "function": function,
        "key": np.asarray(jax.random.key_data(key)).tolist(),
        "key_implementation": str(jax.random.key_impl(key)),
        "arguments": notation.encode({k: v for k, v in arguments.items() if k not in FREE}),
        "data": digest(*jax.tree.leaves(energy.data), *_on_host(energy)),
        "model": digest(program_of(energy), *jax.tree.leaves(energy.bare())),  # and the data, so it comes after them
        "versions": {name: version(name) for name in VERSIONS},
    }


def _program_of_moves(kernel: Kernel, size: int) -> str:
    """A hash of what a kernel of the user's own does, and of its numbers: its name says neither."""

    def move(kernel: Kernel, key: Array, start: ParamInfo, tuning: Tuning, beta: Array) -> tuple[ParamInfo, Any]:
        return kernel.step(key, lambda beta: lambda q: beta * jnp.sum(q**2), beta, start, tuning, beta)

    q, one = jnp.zeros(size), jnp.ones(())
    tuning = Tuning(one, jnp.ones(size), one, jnp.zeros((size, 0)), jnp.ones(0))
    traced = jax.make_jaxpr(move)(kernel, jax.random.key(0), ParamInfo(q, q[0], q), tuning, one)
    return digest(without_addresses(str(traced.jaxpr)), *traced.consts, *jax.tree.leaves(kernel))


def _on_host(energy: Energy) -> list[Any]:
    """Of a data set what decides a result besides its training rows: held-out rows, units and names."""
    data = energy.dataset
    if data is None:
        return []
    arrays = [data.x_test, data.y_test, data.x_mean, data.x_scale, data.y_mean, data.y_scale]
    return [*arrays, str((data.inputs, data.targets, data.classes))]


def open_run(directory: str | Path) -> xr.DataTree:
    """What a run directory holds, finished or not: read only as values are asked for.

    Parameters
    ----------
    directory
        Of a run that may still be going on.

    Raises
    ------
    InputError
        If there is no run, or it has no draws yet.

    See Also
    --------
    temperax.parallel_tempering, temperax.repeat

    Examples
    --------
    >>> _ = tx.sample(key, energy, num_warmup=50, num_draws=20, directory="run", progress=False)
    >>> tx.open_run("run")["posterior"].sizes["draw"]
    20
    """
    opened = RunDirectory.open(directory)
    saved = opened.restore()
    if saved is None or not saved.notes["num_draws"]:
        raise InputError("directory", str(directory), "has no draws yet", "wait, or resume the run")
    tree = results.renewed(opened.tree(saved.notes["num_draws"]))
    tree.attrs = saved.notes["attributes"]
    return tree
