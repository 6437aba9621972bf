"""Adaptation: the mass of a direction that is hardly explored, the length of trajectories, steps that stay frozen."""

import arviz_stats
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
import scipy.optimize
from jax.scipy.stats import norm

import temperax as tx
from temperax.engine import adaptation
from temperax.engine.kernels import Info

CHAINS, WIDTHS = 4, jnp.array([0.01, 1.0, 100.0])


SOUND = jnp.ones((CHAINS, 1), bool)


def info_of(shape: tuple[int, int], momentum: jax.Array, trajectory: jax.Array) -> Info:
    """What a kernel reports of perfect trajectories."""
    ones = jnp.ones(shape)
    return Info(0.8 * ones, ones.astype(int), ones < 0, ones, momentum, trajectory * ones)


def test_mass_of_directions_that_are_hardly_explored(key):
    """Draws that cover a hundredth of every width: their variances alone are off by 10⁴, draws and forces are not."""
    tuning, state = adaptation.start(tx.HMC(), np.array([0.1], jnp.result_type(float)), CHAINS, len(WIDTHS))
    draws = 0.01 * WIDTHS * jax.random.normal(key, (50, CHAINS, 1, len(WIDTHS))) + WIDTHS  # off the centre, too
    info = info_of((CHAINS, 1), jnp.zeros((CHAINS, 1, len(WIDTHS))), jnp.ones(()))
    for before, after in zip(draws[:-1], draws[1:], strict=True):
        tuning, state = adaptation.update(tx.HMC(), tuning, state, before, after, after / WIDTHS**2, info, SOUND)
    tuning, _ = adaptation.end_window(tx.HMC(), *jax.tree.map(np.asarray, (tuning, state)))
    # The mass before the window, 1, keeps the weight of five draws: (10⁴)^(5/54) = 2.3 at the narrow end.
    assert (np.abs(np.log(tuning.inverse_mass[0] / WIDTHS**2)) < np.log(3)).all()
    alone = np.var(np.asarray(draws[:, :, 0]), axis=0).mean(axis=0)
    assert (alone / np.asarray(WIDTHS) ** 2 < 2e-4).all()


@pytest.mark.slow
@pytest.mark.parametrize("kernel", [tx.HMC, tx.NUTS])
def test_a_mass_that_is_given_stays(key, kernel):
    """Directions as wide as 1 and 10⁴ are sampled in few steps by the right mass, and by no other."""
    widths = np.array([1.0, 1e2, 1e4])
    energy = tx.Energy(lambda p: 0.0, {"x": dist.Normal(0.0, widths).to_event(1)})

    def run(**mass):
        options = {"kernel": kernel(**mass), "num_warmup": 300, "num_draws": 500, "start": "prior", "progress": False}
        return tx.sample(key, energy, **options)

    right = run(inverse_mass=(widths**2).tolist())
    steps, others = (tree["sample_stats"]["n_steps"].mean() for tree in (right, run(inverse_mass=1.0)))
    assert steps < 10 and others > 10 * steps
    z = (right["posterior"]["x"] / widths) ** 2
    assert (np.abs(z.mean(("chain", "draw")) - 1) < 5 * arviz_stats.mcse(z)).all()


def turned(length):
    """The criterion of exact flow on N(0, 1) in many dimensions, less the value at which it settles."""
    u = np.linspace(0, 1, 10_001)
    turn = u**2 * np.sin(u * length)
    return turn.mean() / np.abs(turn).mean() - adaptation.TURNED


def flow(q, p, t, widths):
    """Position and momentum after a time, for the potential Σ(θ / width)² / 2."""
    c, s = jnp.cos(t / widths), jnp.sin(t / widths)
    return q * c + p * widths * s, p * c - q / widths * s


def length_of_many_scans(key, first, widths):
    """Where adaptation takes the length on independent Gaussians with exact flow, scan by scan."""
    kernel = tx.HMC()
    tuning, state = adaptation.start(kernel, np.array([0.02], jnp.result_type(float)), CHAINS, len(widths))
    tuning = tuning._replace(trajectory_length=np.array([first], jnp.result_type(float)))
    state = state._replace(log_length=np.log(tuning.trajectory_length))

    def scan(carry, i):
        tuning, state = carry
        u = jnp.mod((i + 1) * 0.6180339887498949, 1.0)
        q, p = jax.random.normal(jax.random.fold_in(key, i), (2, CHAINS, 1, len(widths)))
        t = u * tuning.trajectory_length[0]
        end, momentum = flow(q * widths, p, t, widths)
        info = info_of((CHAINS, 1), momentum, t)
        tuning, state = adaptation.update(kernel, tuning, state, q * widths, end, end, info, SOUND)
        return (tuning._replace(step_size=jnp.array([0.02])), state), tuning.trajectory_length[0]

    return jax.lax.scan(scan, (tuning, state), jnp.arange(600))[1]


@pytest.mark.parametrize("first", [0.3, 1.57])
def test_trajectories_grow_until_they_turn_back(key, first):
    """⟨u² sin(uL)⟩ is its modulus up to half a period, L = π, and begins to fall there."""
    expected = scipy.optimize.brentq(turned, 3.0, 4.08)
    lengths = length_of_many_scans(key, first, jnp.ones(200))
    # The criterion's short memory makes it a little less: the share cannot exceed 1 and falls below .9 now and then.
    assert -0.2 < np.log(lengths[300:]).mean() - np.log(expected) < 0.05


def test_long_trajectories_come_back(key, monkeypatch):
    """Beyond the turning point the criterion is level; a length that looks for 0 there stays where it is."""
    widths = jnp.geomspace(0.1, 1.0, 200)
    assert length_of_many_scans(key, 40.0, widths)[100:].max() < 6.0
    monkeypatch.setattr(adaptation, "TURNED", 0.0)
    assert length_of_many_scans(key, 40.0, widths)[100:].max() > 6.0


def acceptances_of_steps(target, stuck):
    """Mean acceptance at the step size that adaptation settles on, where it falls with the step as HMC's does."""
    kernel = tx.HMC(target_acceptance=target)
    tuning, state = adaptation.start(kernel, np.array([1e-3], jnp.result_type(float)), CHAINS, 1)
    width = jnp.array([1.0, 1.0, 1.0, 0.01 if stuck else 1.0])[:, None]

    def accepted(step, key):
        normal = jax.random.normal(key, (CHAINS, 1), jnp.float32)  # the same draws in double precision
        noise = jnp.exp(0.3 * jnp.asarray(normal, float))
        return jnp.clip(2 * norm.cdf(-0.5 * (step / width) ** 2) * noise, 0, 1)

    def scan(carry, key):
        tuning, state = carry
        q = jax.random.normal(key, (CHAINS, 1, 1))
        info = info_of((CHAINS, 1), q, jnp.ones(()))._replace(acceptance_rate=accepted(tuning.step_size, key))
        return adaptation.update(kernel, tuning, state, q, q, q, info, SOUND), None

    keys = jax.random.split(jax.random.key(1), 500)
    tuning, state = jax.lax.scan(scan, (tuning, state), keys)[0]
    step = adaptation.finish(kernel, *jax.tree.map(np.asarray, (tuning, state))).step_size
    return np.mean(jax.vmap(lambda key: accepted(step, key))(keys), axis=(0, 2))


@pytest.mark.parametrize("target", [0.6, 0.8, 0.9])
def test_steps_are_accepted_as_often_as_asked(target):
    """In the mean over chains, from a first guess that is far off."""
    assert abs(acceptances_of_steps(target, stuck=False).mean() - target) < 0.04


def test_steps_let_a_stuck_chain_move():
    """Three chains that accept everything do not outvote a fourth in a narrow place."""
    assert acceptances_of_steps(0.6, stuck=True)[3] > 0.1


def test_wide_directions_decide_the_length(key):
    """A trajectory that has turned back in the narrow directions and not in the wide one must still grow."""
    q, p = jax.random.normal(key, (2, CHAINS, len(WIDTHS)))
    q, t = q * WIDTHS, 10.0
    end, momentum = flow(q, p, t, WIDTHS)
    info = info_of((CHAINS,), momentum, jnp.asarray(t, float))
    turn, size = adaptation._trajectory_criterion(q, end, jnp.asarray(t, float), info)
    assert turn > 0.5 * size


def test_nothing_adapts_while_draws_are_kept(key, small_data):
    """The tuning before and after kept draws is one and the same."""
    energy = tx.Energy.mlp(small_data, (4,))
    tree = tx.sample(key, energy, num_chains=2, num_warmup=60, num_draws=40, progress=False)
    steps = tree["sample_stats"]["step_size"].values
    assert (steps == steps.ravel()[0]).all()


def test_what_is_remembered_of_many_chains_is_bounded(key, monkeypatch):
    """In `smc` every particle is a chain; few chains of few parameters keep all that they had kept."""
    assert adaptation.remembered(1, 4, 1000) == adaptation.remembered(16, 4, 100) == (4, adaptation.MEMORY)
    for temperatures, chains, parameters in ((1, 4096, 10_000), (16, 4, 10_000), (1, 1024, 2)):
        kept, memory = adaptation.remembered(temperatures, chains, parameters)
        size = temperatures * kept * memory * 2 * parameters * jnp.result_type(float).itemsize
        assert size <= adaptation.MEMORY_BYTES and memory >= adaptation.FEWEST
    # Of eight chains five are kept, and turn the mass as all of them would.
    rows = 5 * adaptation.FEWEST * 2 * 2 * jnp.result_type(float).itemsize
    monkeypatch.setattr(adaptation, "MEMORY_BYTES", rows)
    first = np.array([0.1], jnp.result_type(float))
    tuning, state = adaptation.start(tx.HMC(), first, 8, 2, rank=1)
    assert state.recent.shape == (1, 5, adaptation.FEWEST, 2, 2)
    root = jnp.array([[1.0, 0.0], [0.95, 0.31]])
    covariance = np.asarray(root @ root.T)
    draws = jax.random.normal(key, (20, 8, 1, 2)) @ root.T
    forces = jnp.einsum("ij,sctj->scti", jnp.linalg.inv(covariance), draws)
    info = info_of((8, 1), jnp.zeros((8, 1, 2)), jnp.ones(()))
    for n in range(1, 20):
        given = draws[n - 1], draws[n], forces[n]
        tuning, state = adaptation.update(tx.HMC(), tuning, state, *given, info, jnp.ones((8, 1), bool))
    tuning, _ = adaptation.end_window(tx.HMC(), *jax.tree.map(np.asarray, (tuning, state)))
    assert np.abs(np.log(tuning.widths[0])).max() > 0.5  # a correlation of .95
