"""Systems of physics against enumeration, transfer matrices, Bessel functions and determinants."""

import itertools
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compilations import Compilations
from jax.tree_util import register_dataclass
from lattices import log_z_scores, over_bonds, path_energy, sweep, z_scores
from scipy.special import ive, logsumexp

import temperax as tx
from temperax import systems, tempering, thermodynamics
from temperax.engine import engine
from temperax.engine.program import make_program

QUICK = {"num_chains": 4, "num_draws": 2000, "keep": "all", "start": "prior", "batch_size": 0, "progress": False}
BY_HMC = QUICK | {"num_draws": 1000, "batch_size": None}


@register_dataclass
@dataclass(frozen=True)
class Flips(tx.Explorer):
    """Metropolis flips of spins drawn at random."""

    number: int = 9

    def move(self, key, position, beta, potential):
        def flip(i, spin):
            where, accept = jax.random.split(jax.random.fold_in(key, i))
            flipped = spin.at[jax.random.randint(where, (), 0, spin.size)].multiply(-1.0)
            return jnp.where(jax.random.exponential(accept) > potential(flipped) - potential(spin), flipped, spin)

        return jax.lax.fori_loop(0, self.number, flip, position)


def variable(tree, name):
    return tree["tempered_posterior"][name].transpose("chain", "draw", "temperature", ...).values


def states(size):
    return np.array(list(itertools.product((-1.0, 1.0), repeat=size)))


# -- Ising -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("periodic", [True, False])
@pytest.mark.parametrize("shape", [(5,), (2, 3), (1, 4), (3, 2, 4)])
def test_ising_energy(shape, periodic):
    spin = np.random.default_rng(1).choice([-1.0, 1.0], shape)
    energy = systems.ising(shape, coupling=0.7, field=-0.3, periodic=periodic)
    expected = -0.7 * over_bonds(np.multiply, spin, periodic) + 0.3 * spin.sum()
    assert float(energy.data_energy(jnp.asarray(spin.ravel(), float))) == pytest.approx(expected, abs=1e-5)
    assert float(energy.prior_energy(jnp.asarray(spin.ravel(), float))) == pytest.approx(spin.size * np.log(2))


def ising_betas(case):
    return np.array([0.0, *map(float, case["beta"])])


def ising_tree(key, case, kernel=None):
    energy = systems.ising((case["side"], case["side"]), field=case["field"])
    kernel = systems.heat_bath(energy) if kernel is None else kernel
    return tx.parallel_tempering(key, energy, kernel=kernel, ladder=ising_betas(case), **QUICK)


def worst_ising(tree, case):
    """The largest deviation of energy, heat capacity, |m| and log Z over all temperatures, in standard errors."""
    betas, exact = ising_betas(case), list(case["beta"].values())
    energy = path_energy(tree)
    mean = np.array([e["mean_energy"] for e in exact])
    worst = [
        z_scores(energy[..., 1:], mean),
        z_scores((betas[1:] * (energy[..., 1:] - mean)) ** 2, [e["heat_capacity"] for e in exact]),
        z_scores(
            np.abs(systems.magnetisation(variable(tree, "spin")))[..., 1:], [e["mean_abs_magnetisation"] for e in exact]
        ),
        log_z_scores(betas, energy, [0.0, *(e["log_z"] - case["side"] ** 2 * np.log(2) for e in exact)]),
    ]
    return max(z.max() for z in worst)


@pytest.mark.slow
@pytest.mark.parametrize("case", [0, 1])
def test_ising_by_parallel_tempering(key, exact_cases, case):
    case = exact_cases["ising_4x4"][case]
    tree = ising_tree(key, case)
    assert set(np.unique(variable(tree, "spin"))) == {-1.0, 1.0}
    assert worst_ising(tree, case) < 4
    lines = tx.diagnostics.verdicts(tree).set_index("check")["verdict"]
    assert set(lines) <= {"good", "fair"} and "configurational temperature, |z|" not in lines.index
    trips = tx.diagnostics.round_trips(tree)
    assert trips["efficiency"] > 0.7
    assert trips["restart_efficiency"] == pytest.approx(trips["efficiency"], rel=0.1), "each trip has one restart"


@pytest.mark.parametrize("case", [0, 1])
@pytest.mark.slow
def test_ising_thermodynamics_at_every_beta(key, exact_cases, case):
    """At the rungs and at the file's β between them, by reweighting; log Z and entropy count from N log 2."""
    case = exact_cases["ising_4x4"][case]
    found = thermodynamics.ensemble(ising_tree(key, case))
    for text, exact in case["beta"].items():
        at = found.at(float(text))
        for name, offset in (
            ("log_z", 16 * np.log(2)),
            ("mean_energy", 0),
            ("heat_capacity", 0),
            ("entropy", 16 * np.log(2)),
        ):
            assert abs(at[name] + offset - exact[name]) < 4 * at[f"{name}_error"] + 1e-4, (text, name)
        assert 0 < at["log_z_error"] < 0.1, "sharp enough to fail"


@pytest.mark.slow
def test_all_spins_at_once_fails(key, exact_cases):
    case = exact_cases["ising_4x4"][0]
    assert worst_ising(ising_tree(key, case, systems.HeatBath(jnp.zeros(16, jnp.int32))), case) > 9


@pytest.mark.slow
def test_couplings_change_and_nothing_compiles(key, exact_cases):
    ising_tree(key, exact_cases["ising_4x4"][0])
    energy = systems.ising((4, 4), coupling=-0.5, field=0.7, periodic=False)
    with Compilations() as compilations:
        tx.parallel_tempering(key, energy, kernel=systems.heat_bath(energy), ladder=np.linspace(0, 2, 9), **QUICK)
    assert compilations.count == 0


@pytest.mark.parametrize("shape", [(4,), (5,), (1, 6), (4, 6), (3, 4), (3, 5), (3, 3, 3), (4, 1, 5)])
def test_neighbours_are_never_drawn_at_once(shape):
    group = np.asarray(systems.heat_bath(systems.ising(shape)).group).reshape(shape)
    for axis, side in enumerate(shape):
        assert side == 1 or (group != np.roll(group, -1, axis)).all()
    assert group.max() == (2 if any(side % 2 and side > 1 for side in shape) else 1)


@pytest.mark.parametrize("periodic", [True, False])
@pytest.mark.parametrize("make", [systems.heat_bath, lambda _: Flips()], ids=["heat bath", "user's flips"])
def test_antiferromagnet_on_odd_sides(key, make, periodic):
    """Two colours do not cover it; and a user's kernel needs no more than the potential."""
    energy = systems.ising((3, 3), coupling=-0.6, field=0.4, periodic=periodic)
    every = np.asarray(jax.vmap(energy.data_energy)(jnp.asarray(states(9), float)), float)
    p = np.exp(-every - logsumexp(-every))
    spins = sweep(make(energy), energy, 1.0, key, 8, 4000)
    assert z_scores(spins, p @ states(9)).max() < 4
    assert z_scores(jax.vmap(jax.vmap(energy.data_energy))(spins), p @ every) < 4


@pytest.mark.slow
def test_ising_8x8_against_its_transfer_matrix(key):
    """Mean energy and log Z through the transition; the matrix adds a row of spins at a time."""
    rows, side = states(8), 8
    within = (rows * np.roll(rows, 1, 1)).sum(1)

    def log_z(beta):
        exponent = beta * (rows @ rows.T + 0.5 * (within[:, None] + within))
        largest = exponent.max()
        return np.log(np.trace(np.linalg.matrix_power(np.exp(exponent - largest), side))) + side * largest

    betas = np.array([0.0, 0.1, 0.2, 0.3, 0.36, 0.4, 0.44, 0.48, 0.55])
    energy = systems.ising((8, 8))
    tree = tx.parallel_tempering(
        key, energy, kernel=systems.heat_bath(energy), ladder=betas, **QUICK | {"num_draws": 8000}
    )
    step = 1e-4
    mean = [-(log_z(b + step) - log_z(b - step)) / (2 * step) for b in betas]
    assert z_scores(path_energy(tree), mean).max() < 4
    assert log_z_scores(betas, path_energy(tree), [log_z(b) - 64 * np.log(2) for b in betas]).max() < 4


# -- Hopfield --------------------------------------------------------------------------------------------------------


def test_hopfield_by_enumeration(key):
    patterns, every = np.random.default_rng(2).choice([-1.0, 1.0], (3, 10)), states(10)
    coupling = patterns.T @ patterns / 10
    np.fill_diagonal(coupling, 0.0)
    expected = -0.5 * np.einsum("si,ij,sj->s", every, coupling, every)
    energy = systems.hopfield(patterns)
    found = jax.vmap(energy.data_energy)(jnp.asarray(every, float))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    p = np.exp(-1.5 * expected - logsumexp(-1.5 * expected))
    spins = sweep(systems.heat_bath(energy), energy, 1.5, key, 8, 4000)
    assert z_scores(jax.vmap(jax.vmap(energy.data_energy))(spins), p @ expected) < 4
    recalled = p @ np.asarray(systems.overlap(every, patterns)) ** 2
    assert z_scores(systems.overlap(spins, patterns) ** 2, recalled).max() < 4


def test_hopfield_recalls_patterns(key):
    """Each chain starts from a pattern of its own with a quarter of its spins flipped, and finds it at low T."""
    rng = np.random.default_rng(3)
    patterns = rng.choice([-1.0, 1.0], (4, 200))
    corrupted = np.where(rng.uniform(size=patterns.shape) < 0.25, -patterns, patterns)
    energy = systems.hopfield(patterns)
    tree = tx.sample(
        key,
        energy,
        0.2,
        path="likelihood",
        kernel=systems.heat_bath(energy),
        start=corrupted,
        num_warmup=20,
        num_draws=100,
        progress=False,
    )
    recalled = np.asarray(systems.overlap(tree["posterior"]["spin"].values, patterns)).mean(1)
    assert (np.diag(systems.overlap(corrupted, patterns)) < 0.7).all()
    assert (np.diag(recalled) > 0.97).all() and (np.abs(recalled - np.diag(np.diag(recalled))) < 0.4).all()


# -- XY and φ⁴ -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_xy_ring_against_bessel_functions(key):
    """Z = Σ_n I_n(βJ)^L on a ring of L spins, angles uniform a priori."""
    size, coupling, betas = 12, 1.5, np.array([0.0, 0.3, 0.7, 1.3])

    def log_z(beta):
        return np.log(np.sum(ive(np.abs(np.arange(-40, 41)), coupling * beta) ** size)) + size * coupling * beta

    energy = systems.xy((size,), coupling)
    tree = tx.parallel_tempering(key, energy, kernel=tx.HMC(max_steps=32), ladder=betas, **BY_HMC)
    step = 1e-4
    mean = [-(log_z(beta + step) - log_z(beta - step)) / (2 * step) for beta in betas[1:]]
    assert z_scores(path_energy(tree)[..., 1:], mean).max() < 4
    assert log_z_scores(betas, path_energy(tree), [log_z(beta) for beta in betas]).max() < 4


def test_vortices_of_uniform_angles(key):
    """They cancel, and a plaquette of four independent angles holds one with probability 1/3."""
    energy = systems.xy((6, 6))
    draws = jax.vmap(energy.sample_prior)(jax.random.split(key, 2000))
    vortices = np.asarray(systems.vorticity(systems.angles(draws.reshape(2000, 6, 6, 2))))
    assert (vortices.sum((-2, -1)) == 0).all() and set(np.unique(vortices)) == {-1, 0, 1}
    assert np.abs(vortices).mean() == pytest.approx(1 / 3, abs=0.01)


@pytest.mark.parametrize("periodic", [True, False])
def test_phi4_action(periodic):
    rng = np.random.default_rng(4)
    field, (m2, quartic) = rng.normal(size=(3, 4)), (-0.8, 1.7)
    stiffness = over_bonds(lambda a, b: (a - b) ** 2, field, periodic)
    expected = 0.5 * stiffness + np.sum(0.5 * m2 * field**2 + 0.25 * quartic * field**4)
    energy, position = systems.phi4((3, 4), m2, quartic, periodic), jnp.asarray(field.ravel(), float)
    assert float(energy.prior_energy(position) + energy.data_energy(position)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.slow
def test_gaussian_field_against_determinants(key):
    """At λ = 0 modes are independent: precision 1 - β + β (m² + k²), k² = Σ 4 sin²(k/2)."""
    # A rung is so near the next that the summands of log Z have a variance even where the field is stiffest.
    m2, side, betas = 0.5, 4, np.array([0.0, 0.05, 0.15, 0.35, 0.6, 1.0])
    one = 4 * np.sin(np.pi * np.arange(side) / side) ** 2
    excess = m2 + one[:, None] + one - 1
    tree = tx.parallel_tempering(key, systems.phi4((side, side), m2, 0.0), ladder=betas, **BY_HMC)
    constant = 0.5 * side**2 * np.log(2 * np.pi)
    mean = [0.5 * np.sum(excess / (1 + beta * excess)) - constant for beta in betas]
    log_z = [constant * beta - 0.5 * np.sum(np.log1p(beta * excess)) for beta in betas]
    assert z_scores(path_energy(tree), mean).max() < 4
    assert log_z_scores(betas, path_energy(tree), log_z).max() < 4


# -- kernels of the user's own, and bad input ------------------------------------------------------------------------


def test_explorers_without_a_rule_say_so(key):
    with pytest.raises(NotImplementedError, match="Explorer has no move"):
        tx.Explorer().move(key, jnp.zeros(2), jnp.ones(()), jnp.sum)


def test_integers_of_a_kernel_stay_integers():
    energy = systems.ising((2, 2))
    program = make_program(
        energy,
        np.array([1.0]),
        path=tempering.PATHS["likelihood"],
        kernel=Flips(3),
        num_chains=1,
        kept=np.array([0]),
        thin=1,
        scheme=None,
        batch_size=None,
    )
    assert program.kernel.number.dtype == jnp.result_type(int)


ISING, HEAT_BATH = systems.ising((2, 2)), systems.heat_bath(systems.ising((2, 2)))
ROWS = np.ones((2, 4))


def run(function=tx.sample, **options):
    return function(jax.random.key(0), ISING, **{"kernel": HEAT_BATH, "start": "prior", "progress": False} | options)


BAD = {
    "side 0": (lambda: systems.ising((4, 0)), "shape"),
    "side of a float": (lambda: systems.xy((4.0,)), "shape"),
    "shape of a number": (lambda: systems.phi4(4), "shape"),
    "no sides": (lambda: systems.ising(()), "shape"),
    "nan coupling": (lambda: systems.ising((4,), float("nan")), "coupling"),
    "infinite coupling": (lambda: systems.xy((4,), float("inf")), "coupling"),
    "field of text": (lambda: systems.ising((4,), field="up"), "field"),
    "negative quartic": (lambda: systems.phi4((4,), quartic=-1.0), "quartic"),
    "free massless field": (lambda: systems.phi4((4,), 0.0, 0.0), "mass_squared"),
    "nan mass": (lambda: systems.phi4((4,), float("nan")), "mass_squared"),
    "patterns of zeros": (lambda: systems.hopfield(0 * ROWS), "patterns"),
    "one flat pattern": (lambda: systems.hopfield(ROWS[0]), "patterns"),
    "no patterns": (lambda: systems.hopfield(ROWS[:0]), "patterns"),
    "patterns of text": (lambda: systems.hopfield([["up", "down"]]), "patterns"),
    "heat bath without spins": (lambda: systems.heat_bath(systems.xy((4,))), "energy"),
    "heat bath of nothing": (lambda: systems.heat_bath(None), "energy"),
    "groups of others": (lambda: systems.heat_bath(ISING, np.zeros(3, int)), "groups"),
    "groups of fractions": (lambda: systems.heat_bath(ISING, np.zeros(4)), "groups"),
    "spins by HMC": (lambda: run(kernel="hmc"), "kernel"),
    "optimum of spins": (lambda: run(start="optimum"), "start"),
    "Gaussian reference of spins": (lambda: run(tx.parallel_tempering, path="reference"), "path"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case, monkeypatch):
    monkeypatch.setattr(engine, "run_block", lambda *_: pytest.fail("compiled before the input was checked"))
    make, argument = BAD[case]
    with pytest.raises(tx.InputError) as caught:
        make()
    assert caught.value.argument == argument


def test_spins_in_their_ground_state_are_not_frozen(key, capsys):
    """All alike, whatever is drawn, and no step of theirs is lost in rounding."""
    magnet = systems.ising((3, 3))
    cold = tx.sample(key, magnet, 0.3, path="likelihood", kernel=systems.heat_bath(magnet), **QUICK | {"num_draws": 50})
    assert (cold["sample_stats"]["lp"].std("draw") == 0).any()
    assert not len(tx.diagnostics.frozen(cold))
    tx.diagnostics.report(cold)
    assert "never moves" not in capsys.readouterr().out
