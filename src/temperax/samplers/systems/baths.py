"""Heat baths: kernels that draw spins and colours from their distribution given all others (Glauber 1963)."""

from collections.abc import Callable
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import register_dataclass
from jaxtyping import Array, Int
from numpyro.distributions import Distribution, ExpandedDistribution, Independent

from temperax.energies.energy import Energy
from temperax.energies.parameters import is_distribution
from temperax.engine.kernels import Explorer
from temperax.errors import InputError
from temperax.samplers.systems.lattices import is_lattice
from temperax.samplers.systems.spins import Colour


@register_dataclass
@dataclass(frozen=True)
class HeatBath(Explorer):
    """Gibbs sampling of spins: each in turn is drawn from its distribution given all others (Glauber 1963).

    Where the energy is linear in every spin, s_i = 1 has probability 1/(1 + exp(2β ∂E/∂s_i)): the pull of the others
    is read off the energy itself.  Spins of a group do not interact and are drawn at once.

    Attributes
    ----------
    group
        Of every spin; groups are visited from 0 upwards, once a move.  `heat_bath` knows those of an energy.
    """

    group: Int[Array, " spin"]

    def move(self, key: Array, position: Array, beta: Array, potential: Callable[[Array], Array]) -> Array:
        """One sweep."""
        uniform = jax.random.uniform(key, position.shape, position.dtype)
        pull = jax.grad(potential)  # includes β

        def draw(group: Array, spin: Array) -> Array:
            up = jax.nn.sigmoid(-2 * pull(spin))
            return jnp.where(self.group == group, jnp.where(uniform < up, 1.0, -1.0), spin)

        return jax.lax.fori_loop(0, jnp.max(self.group) + 1, draw, position)


@register_dataclass
@dataclass(frozen=True)
class ColourBath(Explorer):
    """Gibbs sampling of Potts spins: each in turn is drawn from its distribution given all others.

    Where the energy is linear in every spin between neighbouring colours, its gradient halfway between k and k + 1 is
    what the one costs more than the other: the weights of all colours are read off the energy itself.  Spins of a
    group do not interact and are drawn at once.

    Attributes
    ----------
    group
        As of `HeatBath`.
    num_colours
        q.

    See Also
    --------
    temperax.systems.heat_bath

    Examples
    --------
    >>> type(tx.systems.heat_bath(tx.systems.potts((4, 4), 3))).__name__
    'ColourBath'
    """

    group: Int[Array, " spin"]
    num_colours: int = field(metadata={"static": True})

    def move(self, key: Array, position: Array, beta: Array, potential: Callable[[Array], Array]) -> Array:
        """One sweep."""
        uniform = jax.random.uniform(key, position.shape, position.dtype)
        halfway = jnp.arange(self.num_colours - 1) + 0.5

        def draw(group: Array, spin: Array) -> Array:
            here = self.group == group
            rises = jax.vmap(lambda between: jax.grad(potential)(jnp.where(here, between, spin)))(halfway)
            heights = jnp.cumsum(jnp.concatenate([jnp.zeros_like(spin)[None], rises]), axis=0)
            shares = jnp.cumsum(jnp.exp(jnp.min(heights, axis=0) - heights), axis=0)
            return jnp.where(here, jnp.sum(shares[:-1] <= uniform * shares[-1], axis=0), spin)

        return jax.lax.fori_loop(0, jnp.max(self.group) + 1, draw, position)


def heat_bath(energy: Energy, groups: Int[np.ndarray, " spin"] | None = None) -> HeatBath | ColourBath:
    """The heat bath for an energy of spins: a checkerboard for `ising` and `potts`, one spin at a time for any other.

    Parameters
    ----------
    energy
        `ising`, `potts`, `hopfield`, or the user's own with a prior of `Spin` or of `Colour`.  It must be linear in
        every single spin, as it can always be written of ±1, since s² = 1; and of colours between neighbouring ones.
    groups
        Of every spin, 0 and up, where the user knows better which ones do not interact.

    Raises
    ------
    InputError
        If the energy has no spins or several kinds of them, or the groups do not fit.

    See Also
    --------
    temperax.systems.ising, temperax.kernels.Explorer

    Examples
    --------
    >>> magnet = tx.systems.ising((4, 4))
    >>> bath = tx.systems.heat_bath(magnet)
    >>> cold = tx.sample(key, magnet, 0.5, path="likelihood", kernel=bath, start="prior", num_draws=20, progress=False)
    >>> set(np.unique(cold["posterior"]["spin"])) <= {-1.0, 1.0}
    True
    """
    if not isinstance(energy, Energy) or not energy.discrete:
        raise InputError("energy", energy, "has no spins", "give one such as systems.ising((8, 8))")
    kinds = {_num_colours(prior) for prior in jax.tree.leaves(energy.prior, is_leaf=is_distribution)}
    if len(kinds) > 1:
        raise InputError("energy", energy, "has several kinds of spins", "give one kind, or a kernel of your own")
    if groups is None:
        found = _checkerboard(energy.data["bonds"].shape[1:]) if is_lattice(energy) else np.arange(energy.size)
    else:
        found = np.asarray(groups)
    if found.shape != (energy.size,) or not np.issubdtype(found.dtype, np.integer) or found.min() < 0:
        raise InputError("groups", groups, f"are not {energy.size} integers from 0", "give one group a spin")
    group, (num_colours,) = jnp.asarray(found, jnp.int32), kinds
    return HeatBath(group) if num_colours is None else ColourBath(group, num_colours)


def _num_colours(prior: Distribution) -> int | None:
    """How many colours a prior has, None of any other."""
    while isinstance(prior, (Independent, ExpandedDistribution)):
        prior = prior.base_dist
    return prior.num_colours if isinstance(prior, Colour) else None


def _checkerboard(shape: tuple[int, ...]) -> Int[np.ndarray, " spin"]:
    """Groups of a periodic lattice that differ across every bond: two, or three where a side is odd.

    Every side alternates; one that does not close takes the third group at its end.  The sum over axes, modulo the
    number of groups, differs across a bond because one summand does.
    """
    number = 3 if any(side % 2 and side > 1 for side in shape) else 2
    total = np.zeros(shape, int)
    for axis, side in enumerate(shape):
        group = np.arange(side) % 2
        group[-1] = 2 if side % 2 and side > 1 else group[-1]
        total += group.reshape(-1, *[1] * (len(shape) - 1 - axis))
    return (total % number).ravel()
