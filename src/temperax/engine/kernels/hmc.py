"""Hamiltonian Monte Carlo: NumPyro's trajectories, of a length that all replicas of a scan jitter alike."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import register_dataclass
from jaxtyping import Array, Bool, Float, Int
from numpyro.infer.hmc import HMCState, momentum_generator
from numpyro.infer.util import ParamInfo

from temperax.engine.kernels.kernel import Info, PotentialAt, Tuning
from temperax.engine.kernels.mass import in_frame
from temperax.engine.kernels.trajectories import Jittered, unadapted

#: A trajectory that diverges is tried again with steps so much shorter (a power of two: as many of them, to a step),
SHORTER = 8.0
#: until it has been tried so often.
TRIES = 3


@register_dataclass
@dataclass(frozen=True)
class HMC(Jittered):
    """Hamiltonian Monte Carlo with jittered trajectory length.

    A trajectory lasts ``u * trajectory_length`` with u from a low-discrepancy sequence in (0, 1] that all replicas of
    a scan share, so that a batch does not wait for one long trajectory (Hoffman, Radul & Sountsov 2021).

    A trajectory that diverges, as in the neck of a funnel, is tried again from where it began, with the same momentum
    and as many steps of an eighth, and once more of a sixty-fourth.  Where that ends well it is taken if all that
    failed before fails from that end backwards, too, without which draws would gather there (delayed rejection:
    Tierney & Mira 1999; Modi, Barnett & Carpenter 2024).  A draw is ``diverging`` whose last try is.

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
        """One trajectory of NumPyro's HMC, and further ones where it diverges."""
        length = self.length(tuning, jitter)
        momentum_key, key = jax.random.split(key)
        shorter = jnp.asarray(SHORTER ** np.arange(TRIES), length.dtype)

        def run(potential_at: PotentialAt, start: ParamInfo, inverse_mass: Array) -> _Tried:
            begin, go = unadapted("HMC", key, potential_at, beta, inverse_mass)

            def along(start: ParamInfo, momentum: Array, tries: Array) -> HMCState:
                # One key decides of every try, since it has decided nothing of one that diverges.
                factor = shorter[tries]
                state = begin(start, tuning.step_size / factor, trajectory_length=length / factor)
                return go(state._replace(r=momentum))

            first = begin(start, tuning.step_size, trajectory_length=length)
            momentum = momentum_generator(start.z, first.adapt_state.mass_matrix_sqrt, momentum_key)
            return _tried(along, start, momentum, first.energy)

        end = in_frame(tuning, potential_at, start, run)
        rate = jnp.where(end.tries > 0, 0.0, end.accept_prob).astype(end.accept_prob.dtype)
        info = Info(rate, end.num_steps, end.diverging, end.energy, end.r, length / shorter[end.tries])
        return ParamInfo(end.z, end.potential_energy, end.z_grad), info


class _Tried(NamedTuple):
    """Where trajectories that were tried one after another have led."""

    z: Float[Array, " parameter"]
    potential_energy: Float[Array, ""]
    z_grad: Float[Array, " parameter"]
    r: Float[Array, " parameter"]
    energy: Float[Array, ""]
    accept_prob: Float[Array, ""]
    diverging: Bool[Array, ""]
    tries: Int[Array, ""]  # that diverged before
    num_steps: Int[Array, ""]  # of all of them


def _tried(
    along: Callable[[ParamInfo, Array, Array], HMCState], start: ParamInfo, momentum: Array, zero: Float[Array, ""]
) -> _Tried:
    """Trajectories from ``start`` until one does not diverge, and from its end back until one of the others does not.

    They are all the rounds of one loop, so that a trajectory is compiled once.
    """
    none = jnp.int32(-1)

    def again(carry: tuple) -> Array:
        return carry[-1]

    def go(carry: tuple) -> tuple:
        stay, found, at, momentum, back, _ = carry  # ``back``: the next try that has to fail from the end backwards
        checking = back >= 0
        state = along(at, momentum, jnp.where(checking, back, found.tries))
        steps = found.num_steps + state.num_steps.astype(found.num_steps.dtype)
        z, height, slope, r = state.z, state.potential_energy, state.z_grad, state.r
        new = _Tried(z, height, slope, r, state.energy, state.accept_prob, state.diverging, found.tries, steps)
        stay = jax.tree.map(lambda old, now: jnp.where(found.num_steps == 0, now, old), stay, new)
        failed = ~checking & state.diverging & (found.tries + 1 < TRIES)
        undone = checking & ~state.diverging
        # Forwards, an end that is another place has to be looked at from there; backwards, until all tries have failed.
        look = ~checking & ~state.diverging & (found.tries > 0) & (z != start.z).any()
        more = checking & state.diverging & (back + 1 < found.tries)
        kept = jax.tree.map(lambda old, now: jnp.where(checking, old, now), found, new)
        kept = jax.tree.map(lambda stayed, now: jnp.where(undone, stayed, now), stay, kept)
        kept = kept._replace(tries=found.tries + failed, num_steps=steps, diverging=new.diverging & ~checking)
        at = jax.tree.map(lambda old, now: jnp.where(look, now, old), at, ParamInfo(z, height, slope))
        momentum = jnp.where(look, -r, momentum)
        back = jnp.where(look, 0, jnp.where(checking, back + 1, none))
        return stay, kept, at, momentum, back, look | failed | more

    count, no = jnp.int32(0), jnp.bool_(False)
    nothing = _Tried(start.z, start.potential_energy, start.z_grad, momentum, zero, zero, no, count, count)
    return jax.lax.while_loop(again, go, (nothing, nothing, start, momentum, none, ~no))[1]
