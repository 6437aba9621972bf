"""`Energy`: prior energy U0 = -log p(θ) and data energy E = -log p(D|θ) of a model, both normalised, in nats.

Inside the library a model's parameters are one flat *position*: unconstrained, of length P (`temperax.positions`).

An energy is a pytree: the numbers (data, scales of priors) are leaves and the structure (architecture, functions) is
static, so that two energies that differ in numbers alone share every compiled program of the library. What it keeps for
the host alone, its data set and arguments, goes through every transformation too.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.tree_util import register_pytree_node_class
from jaxtyping import Array, Float
from numpyro import distributions as dist
from numpyro.distributions import Distribution, TransformedDistribution, biject_to

from temperax.energies.dataset import Dataset
from temperax.energies.densities import Ordered, unordered
from temperax.energies.likelihoods import Likelihood
from temperax.energies.models import FunctionModel, NetworkModel, check_outputs, complete, takes
from temperax.energies.networks import MLP, effective_weight, factor_weight
from temperax.energies.parameters import (
    as_data,
    as_float,
    check_fit,
    check_names,
    elementwise,
    has_floats,
    is_distribution,
    leaves_of,
    name_of,
)
from temperax.energies.positions import Position
from temperax.energies.priors import ARD, Elementwise, FanInNormal, Prior, PriorLike, as_prior, network_prior
from temperax.energies.summed import Summed
from temperax.errors import InputError, all_at_once, check_callable


class OnHost:
    """A data set and arguments, equal to themselves alone: what was compiled for one energy returns no other's."""

    def __init__(self, dataset: Dataset | None, arguments: dict[str, Any] | None) -> None:
        self.kept = dataset, arguments

    def __eq__(self, other: object) -> bool:
        return isinstance(other, OnHost) and all(a is b for a, b in zip(self.kept, other.kept, strict=True))

    def __hash__(self) -> int:
        return hash(tuple(map(id, self.kept)))


@register_pytree_node_class
class Energy(Summed):
    """The energies of a model, apart: prior energy and data energy.

    Parameters
    ----------
    data_energy
        ``data_energy(parameters)`` or ``data_energy(parameters, data)``: -log p(D|θ) in nats with all normalising
        constants, as a scalar or as one value a row (then `log_likelihood`, and with it ``az.loo``, works).
    prior
        A pytree of NumPyro distributions, one for each array of ``parameters``: its structure and shapes are those of
        the parameters.  Densities, draws and the transforms of constrained parameters come from it.
    data
        A pytree of arrays.  Data that come in here can change without a new compilation; data that ``data_energy``
        closes over cannot.

    Raises
    ------
    InputError
        If the prior has leaves that are no continuous distributions (nor spins, see `temperax.systems`) or parameters
        whose names a result could not tell apart, the data are not finite in single precision, or ``data_energy`` does
        not return real numbers.  What ``data_energy`` itself raises comes through as it is.

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
            if isinstance(leaf, dist.ImproperUniform):
                raise InputError("prior", leaf, "is improper and has no draws", "give one such as Normal(0, 1e3)")
        check_names(prior)
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

    @classmethod
    def mlp(
        cls,
        data: Dataset,
        hidden: Sequence[int] = (50,),
        activation: str | Callable = "tanh",
        likelihood: Likelihood | None = None,
        prior: PriorLike | None = None,
    ) -> "Energy":
        """Energy of a multilayer perceptron on a data set's training rows.

        Parameters
        ----------
        data
            From `temperax.datasets`; the held-out rows come along for predictions.
        hidden
            Widths of the hidden layers; ``()`` is a generalised linear model.
        activation
            A name such as ``"tanh"`` or any elementwise function.
        likelihood
            From `temperax.likelihoods`; by default `likelihoods.default` of the data set's task.
        prior
            From `temperax.priors`, a scalar NumPyro distribution, or a mapping from ``layer_0``, …, ``default``;
            by default N(0, 1).
        """
        hidden = hidden.tolist() if hasattr(hidden, "tolist") else hidden  # an array, or a frame's index
        (likelihood, prior), _ = all_at_once(
            lambda: complete(data, likelihood, prior), lambda: MLP.create(1, hidden, 1, activation)
        )
        network = MLP.create(data.x.shape[1], hidden, likelihood.num_outputs(data.y), activation)
        energy = cls._of_network(data, network, likelihood, network_prior(prior, network.sizes))
        energy.arguments = {
            "hidden": hidden,
            "activation": activation,
            "likelihood": likelihood,
            "prior": prior,
        }
        return energy

    @classmethod
    def network(
        cls,
        data: Dataset,
        apply: Callable,
        parameters: Any,
        likelihood: Likelihood | None = None,
        prior: Prior | Distribution | Any = None,
    ) -> "Energy":
        """Energy of any network: Flax, Equinox, or a function ``apply(parameters, x) -> (row, output)``.

        Parameters
        ----------
        data, likelihood
            As in `mlp`.
        apply
            A Flax module's ``apply``, say.  Pass the same function object again to reuse a compiled program.
        parameters
            A pytree of arrays with the shapes of the parameters, as the module's initialiser returns them.
        prior
            A pytree of NumPyro distributions in the structure of ``parameters``, or one prior for every array (a
            scalar NumPyro distribution or a member of `temperax.priors` without layer structure).

        Raises
        ------
        InputError
            If ``parameters`` are not arrays of real numbers, the prior does not fit them, or ``apply`` does not return
            one row of outputs for each row of inputs.  What ``apply`` itself raises comes through as it is.
        """
        likelihood, prior = complete(data, likelihood, prior)
        if not takes(check_callable("apply", apply, "a function of (parameters, x)"), 2):
            raise InputError("apply", apply, "does not take (parameters, x)", "give it two arguments")
        for leaf in leaves_of("parameters", parameters):
            if not jnp.issubdtype(getattr(leaf, "dtype", type(leaf)), jnp.floating):
                remedy = "keep what is fixed out of the parameters, by eqx.partition for one"
                raise InputError("parameters", leaf, "is not an array of real numbers", remedy)
        if isinstance(prior, Prior):
            if isinstance(prior, (ARD, FanInNormal)):
                raise InputError("prior", prior, "is a prior for layers", "use Energy.mlp, or give one distribution")
            prior = as_prior(prior).weight(1)
        if is_distribution(prior):
            scalar = Elementwise(prior).distribution
            prior = jax.tree.map(lambda leaf: scalar.expand(jnp.shape(leaf)).to_event(jnp.ndim(leaf)), parameters)
        check_fit(prior, parameters)
        return cls._of_network(data, apply, likelihood, prior)

    @classmethod
    def _of_network(cls, data: Dataset, network: Callable, likelihood: Likelihood, prior: Any) -> "Energy":
        energy = object.__new__(cls)
        check_outputs(network, prior, data, likelihood)
        tree = {"network": prior, "noise": likelihood.parameters(data.y.shape[1])}
        energy._assemble(NetworkModel(network, likelihood), tree, {"x": data.x, "y": data.y})
        energy.dataset = data
        return energy

    def replace(self, data: Dataset | None = None, **changes: Any) -> "Energy":
        """The same `mlp` energy with some of its arguments changed: ``energy.replace(activation="relu")``.

        Raises
        ------
        InputError
            If the energy is not an MLP's, or a name is not one of `mlp`'s arguments.
        """
        if self.arguments is None:
            raise InputError("energy", self, "was not made by Energy.mlp", "build the changed energy itself")
        unknown = set(changes) - set(self.arguments)
        if unknown:
            known = ", ".join(["data", *self.arguments])
            raise InputError("changes", sorted(unknown), "are not arguments of Energy.mlp", f"use {known}")
        dataset = self.dataset if data is None else data
        assert dataset is not None  # arguments and dataset are set together
        return Energy.mlp(dataset, **(self.arguments | changes))

    def __repr__(self) -> str:
        """What it is, in a line."""
        rows = "" if self.dataset is None else f", on {self.dataset!r}"
        return f"Energy({self.model!r}, {self.size} parameters{rows})"

    def localised_at(self, position: Position, precision: float) -> "Energy":
        """The same data energy under a Gaussian prior N(position, 1/precision) of the unconstrained parameters.

        What was the prior is replaced, not multiplied; its constraints stay.
        """

        def around(prior: Distribution, free: Array) -> Distribution:
            transform = biject_to(elementwise(prior).support)
            normal = dist.Normal(free, jnp.full_like(free, precision**-0.5))
            return normal if transform.codomain is dist.constraints.real else TransformedDistribution(normal, transform)

        prior = self._map(around, self._unravel_free(jnp.asarray(position, jnp.result_type(float))))
        localised = Energy._bare(self.model, prior, self.data)
        localised.dataset = self.dataset
        return localised

    # -- parameters --------------------------------------------------------------------------------------------------

    def variables(self, position: Position) -> dict[str, Array]:
        """The parameters as named arrays, as they appear in results: ``layer_0_weight``, ``noise_scale``, …"""
        parameters = self.unravel(position)
        if isinstance(self.model, NetworkModel) and isinstance(self.model.network, MLP):
            layers = parameters["network"]
            layers = {k: layer | {"weight": effective_weight(layer)} for k, layer in layers.items()}
            parameters = parameters | {"network": layers}
        return {name_of(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(parameters)}

    def position(self, variables: Mapping[str, Array]) -> Position:
        """The position of named arrays: the inverse of `variables`."""
        named, structure = jax.tree_util.tree_flatten_with_path(self.prior, is_leaf=is_distribution)
        parameters = jax.tree.unflatten(structure, [variables[name_of(path)] for path, _ in named])
        if isinstance(self.model, NetworkModel) and isinstance(self.model.network, MLP):
            layers = parameters["network"]
            layers = {k: layer | {"weight": factor_weight(layer)} for k, layer in layers.items()}
            parameters = parameters | {"network": layers}
        return self.ravel(parameters)

    @property
    def dims(self) -> dict[str, list[str]]:
        """Names of the dimensions of the variables, where the model has them."""
        if not isinstance(self.model, NetworkModel):
            return {}
        names = self.model.network.dims if isinstance(self.model.network, MLP) else {}
        return names | {f"noise_{name}": ["target"] for name in self.prior["noise"]}

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
        on_host = OnHost(self.dataset, self.arguments)
        return (model, prior, self.data, self.reference, self.weights), (structure, kinds, on_host)

    @classmethod
    def tree_unflatten(cls, structure: Any, children: tuple) -> "Energy":
        """Rebuild without checks, since JAX passes placeholders through here."""
        model, prior, *rest = children
        model = jax.tree.unflatten(structure[0], [unordered(leaf) for leaf in model])
        prior = jax.tree.map(unordered, prior, is_leaf=lambda leaf: isinstance(leaf, Ordered | Distribution))
        energy = cls._bare(model, prior, *rest)
        energy.dataset, energy.arguments = structure[2].kept
        return energy
