"""Models: data energies row by row, of the user's own or of a network under a likelihood."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import register_dataclass
from jaxtyping import Array, Float
from numpyro.distributions import Distribution

from temperax.energies import likelihoods
from temperax.energies.dataset import Dataset
from temperax.energies.densities import log_prob
from temperax.energies.likelihoods import Likelihood
from temperax.energies.networks import MLP
from temperax.energies.parameters import is_distribution
from temperax.energies.priors import Normal
from temperax.errors import InputError


@register_dataclass
@dataclass(frozen=True)
class FunctionModel:
    """A data energy that the user wrote: a scalar, or one value a row."""

    function: Callable = field(metadata={"static": True})

    def __repr__(self) -> str:
        """The function's name."""
        return getattr(self.function, "__qualname__", repr(self.function))

    def row_energies(self, parameters: Any, data: Any) -> Array:
        """-log p(row | θ), or the whole energy as a scalar."""
        rows = self.function(parameters) if data is None else self.function(parameters, data)
        # What is computed in another precision joins the rest in this one.
        return rows.astype(jnp.result_type(float)) if _is_real(rows) else rows


@register_dataclass
@dataclass(frozen=True)
class NetworkModel:
    """A network under a likelihood."""

    network: Callable = field(metadata={"static": True})
    likelihood: Likelihood

    def __repr__(self) -> str:
        """The network and what its outputs mean."""
        network = self.network if isinstance(self.network, MLP) else getattr(self.network, "__qualname__", self.network)
        return f"{network}, {type(self.likelihood).__name__} likelihood"

    def distribution(self, parameters: Any, x: Float[Array, "row input"]) -> Distribution:
        """The distribution of the targets at ``x``."""
        return self.likelihood.distribution(self.network(parameters["network"], x), parameters["noise"])

    def log_prob(self, parameters: Any, x: Float[Array, "row input"], y: Array) -> Float[Array, " row"]:
        """Log p(y | x, θ) of every row, in nats."""
        return log_prob(self.distribution(parameters, x), self._as_targets(y))

    def log_prob_by_target(self, parameters: Any, x: Float[Array, "row input"], y: Array) -> Float[Array, "row target"]:
        """Log p of every target by itself, in nats; they are independent given the parameters."""
        return log_prob(self.distribution(parameters, x).base_dist, self._as_targets(y))

    def _as_targets(self, y: Array) -> Array:
        return y.astype(int) if self.likelihood.task == "classification" else y  # classes index their probabilities

    def row_energies(self, parameters: Any, data: Any) -> Float[Array, " row"]:
        """-log p(y_i | x_i, θ) of every row, in nats."""
        return -self.log_prob(parameters, data["x"], data["y"])


def _is_real(values: Any) -> bool:
    return isinstance(values, (jax.Array, np.ndarray)) and jnp.issubdtype(values.dtype, jnp.floating)


def complete(data: object, likelihood: object, prior: Any) -> tuple[Likelihood, Any]:
    """Fill in and check what all energies of networks share."""
    if not isinstance(data, Dataset):
        raise InputError("data", data, "is not a Dataset", "use temperax.datasets.load or Dataset.from_arrays")
    likelihood = likelihoods.default(data.task, data.y, data.classes) if likelihood is None else likelihood
    if not isinstance(likelihood, Likelihood) or not hasattr(likelihood, "task"):
        raise InputError("likelihood", likelihood, "is not a likelihood", "give one of temperax.likelihoods")
    if likelihood.task != data.task:
        raise InputError(
            "likelihood",
            likelihood,
            f"does not fit a data set for {data.task}",
            "change it or the data set's task",
        )
    likelihood.check_parameters()
    likelihood = likelihood.fitted(data.y, data.classes)
    for argument, targets in (("y", data.y), ("y_test", data.y_test)):
        if len(targets):
            likelihood.check_targets(argument, targets)
    return likelihood, Normal(1.0) if prior is None else prior


def takes(function: Callable, number: int) -> bool:
    """Whether a function can be called with so many arguments, as far as can be told without calling it."""
    try:
        signature = inspect.signature(function)
    except ValueError:  # some built-in functions have none
        return True
    try:
        signature.bind(*range(number))
    except TypeError:
        return False
    return True


def check_outputs(network: Callable, prior: Any, data: Dataset, likelihood: Likelihood) -> None:
    """Say so where a network does not return (row, output): the targets would be broadcast against it."""
    if isinstance(network, MLP):
        return
    dtype = jnp.result_type(float)
    parameters = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape() if is_distribution(leaf) else jnp.shape(leaf), dtype),
        prior,
        is_leaf=is_distribution,
    )
    out = jax.eval_shape(network, parameters, jax.ShapeDtypeStruct(data.x.shape, dtype))
    wanted = (len(data.x), likelihood.num_outputs(data.y))
    if getattr(out, "shape", None) != wanted:
        raise InputError("apply", out, f"is not of shape {wanted}, (row, output)", "return one row for each row of x")
