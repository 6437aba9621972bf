"""Posteriors whose modes plain chains do not leave: what `benchmarks.modes` samples, with the truth where it is known.

The noisy XOR networks are those of Papamarkou, Hinkle, Young & Womble 2022 (arXiv:1910.06539): four unit squares whose
corners lie .55 off those of the unit square, 125 points of each (30 held out), sigmoid units, N(0, 10) priors.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpyro import distributions as dist
from scipy.special import logsumexp
from scipy.stats import norm

import temperax as tx
from temperax.results import reading

Array = np.ndarray


class Truth(NamedTuple):
    """What is known of a posterior.

    Attributes
    ----------
    weight, weight_error
        Probability of the mode that a target names, and its standard error.
    log_z, log_z_error
        Log evidence in nats, and its standard error.
    """

    weight: float
    weight_error: float
    log_z: float
    log_z_error: float


@dataclass(frozen=True)
class Target:
    """A posterior.

    Attributes
    ----------
    energy
        Makes it.
    judged
        What R-hat and ESS are of: (energy, positions (chain, draw, parameter)) → (chain, draw, number).
    mode
        Whether a draw is in the named mode, told by functions and not by weights: likewise → (chain, draw).
    truth
        What is known, or None.
    nested
        Whether to know it takes minutes of nested sampling.
    most_steps
        Of a trajectory of HMC: where chains age, what a cold rung wants grows until no round of a ladder ends.
    """

    energy: Callable[[], tx.Energy]
    judged: Callable[[tx.Energy, Array], Array]
    mode: Callable[[tx.Energy, Array], Array] | None = None
    truth: Callable[[], Truth] | None = None
    nested: bool = False
    most_steps: int = 2048

    def kernel(self, name: str) -> tx.kernels.KernelLike:
        """A kernel by its name, with this cap."""
        return tx.HMC(max_steps=self.most_steps) if name == "hmc" else name


def predictions(energy: tx.Energy, positions: Array) -> Array:
    """Predictions of the held-out rows."""
    assert energy.dataset is not None
    found = reading.over_draws(reading.means, energy, jnp.asarray(energy.dataset.x_test), positions)
    return found.reshape(*positions.shape[:2], -1)


# -- networks --------------------------------------------------------------------------------------------------------


@cache
def noisy_xor(units: int) -> tx.Energy:
    """A 2-units-1 network on noisy XOR."""
    generator = np.random.default_rng(0)
    corners = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])

    def points(each: int) -> tuple[Array, Array]:
        corner = np.repeat(corners, each, axis=0)
        x = generator.uniform(size=(4 * each, 2)) + np.where(corner == 1, 0.55, -0.55)
        return x, np.repeat([0, 1, 1, 0], each)

    (x, y), (x_test, y_test) = points(125), points(30)
    data = tx.Dataset.from_arrays(x, y, x_test, y_test, task="classification", standardise=False, name="noisy XOR")
    return tx.Energy.mlp(data, (units,), "sigmoid", tx.likelihoods.Bernoulli(), tx.priors.Normal(10**0.5))


def centre_is_one(energy: tx.Energy, positions: Array) -> Array:
    """Whether the gap between the four squares belongs to the class of the odd corners."""
    return reading.over_draws(reading.means, energy, jnp.array([[0.5, 0.5]]), positions)[..., 0, 0] > 0.5


#: Independent runs of nested sampling: each loses or gains in a mode what its few points there do by chance.
NESTED_RUNS = 4


@cache
def nested_xor(units: int) -> Truth:
    """Nested sampling by dynesty (Speagle 2020), which runs no chain at a temperature: 500 live points a run.

    Its errors are the spread of `NESTED_RUNS`: a network of two units has 16 modes, of some thirty live points each.
    """
    runs = [_nested_run(units, seed) for seed in range(NESTED_RUNS)]
    (weight, log_z), (weight_sd, log_z_sd) = np.mean(runs, axis=0), np.std(runs, axis=0, ddof=1)
    return Truth(float(weight), float(weight_sd) / NESTED_RUNS**0.5, float(log_z), float(log_z_sd) / NESTED_RUNS**0.5)


def _nested_run(units: int, seed: int) -> tuple[float, float]:
    """The named mode's share and log Z of one run."""
    import dynesty

    energy = noisy_xor(units)
    data_energy = jax.jit(energy.bare().data_energy)
    sampler = dynesty.NestedSampler(
        lambda q: -float(data_energy(q.astype(np.float32))),
        lambda u: 10**0.5 * norm.ppf(u),
        energy.size,
        nlive=500,
        sample="rslice",
        rstate=np.random.default_rng(seed),
    )
    sampler.run_nested(dlogz=0.01, print_progress=False)
    found = sampler.results
    weights = np.exp(found["logwt"] - found["logz"][-1])
    inside = centre_is_one(energy, found["samples"][None].astype(np.float32))[0]
    return float(weights[inside].sum() / weights.sum()), float(found["logz"][-1])


@cache
def sine() -> tx.Energy:
    """Sixty points of a sine with little noise, 10 tanh units, learned noise scale."""
    generator = np.random.default_rng(0)
    x = generator.uniform(-2, 2, size=(80, 1))
    y = np.sin(2.5 * x[:, 0]) + 0.05 * generator.normal(size=80)
    return tx.Energy.mlp(tx.Dataset.from_arrays(x[:60], y[:60], x[60:], y[60:], name="sine"), hidden=(10,))


@cache
def table(name: str) -> tx.Energy:
    """Ten tanh units on a table of the field, N(0, 1) priors, learned noise, split 0."""
    return tx.Energy.mlp(tx.datasets.load(name, split=0), (10,))


# -- no networks -----------------------------------------------------------------------------------------------------

#: Two wells in five dimensions: where they are, how wide, and their parts of the likelihood; and the prior's width.
CENTRES, WIDTHS, PARTS, WIDE, DIMENSIONS = np.array([-5.0, 5.0]), np.array([1.0, 0.5]), np.array([0.3, 0.7]), 10.0, 5


def _wells_energy(q: jax.Array) -> jax.Array:
    each = -0.5 * jnp.sum(((q - CENTRES[:, None]) / WIDTHS[:, None]) ** 2, axis=1)
    return -jax.nn.logsumexp(each + np.log(PARTS) - DIMENSIONS * np.log(WIDTHS * np.sqrt(2 * np.pi)))


@cache
def wells() -> tx.Energy:
    """Two Gaussians of different widths under a wide prior."""
    return tx.Energy(_wells_energy, dist.Normal(0.0, WIDE).expand([DIMENSIONS]).to_event(1))


def wells_truth() -> Truth:
    """In closed form: products of Gaussians."""
    logs = np.log(PARTS) + DIMENSIONS * norm.logpdf(CENTRES, 0.0, np.hypot(WIDE, WIDTHS))
    log_z = float(logsumexp(logs))
    return Truth(float(np.exp(logs[1] - log_z)), 0.0, log_z, 0.0)


#: Times, noise and amplitudes of a periodic signal, and the prior of its frequency.
TIMES = np.array([0.0, 0.3, 1.1, 1.6, 2.9, 3.1, 4.4, 5.2, 6.0, 7.7, 8.1, 9.4])
NOISE, SLOWEST, FASTEST = 0.5, 0.3, 12.0
SIGNAL = np.cos(3.7 * TIMES + 0.5) + NOISE * np.random.default_rng(3).normal(size=len(TIMES))


def _signal(parameters: dict) -> jax.Array:
    angle = parameters["frequency"][..., None] * TIMES
    return parameters["cosine"][..., None] * jnp.cos(angle) + parameters["sine"][..., None] * jnp.sin(angle)


def _frequency_energy(parameters: dict) -> jax.Array:
    rest = (SIGNAL - _signal(parameters)) / NOISE
    return 0.5 * rest**2 + np.log(NOISE * np.sqrt(2 * np.pi))


@cache
def frequency() -> tx.Energy:
    """A sinusoid of unknown frequency, seen at twelve uneven times: a mode a peak of the periodogram."""
    prior = {"frequency": dist.Uniform(SLOWEST, FASTEST), "cosine": dist.Normal(0, 1), "sine": dist.Normal(0, 1)}
    return tx.Energy(_frequency_energy, prior)


def signal(energy: tx.Energy, positions: Array) -> Array:
    """The frequency, and the signal at the times."""
    draws = jax.vmap(jax.vmap(energy.variables))(jnp.asarray(positions))
    return np.concatenate([np.asarray(draws["frequency"])[..., None], np.asarray(_signal(draws))], axis=-1)


def is_true_peak(energy: tx.Energy, positions: Array) -> Array:
    """Whether the frequency is at the peak of the true one."""
    return np.abs(signal(energy, positions)[..., 0] - 3.7) < 0.4


@cache
def frequency_density() -> tuple[Array, Array, float]:
    """Frequencies, their posterior density, and log Z: amplitudes integrated out exactly, frequencies by quadrature."""
    grid = np.linspace(SLOWEST, FASTEST, 20_001)
    logs = np.empty(len(grid))
    for i, omega in enumerate(grid):
        basis = np.stack([np.cos(omega * TIMES), np.sin(omega * TIMES)], axis=1)
        covariance = basis @ basis.T + NOISE**2 * np.eye(len(TIMES))
        sign, determinant = np.linalg.slogdet(2 * np.pi * covariance)
        logs[i] = -0.5 * (SIGNAL @ np.linalg.solve(covariance, SIGNAL) + determinant)
    log_z = float(logsumexp(logs) - np.log(len(grid)))
    return grid, np.exp(logs - log_z) / (FASTEST - SLOWEST), log_z


def frequency_truth() -> Truth:
    """By quadrature."""
    grid, density, log_z = frequency_density()
    weight = density[np.abs(grid - 3.7) < 0.4].sum() / density.sum()
    return Truth(float(weight), 0.0, log_z, 0.0)


#: Four clumps of a symmetric sample, for three components to explain: one of them must cover the two of one side.
_WITHIN = 0.25 * norm.ppf((np.arange(12) + 0.5) / 12)
CLUMPS = np.array([-3.5, -1.75, 1.75, 3.5])[:, None] + _WITHIN
PLACES = np.linspace(-5.0, 5.0, 11)


def _mixture(parameters: dict, x: Any) -> jax.Array:
    """Log density of a mixture at points."""
    each = dist.Normal(parameters["mean"], parameters["scale"]).log_prob(x[:, None])
    return jax.nn.logsumexp(each + jnp.log(parameters["share"]), axis=1)


@cache
def mixture() -> tx.Energy:
    """Three normal components on four clumps: six orders of each of two ways to see them."""
    prior = {
        "mean": dist.Normal(0.0, 4.0).expand([3]).to_event(1),
        "scale": dist.LogNormal(-0.5, 0.5).expand([3]).to_event(1),
        "share": dist.Dirichlet(2.0 * np.ones(3)),
    }
    return tx.Energy(lambda parameters: -_mixture(parameters, CLUMPS.ravel()), prior)


def _density(energy: tx.Energy, x: jax.Array, position: jax.Array) -> jax.Array:
    return jnp.exp(_mixture(energy.variables(position), x))


def mixture_density(energy: tx.Energy, positions: Array) -> Array:
    """Density of the mixture at places, whatever the order of its components."""
    return reading.over_draws(_density, energy, jnp.asarray(PLACES), positions)


def right_is_wide(energy: tx.Energy, positions: Array) -> Array:
    """Whether it is the right side whose clumps are taken for one: there is more density between them."""
    between = reading.over_draws(_density, energy, jnp.array([-2.625, 2.625]), positions)
    return between[..., 1] > between[..., 0]


def mixture_truth() -> Truth:
    """By symmetry: sample and prior are the same from either side."""
    return Truth(0.5, 0.0, np.nan, np.nan)


TARGETS = {
    "xor-2": Target(lambda: noisy_xor(2), predictions, centre_is_one, lambda: nested_xor(2), nested=True),
    "xor-3": Target(lambda: noisy_xor(3), predictions, centre_is_one, lambda: nested_xor(3), nested=True),
    "wells": Target(wells, lambda energy, q: q, lambda energy, q: q.mean(axis=-1) > 0, wells_truth),
    "frequency": Target(frequency, signal, is_true_peak, frequency_truth),
    "mixture": Target(mixture, mixture_density, right_is_wide, mixture_truth),
    "sine": Target(sine, predictions),
    "yacht": Target(lambda: table("yacht"), predictions, most_steps=256),
    "concrete": Target(lambda: table("concrete"), predictions, most_steps=256),
}
