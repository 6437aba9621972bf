"""Getting it right (Geweke 2004): a kernel step on exact draws of (θ, y) must leave their law as it is."""

from dataclasses import dataclass, replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from broken import UntemperedGradient
from forward import joint
from jax.tree_util import register_dataclass
from numpyro.infer.util import ParamInfo

import temperax as tx
from temperax import tempering
from temperax.engine.kernels import Info, Tuning
from temperax.engine.program import make_program
from temperax.engine.scanning import explore_replica

NOISE = dist.LogNormal(-0.5, 0.1)  # no mass near 0, so that the joint law is proper at β = 3
LIKELIHOODS = {
    "gaussian_fixed": tx.likelihoods.Gaussian(0.5),
    "gaussian_learned": tx.likelihoods.Gaussian(NOISE),
    "heteroscedastic": tx.likelihoods.HeteroscedasticGaussian(0.5),
    "student_t": tx.likelihoods.StudentT(4.0, NOISE),
    "bernoulli": tx.likelihoods.Bernoulli(),
    "categorical": tx.likelihoods.Categorical(3),
    "poisson": tx.likelihoods.Poisson(),
}
PRIORS = {
    "normal": tx.priors.Normal(0.4),
    "fan_in": tx.priors.FanInNormal(0.5, 0.4),
    "laplace": tx.priors.Laplace(0.15),
    "student_t": tx.priors.StudentT(8.0, 0.2),
    "ard": tx.priors.ARD(0.4),
}
KERNELS = {"hmc": tx.HMC(), "nuts": tx.NUTS(max_tree_depth=4)}
BETAS = (0.0, 0.3, 1.0, 3.0)
LIKELIHOOD = tempering.PATHS["likelihood"]
REPLICATES = 10_000
STEP_SIZE = 0.7
THRESHOLD = 4.5  # about 1e-5 for one statistic


def make_energy(likelihood, prior):
    likelihood = LIKELIHOODS[likelihood]
    rng = np.random.default_rng(3)
    x = rng.normal(size=(4, 2))
    y = np.array([0.0, 1.0, 0.0, 1.0])
    data = tx.Dataset.from_arrays(x, y, task=likelihood.task, standardise=False)
    return tx.Energy.mlp(data, (2,), likelihood=likelihood, prior=PRIORS[prior])


@partial(jax.jit, static_argnames=("size", "broken"))
def statistics(program, beta, key, size, broken=None):
    """Test functions of (θ, y) before and after one step, with log weights."""
    keys = jax.random.split(key, 3)
    energy = program.energy
    positions, y, log_weight = joint(energy, beta, keys[0], size)
    # Any fixed tuning will do; this one moves far and is accepted often at every β.
    step_size = STEP_SIZE / jnp.sqrt(1 + beta)
    # It is turned in one direction, along the diagonal of all parameters.
    axis = jnp.full((positions.shape[1], 1), positions.shape[1] ** -0.5)
    tuning = Tuning(step_size, jnp.var(positions, axis=0), 3 * step_size, axis, jnp.array([1.3]))

    def with_targets(y):
        return replace(program, energy=energy.with_data(energy.data | {"y": y}))

    def evaluate(position, y):
        return tempering.evaluate(LIKELIHOOD, with_targets(y).energy, position)

    def step(point, y, key, jitter):
        return explore_replica(with_targets(y), key, point, beta, tuning, jitter, jnp.int32(1))[:2]

    points = jax.vmap(evaluate)(positions, y)
    jitter = jax.random.uniform(keys[2], (size,), minval=0.3)
    if broken == "stale gradient":  # of the replica that sat there before, kept over a swap
        points = points._replace(path_gradient=jnp.roll(points.path_gradient, 1, axis=0))
        jitter = 0.3 * jitter  # one step a trajectory, of which the first gradient is half
    after, info = jax.vmap(step)(points, y, jax.random.split(keys[1], size), jitter)

    def describe(position, y):
        f = energy.mean(position, energy.data["x"])
        t = tempering.terms(LIKELIHOOD, with_targets(y).energy, position)
        return jnp.concatenate([position, position**2, jnp.stack([t.prior, t.data]), (f[:, :1] * y).ravel()])

    return jax.vmap(describe)(positions, y), jax.vmap(describe)(after.position, y), log_weight, info


def largest_z(program, beta, key, **options):
    """The largest difference between stepped and fresh draws, in standard errors of weighted means."""
    fresh_key, step_key = jax.random.split(key)
    fresh, _, fresh_weight, _ = statistics(program, beta, fresh_key, REPLICATES, **options)
    _, stepped, weight, info = statistics(program, beta, step_key, REPLICATES, **options)
    (m1, e1), (m2, e2) = weighted_mean(fresh, fresh_weight), weighted_mean(stepped, weight)
    return float(np.max(np.abs(m1 - m2) / np.sqrt(e1**2 + e2**2))), info


def weighted_mean(values, log_weight):
    weight = np.exp(np.asarray(log_weight, float) - np.max(log_weight))
    weight /= weight.sum()
    assert 1 / np.sum(weight**2) > 250, "the weights leave too few effective draws for a test"
    values = np.asarray(values, float)
    mean = weight @ values
    return mean, np.sqrt(weight**2 @ (values - mean) ** 2)


def make(kernel, likelihood, prior):
    return make_program(
        make_energy(likelihood, prior),
        np.array([1.0]),
        path=LIKELIHOOD,
        kernel=kernel,
        num_chains=1,
        kept=np.array([0]),
        thin=1,
        scheme=None,
        batch_size=0,
        exact=True,
    )


def check(kernel, likelihood, prior, key):
    program = make(KERNELS[kernel], likelihood, prior)
    for i, beta in enumerate(BETAS):
        z, info = largest_z(program, jnp.float32(beta), jax.random.fold_in(key, i))
        assert z < THRESHOLD, f"beta {beta}"
        assert float(info.acceptance_rate.mean()) > 0.2, "the step must move for the test to mean something"


FAST = [
    ("hmc", "gaussian_learned", "normal"),
]


@pytest.mark.parametrize(("kernel", "likelihood", "prior"), FAST)
def test_invariance(kernel, likelihood, prior, key):
    check(kernel, likelihood, prior, key)


@pytest.mark.slow
@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize("kernel", KERNELS)
def test_invariance_of_every_combination(kernel, likelihood, prior, key):
    check(kernel, likelihood, prior, key)


@register_dataclass
@dataclass(frozen=True)
class NoAcceptStep:
    """Leapfrogs that are always accepted: the discretisation error stays."""

    step_size: float = 1.0
    trajectory_length: float = 3.0
    inverse_mass: float = 1.0
    target_acceptance: float = 0.8

    def step(self, key, potential_at, beta, start, tuning, jitter):
        gradient = jax.grad(potential_at(beta))
        momentum = jax.random.normal(key, start.z.shape) / jnp.sqrt(tuning.inverse_mass)

        def leapfrog(_, state):
            z, r = state
            r = r - 0.5 * tuning.step_size * gradient(z)
            z = z + tuning.step_size * tuning.inverse_mass * r
            return z, r - 0.5 * tuning.step_size * gradient(z)

        z, r = jax.lax.fori_loop(0, 3, leapfrog, (start.z, momentum))
        zero = jnp.zeros(())
        return ParamInfo(z, potential_at(beta)(z), gradient(z)), Info(
            zero + 1, jnp.int32(3), jnp.bool_(False), zero, r, zero
        )


@pytest.mark.parametrize(
    ("kernel", "broken"),
    [
        (NoAcceptStep(), None),
        pytest.param(UntemperedGradient(), None, marks=pytest.mark.slow),
        pytest.param(tx.HMC(), "stale gradient", marks=pytest.mark.slow),
    ],
    ids=["no accept step", "untempered gradient", "stale gradient"],
)
def test_broken_kernels_fail(kernel, broken, key):
    program = make(kernel, "gaussian_fixed", "normal")
    z, _ = largest_z(program, jnp.float32(3.0), key, broken=broken)
    assert z > 1.3 * THRESHOLD
