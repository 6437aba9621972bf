"""Where chains start, and from where energies are counted."""

from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from temperax.energies.energy import Energy
from temperax.engine import engine
from temperax.engine.program import Program, State
from temperax.errors import InputError, check_array, check_choice, check_single
from temperax.machine import sharding
from temperax.training.descent import minimise, train
from temperax.training.landscape import REDRAWN, energies_at, fault_of, has_units, nowhere, prior_draws

#: Names of starts.
STARTS = ("optimum", "trained", "both", "prior")
#: From fewer rows than this, none are held out of finding a start.
ROWS_TO_HOLD_OUT = 20


class Origin(NamedTuple):
    """From where a run counts energies, and how its starts were found."""

    energy: Energy  # counted from the origin
    position: np.ndarray | None  # the origin; None where energies are absolute
    report: dict[str, Any]

    @classmethod
    def at(cls, energy: Energy, position: np.ndarray | None, report: dict[str, Any]) -> Self:
        """Count the energy from a position."""
        return cls(energy.bare() if position is None else energy.relative_to(position), position, report)

    @classmethod
    def at_lowest(
        cls, energy: Energy, positions: Float[np.ndarray | Array, "chain parameter"], report: dict[str, Any]
    ) -> Self:
        """Count the energy from the position where it is lowest, or absolutely where no position has one."""
        positions = np.asarray(positions)
        heights = np.sum(energies_at(energy, positions), axis=0)
        heights = np.where(np.isfinite(heights), heights, np.inf)
        found = positions[heights.argmin()] if np.isfinite(heights).any() else None
        return cls.at(energy, found, report)

    def seat(self, program: Program) -> Program:
        """The program with this energy, its rows on as many devices as the mesh has for them."""
        return program.placed(energy=self.energy.over_rows(program.mesh.shape[sharding.ROW]))

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """What a checkpoint keeps of it, besides the report."""
        return {} if self.position is None else {"origin": self.position}


def check_start(start: object, energy: Energy, num_chains: int) -> None:
    """Say what is wrong with a start, before work is done."""
    if isinstance(start, str):
        check_choice("start", start, dict.fromkeys(STARTS))
        if start != "prior" and energy.discrete:
            raise InputError("start", start, "asks for gradients, which spins lack", "give 'prior' or one row a chain")
        if start in ("trained", "both") and not has_units(energy):
            raise InputError("start", start, "is for networks with hidden units", "give 'optimum'")
        if start == "both" and num_chains < 2:
            raise InputError("num_chains", num_chains, "cannot start from both sides", "give 2 or more")
        return
    remedy = "give 'optimum', 'trained', 'both', 'prior' or one row a chain"
    positions = check_array("start", start, remedy)
    if positions.shape != (num_chains, energy.size):
        raise InputError("start", positions.shape, f"is not of shape ({num_chains}, {energy.size})", remedy)
    check_single("start", start, positions)


def check_rows(log_likelihood: bool | None, energy: Energy) -> None:
    """Say so if log likelihoods are asked for of an energy that has no rows."""
    if log_likelihood and energy.num_rows is None:
        raise InputError("log_likelihood", True, "asks for rows of a scalar energy", "return one value a row")


def check_storage(storage: str, energy: Energy) -> None:
    """Say so where half precision does not hold the numbers that the prior draws."""
    if storage != "float16":
        return
    largest, bare = float(np.finfo(np.float16).max), energy.bare()
    drawn = prior_draws(bare, jax.random.key(0), 64)
    found = max(float(np.abs(np.asarray(v)).max()) for v in jax.vmap(bare.variables)(drawn).values())
    if found > largest / 10:
        problem = f"holds numbers up to {largest:.0f}, and the prior draws {found:.3g}"
        raise InputError("storage", storage, problem, "use float32, or a narrower prior")


def first_state(
    program: Program,
    key: Array,
    positions: Float[np.ndarray, "chain temperature parameter"],
    *,
    redraw: bool = False,
) -> State:
    """The state of chains at their starts; with ``redraw`` those that cannot move are drawn from the prior again.

    Raises
    ------
    InputError
        If one of them has no finite energy and gradient: with what is not finite there.
    """
    state, faults = engine.start(program, key, positions)
    for again, nearer in enumerate(REDRAWN if redraw else []):
        if (faults < 0).all():
            break
        drawn = prior_draws(program.energy, jax.random.fold_in(key, again), faults.size)
        drawn = (np.float32(nearer) * np.asarray(drawn)).reshape(positions.shape)
        positions = np.where((faults >= 0)[..., None], drawn, positions)
        state, faults = engine.start(program, key, positions)
    if (faults >= 0).any():
        chain, slot = np.argwhere(faults >= 0)[0]
        fault = fault_of(program.energy, positions[chain, slot]) or "its energy overflows at that temperature"
        if redraw:
            raise nowhere(program.energy, fault)
        raise InputError("start", f"row {chain}", f"cannot be moved from ({fault})", "start that chain elsewhere")
    return state


def _descents(
    key: Array, energy: Energy, num_chains: int, start: str, progress: bool
) -> tuple[Float[np.ndarray, "chain parameter"], dict[str, Any]]:
    """Where descents end: ``"trained"`` below the posterior's energies, ``"optimum"`` above, ``"both"`` half each."""
    trained = {"trained": num_chains, "both": num_chains // 2}.get(start, 0)
    parts, sides = [], ["below"] * trained + ["above"] * (num_chains - trained)
    if trained:
        parts.append(train(key, energy, trained, progress=progress))
    if trained < num_chains:
        rows = 0 if energy.dataset is None or not has_units(energy) else len(energy.dataset.x)
        holdout = 0.1 if rows >= ROWS_TO_HOLD_OUT else None
        parts.append(minimise(key, energy, num_chains - trained, holdout=holdout, progress=progress))
    energies = np.concatenate([optima.prior_energy + optima.data_energy for optima in parts])
    report: dict[str, Any] = {
        "start": start,
        "energy": energies.round(3).tolist(),
        "steps": np.concatenate([optima.num_steps for optima in parts]).tolist(),
        "stopped": [reason for optima in parts for reason in optima.stopped],
    }
    # What is not a network is descended to the bottom from wherever it begins.
    report |= {"side": sides} if has_units(energy) else {}
    return np.concatenate([optima.position for optima in parts]), report


def make_starts(
    key: Array, energy: Energy, program: Program, start: str | np.ndarray, progress: bool
) -> tuple[Float[np.ndarray, "chain temperature parameter"], Origin]:
    """Positions (chain, temperature, parameter) to start from.

    Energies are counted from the lowest of them, unless they are no more than draws from the prior.
    """
    shape = (program.num_chains, len(program.betas), energy.size)
    if isinstance(start, str) and start == "prior":
        drawn = np.asarray(prior_draws(energy.bare(), key, shape[0] * shape[1]))
        return drawn.reshape(shape), Origin.at(energy, None, {"start": "prior"})
    if isinstance(start, str):
        positions, report = _descents(key, energy, program.num_chains, start, progress)
    else:
        positions, report = np.asarray(start, jnp.result_type(float)), {"start": "given"}
    return np.broadcast_to(positions[:, None], shape), Origin.at_lowest(energy, positions, report)
