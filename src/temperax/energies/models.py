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
from temperax.energies.networks import MLP, effective_weight, factor_weight
from temperax.energies.parameters import is_distribution
from temperax.energies.priors import Normal
from temperax.errors import InputError, told
from temperax.machine.compiling import in_double


class Model:
    """What an energy asks of a model; its parameters are values, under their constraints."""

    def row_energies(self, parameters: Any, data: Any) -> Array:
        """-log p(row | θ) of every row, or the whole energy as a scalar, in nats."""
        raise NotImplementedError

    def outputs(self, parameters: Any, data: Any) -> Any:
        """What `data_energy_in_double` needs of them."""
        return None

    def data_energy_in_double(self, rows: Array, outputs: Any, data: Any) -> float:
        """E in nats and double precision, from `row_energies` and `outputs`."""
        return sum_in_double(rows)

    def log_likelihoods(self, parameters: Any, data: Any) -> dict[str, Array]:
        """Log p of what is observed, by name, as results hold it, in nats."""
        return {"y": -self.row_energies(parameters, data)}

    def shown(self, parameters: Any, data: Any) -> Any:
        """The parameters as results hold them, with what the model makes of them."""
        return parameters

    def meant(self, shown: Any) -> Any:
        """The parameters that are shown: the inverse of `shown`."""
        return shown

    def known_dims(self, data: Any) -> dict[str, list[str]]:
        """Names of dimensions of what is shown and of what is observed, by variable."""
        return {"y": ["row", "target"]}


@register_dataclass
@dataclass(frozen=True)
class FunctionModel(Model):
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
class NetworkModel(Model):
    """A network under a likelihood."""

    network: Callable = field(metadata={"static": True})
    likelihood: Likelihood

    def __repr__(self) -> str:
        """The network and what its outputs mean."""
        network = getattr(self.network, "__qualname__", self.network)
        return f"{network}, {type(self.likelihood).__name__} likelihood"

    def distribution(self, parameters: Any, x: Float[Array, "row input"]) -> Distribution:
        """The distribution of the targets at ``x``."""
        return self.likelihood.distribution(self.network(parameters["network"], x), parameters["noise"])

    def log_prob(self, parameters: Any, x: Float[Array, "row input"], y: Array) -> Float[Array, " row"]:
        """Log p(y | x, θ) of every row, in nats; of one target, ``y`` may have no axis for it."""
        y = y[:, None] if jnp.ndim(y) == 1 else y
        return log_prob(self.distribution(parameters, x), _as_targets(self.likelihood, y))

    def row_energies(self, parameters: Any, data: Any) -> Float[Array, " row"]:
        """-log p(y_i | x_i, θ) of every row, in nats."""
        return -self.log_prob(parameters, data["x"], data["y"])

    def outputs(self, parameters: Any, data: Any) -> tuple[Float[Array, "row output"], dict[str, Array]]:
        """The network's, and the learned parameters of the likelihood."""
        return self.network(parameters["network"], data["x"]), parameters["noise"]

    def data_energy_in_double(self, rows: Array, outputs: Any, data: Any) -> float:
        """E in nats, by a likelihood whose terms are computed in double precision on the host.

        What is constant of a row, a normalisation say, is rounded alike in all of them, and n roundings add up: to .6
        nats of 2 million rows under a normal density.  Of differences between rows it cancels.
        """
        with in_double():
            return float(_sum_of(*jax.tree.map(_wide, (self.likelihood, *outputs, data["y"]))))

    def log_likelihoods(self, parameters: Any, data: Any) -> dict[str, Array]:
        """Log p of every row; of several targets, which are independent given the parameters, each by itself."""
        if data["y"].shape[1] == 1:
            return super().log_likelihoods(parameters, data)
        each = self.distribution(parameters, data["x"]).base_dist
        return {"y": log_prob(each, _as_targets(self.likelihood, data["y"]))}

    def shown(self, parameters: Any, data: Any) -> Any:
        """With the weights that multiply the inputs."""
        return self._layers(parameters, effective_weight)

    def meant(self, shown: Any) -> Any:
        """With the factors of these weights."""
        return self._layers(shown, factor_weight)

    def _layers(self, parameters: Any, weight: Callable) -> Any:
        if not isinstance(self.network, MLP):
            return parameters
        layers = {name: layer | {"weight": weight(layer)} for name, layer in parameters["network"].items()}
        return parameters | {"network": layers}

    def known_dims(self, data: Any) -> dict[str, list[str]]:
        """Units of layers and targets."""
        names = self.network.dims if isinstance(self.network, MLP) else {}
        noise = {f"noise_{name}": ["target"] for name in self.likelihood.parameters(1)}
        return super().known_dims(data) | names | noise


def sum_in_double(terms: Any) -> float:
    """The sum of arrays in a pytree, in double precision on the host."""
    return float(sum(np.asarray(leaf, np.float64).sum() for leaf in jax.tree.leaves(terms)))


def _wide(leaf: Any) -> Array:
    return jnp.asarray(np.asarray(leaf, np.float64))


def _as_targets(likelihood: Likelihood, y: Array) -> Array:
    return y.astype(int) if likelihood.task == "classification" else y  # classes index their probabilities


@jax.jit
def _sum_of(likelihood: Likelihood, outputs: Array, noise: dict[str, Array], y: Array) -> Array:
    return -jnp.sum(log_prob(likelihood.distribution(outputs, noise), _as_targets(likelihood, y)))


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


def failing_module(module: object, on: str, error: Exception) -> InputError:
    """What to say of a module that raises an error of its own."""
    remedy = "give input_shape where rows are not flat, and switch off dropout and running averages"
    return InputError("module", module, f"fails on {on} ({told(error)})", remedy)


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
    try:
        out = jax.eval_shape(network, parameters, jax.ShapeDtypeStruct(data.x.shape, dtype))
    except Exception as error:  # whatever a user's module raises
        raise failing_module(network, "the inputs", error) from error
    wanted = (len(data.x), likelihood.num_outputs(data.y))
    if getattr(out, "shape", None) != wanted:
        raise InputError("module", out, f"does not return {wanted}, (row, output)", "return one row for each row of x")
