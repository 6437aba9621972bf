"""Networks from Flax, Equinox and pairs of functions: the same energies, priors by path, what stays fixed."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from compilations import Compilations
from flax import linen as nn
from flax import nnx
from networks import Attention, Convolutional, Recurrent, Regularised, Residual
from numpyro.contrib.module import random_nnx_module

import temperax as tx
from temperax.energies.parameters import is_distribution
from temperax.energies.path_priors import fan_in

X = np.linspace(-2.0, 2.0, 24)[:, None]
LINE = tx.Dataset.from_arrays(X, np.sin(2 * X[:, 0]))
Normal, FanIn = tx.priors.Normal, tx.priors.FanInNormal


def stack_nnx():
    return nnx.Sequential(nnx.Linear(1, 3, rngs=nnx.Rngs(0)), nnx.tanh, nnx.Linear(3, 1, rngs=nnx.Rngs(1)))


def by_hand():
    def init(key, x):
        return {
            "0": {"b": jnp.zeros(3), "w": jnp.zeros((x.shape[1], 3))},
            "1": {"b": jnp.zeros(1), "w": jnp.zeros((3, 1))},
        }

    def apply(p, x):
        return jnp.tanh(x @ p["0"]["w"] + p["0"]["b"]) @ p["1"]["w"] + p["1"]["b"]

    return init, apply


#: Made when they are asked for: workers that collect the tests at one time would compile the same at one time.
STACKS = {
    "NNX": stack_nnx,
    "Linen": lambda: nn.Sequential([nn.Dense(3), nn.tanh, nn.Dense(1)]),
    "Equinox": lambda: eqx.nn.MLP(1, 1, 3, 1, jnp.tanh, key=jax.random.key(0)),
    "a pair": by_hand,
}
KNOWN = tx.likelihoods.Gaussian(0.3)


@pytest.fixture(scope="module")
def own():
    """The library's own network and its draws."""
    energy = tx.Energy.mlp(LINE, (3,), likelihood=KNOWN)
    return energy, draws_of(energy)


def draws_of(energy):
    kernel = tx.HMC(step_size=0.05, trajectory_length=0.4, inverse_mass=1.0)
    options = {"num_warmup": 0, "num_draws": 5, "num_chains": 2, "progress": False}
    start = np.random.default_rng(0).normal(size=(2, energy.size))
    tree = tx.sample(jax.random.key(4), energy, kernel=kernel, start=start, **options)
    return np.asarray(tree["sample_stats"]["data_energy"])


@pytest.mark.parametrize(
    "name", [pytest.param(s, marks=pytest.mark.slow) if s in ("Equinox", "a pair") else s for s in STACKS]
)
def test_one_network_in_every_form(name, own, key):
    """Identical energies at identical positions, and from one key the same draws up to rounding."""
    energy, heights = own
    other = tx.Energy.network(LINE, STACKS[name](), likelihood=KNOWN)
    for again in range(3):
        position = energy.sample_prior(jax.random.fold_in(key, again))
        assert other.prior_energy(position) == pytest.approx(float(energy.prior_energy(position)), rel=1e-6)
        assert other.data_energy(position) == pytest.approx(float(energy.data_energy(position)), rel=1e-5)
    np.testing.assert_allclose(draws_of(other), heights, rtol=1e-3)


@pytest.mark.slow
def test_the_same_network_in_a_numpyro_model(own, key):
    energy, heights = own

    def model(x, y):
        net = random_nnx_module("net", stack_nnx(), dist.Normal(0.0, 1.0))
        numpyro.sample("y", dist.Normal(net(x)[:, 0], 0.3), obs=y)

    other = tx.Energy.from_numpyro(model, LINE.x, LINE.y[:, 0])
    position = energy.sample_prior(key)
    assert other.prior_energy(position) == pytest.approx(float(energy.prior_energy(position)), rel=1e-6)
    assert other.data_energy(position) == pytest.approx(float(energy.data_energy(position)), rel=1e-5)
    np.testing.assert_allclose(draws_of(other), heights, rtol=1e-3)


@pytest.fixture(scope="module")
def digits():
    whole = tx.datasets.load("digits")
    return tx.Dataset.from_arrays(
        whole.x[:60],
        whole.y[:60, 0].astype(int),
        whole.x[60:90],
        whole.y[60:90, 0].astype(int),
        task="classification",
        classes=[str(i) for i in range(10)],
    )


NETWORKS = {
    "convolutional": (lambda: Convolutional(nnx.Rngs(0)), (8, 8, 1), 4 * 9 + 4 + 8 * 36 + 8 + 330),
    "attention": (lambda: Attention(jax.random.key(0)), (8, 8), 54 + 4 * 36 + 70),
}


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) for n in ("convolutional", "attention")])
def test_images(name, digits, key):
    """Networks of images are sampled, and predict classes by their names."""
    make, shape, size = NETWORKS[name]
    energy = tx.Energy.network(digits, make(), input_shape=shape)
    assert energy.size == size
    best = tx.map_estimate(key, energy, num_starts=1, progress=False)
    found = tx.predict.predictions(best, digits.x_test * digits.x_scale + digits.x_mean, energy)["f"]
    assert found.shape == (1, 1, 30, 10) and list(found["class"].values) == [str(i) for i in range(10)]
    np.testing.assert_allclose(found.sum("class"), 1.0, rtol=1e-4)
    assert float(tx.predict.scores(best)["accuracy"].iloc[0]) > 0.2  # of a tenth by chance


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_networks_of_images_are_sampled(name, digits, key):
    make, shape, _ = NETWORKS[name]
    energy = tx.Energy.network(digits, make(), input_shape=shape)
    tree = tx.sample(key, energy, num_warmup=100, num_draws=100, num_chains=2, progress=False)
    assert np.isfinite(tree["sample_stats"]["lp"]).all()
    assert float(tx.predict.scores(tree)["accuracy"].iloc[0]) > 0.35  # of 30 rows, a tenth by chance


@pytest.mark.parametrize("name", ["residual", "recurrent"])
@pytest.mark.slow
def test_other_networks(name, key):
    """Ways around layers, and a sequence of eight steps, whose last its network tells."""
    x = np.random.default_rng(0).normal(size=(40, 8))
    data = tx.Dataset.from_arrays(x, x[:, -1] + 0.1 * x[:, -2])
    if name == "residual":
        energy = tx.Energy.network(data, Residual(), prior={"*/kernel": FanIn(), "*/bias": Normal(0.1)})
    else:
        energy = tx.Energy.network(data, Recurrent(key), input_shape=(8, 1))
    best = tx.map_estimate(key, energy, num_starts=1, progress=False)
    reached = float(best["sample_stats"]["data_energy"].squeeze())
    assert reached < float(energy.data_energy(0.1 * energy.sample_prior(key))) - 5
    tree = tx.sample(key, energy, num_warmup=10, num_draws=5, num_chains=2, progress=False)
    assert np.isfinite(tree["sample_stats"]["lp"]).all()


def test_what_is_not_trained_stays(key):
    """Batch statistics stay as they are and dropout is off; the module itself is left as it was."""
    module = Regularised(nnx.Rngs(0))
    module(jnp.ones((5, 2), jnp.float32))  # a step of its statistics, which are in single precision
    data = tx.Dataset.from_arrays(np.random.default_rng(0).normal(size=(20, 2)), np.arange(20.0))
    energy = tx.Energy.network(data, module)
    assert not [name for name in energy.names if "mean" in name or "var" in name or "rng" in name]
    position = energy.sample_prior(key)
    parameters = energy.unravel(position)["network"]
    own = nnx.clone(module)
    own.eval()
    nnx.update(
        own, nnx.State({room: {k: nnx.Param(v) for k, v in arrays.items()} for room, arrays in parameters.items()})
    )
    np.testing.assert_allclose(energy.mean(position, data.x), own(data.x), rtol=1e-5)
    assert energy.data_energy(position) == energy.data_energy(position)
    assert module.drop.deterministic is False


def test_priors_by_path(key):
    """The last pattern that fits decides; fan-ins are those of the arrays; None keeps a module's own values."""
    module = Convolutional(nnx.Rngs(0), classes=1)
    data = tx.Dataset.from_arrays(np.random.default_rng(0).normal(size=(6, 64)), np.arange(6.0))
    prior = {"*/kernel": FanIn(), "*/bias": Normal(0.5), "head/*": dist.Laplace(0.0, 2.0), "first/*": None}
    energy = tx.Energy.network(data, module, prior=prior, input_shape=(8, 8, 1), likelihood=KNOWN)
    assert energy.names == ["head_bias", "head_kernel", "second_bias", "second_kernel"]
    scales = {
        name: float(leaf.base_dist.variance.mean())
        for name, leaf in zip(
            energy.names, jax.tree.leaves(energy.prior, is_leaf=lambda x: isinstance(x, dist.Distribution)), strict=True
        )
    }
    assert scales == pytest.approx({"head_bias": 8.0, "head_kernel": 8.0, "second_bias": 0.25, "second_kernel": 1 / 36})
    position = energy.sample_prior(key)
    own = nnx.clone(module)
    for room, arrays in energy.unravel(position)["network"].items():
        for name, values in arrays.items():
            getattr(getattr(own, room), name).set_value(values)
    np.testing.assert_allclose(energy.mean(position, data.x), own(data.x.reshape(6, 8, 8, 1)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("path", "shape", "outputs_first", "expected"),
    [
        ("dense/kernel", (7, 3), False, 7),
        ("conv/kernel", (3, 3, 4, 8), False, 36),
        ("attention/query/kernel", (6, 2, 3), False, 6),
        ("attention/out/kernel", (2, 3, 6), False, 6),
        ("embed/embedding", (100, 5), False, 5),
        ("linear/weight", (3, 7), True, 7),
        ("conv/weight", (8, 4, 3, 3), True, 36),
        ("dense/bias", (3,), False, 1),
    ],
)
def test_fan_in(path, shape, outputs_first, expected):
    assert fan_in(path, shape, outputs_first) == expected


@pytest.mark.parametrize("name", ["NNX", "Linen", "Equinox"])
def test_a_stack_of_dense_layers_has_a_faster_form(name, own):
    assert tx.modules.as_mlp(STACKS[name]()) == {"hidden": (3,), "activation": "tanh"}
    assert tx.Energy.mlp(LINE, **tx.modules.as_mlp(STACKS[name]()), likelihood=KNOWN).size == own[0].size


def test_a_module_again_compiles_nothing(key):
    """Another module of the same layers shares the programs of the first."""
    options = {"num_warmup": 5, "num_draws": 5, "num_chains": 2, "start": "prior", "progress": False}
    tx.sample(key, tx.Energy.network(LINE, stack_nnx()), **options)
    with Compilations() as compiled:
        tx.sample(key, tx.Energy.network(LINE, stack_nnx()), **options)
    assert not compiled.count, compiled.programs


class Draws(nn.Module):
    """A Linen module that asks for randomness when it is called."""

    @nn.compact
    def __call__(self, x):
        return nn.Dropout(0.5, deterministic=False)(nn.Dense(1)(x))


PLAIN = nn.Dense(1)
REFUSED = {
    "no module": (lambda: tx.Energy.network(LINE, 3), "module = 3"),
    "one output too many": (
        lambda: tx.Energy.network(LINE, nn.Dense(2)),
        r"does not return \(24, 1\), \(row, output\)",
    ),
    "an image that is flat": (lambda: tx.Energy.network(LINE, Convolutional(nnx.Rngs(0))), "fails on the inputs"),
    "dropout that is on": (lambda: tx.Energy.network(LINE, Draws()), "fails on the inputs .InvalidRngError"),
    "an input shape": (lambda: tx.Energy.network(LINE, PLAIN, input_shape=(2, 2)), "does not hold the 1 inputs"),
    "parameters beside": (lambda: tx.Energy.network(LINE, PLAIN, {"w": 1.0}), "are given beside a module"),
    "no parameters": (lambda: tx.Energy.network(LINE, lambda p, x: x), "parameters = None are missing"),
    "a pattern of nothing": (
        lambda: tx.Energy.network(LINE, PLAIN, prior={"*": Normal(), "head/*": Normal()}),
        "'head/\\*' fits no array",
    ),
    "an array without": (
        lambda: tx.Energy.network(LINE, PLAIN, prior={"kernel": Normal()}),
        "are arrays that no pattern fits",
    ),
    "all fixed": (lambda: tx.Energy.network(LINE, PLAIN, prior={"*": None}), "keeps every array fixed"),
    "no prior": (lambda: tx.Energy.network(LINE, PLAIN, prior={"*": 3.0}), "3.0 is not a prior"),
    "a prior of layers": (lambda: tx.Energy.network(LINE, PLAIN, prior=tx.priors.ARD()), "is a prior for layers"),
    "no stack": (lambda: tx.modules.as_mlp(Residual()), "is not a stack of dense layers"),
    "another last activation": (
        lambda: tx.modules.as_mlp(eqx.nn.MLP(1, 1, 3, 1, jnp.tanh, jax.nn.hard_tanh, key=jax.random.key(0))),
        "one behind the last",
    ),
    "a softmax between": (
        lambda: tx.modules.as_mlp(nn.Sequential([nn.Dense(3), nn.softmax, nn.Dense(1)])),
        "no elementwise functions",
    ),
    "dropout between": (
        lambda: tx.modules.as_mlp(nn.Sequential([nn.Dense(3), nn.Dropout(0.5), nn.Dense(1)])),
        "no elementwise functions",
    ),
    "an activation that learns": (
        lambda: tx.modules.as_mlp(eqx.nn.MLP(1, 1, 3, 1, eqx.nn.PReLU(), key=jax.random.key(0))),
        "no elementwise functions",
    ),
    "no biases": (lambda: tx.modules.as_mlp(nn.Sequential([nn.Dense(3, use_bias=False)])), "lacks biases"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_modules_are_refused_by_one_sentence(name):
    call, message = REFUSED[name]
    with pytest.raises(tx.InputError, match=message) as raised:
        call()
    assert "\n" not in str(raised.value)


def test_biases_of_convolutions_have_the_priors_of_biases(key):
    """Equinox keeps them as columns."""
    module = eqx.nn.Sequential([eqx.nn.Conv1d(1, 3, 1, key=key), eqx.nn.Lambda(lambda x: x.reshape(-1)[:1])])
    energy = tx.Energy.network(LINE, module, prior=FanIn(bias_scale=0.1), likelihood=KNOWN, input_shape=(1, 1))
    bias = next(
        p
        for name, p in zip(energy.names, jax.tree.leaves(energy.prior, is_leaf=is_distribution), strict=True)
        if "bias" in name
    )
    assert float(bias.base_dist.variance.mean()) == pytest.approx(0.01)
