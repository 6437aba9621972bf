"""`Energy`: prior energy U0 = -log p(θ) and data energy E = -log p(D|θ) of a model, both normalised, in nats.

Inside the library a model's parameters are one flat *position*: unconstrained, of length P.  Parameters with
constraints (a noise scale, say) are transformed, and the log-Jacobian belongs to the prior energy.

An energy is a pytree: the numbers (data, scales of priors) are leaves and the structure (architecture, functions) is
static, so that two energies that differ in numbers alone share every compiled program.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jax.tree_util import register_dataclass, register_pytree_node_class
from jaxtyping import Array, Float
from numpyro import distributions as dist
from numpyro.distributions import Distribution, Independent, TransformedDistribution, biject_to

from temperax import likelihoods
from temperax.datasets import Dataset
from temperax.errors import InputError, check_callable
from temperax.likelihoods import Likelihood
from temperax.networks import MLP, effective_weight, factor_weight
from temperax.priors import Elementwise, Normal, Prior, PriorLike, network_prior

Position = Float[Array, " parameter"]

#: Rows whose energies are held at once: their activations fit a processor's cache, and any number of rows the memory.
CHUNK_ROWS = 8192


class Reference(NamedTuple):
    """Energies of one position, term by term: what the energies of others are differences from."""

    prior: Any  # one value a parameter, in the structure of the prior
    rows: Float[Array, "*row"]


@register_dataclass
@dataclass(frozen=True)
class FunctionModel:
    """A data energy that the user wrote: a scalar, or one value a row."""

    function: Callable = field(metadata={"static": True})

    def row_energies(self, parameters: Any, data: Any) -> Array:
        """-log p(row | θ), or the whole energy as a scalar."""
        return self.function(parameters) if data is None else self.function(parameters, data)


@register_dataclass
@dataclass(frozen=True)
class NetworkModel:
    """A network under a likelihood."""

    network: Callable = field(metadata={"static": True})
    likelihood: Likelihood

    def distribution(self, parameters: Any, x: Float[Array, "row input"]) -> Distribution:
        """The distribution of the targets at ``x``."""
        return self.likelihood.distribution(self.network(parameters["network"], x), parameters["noise"])

    def log_prob(self, parameters: Any, x: Float[Array, "row input"], y: Array) -> Float[Array, " row"]:
        """Log p(y | x, θ) of every row, in nats."""
        y = y.astype(int) if self.likelihood.task == "classification" else y  # classes index their probabilities
        return self.distribution(parameters, x).log_prob(y)

    def row_energies(self, parameters: Any, data: Any) -> Float[Array, " row"]:
        """-log p(y_i | x_i, θ) of every row, in nats."""
        return -self.log_prob(parameters, data["x"], data["y"])


@register_pytree_node_class
class Energy:
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
        If the prior has leaves that are no continuous distributions (nor spins, see `temperax.systems`), the data are
        not finite, or ``data_energy`` does not return real numbers.

    Examples
    --------
    >>> import jax.numpy as jnp, numpyro.distributions as dist, temperax as tx
    >>> energy = tx.Energy(lambda p: jnp.sum((p["w"] - 1.0) ** 2), {"w": dist.Normal(0, 1).expand([3]).to_event(1)})
    >>> energy.size
    3
    """

    model: FunctionModel | NetworkModel
    prior: Any
    data: Any
    #: The data set behind a network's energy, with its held-out rows and units (host only: not part of the pytree).
    dataset: Dataset | None = None
    #: The arguments that made a network's energy, for `replace` and for the record.
    arguments: dict[str, Any] | None = None
    #: Where energies are counted from; see `relative_to`.
    reference: Reference | None = None

    def __init__(self, data_energy: Callable, prior: Any, data: Any = None) -> None:
        check_callable("data_energy", data_energy, "a function of the parameters")
        if data is not None and len(inspect.signature(data_energy).parameters) < 2:
            raise InputError("data_energy", data_energy, "takes no data", "give it two arguments or leave data out")
        self._assemble(FunctionModel(data_energy), prior, data)

    def _assemble(self, model: FunctionModel | NetworkModel, prior: Any, data: Any) -> None:
        leaves = jax.tree.leaves(prior, is_leaf=_is_distribution)
        if not leaves:
            raise InputError("prior", prior, "has no parameters", "give a pytree of NumPyro distributions")
        for leaf in leaves:
            if not _is_distribution(leaf) or (leaf.is_discrete and not _has_floats(leaf)):
                raise InputError("prior", leaf, "is not a continuous NumPyro distribution", "give one such as Normal()")
        for leaf in jax.tree.leaves(data):
            if jnp.issubdtype(jnp.asarray(leaf).dtype, jnp.inexact) and not np.isfinite(leaf).all():
                raise InputError("data", leaf, "has NaN or infinite values", "remove or impute those rows")
        self.model, self.prior, self.data = (
            model,
            jax.tree.map(_as_float, prior),
            jax.tree.map(_as_float, data),
        )
        out = self._row_energies()
        if not hasattr(out, "dtype") or not jnp.issubdtype(out.dtype, jnp.floating) or out.ndim > 1:
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
        likelihood, prior = _defaults(data, likelihood, prior)
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
        """
        likelihood, prior = _defaults(data, likelihood, prior)
        check_callable("apply", apply, "a function of (parameters, x)")
        if isinstance(prior, Prior):
            prior = prior.weight(1)
        if _is_distribution(prior):
            scalar = Elementwise(prior).distribution
            prior = jax.tree.map(lambda leaf: scalar.expand(jnp.shape(leaf)).to_event(jnp.ndim(leaf)), parameters)
        return cls._of_network(data, apply, likelihood, prior)

    @classmethod
    def _of_network(cls, data: Dataset, network: Callable, likelihood: Likelihood, prior: Any) -> "Energy":
        energy = object.__new__(cls)
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

    # -- energies ----------------------------------------------------------------------------------------------------

    @property
    def size(self) -> int:
        """P: how many unconstrained parameters a position has."""
        return sum(int(np.prod(shape)) for shape in jax.tree.leaves(self._shapes(), is_leaf=_is_shape))

    @property
    def discrete(self) -> bool:
        """Whether some parameters jump (spins), so that only kernels that follow no gradient may move them."""
        return any(prior.is_discrete for prior in jax.tree.leaves(self.prior, is_leaf=_is_distribution))

    @property
    def num_rows(self) -> int | None:
        """n: how many rows the data energy is a sum of; None where it is a bare scalar."""
        shape = self._row_energies().shape
        return shape[0] if shape else None

    def prior_energy(self, position: Position) -> Float[Array, ""]:
        """U0 = -log p(θ) of the unconstrained position (log-Jacobian included), in nats."""
        terms = self._prior_terms(position)
        if self.reference is not None:
            terms = jax.tree.map(jnp.subtract, terms, self.reference.prior)
        return jnp.sum(jnp.stack([jnp.sum(leaf) for leaf in jax.tree.leaves(terms)]))

    def data_energy(self, position: Position) -> Float[Array, ""]:
        """E = -log p(D|θ), in nats."""
        parameters = self.unravel(position)
        reference = None if self.reference is None else self.reference.rows

        def total(data: Any, reference: Array | None) -> Array:
            rows = self.model.row_energies(parameters, data)
            return jnp.sum(rows if reference is None else rows - reference)

        num_rows = len(self.data["x"]) if isinstance(self.model, NetworkModel) else 0
        if num_rows <= CHUNK_ROWS:
            return total(self.data, reference)
        whole = num_rows // CHUNK_ROWS * CHUNK_ROWS
        rows = (self.data, reference)
        chunks = jax.tree.map(lambda leaf: leaf[:whole].reshape(-1, CHUNK_ROWS, *leaf.shape[1:]), rows)
        # Recomputed in the backward pass, so that no chunk's activations outlive it.
        add = jax.checkpoint(lambda energy, chunk: energy + total(*chunk))
        start = total(*jax.tree.map(lambda leaf: leaf[whole:], rows)) if whole < num_rows else jnp.zeros(())
        return jax.lax.scan(lambda energy, chunk: (add(energy, chunk), None), start, chunks)[0]

    def relative_to(self, position: Position) -> "Energy":
        """The same energies counted from those of ``position``, as sums of differences term by term.

        The sum of n rows' energies has lost the digits that an acceptance needs once n is large or T small; the sum of
        their differences from a point in the same region has not.  `offsets` are what is missing.
        """
        absolute = self.with_data(self.data)
        relative = self.with_data(self.data)
        relative.reference = Reference(*_terms(absolute, position))
        return relative

    def localised_at(self, position: Position, precision: float) -> "Energy":
        """The same data energy under a Gaussian prior N(position, 1/precision) of the unconstrained parameters.

        What was the prior is replaced, not multiplied; its constraints stay.
        """

        def around(prior: Distribution, free: Array) -> Distribution:
            transform = biject_to(_elementwise(prior).support)
            normal = dist.Normal(free, jnp.full_like(free, precision**-0.5))
            return normal if transform.codomain is dist.constraints.real else TransformedDistribution(normal, transform)

        prior = self._map(around, self._unravel_free(jnp.asarray(position, jnp.result_type(float))))
        localised = Energy.tree_unflatten(None, (self.model, prior, self.data, None))
        localised.dataset = self.dataset
        return localised

    def offsets(self) -> tuple[float, float]:
        """Prior and data energy of the reference point, in nats and double precision; 0 where there is none."""
        if self.reference is None:
            return 0.0, 0.0
        prior, data = (
            sum(float(np.asarray(leaf, np.float64).sum()) for leaf in jax.tree.leaves(part)) for part in self.reference
        )
        return prior, data

    def log_likelihood(self, position: Position) -> Float[Array, " row"]:
        """Log p(y_i | x_i, θ) of every row of the data, in nats.

        Raises
        ------
        InputError
            If the user's ``data_energy`` returns a scalar.
        """
        rows = self.model.row_energies(self.unravel(position), self.data)
        if rows.ndim == 0:
            raise InputError("energy", self.model, "has no rows", "let data_energy return one value a row")
        return -rows

    def sample_prior(self, key: Array) -> Position:
        """An exact draw of the position from the prior."""
        priors, structure = jax.tree.flatten(self.prior, is_leaf=_is_distribution)
        keys = jax.tree.unflatten(structure, jax.random.split(key, len(priors)))
        return ravel_pytree(self._map(lambda p, k: biject_to(p.support).inv(p.sample(k)), keys))[0]

    # -- parameters --------------------------------------------------------------------------------------------------

    def unravel(self, position: Position) -> Any:
        """The parameters (constrained, in the structure of the prior) at a position."""
        return self._map(lambda prior, free: biject_to(prior.support)(free), self._unravel_free(position))

    def ravel(self, parameters: Any) -> Position:
        """The position of given parameters: the inverse of `unravel`."""
        return ravel_pytree(self._map(lambda prior, value: biject_to(prior.support).inv(value), parameters))[0]

    def variables(self, position: Position) -> dict[str, Array]:
        """The parameters as named arrays, as they appear in results: ``layer_0_weight``, ``noise_scale``, …"""
        parameters = self.unravel(position)
        if isinstance(self.model, NetworkModel) and isinstance(self.model.network, MLP):
            layers = parameters["network"]
            layers = {k: layer | {"weight": effective_weight(layer)} for k, layer in layers.items()}
            parameters = parameters | {"network": layers}
        return {_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(parameters)}

    def position(self, variables: Mapping[str, Array]) -> Position:
        """The position of named arrays: the inverse of `variables`."""
        named, structure = jax.tree_util.tree_flatten_with_path(self.prior, is_leaf=_is_distribution)
        parameters = jax.tree.unflatten(structure, [variables[_name(path)] for path, _ in named])
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

    def with_data(self, data: Any) -> "Energy":
        """The same model on other data of the same structure, unchecked: for use inside the library."""
        return Energy.tree_unflatten(None, (self.model, self.prior, data, None))

    # -- pytree ------------------------------------------------------------------------------------------------------

    def tree_flatten(self) -> tuple[tuple, None]:
        """Model, prior, data and reference; the data set and the arguments stay behind on the host."""
        return (self.model, self.prior, self.data, self.reference), None

    @classmethod
    def tree_unflatten(cls, structure: None, children: tuple) -> "Energy":
        """Rebuild without checks, since JAX passes placeholders through here."""
        energy = object.__new__(cls)
        energy.model, energy.prior, energy.data, energy.reference = children
        return energy

    def _map(self, function: Callable, *trees: Any) -> Any:
        return jax.tree.map(function, self.prior, *trees, is_leaf=_is_distribution)

    def _prior_terms(self, position: Position) -> Any:
        """-log p of every parameter (of every event that cannot be taken apart), log-Jacobian included."""

        def terms(prior: Distribution, free: Array) -> Array:
            prior = _elementwise(prior)
            transform = biject_to(prior.support)
            value = transform(free)
            return -(prior.log_prob(value) + transform.log_abs_det_jacobian(free, value))

        return self._map(terms, self._unravel_free(position))

    def _row_energies(self) -> jax.ShapeDtypeStruct:
        """Shape and type of what the model returns, without computing it."""
        position = jax.ShapeDtypeStruct((self.size,), jnp.result_type(float))
        return jax.eval_shape(
            lambda energy, q: energy.model.row_energies(energy.unravel(q), energy.data), self, position
        )

    def _shapes(self) -> Any:
        return self._map(lambda prior: biject_to(prior.support).inverse_shape(prior.shape()))

    def _unravel_free(self, position: Position) -> Any:
        template = jax.tree.map(lambda shape: np.zeros(shape, position.dtype), self._shapes(), is_leaf=_is_shape)
        return ravel_pytree(template)[1](position)


@jax.jit
def _terms(energy: Energy, position: Position) -> tuple[Any, Array]:
    return energy._prior_terms(position), energy.model.row_energies(energy.unravel(position), energy.data)


def _defaults(data: object, likelihood: object, prior: Any) -> tuple[Likelihood, Any]:
    """Fill in and check what all energies of networks share."""
    if not isinstance(data, Dataset):
        raise InputError("data", data, "is not a Dataset", "use temperax.datasets.load or Dataset.from_arrays")
    likelihood = likelihoods.default(data.task, data.y) if likelihood is None else likelihood
    if not isinstance(likelihood, Likelihood):
        raise InputError("likelihood", likelihood, "is not a likelihood", "give one of temperax.likelihoods")
    if likelihood.task != data.task:
        raise InputError(
            "likelihood",
            likelihood,
            f"does not fit a data set for {data.task}",
            "change it or the data set's task",
        )
    likelihood.check_targets(data.y)
    return likelihood, Normal(1.0) if prior is None else prior


def _as_float(leaf: Any) -> Array:
    """Python numbers become arrays, so that they are leaves of one type whatever the user wrote."""
    array = jnp.asarray(leaf)
    return array.astype(jnp.result_type(float)) if jnp.issubdtype(array.dtype, jnp.floating) else array


def _elementwise(prior: Distribution) -> Distribution:
    """The prior of every parameter, or of every event that cannot be taken apart."""
    while isinstance(prior, Independent):
        prior = prior.base_dist
    return prior


def _is_distribution(leaf: object) -> bool:
    return isinstance(leaf, Distribution)


def _has_floats(prior: Distribution) -> bool:
    """Whether the values of a distribution can be written as unconstrained floats."""
    try:
        biject_to(prior.support)
    except NotImplementedError:
        return False
    return True


def _is_shape(leaf: object) -> bool:
    return isinstance(leaf, tuple) and all(isinstance(n, int) for n in leaf)


def _name(path: Sequence) -> str:
    """A leaf's path as a variable's name; the level that only says "network" is left out."""
    parts = [str(getattr(p, "key", getattr(p, "name", getattr(p, "idx", p)))) for p in path]
    return "_".join(parts[1:] if parts[:1] == ["network"] else parts) or "theta"
