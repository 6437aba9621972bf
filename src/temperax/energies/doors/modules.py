"""Modules of Flax (NNX and Linen) and Equinox, and pairs of functions, as networks: pure functions of arrays.

A module becomes a callable ``(parameters, x)``, equal to another that computes the same, so that they share compiled
programs, and a nested dictionary of its arrays.  What it does not train (batch statistics, say) stays as it is, and
dropout is switched off.
"""

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from temperax.energies.dataset import Dataset
from temperax.energies.doors.arguments import Arguments
from temperax.energies.importing import imported
from temperax.energies.models import failing_module, takes
from temperax.energies.networks import ACTIVATIONS
from temperax.energies.path_priors import fixed_arrays, leaf_at, nested, path_of
from temperax.errors import InputError, check_callable, check_count


@dataclass(frozen=True)
class ModuleNetwork:
    """A framework's module as a function of its arrays."""

    call: Callable  # (arrays in the module's own structure, x)
    structure: Any
    paths: tuple[str, ...]
    name: str
    outputs_first: bool = False

    @classmethod
    def of(
        cls, call: Callable, trained: Any, module: object, *, in_variables: bool = False, outputs_first: bool = False
    ) -> tuple["ModuleNetwork", dict[str, Any]]:
        """The network of a tree of arrays (or variables that hold them), and these by their paths, in dictionaries."""
        named, structure = jax.tree_util.tree_flatten_with_path(trained)
        paths = tuple(path_of(keys[:-1] if in_variables else keys) for keys, _ in named)
        arrays = nested({path: leaf for path, (_, leaf) in zip(paths, named, strict=True)})
        return cls(call, structure, paths, type(module).__name__, outputs_first), arrays

    @property
    def fixed_arrays(self) -> list[Any]:
        """What the module does not train."""
        return fixed_arrays(self.call)

    def __call__(self, parameters: Any, x: Array) -> Array:
        """Outputs at the rows of ``x``."""
        leaves = [leaf_at(parameters, path) for path in self.paths]
        return self.call(jax.tree.unflatten(self.structure, leaves), x)

    def __repr__(self) -> str:
        """The kind of module."""
        return self.name


@dataclass(frozen=True)
class Shaped:
    """A network whose rows are arrays of a shape of their own."""

    network: Callable
    shape: tuple[int, ...]
    outputs_first: bool = field(default=False)

    @property
    def fixed_arrays(self) -> list[Any]:
        """The network's own."""
        return fixed_arrays(self.network)

    def __call__(self, parameters: Any, x: Float[Array, "row input"]) -> Float[Array, "row output"]:
        """Outputs at flat rows."""
        return self.network(parameters, x.reshape(len(x), *self.shape))

    def __repr__(self) -> str:
        """The network's own."""
        return repr(self.network)


@dataclass(frozen=True)
class _Module:
    """What a framework calls with the arrays that it trains, and those that it does not."""

    fixed: Arguments

    @property
    def fixed_arrays(self) -> list[Any]:
        return self.fixed.constants


@dataclass(frozen=True)
class _NNX(_Module):
    graph: Any
    random: Arguments  # of dropout, which is off

    def __call__(self, trained: Any, x: Array) -> Array:
        from flax import nnx

        return nnx.merge(self.graph, trained, self.random.filled([]), self.fixed.filled([]))(x)


@dataclass(frozen=True)
class _Linen(_Module):
    module: Any

    def __call__(self, trained: Any, x: Array) -> Array:
        return self.module.apply({"params": trained} | self.fixed.filled([]), x)


@dataclass(frozen=True)
class _Equinox(_Module):
    def __call__(self, trained: Any, x: Array) -> Array:
        import equinox as eqx

        return jax.vmap(eqx.combine(trained, self.fixed.filled([])))(x)


def opened(
    module: Any, parameters: Any, data: Dataset, input_shape: Sequence[int] | None = None
) -> tuple[Callable, Any]:
    """A network and its arrays, from whatever a user calls one.

    Raises
    ------
    InputError
        If it is none, or its initialiser fails on a row of the inputs.
    """
    module = _named(module) if isinstance(module, str) else module
    shape = (data.x.shape[1],) if input_shape is None else _checked(input_shape, data.x.shape[1])
    row = jnp.zeros((1, *shape), jnp.result_type(float))
    framework = _framework(module)
    network: Callable
    if framework and parameters is not None:
        remedy = "leave them out: shapes are those of the module"
        raise InputError("parameters", parameters, "are given beside a module that has its own", remedy)
    if framework == "flax.nnx":
        network, arrays = _of_nnx(module)
    elif framework == "flax.linen":
        network, arrays = _of_linen(module, row)
    elif framework == "equinox":
        network, arrays = _of_equinox(module)
    elif isinstance(module, tuple) and len(module) == 2 and all(map(callable, module)):
        init, network = module
        arrays = _initial(module, lambda: init(jax.random.key(0), row))
    else:
        network, arrays = (
            check_callable("module", module, "a module, a pair (init, apply), or apply itself"),
            parameters,
        )
    if not framework and not takes(network, 2):
        raise InputError("module", network, "does not take (parameters, x)", "give it two arguments")
    if not framework and arrays is None:
        raise InputError("parameters", None, "are missing", "give their arrays, or a pair (init, apply)")
    if input_shape is not None:
        network = Shaped(network, shape, getattr(network, "outputs_first", False))
    return network, arrays


def _named(path: str) -> Any:
    """What stands at an import path: a module of a framework, functions, or a function that makes one of these."""
    found = imported("module", path)
    if not _framework(found) and callable(found) and takes(found, 0):
        return _initial(path, found)
    return found


def _framework(module: object) -> str:
    """Which framework a module is of; one that has not been imported has made none."""
    for name in ("flax.nnx", "flax.linen", "equinox"):
        if name in sys.modules and isinstance(module, sys.modules[name].Module):
            return name
    return ""


def _checked(input_shape: Sequence[int], columns: int) -> tuple[int, ...]:
    shape = tuple(check_count("input_shape", size) for size in input_shape)
    if math.prod(shape) != columns:
        raise InputError("input_shape", shape, f"does not hold the {columns} inputs of a row", "give a shape that does")
    return shape


def _initial(module: object, initialise: Callable[[], Any]) -> Any:
    try:
        return initialise()
    except Exception as error:  # whatever a user's module raises
        raise failing_module(type(module).__name__, "a row of the inputs", error) from error


def _of_nnx(module: Any) -> tuple[ModuleNetwork, dict[str, Any]]:
    from flax import nnx

    module = nnx.clone(module)
    module.eval()
    split: Any = nnx.split(module, nnx.Param, nnx.RngState, ...)
    graph, trained, random, fixed = split
    call = _NNX(Arguments(fixed, "biuf"), graph, Arguments(random, "biuf"))
    return ModuleNetwork.of(call, trained, module, in_variables=True)


def _of_linen(module: Any, row: Array) -> tuple[ModuleNetwork, dict[str, Any]]:
    own = dict(module.variables) if module.scope is not None else None  # of a module that is bound to some
    variables = dict(_initial(module, lambda: module.init(jax.random.key(0), row))) if own is None else own
    trained = variables.pop("params", {})
    return ModuleNetwork.of(_Linen(Arguments(variables, "biuf"), module), trained, module)


def _of_equinox(module: Any) -> tuple[ModuleNetwork, dict[str, Any]]:
    import equinox as eqx

    trained, fixed = eqx.partition(eqx.nn.inference_mode(module), eqx.is_inexact_array)
    return ModuleNetwork.of(_Equinox(Arguments(fixed, "biuf")), trained, module, outputs_first=True)


# -- stacks of dense layers, for which there is a faster network -----------------------------------------------------


def as_mlp(module: Any) -> dict[str, Any]:
    """``hidden`` and ``activation`` of `Energy.mlp` for a stack of dense layers, whose gradients are faster there.

    Parameters
    ----------
    module
        ``eqx.nn.MLP``, or a ``Sequential`` of dense layers with one activation between them, of Equinox or Flax.

    Returns
    -------
    dict
        As ``tx.Energy.mlp(data, **tx.modules.as_mlp(module))`` takes them.

    Raises
    ------
    InputError
        If it is another module, lacks biases, or has several activations or one behind the last layer.

    See Also
    --------
    temperax.Energy.network, temperax.Energy.mlp

    Examples
    --------
    >>> import equinox as eqx
    >>> net = eqx.nn.MLP(1, 1, 8, 1, jnp.tanh, key=key)
    >>> tx.Energy.mlp(data, **tx.modules.as_mlp(net), likelihood=tx.likelihoods.Gaussian(0.3)).size
    25
    """
    framework, remedy = _framework(module), "give it to Energy.network, which takes any module"
    kind = type(module).__name__
    if framework == "equinox" and kind == "MLP":
        last = module.final_activation
        widths, activations = [layer.out_features for layer in module.layers], [module.activation]
        plain = not _is_layer(last) and bool(jnp.array_equal(last(_PROBE), _PROBE))
        biases = all(layer.bias is not None for layer in module.layers)
    elif framework and kind == "Sequential":
        layers = list(module.layers)
        dense, between = layers[::2], layers[1::2]
        if any(type(layer).__name__ not in ("Linear", "Dense") for layer in dense) or not all(map(callable, between)):
            raise InputError("module", kind, "is not a stack of dense layers with an activation between two", remedy)
        widths = [getattr(layer, "out_features", getattr(layer, "features", None)) for layer in dense]
        activations = [getattr(layer, "fn", layer) for layer in between]
        plain = len(layers) % 2 == 1
        biases = all(getattr(layer, "use_bias", True) for layer in dense)
    else:
        raise InputError("module", kind, "is not a stack of dense layers", remedy)
    if not biases or not plain or len({id(a) for a in activations}) > 1:
        raise InputError("module", kind, "lacks biases, or has several activations or one behind the last", remedy)
    activation = activations[0] if activations else jnp.tanh  # which nothing passes through
    if _is_layer(activation) or not _is_elementwise(activation):
        raise InputError("module", kind, "has layers in between that are no elementwise functions", remedy)
    named = [name for name, function in ACTIVATIONS.items() if function is activation]
    return {"hidden": tuple(widths[:-1]), "activation": named[0] if named else activation}


#: Where functions are compared.
_PROBE = jnp.linspace(-3.1, 2.9, 7)


def _is_layer(function: Any) -> bool:
    """Whether a function is a layer of its own: dropout, a normalisation, an activation that learns."""
    named = type(function).__module__.split(".")[0] in ("equinox", "flax") and callable(function)
    return named and not isinstance(function, jax.custom_jvp) and type(function).__name__ != "Lambda"


def _is_elementwise(function: Callable) -> bool:
    """Whether a function does to each number what it does to it alone."""
    try:
        return bool(jnp.allclose(function(_PROBE), jnp.concatenate([function(x[None]) for x in _PROBE])))
    except Exception:  # whatever a user's layer raises: it is no function of numbers
        return False
