"""How hot a ladder need be: the lowest temperature at which replicas forget their mode within a few scans.

Whatever is hotter costs replicas and makes round trips longer, and brings nothing but log Z from the prior.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from temperax.energies.energy import Energy
from temperax.engine.kernels import KernelLike
from temperax.engine.ladder import tried
from temperax.errors import Interrupted
from temperax.results import reading
from temperax.samplers.sample import sample

#: Chains of their own at each, and scans of warm-up and after it.
CHAINS, WARMUP, SCANS = 4, 64, 192
#: Training rows whose predictions are looked at, at most.
ROWS = 200
#: A mode is forgotten if it takes no more than so many scans,
FEW = 16.0
#: in this share of what is looked at: the slowest row of all is noise.
SHARE = 0.9
#: What a run does here, where it is stopped.
SEARCH = "looking for the hottest temperature"


def find_hottest(
    key: Array,
    energy: Energy,
    path: str,
    kernel: KernelLike,
    coldest: float,
    batch_size: int | None,
    start: str | Float[np.ndarray, "chain parameter"] = "optimum",
) -> tuple[float, list[tuple[float, float]], int]:
    """The temperature, (T, scans until a mode is forgotten) of all that were tried, coldest first, and gradients taken.

    Chains that start at optima of their own, or at given positions, explore each temperature without exchange; how many
    scans their predictions (of other energies: their parameters) remember is seen from how far apart the means of half
    chains are.

    Raises
    ------
    Interrupted
        After a request to stop: there is no answer yet.
    """
    temperatures = tried(coldest).tolist()
    options: dict[str, Any] = {"num_chains": CHAINS, "num_warmup": WARMUP, "num_draws": SCANS, "log_likelihood": False}
    if isinstance(start, str):
        start = "prior" if energy.discrete else "optimum"
    else:
        start = np.resize(start, (CHAINS, energy.size))
    options |= {"path": path, "kernel": kernel, "start": start, "batch_size": batch_size, "progress": False}
    try:
        tree = sample(key, energy, temperatures, **options)
    except Interrupted as stop:
        raise Interrupted(None, SEARCH, saved=False) from stop
    if tree.attrs["interrupted"]:  # of few draws every temperature forgets everything
        raise Interrupted(None, SEARCH, saved=False)
    positions = reading.positions(tree, energy, "tempered_posterior")  # hottest first
    looked_at = positions
    if energy.dataset is not None:
        x = energy.dataset.x[:: -(-len(energy.dataset.x) // ROWS)]
        looked_at = reading.over_draws(reading.means, energy, jnp.asarray(x), positions)
        looked_at = looked_at.reshape(*positions.shape[:3], -1)
    scans = [memory(looked_at[:, :, n]) for n in range(len(temperatures))]
    hottest = temperatures[::-1]
    few = np.cumprod([s <= FEW for s in scans]).astype(bool)
    enough = few & (np.array(hottest) >= 1.0)  # a ladder that goes below T = 1 has it
    found = hottest[int(enough.sum()) - 1] if enough.any() else hottest[0]
    gradients = int(tree.attrs["warmup_gradients"]) + int(tree["tempered_stats"]["n_steps"].sum())
    return found, list(zip(temperatures, np.round(scans[::-1], 1).tolist(), strict=True)), gradients


def memory(values: Float[np.ndarray, "chain draw number"]) -> float:
    """Scans that chains remember: their integrated autocorrelation time, from how far means of half chains are apart.

    Of independent draws it is 1/2; of chains that stay where they are, about half of their half.
    """
    length = values.shape[1] // 2
    halves = np.concatenate([values[:, :length], values[:, -length:]]).astype(float)
    between, whole = halves.mean(axis=1).var(axis=0, ddof=1), halves.var(axis=(0, 1))
    scans = 0.5 * length * between / np.where(whole > 0, whole, 1.0)
    return float(np.quantile(scans, SHARE))
