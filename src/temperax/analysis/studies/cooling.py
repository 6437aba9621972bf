"""T → 0: what is left of a network when the heat bath is taken away, and whether cooling beats restarting."""

from functools import partial
from typing import Any

import jax
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

from temperax.analysis import statistics
from temperax.energies.energy import Energy
from temperax.errors import InputError, check_count, check_result
from temperax.results import reading
from temperax.samplers import optimise
from temperax.training.descent import default_optimiser
from temperax.training.landscape import check_energy


def equipartition(tree: xr.DataTree, ground_energy: float) -> xr.Dataset:
    """How far above its ground state a network is at each temperature, beside what quadratic directions would hold.

    On the posterior path U = U0 + E, and near its minimum ⟨U⟩_T = U(MAP) + P T/2: half a nat for every parameter and
    unit of T.  Flat directions hold less, so that the ratio of the two counts the directions that are left.

    Parameters
    ----------
    tree
        A result on the posterior path at several temperatures.
    ground_energy
        U(MAP) in nats, from `optimise.minimise` and `optimise.polish`.

    Returns
    -------
    xarray.Dataset
        ``excess`` ⟨U⟩_T - U(MAP) in nats and ``ratio`` of it to P T/2 (temperature), each with its ``_error`` from the
        effective sample size.

    Raises
    ------
    InputError
        If the path is another, or a draw lies below the ground state.

    See Also
    --------
    temperax.optimise.polish, temperax.plots.equipartition

    Examples
    --------
    >>> best = tx.map_estimate(key, energy, num_starts=4)
    >>> study = tx.studies.equipartition(tree, -float(best["sample_stats"]["lp"].max()) - 1.0)
    >>> bool((study["excess"] > 0).all())
    True
    """
    stats = check_result(tree, "tempered_stats", "path_energy", "temperature")[["path_energy"]]
    if tree.attrs.get("path") != "posterior":
        raise InputError("tree", tree.attrs.get("path"), "is not the posterior path", "sample with path='posterior'")
    lowest = float(stats["path_energy"].min())
    if not lowest >= ground_energy - 1e-3 * max(1.0, abs(ground_energy)):
        problem = f"is above a draw's energy of {lowest:g}"
        raise InputError("ground_energy", ground_energy, problem, "minimise further, by optimise.polish")
    half = tree.attrs["num_parameters"] / 2 * stats["temperature"]
    excess = stats["path_energy"].mean(("chain", "draw")) - ground_energy
    error = statistics.mcse(stats)["path_energy"]
    return xr.Dataset(
        {"excess": excess, "excess_error": error, "ratio": excess / half, "ratio_error": error / half},
        attrs={"num_parameters": tree.attrs["num_parameters"]},
    )


def annealing_against_restarts(
    key: Array, energy: Energy, betas: Float[np.ndarray, " step"], *, steps: int = 400, **options: Any
) -> xr.Dataset:
    """Where annealing ends, beside where restarted Adam ends with as many gradients.

    Parameters
    ----------
    key, energy
        Randomness, and what is minimised.
    betas, **options
        Schedule and options of `optimise.anneal`; from its end chains go on to T = 0 by Adam until their energy is
        level, whose gradients count.
    steps
        Gradient steps of each restart.

    Returns
    -------
    xarray.Dataset
        ``annealed`` (chain) and ``restarted`` (start): U0 + E in nats where each ended; the attribute
        ``num_gradients`` is what annealing spent.  As many whole restarts as that allows are made, and two at least.

    Raises
    ------
    InputError
        As `optimise.anneal`, and if the energy has no gradient.

    See Also
    --------
    temperax.anneal, temperax.plots.annealing_against_restarts

    Examples
    --------
    >>> betas = tx.ladder.geometric(5, hottest=0.1, coldest=50.0)
    >>> study = tx.studies.annealing_against_restarts(key, energy, betas, steps=100)
    >>> study["annealed"].dims, study["restarted"].dims
    (('chain',), ('start',))
    """
    check_count("steps", steps)
    check_energy(energy)
    tree = optimise.anneal(key, energy, betas, polish=False, **options)
    descend = partial(optimise.minimise, energy=energy, optimiser=default_optimiser())
    ends = reading.positions(tree, energy)[:, 0]
    annealed = descend(key, num_starts=len(ends), start=ends)
    gradients = tree["annealing"].attrs["num_gradients"] + int(annealed.num_steps.sum())
    number = max(2, gradients // steps)
    restarts = descend(jax.random.fold_in(key, 1), num_starts=number, max_steps=steps, patience=steps)
    return xr.Dataset(
        {
            "annealed": ("chain", annealed.prior_energy + annealed.data_energy),
            "restarted": ("start", restarts.prior_energy + restarts.data_energy),
        },
        attrs={"num_gradients": gradients},
    )
