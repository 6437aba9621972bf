"""An energy at positions: draws of its prior, its height and slope there, and what of it is not finite."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from temperax.energies.energy import Energy
from temperax.energies.models import NetworkModel
from temperax.energies.names import parameter_name
from temperax.energies.networks import MLP
from temperax.errors import InputError, check_array, check_single, listed

_HALVED = 0.5 ** np.arange(1.0, 30.0)
#: Where a start without a finite energy is drawn again: times the prior's draws, ever nearer to 0.
NEARER = np.concatenate([np.ones(3), _HALVED])
#: The same where a draw costs no training: what the prior may hold far from 0 only is found as well.
REDRAWN = np.concatenate([np.ones(30), _HALVED])


@partial(jax.jit, static_argnames="number")
def prior_draws(energy: Energy, key: Array, number: int) -> Float[Array, "number parameter"]:
    """So many positions from the prior."""
    return jax.vmap(energy.sample_prior)(jax.random.split(key, number))


#: What the parameters of a network's prior draw are multiplied by to begin at.  Functions of deep networks under
#: N(0, 1) have values of hundreds, from which the way down ends in optima that are worse than no function at all.
CALM = 0.3
#: What keeps the size of a layer's outputs, by its activation (as PyTorch has them); 1 of the others.
GAINS = {"relu": 2**0.5, "leaky_relu": 2**0.5, "elu": 2**0.5, "gelu": 2**0.5, "silu": 2**0.5, "tanh": 5 / 3}
#: The last layer's gain.
LAST = 0.1


def scaled_draws(energy: Energy, key: Array, number: int) -> Float[np.ndarray, "number parameter"]:
    """Positions at which a multilayer perceptron is ready to be trained; all that is no weight or bias is the prior's.

    Of other networks, whose layers are not known, draws of the prior at `CALM` of their size.
    """
    drawn = prior_draws(energy, key, number)
    network = energy.model.network if isinstance(energy.model, NetworkModel) else None
    if not isinstance(network, MLP):
        return np.float32(CALM) * np.asarray(drawn)
    numbers = generator(key)
    variables = {name: np.asarray(value) for name, value in jax.vmap(energy.variables)(drawn).items()}
    gain = GAINS.get(network.activation, 1.0) if isinstance(network.activation, str) else 1.0
    for i, fan_in in enumerate(network.sizes[:-1]):
        weight, bias = variables[f"layer_{i}_weight"], variables[f"layer_{i}_bias"]
        size = LAST if i == len(network.sizes) - 2 else gain
        found = size / np.sqrt(fan_in) * numbers.normal(size=weight.shape)
        variables |= {f"layer_{i}_weight": found.astype(weight.dtype), f"layer_{i}_bias": np.zeros_like(bias)}
    return np.asarray(jax.vmap(energy.position)(jax.tree.map(jnp.asarray, variables)))


def has_units(energy: Energy) -> bool:
    """Whether an energy is of a network with hidden units, whose optima are many and too good for their rows."""
    if not isinstance(energy.model, NetworkModel):
        return False
    return not isinstance(energy.model.network, MLP) or len(energy.model.network.sizes) > 2


def generator(key: Array) -> np.random.Generator:
    """NumPy's random numbers for a key, which compile nothing."""
    return np.random.default_rng(np.asarray(jax.random.key_data(key)).ravel())


@jax.jit
def loss_and_gradient(energy: Energy, position: Array) -> tuple[Array, Array]:
    """U0 + E of a position, in nats, and its gradient."""
    return jax.value_and_grad(lambda q: energy.prior_energy(q) + energy.data_energy(q))(position)


def energies_at(
    energy: Energy, positions: Float[np.ndarray, "start parameter"]
) -> tuple[Float[np.ndarray, " start"], Float[np.ndarray, " start"]]:
    """U0 and E of every position, in nats and double precision."""
    found = np.array([energy.relative_to(position).offsets() for position in positions])
    return found[:, 0], found[:, 1]


def count_nan(energy: Energy, positions: Float[np.ndarray, "number parameter"]) -> int:
    """At how many positions U0 or E is NaN."""
    return int(np.isnan(_heights(energy.bare(), jnp.asarray(positions, jnp.result_type(float)))).sum())


@jax.jit
def _heights(energy: Energy, positions: Array) -> Float[Array, " number"]:
    return jax.lax.map(lambda q: energy.prior_energy(q) + energy.data_energy(q), positions)


def fault_of(energy: Energy, position: Float[np.ndarray, " parameter"]) -> str:
    """What is not finite at a position: parameters of the prior, rows of the data, the gradient; empty if nothing."""
    if energy.discrete:
        return "" if np.isfinite(energy.data_energy(jnp.asarray(position))) else "the data energy is not finite"
    at = jnp.asarray(position, jnp.result_type(float))
    for (name, _), terms in zip(energy.layout, jax.tree.leaves(energy.prior_terms(at)), strict=True):
        if not np.isfinite(np.asarray(terms)).all():
            return f"the prior energy of {name} is not finite"
    rows = np.atleast_1d(np.asarray(energy.model.row_energies(energy.unravel(at), energy.data)))
    if (bad := np.flatnonzero(~np.isfinite(rows))).size:
        return "the data energy is not finite" if rows.size == 1 else f"rows {listed(bad)} have no finite data energy"
    bad = np.flatnonzero(~np.isfinite(np.asarray(loss_and_gradient(energy, at)[1])))
    names = [parameter_name(energy.layout, int(i)) for i in bad]
    return f"the gradient is not finite at {listed(names)}" if names else ""


def nowhere(energy: Energy, fault: str) -> InputError:
    """That chains cannot start anywhere, with what is not finite at the last place that was tried."""
    problem = f"has no finite energy where chains could start ({fault})"
    return InputError("energy", energy.model, problem, "give start=, or mend the energy there")


def check_positions(argument: str, positions: object, shape: tuple[int, int]) -> np.ndarray:
    """Positions of the shape that is needed and finite, or what is wrong with them."""
    found = check_array(argument, positions, "give one row of parameters each")
    if found.shape != shape:
        raise InputError(argument, found.shape, f"is not of shape {shape}", "give one row of parameters each")
    check_single(argument, positions, found)
    return found.astype(jnp.result_type(float))


def check_energy(energy: object) -> None:
    """Say so where something is no energy that a gradient can lower."""
    if not isinstance(energy, Energy):
        raise InputError("energy", energy, "is not an Energy", "give one such as Energy.mlp(data)")
    if energy.discrete:
        raise InputError("energy", energy, "has spins, which follow no gradient", "anneal them by systems.heat_bath")
