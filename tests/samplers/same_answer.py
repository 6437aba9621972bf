"""Runs for `test_same_answer`, in a process whose devices are its own: what they drew, as hashes.

``python same_answer.py '{"devices": 2, "cases": ["gaussian"]}'`` prints a JSON object: case → variable → hash.  The
order may also hold ``join`` (arguments of `use_processes`), ``block_draws``, ``block_seconds`` and ``directory``.
"""

import hashlib
import json
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist

import temperax as tx
from temperax.energies.likelihoods import Categorical, Gaussian, HeteroscedasticGaussian, Poisson, StudentT
from temperax.engine import engine, program, scanning
from temperax.machine import sharding

SAMPLE = {"num_warmup": 30, "num_draws": 10, "progress": False}
LADDER = {"num_draws": 64, "num_chains": 1, "progress": False}


def data(kind, rows=50, inputs=3):
    """Made-up rows with targets of a kind."""
    rng = np.random.default_rng(2)
    x = rng.normal(size=(rows, inputs))
    f = np.sin(x[:, 0]) + 0.5 * x[:, 1]
    noise = rng.normal(size=rows)
    y = {
        "real": f + 0.3 * noise,
        "binary": (f + noise > 0).astype(float),
        "classes": np.digitize(f + 0.3 * noise, [-0.5, 0.5]).astype(float),
        "counts": rng.poisson(np.exp(f)).astype(float),
    }[kind]
    task = {"real": "regression", "counts": "counts"}.get(kind, "classification")
    return tx.Dataset.from_arrays(x, y, x[:8], y[:8], task=task)


def mlp(kind, hidden, activation="tanh", likelihood=None, prior=None):
    """A small network's energy."""
    return tx.Energy.mlp(data(kind), hidden, activation, likelihood, prior)


def sample(energy, *args, **options):
    """`tx.sample`, short."""
    return tx.sample(jax.random.key(1), energy, *args, **(SAMPLE | options))


def temper(energy, **options):
    """`tx.parallel_tempering`, short."""
    return tx.parallel_tempering(jax.random.key(1), energy, **(LADDER | options))


def large():
    """A network whose rows fill a cache and whose products a processor's threads may share."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(900, 8))
    y = np.sin(x[:, 0]) + 0.5 * x[:, 1] + 0.3 * rng.normal(size=900)
    energy = tx.Energy.mlp(tx.Dataset.from_arrays(x, y), (50,))
    kernel = tx.HMC(step_size=1e-3, max_steps=8)
    return temper(energy, num_replicas=5, kernel=kernel, start="prior", num_draws=32)


def own():
    """A user's own energy whose parameters are correlated, so that its mass is turned."""

    def data_energy(p):
        return 50.0 * jnp.sum(jnp.diff(p) ** 2) + 0.5 * jnp.sum((p - 1.0) ** 2)

    return tx.Energy(data_energy, dist.Normal(0.0, 3.0).expand([4]).to_event(1))


def keys_of_places(key, scan, purpose, number):
    """Keys that depend on a replica's place on its device, not on the replica."""
    return program.keys(key, scan, purpose, jnp.arange(len(number)))


def broken():
    """The negative control: a generalised linear model under the wrong keys."""
    right, scanning.keys = scanning.keys, keys_of_places
    jax.clear_caches()
    try:
        return sample(mlp("counts", ()), num_chains=3, start="prior")
    finally:
        scanning.keys = right
        jax.clear_caches()


#: Between them: every likelihood, prior, kernel and path, depths 0 to 3, numbers of replicas that no 2 or 4 divides.
CASES = {
    "ladder": lambda **o: temper(mlp("real", (4,)), num_replicas=5, **o),
    "gaussian": lambda **o: sample(mlp("real", (4,)), [1.0, 0.3, 0.1], path="posterior", num_chains=3, **o),
    "heteroscedastic": lambda **o: temper(
        mlp("real", (3, 2), "relu", HeteroscedasticGaussian(), tx.priors.FanInNormal()),
        num_replicas=5,
        keep="all",
        **o,
    ),
    "student_t": lambda **o: sample(
        mlp("real", (3,), "relu", StudentT(), tx.priors.Laplace()), kernel="nuts", num_chains=3, start="prior", **o
    ),
    "bernoulli": lambda **o: temper(
        mlp("binary", (3,), "tanh", None, tx.priors.StudentT()),
        path="reference",
        num_replicas=3,
        num_chains=3,
        num_draws=128,
        start="prior",
        **o,
    ),
    "categorical": lambda **o: sample(
        mlp("classes", (3, 3, 3), "tanh", Categorical(), tx.priors.ARD()), num_chains=5, start="prior", **o
    ),
    "poisson": lambda **o: sample(
        mlp("counts", (), "tanh", Poisson()), [1.0, 0.5], path="likelihood", kernel="nuts", num_chains=3, **o
    ),
    "fixed_noise": lambda **o: temper(
        mlp("real", (4,), "relu", Gaussian(0.3)), num_replicas="auto", start="prior", **o
    ),
    "batches": lambda **o: sample(mlp("real", (3,)), num_chains=5, batch_size=2, start="prior", **o),
    "cold": lambda **o: temper(
        mlp("real", (3,)),
        path="posterior",
        hottest=50.0,
        coldest=0.5,
        num_replicas=5,
        num_chains=2,
        scheme="stochastic",
        thin=2,
        start="prior",
        **o,
    ),
    "large": lambda **o: large(),
    "own": lambda **o: temper(own(), num_replicas=5, num_draws=128, **o),
    "broken": lambda **o: broken(),
}


def hashes(tree):
    """A hash of every variable of every group."""
    found = {}
    for group in tree.subtree:
        for name, values in group.data_vars.items():
            array = np.ascontiguousarray(values.values)
            parts = f"{array.dtype} {array.shape}".encode() + (
                json.dumps(array.tolist()).encode() if array.dtype == object else array.tobytes()
            )
            found[f"{group.path}/{name}"] = hashlib.sha256(parts).hexdigest()[:16]
    return found


def main(order):
    """Obey an order, on all devices however little there is to do."""
    sharding.WORTH_SHARING = 0
    if "devices" in order:
        tx.use_cpu_devices(order["devices"])
    if "join" in order:
        tx.use_processes(**order["join"])
    program.BLOCK_DRAWS = order.get("block_draws", program.BLOCK_DRAWS)
    engine.BLOCK_SECONDS = order.get("block_seconds", engine.BLOCK_SECONDS)
    found = {}
    for name in order["cases"]:
        options = {"directory": Path(order["directory"]) / name, "save_every": 1e-3} if "directory" in order else {}
        found[name] = hashes(CASES[name](**options))
    if sharding.first_process():
        print(json.dumps(found))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
