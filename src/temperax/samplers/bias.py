"""How far draws of a kernel that is not exact are off, seen by an exact one that goes on from them."""

from dataclasses import fields

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from temperax.engine import engine
from temperax.engine.kernels import MAMS
from temperax.engine.program import Program, Record, State
from temperax.engine.tempering import temper_on_host
from temperax.machine import sharding
from temperax.machine.progress import tqdm

#: Scans of the exact kernel: a tenth of the draws, but no fewer and no more than these.
FEWEST, MOST = 30, 300
#: Part of them in which energies settle, which is left out.
SETTLING = 1 / 3


def heights_of(record: Record, betas: Float[np.ndarray, " temperature"]) -> Float[np.ndarray, "draw chain temperature"]:
    """A + βV of every draw, in nats from the run's origin."""
    return temper_on_host(np.asarray(record.base_energy, float), np.asarray(record.path_energy, float), betas)


def energy_bias(
    program: Program, key: Array, state: State, heights: Float[np.ndarray, "draw chain temperature"]
) -> list[tuple[float, float]]:
    """Mean of A + βV over the draws minus that of exact scans after them, and its error over chains, by temperature.

    Energies are what settles first, and a kernel without a Metropolis step is wrong in them before all else.
    """
    kernel = {each.name: getattr(program.kernel, each.name) for each in fields(MAMS)}
    corrected = program.placed(kernel=MAMS(**kernel))
    # Half the steps, of which enough are accepted whatever the kernel's own were.
    shorter = sharding.place(program.mesh, 0.5 * np.asarray(state.tuning.step_size))
    state = jax.tree.map(jnp.copy, state)  # scans give their state away, and this one is to be saved
    state = state._replace(tuning=state.tuning._replace(step_size=shorter))
    scans = int(np.clip(len(heights) // 10, FEWEST, MOST))
    betas = np.asarray(program.betas, float)
    with tqdm(disable=True) as bar:
        records = [record for _, record in engine.run(corrected, key, state, scans, adapt=False, bar=bar)]
    settled = np.concatenate([heights_of(record, betas) for record in records])[int(SETTLING * scans) :]
    difference = heights.mean(axis=0) - settled.mean(axis=0)  # (chain, temperature)
    error = (
        difference.std(axis=0, ddof=1) / np.sqrt(len(difference))
        if len(difference) > 1
        else np.full(len(betas), np.nan)
    )
    return list(zip(difference.mean(axis=0).tolist(), error.tolist(), strict=True))
