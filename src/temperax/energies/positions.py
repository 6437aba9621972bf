"""Positions: the parameters of a model as one flat unconstrained array, under the tree of their priors.

Parameters with constraints (a noise scale, say) are transformed, and the log-Jacobian belongs to the prior's terms.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float
from numpyro.distributions import Distribution, biject_to

from temperax.energies.densities import from_normal, log_prob
from temperax.energies.parameters import elementwise, is_distribution, is_shape, name_of

Position = Float[Array, " parameter"]


class Parametrised:
    """What has a tree of priors, one NumPyro distribution for each array of its parameters."""

    prior: Any

    @property
    def size(self) -> int:
        """P: how many unconstrained parameters a position has."""
        return sum(int(np.prod(shape)) for shape in jax.tree.leaves(self._shapes(), is_leaf=is_shape))

    @property
    def discrete(self) -> bool:
        """Whether some parameters jump (spins), so that only kernels that follow no gradient may move them."""
        return any(prior.is_discrete for prior in jax.tree.leaves(self.prior, is_leaf=is_distribution))

    @property
    def names(self) -> list[str]:
        """Names of the arrays of parameters, as results have them."""
        paths = jax.tree_util.tree_leaves_with_path(self.prior, is_leaf=is_distribution)
        return [name_of(path) for path, _ in paths]

    @property
    def layout(self) -> list[tuple[str, tuple[int, ...]]]:
        """Names and shapes of the arrays that a position lines up."""
        named = jax.tree_util.tree_flatten_with_path(self._shapes(), is_leaf=is_shape)[0]
        return [(name_of(path), shape) for path, shape in named]

    def unravel(self, position: Position) -> Any:
        """The parameters (constrained, in the structure of the prior) at a position."""
        return self._map(lambda prior, free: biject_to(prior.support)(free), self._unravel_free(position))

    def ravel(self, parameters: Any) -> Position:
        """The position of given parameters: the inverse of `unravel`."""
        return ravel_pytree(self._map(lambda prior, value: biject_to(prior.support).inv(value), parameters))[0]

    def sample_prior(self, key: Array) -> Position:
        """An exact draw of the position from the prior."""
        priors, structure = jax.tree.flatten(self.prior, is_leaf=is_distribution)
        transforms = [from_normal(prior) for prior in priors]
        # One draw of normal numbers for all that can be made of them: every other draw is a compiler's second.
        sizes = [0 if f is None else int(np.prod(p.shape())) for p, f in zip(priors, transforms, strict=True)]
        own_key, key = jax.random.split(key)
        standard = jax.random.normal(own_key, (sum(sizes),), jnp.result_type(float))
        parts = jnp.split(standard, np.cumsum(sizes)[:-1])
        keys = iter(jax.random.split(key, max(transforms.count(None), 1)))
        values = [
            prior.sample(next(keys)) if transform is None else transform(part.reshape(prior.shape()))
            for prior, transform, part in zip(priors, transforms, parts, strict=True)
        ]
        free = self._map(
            lambda prior, value: biject_to(prior.support).inv(value), jax.tree.unflatten(structure, values)
        )
        return ravel_pytree(free)[0]

    def prior_terms(self, position: Position) -> Any:
        """-log p of every parameter (of every event that cannot be taken apart), log-Jacobian included."""

        def terms(prior: Distribution, free: Array) -> Array:
            prior = elementwise(prior)
            transform = biject_to(prior.support)
            value = transform(free)
            return -(log_prob(prior, value) + transform.log_abs_det_jacobian(free, value))

        return self._map(terms, self._unravel_free(position))

    def _shapes(self) -> Any:
        return self._map(lambda prior: biject_to(prior.support).inverse_shape(prior.shape()))

    def _unravel_free(self, position: Position) -> Any:
        template = jax.tree.map(lambda shape: np.zeros(shape, position.dtype), self._shapes(), is_leaf=is_shape)
        return ravel_pytree(template)[1](position)

    def _map(self, function: Callable, *trees: Any) -> Any:
        return jax.tree.map(function, self.prior, *trees, is_leaf=is_distribution)
