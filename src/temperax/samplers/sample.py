"""`sample`: tempered posteriors by HMC or NUTS, at one temperature or several, without exchange."""

import inspect
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import xarray as xr
from jaxtyping import Array

from temperax.energies.energy import Energy
from temperax.engine import adaptation, engine, tempering
from temperax.engine.kernels import KernelLike
from temperax.engine.program import Program, State, make_program
from temperax.errors import all_at_once, check_count
from temperax.results import results
from temperax.results.carried import PREDICT, RUN
from temperax.samplers import runs
from temperax.samplers.arguments import described
from temperax.samplers.drawing import Clock, Draws, collect
from temperax.samplers.runs import Run
from temperax.samplers.setup import begin, common, explored_by, kept_slots, step_cap
from temperax.training.starts import Origin, check_rows, check_start, check_storage


@described
def sample(
    key: Array,
    energy: Energy,
    temperature: float | Sequence[float] | None = None,
    *,
    beta: float | Sequence[float] | None = None,
    path: str | None = None,
    kernel: KernelLike = "auto",
    num_chains: int = 4,
    num_warmup: int = 300,
    num_draws: int = 1000,
    thin: int = 1,
    keep: str | Sequence[float] = "all",
    start: str | np.ndarray = "optimum",
    log_likelihood: bool | None = None,
    storage: str = "float32",
    batch_size: int | None = None,
    row_devices: int = 1,
    directory: str | Path | None = None,
    resume: bool = False,
    save_every: float = 60.0,
    progress: bool = True,
) -> xr.DataTree:
    """Draw from the posterior of an energy at one or several temperatures.

    Parameters
    ----------
    key
    energy
    temperature, beta
        T, or β = 1/T: one or several; by default T = 1.  T = inf (β = 0) is drawn exactly from the prior.
    path
        ``"likelihood"``: exp(-U0 - βE), or ``"posterior"``: exp(-β(U0 + E)).  It must be named unless T = 1, where
        the two agree.
    kernel
        ``"hmc"``, ``"nuts"``, or a kernel with its own settings; by default HMC for networks, NUTS for other energies.
    num_chains
        Independent chains at every temperature.
    num_warmup
        Scans that adapt step size, mass and trajectory length; none of them is kept.
    num_draws
        Draws kept of every chain.
    thin
    keep
        Temperatures whose positions are kept: ``"all"``, ``"target"`` (the one of the ``posterior`` group) or a list.
    start
    log_likelihood
    storage
    batch_size
    row_devices
    directory, resume, save_every
    progress

    Returns
    -------
    xarray.DataTree
        See `temperax.results`.  The ``posterior`` group holds T = 1 if it is among the temperatures, else the coldest.
        Ctrl-C or SIGTERM ends the run after the block that runs, and returns the draws so far with the attribute
        ``interrupted`` set.

    Raises
    ------
    InputError
    StorageError
    Interrupted
    ProcessError

    See Also
    --------
    temperax.parallel_tempering, temperax.diagnostics.report, temperax.predict.scores

    Examples
    --------
    >>> tree = tx.sample(key, energy, [2.0, 1.0, 0.5], path="posterior", num_draws=100, progress=False)
    >>> tree["tempered_posterior"].sizes["temperature"]
    3
    >>> bool(tx.predict.scores(tree)["lppd"].loc[1.0] > -1.0)
    True
    """
    if temperature is None and beta is None:
        temperature = 1.0
    key, chosen, _, num_chains, thin, batch_size, *_, num_warmup, num_draws, betas = all_at_once(
        *common(key, energy, kernel, num_chains, batch_size, thin, storage, save_every),
        lambda: check_count("num_warmup", num_warmup, 0),
        lambda: check_count("num_draws", num_draws),
        lambda: tempering.inverse_temperatures(temperature, beta, path),
    )
    target = tempering.target_slot(betas)
    program = make_program(
        energy,
        betas,
        path=tempering.PATHS[path or "likelihood"],
        kernel=chosen,
        num_chains=num_chains,
        kept=kept_slots(keep, betas, target),
        thin=thin,
        scheme=None,
        batch_size=batch_size,
        row_devices=row_devices,
    )
    check_start(start, energy, num_chains)
    check_rows(log_likelihood, energy)
    check_storage(storage, energy)
    arguments = {name: value for name, value in locals().items() if name in _ARGUMENTS}
    run = runs.begin(directory, resume, save_every, progress, lambda: runs.describe("sample", key, energy, arguments))

    clock, run_key = Clock(run), jax.random.fold_in(key, RUN)
    windows = adaptation.windows(num_warmup) if num_warmup else []
    with run.stoppable():
        program, state, origin = begin(run, key, energy, program, start, clock)
        state = _warm_up(run, program, run_key, state, windows, origin, clock, num_draws)
        clock.lap("warm-up")
        build = partial(
            results.groups,
            energy,
            betas=betas,
            kept=np.asarray(program.keep),
            target=target,
            step_size=np.asarray(state.tuning.step_size),
            predict_key=jax.random.fold_in(key, PREDICT),
            log_likelihood=log_likelihood,
            storage=storage,
        )
        attributes = results.describe(energy, key, "sample", arguments, origin.report)
        attributes |= explored_by(program)
        attributes |= {"step_cap": step_cap(program, state), "warmup_gradients": clock.gradients}
        draws = Draws(run, build, attributes, clock, origin)
        return collect(run, program, run_key, state, num_draws, len(windows), draws)


#: What decides a result, and what it carries for `repeat`; how and where it is computed is left out.
_ARGUMENTS = [name for name in inspect.signature(sample).parameters if name not in ("key", "energy", *runs.MEANS)]


def _warm_up(
    run: Run,
    program: Program,
    key: Array,
    state: State,
    windows: list[tuple[int, bool]],
    origin: Origin,
    clock: Clock,
    num_draws: int,
) -> State:
    """Adapt window by window and freeze; without windows, everything stays as it started.

    Checkpoints say how many draws are to follow, for whoever looks.
    """
    once = program.placed(thin=np.int32(1))

    def keep() -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        clock.lap("warm-up")
        return origin.arrays, {"started": origin.report, "draws_to_follow": num_draws} | clock.notes

    with run.bar(sum(w[0] for w in windows), "warm-up", "scan") as bar:
        for stage, (length, new_mass) in enumerate(windows):
            if run.past(stage):
                continue
            for after, record in run.blocks(once, key, state, length, stage=stage, adapt=True, bar=bar, extra=keep):
                state = after
                clock.count(record)
            state = engine.end_window(once, state) if new_mass else state
    ended = not windows or run.past(len(windows) - 1)
    return state if ended else engine.end_window(once, state, new_mass=False)
