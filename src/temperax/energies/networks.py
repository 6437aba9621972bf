"""Multilayer perceptrons as pure functions of their parameters."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from temperax.errors import MOST, InputError, check_callable, check_choice, check_count
from temperax.machine.sharding import apart

ACTIVATIONS: Mapping[str, Callable] = {
    "elu": jax.nn.elu,
    "erf": jax.scipy.special.erf,
    "gelu": jax.nn.gelu,
    "identity": lambda x: x,
    "leaky_relu": jax.nn.leaky_relu,
    "relu": jax.nn.relu,
    "sigmoid": jax.nn.sigmoid,
    "silu": jax.nn.silu,
    "sin": jnp.sin,
    "softplus": jax.nn.softplus,
    "tanh": jnp.tanh,
}

Layers = dict[str, dict[str, Array]]


@dataclass(frozen=True)
class MLP:
    """A fully connected network; hashable, so that two equal ones share a compiled program.

    Attributes
    ----------
    sizes
        Units of every layer, ``(inputs, hidden …, outputs)``.
    activation
        A name of `ACTIVATIONS` or any elementwise function, applied to the hidden layers.
    """

    sizes: tuple[int, ...]
    activation: str | Callable = "tanh"

    @classmethod
    def create(cls, inputs: int, hidden: object, outputs: int, activation: object) -> "MLP":
        """Check a user's description of a network and build it."""
        if isinstance(hidden, (str, bytes, int)) or not isinstance(hidden, Sequence):
            raise InputError("hidden", hidden, "is not a sequence of widths", "give a tuple such as (50,) or ()")
        widths = tuple(check_count("hidden", width) for width in hidden)
        sizes = (inputs, *widths, outputs)
        number = sum((below + 1) * above for below, above in pairwise(sizes))
        if number > MOST:
            raise InputError("hidden", hidden, f"makes a network of {number:.0e} parameters", f"stay below {MOST:.0e}")
        if isinstance(activation, str):
            check_choice("activation", activation, ACTIVATIONS)
            return cls(sizes, activation)
        return cls(sizes, _check_activation(check_callable("activation", activation, "a name or a function")))

    def __str__(self) -> str:
        """The widths of its layers and its activation."""
        activation = (
            self.activation if isinstance(self.activation, str) else getattr(self.activation, "__name__", "own")
        )
        return f"{'-'.join(map(str, self.sizes))} {activation} network"

    def __call__(self, layers: Layers, x: Float[Array, "row input"]) -> Float[Array, "row output"]:
        """Outputs of the network at the rows of ``x``."""
        activate = ACTIVATIONS[self.activation] if isinstance(self.activation, str) else self.activation
        last = len(self.sizes) - 2
        x = x.T  # a processor works along the long axis, that of the rows
        for i in range(last + 1):
            x = affine(effective_weight(layers[f"layer_{i}"]), layers[f"layer_{i}"]["bias"], x)
            if i < last:
                x = activate(x)
        return x.T

    @property
    def dims(self) -> dict[str, list[str]]:
        """Names of the dimensions of every variable, as ArviZ shows them."""
        units = ["input", *(f"layer_{i}_unit" for i in range(len(self.sizes) - 2)), "output"]
        dims: dict[str, list[str]] = {}
        for i, (below, above) in enumerate(pairwise(units)):
            dims |= {
                f"layer_{i}_weight": [below, above],
                f"layer_{i}_bias": [above],
                f"layer_{i}_input_scale": [below],
            }
        return dims


@jax.custom_jvp
def affine(
    weight: Float[Array, "below above"], bias: Float[Array, " above"], x: Float[Array, "below row"]
) -> Float[Array, "above row"]:
    """A layer before its activation, as units × rows.

    A compiler that is left alone turns transposes of weights into products of transposed arrays, which take a processor
    longer, and the derivative of a single output by its units into a product too.  So both are kept apart here, and the
    derivative is shaped like the value; transposed, it is the one that gradients take (`benchmarks/NOTES.md`).
    """
    return _product(weight, x) + bias[:, None]


def _product(weight: Array, x: Array) -> Array:
    return weight[:, 0] @ x if weight.shape[1] == 1 else apart(weight.T) @ x


def _affine_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    weight, bias, x = primals
    by_weight, by_bias, by_x = (t if isinstance(t, jax.Array) else None for t in tangents)  # None: zero, whatever moves
    out = affine(weight, bias, x)
    change = jnp.zeros_like(out)
    if by_weight is not None:
        change += _product(by_weight, x)
    if by_bias is not None:
        change += by_bias[:, None]
    if by_x is not None:
        change += jnp.sum(weight * by_x, axis=0) if weight.shape[1] == 1 else weight.T @ by_x
    return out, change


affine.defjvp(_affine_jvp, symbolic_zeros=True)


def _check_activation(activation: Callable) -> Callable:
    """Return a function that can be applied to an array of JAX, element by element."""
    probe = jax.ShapeDtypeStruct((2, 3), jnp.result_type(float))
    remedy = "give an elementwise function of JAX arrays such as jax.numpy.tanh"
    try:
        out = jax.eval_shape(activation, probe)
    except Exception as error:  # whatever a user's function raises
        problem = f"fails on an array ({type(error).__name__})"
        raise InputError("activation", activation, problem, remedy) from error
    if getattr(out, "shape", None) != probe.shape or not jnp.issubdtype(out.dtype, jnp.floating):
        raise InputError("activation", activation, "does not return one real number an element", remedy)
    return activation


def effective_weight(layer: dict[str, Array]) -> Array:
    """The weights (fan_in, fan_out) that multiply the inputs, after the ARD scale where the layer has one."""
    return layer["input_scale"][:, None] * layer["weight"] if "input_scale" in layer else layer["weight"]


def factor_weight(layer: dict[str, Array]) -> Array:
    """The inverse of `effective_weight`: the factor that the ARD scale multiplies."""
    return layer["weight"] / layer["input_scale"][:, None] if "input_scale" in layer else layer["weight"]
