"""Generated bad and odd input: everything is a documented error of one sentence or a correct run, and nothing executes.

Examples are the same in every run.  `EXAMPLES` counts those that were generated, and the last test asks how many.
"""

import collections
import functools
import importlib.machinery
import importlib.util
import io
import json
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
import typer
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from shell import said
from typer.testing import CliRunner

import temperax as tx
from temperax import datasets, predict
from temperax.command import cli
from temperax.energies.datasets import Dataset
from temperax.engine import engine
from temperax.results import notation
from temperax.training import bottoms, descent

FUZZ = settings(
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.filter_too_much],
)
#: Examples of each test.
EXAMPLES: collections.Counter = collections.Counter()


def bare(name):
    """A module without the checks of shapes that the other tests switch on and users do not have."""
    path = Path(tx.__file__).parent.joinpath(*name.split(".")).with_suffix(".py")
    loader = importlib.machinery.SourceFileLoader(f"bare_{name}", str(path))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    module = importlib.util.module_from_spec(spec)
    sys.modules[loader.name] = module
    loader.exec_module(module)
    return module


ladder, sharding, thermodynamics = map(bare, ("engine.ladder", "machine.sharding", "analysis.thermodynamics"))


# -- judges ----------------------------------------------------------------------------------------------------------


class Reached(BaseException):
    """The input was accepted, and work would begin here."""


def judge(test, call):
    """The result of a call, or None where it was refused by one sentence that names the argument."""
    EXAMPLES[test] += 1
    try:
        return call()
    except tx.InputError as error:
        message = str(error)
        assert message.startswith(f"{error.argument} = ") and "; " in message and message.endswith("."), message
        assert message.isprintable() and len(message) < 1000, message
        return None


def refused(test, call):
    out = judge(test, call)
    assert out is None, f"accepted: {out!r}"


def check_dataset(data):
    """A data set with the numbers and shapes that every sampler relies on."""
    for part in (data.x, data.y, data.x_test, data.y_test, data.x_mean, data.x_scale, data.y_mean, data.y_scale):
        assert np.isfinite(part).all()
    assert len(data.x) == len(data.y) > 0 and len(data.x_test) == len(data.y_test)
    assert data.x.shape[1] == len(set(data.inputs)) and data.y.shape[1] == len(set(data.targets))
    assert (data.x_scale > 0).all() and (data.y_scale > 0).all()
    assert np.abs(np.concatenate([data.x.ravel(), data.x_test.ravel()])).max() <= np.finfo(np.float32).max


def judge_command(test, code, stderr, exception=None):
    """Status 0, 1 or 2, a sentence or typer's own words on stderr, and no traceback."""
    EXAMPLES[test] += 1
    assert exception is None or isinstance(exception, SystemExit), repr(exception)
    assert code in (0, 1, 2), code
    assert "Traceback" not in stderr, stderr
    if code and "Usage:" not in stderr:
        assert re.fullmatch(r"temperax: [^\n]+\n", stderr), stderr


def command(test, *arguments):
    """A command in this process."""
    try:
        result = CliRunner().invoke(cli.app, list(arguments))
    except Reached:
        EXAMPLES[test] += 1
        return None
    judge_command(test, result.exit_code, result.stderr, result.exception)
    return result


def process(test, code, *arguments, timeout=120, **options):
    """A command in a process of its own, which must end."""
    environment = os.environ | {"COLUMNS": "200", "NO_COLOR": "1"}
    line = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(line, capture_output=True, text=True, timeout=timeout, env=environment, **options)
    judge_command(test, done.returncode, done.stderr)
    return done


@pytest.fixture
def nothing_compiles(monkeypatch):
    def reached(*_, **__):
        raise Reached

    for module, name in (
        (engine, "run_block"),
        (descent, "_begin"),
        (descent, "prior_draws"),
        (bottoms, "prior_draws"),
        (descent, "_advance"),
        (descent, "loss_and_gradient"),
        (bottoms, "loss_and_gradient"),
    ):
        monkeypatch.setattr(module, name, reached)


# -- values ----------------------------------------------------------------------------------------------------------


class Strange:
    """Cannot even say what it is."""

    def __repr__(self):
        raise RuntimeError("no name")


#: Neither a number nor a name nor an array.
junk = st.one_of(
    st.text(max_size=20).map(lambda text: "\x1b[2J" + text),
    st.binary(max_size=5),
    st.complex_numbers(),
    st.lists(st.none(), max_size=3),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
    st.sampled_from([object(), np.array(["a"]), np.array([1j]), np.datetime64("2020-01-01")]),
    st.builds(Strange),
)
huge = st.sampled_from([2**31, 2**63]) | st.sampled_from([30, 400, 5000]).map(lambda digits: 10**digits)
not_positive = st.one_of(
    junk,
    st.none(),
    st.booleans(),
    st.floats(max_value=0),
    st.floats(min_value=1e38),
    st.floats(min_value=0, max_value=1e-38),
    st.just(np.nan),
    st.sampled_from([400, 5000]).map(lambda digits: 10**digits),
)
maybe_none = not_positive.filter(lambda value: value is not None)


def not_count(least=1):
    return st.one_of(junk, st.none(), st.booleans(), st.floats(), st.integers(max_value=least - 1), huge)


not_name = st.one_of(junk, st.none(), st.integers(), st.booleans())
not_betas = st.one_of(
    junk,
    st.lists(st.floats(max_value=-1e-3), min_size=2, max_size=4),
    st.lists(st.sampled_from([np.nan, np.inf, 1e-60, 1e60, -1.0]), min_size=2, max_size=4),
    st.just(np.ones((2, 2))),
    st.just([10**400, 1]),
)
not_a_ladder = st.one_of(not_betas, st.none(), st.floats(), st.just([0.5]), st.just([1.0, 0.5]), st.just([0.5, 0.5]))

X, Y = np.arange(12.0).reshape(6, 2), np.arange(6.0)
#: Numbers that single precision has not.
TOO_LARGE = ([1e300], np.full(3, 1e300)) if jnp.result_type(float) == jnp.float32 else ([np.inf],)
KEY = jax.random.key(0)


@functools.cache
def energy():
    return tx.Energy.mlp(Dataset.from_arrays(X, Y), (2,))


def mlp(**options):
    return tx.Energy.mlp(Dataset.from_arrays(X, Y), **({"hidden": (2,)} | options))


def classes(y, **options):
    return tx.Energy.mlp(Dataset.from_arrays(X, y, task="classification"), (2,), **options)


def network(apply, parameters, **options):
    return tx.Energy.network(Dataset.from_arrays(X, Y), apply, parameters, **options)


def sample(**options):
    return tx.sample(KEY, energy(), progress=False, **options)


def tempering(**options):
    return tx.parallel_tempering(KEY, energy(), progress=False, **options)


def minimise(**options):
    return tx.optimise.minimise(KEY, energy(), **options)


def anneal(betas=(0.5, 1.0), **options):
    return tx.anneal(KEY, energy(), betas, **options)


def coefficient(**options):
    return tx.learning_coefficient(KEY, energy(), progress=False, **options)


def empty_groups():
    names = ("tempered_stats", "exchange", "tempered_predictions", "posterior", "constant_data")
    return xr.DataTree.from_dict(dict.fromkeys(names, xr.Dataset()))


def linear(p, x):
    return x @ p["w"]


LADDER = np.array([0.1, 0.5, 1.0])
ENERGIES = np.arange(24.0).reshape(2, 4, 3)
W = {"w": np.zeros((2, 1))}
likelihoods, priors = tx.likelihoods, tx.priors
not_result = st.one_of(not_name, st.builds(xr.DataTree), st.builds(empty_groups), st.builds(xr.Dataset))
not_key = st.one_of(not_name, st.just(np.zeros(3, np.uint32)), st.just(jax.random.split(KEY)))
not_positions = st.one_of(
    junk,
    st.just(np.full((4, 9), np.nan)),
    st.just(np.full((4, 9), 1e300)),
    st.just([[1], [1, 2]]),
    arrays.arrays(float, arrays.array_shapes(max_dims=3, max_side=3)),
)

#: Public functions, each of one argument, with values that it cannot use.
BAD = {
    # data
    "from_arrays x": (lambda v: Dataset.from_arrays(v, Y), st.one_of(not_name, huge)),
    "from_arrays y": (lambda v: Dataset.from_arrays(X, v), st.one_of(not_name, huge)),
    "from_arrays x_test": (lambda v: Dataset.from_arrays(X, Y, v, Y), st.one_of(not_name, st.floats())),
    "from_arrays y_test": (lambda v: Dataset.from_arrays(X, Y, X, v), st.one_of(not_name, st.floats())),
    "from_arrays task": (lambda v: Dataset.from_arrays(X, Y, task=v), not_name),
    "from_arrays inputs": (
        lambda v: Dataset.from_arrays(X, Y, inputs=v),
        st.one_of(not_name.filter(lambda v: v is not None), st.just(["a", "a"]), st.just(["a", "b\0"]), st.just("ab")),
    ),
    "from_arrays constant": (lambda v: Dataset.from_arrays(X, np.full(6, v)), st.floats()),
    "from_csv path": (
        lambda v: Dataset.from_csv(v, "y"),
        st.one_of(not_name, st.text(max_size=9), st.just("/dev/zero")),
    ),
    "from_csv address": (
        lambda v: Dataset.from_csv(f"{v}://127.0.0.1:9/x.csv", "y"),
        st.sampled_from(["http", "https", "ftp", "s3", "file"]),
    ),
    "load name": (tx.datasets.load, st.one_of(not_name, st.text())),
    "load path": (
        lambda v: tx.datasets.load(v + "diabetes"),
        st.sampled_from(["../", "/", "./", "uci/", "..\\", "\0", "~/", "http://x/"]),
    ),
    "load split": (lambda v: tx.datasets.load("diabetes", v), st.one_of(not_count(0), st.integers(min_value=20))),
    # energies
    "mlp data": (lambda v: tx.Energy.mlp(v), not_name),
    "mlp hidden": (
        lambda v: mlp(hidden=v),
        st.one_of(
            not_name.filter(lambda v: not isinstance(v, list)),
            st.lists(not_count(), min_size=1, max_size=3),
            st.just([10**10]),
            st.just([10**5] * 2 + [10**6]),
        ),
    ),
    "mlp activation": (
        lambda v: mlp(activation=v),
        st.one_of(not_name, st.sampled_from([np.tanh, jnp.sum, dict, max, lambda: 1, lambda x: "a", lambda x: x[:1]])),
    ),
    "mlp likelihood": (
        lambda v: mlp(likelihood=v),
        st.sampled_from([3, "gaussian", likelihoods.Gaussian, likelihoods.Likelihood(), likelihoods.Poisson()]),
    ),
    "mlp likelihood of an array": (
        lambda v: mlp(likelihood=v),
        st.sampled_from([-1.0, 0.0, np.nan, np.inf, [1.0, 1.0]]).map(lambda v: likelihoods.Gaussian(jnp.array(v))),
    ),
    "mlp prior": (
        lambda v: mlp(prior=v),
        st.one_of(
            not_name.filter(lambda v: v is not None and not isinstance(v, dict)),
            st.sampled_from([priors.Normal, priors.Prior(), dist.Normal, dist.Poisson(1.0), {1: 2, "a": 3}]),
        ),
    ),
    "mlp classes": (classes, st.sampled_from([Y / 2, Y * 1e20, Y * np.nan])),
    "network apply": (
        lambda v: network(v, W),
        st.one_of(not_name, st.sampled_from([lambda p: p, lambda p, x: x, lambda p, x: (x @ p["w"])[:, 0]])),
    ),
    "network broadcast": (
        lambda v: network(lambda p, x: jnp.zeros(v) + p["w"].sum(), W),
        arrays.array_shapes(max_dims=3, max_side=7).filter(lambda shape: shape != (6, 1)),
    ),
    "network parameters": (
        lambda v: network(linear, v),
        st.sampled_from([{"w": "a"}, {"w": jnp.tanh}, {"w": np.zeros((2, 1), int)}, {1: 0.0, "a": 0.0}, 3, "a"]),
    ),
    "network prior": (
        lambda v: network(linear, W, prior=v),
        st.sampled_from([priors.ARD(), 3, {"v": dist.Normal()}, {"w": dist.HalfNormal()}, {"w": 1.0}, {"w": None}, {}]),
    ),
    "Energy data_energy": (
        lambda v: tx.Energy(v, dist.Normal()),
        st.one_of(
            not_name,
            st.sampled_from([lambda: 0.0, lambda a, b: a, lambda p: "a", lambda p: {"a": p}, lambda p: 1j * p]),
        ),
    ),
    "Energy prior": (
        lambda v: tx.Energy(lambda p: 0.0, v),
        st.one_of(not_name, st.sampled_from([dist.Normal, {}, {1: dist.Normal(), "a": dist.Normal()}])),
    ),
    "Energy names": (
        lambda v: tx.Energy(lambda p: 0.0, v),
        st.sampled_from(["\n", "a" * 300]).map(lambda name: {name: dist.Normal()})
        | st.just({"a_b": dist.Normal(), "a": {"b": dist.Normal()}}),
    ),
    "Energy data": (
        lambda v: tx.Energy(lambda p, data: p, dist.Normal(), v),
        st.sampled_from(["a", *TOO_LARGE, [2**70], {"x": object()}, X * np.nan, {1: X, "a": X}]),
    ),
    "replace": (lambda v: energy().replace(**{v: 1}), st.text().filter(lambda name: name not in ("data", "prior"))),
    # numbers
    "Gaussian": (likelihoods.Gaussian, not_positive),
    "HeteroscedasticGaussian": (
        likelihoods.HeteroscedasticGaussian,
        st.one_of(not_positive, st.just(dist.HalfNormal(1.0))),
    ),
    "StudentT likelihood": (lambda v: likelihoods.StudentT(df=v), not_positive),
    "Categorical": (likelihoods.Categorical, not_count(2).filter(lambda v: v is not None)),
    "Normal": (priors.Normal, not_positive),
    "FanInNormal": (lambda v: priors.FanInNormal(bias_scale=v), not_positive),
    "Laplace": (priors.Laplace, not_positive),
    "StudentT prior": (lambda v: priors.StudentT(df=v), not_positive),
    "Elementwise": (priors.Elementwise, st.one_of(not_name, st.just(dist.HalfNormal(1.0)))),
    "ARD": (lambda v: priors.ARD(input_scale=v), st.one_of(not_name, st.just(dist.Normal(0.0, 1.0)))),
    "HMC step_size": (lambda v: tx.HMC(step_size=v), maybe_none),
    "HMC inverse_mass": (lambda v: tx.HMC(inverse_mass=v), maybe_none | maybe_none.map(lambda v: [1.0, v])),
    "HMC max_steps": (lambda v: tx.HMC(max_steps=v), not_count()),
    "HMC target_acceptance": (lambda v: sample(kernel=tx.HMC(target_acceptance=v)), not_positive),
    "NUTS max_tree_depth": (lambda v: tx.NUTS(max_tree_depth=v), not_count() | st.integers(min_value=31)),
    # temperatures
    "temperature": (
        lambda v: tx.tempering.inverse_temperatures(v, path="likelihood"),
        not_betas | st.just([1.0, 1.0 + 1e-12]),
    ),
    "beta": (lambda v: tx.tempering.inverse_temperatures(beta=v, path="likelihood"), not_betas),
    "path": (lambda v: tx.tempering.inverse_temperatures(0.3, path=v), not_name),
    "check_ladder": (lambda v: ladder.check_ladder(v), not_a_ladder),
    "linear num": (lambda v: ladder.linear(v), not_count(2)),
    "linear hottest": (
        lambda v: ladder.linear(3, hottest=v),
        not_positive.filter(lambda v: isinstance(v, bool) or v != 0),
    ),
    "linear coldest": (lambda v: ladder.linear(3, coldest=v), not_positive),
    "geometric hottest": (lambda v: ladder.geometric(3, hottest=v), not_positive),
    "geometric coldest": (lambda v: ladder.geometric(3, coldest=v), not_positive),
    "logarithmic coldest": (lambda v: ladder.logarithmic(3, coldest=v), not_positive),
    "constant_speed betas": (lambda v: ladder.constant_speed(3, v, [1.0, 1.0]), not_a_ladder),
    "constant_speed capacity": (
        lambda v: ladder.constant_speed(3, [0.1, 1.0], v),
        not_a_ladder.filter(lambda v: not isinstance(v, list)),
    ),
    "barrier betas": (lambda v: ladder.barrier(v, [0.5]), st.one_of(junk, st.none(), st.floats(), st.just([1.0, 0.1]))),
    "barrier rejection": (
        lambda v: ladder.barrier([0.1, 1.0], v),
        st.one_of(junk, st.none(), st.floats(), st.just([2.0])),
    ),
    "adaptive": (lambda v: ladder.adaptive(v, 3), not_name),
    "pin": (lambda v: ladder.pin(LADDER, v), st.one_of(not_positive, st.just(0.05), st.just(2.0))),
    "lag_one": (lambda v: ladder.lag_one(v), st.one_of(not_name, st.just([1.0, 2.0]), st.just([[1.0]]))),
    # samplers
    "sample energy": (lambda v: tx.sample(KEY, v, progress=False), not_name),
    "sample key": (lambda v: tx.sample(v, energy(), progress=False), not_key),
    "sample num_chains": (lambda v: sample(num_chains=v), not_count()),
    "sample num_warmup": (lambda v: sample(num_warmup=v), not_count(0)),
    "sample num_draws": (lambda v: sample(num_draws=v), not_count()),
    "sample thin": (lambda v: sample(thin=v), not_count()),
    "sample kernel": (lambda v: sample(kernel=v), st.one_of(not_name, st.just(tx.HMC))),
    "sample batch_size": (lambda v: sample(batch_size=v), not_count(0).filter(lambda v: v is not None)),
    "tempering energy": (lambda v: tx.parallel_tempering(KEY, v, progress=False), not_name),
    "tempering key": (lambda v: tx.parallel_tempering(v, energy(), progress=False), not_key),
    "tempering num_draws": (lambda v: tempering(num_draws=v), not_count(32).filter(lambda v: v is not None)),
    "tempering coldest": (lambda v: tempering(coldest=v), not_positive),
    "tempering ladder": (lambda v: tempering(ladder=v), not_a_ladder.filter(lambda v: v is not None)),
    "tempering path": (lambda v: tempering(path=v), not_name),
    "tempering scheme": (lambda v: tempering(scheme=v), not_name),
    "tempering keep": (lambda v: tempering(keep=v), not_name),
    "tempering transitions": (lambda v: tempering(transitions=v), not_count()),
    "tempering most_transitions": (
        lambda v: tempering(transitions=2, most_transitions=v),
        not_count(2).filter(lambda v: v is not None),
    ),
    "minimise key": (lambda v: tx.optimise.minimise(v, energy()), not_key),
    "minimise energy": (lambda v: tx.optimise.minimise(KEY, v), st.one_of(not_name, st.just(tx.systems.ising((2, 2))))),
    "minimise num_starts": (lambda v: minimise(num_starts=v), not_count()),
    "minimise max_steps": (lambda v: minimise(max_steps=v), not_count()),
    "minimise tolerance": (lambda v: minimise(tolerance=v), not_positive.filter(lambda v: not _fine_tolerance(v))),
    "minimise holdout": (lambda v: minimise(holdout=v), maybe_none | st.floats(min_value=1.0)),
    "minimise optimiser": (lambda v: minimise(optimiser=v), not_name.filter(lambda v: v is not None)),
    "minimise start": (lambda v: minimise(num_starts=4, start=v), not_positions),
    "map_estimate key": (lambda v: tx.map_estimate(v, energy()), not_key),
    "deep_ensemble num_members": (lambda v: tx.deep_ensemble(KEY, energy(), v), not_count()),
    "polish energy": (lambda v: tx.optimise.polish(v, np.zeros(9)), not_name),
    "polish position": (lambda v: tx.optimise.polish(energy(), v), not_positions),
    "anneal key": (lambda v: tx.anneal(v, energy(), [0.5, 1.0]), not_key),
    "anneal energy": (lambda v: tx.anneal(KEY, v, [0.5, 1.0]), not_name),
    "anneal betas": (anneal, not_betas),
    "anneal path": (lambda v: anneal(path=v), not_name),
    "anneal scans": (lambda v: anneal(scans=v), not_count()),
    "anneal start": (lambda v: anneal(start=v), not_positions),
    "coefficient key": (lambda v: tx.learning_coefficient(v, energy()), not_key),
    "coefficient energy": (lambda v: tx.learning_coefficient(KEY, v), not_name),
    "coefficient beta": (lambda v: coefficient(beta=v), maybe_none),
    "coefficient localisation": (lambda v: coefficient(localisation=v), maybe_none),
    "coefficient num_draws": (lambda v: coefficient(num_draws=v), not_count(4)),
    "use_cpu_devices": (lambda v: sharding.use_cpu_devices(v), not_count()),
    # results
    "scores": (lambda v: predict.scores(v), not_result),
    "predictions tree": (lambda v: predict.predictions(v, X, energy()), not_result),
    "predictions x": (lambda v: predict.predictions(empty_groups(), v, energy()), not_name),
    "predictions energy": (lambda v: predict.predictions(empty_groups(), X, v), not_name),
    "curves betas": (
        lambda v: thermodynamics.curves((LADDER, ENERGIES), v),
        junk.filter(lambda v: not isinstance(v, list)) | st.just(np.nan) | st.just(2.0),
    ),
    "curves source": (lambda v: thermodynamics.curves(v), not_name),
    "curves ladder": (lambda v: thermodynamics.curves((v, ENERGIES)), not_a_ladder),
    "curves energies": (
        lambda v: thermodynamics.curves((LADDER, v)),
        st.one_of(st.floats(), st.just(ENERGIES[0]), st.just(ENERGIES * np.nan), st.just(ENERGIES + np.inf)),
    ),
    "compare_evidence": (
        lambda v: thermodynamics.compare_evidence(v),
        st.one_of(not_name, st.just({}), st.just({"a": (LADDER, ENERGIES)})),
    ),
    "compare": (lambda v: tx.predict.compare(v), st.one_of(not_name, st.just({}), st.just({"a": None}))),
    **{
        f"diagnostics.{name}": (getattr(tx.diagnostics, name), not_result)
        for name in (
            "function_space",
            "energies",
            "configurational_temperature",
            "summary",
            "exchange",
            "round_trips",
            "verdicts",
            "report",
        )
    },
}


def _fine_tolerance(value):
    return type(value) in (int, float) and 0 <= value < np.inf


@pytest.mark.parametrize("case", BAD)
def test_public_functions_refuse_by_one_sentence(case, nothing_compiles):
    call, values = BAD[case]

    @settings(FUZZ, max_examples=8)
    @given(values)
    def attempt(value):
        refused("functions", lambda: call(value))

    attempt()


# -- tables ----------------------------------------------------------------------------------------------------------

odd_floats = st.one_of(
    st.floats(-10, 10),
    st.floats(),
    st.integers(-320, 308).map(lambda power: float(f"1e{power}")),
    st.sampled_from([0.0, 1.0, 1.0, 1.0, 1e20, -1e20, 1e-20, 1e200, 1e-200]),
)


@settings(FUZZ, max_examples=150)
@given(st.data())
def test_tables_of_any_numbers_are_refused_or_standardised(data):
    rows, columns, held_out = (data.draw(st.integers(*bounds)) for bounds in ((1, 5), (1, 3), (0, 2)))
    x, y, x_test, y_test = (
        data.draw(arrays.arrays(float, shape, elements=odd_floats))
        for shape in ((rows, columns), rows, (held_out, columns), held_out)
    )
    task = data.draw(st.sampled_from(list(datasets.TASKS)))
    standardise = data.draw(st.booleans())
    found = judge("tables", lambda: Dataset.from_arrays(x, y, x_test, y_test, task=task, standardise=standardise))
    if found is None:
        return
    check_dataset(found)
    largest = np.abs(x).max(axis=0)
    np.testing.assert_allclose(
        (found.x * found.x_scale + found.x_mean) / np.where(largest > 0, largest, 1),
        x / np.where(largest > 0, largest, 1),
        atol=1e-9,
    )
    if standardise:
        assert np.abs(found.x).max() <= np.sqrt(rows) * (1 + 1e-6)
    made = judge("tables", lambda: tx.Energy.mlp(found, (2,)))
    assert made is None or made.size > 0


@jax.jit
def total(energy, key):
    position = energy.sample_prior(key)
    return energy.prior_energy(position) + energy.data_energy(position)


@settings(FUZZ, max_examples=25)
@given(st.integers(-280, 280), st.integers(-280, 280), st.booleans())
def test_energies_are_finite_at_any_scale(power_x, power_y, constant):
    """1e20 and 1e-20, and far beyond."""
    x = np.random.default_rng(0).normal(size=(6, 2))
    x[:, 1] = 1.0 if constant else x[:, 1]
    data = Dataset.from_arrays(x * float(f"1e{power_x}"), Y * float(f"1e{power_y}"))
    found = judge("scales", lambda: total(tx.Energy.mlp(data, (2,)), KEY))
    assert np.isfinite(found)


@pytest.mark.slow
@settings(FUZZ, max_examples=4)
@given(st.sampled_from([-250, -20, 20, 250]), st.sampled_from([-20, 20]))
def test_tiny_runs_are_finite_at_any_scale(power_x, power_y):
    data = Dataset.from_arrays(X * float(f"1e{power_x}"), Y * float(f"1e{power_y}"))
    options = {"num_chains": 1, "num_warmup": 4, "num_draws": 4, "start": "prior", "progress": False}
    tree = judge("runs", lambda: tx.sample(KEY, tx.Energy.mlp(data, (2,)), **options))
    assert tree["sample_stats"]["lp"].shape == (1, 4) and np.isfinite(tree["sample_stats"]["lp"]).all()


@settings(FUZZ, max_examples=4)
@given(st.sampled_from([np.zeros(6), np.ones(6), Y % 2, np.array([0, 1, 2, 0, 1, 2])]))
def test_one_class_or_several_are_refused_or_have_finite_energies(y):
    found = judge("scales", lambda: total(classes(y), KEY))
    assert found is None or np.isfinite(found)


# -- files -----------------------------------------------------------------------------------------------------------


class Payload:
    """Leaves a file behind wherever it is unpickled."""

    def __init__(self, canary):
        self.canary = str(canary)

    def __reduce__(self):
        return open, (self.canary, "w")


TABLE = b"a,b,y\n" + b"".join(b"%d,%d,%d\n" % (i, i * i % 7, 3 * i % 5) for i in range(12))
CELLS = ["", "nan", "inf", "-inf", "1e400", "1e-400", "9" * 400, "=cmd()", "=1+1", '"a\nb"', "\0", "é", "1;2", "1j"]
CELLS += ["True", "2020-01-01", "0x10"]


def _with_cell(cell, line, column):
    rows = [row.split(",") for row in TABLE.decode().splitlines()]
    rows[line][column] = cell
    return "\n".join(",".join(row) for row in rows).encode()


def tables(canary):
    """Bytes of tables that are damaged, odd, or no tables at all."""
    pickled = pickle.dumps(Payload(canary))
    return st.one_of(
        st.binary(max_size=200),
        st.integers(0, len(TABLE)).map(lambda n: TABLE[:n]),
        st.builds(_with_cell, st.sampled_from(CELLS), st.integers(0, 12), st.integers(0, 2)),
        st.tuples(st.integers(0, len(TABLE) - 1), st.binary(min_size=1, max_size=3)).map(
            lambda cut: TABLE[: cut[0]] + cut[1] + TABLE[cut[0] + 1 :]
        ),
        st.sampled_from([b";", b"\t", b" ", b"|", b"\r", b"\0", b",,"]).map(lambda mark: TABLE.replace(b",", mark)),
        st.sampled_from([b"a,a,y", b"y,y,y", b",,", b"a,b,y,c", b'"a\nb\x1b[2J",b,y', b"\xff\xfe,b,y"]).map(
            lambda header: TABLE.replace(b"a,b,y", header)
        ),
        st.just(b"a,b,y\n" + b"1,2,3\n" * 12),
        st.just(b"a,b,y\n1,2,3\n"),
        st.just(TABLE.decode().encode("utf-16")),
        st.just(pickled),
        st.just(TABLE + pickled),
    )


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "deep" / "er").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "deep" / "er")
    return Path.cwd()


def test_any_bytes_as_csv(folder):
    canary = folder / "executed"

    @settings(FUZZ, max_examples=120)
    @given(
        tables(canary),
        st.sampled_from(["table.csv", "table.txt", "table.nc", "table.pkl", "table.csv.gz", "table.csv.zip"]),
        st.sampled_from(["y", "b", "=cmd()", "", ["a", "y"], ["y", "y"], []]),
    )
    def attempt(content, name, target):
        (folder / name).write_bytes(content)
        found = judge("csv", lambda: Dataset.from_csv(folder / name, target))
        if found is not None:
            check_dataset(found)
        assert not canary.exists()

    attempt()


@pytest.fixture
def started(monkeypatch):
    """What can be set only before JAX starts."""
    monkeypatch.setattr(tx, "use_cpu_devices", lambda number: None)
    monkeypatch.setattr(tx, "use_compilation_cache", lambda: None)


def test_any_bytes_as_data_of_the_command_line(folder, started, nothing_compiles):
    canary = folder / "executed"

    @settings(FUZZ, max_examples=40)
    @given(tables(canary), st.sampled_from(["y", "b", "=cmd()"]), st.sampled_from(["sample", "temper"]))
    def attempt(content, target, verb):
        (folder / "table.csv").write_bytes(content)
        command("command csv", verb, "table.csv", "--target", target, "--quiet")
        assert not canary.exists()

    attempt()


def a_result(folder, energies=ENERGIES, dims=("chain", "draw", "temperature"), name="path_energy"):
    """The file of a run as far as thermodynamics reads it."""
    stats = xr.Dataset({name: (dims, energies)}, coords={"beta": ("temperature", LADDER)})
    xr.DataTree.from_dict({"tempered_stats": stats}).to_netcdf(folder / "result.nc")
    return (folder / "result.nc").read_bytes()


def test_any_bytes_as_a_result(folder):
    canary = folder / "executed"
    whole = a_result(folder)
    assert command("command result", "thermodynamics", ".").exit_code == 0

    @settings(FUZZ, max_examples=40)
    @given(
        st.one_of(
            tables(canary),
            st.integers(0, len(whole) - 1).map(lambda n: whole[:n]),
            st.tuples(st.integers(0, 600), st.binary(min_size=1, max_size=8)).map(
                lambda cut: whole[: cut[0]] + cut[1] + whole[cut[0] + len(cut[1]) :]
            ),
        )
    )
    def attempt(content):
        (folder / "result.nc").write_bytes(content)
        command("command result", "thermodynamics", ".")
        assert not canary.exists()

    attempt()


@pytest.mark.parametrize(
    "options",
    [
        {"name": "another"},
        {"energies": ENERGIES[0], "dims": ("draw", "temperature")},
        {"dims": ("chain", "step", "temperature")},
        {"energies": ENERGIES * np.nan},
        {"energies": ENERGIES + np.inf},
    ],
)
def test_results_of_another_kind(folder, options):
    a_result(folder, **options)
    assert command("command result", "thermodynamics", ".").exit_code == 2


def test_folders_that_are_no_run(folder):
    (folder / "result.nc").mkdir()
    for run in (".", "nowhere", "", "..", "n" * 300, "\x1b[2J"):
        assert command("command result", "thermodynamics", run).exit_code in (1, 2)


# -- the command line ------------------------------------------------------------------------------------------------

words = st.one_of(
    st.sampled_from(
        [
            "",
            " ",
            "-1",
            "0",
            "-0",
            "nan",
            "inf",
            "-inf",
            "1e400",
            "1e-400",
            "1" * 5000,
            "9" * 30,
            "²",
            "٣",
            "1_0",
            "0x1",
        ]
    ),
    st.sampled_from(
        ["--help", "--", "-", "../..", "/dev/null", "$(touch x)", "`x`", "a\0b", "\x1b[2J", "𝟙", "é", "\n"]
    ),
    st.text(max_size=12),
    st.floats().map(str),
    st.integers(max_value=999).map(str),
)
OPTIONS = {
    "sample": ["target", "task", "split", "hidden", "activation", "prior-scale", "temperature", "path", "kernel"]
    + ["chains", "warmup", "draws", "seed", "devices"],
    "temper": ["replicas", "transitions", "coldest", "path", "kernel", "chains", "draws", "seed", "devices"],
}


def test_any_value_of_any_option(folder, started, nothing_compiles):
    (folder / "table.csv").write_bytes(TABLE)
    calls = [(verb, option) for verb, names in OPTIONS.items() for option in names]

    @settings(FUZZ, max_examples=150)
    @given(st.sampled_from(calls), words)
    def attempt(call, word):
        verb, option = call
        command("command options", verb, "table.csv", "--target", "y", "--quiet", f"--{option}={word}")

    attempt()
    assert not (folder / "x").exists()


def test_any_name_of_data_or_folder(folder, started, nothing_compiles):
    (folder / "table.csv").write_bytes(TABLE)
    names = st.sampled_from(
        [
            "..",
            "../../diabetes",
            "diabetes/../yacht",
            "uci/yacht",
            "n" * 300,
            "a\0b",
            "\ud800",
            "/dev/zero",
            "/proc/x",
            "é",
            ".",
        ]
    ) | st.text(st.characters(exclude_characters="/"), max_size=12)

    @settings(FUZZ, max_examples=40)
    @given(names, st.booleans())
    def attempt(name, as_data):
        if as_data:
            command("command names", "sample", "--target", "y", "--quiet", "--", name)
        else:
            command("command names", "sample", "table.csv", "--target", "y", "--quiet", f"--out={name}")

    attempt()


@pytest.mark.slow
def test_processes_end_by_one_sentence(folder):
    cases = [
        (("sample", "pickled.csv", "--target", "y", "--out", "new"), "cannot be read as CSV"),
        (("sample", "/dev/zero", "--target", "y", "--out", "new"), "regular file"),
        (("temper", "table.csv", "--target", "y", "--replicas", "²", "--out", "../run"), "--replicas"),
        (("thermodynamics", "run"), "cannot be read"),
    ]
    (folder / "table.csv").write_bytes(TABLE)
    (folder / "run").mkdir()
    pickled = pickle.dumps(Payload(folder / "executed"))
    for name in ("pickled.csv", "run/result.nc"):
        (folder / name).write_bytes(pickled)
    for (status, error), (_, words) in zip(said([arguments for arguments, _ in cases], cwd=folder), cases, strict=True):
        judge_command("processes", status, error)
        assert status == 2 and words in error
    assert not (folder / "executed").exists()


# -- what files and downloads may do ---------------------------------------------------------------------------------


@settings(FUZZ, max_examples=30)
@given(
    st.sampled_from(["class", "distribution"]),
    st.text() | st.sampled_from(["os.system", "builtins.eval", "kernels.Kernel", "__class__"]),
)
def test_recipes_build_nothing_that_is_not_listed(kind, name):
    hostile = {kind: name, "arguments": {"command": "touch x"}}
    refused("recipes", lambda: notation.decode(json.loads(json.dumps({"prior": [hostile]}))))


def test_what_recipes_list_are_settings_and_distributions():
    rooms = ("temperax.energies.priors", "temperax.energies.likelihoods", "temperax.engine.kernels")
    assert all(cls.__module__.startswith(rooms) for cls in notation._CLASSES.values())
    assert all(issubclass(cls, dist.Distribution) for cls in notation._DISTRIBUTIONS.values())


def test_every_download_is_verified(monkeypatch, tmp_path):
    import pooch

    asked = {}

    def retrieve(url, known_hash, fname, path):
        asked[fname] = (url, known_hash, Path(path))
        raise OSError("no network")

    monkeypatch.setattr(pooch, "retrieve", retrieve)
    monkeypatch.setenv("TEMPERAX_DATA", str(tmp_path))
    for name in datasets.UCI:
        refused("downloads", lambda name=name: tx.datasets.load(name))
    assert set(asked) == {f"{name}.txt" for name in datasets.UCI}
    for url, known_hash, path in asked.values():
        assert url.startswith("https://") and re.fullmatch("sha256:[0-9a-f]{64}", known_hash) and path == tmp_path


# -- the judges themselves -------------------------------------------------------------------------------------------


def test_the_judge_of_calls_fails_where_it_should():
    for unguarded, error in (
        (lambda: int("a"), ValueError),
        (lambda: len(3), TypeError),
        (lambda: {}["a"], KeyError),
        (lambda: np.float64(1e300) * 1e300, RuntimeWarning),
    ):
        with pytest.raises(error):
            judge("controls", unguarded)
    with pytest.raises(AssertionError, match="accepted"):
        refused("controls", lambda: 1)

    class TwoLines(tx.InputError):
        def __str__(self):
            return "x = 1 is\nwrong; stop."

    def rambles():
        raise TwoLines("x", 1, "", "")

    with pytest.raises(AssertionError):
        judge("controls", rambles)
    broken = Dataset.from_arrays(X, Y)
    broken.x[0] = np.nan
    with pytest.raises(AssertionError):
        check_dataset(broken)


def test_the_judge_of_commands_fails_where_it_should(monkeypatch):
    app = typer.Typer(pretty_exceptions_enable=False)
    monkeypatch.setattr(cli, "app", app)

    @app.command()
    def unguarded(behaviour: str):
        if behaviour == "raise":
            int("a")
        print("temperax: a\nTraceback (most recent call last):" if behaviour == "print" else "oh", file=sys.stderr)
        raise typer.Exit(3 if behaviour == "status" else 2)

    for behaviour in ("raise", "print", "status", "mumble"):
        with pytest.raises(AssertionError):
            command("controls", behaviour)
    with pytest.raises(AssertionError, match="Traceback"):
        process("controls", "int('a')")
    with pytest.raises(subprocess.TimeoutExpired):
        process("controls", "import time; time.sleep(60)", timeout=1)


def test_the_payload_would_have_been_noticed(tmp_path):
    pickle.load(io.BytesIO(pickle.dumps(Payload(tmp_path / "executed")))).close()
    assert (tmp_path / "executed").exists()


def test_enough_was_generated():
    generated = {test: count for test, count in EXAMPLES.items() if test != "controls"}
    if len(generated) < 12:
        pytest.skip("counts only where the whole file has run")
    assert sum(generated.values()) >= 1000, generated
    assert min(generated[test] for test in ("functions", "tables", "csv", "command options")) >= 100, generated
