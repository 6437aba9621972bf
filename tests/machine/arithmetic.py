"""What `test_arithmetic` runs in a process whose JAX is set otherwise: every sampler, and all that reads results.

Prints a JSON object of numbers with their errors.
"""

import contextlib
import io
import json
import sys

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist

import temperax as tx

KEY, QUICK = jax.random.key(0), {"num_warmup": 60, "num_draws": 100, "progress": False}
LADDER = {"num_replicas": 4, "num_draws": 64, "progress": False}


def main():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 2))
    y = np.sin(x[:, 0]) + 0.1 * rng.normal(size=40)
    data = tx.Dataset.from_arrays(x[:30], y[:30], x[30:], y[30:])
    energy = tx.Energy.mlp(data, (3,))
    own = tx.Energy(lambda p: 0.5 * jnp.sum((p - 1.0) ** 2), dist.Normal(0, 1).expand([2]).to_event(1))
    found = {}
    for kernel in ("hmc", "nuts"):
        tree = tx.sample(KEY, own, kernel=kernel, **(QUICK | {"num_draws": 400}))
        (draws,) = tree["posterior"].data_vars.values()
        found[f"mean by {kernel}"] = float(draws.mean()), float(draws.std()) / 15
    tree = tx.sample(KEY, energy, [1.0, 0.5], path="posterior", log_likelihood=True, **QUICK)
    tx.predict.scores(tree)
    tx.predict.predictions(tree, x)
    tx.diagnostics.report(tree)
    ladder = tx.parallel_tempering(KEY, own, **(LADDER | {"num_draws": 512}))
    evidence = tx.thermodynamics.log_evidence(ladder)
    found["log Z"] = evidence.mbar, evidence.mbar_error
    if sys.argv[1] == "few":  # what follows is compiled and traced much as what was before
        return found
    tx.thermodynamics.report(ladder)
    tx.transitions.peaks(ladder)
    tx.diagnostics.report(ladder)
    tx.parallel_tempering(KEY, energy, path="reference", **(LADDER | {"num_draws": 128}))
    tx.learning_coefficient(KEY, energy, **QUICK)
    tx.map_estimate(KEY, energy, 2)
    tx.deep_ensemble(KEY, energy, 2)
    tx.anneal(KEY, energy, 1 / np.geomspace(10, 0.1, 4), progress=False)
    spins = tx.systems.ising((4, 4))
    tx.parallel_tempering(KEY, spins, kernel=tx.systems.heat_bath(spins), start="prior", **LADDER)
    return found


if __name__ == "__main__":
    with contextlib.redirect_stdout(io.StringIO()):
        numbers = main()
    print(json.dumps(numbers))
