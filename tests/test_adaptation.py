"""Adaptation: the mass of a direction that is hardly explored, the length of trajectories, steps that stay frozen."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import temperax as tx
from temperax import adaptation
from temperax.kernels import Info

CHAINS, WIDTHS = 4, jnp.array([0.01, 1.0, 100.0])


SOUND = jnp.ones((CHAINS, 1), bool)


def info_of(shape: tuple[int, int], momentum: jax.Array, trajectory: jax.Array) -> Info:
    """What a kernel reports of perfect trajectories."""
    ones = jnp.ones(shape)
    return Info(0.8 * ones, ones.astype(int), ones < 0, ones, momentum, trajectory * ones)


def test_mass_of_directions_that_are_hardly_explored(key):
    """Draws that cover a hundredth of every width: their variances alone are off by 10⁴, draws and forces are not."""
    tuning, state = adaptation.start(tx.HMC(), jnp.array([0.1]), CHAINS, len(WIDTHS))
    draws = 0.01 * WIDTHS * jax.random.normal(key, (50, CHAINS, 1, len(WIDTHS))) + WIDTHS  # off the centre, too
    info = info_of((CHAINS, 1), jnp.zeros((CHAINS, 1, len(WIDTHS))), jnp.ones(()))
    for before, after in zip(draws[:-1], draws[1:], strict=True):
        tuning, state = adaptation.update(tx.HMC(), tuning, state, before, after, after / WIDTHS**2, info, SOUND)
    tuning, _ = adaptation.end_window(tx.HMC(), tuning, state)
    # The mass before the window, 1, keeps the weight of five draws: (10⁴)^(5/54) = 2.3 at the narrow end.
    assert (np.abs(np.log(tuning.inverse_mass[0] / WIDTHS**2)) < np.log(3)).all()
    alone = np.var(np.asarray(draws[:, :, 0]), axis=0).mean(axis=0)
    assert (alone / np.asarray(WIDTHS) ** 2 < 2e-4).all()


@pytest.mark.parametrize("first", [0.3, 1.57])
def test_trajectories_grow_until_they_turn_back(key, first):
    """On N(0, 1) with exact flow, ⟨u² sin(uL)⟩ = 0 at L = 4.08, from shorter trajectories."""
    kernel, size = tx.HMC(), 20
    tuning, state = adaptation.start(kernel, jnp.array([0.02]), CHAINS, size)
    tuning = tuning._replace(trajectory_length=jnp.array([first]))
    state = state._replace(log_length=jnp.log(tuning.trajectory_length))

    def scan(carry, i):
        tuning, state = carry
        u = jnp.mod((i + 1) * 0.6180339887498949, 1.0)
        q, p = jax.random.normal(jax.random.fold_in(key, i), (2, CHAINS, 1, size))
        t = u * tuning.trajectory_length[0]
        end, momentum = q * jnp.cos(t) + p * jnp.sin(t), p * jnp.cos(t) - q * jnp.sin(t)
        info = info_of((CHAINS, 1), momentum, t)
        tuning, state = adaptation.update(kernel, tuning, state, q, end, end, info, SOUND)
        return (tuning._replace(step_size=jnp.array([0.02])), state), tuning.trajectory_length[0]

    _, lengths = jax.lax.scan(scan, (tuning, state), jnp.arange(600))
    assert abs(np.log(lengths[300:]).mean() - np.log(4.08)) < 0.1


def test_wide_directions_decide_the_length(key):
    """A trajectory that has turned back in the narrow directions and not in the wide one must still grow."""
    q, p = jax.random.normal(key, (2, CHAINS, len(WIDTHS)))
    q, t = q * WIDTHS, 10.0
    end = q * jnp.cos(t / WIDTHS) + p * WIDTHS * jnp.sin(t / WIDTHS)
    momentum = p * jnp.cos(t / WIDTHS) - q / WIDTHS * jnp.sin(t / WIDTHS)
    info = info_of((CHAINS,), momentum, jnp.float32(t))
    turn, size = adaptation._trajectory_criterion(q, end, jnp.float32(t), info)
    assert turn > 0.5 * size


def test_nothing_adapts_while_draws_are_kept(key, small_data):
    """The tuning before and after kept draws is one and the same."""
    energy = tx.Energy.mlp(small_data, (4,))
    tree = tx.sample(key, energy, num_chains=2, num_warmup=60, num_draws=40, progress=False)
    steps = tree["sample_stats"]["step_size"].values
    assert (steps == steps.ravel()[0]).all()
