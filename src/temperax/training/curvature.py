"""A normal distribution from the curvature of U0 + E at its bottom (Laplace's approximation)."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from temperax.energies.energy import Energy
from temperax.energies.positions import RADIUS
from temperax.training.bottoms import polish

#: Up to so many parameters the whole Hessian is inverted; of more, its diagonal alone.
MOST_INVERTED = 1000


def laplace(
    energy: Energy, position: Float[np.ndarray, " parameter"]
) -> tuple[Float[np.ndarray, " parameter"], Float[np.ndarray, " parameter"]]:
    """The bottom below a position, and the standard deviation of every parameter that the curvature there says.

    Where the energy curves down or not at all, a parameter is as wide as the starts of flat priors are.
    """
    bottom = np.asarray(polish(energy, np.asarray(position)))
    whole = energy.size <= MOST_INVERTED
    curvature = np.asarray(_hessian(energy.relative_to(bottom), jnp.asarray(bottom), whole=whole), float)
    diagonal = np.diag(curvature) if whole else curvature
    variance = np.where(diagonal > 0, 1.0 / np.where(diagonal > 0, diagonal, 1.0), RADIUS**2)
    if whole and np.isfinite(curvature).all():
        symmetric = 0.5 * (curvature + curvature.T)
        if np.linalg.eigvalsh(symmetric).min() > 0:
            variance = np.diag(np.linalg.inv(symmetric))
    return bottom, np.sqrt(variance)


@jax.jit(static_argnames="whole")
def _hessian(energy: Energy, position: Array, *, whole: bool) -> Array:
    """The Hessian (parameter, parameter) of U0 + E, or its diagonal."""
    gradient = jax.grad(lambda q: energy.prior_energy(q) + energy.data_energy(q))

    def row(number: Array) -> Array:
        along = jnp.zeros_like(position).at[number].set(1.0)
        column = jax.jvp(gradient, (position,), (along,))[1]
        return column if whole else column[number]

    return jax.lax.map(row, jnp.arange(position.size))
