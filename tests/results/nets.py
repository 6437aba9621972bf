"""Networks of a user's own, found by their import path."""

import equinox as eqx
import jax
import jax.numpy as jnp


def bent(x):
    """An activation."""
    return jnp.arctan(x)


def make():
    """A module of Equinox."""
    return eqx.nn.MLP(2, 1, 4, 1, jnp.tanh, key=jax.random.key(0))


def init(key, x):
    return {"w": jax.random.normal(key, (x.shape[1], 1)), "b": jnp.zeros(1)}


def apply(parameters, x):
    return x @ parameters["w"] + parameters["b"]
