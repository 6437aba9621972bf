"""Hamiltonian Monte Carlo: NumPyro's trajectories, of a length that all replicas of a scan jitter alike."""

from dataclasses import dataclass

import jax
from jax.tree_util import register_dataclass
from jaxtyping import Array
from numpyro.infer.util import ParamInfo

from temperax.engine.kernels.kernel import Info, PotentialAt, Tuning
from temperax.engine.kernels.trajectories import Jittered, end_of, info_of, trajectory


@register_dataclass
@dataclass(frozen=True)
class HMC(Jittered):
    """Hamiltonian Monte Carlo with jittered trajectory length.

    A trajectory lasts ``u * trajectory_length`` with u from a low-discrepancy sequence in (0, 1] that all replicas of
    a scan share, so that a batch does not wait for one long trajectory (Hoffman, Radul & Sountsov 2021).

    Attributes
    ----------
    step_size, trajectory_length, inverse_mass
        Fixed values for every temperature; None adapts them per temperature during warm-up.  The inverse mass is one
        number, or one for each parameter of the flat position: about the variance of the draws.
    rank
        Most directions in which an adapted mass is turned where parameters are correlated; 0 keeps it diagonal.  By
        default all of up to 64 parameters, 16 of more, and none of a network's, whose correlations differ between its
        modes.
    target_acceptance
        Mean acceptance that step-size adaptation aims at; .7 and .92 cost more gradients an independent prediction.
    max_steps
        Most leapfrog steps of one trajectory.

    See Also
    --------
    temperax.kernels.NUTS, temperax.kernels.MAMS

    Examples
    --------
    >>> short = tx.HMC(max_steps=64)
    >>> tree = tx.sample(key, energy, kernel=short, num_warmup=50, num_draws=20, progress=False)
    >>> int(tree["sample_stats"]["n_steps"].max()) <= 64
    True
    """

    def step(
        self,
        key: Array,
        potential_at: PotentialAt,
        beta: Array,
        start: ParamInfo,
        tuning: Tuning,
        jitter: Array,
    ) -> tuple[ParamInfo, Info]:
        """One trajectory of NumPyro's HMC."""
        length = self.length(tuning, jitter)
        momentum_key, key = jax.random.split(key)
        state = trajectory(
            "HMC", key, potential_at, beta, start, tuning, momentum_key=momentum_key, trajectory_length=length
        )
        return end_of(state), info_of(state, state.r, length)
