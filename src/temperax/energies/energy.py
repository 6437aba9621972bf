"""`Energy`: prior energy U0 = -log p(θ) and data energy E = -log p(D|θ) of a model, both normalised, in nats.

Inside the library a model's parameters are one flat *position*: unconstrained, of length P (`temperax.positions`).

An energy is a pytree: the numbers (data, scales of priors) are leaves and the structure (architecture, functions) is
static, so that two energies that differ in numbers alone share every compiled program of the library. What it keeps for
the host alone, its data set and arguments, goes through every transformation too.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.tree_util import register_pytree_node_class
from jaxtyping import Array, Float
from numpyro.distributions import Distribution

from temperax.energies.dataset import Dataset
from temperax.energies.densities import Ordered, unordered
from temperax.energies.making import Made
from temperax.energies.models import FunctionModel, NetworkModel, takes
from temperax.energies.names import check_names, dimensions, name_of
from temperax.energies.parameters import (
    as_data,
    as_float,
    has_floats,
    is_distribution,
    is_shape,
    leaves_of,
)
from temperax.energies.positions import Position
from temperax.energies.summed import Summed
from temperax.errors import InputError, check_callable


class OnHost:
    """What is on the host, equal to itself alone: what was compiled for one energy returns no other's."""

    def __init__(self, *kept: Any) -> None:
        self.kept = kept

    def __eq__(self, other: object) -> bool:
        return isinstance(other, OnHost) and all(a is b for a, b in zip(self.kept, other.kept, strict=True))

    def __hash__(self) -> int:
        return hash(tuple(map(id, self.kept)))


@register_pytree_node_class
class Energy(Made, Summed):
    """The energies of a model, apart: prior energy and data energy.

    Parameters
    ----------
    data_energy
        ``data_energy(parameters)`` or ``data_energy(parameters, data)``: -log p(D|θ) in nats with all normalising
        constants, as a scalar or as one value a row (then `log_likelihood`, and with it ``az.loo``, works).
    prior
        A pytree of NumPyro distributions, one for each array of ``parameters``: its structure and shapes are those of
        the parameters.  Densities, draws and the transforms of constrained parameters come from it.  With an
        ``ImproperUniform`` among them there is no distribution at β = 0, and the paths are two: ``"posterior"`` and
        ``"reference"``.
    data
        A pytree of arrays.  Data that come in here can change without a new compilation; data that ``data_energy``
        closes over cannot.

    Raises
    ------
    InputError
        If the prior has leaves that are no continuous distributions (nor spins, see `temperax.systems`) or parameters
        whose names a result could not tell apart, the data are not finite in single precision, or ``data_energy`` does
        not return real numbers.  What ``data_energy`` itself raises comes through as it is.

    Notes
    -----
    Parameters may have any names.  A result holds slashes as dots, and ``chain``, ``draw`` and ``temperature`` with an
    underscore behind.

    Examples
    --------
    >>> import jax.numpy as jnp, numpyro.distributions as dist, temperax as tx
    >>> energy = tx.Energy(lambda p: jnp.sum((p["w"] - 1.0) ** 2), {"w": dist.Normal(0, 1).expand([3]).to_event(1)})
    >>> energy.size
    3
    """

    #: The data set behind a network's energy, with its held-out rows and units (host only: not part of the pytree).
    dataset: Dataset | None = None
    #: The arguments that made a network's energy, for `replace` and for the record.
    arguments: dict[str, Any] | None = None
    #: What a NumPyro model observes, by the names of its sites, and the names of their dimensions.
    observations: tuple[dict[str, Any], dict[str, list[str]]] | None = None

    def __init__(self, data_energy: Callable, prior: Any, data: Any = None) -> None:
        check_callable("data_energy", data_energy, "a function of the parameters")
        if not takes(data_energy, 1 if data is None else 2):
            problem = "takes other arguments than the parameters" if data is None else "takes no data"
            raise InputError("data_energy", data_energy, problem, "give it two arguments, or one and leave data out")
        self._assemble(FunctionModel(data_energy), prior, data)

    def _assemble(self, model: FunctionModel | NetworkModel, prior: Any, data: Any) -> None:
        leaves = leaves_of("prior", prior)
        if not leaves:
            raise InputError("prior", prior, "has no parameters", "give a pytree of NumPyro distributions")
        for leaf in leaves:
            if not is_distribution(leaf) or (leaf.is_discrete and not has_floats(leaf)):
                raise InputError("prior", leaf, "is not a continuous NumPyro distribution", "give one such as Normal()")
        check_names("prior", prior)
        leaves_of("data", data)
        self.model, self.prior, self.data = (
            model,
            jax.tree.map(as_float, prior),
            jax.tree.map(as_data, data),
        )
        if self.size == 0:
            raise InputError("prior", prior, "has no parameters", "give a pytree of NumPyro distributions")
        out = self._row_energies()
        if not jnp.issubdtype(out.dtype, jnp.floating) or out.ndim > 1:
            raise InputError("data_energy", out, "is not a real scalar or one real number a row", "return -log p(D|θ)")

    def __repr__(self) -> str:
        """What it is, in a line."""
        rows = "" if self.dataset is None else f", on {self.dataset!r}"
        return f"Energy({self.model!r}, {self.size} parameters{rows})"

    def localised_at(self, position: Position, precision: float) -> "Energy":
        """The same data energy under a Gaussian prior N(position, 1/precision) of the unconstrained parameters.

        What was the prior is replaced, not multiplied; its constraints stay.
        """
        model, prior = self.joint.localised(
            self.model, self.free(jnp.asarray(position, jnp.result_type(float))), precision
        )
        localised = Energy._bare(model, prior, self.data)
        localised.dataset = self.dataset
        return localised

    # -- parameters --------------------------------------------------------------------------------------------------

    def variables(self, position: Position) -> dict[str, Array]:
        """The parameters as named arrays, as they appear in results: ``layer_0_weight``, ``noise_scale``, …"""
        shown = self.model.shown(self.unravel(position), self.data)
        return {name_of(path): jnp.asarray(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(shown)}

    def position(self, variables: Mapping[str, Array]) -> Position:
        """The position of named arrays: the inverse of `variables`."""
        named, structure = jax.tree_util.tree_flatten_with_path(self.joint.shapes(), is_leaf=is_shape)
        shown = jax.tree.unflatten(structure, [variables[name_of(path)] for path, _ in named])
        return self.ravel(self.model.meant(shown))

    @property
    def dims(self) -> dict[str, list[str]]:
        """Names of the dimensions of the variables."""
        position = jax.ShapeDtypeStruct((self.size,), jnp.result_type(float))
        variables = jax.eval_shape(self.bare().variables, position)
        return dimensions({name: value.shape for name, value in variables.items()}, self.model.known_dims(self.data))

    def distribution(self, position: Position, x: Float[Array, "row input"]) -> Distribution:
        """The predictive distribution (batch (row,), event (target,)) of the targets at inputs ``x``."""
        return self._network().distribution(self.unravel(position), x)

    def log_prob(self, position: Position, x: Float[Array, "row input"], y: Array) -> Float[Array, " row"]:
        """Log p(y | x, θ) of rows that need not be the energy's own, in nats."""
        return self._network().log_prob(self.unravel(position), x, y)

    def mean(self, position: Position, x: Float[Array, "row input"]) -> Float[Array, "row value"]:
        """The expected targets at inputs ``x``, or class probabilities: the function f of diagnostics."""
        model, parameters = self._network(), self.unravel(position)
        return model.likelihood.mean(model.network(parameters["network"], x), parameters["noise"])

    def _network(self) -> NetworkModel:
        if not isinstance(self.model, NetworkModel):
            raise InputError("energy", self.model, "has no predictions", "build it by Energy.mlp or Energy.network")
        return self.model

    # -- pytree ------------------------------------------------------------------------------------------------------

    def tree_flatten(self) -> tuple[tuple, Any]:
        """What is computed with, and what is not."""
        model, structure = jax.tree.flatten(self.model, is_leaf=is_distribution)
        model = [Ordered(leaf) if is_distribution(leaf) else leaf for leaf in model]
        prior = jax.tree.map(Ordered, self.prior, is_leaf=is_distribution)
        # JAX takes structures for equal whose dataclasses differ in their type alone (Bernoulli and Poisson, say), and
        # would run one's compiled program for the other.
        kinds = type(self.model), type(getattr(self.model, "likelihood", None))
        on_host = OnHost(self.dataset, self.arguments, self.observations)
        return (model, prior, self.data, self.reference, self.weights), (structure, kinds, on_host)

    @classmethod
    def tree_unflatten(cls, structure: Any, children: tuple) -> "Energy":
        """Rebuild without checks, since JAX passes placeholders through here."""
        model, prior, *rest = children
        model = jax.tree.unflatten(structure[0], [unordered(leaf) for leaf in model])
        prior = jax.tree.map(unordered, prior, is_leaf=lambda leaf: isinstance(leaf, Ordered | Distribution))
        energy = cls._bare(model, prior, *rest)
        energy.dataset, energy.arguments, energy.observations = structure[2].kept
        return energy
