"""Kernels that are wrong, for the negative controls."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax.tree_util import register_dataclass
from numpyro.infer.util import ParamInfo

import temperax as tx


@register_dataclass
@dataclass(frozen=True)
class UntemperedGradient(tx.HMC):
    """HMC that forgets β."""

    def step(self, key, potential_at, beta, start, tuning, jitter):
        one = jnp.ones_like(beta)
        value, gradient = jax.value_and_grad(potential_at(one))(start.z)
        start = ParamInfo(start.z, value, gradient)
        return super().step(key, potential_at, one, start, tuning, jitter)
