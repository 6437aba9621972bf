"""Trajectories that diverge are tried again with shorter steps: the law stays, and what failed is explored."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from jax.scipy.stats import norm
from numpyro.infer.util import ParamInfo

import temperax as tx
from temperax.engine.kernels import Tuning, hmc

SIZE, WIDTH, DRAWS = 10, 3.0, 80_000
TUNING = Tuning(jnp.float32(0.6), jnp.ones(SIZE), jnp.float32(2.4), jnp.zeros((SIZE, 0)), jnp.zeros(0))


def funnel(position):
    """Neal's (2003): v ~ N(0, 9), and nine numbers whose variance is exp v."""
    return -norm.logpdf(position[0], 0, WIDTH) - norm.logpdf(position[1:], 0, jnp.exp(position[0] / 2)).sum()


def stepped(key):
    """Exact draws, one step later: v before and after, and what the step reports."""
    keys = jax.random.split(key, 3)
    v = WIDTH * jax.random.normal(keys[0], (DRAWS, 1))
    draws = jnp.concatenate([v, jnp.exp(v / 2) * jax.random.normal(keys[1], (DRAWS, SIZE - 1))], axis=1)

    def step(position, key):
        start = ParamInfo(position, *jax.value_and_grad(funnel)(position))
        jitter, key = jax.random.split(key)
        jitter = jax.random.uniform(jitter, minval=0.3)
        return tx.HMC().step(key, lambda beta: funnel, jnp.float32(1.0), start, TUNING, jitter)

    after, info = jax.jit(jax.vmap(step))(draws, jax.random.split(keys[2], DRAWS))
    return np.asarray(v[:, 0], float), np.asarray(after.z[:, 0], float), jax.tree.map(np.asarray, info)


def largest_z(before, after):
    """Of shares of v below a few places, in standard errors of the change."""
    places = WIDTH * np.array([-2.0, -1.5, -1.0, -0.5, 0.0, 0.5, 1.0])
    change = (after[:, None] < places).astype(float) - (before[:, None] < places)
    return np.abs(change.mean(axis=0) / (change.std(axis=0) / np.sqrt(len(change)) + 1e-12)).max()


def test_the_law_of_a_funnel_stays(key):
    before, after, info = stepped(key)
    assert largest_z(before, after) < 4.5
    # Of draws in the neck, and not one of them leaves it without a shorter step.
    neck = before < -1.5 * WIDTH
    assert info.diverging[neck].mean() < 0.05 and (before != after)[neck].mean() > 0.3
    assert (info.trajectory[neck] < 0.5).mean() > 0.9, "an eighth of the length, or less"


def test_ends_from_which_long_steps_work_are_not_taken(key, monkeypatch):
    """Without looking back, draws gather where a shorter step can lead and none leads back."""
    tried = hmc._tried

    def trusting(along, start, momentum, zero):
        def blind(at, momentum, tries):
            state = along(at, momentum, tries)
            return state._replace(diverging=state.diverging | (at.z != start.z).any())

        return tried(blind, start, momentum, zero)

    monkeypatch.setattr(hmc, "_tried", trusting)
    before, after, _ = stepped(key)
    assert largest_z(before, after) > 8


@pytest.mark.parametrize("tries", [1, 3])
def test_a_wall_costs_few_steps_more(key, monkeypatch, tries):
    """Where a try cannot help, as beyond a wall, it is as long as the first at most."""
    monkeypatch.setattr(hmc, "TRIES", tries)
    half = tx.Energy(lambda p: jnp.where(p["x"] > 0, 0.0, jnp.inf), {"x": dist.Normal(0.0, 1.0)})
    kernel = tx.HMC(step_size=0.3, trajectory_length=1.5, inverse_mass=1.0)
    tree = tx.sample(key, half, kernel=kernel, num_warmup=0, num_draws=2000, progress=False)
    stats = tree["sample_stats"]
    assert float(stats["n_steps"].max()) <= 2 * tries * 5
    x = tree["posterior"]["x"]
    error = float(np.std(x) / np.sqrt(tx.diagnostics.summary(tree)["ess_parameter_min"].iloc[0]))
    assert abs(float(x.mean()) - np.sqrt(2 / np.pi)) < 4.5 * error
