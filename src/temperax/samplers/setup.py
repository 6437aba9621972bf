"""What every sampler does around its own: how a run begins or goes on, and which slots are kept."""

from collections.abc import Callable
from functools import cache
from typing import Any

import jax
import numpy as np
from jaxtyping import Array

from temperax.energies.energy import Energy
from temperax.engine.kernels import MCLMC, Alternating, Kernel, as_kernel, most_steps
from temperax.engine.program import Program, State
from temperax.errors import InputError, check_array, check_choice, check_count, check_key, check_positive
from temperax.machine import sharding
from temperax.machine.progress import say, waiting
from temperax.results import results
from temperax.results.carried import RUN, STARTS
from temperax.samplers.drawing import Clock
from temperax.samplers.runs import Run
from temperax.training.starts import Origin, first_state, make_starts


def common(
    key: Any,
    energy: Any,
    kernel: Any,
    num_chains: int,
    batch_size: int | None,
    thin: int = 1,
    storage: str = "float32",
    save_every: float = 60.0,
    *,
    on_a_ladder: bool = False,
) -> list[Callable[[], Any]]:
    """Checks of what every sampler is given.

    They return the key as a typed one, the kernel, None for the energy, and the others as they are: counts as int.
    """

    def is_energy() -> None:
        if not isinstance(energy, Energy):
            raise InputError("energy", energy, "is not an Energy", "give one such as Energy.mlp(data)")

    return [
        lambda: check_key(key),
        lambda: as_kernel(kernel, energy, on_a_ladder=on_a_ladder),
        is_energy,
        lambda: check_count("num_chains", num_chains),
        lambda: check_count("thin", thin),
        lambda: None if batch_size is None else check_count("batch_size", batch_size, 0),
        lambda: check_choice("storage", storage, results.STORAGE),
        lambda: check_positive("save_every", save_every),
    ]


def check_exact(kernel: object, chosen: Kernel | Alternating, what: str) -> None:
    """Say so where a kernel does not accept or reject, and ``what`` is found from its draws without a sign of it."""
    if isinstance(getattr(chosen, "kernel", chosen), MCLMC):
        raise InputError("kernel", kernel, f"is not exact, and {what} would keep its bias unseen", "give 'mams'")


def begin(
    run: Run,
    key: Array,
    energy: Energy,
    program: Program,
    start: str | np.ndarray,
    clock: Clock,
    restore: Callable[[Program, Run], Program] = lambda program, run: program,
) -> tuple[Program, State, Origin]:
    """The program, the state and the energies' origin of a run that begins, or that goes on from its checkpoint.

    ``restore`` gives a program what the checkpoint says of it.
    """
    if run.resumes:
        origin = Origin.at(energy, run.arrays.get("origin"), run.notes["started"])
        program = origin.seat(restore(program, run))
        return program, run.state(program), origin
    if run.progress:
        _say_idle_cores(program)
    positions, origin = make_starts(jax.random.fold_in(key, STARTS), energy, program, start, run.progress)
    clock.gradients += sum(origin.report.get("steps", []))
    clock.lap("start")
    program = origin.seat(program)
    with waiting("first steps", run.progress):
        state = first_state(program, jax.random.fold_in(key, RUN), positions, redraw=isinstance(start, str))
    return program, state, origin


@cache
def _say_once(cores: int) -> None:
    say(
        f"One of {cores} cores is at work: temperax.use_cpu_devices({cores}), called before anything runs on JAX, "
        "uses them all."
    )


def _say_idle_cores(program: Program) -> None:
    """Say once how to use the cores that are left idle."""
    operations = 2.0 * program.energy.size * (program.energy.num_rows or 1)
    if cores := sharding.idle_cores(program.num_replicas, operations):
        _say_once(cores)


def kept_slots(keep: object, betas: np.ndarray, target: int, *, nearest: bool = False) -> np.ndarray:
    """Slots whose positions are kept: those of the temperatures that are named, or ``nearest`` to them."""
    remedy = "give 'all', 'target' or a list of temperatures"
    if isinstance(keep, str):
        check_choice("keep", keep, {"all": 0, "target": 0})
        return np.arange(len(betas)) if keep == "all" else np.array([target])
    temperatures = np.atleast_1d(check_array("keep", keep, remedy))
    if temperatures.ndim != 1 or not (temperatures > 0).all():  # NaN fails too
        raise InputError("keep", keep, "is not a list of positive temperatures", remedy)
    wanted = 1.0 / temperatures
    slots = [int(np.argmin(np.abs(betas - b))) for b in wanted]
    for b, slot in zip(wanted, slots, strict=True):
        if not nearest and not np.isclose(betas[slot], b, rtol=1e-6):
            raise InputError("keep", keep, "has a temperature that is not sampled", "choose from the temperatures")
    return np.unique([*slots, target])


def explored_by(program: Program) -> dict[str, str]:
    """Attributes that say on which path a run is, and what moves its replicas."""
    moves = {} if program.moves is None else {"moves": type(program.moves).__name__}
    return {"path": program.path.name, "kernel": type(program.kernel).__name__} | moves


def step_cap(program: Program, state: State) -> list[tuple[float, float]]:
    """β of every temperature, and the steps of a draw there in which every trajectory hits the kernel's cap."""
    cap = most_steps(program.kernel) * int(program.thin)
    caps = [min(cap * int(n), 2.0**53) for n in np.asarray(state.transitions)]
    return list(zip(np.asarray(program.betas, float).tolist(), caps, strict=True))
