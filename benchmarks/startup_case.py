"""One case of `benchmarks.startup`, in a process of its own: ``python -m benchmarks.startup_case toy``.

Prints what the first call took from its beginning to its result, what of it was spent on compiling, and a second call.
"""

import argparse
import json
import resource
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist

import temperax as tx
from temperax.machine.compiling import EVENTS

#: What happens to a function until it is a compiled program, by JAX's names.
STEPS = dict(zip(EVENTS, ("tracing", "lowering", "xla"), strict=True))
SHORT = {"num_warmup": 20, "num_draws": 1, "progress": False}

#: Trajectories whose gradients do not hide what is compiled.
SHORT_STEPS = tx.HMC(max_steps=64)


def bowl(position):
    """A user's own energy of four parameters."""
    return 0.5 * jnp.sum((position - 1.0) ** 2 / jnp.array([1.0, 2.0, 3.0, 4.0]))


def banana(position):
    """A user's own density of twenty dimensions, bent in pairs."""
    x, y = position[::2], position[1::2]
    return 0.5 * jnp.sum(x**2 + 10.0 * (y - x**2) ** 2)


def own(function, size):
    """The energy of a function of so many parameters under N(0, 1)."""
    return tx.Energy(function, dist.Normal(0.0, 1.0).expand([size]).to_event(1))


def concrete(units):
    """A network of one hidden layer on the concrete data."""
    return tx.Energy.mlp(tx.datasets.load("concrete", split=0), (units,))


def convolutional():
    """Two convolutions and a dense layer on scikit-learn's digits."""

    def apply(p, x):
        image = x.reshape(-1, 8, 8, 1)
        for kernel in (p["first"], p["second"]):
            layout = ("NHWC", "HWIO", "NHWC")
            image = jnp.tanh(jax.lax.conv_general_dilated(image, kernel, (2, 2), "SAME", dimension_numbers=layout))
        return image.reshape(len(image), -1) @ p["head"]

    shapes = {"first": (3, 3, 1, 4), "second": (3, 3, 4, 8), "head": (32, 10)}
    digits = tx.datasets.load("digits")
    few = tx.Dataset.from_arrays(digits.x[:200], digits.y[:200, 0].astype(int), task="classification")
    return tx.Energy.network(few, apply, {k: np.zeros(s) for k, s in shapes.items()})


def sample(energy, *args, **options):
    """`tx.sample`, short."""
    return tx.sample(jax.random.key(0), energy, *args, **(SHORT | options))


def temper(energy, **options):
    """`tx.parallel_tempering`, short."""
    return tx.parallel_tempering(jax.random.key(0), energy, progress=False, **options)


#: How each case makes its energy, and what it calls.
CASES: dict[str, tuple[Callable, Callable]] = {
    "toy": (lambda: own(bowl, 4), sample),
    "own density": (lambda: own(banana, 20), sample),
    "three temperatures": (lambda: concrete(10), lambda e: sample(e, [1.0, 0.5, 0.25], path="posterior")),
    "concrete": (lambda: concrete(50), sample),
    "ladder": (lambda: concrete(10), lambda e: temper(e, num_replicas=16, num_draws=32)),
    "convolutional": (convolutional, sample),
    "growing ladder": (
        lambda: concrete(50),
        lambda e: temper(e, num_draws=64, num_chains=1, kernel=SHORT_STEPS),
    ),
}


class Steps:
    """Seconds and number of compilations."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.programs = 0
        jax.monitoring.register_event_duration_secs_listener(self.listen)

    def listen(self, event: str, duration_secs: float, **_: str | int) -> None:
        """Take what JAX tells."""
        if event in STEPS:
            self.seconds[STEPS[event]] += duration_secs
            self.programs += STEPS[event] == "xla"

    def during(self, call) -> dict:
        """Seconds of a call, and of the compilations in it."""
        self.seconds.clear()
        self.programs, began = 0, time.perf_counter()
        call()
        whole = time.perf_counter() - began
        return {"seconds": whole, "programs": self.programs} | {s: self.seconds[s] for s in STEPS.values()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("case", choices=CASES)
    parser.add_argument("--cache", type=Path, help="folder of compiled programs to use and to add to")
    options = parser.parse_args()
    if options.cache:
        tx.use_compilation_cache(options.cache)
    make, call = CASES[options.case]
    energy, steps = make(), Steps()
    row = steps.during(lambda: call(energy))
    row["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    row["second_call"] = steps.during(lambda: call(energy))["seconds"]
    print(json.dumps(row))


if __name__ == "__main__":
    main()
