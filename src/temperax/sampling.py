"""`sample`: tempered posteriors by HMC or NUTS, at one temperature or several, without exchange."""

import inspect
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array

from temperax import engine, optimise, recipes, results, tempering
from temperax.datasets import Dataset
from temperax.descent import prior_draws
from temperax.energy import Energy
from temperax.errors import InputError, check_choice, check_count
from temperax.kernels import Kernel, as_kernel, most_steps
from temperax.program import Program, Record, State, make_program
from temperax.progress import tqdm

# Purposes of the keys that are split off a run's key.
_STARTS, _RUN, _PREDICT = range(3)
#: From fewer rows than this, none are held out of finding a start.
_ROWS_TO_HOLD_OUT = 20


def sample(
    key: Array,
    energy: Energy,
    temperature: float | Sequence[float] | None = None,
    *,
    beta: float | Sequence[float] | None = None,
    path: str | None = None,
    kernel: str | Kernel = "hmc",
    num_chains: int = 4,
    num_warmup: int = 1000,
    num_draws: int = 1000,
    thin: int = 1,
    keep: str | Sequence[float] = "all",
    start: str | np.ndarray = "optimum",
    log_likelihood: bool = False,
    batch_size: int | None = None,
    progress: bool = True,
) -> xr.DataTree:
    """Draw from the posterior of an energy at one or several temperatures.

    Parameters
    ----------
    key
        A JAX random key; the same key gives the same draws.
    energy
        What to sample.
    temperature, beta
        T, or β = 1/T: one or several; by default T = 1.  T = inf (β = 0) is drawn exactly from the prior.
    path
        ``"likelihood"``: exp(-U0 - βE), or ``"posterior"``: exp(-β(U0 + E)).  It must be named unless T = 1, where
        the two agree.
    kernel
        ``"hmc"``, ``"nuts"``, or a kernel with its own settings.
    num_chains
        Independent chains at every temperature.
    num_warmup
        Scans that adapt step size, mass and trajectory length; none of them is kept.
    num_draws, thin
        Draws kept of every chain, and scans a draw.
    keep
        Temperatures whose positions are kept: ``"all"``, ``"target"`` (the one of the ``posterior`` group) or a list.
    start
        ``"optimum"``: every chain from an optimum of its own, stopped early on held-out training rows where the energy
        has rows; ``"prior"``: dispersed draws; or positions (chain, parameter).
    log_likelihood
        Also keep the log likelihood of every row, for ``az.loo``.
    batch_size
        Replicas that a device advances at once: by default 1 on a processor, all (0) on an accelerator.
    progress
        Show a progress bar.

    Returns
    -------
    xarray.DataTree
        See `temperax.results`.  The ``posterior`` group holds T = 1 if it is among the temperatures, else the coldest.
        Ctrl-C ends the run early and returns the draws so far, with the attribute ``interrupted`` set.

    Raises
    ------
    InputError
        For bad arguments, before anything is compiled, and for starts whose energy is not finite.
    """
    if temperature is None and beta is None:
        temperature = 1.0
    betas = tempering.inverse_temperatures(temperature, beta, path)
    target = target_slot(betas)
    program = make_program(
        energy,
        betas,
        path=tempering.PATHS[path or "likelihood"],
        kernel=as_kernel(kernel),
        num_chains=num_chains,
        kept=_kept_slots(keep, betas, target),
        thin=thin,
        scheme=None,
        batch_size=batch_size,
    )
    check_count("num_warmup", num_warmup, 0)
    check_count("num_draws", num_draws)
    check_start(start, energy, num_chains)
    check_key(key)
    arguments = {name: value for name, value in locals().items() if name in _ARGUMENTS}

    clock = Clock()
    program, positions, started = make_starts(jax.random.fold_in(key, _STARTS), energy, program, start, progress)
    clock.lap("start")
    run_key = jax.random.fold_in(key, _RUN)
    state = engine.start(program, run_key, positions)
    with tqdm(total=num_warmup, desc="warm-up", unit="scan", disable=not progress) as bar:
        state = engine.warm_up(program, run_key, state, num_warmup, bar)
    clock.lap("warm-up")
    with tqdm(total=num_draws, desc="draws", unit="draw", disable=not progress) as bar:
        state, record, interrupted = collect(program, run_key, state, num_draws, bar)
    clock.lap("draws")
    tree = results.build(
        energy,
        record,
        betas=betas,
        kept=np.asarray(program.keep),
        target=target,
        step_size=np.asarray(state.tuning.step_size),
        attributes=results.describe(energy, key, "sample", arguments, started, clock.laps)
        | {"interrupted": int(interrupted), "path": program.path.name, "step_cap": step_cap(program, state)},
        exchange=False,
        predict_key=jax.random.fold_in(key, _PREDICT),
    )
    if log_likelihood:
        results.add_log_likelihood(tree, energy)
    return tree


_ARGUMENTS = [name for name in inspect.signature(sample).parameters if name not in ("key", "energy", "progress")]


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
    attributes = tree.attrs
    if "energy" not in attributes or attributes["energy"] == "null":
        raise InputError(
            "tree", attributes.get("energy"), "carries no recipe of its energy", "call sample with the energy"
        )
    energy = Energy.mlp(_dataset_of(tree), **recipes.decode(json.loads(attributes["energy"])))
    data = np.asarray(json.loads(attributes["key"]), dtype=np.uint32)
    key = jax.random.wrap_key_data(jnp.asarray(data), impl=attributes["key_implementation"])
    arguments = recipes.decode(json.loads(attributes["arguments"])) | changes
    return sample(key, energy, **arguments)


def _dataset_of(tree: xr.DataTree) -> Dataset:
    constant = tree["constant_data"].to_dataset()
    names = ("x", "x_test", "y_test", "x_mean", "x_scale", "y_mean", "y_scale")
    return Dataset(
        y=tree["observed_data"].to_dataset()["y"].values,
        task=tree.attrs["task"],
        name=tree.attrs["data"],
        inputs=tuple(constant["input"].values.tolist()),
        targets=tuple(constant["target"].values.tolist()),
        **{name: constant[name].values for name in names},
    )


# -- what every sampler needs ----------------------------------------------------------------------------------------


class Clock:
    """Seconds of each stage of a run."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        """End a stage."""
        now = time.perf_counter()
        self.laps[name], self._last = now - self._last, now


def check_key(key: object) -> None:
    """Say what is wrong with something that is no random key."""
    if not isinstance(key, jax.Array) or not jnp.issubdtype(key.dtype, jax.dtypes.prng_key) or key.shape != ():
        raise InputError("key", key, "is not a JAX random key", "give jax.random.key(0)")


def target_slot(betas: np.ndarray) -> int:
    """The slot of the ``posterior`` group: T = 1 where the ladder has it, else the coldest."""
    at_one = np.flatnonzero(np.isclose(betas, 1.0, rtol=1e-6))
    return int(at_one[0]) if len(at_one) else len(betas) - 1


def _kept_slots(keep: object, betas: np.ndarray, target: int) -> np.ndarray:
    if keep == "all":
        return np.arange(len(betas))
    if keep == "target":
        return np.array([target])
    if isinstance(keep, str):
        raise InputError("keep", keep, "is not a known choice", "give 'all', 'target' or a list of temperatures")
    wanted = 1.0 / np.atleast_1d(np.asarray(keep, dtype=float))
    slots = [int(np.argmin(np.abs(betas - b))) for b in wanted]
    for b, slot in zip(wanted, slots, strict=True):
        if not np.isclose(betas[slot], b, rtol=1e-6):
            raise InputError("keep", keep, "has a temperature that is not sampled", "choose from the temperatures")
    return np.unique([*slots, target])


def check_start(start: object, energy: Energy, num_chains: int) -> None:
    """Say what is wrong with a start, before work is done."""
    if isinstance(start, str):
        check_choice("start", start, {"optimum": 0, "prior": 0})
        if start == "optimum" and energy.discrete:
            raise InputError("start", start, "asks for gradients, which spins lack", "give 'prior' or one row a chain")
        return
    shape = np.shape(np.asarray(start))
    if shape != (num_chains, energy.size):
        raise InputError(
            "start",
            shape,
            f"is not of shape ({num_chains}, {energy.size})",
            "give 'optimum', 'prior' or one row a chain",
        )
    if not np.isfinite(np.asarray(start, dtype=float)).all():
        raise InputError("start", start, "has NaN or infinite values", "give finite positions")


def make_starts(
    key: Array, energy: Energy, program: Program, start: str | np.ndarray, progress: bool
) -> tuple[Program, Array, dict[str, Any]]:
    """Positions (chain, temperature, parameter) to start from, and a report of how they were found.

    Energies are counted from the first of them, unless it is no more than a draw from the prior.
    """
    shape = (program.num_chains, len(program.betas), energy.size)
    if isinstance(start, str) and start == "prior":
        keys = jax.random.split(key, shape[:2]).reshape(-1)
        return program, prior_draws(energy, keys).reshape(shape), {"start": "prior"}
    if isinstance(start, str):
        rows = 0 if energy.dataset is None else len(energy.dataset.x)
        optima = optimise.minimise(
            key,
            energy,
            program.num_chains,
            holdout=0.1 if rows >= _ROWS_TO_HOLD_OUT else None,
            progress=progress,
        )
        report = {
            "start": "optimum",
            "energy": (optima.prior_energy + optima.data_energy).round(3).tolist(),
            "steps": optima.num_steps.tolist(),
            "stopped": optima.stopped,
        }
        positions = jnp.asarray(optima.position)
    else:
        positions, report = jnp.asarray(start, jnp.result_type(float)), {"start": "given"}
    program = replace(program, energy=energy.relative_to(positions[0]))
    return program, jnp.broadcast_to(positions[:, None], shape), report


def step_cap(program: Program, state: State) -> list[float]:
    """Steps of a draw, per temperature, in which every trajectory hits the kernel's cap."""
    cap = most_steps(program.kernel) * int(program.thin)
    return [min(cap * int(n), 2.0**53) for n in state.transitions]


def collect(program: Program, key: Array, state: State, num_draws: int, bar: tqdm) -> tuple[State, Record, bool]:
    """Run the draws and gather their records, energies made absolute; Ctrl-C ends the run with those that are there."""
    records: list[Record] = []
    interrupted = False
    blocks = engine.run(program, key, state, num_draws, adapt=False, bar=bar)
    try:
        for after, record in blocks:
            state = after
            records.append(record)
    except KeyboardInterrupt:
        if not records:
            raise
        interrupted = True
    record = jax.tree.map(lambda *parts: np.concatenate(parts), *records)
    return state, engine.absolute(program, record), interrupted
