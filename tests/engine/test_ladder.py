"""Ladders and barriers as pure functions."""

import numpy as np
import pytest

import temperax as tx
from temperax import ladder
from temperax.samplers import parallel_tempering, tuner


def exact_barrier(beta):
    """Λ(β) = log(1 + 9β): the shape of the scaled-precision path."""
    return np.log1p(9 * np.asarray(beta)) / np.log(10)


def test_ladders_ascend_between_their_ends():
    np.testing.assert_allclose(ladder.linear(3), [0.0, 0.5, 1.0])
    betas = ladder.geometric(4, hottest=0.01, coldest=1.0, prior=True)
    np.testing.assert_allclose(betas, [0.0, 0.01, 0.1, 1.0])
    np.testing.assert_allclose(ladder.pin(np.array([0.1, 0.5, 0.8, 5.0]), 1.0), [0.1, 0.5, 1.0, 5.0])


def test_adaptive_rungs_stand_at_equal_steps_of_the_barrier():
    betas = np.linspace(0, 1, 40)
    found = ladder.barrier(betas, 0.7 * np.diff(exact_barrier(betas)))
    new = ladder.adaptive(found, 6)
    np.testing.assert_allclose(exact_barrier(new), np.linspace(0, 1, 6), atol=2e-3)
    # The old ladder is not such a one, so that the test can fail.
    assert np.abs(exact_barrier(ladder.linear(6)) - np.linspace(0, 1, 6)).max() > 0.1
    np.testing.assert_allclose(found.local(np.array([0.5])), 0.7 * 9 / 5.5 / np.log(10), rtol=0.02)


def test_pairs_that_never_reject_keep_the_ladder_strictly_ascending():
    found = ladder.barrier(np.linspace(0, 1, 6), np.array([0.0, 0.0, 0.5, 0.0, 0.5]))
    assert (np.diff(ladder.adaptive(found, 9)) > 0).all()


def test_rungs_that_coincide_have_a_barrier_too():
    """At a wall so steep that single precision has no β between."""
    found = ladder.barrier(np.array([0.0, 0.5, 0.5, 1.0]), np.array([0.1, 0.9, 0.1]))
    assert (
        found.at(np.array([0.0, 0.5, 1.0])).tolist() == pytest.approx([0.0, 1.0, 1.1])
        and found.local(np.full(1, 0.25)) > 0
    )


def test_round_trip_rate_is_the_index_process_s(exact_cases):
    for case in exact_cases["index_process"]:
        n = case["replicas"]
        found = ladder.barrier(np.linspace(0, 1, n), np.full(n - 1, 1 - case["acceptance"]))
        assert found.round_trip_rate() == pytest.approx(case["deo"])


@pytest.mark.parametrize(
    ("rungs", "problem"),
    [([1.0], "fewer than two"), ([0.0, 1.0, 0.5], "does not ascend"), ([-1.0, 1.0], "negative"), ("hot", "numbers")],
)
def test_users_ladders_are_checked(rungs, problem):
    with pytest.raises(tx.InputError, match=problem):
        ladder.check_ladder(rungs)


def test_rounds_double():
    assert parallel_tempering.round_lengths(num_rounds=8) == [16, 32, 64, 128, 256]
    assert parallel_tempering.round_lengths(num_rounds=10) == [16, 32, 64, 128, 256, 1024]
    assert parallel_tempering.round_lengths(num_draws=100) == [25, 50, 100]


def test_tuning_is_interpolated_in_log_beta():
    import jax.numpy as jnp

    old, new = jnp.array([0.0, 0.01, 0.1, 1.0]), jnp.array([0.0, 0.001, 0.0316228, 1.0])
    steps = jnp.array([jnp.inf, 1.0, 0.1, 0.01])  # the rung at β = 0 has no tuning worth reading
    np.testing.assert_allclose(tuner.interpolate(old, new, steps), [1.0, 1.0, 0.316228, 0.01], rtol=1e-4)
