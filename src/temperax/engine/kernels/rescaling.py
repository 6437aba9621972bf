"""`Rescaling`: exact moves along a symmetry of ReLU networks, between transitions.

A unit of a positively homogeneous activation, act(c·x) = c·act(x) for c > 0, computes the same when its incoming
weights and bias are multiplied by c and its outgoing weights divided by c.  The data energy is constant along that
orbit, and the prior is not: of u = log c² the density under normal weights is exp(λu - (ψeᵘ + χe⁻ᵘ)/2), with ψ and χ
the sums of squares of the two sides in units of the prior, and λ half the surplus of parameters on the side of the
inputs: a generalised inverse Gaussian.  A trajectory follows it slowly; here it is drawn.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jax.tree_util import register_dataclass
from jaxtyping import Array, Float
from numpyro.distributions import constraints

from temperax.energies.energy import Energy
from temperax.energies.models import NetworkModel
from temperax.energies.networks import MLP
from temperax.energies.parameters import elementwise, is_distribution
from temperax.energies.positions import Independent
from temperax.engine.kernels.kernel import Kernel
from temperax.engine.tempering import Path
from temperax.errors import InputError, check_count
from temperax.machine.compiling import root

#: Names and functions of activations with act(c·x) = c·act(x) for c > 0.
HOMOGENEOUS = ("relu", "leaky_relu", "identity", jax.nn.relu, jax.nn.leaky_relu)


@register_dataclass
@dataclass(frozen=True)
class Rescaling:
    """Scales of all hidden units, drawn anew given all else, layer by layer.

    A proposal is a logistic at the mode that each unit's density has under a normal prior, and in turn with these a
    step from where the unit is; it is accepted with the ratio of the densities, whatever the prior and the path: the
    distribution is left invariant exactly, and no data are touched.

    Attributes
    ----------
    tries
        Proposals for every unit.

    See Also
    --------
    temperax.kernels.Alternating

    Examples
    --------
    >>> relu = tx.Energy.mlp(data, (3,), activation="relu")
    >>> tx.kernels.as_kernel("auto", relu).moves  # the default where there are such units
    Rescaling(tries=2)
    """

    tries: int = field(default=2, metadata={"static": True})

    def __post_init__(self) -> None:
        check_count("tries", self.tries, 1, 100)

    @staticmethod
    def fits(energy: Any) -> bool:
        """Whether an energy has the symmetry: an MLP's with hidden layers, a homogeneous activation, free weights."""
        model = getattr(energy, "model", None)
        network = model.network if isinstance(model, NetworkModel) else None
        if not isinstance(network, MLP) or len(network.sizes) < 3 or not isinstance(energy.joint, Independent):
            return False
        weights = [layer[name] for layer in energy.prior["network"].values() for name in ("weight", "bias")]
        free = all(
            elementwise(prior).support is constraints.real and not elementwise(prior).event_shape for prior in weights
        )
        return free and any(network.activation is known or network.activation == known for known in HOMOGENEOUS)

    def move(
        self, key: Array, path: Path, energy: Energy, beta: Array, position: Float[Array, " parameter"]
    ) -> Float[Array, " parameter"]:
        """A position with the same data energy, the scales of whose units are drawn at inverse temperature β."""
        free = energy.free(position)
        heights = partial(_of_units, path, energy, beta)
        precision = _precisions(path, energy, beta, position)
        num_hidden = len(free["network"]) - 1
        for number in range(num_hidden * self.tries):
            walk, layer = divmod(number, num_hidden)
            free = self.rescale(jax.random.fold_in(key, number), heights, precision, free, layer, walk=walk % 2 == 1)
        return ravel_pytree(free)[0]

    def rescale(
        self, key: Array, heights: Callable[[Any, int], Array], precision: Any, free: Any, layer: int, *, walk: bool
    ) -> Any:
        """One proposal for every unit of a layer; given all else, units are independent of one another."""
        (below, above), (p, q) = _ends(free["network"], layer), _ends(precision, layer)
        psi = jnp.sum(p["weight"] * below["weight"] ** 2, axis=0) + p["bias"] * below["bias"] ** 2
        chi = jnp.sum(q["weight"] * above["weight"] ** 2, axis=1)
        surplus = self._surplus(below, above)
        half = jnp.sqrt(surplus**2 + psi * chi)
        # The mode; of its two forms the one in which nothing cancels.
        centre = jnp.log(jnp.where(surplus > 0, (surplus + half) / psi, chi / (half - surplus)))
        width = jnp.clip(0.55 / root(half), 0.3, 2.0)  # a logistic of the normal's deviation
        there, accept = jax.random.split(key)
        step = jax.random.logistic(there, centre.shape, centre.dtype)
        u = step if walk else centre + width * step
        climb = heights(_scaled(free, layer, jnp.exp(0.5 * u)), layer) - heights(free, layer)
        back = 0.0 if walk else _logistic_energy((u - centre) / width) - _logistic_energy(-centre / width)
        taken = jax.random.exponential(accept, u.shape, u.dtype) > climb - surplus * u - back
        return _scaled(free, layer, jnp.where(taken, jnp.exp(0.5 * u), 1.0))

    def _surplus(self, below: Any, above: Any) -> float:
        """λ: half of what a unit has more parameters on the side of its inputs than on that of its outputs."""
        return 0.5 * (below["weight"].shape[0] + 1 - above["weight"].shape[1])


def _ends(layers: Any, layer: int) -> tuple[Any, Any]:
    """A layer, in whose units it ends, and the one that begins with them."""
    return layers[f"layer_{layer}"], layers[f"layer_{layer + 1}"]


def _logistic_energy(z: Array) -> Array:
    """-log of the standard logistic density, whose tails are heavier than those of the densities of scales."""
    return z + 2.0 * jax.nn.softplus(-z)


def _scaled(free: Any, layer: int, factor: Float[Array, " unit"]) -> Any:
    """Units' incoming parameters times a factor each, and their outgoing weights divided by it."""
    below, above = _ends(free["network"], layer)
    first = below | {"weight": below["weight"] * factor, "bias": below["bias"] * factor}
    second = above | {"weight": above["weight"] / factor[:, None]}
    return free | {"network": free["network"] | {f"layer_{layer}": first, f"layer_{layer + 1}": second}}


def _of_units(path: Path, energy: Energy, beta: Array, free: Any, layer: int) -> Float[Array, " unit"]:
    """What the potential has of each unit's incoming and outgoing parameters, the data energy left out."""
    own, prior = path.shares(beta)
    terms = energy.joint.terms(free, energy.data)["network"]
    reference = energy.free(path.own_terms(ravel_pytree(free)[0]))["network"]
    below, above = _ends(jax.tree.map(lambda a, b: own * a + prior * b, reference, terms), layer)
    return jnp.sum(below["weight"], axis=0) + below["bias"] + jnp.sum(above["weight"], axis=1)


def _precisions(path: Path, energy: Energy, beta: Array, position: Array) -> Any:
    """Inverse squared widths of every parameter's tempered prior; 1 where a prior has no variance."""
    own, prior = path.shares(beta)

    def of(distribution: Any, free: Array) -> Array:
        variance = jnp.broadcast_to(elementwise(distribution).variance, free.shape)
        return prior / jnp.where(jnp.isfinite(variance) & (variance > 0), variance, 1.0)

    layers = energy.prior["network"], energy.free(position)["network"]
    found = jax.tree.map(of, *layers, is_leaf=is_distribution)
    reference = energy.free(path.own_precision(position))["network"]
    return jax.tree.map(lambda a, b: jnp.maximum(own * a + b, 1e-12), reference, found)


@dataclass(frozen=True)
class Alternating:
    """A kernel whose transitions alternate with symmetry moves: ``Alternating(HMC(), Rescaling())``.

    Attributes
    ----------
    kernel
        Any kernel.
    moves
        What is done after the transitions of every scan.

    See Also
    --------
    temperax.kernels.Rescaling

    Examples
    --------
    >>> tx.kernels.Alternating(tx.HMC(max_steps=64), tx.kernels.Rescaling()).moves
    Rescaling(tries=2)
    """

    kernel: Kernel
    moves: Rescaling = field(default_factory=Rescaling)

    def check(self, energy: Any) -> None:
        """Say so where the energy does not have the symmetry.

        Raises
        ------
        InputError
            If it has no units to rescale.
        """
        if not isinstance(self.moves, Rescaling):
            raise InputError("moves", self.moves, "are no symmetry moves", "give Rescaling()")
        if not self.moves.fits(energy):
            problem = "has no units to rescale: Energy.mlp with a hidden layer of relu or leaky_relu has"
            raise InputError("kernel", energy, problem, "give the kernel alone")
