"""Singular learning theory: the learning coefficient λ, and WBIC, by exact sampling at β = 1/log n.

λ counts the directions in which the data energy grows around its minimum: the volume of {E < E(θ*) + ε} shrinks like
ε^λ, so that log Z = -βE(θ*) - λ log β + …, and by ⟨E⟩ = -∂ log Z/∂β at any β that is small but leaves the energy the
last word, β(⟨E⟩ - E(θ*)) = λ.  It is P/2 for a regular model of P parameters, and less where the minimum is degenerate.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

from temperax.analysis import statistics
from temperax.energies.energy import Energy
from temperax.engine.kernels import KernelLike, as_kernel
from temperax.engine.program import check_fits
from temperax.engine.tempering import PATHS
from temperax.errors import InputError, check_array, check_count, check_key, check_positive, check_single
from temperax.samplers import optimise
from temperax.samplers.sample import sample
from temperax.samplers.setup import check_exact

# Purposes of the keys that are split off a call's key.
_OPTIMUM, _DRAWS = range(2)


class LearningCoefficient(NamedTuple):
    """An estimate of the learning coefficient λ, and what it was made from.

    Attributes
    ----------
    value, standard_error
        λ̂ = β(⟨E⟩ - E(θ*)) and its Monte Carlo error from the ESS of E; dimensionless.
    heat_capacity, heat_capacity_error
        β² Var(E), which needs no minimum and tends to λ as well.  Where it is far from ``value``, θ* is no minimum of
        the region that was sampled, or β is not where the asymptotics hold.
    beta
        The inverse temperature.
    num_rows
        n; None where the energy has no rows.
    wbic
        ⟨E⟩, in nats: at β = 1/log n and under the model's own prior it is WBIC, which is -log Z(1) to O(√log n).
    minimum
        E(θ*), in nats.
    position
        θ*, unconstrained.
    rhat, ess
        Rank-normalised split R-hat and bulk ESS of E over the chains.
    tree
        The draws: a result of `temperax.sample`.

    See Also
    --------
    temperax.learning_coefficient

    Examples
    --------
    >>> tx.singular.LearningCoefficient._fields[:4]
    ('value', 'standard_error', 'heat_capacity', 'heat_capacity_error')
    """

    value: float
    standard_error: float
    heat_capacity: float
    heat_capacity_error: float
    beta: float
    num_rows: int | None
    wbic: float
    minimum: float
    position: Float[np.ndarray, " parameter"]
    rhat: float
    ess: float
    tree: xr.DataTree


def learning_coefficient(
    key: Array,
    energy: Energy,
    *,
    at: Float[np.ndarray, " parameter"] | None = None,
    localisation: float | None = None,
    beta: float | None = None,
    kernel: KernelLike = "hmc",
    num_chains: int = 4,
    num_warmup: int = 1000,
    num_draws: int = 1000,
    progress: bool = True,
) -> LearningCoefficient:
    """Estimate the learning coefficient, of the whole model or around one minimum.

    λ̂ = β(⟨E⟩_β - E(θ*)) with E the data energy of all n rows and ⟨·⟩_β over exp(-U0 - βE) at β = 1/log n: WBIC less the
    energy of the minimum (Watanabe 2013, *A widely applicable Bayesian information criterion*).  With ``localisation``
    γ, exp(-γ|θ - θ*|²/2) stands in place of the prior, and the estimate is local to θ* (Lau, Furman, Wang, Murfet & Wei
    2023, *Quantifying degeneracy in singular models via the learning coefficient*).  The draws come from `sample`,
    whose kernels accept or reject, so that unlike with SGLD no bias of a step size enters λ̂.

    What remains is the theory's own at finite n.  A minimum of multiplicity m lowers λ̂ by about (m - 1)/log(nβ), which
    is 0.14 (m - 1) at n = 10⁴.  θ* must be the minimum for the rows at hand, not the truth behind them, whose energy is
    O(λ) nats higher and lowers λ̂ by about βλ; noise that θ* fits along degenerate directions raises λ̂ by O(β) in turn.
    By default it is that of U0 + E; where a prior pulls on few rows, E alone goes lower, and λ̂ is low by β times that.

    Parameters
    ----------
    key
        A JAX random key.
    energy
        A model whose data energy has rows, or a scalar one together with ``beta``.
    at
        θ*, unconstrained: ``energy.ravel(parameters)``, say; by default the best of ``num_chains`` optima of U0 + E by
        `optimise.minimise`, taken to its bottom by `optimise.polish`.
    localisation
        γ > 0, in units of 1/θ²: the inverse variance of the localising prior.  It must be small beside nβ times the
        curvature per row, or it is γ that is measured.  None keeps the model's own prior: the global λ.
    beta
        By default 1/log n.
    kernel, num_chains, num_warmup, num_draws, progress
        As in `sample`.  The relative error is about 1/√(λ ESS).

    Returns
    -------
    LearningCoefficient

    Raises
    ------
    InputError
        For bad arguments, a kernel that is not exact (``"mclmc"``), an energy without rows where ``beta`` is missing, a
        flat prior without ``localisation``, and a θ* whose energy is not finite.

    See Also
    --------
    temperax.optimise.polish, temperax.studies.generalisation_gap

    Examples
    --------
    >>> energy = tx.Energy.mlp(tx.datasets.load("diabetes"), (3,), likelihood=tx.likelihoods.Gaussian(0.7))
    >>> found = tx.learning_coefficient(jax.random.key(0), energy, progress=False)
    >>> found.value < energy.size / 2
    True
    """
    key = check_key(key)
    if not isinstance(energy, Energy):
        raise InputError("energy", energy, "is not an Energy", "give one such as Energy.mlp(data)")
    num_chains = check_count("num_chains", num_chains)
    num_warmup = check_count("num_warmup", num_warmup, 0)
    num_draws = check_count("num_draws", num_draws, 4)  # fewer have no ESS
    localisation = None if localisation is None else check_positive("localisation", localisation)
    num_rows = energy.num_rows
    beta = _default_beta(energy, num_rows) if beta is None else check_positive("beta", beta)
    at = None if at is None else _checked_position(at, energy)
    _check_kernel(kernel, energy, localisation, beta)  # before anything is trained
    if at is None:
        optima = optimise.minimise(jax.random.fold_in(key, _OPTIMUM), energy, num_chains, progress=progress)
        starts = optima.position[np.argsort(optima.score)]
        starts[0] = optimise.polish(energy, starts[0])  # β times what is left above the minimum is missing in λ̂
    else:
        starts = np.broadcast_to(at, (num_chains, energy.size))
    position = starts[0]
    # As `sample` does with its first start, so that E - E(θ*) is a sum of differences and not one of large sums.
    minimum = energy.relative_to(position).offsets()[1]
    if not np.isfinite(minimum):
        raise InputError("at", at, "has no finite energy", "give a minimum of the energy")
    if localisation is not None:
        energy, starts = energy.localised_at(position, localisation), np.broadcast_to(position, starts.shape)
    tree = sample(
        jax.random.fold_in(key, _DRAWS),
        energy,
        beta=beta,
        path="likelihood",
        kernel=kernel,
        num_chains=num_chains,
        num_warmup=num_warmup,
        num_draws=num_draws,
        start=starts,
        progress=progress,
    )
    excess = tree["sample_stats"]["data_energy"].transpose("chain", "draw").values - minimum
    mean, mean_error = _mean(excess)
    variance, variance_error = _mean((excess - mean) ** 2)
    return LearningCoefficient(
        value=beta * mean,
        standard_error=beta * mean_error,
        heat_capacity=beta**2 * variance,
        heat_capacity_error=beta**2 * variance_error,
        beta=beta,
        num_rows=num_rows,
        wbic=minimum + mean,
        minimum=minimum,
        position=np.array(position),
        rhat=float(statistics.base.array_stats.rhat(excess, chain_axis=0, draw_axis=1)),
        ess=float(statistics.base.array_stats.ess(excess, chain_axis=0, draw_axis=1)),
        tree=tree,
    )


def _mean(values: Float[np.ndarray, "chain draw"]) -> tuple[float, float]:
    """A mean over all draws and its standard error, from the ESS."""
    return float(values.mean()), float(statistics.base.array_stats.mcse(values, chain_axis=0, draw_axis=1))


def _check_kernel(kernel: KernelLike, energy: Energy, localisation: float | None, beta: float) -> None:
    """Say so where a kernel does not fit what will be sampled, or is not exact; and where the prior is flat."""
    sampled = energy if localisation is None else energy.localised_at(jnp.zeros(energy.size), localisation)
    if not sampled.proper and beta != 1:
        problem = "leaves a prior that is flat or does not integrate to 1"
        raise InputError("localisation", localisation, problem, "give such as 1.0")
    chosen = as_kernel(kernel, sampled)
    check_exact(kernel, chosen, "⟨E⟩")
    check_fits(sampled, np.array([beta]), PATHS["likelihood"], chosen)


def _default_beta(energy: Energy, num_rows: int | None) -> float:
    """1/log n."""
    if num_rows is None or num_rows < 2:
        raise InputError("energy", energy.model, "has fewer than two rows", "return one value a row or give beta")
    return float(1 / np.log(num_rows))


def _checked_position(at: object, energy: Energy) -> np.ndarray:
    """A given minimum as an array, or what is wrong with it."""
    position = check_array("at", at, "give energy.ravel(parameters)")
    if position.shape != (energy.size,):
        raise InputError("at", position.shape, f"is not of shape ({energy.size},)", "give energy.ravel(parameters)")
    check_single("at", at, position)
    return position
