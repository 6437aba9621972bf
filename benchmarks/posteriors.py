"""Posteriors of stan-dev/posteriordb, written in JAX: what `benchmarks.posteriordb` samples.

Data and reference draws (ten chains of Stan, thinned to 10 000) are those of the commit named here; they are
downloaded once, verified, and cached beside the library's data sets.  Where a model has an improper flat prior, a
normal stands for it that is a thousand times as wide as the posterior or wider.
"""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pooch
from jax.scipy.special import logsumexp

import temperax as tx

COMMIT = "28f8d3d6e975315f42aa274a8399f21e07a43b30"
ADDRESS = f"https://raw.githubusercontent.com/stan-dev/posteriordb/{COMMIT}/posterior_database/"
REGISTRY = Path(__file__).with_name("posteriordb.txt")


class Posterior(NamedTuple):
    """A posterior: its name in the database, whose first part is its data's, and its energy from these."""

    name: str
    energy: Callable[[dict[str, np.ndarray]], tx.Energy]

    @property
    def data(self) -> dict[str, np.ndarray]:
        """The data as published."""
        found = _read(f"data/data/{self.name.split('-')[0]}.json.zip")
        return {name: np.asarray(value, float) for name, value in found.items()}

    @property
    def draws(self) -> dict[str, np.ndarray]:
        """Reference draws of every parameter, by names such as ``beta[1]``: (chain, draw)."""
        chains = _read(f"reference_posteriors/draws/draws/{self.name}.json.zip")
        return {name: np.array([chain[name] for chain in chains]) for name in chains[0]}


def _read(name: str) -> dict:
    """A file of the database, from the cache or from its address."""
    pooch.get_logger().setLevel("WARNING")
    files = pooch.create(tx.datasets.cache_folder() / "posteriordb", ADDRESS, retry_if_failed=2)
    files.load_registry(REGISTRY)
    with zipfile.ZipFile(files.fetch(name)) as archive:
        return json.loads(archive.read(archive.namelist()[0]))


# -- regressions -----------------------------------------------------------------------------------------------------


def regression(
    y: np.ndarray, columns: list[np.ndarray], width: float, sigma: dist.Distribution | None = None
) -> tx.Energy:
    """A line, whose coefficients and noise have flat priors unless one is given; "beta" is a dimension of results."""
    x = np.stack([np.ones_like(y), *columns], axis=1)
    prior = {
        "beta_": dist.Normal(0.0, width).expand([x.shape[1]]).to_event(1),
        "sigma": dist.HalfNormal(width) if sigma is None else sigma,
    }

    def data_energy(parameters: dict, data: dict) -> jax.Array:
        return -dist.Normal(data["x"] @ parameters["beta_"], parameters["sigma"]).log_prob(data["y"])

    return tx.Energy(data_energy, prior, {"x": x, "y": y})


def earnings(
    height: Callable = np.asarray, earn: Callable = np.log, male: bool = True, inter: bool = False
) -> Callable:
    def build(d: dict) -> tx.Energy:
        h, m = height(d["height"]), d["male"]
        columns = [h, *([m] if male else []), *([h * m] if inter else [])]
        return regression(earn(d["earn"]), columns, 1e8 if earn is np.asarray else 1e4)

    return build


def centred(values: np.ndarray) -> np.ndarray:
    return values - values.mean()


def scaled(values: np.ndarray) -> np.ndarray:
    return centred(values) / values.std(ddof=1)


def kidscore(hs: Callable, iq: Callable) -> Callable:
    def build(d: dict) -> tx.Energy:
        a, b = hs(d["mom_hs"]), iq(d["mom_iq"])
        return regression(d["kid_score"], [a, b, a * b], 1e5)

    return build


def kidscore_one(name: str) -> Callable:
    return lambda d: regression(d["kid_score"], [d[name]], 1e5, dist.HalfCauchy(2.5))


def kidscore_mom_work(d: dict) -> tx.Energy:
    return regression(d["kid_score"], [(d["mom_work"] == k).astype(float) for k in (2, 3, 4)], 1e5)


def mesquite(columns: Callable[[dict], list[np.ndarray]]) -> Callable:
    return lambda d: regression(np.log(d["weight"]), columns(d), 1e4)


def volume(d: dict) -> np.ndarray:
    return np.log(d["diam1"] * d["diam2"] * d["canopy_height"])


def area(d: dict) -> np.ndarray:
    return np.log(d["diam1"] * d["diam2"])


def logmesquite(d: dict) -> list[np.ndarray]:
    logs = ("diam1", "diam2", "canopy_height", "total_height", "density")
    return [*(np.log(d[name]) for name in logs), d["group"]]


def logmesquite_logvas(d: dict) -> list[np.ndarray]:
    shape = np.log(d["diam1"] / d["diam2"])
    return [volume(d), area(d), shape, np.log(d["total_height"]), np.log(d["density"]), d["group"]]


def nes(d: dict) -> tx.Energy:
    ages = [(d["age_discrete"] == k).astype(float) for k in (2, 3, 4)]
    columns = [d["real_ideo"], d["race_adj"], *ages, d["educ1"], d["gender"], d["income"]]
    return regression(d["partyid7"], columns, 1e4)


def blr(d: dict) -> tx.Energy:
    def data_energy(parameters: dict, data: dict) -> jax.Array:
        return -dist.Normal(data["X"] @ parameters["beta_"], parameters["sigma"]).log_prob(data["y"])

    beta = dist.Normal(0.0, 10.0).expand([int(d["D"])]).to_event(1)
    return tx.Energy(data_energy, {"beta_": beta, "sigma": dist.HalfNormal(10.0)}, {"X": d["X"], "y": d["y"]})


# -- hidden Markov models --------------------------------------------------------------------------------------------


class OrderedNormal(dist.Distribution):
    """Two normals of means 0 and 3, the first less than the second."""

    arg_constraints: ClassVar[dict] = {}
    pytree_aux_fields = ("_support",)

    def __init__(self, positive: bool) -> None:
        self._support = dist.constraints.positive_ordered_vector if positive else dist.constraints.ordered_vector
        super().__init__((), (2,))

    @property
    def support(self) -> dist.constraints.Constraint:
        """Where values may lie."""
        return self._support

    def log_prob(self, value: jax.Array) -> jax.Array:
        """Of both, up to the constant of the order."""
        return jnp.sum(dist.Normal(jnp.array([0.0, 3.0]), 1.0).log_prob(value), axis=-1)

    def sample(self, key: jax.Array, sample_shape: tuple[int, ...] = ()) -> jax.Array:
        """Sorted draws, which serve as starts."""
        drawn = jnp.abs(jnp.array([0.0, 3.0]) + jax.random.normal(key, (*sample_shape, 2)))
        return jnp.sort(drawn, axis=-1) + jnp.array([0.0, 1e-3])


def hmm_drive(positive: bool) -> Callable:
    def build(d: dict) -> tx.Energy:
        def data_energy(parameters: dict, data: dict) -> jax.Array:
            phi, away = parameters["phi"], parameters["lambda"]
            if positive:
                u, v = dist.Exponential(phi), dist.Exponential(away)
            else:
                u, v = dist.Normal(phi, data["tau"]), dist.Normal(away, data["rho"])
            emission = u.log_prob(data["u"][:, None]) + v.log_prob(data["v"][:, None])
            moves = jnp.log(jnp.stack([parameters["theta1"], parameters["theta2"]]))

            def step(before: jax.Array, now: jax.Array) -> tuple[jax.Array, None]:
                return logsumexp(before[:, None] + moves, axis=0) + now, None

            return -logsumexp(jax.lax.scan(step, emission[0], emission[1:])[0])

        prior = {
            "theta1": dist.Dirichlet(d["alpha"][0]),
            "theta2": dist.Dirichlet(d["alpha"][1]),
            "phi": OrderedNormal(positive),
            "lambda": OrderedNormal(positive),
        }
        return tx.Energy(data_energy, prior, {name: d[name] for name in ("u", "v", "tau", "rho") if name in d})

    return build


# -- differential equations ------------------------------------------------------------------------------------------


def runge_kutta(change: Callable, start: jax.Array, times: np.ndarray, steps: int) -> jax.Array:
    """Solutions at the times, from time 0, with so many steps of order 4 between them."""

    def between(state: jax.Array, ends: jax.Array) -> tuple[jax.Array, jax.Array]:
        begin, width = ends[0], (ends[1] - ends[0]) / steps

        def step(i: int, y: jax.Array) -> jax.Array:
            t = begin + i * width
            k1 = change(t, y)
            k2 = change(t + width / 2, y + width / 2 * k1)
            k3 = change(t + width / 2, y + width / 2 * k2)
            k4 = change(t + width, y + width * k3)
            return y + width / 6 * (k1 + 2 * k2 + 2 * k3 + k4)

        state = jax.lax.fori_loop(0, steps, step, state)
        return state, state

    ends = jnp.stack([jnp.concatenate([jnp.zeros(1), times[:-1]]), times], axis=1)
    return jax.lax.scan(between, start, ends)[1]


def lotka_volterra(d: dict) -> tx.Energy:
    def data_energy(parameters: dict, data: dict) -> jax.Array:
        a, b, c, e = parameters["theta"]

        def change(t: jax.Array, z: jax.Array) -> jax.Array:
            return jnp.stack([(a - b * z[1]) * z[0], (-c + e * z[0]) * z[1]])

        path = runge_kutta(change, parameters["z_init"], data["ts"], 10)
        expected = jnp.concatenate([parameters["z_init"][None], path])
        return -jnp.sum(dist.LogNormal(jnp.log(expected), parameters["sigma"]).log_prob(data["y"]), axis=1)

    prior = {
        "theta": dist.TruncatedNormal(
            jnp.array([1.0, 0.05, 1.0, 0.05]), jnp.array([0.5, 0.05, 0.5, 0.05]), low=0.0
        ).to_event(1),
        "z_init": dist.LogNormal(jnp.log(10.0), 1.0).expand([2]).to_event(1),
        "sigma": dist.LogNormal(-1.0, 1.0).expand([2]).to_event(1),
    }
    return tx.Energy(data_energy, prior, {"ts": d["ts"], "y": np.concatenate([d["y_init"][None], d["y"]])})


def one_compartment(d: dict) -> tx.Energy:
    def data_energy(parameters: dict, data: dict) -> jax.Array:
        k_a, k_m, v_m = (parameters[name] for name in ("k_a", "K_m", "V_m"))

        def change(t: jax.Array, c: jax.Array) -> jax.Array:
            dose = jnp.exp(-k_a * t) * data["D"] * k_a / data["V"]  # from the first moment on
            return dose - v_m / data["V"] * c / (k_m + c)

        expected = runge_kutta(change, jnp.zeros(()), data["times"], 20)
        return -dist.LogNormal(jnp.log(expected), parameters["sigma"]).log_prob(data["C_hat"])

    prior = {name: dist.HalfCauchy(1.0) for name in ("k_a", "K_m", "V_m", "sigma")}
    return tx.Energy(data_energy, prior, {name: d[name] for name in ("D", "V", "times", "C_hat")})


POSTERIORS = [
    Posterior("earnings-earn_height", earnings(earn=np.asarray, male=False)),
    Posterior("earnings-log10earn_height", earnings(earn=np.log10, male=False)),
    Posterior("earnings-logearn_height", earnings(male=False)),
    Posterior("earnings-logearn_height_male", earnings()),
    Posterior("earnings-logearn_interaction_z", earnings(height=scaled, inter=True)),
    Posterior("earnings-logearn_logheight_male", earnings(height=np.log)),
    Posterior("kidiq-kidscore_momhs", kidscore_one("mom_hs")),
    Posterior("kidiq-kidscore_momiq", kidscore_one("mom_iq")),
    Posterior("kidiq_with_mom_work-kidscore_interaction_c", kidscore(centred, centred)),
    Posterior("kidiq_with_mom_work-kidscore_interaction_c2", kidscore(lambda v: v - 0.5, lambda v: v - 100.0)),
    Posterior("kidiq_with_mom_work-kidscore_interaction_z", kidscore(lambda v: scaled(v) / 2, lambda v: scaled(v) / 2)),
    Posterior("kidiq_with_mom_work-kidscore_mom_work", kidscore_mom_work),
    Posterior("mesquite-logmesquite", mesquite(logmesquite)),
    Posterior("mesquite-logmesquite_logva", mesquite(lambda d: [volume(d), area(d), d["group"]])),
    Posterior("mesquite-logmesquite_logvas", mesquite(logmesquite_logvas)),
    Posterior("mesquite-logmesquite_logvolume", mesquite(lambda d: [volume(d)])),
    Posterior("nes2000-nes", nes),
    Posterior("sblri-blr", blr),
    Posterior("bball_drive_event_0-hmm_drive_0", hmm_drive(positive=True)),
    Posterior("bball_drive_event_1-hmm_drive_1", hmm_drive(positive=False)),
    Posterior("hudson_lynx_hare-lotka_volterra", lotka_volterra),
    Posterior("one_comp_mm_elim_abs-one_comp_mm_elim_abs", one_compartment),
]
