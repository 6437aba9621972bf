"""Networks of three frameworks, as a user would write them: of images, of sequences, with ways around layers."""

import equinox as eqx
import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import nnx


class Convolutional(nnx.Module):
    """Two convolutions and a dense layer, of images (row, 8, 8, 1)."""

    def __init__(self, rngs, classes=10):
        self.first = nnx.Conv(1, 4, kernel_size=(3, 3), strides=2, rngs=rngs)
        self.second = nnx.Conv(4, 8, kernel_size=(3, 3), strides=2, rngs=rngs)
        self.head = nnx.Linear(2 * 2 * 8, classes, rngs=rngs)

    def __call__(self, x):
        x = jnp.tanh(self.second(jnp.tanh(self.first(x))))
        return self.head(x.reshape(len(x), -1))


class Residual(nn.Module):
    """Dense blocks with a way around each."""

    width: int = 6

    @nn.compact
    def __call__(self, x):
        x = nn.Dense(self.width, name="stem")(x)
        for i in range(2):
            x = x + nn.Dense(self.width, name=f"block_{i}")(nn.tanh(x))
        return nn.Dense(1, name="head")(x)


class Attention(eqx.Module):
    """A layer of attention over the pixels' rows, of one image (8, 8)."""

    embed: eqx.nn.Linear
    attend: eqx.nn.MultiheadAttention
    head: eqx.nn.Linear

    def __init__(self, key):
        keys = jax.random.split(key, 3)
        self.embed = eqx.nn.Linear(8, 6, key=keys[0])
        self.attend = eqx.nn.MultiheadAttention(2, 6, key=keys[1])
        self.head = eqx.nn.Linear(6, 10, key=keys[2])

    def __call__(self, image):
        x = jax.vmap(self.embed)(image)
        x = x + self.attend(x, x, x)
        return self.head(x.mean(axis=0))


class Recurrent(eqx.Module):
    """A gated recurrent unit over one sequence (step, 1)."""

    cell: eqx.nn.GRUCell
    head: eqx.nn.Linear

    def __init__(self, key):
        self.cell = eqx.nn.GRUCell(1, 4, key=key)
        self.head = eqx.nn.Linear(4, 1, key=key)

    def __call__(self, sequence):
        state, _ = jax.lax.scan(lambda state, x: (self.cell(x, state), None), jnp.zeros(4), sequence)
        return self.head(state)


class Regularised(nnx.Module):
    """A layer under batch statistics and dropout."""

    def __init__(self, rngs):
        self.first = nnx.Linear(2, 4, rngs=rngs)
        self.norm = nnx.BatchNorm(4, rngs=rngs)
        self.drop = nnx.Dropout(0.5, rngs=rngs)
        self.head = nnx.Linear(4, 1, rngs=rngs)

    def __call__(self, x):
        return self.head(self.drop(jnp.tanh(self.norm(self.first(x)))))
