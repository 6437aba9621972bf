"""NumPyro models that use each of its features, as (model, args, kwargs): what `test_numpyro_models` opens."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from numpyro import handlers
from numpyro.contrib.control_flow import scan
from numpyro.distributions import constraints
from numpyro.infer.reparam import CircularReparam, LocScaleReparam, TransformReparam

RNG = np.random.default_rng(0)
X = RNG.normal(size=12)
Y = (0.5 * X + 0.3 * RNG.normal(size=12)).round(3)
GROUP = np.arange(12) % 3
COUNTS = RNG.poisson(3.0, size=12)
LABELS = (X > 0).astype(int)
MATRIX = RNG.normal(size=(12, 2))


def line(x, y=None):
    slope = numpyro.sample("slope", dist.Normal(0.0, 1.0))
    noise = numpyro.sample("noise", dist.HalfNormal(1.0))
    with numpyro.plate("row", len(x)):
        numpyro.sample("y", dist.Normal(slope * x, noise), obs=y)


def factors(x):
    slope = numpyro.sample("slope", dist.Normal(0.0, 1.0))
    numpyro.factor("likelihood", -0.5 * jnp.sum((x - slope) ** 2))


def factor_beside_data(x):
    slope = numpyro.sample("slope", dist.Normal(0.0, 1.0))
    numpyro.factor("penalty", -jnp.abs(slope))
    numpyro.sample("y", dist.Normal(slope, 1.0).expand([12]).to_event(1), obs=x)


def nested_plates(y):
    with numpyro.plate("column", 2, dim=-1):
        scale = numpyro.sample("scale", dist.LogNormal(0.0, 1.0))
        with numpyro.plate("row", 12, dim=-2):
            mean = numpyro.sample("mean", dist.Normal(0.0, scale))
            numpyro.sample("y", dist.Normal(mean, 1.0), obs=y)


def masked(y):
    mean = numpyro.sample("mean", dist.Normal(0.0, 1.0))
    with numpyro.plate("row", 12), handlers.mask(mask=~jnp.isnan(y)):
        numpyro.sample("y", dist.Normal(mean, 1.0), obs=y)


def masked_latents(y):
    with numpyro.plate("group", 3):
        with handlers.mask(mask=jnp.array([True, False, True])):
            mean = numpyro.sample("mean", dist.Gamma(2.0, 1.0))
    numpyro.sample("y", dist.Normal(mean[0], 1.0).expand([12]), obs=y)


def scaled(x, y):
    slope = numpyro.sample("slope", dist.Normal(0.0, 1.0))
    with handlers.scale(scale=2.5):
        numpyro.sample("y", dist.Normal(slope * x, 1.0), obs=y)


def scaled_latents(y):
    with handlers.scale(scale=0.5):
        rate = numpyro.sample("rate", dist.Normal(0.0, 1.0))
    numpyro.sample("y", dist.Normal(rate, 1.0).expand([12]), obs=y)


def non_centred(y):
    scale = numpyro.sample("scale", dist.HalfCauchy(1.0))
    with handlers.reparam(config={"mean": LocScaleReparam(centered=0)}), numpyro.plate("group", 3):
        mean = numpyro.sample("mean", dist.Normal(0.0, scale))
    numpyro.sample("y", dist.Normal(mean[GROUP], 1.0), obs=y)


def transform_reparam(y):
    with handlers.reparam(config={"level": TransformReparam()}):
        base = dist.TransformedDistribution(dist.Normal(0.0, 1.0), dist.transforms.AffineTransform(1.0, 2.0))
        level = numpyro.sample("level", base)
    numpyro.sample("y", dist.Normal(level, 1.0).expand([12]), obs=y)


def circular(y):
    with handlers.reparam(config={"angle": CircularReparam()}):
        angle = numpyro.sample("angle", dist.VonMises(0.0, 2.0))
    numpyro.sample("y", dist.Normal(jnp.cos(angle), 1.0).expand([12]), obs=y)


def deterministic(x, y):
    slope = numpyro.sample("slope", dist.Normal(0.0, 1.0))
    numpyro.deterministic("twice", 2 * slope)
    with numpyro.plate("row", len(x)):
        mean = numpyro.deterministic("mean", slope * x)
        numpyro.sample("y", dist.Normal(mean, 1.0), obs=y)


def improper(x, y):
    slope = numpyro.sample("slope", dist.ImproperUniform(constraints.real, (), ()))
    noise = numpyro.sample("noise", dist.ImproperUniform(constraints.positive, (), ()))
    numpyro.sample("y", dist.Normal(slope * x, noise), obs=y)


def improper_ordered(y):
    cut = numpyro.sample("cut", dist.ImproperUniform(constraints.ordered_vector, (), event_shape=(2,)))
    numpyro.sample("y", dist.OrderedLogistic(jnp.zeros(12), cut), obs=y)


def scoped(x, y):
    def inner():
        return numpyro.sample("slope", dist.Normal(0.0, 1.0))

    with handlers.scope(prefix="one"):
        one = inner()
    with handlers.scope(prefix="two"):
        two = inner()
    numpyro.sample("y", dist.Normal((one + two) * x, 1.0), obs=y)


def nested(x, y):
    def deeper():
        with handlers.scope(prefix="deep"):
            return numpyro.sample("slope", dist.Laplace(0.0, 1.0))

    with handlers.scope(prefix="wide"):
        slope = deeper()
    numpyro.sample("y", dist.Normal(slope * x, 1.0), obs=y)


def simplex(y):
    shares = numpyro.sample("shares", dist.Dirichlet(jnp.ones(3)))
    numpyro.sample("y", dist.Categorical(shares).expand([12]), obs=y)


def correlations(y):
    root = numpyro.sample("root", dist.LKJCholesky(2, 2.0))
    scales = numpyro.sample("scales", dist.HalfNormal(1.0).expand([2]).to_event(1))
    with numpyro.plate("row", 12):
        numpyro.sample("y", dist.MultivariateNormal(0.0, scale_tril=scales[:, None] * root), obs=y)


def dynamic_support(y):
    lower = numpyro.sample("lower", dist.Normal(-3.0, 1.0))
    upper = numpyro.sample("upper", dist.TruncatedNormal(3.0, 1.0, low=lower))
    inside = numpyro.sample("inside", dist.Uniform(lower, upper))
    numpyro.sample("y", dist.Normal(inside, 1.0).expand([12]), obs=y)


def sample_shape(y):
    means = numpyro.sample("means", dist.Normal(0.0, 1.0), sample_shape=(3,))
    numpyro.sample("y", dist.Normal(means[GROUP], 1.0), obs=y)


def truncated(y):
    mean = numpyro.sample("mean", dist.TruncatedNormal(0.0, 1.0, low=-1.0, high=2.0))
    numpyro.sample("y", dist.StudentT(3.0, mean, 1.0).expand([12]), obs=y)


def poisson(x, y):
    slope = numpyro.sample("slope", dist.Normal(0.0, 1.0))
    numpyro.sample("y", dist.Poisson(jnp.exp(1.0 + slope * x)), obs=y)


def logistic(x, y):
    weights = numpyro.sample("weights", dist.Normal(0.0, 1.0).expand([2]).to_event(1))
    numpyro.sample("y", dist.Bernoulli(logits=x @ weights), obs=y)


def python_sizes(group, y):
    number = len(np.unique(group))  # which a tracer has not
    with numpyro.plate("group", number):
        mean = numpyro.sample("mean", dist.Normal(0.0, 1.0))
    numpyro.sample("y", dist.Normal(mean[group], 1.0), obs=y)


def walk(y):
    scale = numpyro.sample("scale", dist.HalfNormal(1.0))

    def step(level, observed):
        level = numpyro.sample("level", dist.Normal(level, scale))
        numpyro.sample("y", dist.Normal(level, 1.0), obs=observed)
        return level, None

    scan(step, 0.0, y)


def hidden_markov(y):
    stay = numpyro.sample("stay", dist.Beta(2.0, 2.0).expand([2]).to_event(1))
    means = numpyro.sample("means", dist.Normal(jnp.array([-1.0, 1.0]), 1.0).to_event(1))
    transition = jnp.log(jnp.array([[stay[0], 1 - stay[0]], [1 - stay[1], stay[1]]]))

    def step(logs, observed):
        reached = jax.scipy.special.logsumexp(logs[:, None] + transition, axis=0)
        return reached + dist.Normal(means, 0.5).log_prob(observed), None

    logs, _ = jax.lax.scan(step, jnp.log(jnp.array([0.5, 0.5])), y)
    numpyro.factor("forward", jax.scipy.special.logsumexp(logs))


def mixture(y):
    shares = numpyro.sample("shares", dist.Dirichlet(jnp.ones(2)))
    means = numpyro.sample("means", dist.Normal(0.0, 3.0).expand([2]).to_event(1))
    parts = dist.MixtureSameFamily(dist.Categorical(shares), dist.Normal(means, 0.5))
    with numpyro.plate("row", 12):
        numpyro.sample("y", parts, obs=y)


def enumerated(y):
    share = numpyro.sample("share", dist.Beta(1.0, 1.0))
    means = numpyro.sample("means", dist.Normal(0.0, 3.0).expand([2]).to_event(1))
    with numpyro.plate("row", 12):
        part = numpyro.sample("part", dist.Bernoulli(share), infer={"enumerate": "parallel"})
        numpyro.sample("y", dist.Normal(means[part], 0.5), obs=y)


def two_outcomes(x, y, counts):
    slope = numpyro.sample("slope", dist.Normal(0.0, 1.0))
    with numpyro.plate("row", 12):
        numpyro.sample("y", dist.Normal(slope * x, 1.0), obs=y)
        numpyro.sample("counts", dist.Poisson(jnp.exp(slope)), obs=counts)


def beta_and_other_names(y):
    beta = numpyro.sample("beta", dist.Normal(0.0, 1.0))
    draw = numpyro.sample("draw", dist.Normal(0.0, 1.0))
    target = numpyro.sample("target", dist.Normal(0.0, 1.0).expand([2]).to_event(1))
    other = numpyro.sample("target_dim_0", dist.Normal(0.0, 1.0))
    numpyro.sample("y", dist.Normal(beta + draw + target.sum() + other, 1.0).expand([12]), obs=y)


def linen(x, y):
    from flax import linen as nn
    from numpyro.contrib.module import random_flax_module

    net = random_flax_module("net", nn.Sequential([nn.Dense(3), nn.tanh, nn.Dense(1)]), dist.Normal(), input_shape=(1,))
    numpyro.sample("y", dist.Normal(net(x[:, None])[:, 0], 0.3), obs=y)


def nnx(x, y):
    from flax import nnx as nn
    from numpyro.contrib.module import random_nnx_module

    module = nn.Sequential(nn.Linear(1, 3, rngs=nn.Rngs(0)), nn.tanh, nn.Linear(3, 1, rngs=nn.Rngs(1)))
    net = random_nnx_module("net", module, dist.Normal())
    numpyro.sample("y", dist.Normal(net(x[:, None])[:, 0], 0.3), obs=y)


def equinox(x, y):
    import equinox as eqx
    from numpyro.contrib.module import random_eqx_module

    net = random_eqx_module("net", eqx.nn.MLP(1, 1, 3, 1, jnp.tanh, key=jax.random.key(0)), dist.Normal())
    numpyro.sample("y", dist.Normal(jax.vmap(net)(x[:, None])[:, 0], 0.3), obs=y)


def fixed_module(x, y):
    from flax import linen as nn
    from numpyro.contrib.module import flax_module

    net = flax_module("net", nn.Dense(1), input_shape=(1,))
    noise = numpyro.sample("noise", dist.HalfNormal(1.0))
    numpyro.sample("y", dist.Normal(net(x[:, None])[:, 0], noise), obs=y)


def schools(error, y):
    """Eight schools, centred."""
    centre = numpyro.sample("centre", dist.Normal(0.0, 5.0))
    spread = numpyro.sample("spread", dist.HalfCauchy(5.0))
    with numpyro.plate("school", 8):
        effect = numpyro.sample("effect", dist.Normal(centre, spread))
        numpyro.sample("y", dist.Normal(effect, error), obs=y)


def bayesian_network(x, y):
    """The network of NumPyro's own examples, with its function as a deterministic site."""
    first = numpyro.sample("w1", dist.Normal(jnp.zeros((1, 3)), jnp.ones((1, 3))))
    second = numpyro.sample("w2", dist.Normal(jnp.zeros((3, 3)), jnp.ones((3, 3))))
    last = numpyro.sample("w3", dist.Normal(jnp.zeros((3, 1)), jnp.ones((3, 1))))
    f = numpyro.deterministic("f", jnp.tanh(jnp.tanh(x[:, None] @ first) @ second) @ last)
    precision = numpyro.sample("precision", dist.Gamma(3.0, 1.0))
    with numpyro.plate("row", len(x)):
        numpyro.sample("y", dist.Normal(f, 1.0 / jnp.sqrt(precision)).to_event(1), obs=y[:, None])


WITH_GAPS = np.where(np.arange(12) == 4, np.nan, Y)

MODELS = {
    "line": (line, (X, Y), {}),
    "keywords": (line, (X,), {"y": Y}),
    "factors": (factors, (X,), {}),
    "a factor beside data": (factor_beside_data, (X,), {}),
    "nested plates": (nested_plates, (MATRIX,), {}),
    "masked": (masked, (WITH_GAPS,), {}),
    "masked latents": (masked_latents, (Y,), {}),
    "scaled": (scaled, (X, Y), {}),
    "scaled latents": (scaled_latents, (Y,), {}),
    "non-centred": (non_centred, (Y,), {}),
    "transformed": (transform_reparam, (Y,), {}),
    "circular": (circular, (Y,), {}),
    "deterministic": (deterministic, (X, Y), {}),
    "improper": (improper, (X, Y), {}),
    "improper and ordered": (improper_ordered, (GROUP,), {}),
    "scoped": (scoped, (X, Y), {}),
    "nested scopes": (nested, (X, Y), {}),
    "simplex": (simplex, (GROUP,), {}),
    "correlations": (correlations, (MATRIX,), {}),
    "supports that depend": (dynamic_support, (Y,), {}),
    "sample shape": (sample_shape, (Y,), {}),
    "truncated": (truncated, (Y,), {}),
    "Poisson": (poisson, (X, COUNTS), {}),
    "logistic": (logistic, (MATRIX, LABELS), {}),
    "sizes in Python": (python_sizes, (GROUP, Y), {}),
    "scan": (walk, (Y,), {}),
    "hidden Markov": (hidden_markov, (Y,), {}),
    "mixture": (mixture, (Y,), {}),
    "summed out": (enumerated, (Y,), {}),
    "two outcomes": (two_outcomes, (X, Y, COUNTS), {}),
    "names": (beta_and_other_names, (Y,), {}),
    "Linen": (linen, (X, Y), {}),
    "NNX": (nnx, (X, Y), {}),
    "Equinox": (equinox, (X, Y), {}),
    "eight schools": (
        schools,
        (np.array([15, 10, 16, 11, 9, 11, 10, 18.0]), np.array([28, 8, -3, 7, -1, 1, 18, 12.0])),
        {},
    ),
    "a network of NumPyro's": (bayesian_network, (X, Y), {}),
    "a fixed module": (fixed_module, (X, Y), {}),
}
#: Models whose prior has no distribution.
FLAT = {"masked latents", "scaled latents", "circular", "improper", "improper and ordered"}
