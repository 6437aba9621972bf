"""Peaks of the heat capacity: systems whose density of states is known, with one hump and with two."""

import numpy as np
import numpyro.distributions as dist
import pytest

import temperax as tx
from temperax import thermodynamics, transitions

BETAS = np.linspace(0.0, 2.0, 25)


def two_phases(distance, draws=500, seed=0):
    """Canonical draws of a system whose density of states is a sum of two Gaussians, as many in each phase at β = 1."""
    rng = np.random.default_rng(seed)
    out = np.empty((4, draws, len(BETAS)))
    for n, beta in enumerate(BETAS):
        ordered = rng.random((4, draws)) < 1 / (1 + np.exp(-distance * (beta - 1)))
        centre = np.where(ordered, -distance, 0.0) - beta
        out[..., n] = centre + rng.normal(size=(4, draws))
    return out


def test_heating_begins_where_cooling_ended(key):
    """And not at T = 0, where polishing would leave the chains."""
    energy = tx.Energy(lambda x: x**2, dist.Normal(0.0, 1.0))
    with pytest.raises(tx.InputError, match="polish = True would let heating begin at T = 0"):
        transitions.hysteresis(key, energy, [0.1, 1.0], polish=True)


def exact_capacity(distance, beta):
    p = 1 / (1 + np.exp(-distance * (beta - 1)))
    return beta**2 * (1 + distance**2 * p * (1 - p))


def test_two_humps_are_a_coexistence():
    energies = two_phases(8.0)
    (peak,) = transitions.peaks((BETAS, energies)).itertuples()
    grid = np.linspace(0.5, 1.5, 2001)
    assert abs(peak.beta - grid[exact_capacity(8.0, grid).argmax()]) < 4 * peak.beta_error
    assert abs(peak.heat_capacity - exact_capacity(8.0, grid).max()) < 4 * peak.heat_capacity_error
    assert peak.kind == "coexistence" and peak.barrier > 2
    histogram = transitions.energy_histogram((BETAS, energies), 1.0)
    assert histogram.attrs["barrier"] > 2
    assert float(histogram["density"].integrate("energy")) == pytest.approx(1.0, abs=0.02)


def test_energies_of_the_prior_hide_no_hump():
    """Networks drawn from the prior may have energies of millions, which say nothing of the levels at a transition."""
    energies = two_phases(8.0)
    rng = np.random.default_rng(4)
    far = rng.random(energies.shape[:2]) < 0.2
    energies[..., 0] = np.where(far, 1e6 * rng.pareto(1.0, size=far.shape), energies[..., 0])
    found = transitions.peaks((BETAS, energies))
    assert found.iloc[0]["kind"] == "coexistence" and found.iloc[0]["barrier"] > 2


def test_one_wide_hump_is_a_crossover():
    """Nine phases in a row, all as likely at β = 1: the energy changes as far, through every value between."""
    rng = np.random.default_rng(2)
    centres = -np.arange(9.0)
    energies = np.empty((4, 500, len(BETAS)))
    for n, beta in enumerate(BETAS):
        weights = np.exp(-(beta - 1) * centres)
        phase = rng.choice(9, size=(4, 500), p=weights / weights.sum())
        energies[..., n] = centres[phase] - beta + rng.normal(size=(4, 500))
    (peak,) = transitions.peaks((BETAS, energies)).itertuples()
    assert peak.kind == "crossover" and peak.barrier < 0.2 and 0.8 < peak.beta < 1.4


def test_levels_of_a_small_lattice_are_one_hump():
    """The 4×4 Ising model, whose ground state stands two levels apart: draws of all its states by enumeration."""
    spins = 1 - 2 * ((np.arange(2**16)[:, None] >> np.arange(16)) & 1).reshape(-1, 4, 4)
    levels = -(spins * (np.roll(spins, 1, 1) + np.roll(spins, 1, 2))).sum((1, 2))
    betas, rng = np.linspace(0.0, 0.8, 7), np.random.default_rng(3)
    energies = np.empty((4, 1000, len(betas)))
    for n, beta in enumerate(betas):
        weights = np.exp(-beta * (levels + 32.0))
        energies[..., n] = rng.choice(levels, size=(4, 1000), p=weights / weights.sum())
    (peak,) = transitions.peaks((betas, energies)).itertuples()
    assert peak.kind == "crossover" and abs(peak.beta - 0.41) < 4 * peak.beta_error
    assert thermodynamics.ensemble((betas, energies)).level_spacing(-40.0, 0.0) == pytest.approx(4, abs=0.05)


def test_ladders_that_disagree_have_not_equilibrated():
    energies = two_phases(8.0)
    stuck = two_phases(0.0, seed=1)
    energies[0, :, 10:15] = stuck[0, :, 10:15]  # one ladder never found the other phase
    assert "not equilibrated" in set(transitions.peaks((BETAS, energies))["kind"])


def test_a_heat_capacity_without_a_peak_has_none():
    assert transitions.peaks((BETAS, two_phases(0.0))).empty


def test_errors_of_the_location_are_those_of_repeated_runs():
    found = [transitions.peaks((BETAS, two_phases(8.0, 100, seed)), num_points=60).iloc[0] for seed in range(10)]
    spread = np.std([peak["beta"] for peak in found], ddof=1)
    assert 0.5 < np.mean([peak["beta_error"] for peak in found]) / spread < 2
    assert thermodynamics.doubts((BETAS, two_phases(8.0))) == []


@pytest.mark.parametrize("level", [0.0, 0.1])
def test_a_half_whose_energy_never_changes_has_no_barrier(level):
    """Also where the mean is not exactly that energy, and bins around it have no width."""
    energies = two_phases(8.0, 100)
    energies[:, :50] = level
    (peak,) = transitions.peaks((BETAS, energies), num_points=60).itertuples()
    assert np.isfinite(peak.barrier_error) and peak.kind == "not equilibrated"
    with pytest.raises(tx.InputError, match="all draws have one energy"):
        transitions.energy_histogram((BETAS, np.full_like(energies, level)), 1.0)


def test_a_ladder_without_a_peak_says_so(capsys):
    """A Gaussian's heat capacity is the same at every temperature."""
    betas = np.geomspace(0.1, 1.0, 6)
    energies = np.random.default_rng(0).gamma(2.0, 1 / betas, size=(2, 5000, 6))
    assert transitions.report((betas, energies)).empty
    assert capsys.readouterr().out == "no peak of the heat capacity between the ends of the ladder.\n"


def test_between_rungs_that_do_not_overlap_nothing_is_named():
    """Two temperatures far apart have two humps between them, of which none is a phase."""
    betas = np.array([0.1, 10.0])
    energies = np.random.default_rng(0).gamma(50.0, 1.0 / betas, size=(4, 300, 2))
    assert set(transitions.peaks((betas, energies))["kind"]) <= {"too few rungs"}
    closer = np.geomspace(0.1, 10.0, 40)
    energies = np.random.default_rng(0).gamma(50.0, 1.0 / closer, size=(4, 300, 40))
    assert "too few rungs" not in set(transitions.peaks((closer, energies))["kind"])
