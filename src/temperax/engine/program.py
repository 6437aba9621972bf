"""What runs: a program, the state that its scans hand on, and the record that they leave.

A program is a pytree.  Its arrays (data, temperatures, which slots are kept) are values that may change freely; the
rest (model, path, kernel, numbers of chains and devices) decides the compiled program.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec
from jax.tree_util import register_dataclass
from jaxtyping import Array, Float, Int

from temperax.energies.energy import Energy
from temperax.energies.models import NetworkModel
from temperax.engine.adaptation import Adaptation
from temperax.engine.exchange import Journeys
from temperax.engine.kernels import HMC, MAMS, NUTS, Alternating, Kernel, Rescaling, Tuning
from temperax.engine.tempering import Likelihood, Path, Point
from temperax.errors import InputError
from temperax.machine import sharding

#: A block's draws take at most this much device memory, which every block clears, and are at most so many.
BLOCK_BYTES, BLOCK_DRAWS = 16e6, 1000
#: Arrays of a position's size that a replica may hold in a trajectory: its ends, momenta, gradients, NUTS's branches.
COPIES = 32
#: A mass is turned in all directions of up to so many parameters, and in fewer of more.
MOST_TURNED, FEWER_TURNED = 64, 16
#: Share of an accelerator's memory for what its replicas compute at once; data, states and draws have the rest.
MEMORY_SHARE = 0.5


class State(NamedTuple):
    """All that a scan hands to the next one."""

    scan: Int[Array, ""]
    points: Point  # leading axis replica, chain after chain, in places that replicas never leave: see `slots`
    tuning: Tuning
    adaptation: Adaptation
    transitions: Int[Array, " temperature"]  # of the kernel in a scan
    journeys: Journeys  # leading axis chain


class Record(NamedTuple):
    """What is kept of a draw; leading axes (draw, chain, temperature) unless said otherwise."""

    position: Float[Array, "draw chain kept parameter"]
    prior_energy: Float[Array, "draw chain temperature"]
    data_energy: Float[Array, "draw chain temperature"]
    path_energy: Float[Array, "draw chain temperature"]
    base_energy: Float[Array, "draw chain temperature"]
    virial: Float[Array, "draw chain temperature"]  # (θ - c)·∇(A + βV) / P, whose mean is 1
    energy: Float[Array, "draw chain temperature"]  # Hamiltonian before the exchange
    acceptance_rate: Float[Array, "draw chain temperature"]
    n_steps: Int[Array, "draw chain temperature"]
    diverging: Array
    fault: Int[Array, "draw chain temperature"]  # see `scanning.fault_of`
    swap_acceptance: Float[Array, "draw chain pair"]
    replica: Int[Array, "draw chain temperature"]
    round_trips: Int[Array, "draw chain"]
    restarts: Int[Array, "draw chain"]


@register_dataclass
@dataclass(frozen=True)
class Program:
    """What runs: the arrays are values that may change freely, the rest decides the compiled program."""

    energy: Energy
    path: Path
    kernel: Kernel
    moves: Rescaling | None  # along a symmetry of the energy, after a scan's transitions
    betas: Float[Array, " temperature"]
    keep: Int[Array, " kept"]  # slots whose positions are recorded
    thin: Int[Array, ""]  # scans a draw
    scheme: str | None = field(metadata={"static": True})  # of exchange; None: no exchange
    exact: bool = field(metadata={"static": True})  # whether a rung may be at β = 0, where draws are exact
    num_chains: int = field(metadata={"static": True})
    batch_size: int = field(metadata={"static": True})
    mesh: Mesh = field(metadata={"static": True})
    operations: float = field(metadata={"static": True})  # floating-point, of one energy, as XLA counts them

    @property
    def num_replicas(self) -> int:
        """Replicas of all chains."""
        return self.num_chains * len(self.betas)

    @property
    def rank(self) -> int:
        """Most directions in which an adapted mass is turned: what the kernel says, or fits the energy."""
        asked = getattr(self.kernel, "rank", 0)
        if self.kernel.inverse_mass is not None or self.energy.discrete:
            return 0
        if asked is None and isinstance(self.energy.model, NetworkModel):
            return 0  # stiff directions of two modes of a network differ: units are permuted
        most = (MOST_TURNED if self.energy.size <= MOST_TURNED else FEWER_TURNED) if asked is None else asked
        return min(most, self.energy.size)

    @property
    def at_once(self) -> int:
        """Replicas that a device advances at once; 0: all that it holds."""
        return sharding.at_once(self.batch_size, sharding.per_device(self.mesh, self.num_replicas))

    @property
    def block_draws(self) -> int:
        """Draws that one compiled call can hold."""
        kept = self.num_chains * len(self.keep) * self.energy.size
        a_draw = 4 * (kept + len(Record._fields) * self.num_replicas)
        return int(np.clip(BLOCK_BYTES // a_draw, 1, BLOCK_DRAWS))

    @property
    def specs(self) -> list[PartitionSpec]:
        """How each leaf lies on the mesh: on every device, but for rows that devices share."""
        energy, shared = self.energy, set()
        if energy.weights is not None:
            rows = None if energy.reference is None else energy.reference.rows
            shared = {id(leaf) for leaf in jax.tree.leaves((energy.data, energy.weights, rows))}
        leaves = jax.tree.leaves(self)
        return [sharding.BY_ROW if id(leaf) in shared else sharding.ON_EVERY_DEVICE for leaf in leaves]

    def placed(self, **changes: Any) -> Self:
        """The program with some of its fields changed, and its arrays laid out on the mesh."""
        changed = replace(self, **changes)
        leaves, structure = jax.tree.flatten(changed)
        return jax.tree.unflatten(structure, sharding.place(changed.mesh, leaves, changed.specs))

    def refit(self, betas: np.ndarray, **changes: Any) -> Self:
        """The program on another ladder, and on the devices that fit it."""
        batch, row_devices = self.num_chains * len(betas), self.mesh.shape[sharding.ROW]
        mesh = sharding.make_mesh(batch, self.operations, row_devices)
        return self.placed(betas=np.asarray(betas, self.betas.dtype), mesh=mesh, **changes)


#: What a key is for.
EXPLORE, EXCHANGE = PURPOSES = range(2)


def keys(key: Array, scan: Array, purpose: int, number: Int[Array, " batch"]) -> Array:
    """A key for each number of a scan: of replicas by chain and slot, say, wherever they are computed."""
    key = jax.random.fold_in(key, scan)  # every further one is some 300 operations for the compiler
    return jax.vmap(jax.random.fold_in, (None, 0))(key, len(PURPOSES) * number + purpose)


def make_program(
    energy: Energy,
    betas: np.ndarray,
    *,
    path: Path,
    kernel: Kernel | Alternating,
    num_chains: int,
    kept: np.ndarray,
    thin: int,
    scheme: str | None,
    batch_size: int | None,
    row_devices: int = 1,
    exact: bool | None = None,
) -> Program:
    """A program of arguments that fit each other; ``exact`` is told from the betas if it is not given."""
    kernel, moves = (kernel.kernel, kernel.moves) if isinstance(kernel, Alternating) else (kernel, None)
    check_fits(energy, betas, path, kernel)
    operations = _operations(energy)
    mesh = sharding.make_mesh(num_chains * len(betas), operations, row_devices)
    energy.over_rows(row_devices)  # can its rows be shared?
    values: dict[str, Any] = {
        "betas": np.asarray(betas, jnp.result_type(float)),
        "keep": np.asarray(kept, np.int32),
        "thin": np.int32(thin),
    }
    return Program(
        **values,
        energy=energy.bare(),
        kernel=jax.tree.map(_as_value, kernel),
        moves=moves,
        path=path,
        scheme=scheme,
        exact=bool((np.asarray(betas) == 0).any()) if exact is None else exact,
        num_chains=num_chains,
        batch_size=default_batch_size(energy) if batch_size is None else batch_size,
        mesh=mesh,
        operations=operations,
    )


def check_fits(energy: Energy, betas: np.ndarray, path: Path, kernel: Kernel | Alternating) -> None:
    """Say so where a kernel cannot move an energy's parameters, or a path leads to a prior that is not proper."""
    kernel = kernel.kernel if isinstance(kernel, Alternating) else kernel
    if isinstance(kernel, MAMS) and energy.size < 2:
        raise InputError("kernel", kernel, "needs two parameters or more", "give 'hmc' or 'nuts'")
    if energy.discrete and isinstance(kernel, (HMC, NUTS, MAMS)):
        raise InputError("kernel", kernel, "cannot move spins, which jump", "give systems.heat_bath(energy)")
    if kernel.inverse_mass is not None and np.shape(kernel.inverse_mass) not in ((), (energy.size,)):
        remedy = f"give one number, or {energy.size} of them"
        raise InputError("inverse_mass", kernel.inverse_mass, "does not fit the energy's parameters", remedy)
    if not energy.proper and isinstance(path, Likelihood) and (np.asarray(betas) != 1).any():
        problem = "leads to a prior that is flat or does not integrate to 1"
        raise InputError("path", path.name, problem, "use path='posterior', or 'reference' on a ladder")


def _operations(energy: Energy) -> float:
    """Floating-point operations of one data energy, as XLA counts them; infinite where it cannot, or need not."""
    if jax.device_count() == 1:
        return np.inf  # there is nothing to share
    lowered = _lowered(lambda energy, position: energy.data_energy(position), energy)
    return float((lowered.cost_analysis() or {}).get("flops", np.inf))


def default_batch_size(energy: Energy) -> int:
    """How many replicas a device advances at once: one on a processor, on another as many as its memory has room for.

    On a processor a batch falls out of the cache, and waits for its longest trajectory.  Where a device does not say
    how much memory it has, 0: all of them.
    """
    if sharding.on_processor():
        return 1
    limit = sharding.device_memory()
    return 0 if limit is None else max(1, int(MEMORY_SHARE * limit / bytes_of_gradient(energy)))


def bytes_of_gradient(energy: Energy) -> float:
    """Bytes in which the compiled gradient of one energy computes, and copies of a position that a trajectory holds."""
    gradient = _lowered(lambda energy, position: jax.grad(energy.data_energy)(position), energy).compile()
    analysis = gradient.memory_analysis()
    copies = COPIES * energy.size * jnp.result_type(float).itemsize
    return copies + (0 if analysis is None else analysis.temp_size_in_bytes)


def _lowered(function: Callable[[Energy, Array], Array], energy: Energy) -> jax.stages.Lowered:
    """A function of an energy and a position, as XLA is given it."""
    return jax.jit(function).lower(energy.bare(), jax.ShapeDtypeStruct((energy.size,), jnp.result_type(float)))


def _as_value(leaf: Any) -> Array | np.ndarray:
    """A kernel's number as an array, so that another number is the same program; integers stay what they are."""
    if isinstance(leaf, jax.Array):
        return leaf
    return np.asarray(leaf, jax.dtypes.canonicalize_dtype(np.asarray(leaf).dtype))
