"""Microseconds per gradient and replica, beside plain JAX and beside what this machine could do at best.

``python -m benchmarks.gradient --json out.json`` (``--dataset concrete --hidden 50 --replicas 1 16 128``)

Every line is the time of compiled loops of gradient steps, divided by gradients and replicas, the median of several
runs taken in turn.  "temperax" is what the engine does with the replicas (shared out over the devices, on a processor
one at a time on each, on an accelerator as many as fit); "vmap" is ``jax.vmap(jax.value_and_grad(...))`` on one device
of the same energy with its network written out as a user would, layer by layer.  The floor is the sum of the arithmetic
at this machine's own measured rates on all devices: matrix products at the rate of large ones, hidden activations at
that of an array in the cache, and four element-wise passes over the hidden layers.  Deep networks, one of them narrow
and of ReLU units with a noise that depends on the inputs, have lines of their own (`DEEP`), on made-up rows.

Lines of a framework are the same network as its module, given to ``Energy.network`` as it is: "temperax" by the engine,
"vmap" the gradient of a log density that a user writes around the module, of all replicas in one batch.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist

import temperax as tx
from benchmarks import harness
from temperax.energies.energy import Energy
from temperax.energies.networks import ACTIVATIONS
from temperax.engine.program import default_batch_size
from temperax.machine import sharding

STEPS, REPEATS = 20, 7
#: Deep networks: inputs, hidden layers, activation, likelihood and rows (as many as airfoil trains on, and a thousand).
DEEP = {
    "5-16-16-16-16-2 relu, heteroscedastic": (5, (16,) * 4, "relu", tx.likelihoods.HeteroscedasticGaussian(), 1353),
    "20-64-64-1 tanh": (20, (64, 64), "tanh", tx.likelihoods.Gaussian(), 1000),
}
#: Replicas of the deep networks.
DEEP_REPLICAS = (16, 64)


def potential(energy: Energy, position: jax.Array) -> jax.Array:
    """Prior and data energy together."""
    return energy.prior_energy(position) + energy.data_energy(position)


@partial(jax.jit, static_argnames=("function", "batch_size"))
def over_devices(function: Callable, shared: Any, batch: jax.Array, zero: jax.Array, batch_size: int) -> jax.Array:
    """``function(shared, item)`` of a batch that devices share evenly, as the engine maps its replicas."""

    def local(shared: Any, batch: jax.Array, zero: jax.Array) -> jax.Array:
        size = sharding.at_once(batch_size, len(batch))
        return sharding.map_batch(partial(function, shared), batch, size, zero)

    everywhere, split = sharding.ON_EVERY_DEVICE, sharding.BY_REPLICA
    mesh = sharding.make_mesh(len(batch), np.inf)
    return sharding.on_mesh(mesh, local, (everywhere, split, everywhere), split)(shared, batch, zero)


def as_the_engine(energy: Energy, positions: jax.Array, batch_size: int) -> jax.Array:
    """Gradient steps of every replica."""
    return over_devices(descend, energy, positions, jnp.int32(0), batch_size)


def descend(energy: Energy, position: jax.Array) -> jax.Array:
    """Gradient steps of one replica."""

    def step(_: jax.Array, q: jax.Array) -> jax.Array:
        return q - 1e-7 * jax.value_and_grad(partial(potential, energy))(q)[1]

    return jax.lax.fori_loop(0, STEPS, step, position)


def written_out(activate: Callable, layers: dict, x: jax.Array) -> jax.Array:
    """The network as a user would write it."""
    for i in range(len(layers)):
        layer = layers[f"layer_{i}"]
        x = (activate(x) if i else x) @ layer["weight"] + layer["bias"]
    return x


def in_both_ways(
    data: tx.Dataset, hidden: tuple[int, ...], activation: str, likelihood: tx.likelihoods.Likelihood
) -> tuple[Energy, Energy]:
    """The energy of a network by temperax, and with the network as a user would write it."""
    energy = tx.Energy.mlp(data, hidden, activation=activation, likelihood=likelihood)
    network = partial(written_out, ACTIVATIONS[activation])
    start = energy.unravel(jnp.zeros(energy.size))["network"]
    plain = tx.Energy.network(data, network, start, likelihood, dist.Normal())
    return energy.relative_to(jnp.zeros(energy.size)), plain.relative_to(jnp.zeros(plain.size))


def network_rows(name: str, energy: Energy, plain: Energy, replicas: Sequence[int], best: float) -> list[dict]:
    """A line for each number of replicas."""
    rows, batch_size = [], default_batch_size(energy)
    for number in replicas:
        positions = 0.1 * jax.random.normal(jax.random.key(0), (number, energy.size))
        seconds = seconds_of(
            {
                "temperax": partial(as_the_engine, energy, positions, batch_size=batch_size),
                "vmap": partial(plain_vmap, plain, positions),
            }
        )
        each = {kind: value / (STEPS * number) for kind, value in seconds.items()}
        rows.append(
            {
                "network": name,
                "device": jax.devices()[0].device_kind,
                "replicas": number,
                "temperax_us": 1e6 * each["temperax"],
                "vmap_us": 1e6 * each["vmap"],
                "floor_us": 1e6 * best,
                "vmap_over_temperax": each["vmap"] / each["temperax"],
                "temperax_over_floor": each["temperax"] / best,
            }
        )
    return rows


def deep_rows(found: dict[str, float], replicas: Sequence[int]) -> list[dict]:
    """Lines of the deep networks."""
    rows, rng = [], np.random.default_rng(0)
    for name, (inputs, hidden, activation, likelihood, number) in DEEP.items():
        data = tx.Dataset.from_arrays(rng.normal(size=(number, inputs)), rng.normal(size=number))
        energy, plain = in_both_ways(data, hidden, activation, likelihood)
        best = floor(energy, hidden, found, activation)
        rows += network_rows(name, energy, plain, replicas, best)
    return rows


@jax.jit
def plain_vmap(energy: Energy, positions: jax.Array) -> jax.Array:
    """Gradient steps of all replicas in one batch."""
    gradients = jax.vmap(jax.value_and_grad(partial(potential, energy)))
    return jax.lax.fori_loop(0, STEPS, lambda _, q: q - 1e-7 * gradients(q)[1], positions)


def modules(inputs: int, hidden: tuple[int, ...]) -> dict[str, tuple[Any, tuple[Callable, Any]]]:
    """The network as modules, and how a user calls each: (arrays, x) → outputs."""
    import equinox as eqx
    from flax import linen as nn
    from flax import nnx

    sizes, keys = (inputs, *hidden, 1), nnx.Rngs(0)
    layers = [nnx.Linear(a, b, rngs=keys) for a, b in zip(sizes[:-1], sizes[1:], strict=True)]
    of_nnx = nnx.Sequential(*[part for layer in layers for part in (layer, jnp.tanh)][:-1])
    of_linen = nn.Sequential([part for width in sizes[1:] for part in (nn.Dense(width), jnp.tanh)][:-1])
    of_equinox = eqx.nn.MLP(inputs, 1, hidden[0], len(hidden), jnp.tanh, key=jax.random.key(0))
    graph, state = nnx.split(of_nnx)
    arrays, static = eqx.partition(of_equinox, eqx.is_array)
    variables = of_linen.init(jax.random.key(0), jnp.zeros((1, inputs)))
    return {
        "NNX": (of_nnx, (lambda own, x: nnx.merge(graph, own)(x), state)),
        "Linen": (of_linen, (of_linen.apply, variables)),
        "Equinox": (of_equinox, (lambda own, x: jax.vmap(eqx.combine(own, static))(x), arrays)),
    }


@partial(jax.jit, static_argnames="call")
def by_the_user(call: Callable, arrays: Any, x: jax.Array, y: jax.Array) -> Any:
    """Gradient steps of all replicas (leading axis) of a network's arrays, with a log density written around it."""

    def height(own: Any) -> jax.Array:
        prior = sum(0.5 * jnp.sum(leaf**2) for leaf in jax.tree.leaves(own))
        return prior + 0.5 * jnp.sum((y - call(own, x)) ** 2)

    gradients = jax.vmap(jax.value_and_grad(height))

    def step(_: jax.Array, own: Any) -> Any:
        return jax.tree.map(lambda leaf, slope: leaf - 1e-7 * slope, own, gradients(own)[1])

    return jax.lax.fori_loop(0, STEPS, step, arrays)


def module_rows(data: tx.Dataset, hidden: tuple[int, ...], replicas: int) -> list[dict]:
    """A line for each framework."""
    rows = []
    for name, (module, (call, arrays)) in modules(data.x.shape[1], hidden).items():
        energy = tx.Energy.network(data, module, likelihood=tx.likelihoods.Gaussian(1.0))
        energy = energy.relative_to(jnp.zeros(energy.size))
        positions = 0.1 * jax.random.normal(jax.random.key(0), (replicas, energy.size))
        many = jax.tree.map(lambda leaf: jnp.stack([0.1 * leaf] * replicas), arrays)
        batch_size = default_batch_size(energy)
        seconds = seconds_of(
            {
                "temperax": partial(as_the_engine, energy, positions, batch_size=batch_size),
                "vmap": partial(by_the_user, call, many, jnp.asarray(data.x), jnp.asarray(data.y)),
            }
        )
        each = {kind: 1e6 * value / (STEPS * replicas) for kind, value in seconds.items()}
        rows.append(
            {
                "network": name,
                "device": jax.devices()[0].device_kind,
                "replicas": replicas,
                "temperax_us": each["temperax"],
                "vmap_us": each["vmap"],
                "vmap_over_temperax": each["vmap"] / each["temperax"],
            }
        )
    return rows


def seconds_of(calls: Mapping[str, Callable[[], Any]]) -> dict[str, float]:
    """Seconds of each call."""
    return harness.medians({name: partial(harness.seconds, call) for name, call in calls.items()}, REPEATS)


def rates(devices: int) -> dict[str, float]:
    """The machine's floating-point operations and elements a second, all devices together."""
    size, length, loops = 768, 50_000, 200

    def everywhere(function: Callable) -> Callable:
        def one(_: jax.Array, x: jax.Array) -> jax.Array:
            return function(x)

        return lambda batch: over_devices(one, jnp.zeros(()), batch, jnp.int32(0), 1)

    product = everywhere(lambda x: jax.lax.fori_loop(0, 4, lambda _, y: 1e-3 * (x @ y), x))
    activations = {
        name: everywhere(lambda x, f=ACTIVATIONS[name]: jax.lax.fori_loop(0, loops, lambda _, y: f(y - 1e-3), x))
        for name in ("relu", "tanh")
    }
    passes = everywhere(lambda x: jax.lax.fori_loop(0, loops, lambda i, y: y * 0.999 + 1e-3 * i, x))
    square, line = jnp.ones((devices, size, size)) / size, jnp.ones((devices, length)) / 2
    calls = {"product": partial(product, square), "pass": partial(passes, line)}
    calls |= {name: partial(function, line) for name, function in activations.items()}
    found = seconds_of(calls)
    return {
        "flop": devices * 4 * 2 * size**3 / found["product"],
        **{name: devices * loops * length / found[name] for name in ("pass", *activations)},
    }


def floor(energy: Energy, hidden: tuple[int, ...], found: dict[str, float], activation: str = "tanh") -> float:
    """Seconds that the arithmetic of one gradient takes at the machine's rates."""
    rows, inputs = energy.data["x"].shape
    model: Any = energy.model
    outputs = model.likelihood.num_outputs(energy.data["y"])
    sizes = (inputs + 1, *(width + 1 for width in hidden), outputs)
    weights = np.array([a * b for a, b in zip(sizes[:-1], sizes[1:], strict=True)])
    # Forward, gradient by the weights, and gradient by the layer's input, which the first layer does not need.
    flop = 2.0 * rows * (3 * weights.sum() - weights[0])
    units = float(rows * sum(hidden))
    return flop / found["flop"] + units / found[activation] + 4 * units / found["pass"]


def main() -> None:
    parser = harness.arguments(__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="concrete")
    parser.add_argument("--hidden", type=int, nargs="+", default=[50])
    parser.add_argument("--replicas", type=int, nargs="+", default=[1, 4, 16, 64, 128, 1024])
    options = parser.parse_args()
    tx.use_cpu_devices(harness.cores())
    hidden = tuple(options.hidden)
    data = tx.datasets.load(options.dataset, split=0)
    energy, plain = in_both_ways(data, hidden, "tanh", tx.likelihoods.Gaussian())
    found = rates(jax.local_device_count())
    best = floor(energy, hidden, found)
    rows = network_rows("Energy.mlp", energy, plain, [1, 4, 16] if options.quick else options.replicas, best)
    rows += (deep := deep_rows(found, DEEP_REPLICAS[:1] if options.quick else DEEP_REPLICAS))
    print(
        f"{found['flop'] / 1e9:.0f} GFLOP/s, {1e9 / found['tanh']:.2f} ns a tanh, {1e9 / found['pass']:.2f} ns a pass"
    )
    rows += (found_modules := module_rows(data, hidden, 16))
    own = [r for r in rows if r["network"] == "Energy.mlp"]
    last = next((r for r in own if r["replicas"] == 128), own[-1])
    of = f"{last['replicas']} replicas"
    goals = [
        harness.goal(f"plain vmap / temperax, {of}", last["vmap_over_temperax"], 3.0, at_most=False),
        *(
            harness.goal(f"temperax / plain vmap, {r['network']}", 1 / r["vmap_over_temperax"], 1.3, at_most=True)
            for r in found_modules
        ),
        harness.goal(f"temperax / floor, {of}", last["temperax_over_floor"], 1.3, at_most=True),
    ]
    for row in deep:
        of = f"{row['network']}, {row['replicas']} replicas"
        goals.append(harness.goal(f"plain vmap / temperax, {of}", row["vmap_over_temperax"], 2.0, at_most=False))
        goals.append(harness.goal(f"temperax / floor, {of}", row["temperax_over_floor"], 1.3, at_most=True))
    harness.finish(rows, goals, options.json)


if __name__ == "__main__":
    main()
