"""The methods of the tables: each takes a data set and settings, and returns what it predicts of the held-out rows.

Predictions of a regression are a mixture of Gaussians, one a draw or member, in original units; those of a
classification are class probabilities.
"""

import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import temperax as tx
from benchmarks import harness
from temperax.analysis import statistics
from temperax.analysis.predict.summaries import probabilities
from temperax.energies.networks import ACTIVATIONS
from temperax.results import reading, results

LIKELIHOODS = {
    "gaussian": tx.likelihoods.Gaussian,
    "heteroscedastic": tx.likelihoods.HeteroscedasticGaussian,
}
PRIORS = {"normal": tx.priors.Normal, "fan-in": tx.priors.FanInNormal}


class Found(NamedTuple):
    """What a method predicts, and what is to be said of it.

    Attributes
    ----------
    mean, sd
        Of the mixture's Gaussians (member, row), or None of a classification.
    probability
        Of the classes (row, class), or None of a regression.
    about
        Columns of the table: temperature, R-hat, …
    """

    mean: np.ndarray | None
    sd: np.ndarray | None
    probability: np.ndarray | None
    about: dict[str, Any]


def energy_of(data: tx.Dataset, settings: Mapping[str, Any]) -> tx.Energy:
    """The network that settings describe."""
    chosen = settings.get("likelihood", "gaussian")
    likelihood = LIKELIHOODS[chosen]() if data.task == "regression" else None
    prior = PRIORS[settings.get("prior", "normal")](settings.get("prior_scale", 1.0))
    hidden = tuple(settings.get("hidden", (50,)))
    return tx.Energy.mlp(data, hidden, settings.get("activation", "tanh"), likelihood, prior)


def original(data: tx.Dataset, mean: np.ndarray, sd: np.ndarray, about: dict[str, Any] | None = None) -> Found:
    """A mixture in units of the standardised target as one in original units."""
    scale, shift = float(data.y_scale[0]), float(data.y_mean[0])
    return Found(np.atleast_2d(mean) * scale + shift, np.atleast_2d(sd) * scale, None, about or {})


def of_groups(data: tx.Dataset, groups: Any, temperature: float, about: dict[str, Any] | None = None) -> Found:
    """What the draws of one temperature predict."""
    held = groups["tempered_predictions"].sel(temperature=temperature)
    f = reading.one_sample(held["f"])
    if data.task == "classification":
        return Found(None, None, probabilities(f.mean(axis=0)), about or {})
    return original(data, f[..., 0], np.sqrt(reading.one_sample(held["variance"])[..., 0]), about)


# -- what a practitioner would pick instead --------------------------------------------------------------------------


def linear(data: tx.Dataset, settings: Mapping[str, Any], seed: int) -> Iterator[Found]:
    """Bayesian ridge regression, or logistic regression, of scikit-learn."""
    from sklearn.linear_model import BayesianRidge, LogisticRegression

    if data.task == "classification":
        model = LogisticRegression(max_iter=2000).fit(data.x, data.y[:, 0])
        yield Found(None, None, _all_classes(data, model), {})
        return
    model = BayesianRidge().fit(data.x, data.y[:, 0])
    yield original(data, *model.predict(data.x_test, return_std=True))


def gradient_boosting(data: tx.Dataset, settings: Mapping[str, Any], seed: int) -> Iterator[Found]:
    """Histogram gradient boosting of scikit-learn; its noise is that of the training rows in cross-validation."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
    from sklearn.model_selection import cross_val_predict
    from threadpoolctl import threadpool_limits

    if data.task == "classification":
        model = HistGradientBoostingClassifier(random_state=seed).fit(data.x, data.y[:, 0])
        yield Found(None, None, _all_classes(data, model), {})
        return
    model = HistGradientBoostingRegressor(random_state=seed)
    with threadpool_limits(1):  # whose threads wait for one another where other cells run
        rest = data.y[:, 0] - cross_val_predict(model, data.x, data.y[:, 0], cv=5)
        mean = model.fit(data.x, data.y[:, 0]).predict(data.x_test)
    yield original(data, mean, np.full(len(mean), rest.std()))


def _all_classes(data: tx.Dataset, model: Any) -> np.ndarray:
    """Probabilities of all classes, also those that no training row has."""
    found = np.zeros((len(data.x_test), max(len(data.classes), 2)))
    found[:, model.classes_.astype(int)] = model.predict_proba(data.x_test)
    return found


# -- optima ----------------------------------------------------------------------------------------------------------


def map_estimate(data: tx.Dataset, settings: Mapping[str, Any], seed: int) -> Iterator[Found]:
    """The best of eight optima, stopped early."""
    tree = tx.map_estimate(jax.random.key(seed), energy_of(data, settings), holdout=0.1)
    yield of_groups(data, tree, 0.0)


def deep_ensemble(data: tx.Dataset, settings: Mapping[str, Any], seed: int) -> Iterator[Found]:
    """Optima from independent starts, each stopped early on rows of its own."""
    energy = energy_of(data, settings)
    tree = tx.deep_ensemble(jax.random.key(seed), energy, settings.get("members", 10))
    yield of_groups(data, tree, 0.0)


def last_layer_laplace(data: tx.Dataset, settings: Mapping[str, Any], seed: int) -> Iterator[Found]:
    """Laplace's approximation of the last layer: exact for a Gaussian, by scikit-learn's Bayesian ridge on its units.

    Prior and noise of the last layer maximise the evidence (MacKay 1992), as laplace-torch does by default.
    """
    from sklearn.linear_model import BayesianRidge

    if data.task == "classification":
        raise NotImplementedError("of regressions only")
    energy = energy_of(data, settings)
    tree = tx.map_estimate(jax.random.key(seed), energy, holdout=0.1)
    layers = energy.unravel(jnp.asarray(tx.predict.positions(tree, energy)[0, 0]))["network"]
    activate = ACTIVATIONS[settings.get("activation", "tanh")]

    def units(x: np.ndarray) -> np.ndarray:
        for i in range(len(layers) - 1):
            x = activate(x @ layers[f"layer_{i}"]["weight"] + layers[f"layer_{i}"]["bias"])
        return np.asarray(x, float)

    model = BayesianRidge().fit(units(data.x), data.y[:, 0])
    yield original(data, *model.predict(units(data.x_test), return_std=True))


# -- other samplers --------------------------------------------------------------------------------------------------


def numpyro_nuts(data: tx.Dataset, settings: Mapping[str, Any], seed: int) -> Iterator[Found]:
    """NumPyro's NUTS on the same energy, from draws of the prior."""
    from numpyro.infer import MCMC, NUTS

    energy = energy_of(data, settings)
    chains, draws = settings.get("num_chains", 4), settings.get("num_draws", 1000)
    kernel = NUTS(potential_fn=lambda q: energy.prior_energy(q) + energy.data_energy(q))
    how = {"num_warmup": settings.get("num_warmup", 1000), "num_samples": draws, "num_chains": chains}
    mcmc = MCMC(kernel, **how, chain_method="vectorized", progress_bar=False)
    run, begin, predict = jax.random.split(jax.random.key(seed), 3)
    mcmc.run(run, init_params=jnp.stack([energy.sample_prior(k) for k in jax.random.split(begin, chains)]))
    yield _of_positions(data, energy, np.asarray(mcmc.get_samples(group_by_chain=True)), predict)


def sgld(data: tx.Dataset, settings: Mapping[str, Any], seed: int) -> Iterator[Found]:
    """BlackJAX's stochastic gradient Langevin dynamics from optima, with a step that falls (Welling & Teh 2011)."""
    import blackjax

    energy = energy_of(data, settings)
    chains, steps = settings.get("num_chains", 4), settings.get("steps", 100_000)
    batch, first = min(settings.get("batch", 64), len(data.x)), settings.get("step_size", 1e-4)
    every = max(1, steps // (2 * settings.get("num_draws", 500)))
    key, start = jax.random.split(jax.random.key(seed))
    optima = tx.optimise.minimise(start, energy, chains)

    def log_density(q: jax.Array, rows: jax.Array) -> jax.Array:
        part = energy.with_data(jax.tree.map(lambda leaf: leaf[rows], energy.data))
        return -energy.prior_energy(q) - len(data.x) / batch * part.data_energy(q)

    sampler = blackjax.sgld(jax.grad(log_density))

    @jax.jit
    @jax.vmap
    def chain(key: jax.Array, q: jax.Array) -> jax.Array:
        def step(q: jax.Array, i: jax.Array) -> tuple[jax.Array, None]:
            pick, noise = jax.random.split(jax.random.fold_in(key, i))
            rows = jax.random.randint(pick, (batch,), 0, len(data.x))
            return sampler.step(noise, q, rows, first * (1 + 10 * i / steps) ** -0.55), None

        def block(q: jax.Array, n: jax.Array) -> tuple[jax.Array, jax.Array]:
            q, _ = jax.lax.scan(step, q, n * every + jnp.arange(every))
            return q, q

        return jax.lax.scan(block, q, jnp.arange(steps // every))[1]

    draws = np.asarray(chain(jax.random.split(key, chains), jnp.asarray(optima.position)))
    if not np.isfinite(draws).all():
        raise FloatingPointError(f"diverged at a step of {first:g}")
    yield _of_positions(data, energy, draws[:, draws.shape[1] // 2 :], start)


def _of_positions(data: tx.Dataset, energy: tx.Energy, positions: np.ndarray, key: jax.Array) -> Found:
    """What positions (chain, draw, parameter) at T = 1 predict."""
    groups = results.position_groups(energy, positions[:, :, None], np.ones(1), 0, key, log_likelihood=False)
    f = groups["tempered_predictions"][["f"]].isel(temperature=0, drop=True)
    about = {"rhat_f_max": float(statistics.rhat(f)["f"].max()), "ess_f_min": float(statistics.ess(f)["f"].min())}
    return of_groups(data, groups, 1.0, about)


#: What bde's environment needs.
BDE = ("sklearn-contrib-bde==1.0.2",)


def bde(data: tx.Dataset, settings: Mapping[str, Any], seed: int) -> Iterator[Found]:
    """sklearn-contrib-bde in an environment of its own, with the settings of its paper."""
    python = harness.python_of("bde", BDE, "import bde")
    scale, shift = float(data.y_scale[0]), float(data.y_mean[0])
    with tempfile.TemporaryDirectory() as folder:
        given, found = Path(folder) / "given.npz", Path(folder) / "found.npz"
        np.savez(given, x=data.x, y=data.y[:, 0], x_test=data.x_test, settings=json.dumps(dict(settings)), seed=seed)
        command = [str(python), str(Path(__file__).with_name("bde_side.py")), str(given), str(found)]
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"JAX_PLATFORMS": "cpu"}
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        if done.returncode:
            raise RuntimeError(harness.last_error(done.stderr) or f"exit status {done.returncode}")
        result = dict(np.load(found, allow_pickle=False))
    about = {"seconds_sampling": float(result["seconds"])}
    yield Found(result["mean"] * scale + shift, result["sd"] * scale, None, about)


# -- temperax --------------------------------------------------------------------------------------------------------


def temperax(data: tx.Dataset, settings: Mapping[str, Any], seed: int) -> Iterator[Found]:
    """`temperax.sample` at several temperatures, which ``seconds`` stop with the draws that it has by then."""
    temperatures, path = settings.get("temperatures", [1.0]), settings.get("path", "posterior")
    options = {k: settings[k] for k in ("num_warmup", "num_draws", "num_chains", "start") if k in settings}
    energy = energy_of(data, settings)
    limit = harness.stopped_after(settings["seconds"]) if "seconds" in settings else nullcontext()
    options |= {"path": path, "kernel": kernel_of(energy, settings), "progress": False}
    try:
        with limit:
            tree = tx.sample(jax.random.key(seed), energy, temperatures, **options)
    except tx.Interrupted as stop:
        if "seconds" not in settings:
            raise
        raise TimeoutError(f"no draws after {settings['seconds']} s ({stop})") from stop
    yield from _of_tree(data, tree, cut="seconds" in settings)


def kernel_of(energy: tx.Energy, settings: Mapping[str, Any]) -> Any:
    """The kernel that settings name, with their cap on its steps; scales of ReLU units are drawn in between."""
    name = settings.get("kernel", "auto")
    if "most_steps" not in settings:
        return name
    named: Any = tx.kernels.as_kernel("hmc" if name == "auto" else name, energy)
    capped = replace(named, max_steps=settings["most_steps"])
    return tx.kernels.Alternating(capped) if tx.kernels.Rescaling.fits(energy) else capped


def ladder(data: tx.Dataset, settings: Mapping[str, Any], seed: int) -> Iterator[Found]:
    """`temperax.parallel_tempering`, scored at its coldest rung."""
    names = ("num_draws", "num_chains", "path", "hottest", "coldest", "num_replicas", "transitions")
    options = {k: settings[k] for k in names if k in settings}
    tree = tx.parallel_tempering(jax.random.key(seed), energy_of(data, settings), progress=False, **options)
    yield from _of_tree(data, tree)


def recipe(data: tx.Dataset, settings: Mapping[str, Any], seed: int) -> Iterator[Found]:
    """`temperax.recipes.tabular`, which chooses by itself."""
    tree = tx.recipes.tabular(jax.random.key(seed), data, minutes=settings.get("minutes", 5.0), progress=False)
    yield from _of_tree(data, tree)


def _of_tree(data: tx.Dataset, tree: Any, *, cut: bool = False) -> Iterator[Found]:
    """What each kept temperature predicts, with its diagnostics and its leave-one-out score; ``cut`` as it was to be.

    Raises
    ------
    KeyboardInterrupt
        Of a run that somebody stopped, which is no cell.
    """
    if tree.attrs["interrupted"] and not cut:
        raise KeyboardInterrupt
    diagnostics = tx.diagnostics.summary(tree)
    loo = tx.diagnostics.loo(tree) if "log_likelihood" in tree.children else {}
    for temperature in tree["tempered_predictions"]["temperature"].values.tolist():
        row = diagnostics.loc[temperature]
        about = {n: float(row[n]) for n in ("rhat_f_max", "rhat_f_median", "ess_f_min", "divergences", "n_steps")}
        about |= {"temperature": temperature}
        if temperature in loo:
            shift = float(np.log(data.y_scale).sum()) if data.task == "regression" else 0.0
            about["loo"] = float(loo[temperature].elpd) / len(data.x) - shift
            about["pareto_k_max"] = float(np.max(loo[temperature].pareto_k))
        yield of_groups(data, tree, temperature, about)


METHODS: dict[str, Callable[[tx.Dataset, Mapping[str, Any], int], Iterator[Found]]] = {
    "linear": linear,
    "gradient_boosting": gradient_boosting,
    "map": map_estimate,
    "deep_ensemble": deep_ensemble,
    "last_layer_laplace": last_layer_laplace,
    "sgld": sgld,
    "numpyro_nuts": numpyro_nuts,
    "bde": bde,
    "temperax": temperax,
    "ladder": ladder,
    "recipe": recipe,
}
