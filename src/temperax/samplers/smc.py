"""`smc`: sequential Monte Carlo along a path, from draws of its hot end to the posterior.

Del Moral, Doucet & Jasra 2006, *Sequential Monte Carlo samplers*; steps in β by the conditional effective sample size
(Zhou, Johansen & Aston 2016).  With a resampling at every step it is population annealing (Hukushima & Iba 2003).

A population is a chain of the result and its particles are the draws; populations are independent but for the steps in
β and the kernel's tuning, which they share.  The particles are the engine's chains, at one temperature.
"""

import inspect
from pathlib import Path
from typing import Any

import jax
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

from temperax.energies.energy import Energy
from temperax.engine import tempering
from temperax.engine.kernels import KernelLike
from temperax.engine.ladder import check_beside, check_end, check_ladder
from temperax.engine.program import make_program
from temperax.errors import InputError, all_at_once, check_choice, check_count, check_fraction, check_positive
from temperax.results.carried import RUN
from temperax.samplers import runs
from temperax.samplers.arguments import described
from temperax.samplers.drawing import Clock
from temperax.samplers.particles import Particles
from temperax.samplers.setup import check_exact, common
from temperax.training.starts import check_rows, check_storage


@described
def smc(
    key: Array,
    energy: Energy,
    *,
    path: str = "likelihood",
    kernel: KernelLike = "auto",
    num_particles: int = 256,
    num_chains: int = 4,
    scans: int = 5,
    conditional_size: float = 0.9,
    resample_below: float = 0.5,
    hottest: float | None = None,
    coldest: float = 1.0,
    num_warmup: int = 100,
    ladder: Any = None,
    log_likelihood: bool | None = None,
    storage: str = "float32",
    batch_size: int | None = None,
    directory: str | Path | None = None,
    resume: bool = False,
    save_every: float = 60.0,
    progress: bool = True,
) -> xr.DataTree:
    """Draw from the posterior by sequential Monte Carlo, which needs no replica to travel.

    Parameters
    ----------
    key
    energy
    path
        As in `parallel_tempering`: ``"likelihood"`` from draws of the prior, ``"posterior"`` from ``hottest`` down,
        ``"reference"`` from draws of a Gaussian fitted to the lowest of a few optima and its curvature.
    kernel
        What moves the particles, as in `sample`; its step size and mass are learned from all of them.
    num_particles
        Of every population.
    num_chains
        Independent populations, whose spread is the error of log Z.
    scans
        Transitions of the kernel at every step of β.
    conditional_size
        How far a step of β goes: to where the particles are worth this share of themselves.
    resample_below
        Particles are resampled where they are worth less than this share; 1 resamples at every step, which is
        population annealing.
    hottest, coldest
        Temperatures of the two ends; ``hottest`` must be finite on the posterior path, where ``num_warmup`` scans from
        draws of the prior come first.  The reference path ends at T = 1 or hotter.
    num_warmup
    ladder
        Fixed steps instead: β in ascending order; the two ends are then left out.
    log_likelihood
    storage
    batch_size
    directory, resume, save_every
    progress

    Returns
    -------
    xarray.DataTree
        As `temperax.sample`, with a population for a chain and a particle for a draw, at equal weights; the
        ``tempered_stats`` of every step, which `temperax.thermodynamics` reads; and the group ``smc``: ``log_z``
        (chain, temperature), relative to the hot end, effective sample sizes, and how many of the first particles have
        descendants.  Attributes: ``log_z`` and ``log_z_error`` of the cold end, in nats, from the populations' spread.

    Raises
    ------
    InputError
    StorageError
    Interrupted
    ProcessError

    See Also
    --------
    temperax.parallel_tempering, temperax.thermodynamics.log_evidence

    Examples
    --------
    >>> particles = tx.smc(key, energy, num_particles=64, progress=False)
    >>> bool(abs(particles.attrs["log_z"] - tx.thermodynamics.log_evidence(ladder).mbar) < 5)  # nats
    True
    """
    key, chosen, _, num_chains, _, batch_size, *_, num_particles, scans, num_warmup, _, _, betas = all_at_once(
        *common(key, energy, kernel, num_chains, batch_size, 1, storage, save_every),
        lambda: check_choice("path", path, {**tempering.PATHS, "reference": None}),
        lambda: check_count("num_particles", num_particles, 8),
        lambda: check_count("scans", scans),
        lambda: check_count("num_warmup", num_warmup, 0),
        lambda: check_fraction("conditional_size", conditional_size),
        lambda: resample_below == 1 or check_fraction("resample_below", resample_below),
        lambda: _ends(path, hottest, coldest, ladder),
    )
    check_rows(log_likelihood, energy)
    check_storage(storage, energy)
    check_exact(kernel, chosen, "log Z")
    if path == "reference" and energy.discrete:
        raise InputError("path", path, "fits a Gaussian, which spins are not", "use path='likelihood'")
    if path == "likelihood" and not energy.proper:
        problem = "leads from a prior that is flat or does not integrate to 1"
        raise InputError("path", path, problem, "use path='reference', or 'posterior'")
    arguments = {name: value for name, value in locals().items() if name in _ARGUMENTS}
    first = tempering.fitted(np.zeros(energy.size), np.ones(energy.size)) if path == "reference" else None
    program = make_program(
        energy,
        betas[-1:],
        path=first or tempering.PATHS[path],
        kernel=chosen,
        num_chains=num_chains * num_particles,
        kept=np.array([0]),
        thin=1,
        scheme=None,
        batch_size=batch_size,
        exact=False,
    )
    run = runs.begin(directory, resume, save_every, progress, lambda: runs.describe("smc", key, energy, arguments))
    clock, run_key = Clock(run), jax.random.fold_in(key, RUN)
    fixed = ladder is not None
    with run.stoppable():
        particles = Particles(run, key, run_key, energy, program, clock, betas, num_chains, num_particles)
        particles.begin(path, num_warmup)
        with run.bar(0, "smc", "scan") as bar:
            while particles.beta < betas[-1] or particles.on_the_way:
                particles.descend(bar, scans, conditional_size, resample_below, betas if fixed else None)
        return particles.result(arguments, scans, log_likelihood, storage)


#: What decides a result; how and where it is computed is left out.
_ARGUMENTS = [name for name in inspect.signature(smc).parameters if name not in ("key", "energy", *runs.MEANS)]


def _ends(path: str, hottest: Any, coldest: Any, ladder: Any) -> Float[np.ndarray, " step"]:
    """The first and the last β, or a user's own in between."""
    if ladder is not None:
        betas = check_ladder(ladder)
        check_beside(betas, hottest, coldest)
        check_end(path, "ladder", ladder, betas[-1])
    else:
        cold = 1.0 / check_positive("coldest", coldest)
        check_end(path, "coldest", coldest, cold)
        infinite = hottest is None or hottest == np.inf
        betas = np.array([0.0 if infinite else 1.0 / check_positive("hottest", hottest), cold])
        if betas[0] >= cold:
            raise InputError("hottest", hottest, "is not above the coldest temperature", "raise it")
    name, given = ("hottest", hottest) if ladder is None else ("ladder", ladder)
    if path == "posterior" and betas[0] == 0:
        raise InputError(name, given, "begins at β = 0, where the posterior path is improper", "begin at T = 100, say")
    if path != "posterior" and betas[0] > 0:
        raise InputError(name, given, "leaves out β = 0, from which this path is drawn", "begin there")
    return betas
