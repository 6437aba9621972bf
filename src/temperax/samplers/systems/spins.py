"""Priors of variables that jump: Ising spins and Potts colours, as floats."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array
from numpyro.distributions import Distribution, biject_to, constraints
from numpyro.distributions.transforms import IdentityTransform

from temperax.errors import check_count


class _PlusMinusOne(constraints._SingletonConstraint):
    """-1.0 or 1.0."""

    is_discrete = True

    def __call__(self, x: Array) -> Array:
        return jnp.abs(x) == 1

    def feasible_like(self, prototype: Array) -> Array:
        return jnp.ones_like(prototype)


@biject_to.register(_PlusMinusOne)
def _as_it_is(_: constraints.Constraint) -> IdentityTransform:
    return IdentityTransform()


class Spin(Distribution):
    """One Ising spin, -1.0 or 1.0 with probability ½ each: ``Spin().expand(shape).to_event()`` for many.

    It is a float, so that polynomials of spins have gradients, but only kernels that jump may move it.
    """

    arg_constraints: dict = {}
    support = _PlusMinusOne()

    def sample(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Array:
        """Independent fair spins."""
        return jax.random.rademacher(key, sample_shape, jnp.result_type(float))

    def log_prob(self, value: Array, intermediates: object = None) -> Array:
        """-log 2 each."""
        return jnp.full_like(value, -math.log(2))


class _Colours(constraints._IntegerInterval):
    """0.0, 1.0, … up to a number of them."""


biject_to.register(_Colours)(_as_it_is)


class Colour(Distribution):
    """One Potts spin, 0.0, 1.0, … q - 1.0 with the same probability: ``Colour(q).expand(shape).to_event()`` for many.

    It is a float, so that energies that are linear between neighbouring colours have gradients, but only kernels that
    jump may move it.

    Parameters
    ----------
    num_colours
        q, at least 2.

    See Also
    --------
    temperax.systems.potts

    Examples
    --------
    >>> tx.systems.Colour(3).expand((2, 2)).to_event(2).sample(jax.random.key(0)).shape
    (2, 2)
    """

    arg_constraints: dict = {}
    pytree_aux_fields = ("num_colours",)

    def __init__(self, num_colours: int) -> None:
        self.num_colours = check_count("num_colours", num_colours, 2)
        super().__init__()

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self) -> constraints.Constraint:
        """Whole numbers below q."""
        return _Colours(0, self.num_colours - 1)

    def sample(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Array:
        """Independent colours."""
        return jax.random.randint(key, sample_shape, 0, self.num_colours).astype(jnp.result_type(float))

    def log_prob(self, value: Array, intermediates: object = None) -> Array:
        """-log q each."""
        return jnp.full_like(value, -math.log(self.num_colours))
