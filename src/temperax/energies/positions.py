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
from numpyro import distributions as dist
from numpyro.distributions import Distribution, TransformedDistribution, biject_to

from temperax.energies.densities import from_normal, log_prob
from temperax.energies.names import name_of
from temperax.energies.parameters import elementwise, is_distribution, is_improper, is_shape

Position = Float[Array, " parameter"]

#: Of a parameter without a prior to draw from, chains start within so much of 0, unconstrained, as Stan's do.
RADIUS = 2.0


class Joint:
    """A distribution of all parameters: what an energy asks of its prior.

    Parameters are *free* where they are real numbers without constraints, and have *values* where they have them.
    """

    #: Whether some parameters jump (spins), so that only kernels that follow no gradient may move them.
    discrete: bool = False
    #: Whether it has draws and integrates to 1, so that there is a distribution at β = 0.
    proper: bool = True

    def shapes(self) -> Any:
        """Shapes of the free parameters, in the structure of the parameters."""
        raise NotImplementedError

    def constrain(self, free: Any, data: Any) -> Any:
        """Values of free parameters."""
        raise NotImplementedError

    def release(self, values: Any, data: Any) -> Any:
        """Free parameters of values: the inverse of `constrain`."""
        raise NotImplementedError

    def draw(self, key: Array, data: Any) -> Any:
        """A draw of the values; of parameters without a distribution, free and uniform within `RADIUS` of 0."""
        raise NotImplementedError

    def terms(self, free: Any, data: Any) -> Any:
        """-log p of every parameter (of every event that cannot be taken apart), log-Jacobian included."""
        raise NotImplementedError

    def localised(self, model: Any, free: Any, precision: float) -> tuple[Any, Any]:
        """A model and a prior with the same data energy, under N(free, 1/precision) of the free parameters."""
        raise NotImplementedError


class Independent(Joint):
    """A tree of distributions, one for each array of the parameters."""

    def __init__(self, tree: Any) -> None:
        self.tree = tree
        self.leaves, self.structure = jax.tree.flatten(tree, is_leaf=is_distribution)

    @property
    def discrete(self) -> bool:  # type: ignore[override]
        """Whether one of them is of spins."""
        return any(prior.is_discrete for prior in self.leaves)

    @property
    def proper(self) -> bool:  # type: ignore[override]
        """Whether none of them is flat."""
        return not any(map(is_improper, self.leaves))

    def shapes(self) -> Any:
        """Shapes before the transforms of their supports."""
        return self._map(lambda prior: biject_to(prior.support).inverse_shape(prior.shape()))

    def constrain(self, free: Any, data: Any) -> Any:
        """By the transforms of their supports."""
        return self._map(lambda prior, free: biject_to(prior.support)(free), free)

    def release(self, values: Any, data: Any) -> Any:
        """By the inverse transforms."""
        return self._map(lambda prior, value: biject_to(prior.support).inv(value), values)

    def draw(self, key: Array, data: Any) -> Any:
        """One of each."""
        transforms = [from_normal(prior) for prior in self.leaves]
        # One draw of normal numbers for all that can be made of them: every other draw is a compiler's second.
        pairs = list(zip(self.leaves, transforms, strict=True))
        sizes = [0 if f is None else int(np.prod(p.shape())) for p, f in pairs]
        own_key, key = jax.random.split(key)
        standard = jax.random.normal(own_key, (sum(sizes),), jnp.result_type(float))
        parts = jnp.split(standard, np.cumsum(sizes)[:-1])
        keys = iter(jax.random.split(key, max(transforms.count(None), 1)))
        values = [
            _draw(prior, next(keys)) if transform is None else transform(part.reshape(prior.shape()))
            for (prior, transform), part in zip(pairs, parts, strict=True)
        ]
        return jax.tree.unflatten(self.structure, values)

    def terms(self, free: Any, data: Any) -> Any:
        """Each by itself."""

        def terms(prior: Distribution, free: Array) -> Array:
            prior = elementwise(prior)
            transform = biject_to(prior.support)
            value = transform(free)
            return -(log_prob(prior, value) + transform.log_abs_det_jacobian(free, value))

        return self._map(terms, free)

    def localised(self, model: Any, free: Any, precision: float) -> tuple[Any, Any]:
        """The model itself, whose parameters keep their constraints."""

        def around(prior: Distribution, free: Array) -> Distribution:
            transform = biject_to(elementwise(prior).support)
            normal = dist.Normal(free, jnp.full_like(free, precision**-0.5))
            return normal if transform.codomain is dist.constraints.real else TransformedDistribution(normal, transform)

        return model, self._map(around, free)

    def _map(self, function: Callable, *trees: Any) -> Any:
        return jax.tree.map(function, self.tree, *trees, is_leaf=is_distribution)


class Parametrised:
    """What has a prior: a tree of NumPyro distributions, one for each array of its parameters, or a `Joint`."""

    prior: Any
    data: Any

    @property
    def joint(self) -> Joint:
        """The prior, as a distribution of all parameters."""
        return self.prior if isinstance(self.prior, Joint) else Independent(self.prior)

    @property
    def size(self) -> int:
        """P: how many unconstrained parameters a position has."""
        return sum(int(np.prod(shape)) for shape in jax.tree.leaves(self.joint.shapes(), is_leaf=is_shape))

    @property
    def discrete(self) -> bool:
        """Whether some parameters jump (spins), so that only kernels that follow no gradient may move them."""
        return self.joint.discrete

    @property
    def proper(self) -> bool:
        """Whether the prior has draws and integrates to 1, so that there is a distribution at β = 0."""
        return self.joint.proper

    @property
    def names(self) -> list[str]:
        """Names of the arrays of parameters, as results have them."""
        return [name for name, _ in self.layout]

    @property
    def layout(self) -> list[tuple[str, tuple[int, ...]]]:
        """Names and shapes of the arrays that a position lines up."""
        named = jax.tree_util.tree_flatten_with_path(self.joint.shapes(), is_leaf=is_shape)[0]
        return [(name_of(path), shape) for path, shape in named]

    def unravel(self, position: Position) -> Any:
        """The parameters (constrained, in the structure of the prior) at a position."""
        return self.joint.constrain(self.free(position), self.data)

    def ravel(self, parameters: Any) -> Position:
        """The position of given parameters: the inverse of `unravel`.

        See Also
        --------
        temperax.Energy.unravel

        Examples
        --------
        >>> position = energy.sample_prior(key)
        >>> parameters = energy.unravel(position)
        >>> bool(jnp.allclose(energy.ravel(parameters), position))
        True
        """
        return ravel_pytree(self.joint.release(parameters, self.data))[0]

    def sample_prior(self, key: Array) -> Position:
        """An exact draw of the position from the prior; of parameters without one, uniform within `RADIUS` of 0."""
        return self.ravel(self.joint.draw(key, self.data))

    def prior_terms(self, position: Position) -> Any:
        """-log p of every parameter (of every event that cannot be taken apart), log-Jacobian included."""
        return self.joint.terms(self.free(position), self.data)

    def free(self, position: Position) -> Any:
        """The unconstrained parameters in the structure of the prior."""
        shapes = self.joint.shapes()
        template = jax.tree.map(lambda shape: np.zeros(shape, position.dtype), shapes, is_leaf=is_shape)
        return ravel_pytree(template)[1](position)


def _draw(prior: Distribution, key: Array) -> Array:
    """A draw; where there are none, from the unconstrained numbers near 0."""
    if not is_improper(prior):
        return prior.sample(key)
    transform = biject_to(prior.support)
    free = transform.inverse_shape(prior.shape())
    return transform(jax.random.uniform(key, free, jnp.result_type(float), -RADIUS, RADIUS))
