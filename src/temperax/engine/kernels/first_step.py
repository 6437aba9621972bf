"""Where the adaptation of a step size starts."""

import jax.numpy as jnp
from jaxtyping import Array
from numpyro.infer.hmc import momentum_generator
from numpyro.infer.hmc_util import euclidean_kinetic_energy, find_reasonable_step_size
from numpyro.infer.util import ParamInfo

from temperax.engine.kernels.kernel import PotentialAt


def reasonable_step_size(
    key: Array, potential_at: PotentialAt, beta: Array, start: ParamInfo, inverse_mass: Array
) -> Array:
    """A step size whose first step is accepted about as often as not: where adaptation starts."""

    def draw_momentum(position: Array, inverse_mass: Array, key: Array) -> Array:
        return momentum_generator(position, 1 / jnp.sqrt(inverse_mass), key)

    one = jnp.ones((), start.z.dtype)
    return find_reasonable_step_size(
        potential_at(beta),
        euclidean_kinetic_energy,
        draw_momentum,
        one,
        inverse_mass,
        (start.z, None, start.potential_energy, start.z_grad),
        key,
    )
