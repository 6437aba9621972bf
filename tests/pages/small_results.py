"""Small results of every kind, each made once by the tests of pages."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pandas as pd
import pytest

import temperax as tx
from temperax.pages.report import render

KEY = jax.random.key(20261127)
#: A column that a page must not take for markup.
WICKED = "<script>alert('x')</script>"


def data():
    rng = np.random.default_rng(3)
    frame = pd.DataFrame(rng.normal(size=(60, 2)), columns=["width & height", WICKED])
    frame["price"] = np.sin(frame[WICKED]) + 0.2 * rng.normal(size=60)
    return tx.Dataset.from_frame(frame, "price")


def own():
    """Of a user's own: two wells far apart, of which a chain sees one."""
    return tx.Energy(lambda x: 2.0 * jnp.sum((x**2 - 4.0) ** 2), dist.Normal(0.0, 3.0).expand([1]).to_event(1))


@cache
def made(kind):
    quick = {"num_chains": 2, "progress": False}
    if kind == "sample":
        energy = tx.Energy.mlp(data(), (2,), prior=tx.priors.FanInNormal(0.7))
        options = {"num_warmup": 40, "num_draws": 60, "start": "prior"}
        return tx.sample(KEY, energy, [1.0, 0.7], path="posterior", **options, **quick)
    if kind == "ladder":
        return tx.parallel_tempering(KEY, own(), num_replicas=4, num_draws=64, start="prior", **quick)
    if kind == "smc":
        return tx.smc(KEY, own(), num_particles=16, **quick)
    if kind == "anneal":
        return tx.anneal(KEY, own(), tx.ladder.geometric(4, hottest=0.1, coldest=10.0), num_chains=2)
    return tx.sample(KEY, own(), num_warmup=20, num_draws=40, start=np.array([[2.0], [-2.0]]), **quick)


@cache
def text_of(kind):
    """The page of a result."""
    return render(made(kind))


#: Quick tests look at two of them.
KINDS = ["sample", "ladder", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("smc", "anneal", "bad"))]
