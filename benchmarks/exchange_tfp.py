"""TFP's ReplicaExchangeMC on a ladder that ``benchmarks.exchange`` hands over in a file, in TFP's own environment.

``python exchange_tfp.py task.npz found.npz`` with an interpreter that has JAX 0.4.35 and TFP 0.25; it imports nothing
of temperax.  The energies of the starts come along, and must be found again to a thousandth.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np


def scaled_precision(task: dict) -> tuple[Callable, Callable]:
    """Log prior and log likelihood of the path from N(0, I) to N(0, I/10)."""

    def prior(q: jax.Array) -> jax.Array:
        return -0.5 * jnp.sum(q**2 + jnp.log(2 * jnp.pi))

    return prior, lambda q: -4.5 * jnp.sum(q**2)


def network(task: dict) -> tuple[Callable, Callable]:
    """Log prior and log likelihood of a tanh network of one hidden layer with N(0, 1) priors and learned noise.

    The position is what `temperax.Energy` makes of it: biases and weights of both layers, log of the noise scale.
    """
    x, y, units = jnp.asarray(task["x"]), jnp.asarray(task["y"]), int(task["units"])
    inputs, cuts = x.shape[1], np.cumsum([units, x.shape[1] * units, 1, units])

    def prior(q: jax.Array) -> jax.Array:
        weights, log_scale = q[:-1], q[-1]
        normal = -0.5 * jnp.sum(weights**2 + jnp.log(2 * jnp.pi))
        # HalfNormal(1) of the scale, and the Jacobian of its logarithm.
        return normal + 0.5 * jnp.log(2 / jnp.pi) - 0.5 * jnp.exp(2 * log_scale) + log_scale

    def likelihood(q: jax.Array) -> jax.Array:
        first_bias, first, last_bias, last, log_scale = jnp.split(q, cuts)
        hidden = jnp.tanh(x @ first.reshape(inputs, units) + first_bias)
        z = (y[:, 0] - hidden @ last - last_bias) * jnp.exp(-log_scale)
        return jnp.sum(-0.5 * z**2 - log_scale - 0.5 * jnp.log(2 * jnp.pi))

    return prior, likelihood


CASES = {"scaled_precision": scaled_precision, "network": network}


def check(task: dict, prior: Callable, likelihood: Callable) -> None:
    """That both sides have the same energies."""
    starts = task["starts"].reshape(-1, task["starts"].shape[-1])
    for name, function in (("prior_energy", prior), ("data_energy", likelihood)):
        expected, found = task[name].ravel(), -np.asarray(jax.vmap(function)(starts))
        worst = np.max(np.abs(found - expected) / (1 + np.abs(expected)))
        if not worst < 1e-3:
            raise SystemExit(f"{name} differs by {worst:.2g}, relative")


def run(task: dict) -> dict:
    """Blocks of scans for so many seconds, after as many that are not counted."""
    import tensorflow_probability.substrates.jax as tfp

    prior, likelihood = CASES[str(task["case"])](task)
    check(task, prior, likelihood)

    def batched(function: Callable) -> Callable:
        return jnp.vectorize(function, signature="(p)->()")

    # TFP's ladders descend: its first replica is the coldest.
    betas, steps = (jnp.asarray(task[name][::-1], jnp.float32) for name in ("betas", "step_sizes"))
    starts = jnp.asarray(task["starts"]).swapaxes(0, 1)[::-1]  # (temperature, chain, parameter)

    def make_kernel(log_prob: Callable) -> object:
        return tfp.mcmc.HamiltonianMonteCarlo(log_prob, steps[:, None, None], int(task["leapfrogs"]))

    exchange = tfp.mcmc.ReplicaExchangeMC(
        target_log_prob_fn=None,
        untempered_log_prob_fn=batched(prior),
        tempered_log_prob_fn=batched(likelihood),
        inverse_temperatures=betas,
        make_kernel_fn=make_kernel,
        swap_proposal_fn=tfp.mcmc.even_odd_swap_proposal_fn(1.0),
        state_includes_replicas=True,
    )

    def scan(carry: tuple, key: jax.Array) -> tuple:
        state, results = exchange.one_step(*carry, seed=key)
        swaps = results.is_swap_proposed_adjacent, results.is_swap_accepted_adjacent
        accepted = jnp.exp(jnp.minimum(results.pre_swap_replica_results.log_accept_ratio, 0.0))
        return (state, results), (state[0], *swaps, accepted)

    block = jax.jit(partial(jax.lax.scan, scan))
    key = jax.random.PRNGKey(0)
    began = time.perf_counter()
    carry = (starts, jax.jit(exchange.bootstrap_results)(starts))
    # As long as what is counted, so that the start is forgotten; the first block compiles.
    while time.perf_counter() - began < float(task["seconds"]):
        key, now = jax.random.split(key)
        carry, _ = jax.block_until_ready(block(carry, jax.random.split(now, int(task["block"]))))
    before = time.perf_counter() - began
    records, seconds = [], 0.0
    while seconds < float(task["seconds"]):
        key, now = jax.random.split(key)
        began = time.perf_counter()
        carry, found = jax.block_until_ready(block(carry, jax.random.split(now, int(task["block"]))))
        seconds += time.perf_counter() - began
        records.append(jax.tree_util.tree_map(np.asarray, found))
    cold, proposed, accepted, acceptance = (np.concatenate(part) for part in zip(*records, strict=True))
    return {
        "positions": cold.swapaxes(0, 1),  # (chain, scan, parameter)
        "proposed": proposed[:, ::-1],  # (scan, pair, chain), hottest first
        "accepted": accepted[:, ::-1],
        "acceptance": acceptance.mean(axis=(0, 2))[::-1],
        "seconds": seconds,
        "seconds_before": before,
        "versions": np.array([jax.__version__, tfp.__version__]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("task")
    parser.add_argument("found")
    options = parser.parse_args()
    task = dict(np.load(options.task, allow_pickle=False))
    np.savez(options.found, **run(task))


if __name__ == "__main__":
    main()
