"""What is measured of spins."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def magnetisation(spins: Float[Array, "*batch site"], num_axes: int = 2) -> Float[Array, "*batch"]:
    """Mean spin (or field), over the last ``num_axes`` axes: those of the lattice.

    See Also
    --------
    temperax.systems.ising

    Examples
    --------
    >>> float(tx.systems.magnetisation(jnp.ones((4, 4))))
    1.0
    """
    return jnp.mean(spins, axis=tuple(range(-num_axes, 0)))


def order(colours: Float[Array, "*batch site"], num_colours: int, num_axes: int = 2) -> Float[Array, "*batch"]:
    """How ordered Potts spins are, (q · share of the commonest colour - 1)/(q - 1): 0 of all alike, 1 of one alone.

    Over the last ``num_axes`` axes: those of the lattice.

    See Also
    --------
    temperax.systems.potts

    Examples
    --------
    >>> float(tx.systems.order(jnp.array([[0.0, 0.0], [0.0, 1.0]]), 3))
    0.625
    """
    axes = tuple(range(-num_axes, 0))
    shares = jnp.stack([jnp.mean(colours == k, axis=axes) for k in range(num_colours)])
    return (num_colours * jnp.max(shares, axis=0) - 1) / (num_colours - 1)


def overlap(
    spins: Float[Array, "*batch spin"], patterns: Float[Array, "pattern spin"]
) -> Float[Array, "*batch pattern"]:
    """m_μ = ξ_μ·s / N, from -1 to 1: how much of each pattern the spins recall.

    See Also
    --------
    temperax.systems.hopfield

    Examples
    --------
    >>> patterns = jnp.array([[1.0, 1.0, -1.0, -1.0], [1.0, -1.0, 1.0, -1.0]])
    >>> tx.systems.overlap(patterns[0], patterns).tolist()
    [1.0, 0.0]
    """
    return spins @ jnp.asarray(patterns, float).T / spins.shape[-1]


def angles(spins: Float[Array, "*lattice 2"]) -> Float[Array, "*lattice"]:
    """Directions of the vectors of `xy`, in (-π, π].

    See Also
    --------
    temperax.systems.xy, temperax.systems.vorticity

    Examples
    --------
    >>> (2 * tx.systems.angles(jnp.array([[1.0, 0.0], [0.0, 2.0]])) / jnp.pi).tolist()
    [0.0, 1.0]
    """
    return jnp.arctan2(spins[..., 1], spins[..., 0])


def vorticity(theta: Float[Array, "*batch row column"]) -> Int[Array, "*batch row column"]:
    """Vortices of a periodic plane of `angles`: turns of the spin around each plaquette, -1, 0 or 1.

    They sum to 0, and bind in pairs below the transition (Kosterlitz & Thouless 1973).

    See Also
    --------
    temperax.systems.angles

    Examples
    --------
    >>> int(jnp.sum(tx.systems.vorticity(jax.random.uniform(key, (6, 6), minval=-3.0, maxval=3.0))))  # they sum to 0
    0
    """

    def turn(axis: int) -> Array:
        """Shortest way from every angle to the next."""
        return (jnp.roll(theta, -1, axis) - theta + jnp.pi) % (2 * jnp.pi) - jnp.pi

    down, right = turn(-2), turn(-1)
    around = down + jnp.roll(right, -1, -2) - jnp.roll(down, -1, -1) - right
    return jnp.round(around / (2 * jnp.pi)).astype(int)
