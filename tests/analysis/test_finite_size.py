"""Finite-size scaling on systems whose density of states is counted: of first order and continuous.

Of first order: Potts spins without distances, U = -Σ_k n_k² / 2N with n_k of colour k, q = 10 of them, T_c =
(q - 2) / (2 (q - 1) log(q - 1)) and latent heat (q - 2)² / (2 q (q - 1)) (Wu 1982); N is the size, in one dimension.
Continuous: the Potts model on tori, T_c = 1 / log(1 + √q) up to q = 4 (Baxter 1973).
"""

from functools import cache

import numpy as np
import pytest
from scipy.special import gammaln

import temperax as tx
from temperax import transitions
from temperax.analysis.transitions.finite_size import _line, _standard_errors, _verdict

Q = 10
CRITICAL, HEAT = (Q - 2) / (2 * (Q - 1) * np.log(Q - 1)), (Q - 2) ** 2 / (2 * Q * (Q - 1))


@cache
def without_distances(size):
    """Levels, and how many states have them up to a factor: colour by colour, by spins and Σ n² so far."""
    ways = np.zeros((size + 1, size**2 + 1))
    ways[0, 0] = 1.0
    for _ in range(Q):
        more = np.zeros_like(ways)
        for n in range(size + 1):
            more[n:, n**2 :] += ways[: size + 1 - n, : size**2 + 1 - n**2] * np.exp(-gammaln(n + 1))
        ways = more
    squares = np.flatnonzero(ways[size])
    return -squares / (2 * size), ways[size, squares]


@cache
def on_a_torus(num_colours, side):
    """The same of -Σ δ: spin by spin, by the first row, the last row and the pairs so far."""
    rows = np.indices([num_colours] * side).reshape(side, -1)
    within = (rows == np.roll(rows, 1, 0)).sum(0)
    first = np.flatnonzero(rows[0] == 0)  # colours are alike
    ways = np.zeros((len(first), rows.shape[1], 2 * side**2 + 1))

    def along(ways):
        return np.stack([np.roll(ways[:, r], within[r], -1) for r in range(rows.shape[1])], axis=1)

    ways[np.arange(len(first)), first, 0] = 1.0
    ways = along(ways)
    for _ in range(side - 1):
        ways = ways.reshape(-1, *[num_colours] * side, ways.shape[-1])
        for spin in range(1, side + 1):  # a new one below it pairs with it, or does not
            ways = ways.sum(spin, keepdims=True) + np.roll(ways, 1, -1) - ways
        ways = along(ways.reshape(len(first), -1, ways.shape[-1]))
    closing = (rows[:, first][:, :, None] == rows[:, None]).sum(0)
    pairs = sum(np.roll(ways[closing == n].sum(0), n) for n in range(side + 1))
    levels = np.flatnonzero(pairs > 0.5)
    return -levels.astype(float), num_colours * pairs[levels]


def draws(counted, betas, number=500):
    """A ladder of independent draws of a density of states (chain, draw, temperature)."""
    levels, ways = counted
    rng, energies = np.random.default_rng(len(levels)), np.empty((4, number, len(betas)))
    for n, beta in enumerate(betas):
        weights = ways * np.exp(-beta * (levels - levels.min()))
        energies[..., n] = rng.choice(levels, size=(4, number), p=weights / weights.sum())
    return betas, energies


def first_order(sizes=(40, 64, 96)):
    betas = np.linspace(0.85, 1.15, 7) / CRITICAL
    return {size: draws(without_distances(size), betas) for size in sizes}


def ring_of_four():
    """Colourings of a ring of four by ten colours with 0, 1, 2 and 4 like neighbours: (e + 9)⁴ + 9 (e - 1)⁴."""
    found = np.polynomial.Polynomial([9, 1]) ** 4 + 9 * np.polynomial.Polynomial([-1, 1]) ** 4
    return found.coef


def test_states_are_counted():
    """The counts themselves: all q^N states, and those of a ring in closed form."""
    levels, ways = on_a_torus(3, 4)
    assert ways.sum() == pytest.approx(3.0**16) and ways[levels == -32] == pytest.approx(3)
    levels, ways = on_a_torus(10, 2)  # a ring of four with each bond twice
    np.testing.assert_allclose([ways[levels == -2 * n].sum() for n in range(5)], ring_of_four())
    levels, ways = without_distances(2)
    np.testing.assert_allclose(ways[levels == -1.0] / ways.sum(), 1 / Q)


def test_a_transition_of_first_order():
    found = transitions.finite_size(first_order(), dimension=1)
    assert found.attrs["verdict"] == "coexistence"
    assert float(found["critical_temperature"]) == pytest.approx(CRITICAL, rel=0.02)
    assert abs(float(found["latent_heat"]) - HEAT) < 4 * float(found["latent_heat_error"])
    assert float(found["latent_heat"]) == pytest.approx(HEAT, rel=0.04)
    assert 0.8 < float(found["exponent"]) < 1.25


@pytest.mark.parametrize(("num_colours", "sides", "within"), [(2, (4, 6, 8), 0.02), (3, (3, 4, 5), 0.05)])
def test_continuous_transitions(num_colours, sides, within):
    critical = 1 / np.log(1 + np.sqrt(num_colours))
    betas = np.linspace(0.5, 1.4, 7) / critical
    found = transitions.finite_size({side: draws(on_a_torus(num_colours, side), betas) for side in sides})
    assert found.attrs["verdict"] == "continuous" and float(found["latent_heat"]) == 0.0
    assert float(found["critical_temperature"]) == pytest.approx(critical, rel=within)
    assert float(found["exponent"]) < 1


def test_sizes_that_are_alike_decide_nothing():
    found = transitions.finite_size(first_order((40, 41, 42)), dimension=1)
    assert found.attrs["verdict"] == "undecided" and np.isnan(float(found["latent_heat"]))


def test_a_ladder_that_is_stuck_is_told_first():
    sources = first_order()
    betas, energies = sources[96]
    energies[0] = energies[0, :, :1]  # one chain never left the hot phase
    found = transitions.finite_size(sources, dimension=1)
    assert found.attrs["verdict"] == "not equilibrated" and np.isnan(float(found["latent_heat"]))


BAD = {
    "two sizes": (lambda s: {40: s[40], 64: s[64]}, "three sizes"),
    "a list": (lambda s: list(s.values()), "three sizes"),
    "half a size": (lambda s: {**s, 1.5: s[40]}, "whole number"),
    "no peak": (lambda s: {**s, 40: (s[40][0][:3], s[40][1][..., :3])}, "no peak"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case):
    make, words = BAD[case]
    with pytest.raises(tx.InputError, match=words):
        transitions.finite_size(make(first_order()), dimension=1)


@pytest.mark.parametrize("chains", [1, 4])
def test_half_chains_of_one_kurtosis_decide_nothing(chains):
    """However few they are: a verdict is of three standard errors, and rare without a trend."""
    rng, sizes = np.random.default_rng(0), np.log([8.0, 12.0, 16.0])
    verdicts = []
    for _ in range(2000):
        parts = 2.5 + 0.1 * rng.normal(size=(2 * chains, 3))
        (slope, error) = _line(sizes, parts.mean(axis=0), _standard_errors(parts))[1]
        verdicts.append(_verdict(True, slope / error))
    assert np.mean(np.array(verdicts) != "undecided") < 0.06
    errors = np.median([_standard_errors(rng.normal(size=(60, 1))) for _ in range(20)])
    assert errors == pytest.approx(1 / np.sqrt(60), rel=0.1), "of many halves they are what they were"
