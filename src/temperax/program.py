"""What runs: a program, the state that its scans hand on, and the record that they leave.

A program is a pytree.  Its arrays (data, temperatures, which slots are kept) are values that may change freely; the
rest (model, path, kernel, numbers of chains and devices) decides the compiled program.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import register_dataclass
from jaxtyping import Array, Float, Int

from temperax import sharding
from temperax.adaptation import Adaptation
from temperax.energy import Energy
from temperax.errors import InputError, check_count
from temperax.exchange import Journeys
from temperax.kernels import HMC, NUTS, Kernel, Tuning
from temperax.tempering import Path, Point

#: A block's draws take at most this much device memory, and are at most so many.
BLOCK_BYTES, BLOCK_DRAWS = 64e6, 100


class State(NamedTuple):
    """All that a scan hands to the next one."""

    scan: Int[Array, ""]
    points: Point  # leading axes (chain, temperature)
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
    betas: Float[Array, " temperature"]
    keep: Int[Array, " kept"]  # slots whose positions are recorded
    thin: Int[Array, ""]  # scans a draw
    scheme: str | None = field(metadata={"static": True})  # of exchange; None: no exchange
    num_chains: int = field(metadata={"static": True})
    batch_size: int = field(metadata={"static": True})
    devices: int = field(metadata={"static": True})

    @property
    def block_draws(self) -> int:
        """Draws that one compiled call can hold."""
        kept = self.num_chains * len(self.keep) * self.energy.size * 4
        return int(np.clip(BLOCK_BYTES // max(kept, 1), 1, BLOCK_DRAWS))

    def over_replicas(self, function: Callable, *batch: Any) -> Any:
        """``function(program, *item)`` for every (chain, replica)."""
        num_temperatures = len(self.betas)
        flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), batch)
        out = sharding.map_batch(
            lambda program, item: function(program, *item),
            self,
            flat,
            batch_size=self.batch_size,
            devices=self.devices,
        )
        return jax.tree.map(lambda x: x.reshape(self.num_chains, num_temperatures, *x.shape[1:]), out)

    def per_replica(self, values: Any) -> Any:
        """Values per temperature, repeated for every chain."""
        return jax.tree.map(lambda x: jnp.broadcast_to(x, (self.num_chains, *x.shape)), values)


#: What a key is for.
EXPLORE, EXCHANGE, START = range(3)


def keys(program: Program, key: Array, scan: Array, purpose: int) -> Array:
    """A key for every (chain, replica) of a scan."""
    key = jax.random.fold_in(jax.random.fold_in(key, purpose), scan)
    chains, slots = jnp.arange(program.num_chains), jnp.arange(len(program.betas))
    by_chain = jax.vmap(jax.random.fold_in, (None, 0))(key, chains)
    return jax.vmap(jax.vmap(jax.random.fold_in, (None, 0)), (0, None))(by_chain, slots)


def make_program(
    energy: Energy,
    betas: np.ndarray,
    *,
    path: Path,
    kernel: Kernel,
    num_chains: int,
    kept: np.ndarray,
    thin: int,
    scheme: str | None,
    batch_size: int | None,
) -> Program:
    """Check the arguments that shape a program, and make it."""
    if not isinstance(energy, Energy):
        raise InputError("energy", energy, "is not an Energy", "give one such as Energy.mlp(data)")
    if energy.discrete and isinstance(kernel, (HMC, NUTS)):
        raise InputError("kernel", kernel, "cannot move spins, which jump", "give systems.heat_bath(energy)")
    check_count("num_chains", num_chains)
    check_count("thin", thin)
    batch_size = sharding.default_batch_size() if batch_size is None else check_count("batch_size", batch_size, 0)
    return Program(
        energy=energy,
        kernel=jax.tree.map(_as_value, kernel),
        betas=jnp.asarray(betas, jnp.result_type(float)),
        keep=jnp.asarray(kept),
        thin=jnp.int32(thin),
        path=path,
        scheme=scheme,
        num_chains=num_chains,
        batch_size=batch_size,
        devices=sharding.num_devices(num_chains * len(betas)),
    )


def _as_value(leaf: Any) -> Array:
    """A kernel's number as an array, so that another number is the same program; integers stay what they are."""
    return jnp.float32(leaf) if isinstance(leaf, float) else jnp.asarray(leaf)
