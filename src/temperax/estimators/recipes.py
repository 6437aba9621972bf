"""Presets, for those who do not want to choose: what did well on the field's tables, to be used or copied."""

import json
import tempfile
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array

from temperax.energies import priors
from temperax.energies.dataset import Dataset
from temperax.energies.energy import Energy
from temperax.energies.likelihoods import HeteroscedasticGaussian
from temperax.engine.kernels import HMC
from temperax.errors import InputError, Interrupted, check_key, check_positive
from temperax.samplers.sample import sample

#: Hidden units of the recipe's network, and the prior's width, which shrinks with the inputs of a layer.
HIDDEN, WIDTH = (50,), 2.0
#: Draws of every chain by which the speed is found, and the most that are made.
FIRST, MOST = 50, 2000
#: Of the time, what warm-up may take; its scans, at least and at most; and gradients that a scan takes, or more of a
#: small table, whose longest warm-up leaves room for them.
WARMUP_SHARE, WARMUP, STEPS = 0.3, (50, 300), 64


def tabular_energy(data: Dataset) -> Energy:
    """The energy of the recipe: 50 tanh units, N(0, 4/fan-in) weights, noise that depends on the inputs.

    Parameters
    ----------
    data
        A table; classifications and counts have the likelihood of their task.

    See Also
    --------
    temperax.recipes.tabular

    Examples
    --------
    >>> tx.recipes.tabular_energy(data).size
    202
    """
    if not isinstance(data, Dataset):
        raise InputError("data", data, "is not a Dataset", "use Dataset.from_csv, from_frame or from_arrays")
    likelihood = HeteroscedasticGaussian() if data.task == "regression" else None
    return Energy.mlp(data, HIDDEN, "tanh", likelihood, priors.FanInNormal(WIDTH))


def tabular(
    key: Array, data: Dataset, *, minutes: float = 5.0, temperature: float = 1.0, progress: bool = True
) -> xr.DataTree:
    """Sample a network's posterior on a table within a time: four chains of `sample` on `tabular_energy`.

    Parameters
    ----------
    key
        Random key.
    data
        A table.
    minutes
        Time for all of it but compiling: warm-up is as long as fits, of 50 to 300 scans of HMC whose trajectories have
        as many steps as fit, and draws are made until the time is over, from 50 to 2 000 a chain.  Both follow the
        measured seconds of a gradient, so that the same key need not give the same draws.
    temperature
        T of the posterior path.
    progress
        Whether to show bars.

    Returns
    -------
    xarray.DataTree
        As `sample` returns it; ``diagnostics.report`` says whether the time was enough.

    Raises
    ------
    InputError
        For bad arguments.

    See Also
    --------
    temperax.recipes.tabular_energy, temperax.TemperedRegressor

    Examples
    --------
    >>> import jax, temperax as tx
    >>> tree = tx.recipes.tabular(jax.random.key(0), tx.datasets.load("diabetes"), minutes=0.2, progress=False)
    >>> bool(tx.predict.scores(tree)["lppd"].iloc[0] > -1.3)
    True
    """
    key, seconds, energy = check_key(key), 60.0 * check_positive("minutes", minutes), tabular_energy(data)
    began = time.monotonic()
    gradients = WARMUP_SHARE * seconds / _seconds_of_a_gradient(energy)
    scans = int(np.clip(gradients / STEPS, *WARMUP))
    # Long trajectories are what warm-up would overrun by; cut, they forget as much by each gradient.
    kernel = HMC(max_steps=int(np.clip(gradients / scans, 1, HMC.max_steps)))
    options: dict[str, Any] = {"path": "posterior", "kernel": kernel, "num_warmup": scans, "progress": progress}
    with tempfile.TemporaryDirectory(prefix="temperax-") as folder:
        run: dict[str, Any] = {"directory": Path(folder) / "run", "save_every": seconds} | options
        try:
            tree = sample(key, energy, temperature, num_draws=FIRST, **run).load()
        except Interrupted as stop:
            raise Interrupted(None, "warm-up of the recipe", saved=False) from stop
        left = seconds - (time.monotonic() - began)
        more = int(left / (json.loads(tree.attrs["timings"])["draws"] / FIRST))
        if more > FIRST and not tree.attrs["interrupted"]:
            tree = sample(key, energy, temperature, num_draws=min(FIRST + more, MOST), resume=True, **run).load()
    return tree


def _seconds_of_a_gradient(energy: Energy) -> float:
    """What the gradients of four chains take together."""
    positions = jnp.stack([energy.sample_prior(k) for k in jax.random.split(jax.random.key(0), 4)])
    bare = energy.bare()
    gradient = jax.jit(jax.vmap(jax.grad(lambda q: bare.prior_energy(q) + bare.data_energy(q))))
    jax.block_until_ready(gradient(positions))
    began = time.perf_counter()
    for _ in range(5):
        jax.block_until_ready(gradient(positions))
    return (time.perf_counter() - began) / 5
