"""`sample`: tempered posteriors by HMC or NUTS, at one temperature or several, without exchange."""

import inspect
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array

from temperax.energies.datasets import Dataset
from temperax.energies.energy import Energy
from temperax.engine import adaptation, engine, tempering
from temperax.engine.kernels import Kernel, as_kernel
from temperax.engine.program import Program, State, make_program
from temperax.errors import InputError, check_array, check_choice, check_count, check_key, check_result
from temperax.results import recipes, results
from temperax.samplers import runs
from temperax.samplers.arguments import described
from temperax.samplers.drawing import Clock, Draws, collect
from temperax.samplers.runs import Run
from temperax.samplers.setup import PREDICT, RUN, begin, kept_slots, step_cap, target_slot
from temperax.training.starts import Origin, check_rows, check_start


@described
def sample(
    key: Array,
    energy: Energy,
    temperature: float | Sequence[float] | None = None,
    *,
    beta: float | Sequence[float] | None = None,
    path: str | None = None,
    kernel: str | Kernel = "auto",
    num_chains: int = 4,
    num_warmup: int = 300,
    num_draws: int = 1000,
    thin: int = 1,
    keep: str | Sequence[float] = "all",
    start: str | np.ndarray = "optimum",
    log_likelihood: bool = False,
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
    """
    if temperature is None and beta is None:
        temperature = 1.0
    betas = tempering.inverse_temperatures(temperature, beta, path)
    target = target_slot(betas)
    program = make_program(
        energy,
        betas,
        path=tempering.PATHS[path or "likelihood"],
        kernel=as_kernel(kernel, energy),
        num_chains=num_chains,
        kept=kept_slots(keep, betas, target),
        thin=thin,
        scheme=None,
        batch_size=batch_size,
        row_devices=row_devices,
    )
    check_count("num_warmup", num_warmup, 0)
    check_count("num_draws", num_draws)
    check_start(start, energy, num_chains)
    check_rows(log_likelihood, energy)
    key = check_key(key)
    check_choice("storage", storage, results.STORAGE)
    arguments = {name: value for name, value in locals().items() if name in _ARGUMENTS}
    run = runs.begin(directory, resume, save_every, progress, lambda: runs.describe("sample", key, energy, arguments))

    clock, run_key = Clock(run), jax.random.fold_in(key, RUN)
    windows = adaptation.windows(num_warmup) if num_warmup else []
    with run.stoppable():
        program, state, origin = begin(run, key, energy, program, start, clock)
        state = _warm_up(run, program, run_key, state, windows, origin, clock)
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
        attributes |= {"path": program.path.name, "kernel": type(program.kernel).__name__}
        attributes |= {"step_cap": step_cap(program, state), "warmup_gradients": clock.gradients}
        draws = Draws(run, build, attributes, clock, origin)
        return collect(run, program, run_key, state, num_draws, len(windows), draws)


#: What decides a result, and what it carries for `repeat`; how and where it is computed is left out.
_ARGUMENTS = [name for name in inspect.signature(sample).parameters if name not in ("key", "energy", *runs.MEANS)]


def _warm_up(
    run: Run, program: Program, key: Array, state: State, windows: list[tuple[int, bool]], origin: Origin, clock: Clock
) -> State:
    """Adapt window by window and freeze; without windows, everything stays as it started."""
    once = program.placed(thin=np.int32(1))

    def keep() -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        clock.lap("warm-up")
        return origin.arrays, {"started": origin.report} | clock.notes

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


def repeat(tree: xr.DataTree, **changes: Any) -> xr.DataTree:
    """Run a result again, from what it carries alone: data, energy, arguments and key.

    Parameters
    ----------
    tree
        A result of `sample` on an energy of `Energy.mlp`.
    **changes
        Arguments to change, ``num_draws=5000`` say.

    Raises
    ------
    InputError
        If the energy was not an MLP's, or holds functions of the user's own.
    """
    check_result(tree, "posterior")
    if tree.attrs.get("function") != "sample":
        raise InputError("tree", tree.attrs.get("function"), "is not what sample returns", "give a result of sample")
    recipe = _recipe(tree, "energy")
    if recipe is None:
        raise InputError("tree", "energy", "carries no recipe", "call sample with the energy")
    energy = Energy.mlp(_dataset_of(tree), **recipes.decode(recipe))
    data = check_array("tree", _recipe(tree, "key"), "give a result as sample returned it").astype(np.uint32)
    try:
        key = jax.random.wrap_key_data(jnp.asarray(data), impl=tree.attrs.get("key_implementation"))
    except (TypeError, ValueError) as error:
        raise InputError("tree", data, "carries no random key", "give a result as sample returned it") from error
    arguments = recipes.decode(_recipe(tree, "arguments"))
    if not isinstance(arguments, dict) or not set(arguments) <= set(_ARGUMENTS):
        raise InputError("tree", "arguments", "are not those of sample", "use the version that wrote it")
    return sample(key, energy, **(arguments | changes))


def _recipe(tree: xr.DataTree, name: str) -> Any:
    """One of the attributes that say how a result came to be."""
    try:
        return json.loads(tree.attrs[name])
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise InputError("tree", name, "is missing or damaged", "give a result as sample returned it") from error


def _dataset_of(tree: xr.DataTree) -> Dataset:
    names = ("x", "x_test", "y_test", "x_mean", "x_scale", "y_mean", "y_scale")
    constant = check_result(tree, "constant_data", *names, "input", "target")
    return Dataset(
        y=check_result(tree, "observed_data", "y")["y"].values,
        task=tree.attrs["task"],
        name=tree.attrs["data"],
        inputs=tuple(constant["input"].values.tolist()),
        targets=tuple(constant["target"].values.tolist()),
        classes=tuple(json.loads(tree.attrs.get("classes", "[]"))),
        **{name: constant[name].values for name in names},
    )
