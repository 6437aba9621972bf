"""Kernels of other libraries, and microcanonical ones: moments in closed form, and what a mistake in them changes."""

import json
from dataclasses import dataclass
from functools import partial

import arviz as az
import blackjax
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from cases import some
from jax.tree_util import register_dataclass
from numpyro.infer import HMC, BarkerMH

import temperax as tx
from temperax.engine.kernels import microcanonical

#: exp(-2 |x - 1|²) under N(0, 1): at β, N(4β / (4β + 1), 1 / (4β + 1)).
TEMPERATURES = np.array([2.0, 1.0])
PRECISION = 1 + 4 / TEMPERATURES
EXACT = (PRECISION - 1) / PRECISION


def energy(size):
    return tx.Energy(lambda p: 2.0 * jnp.sum((p - 1.0) ** 2), dist.Normal(0.0, 1.0).expand([size]).to_event(1))


def worst_z(kernel, key, size=3, **options):
    """The largest deviation of means and variances at two temperatures from theirs, in standard errors."""
    options = {"num_warmup": 100, "num_draws": 1500, "num_chains": 4, "progress": False} | options
    tree = tx.sample(key, energy(size), TEMPERATURES, path="likelihood", kernel=kernel, **options)
    draws = tree["tempered_posterior"]["theta"].transpose("temperature", "chain", "draw", ...).values
    found = []
    for values, precision, mean in zip(draws, PRECISION, EXACT, strict=True):
        for moment, exact in ((values, mean), ((values - mean) ** 2, 1 / precision)):
            for i in range(size):
                column = moment[:, :, i]
                found.append(abs(column.mean() - exact) / (column.std() / np.sqrt(float(az.ess(column)))))
    return max(found)


ELSEWHERE = {
    "BlackJAX's MALA": tx.kernels.FromBlackJAX(lambda logp, beta: blackjax.mala(logp, 0.3 / (1.0 + beta))),
    "BlackJAX's HMC": tx.kernels.FromBlackJAX(lambda logp: blackjax.hmc(logp, 0.3, jnp.ones(3), 5)),
    "BlackJAX's random walk": tx.kernels.FromBlackJAX(
        lambda logp: blackjax.normal_random_walk(logp, 0.4 * jnp.ones(3))
    ),
    "NumPyro's Barker": tx.kernels.FromNumPyro(
        lambda potential: BarkerMH(potential_fn=potential, step_size=0.6, adapt_step_size=False)
    ),
    "NumPyro's HMC": tx.kernels.FromNumPyro(
        lambda potential, beta: HMC(
            potential_fn=potential,
            step_size=0.3,
            trajectory_length=1.2,
            adapt_step_size=False,
            adapt_mass_matrix=False,
        )
    ),
}


RARE = [name for name in ELSEWHERE if name not in ("BlackJAX's MALA", "NumPyro's HMC")]


@pytest.mark.parametrize("name", some(["BlackJAX's MALA", "NumPyro's HMC"], RARE))
def test_kernels_from_elsewhere_explore_temperatures(name, key):
    assert worst_z(ELSEWHERE[name], key) < 4.5


def test_a_kernel_at_the_wrong_temperature_is_seen(key):
    """The negative control: an algorithm that is given a density of its own."""
    wrong = tx.kernels.FromBlackJAX(lambda logp: blackjax.mala(lambda q: 0.8 * logp(q), 0.1))
    assert worst_z(wrong, key) > 6


@pytest.mark.slow
def test_a_kernel_from_elsewhere_explores_a_ladder(key):
    """Log Z of a ladder whose rungs BlackJAX explores: of three independent parameters, in closed form."""
    kernel = tx.kernels.FromBlackJAX(lambda logp, beta: blackjax.mala(logp, 0.3 / (1.0 + beta)))
    ladder = tx.parallel_tempering(key, energy(3), kernel=kernel, num_draws=512, num_chains=2, progress=False)
    row = tx.thermodynamics.summary(ladder).iloc[-1]
    exact = 3 * (-0.5 * np.log(5.0) - 0.5 * 4 / 5)
    assert abs(row["log_z"] - exact) < 4 * row["log_z_error"]


@pytest.mark.parametrize("build", [lambda logp: 3, None])
def test_what_is_no_sampler_is_refused(build, key):
    with pytest.raises(tx.InputError, match="build = "):
        tx.sample(key, energy(2), kernel=tx.kernels.FromBlackJAX(build), num_warmup=0, num_draws=2, progress=False)


# -- microcanonical --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", some([10], [2]))
def test_mams_has_the_moments(size, key):
    assert worst_z("mams", key, size) < 4.5


def test_mams_without_the_kinetic_energy_is_seen(key, monkeypatch):
    """The negative control: a Metropolis step that forgets what the turns have cost."""
    whole = microcanonical.turn
    monkeypatch.setattr(microcanonical, "turn", lambda *a: (whole(*a)[0], 0.0 * whole(*a)[1]))
    jax.clear_caches()
    assert worst_z(tx.MAMS(step_size=0.5), key, 10) > 6
    jax.clear_caches()


def test_turns_keep_the_length_and_the_energy(key):
    """Half turns there and back lead to where they began, at no cost; in a force of any size nothing overflows."""
    direction, gradient = jax.random.normal(key, (2, 7))
    direction = direction / jnp.linalg.norm(direction)
    for scale in (1e-3, 1.0, 1e6):
        turned, rise = microcanonical.turn(direction, scale * gradient, jnp.float32(0.3))
        assert jnp.linalg.norm(turned) == pytest.approx(1.0, abs=1e-5) and np.isfinite(rise)
    turned, rise = microcanonical.turn(direction, gradient, jnp.float32(0.3))
    back, fall = microcanonical.turn(-turned, gradient, jnp.float32(0.3))
    np.testing.assert_allclose(-back, direction, atol=1e-5)
    assert rise == pytest.approx(-float(fall), abs=1e-4)
    still, nothing = microcanonical.turn(direction, 0.0 * gradient, jnp.float32(0.3))
    np.testing.assert_allclose(still, direction, atol=1e-6)
    assert nothing == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("time", [1e-3, 0.3, 4.0, 50.0, 1e4])
def test_straight_uphill_costs_what_it_should(time):
    """log(cosh ± sinh) = ± angle of a force along the direction; of a long turn none is quite uphill."""
    gradient = np.full(9, 1.0, np.float32)
    down, up = (microcanonical.turn(jnp.full(9, s / 3.0), gradient, jnp.float32(time))[1] for s in (-1, 1))
    assert down == pytest.approx(9.0 * time, rel=1e-3, abs=1e-4)
    angle, rounded = time * 9 / 8, np.log(np.finfo(up.dtype).eps / 2)
    assert up == pytest.approx(8 * max(-angle, angle + rounded), rel=1e-2, abs=1e-4)


def test_no_step_out_of_a_narrow_well_is_accepted(key):
    """Steps a hundred times too long cross the bottom and turn straight back uphill; no rounding lets one pass."""
    well = tx.Energy(lambda p: 0.5 * jnp.sum((p / 0.01) ** 2), dist.Normal(0.0, 1.0).expand([10]).to_event(1))
    start = 0.01 * np.asarray(jax.random.normal(key, (4, 10)))
    options = {"start": start, "num_warmup": 0, "num_draws": 200, "progress": False}
    tree = tx.sample(key, well, kernel=tx.MAMS(step_size=0.5, trajectory_length=0.5), **options)
    assert float(np.abs(tree["posterior"]["theta"]).max()) < 0.1


@pytest.mark.slow
def test_an_unadjusted_kernel_is_marked(key, capsys):
    """Long steps leave a bias, which the result estimates and the report calls by its name; MAMS has none."""
    rough = tx.sample(key, energy(20), kernel=tx.MCLMC(target_acceptance=0.7), num_draws=1000, progress=False)
    ((_, bias, error),) = json.loads(rough.attrs["energy_bias"])
    heights = -rough["sample_stats"]["lp"]
    exact = 20 * (0.5 * np.log(2 * np.pi) + 0.5 + 2 / 5)  # (1 + 4)/2 of a variance of 1/5, and what the means leave
    assert bias > 4 * error and bias == pytest.approx(float(heights.mean()) - exact, abs=4 * error + 0.3)
    lines = tx.diagnostics.report(rough).set_index("check")
    assert lines.loc["bias of the energy, in its deviations", "verdict"] == "bad"
    assert "MCLMC moved them, which is not exact" in capsys.readouterr().out
    careful = tx.sample(key, energy(20), kernel="mclmc", num_draws=1000, progress=False)
    ((_, small, error),) = json.loads(careful.attrs["energy_bias"])
    assert abs(small) < abs(bias) / 2
    assert "energy_bias" not in tx.sample(key, energy(2), kernel="mams", num_draws=10, progress=False).attrs


def test_one_parameter_has_no_direction_to_turn_to(key):
    with pytest.raises(tx.InputError, match="needs two parameters or more"):
        tx.sample(key, energy(1), kernel="mams", progress=False)


@pytest.mark.slow
def test_an_argument_with_a_default_is_not_beta(key):
    """A second argument is the inverse temperature where it has no default, or is called so."""
    assert worst_z(tx.kernels.FromBlackJAX(lambda logp, step=0.15: blackjax.mala(logp, step)), key) < 4.5
    assert worst_z(tx.kernels.FromBlackJAX(partial(blackjax.mala, step_size=0.15)), key) < 4.5


@register_dataclass
@dataclass(frozen=True)
class AcceptsAll(tx.kernels.MCLMC):
    """The negative control: what its steps lead to is kept, however long they are."""

    def _accepts(self, key, end):
        return jnp.isfinite(end.rise)


@pytest.mark.slow
def test_steps_that_are_still_too_long_do_not_lead_chains_away():
    """A deep network's start is a low one, which chains that take every trajectory climb out of while they adapt."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 3))
    y = np.sin(3 * x[:, 0]) * x[:, 1] + 0.05 * rng.normal(size=200)
    data = tx.Dataset.from_arrays(x[:150], y[:150], x[150:], y[150:])
    energy = tx.Energy.mlp(data, (16, 16, 16), "relu", tx.likelihoods.HeteroscedasticGaussian())
    options = {"num_chains": 2, "num_warmup": 100, "num_draws": 10, "log_likelihood": False, "progress": False}
    first = {
        kernel: tx.sample(jax.random.key(0), energy, kernel=kernel(max_steps=128), **options)["sample_stats"]
        for kernel in (tx.kernels.MCLMC, AcceptsAll)
    }
    kept, climbed = (stats["data_energy"][:, :3].mean().item() for stats in first.values())
    assert kept < climbed - 50, "nats"


def test_a_rise_that_no_right_step_has_is_undone():
    """Of N(σ²/2, σ²) with σ² = 5 · 10⁻⁴ P, ten deviations."""
    kernel = tx.kernels.MCLMC().fitted(962)
    limit = 0.481 / 2 + 10 * 0.481**0.5
    rises = jnp.array([-50.0, 1.0, limit - 0.01, limit + 0.01, jnp.inf])
    blank = microcanonical.Flight(*[jnp.zeros(5)] * 4, rises, jnp.zeros(5), jnp.zeros(5))
    assert kernel._accepts(jax.random.key(0), blank).tolist() == [True, True, True, False, False]
