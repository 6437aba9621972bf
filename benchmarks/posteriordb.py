"""Defaults on published posteriors that are not networks: right means and widths, and what they cost.

``python -m benchmarks.posteriordb --json out.json`` (``--only nes2000-nes --samplers temperax numpyro-nuts`` for a
part, ``--merge`` to add it to a file that is there)

`temperax.sample` with no argument, NumPyro's NUTS as it comes (1 000 iterations of warm-up), and nutpie with its
low-rank mass (``pip install ".[bench]"``) draw four chains of 1 000 from the same log density in single precision.  A
run is good whose worst R-hat is at most 1.01 and least bulk ESS at least 400 over all parameters, and whose means and
standard deviations are within four standard errors, its own and the reference's, of the reference draws.  Gradients
are all of a run's: search for starts, warm-up and draws.
"""

import time
from collections.abc import Callable
from typing import Any

import arviz_stats
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import xarray as xr

import temperax as tx
from benchmarks import harness
from benchmarks.posteriors import POSTERIORS, Posterior

CHAINS, DRAWS = 4, 1000
MOST_RHAT, LEAST_ESS, MOST_ERRORS = 1.01, 400.0, 4.0
#: Of all posteriors, the share on which temperax's defaults must be good, in no more gradients than NumPyro's NUTS.
SHARE = 0.9

Sampled = tuple[np.ndarray, int, int]  # positions (chain, draw, parameter), gradients, divergences


def by_temperax(energy: tx.Energy, seed: int, **options: Any) -> Sampled:
    tree = tx.sample(jax.random.key(seed), energy, num_draws=DRAWS, num_chains=CHAINS, progress=False, **options)
    steps = int(tree["sample_stats"]["n_steps"].sum()) + tree.attrs["warmup_gradients"]
    names = list(energy.variables(jnp.zeros(energy.size, jnp.float32)))
    values = {name: tree["posterior"][name].values for name in names}
    to_position = jax.jit(jax.vmap(jax.vmap(energy.position)))
    return np.asarray(to_position(values)), steps, int(tree["sample_stats"]["diverging"].sum())


def by_numpyro(energy: tx.Energy, seed: int) -> Sampled:
    def potential(position: jax.Array) -> jax.Array:
        return energy.prior_energy(position) + energy.data_energy(position)

    kernel = numpyro.infer.NUTS(potential_fn=potential)
    mcmc = numpyro.infer.MCMC(
        kernel, num_warmup=1000, num_samples=DRAWS, num_chains=CHAINS, chain_method="sequential", progress_bar=False
    )
    key, start = jax.random.split(jax.random.key(seed))
    starts = jax.random.uniform(start, (CHAINS, energy.size), minval=-2.0, maxval=2.0)  # as NumPyro starts models
    mcmc.warmup(key, init_params=starts, extra_fields=("num_steps",), collect_warmup=True)
    steps = int(mcmc.get_extra_fields()["num_steps"].sum())
    mcmc.run(mcmc.post_warmup_state.rng_key, extra_fields=("num_steps", "diverging"))
    fields = mcmc.get_extra_fields()
    drawn = np.asarray(mcmc.get_samples(group_by_chain=True))
    return drawn, steps + int(fields["num_steps"].sum()), int(fields["diverging"].sum())


def by_nutpie(energy: tx.Energy, seed: int) -> Sampled:
    import nutpie

    @jax.jit
    def gradient(position: jax.Array) -> tuple[jax.Array, jax.Array]:
        return jax.value_and_grad(lambda q: -energy.prior_energy(q) - energy.data_energy(q))(position)

    def log_density(position: np.ndarray) -> tuple[float, np.ndarray]:
        value, slope = gradient(position.astype(np.float32))
        return float(value), np.asarray(slope, float)

    model = nutpie.compiled_pyfunc.from_pyfunc(
        energy.size,
        lambda: log_density,
        lambda *_: lambda position: {"position": position},
        [np.dtype("float64")],
        [(energy.size,)],
        ["position"],
    )
    options = {"draws": DRAWS, "chains": CHAINS, "seed": seed, "progress_bar": False, "save_warmup": True}
    tree = nutpie.sample(model, adaptation="low_rank", cores=1, **options)
    steps = int(tree["sample_stats"]["n_steps"].sum() + tree["warmup_sample_stats"]["n_steps"].sum())
    return tree["posterior"]["position"].values, steps, int(tree["sample_stats"]["diverging"].sum())


SAMPLERS: dict[str, Callable[..., Sampled]] = {
    "temperax": by_temperax,
    "temperax-hmc": lambda energy, seed: by_temperax(energy, seed, kernel="hmc"),
    "temperax-nuts": lambda energy, seed: by_temperax(energy, seed, kernel="nuts"),
    "numpyro-nuts": by_numpyro,
    "nutpie": by_nutpie,
}


def entries(energy: tx.Energy, positions: np.ndarray) -> dict[str, np.ndarray]:
    """Every parameter by the name that the references use, ``beta[1]`` say: (chain, draw)."""
    values = jax.jit(jax.vmap(jax.vmap(energy.variables)))(positions.astype(np.float32))
    found = {}
    for name, array in values.items():
        name = name.removesuffix("_")
        if array.ndim == 2:
            found[name] = np.asarray(array, float)
        else:
            found |= {f"{name}[{i + 1}]": np.asarray(array[..., i], float) for i in range(array.shape[-1])}
    return found


def judge(posterior: Posterior, energy: tx.Energy, positions: np.ndarray) -> dict:
    """How well draws have mixed, and how far their moments are from the reference's, at worst."""
    drawn, reference = entries(energy, positions), posterior.draws
    assert drawn.keys() == reference.keys(), (sorted(drawn), sorted(reference))
    errors = {}
    for name, values in drawn.items():
        for moment, mean in (("mean", np.mean), ("sd", np.std)):
            own, theirs = (float(arviz_stats.mcse(v, method=moment)) for v in (values, reference[name]))
            errors[f"{moment} of {name}"] = abs(mean(values) - mean(reference[name])) / np.hypot(own, theirs)
    both = xr.Dataset({name: (("chain", "draw"), values) for name, values in drawn.items()})
    rhat = max(float(v) for v in arviz_stats.rhat(both).values())
    ess = min(float(v) for v in arviz_stats.ess(both, method="bulk").values())
    worst = max(errors, key=lambda name: errors[name])
    return {"rhat": rhat, "ess": ess, "errors": float(errors[worst]), "worst": worst}


def run(posterior: Posterior, sampler: str, seed: int) -> dict:
    """One sampler on one posterior."""
    energy = posterior.energy(posterior.data)
    began = time.perf_counter()
    positions, gradients, divergences = SAMPLERS[sampler](energy, seed)
    seconds = time.perf_counter() - began
    row: dict[str, Any] = {"posterior": posterior.name, "sampler": sampler, "seed": seed}
    row |= {"parameters": energy.size, "seconds": seconds}
    row |= judge(posterior, energy, positions) | {"gradients": gradients, "divergences": divergences}
    row["good"] = bool(row["rhat"] <= MOST_RHAT and row["ess"] >= LEAST_ESS and row["errors"] <= MOST_ERRORS)
    return row


def goals(rows: list[dict]) -> list[dict]:
    """The share of posteriors on which the defaults are good for no more gradients than NumPyro's NUTS takes."""
    theirs = {(r["posterior"], r["seed"]): r["gradients"] for r in rows if r["sampler"] == "numpyro-nuts"}
    ours = [r for r in rows if r["sampler"] == "temperax" and (r["posterior"], r["seed"]) in theirs]
    if not ours:
        return []
    good = [r["good"] and r["gradients"] <= theirs[r["posterior"], r["seed"]] for r in ours]
    return [
        harness.goal(
            "share of posteriors, good in no more gradients than NumPyro's NUTS",
            float(np.mean(good)),
            SHARE,
            at_most=False,
        )
    ]


def main() -> None:
    parser = harness.arguments(__doc__.splitlines()[0])
    harness.add_merge(parser)
    names = {p.name: p for p in POSTERIORS}
    parser.add_argument("--only", nargs="+", choices=names)
    parser.add_argument("--samplers", nargs="+", choices=SAMPLERS, default=["temperax", "numpyro-nuts", "nutpie"])
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rows: list[dict] = []
    for name in options.only or (["sblri-blr"] if options.quick else names):
        for sampler in options.samplers:
            about = {"posterior": name, "sampler": sampler, "seed": options.seed}
            try:
                found = run(names[name], sampler, options.seed)
            except ImportError as error:  # of a peer that is not installed
                found = about | {"good": False, "failure": f"{error}: pip install '.[bench]'"}
            rows.append(harness.stamp(found))
            print({k: v for k, v in rows[-1].items() if k not in ("machine", "versions", "date")}, flush=True)
            everything = harness.merged(rows, options.json if options.merge else None, ("posterior", "sampler", "seed"))
            harness.write(everything, goals(everything), options.json)
    harness.show(everything, goals(everything))


if __name__ == "__main__":
    main()
