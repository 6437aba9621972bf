"""Replica exchange: even-odd swaps along the ladder as pure functions of the path energies.

Non-reversible parallel tempering (Syed, Bouchard-Côté, Deligiannidis & Doucet, JRSS-B 2022, doi 10.1111/rssb.12464).
Everything here is for one ladder; the engine maps it over chains.  Slot 0 is the hottest, the last the coldest.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int


class Swaps(NamedTuple):
    """What one exchange did."""

    order: Int[Array, " temperature"]  # slot that each slot's new tenant comes from
    acceptance: Float[Array, " pair"]  # probability of every pair, attempted or not


class Journeys(NamedTuple):
    """Where the replica in each slot has been, and how many trips its ladder has seen."""

    replica: Int[Array, " temperature"]  # which replica sits here: the index process
    last_end: Int[Array, " temperature"]  # end it touched last: 0 none yet, 1 hot, 2 cold after hot
    round_trips: Int[Array, ""]  # hot → cold → hot, over all replicas
    restarts: Int[Array, ""]  # hot → cold: fresh draws that reached the cold end


def deterministic(key: Array, scan: Array, pair: Array) -> Bool[Array, " pair"]:
    """Even pairs on even scans, odd pairs on odd scans (DEO): replicas keep their direction."""
    return pair % 2 == scan % 2


def stochastic(key: Array, scan: Array, pair: Array) -> Bool[Array, " pair"]:
    """Even or odd pairs at random (SEO): the reversible scheme, for comparison."""
    return pair % 2 == jax.random.bernoulli(key).astype(pair.dtype)


SCHEMES: Mapping = {"deterministic": deterministic, "stochastic": stochastic}


def swap(
    scheme: str, key: Array, scan: Int[Array, ""], betas: Float[Array, " temperature"], path_energy: Array
) -> Swaps:
    """Decide the swaps of one scan.

    Pair (n, n+1) swaps with probability min(1, exp((β' - β)(V' - V))), unprimed at n and primed at n+1.

    Parameters
    ----------
    scheme
        A name of `SCHEMES`: which pairs may swap.
    key
        Randomness of this scan and ladder.
    scan
        Number of the scan, whose parity the deterministic scheme uses.
    betas
        Inverse temperatures, ascending.
    path_energy
        V of the replica in each slot, in nats.
    """
    acceptance = swap_probability(betas, path_energy)
    pair = jnp.arange(len(betas) - 1)
    scheme_key, accept_key = jax.random.split(key)
    accepted = SCHEMES[scheme](scheme_key, scan, pair) & (
        jax.random.uniform(accept_key, pair.shape, acceptance.dtype) < acceptance
    )
    # Attempted pairs do not overlap, so a slot moves up, down or not at all; both tenants move at once.
    up = jnp.append(accepted, False).astype(pair.dtype)
    down = jnp.append(False, accepted).astype(pair.dtype)
    return Swaps(jnp.arange(len(betas)) + up - down, acceptance)


def swap_probability(betas: Float[Array, " temperature"], path_energy: Array) -> Float[Array, " pair"]:
    """min(1, exp((β' - β)(V' - V))) of every pair; 0 where both energies are infinite."""
    exponent = jnp.diff(betas) * jnp.diff(path_energy)
    return jnp.exp(jnp.minimum(jnp.where(jnp.isnan(exponent), -jnp.inf, exponent), 0.0))


def depart(num_temperatures: int) -> Journeys:
    """Journeys before the first scan: every replica in its own slot, and the hottest at the hot end."""
    slot: Any = np.arange(num_temperatures, dtype=np.int32)
    none: Any = np.int32(0)
    return Journeys(slot, (slot == 0).astype(np.int32), none, none)


def count_anew(journeys: Journeys) -> Journeys:
    """The same replicas with no trips yet; where they come from is remembered."""
    return journeys._replace(round_trips=0 * journeys.round_trips, restarts=0 * journeys.restarts)


def travel(journeys: Journeys, order: Int[Array, " temperature"]) -> Journeys:
    """Move the replicas to their new slots and count who has arrived at an end."""
    return arrive(journeys._replace(replica=journeys.replica[order], last_end=journeys.last_end[order]))


def arrive(journeys: Journeys) -> Journeys:
    """Count arrivals at the two ends."""
    hot, cold = journeys.last_end[0], journeys.last_end[-1]
    round_trips = journeys.round_trips + (hot == 2).astype(jnp.int32)
    restarts = journeys.restarts + (cold == 1).astype(jnp.int32)
    last_end = journeys.last_end.at[-1].set(jnp.where(cold == 1, 2, cold)).at[0].set(1)
    return Journeys(journeys.replica, last_end, round_trips, restarts)
