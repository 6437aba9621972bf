"""Bad input gets one sentence with argument, value and remedy, before anything is compiled."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import optax
import pandas as pd
import pytest

import temperax as tx
from temperax.energies.datasets import Dataset
from temperax.engine import engine
from temperax.training import bottoms, descent

X, Y = np.arange(12.0).reshape(6, 2), np.arange(6.0)
FRAME = pd.DataFrame({"a": Y, "b": Y**2})
OWN = dist.Normal(0.0, 1.0).expand([3]).to_event(1)


def energy(**options):
    return tx.Energy.mlp(Dataset.from_arrays(X, Y), (2,), **options)


def run(temperature=None, **options):
    return tx.sample(jax.random.key(0), energy(), temperature, progress=False, **options)


def classes(y, **options):
    return tx.Energy.mlp(Dataset.from_arrays(X, y, task="classification"), (2,), **options)


BAD = {
    # data
    "no rows": (lambda: Dataset.from_arrays(X[:0], Y[:0]), "x"),
    "no columns": (lambda: Dataset.from_arrays(X[:, :0], Y), "x"),
    "nan in x": (lambda: Dataset.from_arrays(np.where(X == 3, np.nan, X), Y), "x"),
    "infinite y": (lambda: Dataset.from_arrays(X, np.where(Y == 3, np.inf, Y)), "y"),
    "three dimensions": (lambda: Dataset.from_arrays(X[None], Y), "x"),
    "text": (lambda: Dataset.from_arrays([["a", "b"]], [1.0]), "x"),
    "rows differ": (lambda: Dataset.from_arrays(X, Y[:4]), "y"),
    "test columns differ": (lambda: Dataset.from_arrays(X, Y, X[:, :1], Y), "x_test"),
    "test targets missing": (lambda: Dataset.from_arrays(X, Y, X), "x_test"),
    "constant target": (lambda: Dataset.from_arrays(X, np.ones(6)), "y"),
    "task": (lambda: Dataset.from_arrays(X, Y, task="ranking"), "task"),
    "names": (lambda: Dataset.from_arrays(X, Y, inputs=["a"]), "inputs"),
    "unknown data set": (lambda: tx.datasets.load("bostn"), "name"),
    "path as name": (lambda: tx.datasets.load("../../etc/passwd"), "name"),
    "split too large": (lambda: tx.datasets.load("diabetes", split=20), "split"),
    "split of a float": (lambda: tx.datasets.load("diabetes", split=1.0), "split"),
    "missing csv": (lambda: Dataset.from_csv("/nowhere/x.csv", "y"), "path"),
    "dates in a frame": (lambda: Dataset.from_arrays(FRAME.assign(b=pd.Timestamp("2026-01-01")), Y), "x"),
    "complex numbers in a frame": (lambda: Dataset.from_arrays(FRAME * 1j, Y), "x"),
    "dates as targets": (lambda: Dataset.from_arrays(X, pd.Series(pd.date_range("2026", periods=6))), "y"),
    "a column twice": (
        lambda: Dataset.from_arrays(FRAME, Y, FRAME[["a", "a", "b"]], Y),
        "x_test",
    ),
    "all rows alike in single precision": (
        lambda: Dataset.from_arrays(1.6e9 + X, Y, standardise=False),
        "x",
    ),
    "targets alike in single precision": (lambda: Dataset.from_arrays(X, 1e9 + Y, standardise=False), "y"),
    "classes that are no list": (lambda: Dataset.from_arrays(X, Y, task="classification", classes=5), "classes"),
    "a class twice": (
        lambda: Dataset.from_arrays(X, ["a"] * 6, task="classification", classes=["a", "a", "b"]),
        "classes",
    ),
    "classes of several targets": (
        lambda: Dataset.from_arrays(X, X % 2, task="classification", classes=[0, 1]),
        "classes",
    ),
    "a label in two kinds": (
        lambda: Dataset.from_arrays(X, np.array([1, "1"] * 3, object), task="classification"),
        "y",
    ),
    "a label that is nan": (lambda: Dataset.from_arrays(X, ["a", "b", np.nan] * 2, task="classification"), "y"),
    "a label that is NA": (
        lambda: Dataset.from_arrays(X, np.array(["a", "b", pd.NA] * 2, object), task="classification"),
        "y",
    ),
    "a label that is a fraction in a series": (
        lambda: Dataset.from_arrays(X, pd.Series([0.5, 1.5] * 3), task="classification"),
        "y",
    ),
    "target of a csv as a number": (lambda: Dataset.from_csv("/nowhere/x.csv", 3), "target"),
    # energies
    "not a dataset": (lambda: tx.Energy.mlp((X, Y)), "data"),
    "width 0": (lambda: tx.Energy.mlp(Dataset.from_arrays(X, Y), (0,)), "hidden"),
    "width as int": (lambda: tx.Energy.mlp(Dataset.from_arrays(X, Y), 50), "hidden"),
    "activation": (lambda: energy(activation="tanhh"), "activation"),
    "activation not callable": (lambda: energy(activation=3), "activation"),
    "likelihood": (lambda: energy(likelihood="gaussian"), "likelihood"),
    "likelihood for another task": (lambda: energy(likelihood=tx.likelihoods.Bernoulli()), "likelihood"),
    "noise 0": (lambda: tx.likelihoods.Gaussian(0.0), "scale"),
    "noise prior on the real line": (lambda: tx.likelihoods.Gaussian(dist.Normal(0, 1)), "scale"),
    "negative prior scale": (lambda: tx.priors.Normal(-1.0), "scale"),
    "nan prior scale": (lambda: tx.priors.Laplace(float("nan")), "scale"),
    "prior is no prior": (lambda: energy(prior=1.0), "prior"),
    "prior of a missing layer": (lambda: energy(prior={"layer_7": tx.priors.Normal()}), "prior"),
    "prior on half the line": (lambda: energy(prior=dist.HalfNormal(1.0)), "distribution"),
    "one class": (lambda: classes(np.full(6, 5), likelihood=tx.likelihoods.Categorical()), "y"),
    "classes of fractions": (
        lambda: classes(np.linspace(0, 1, 6), likelihood=tx.likelihoods.Categorical()),
        "y",
    ),
    "class 2 of a Bernoulli": (
        lambda: classes(np.array([0, 1, 2, 0, 1, 2]), likelihood=tx.likelihoods.Bernoulli()),
        "y",
    ),
    "class beyond num_classes": (
        lambda: classes(np.arange(6), likelihood=tx.likelihoods.Categorical(3)),
        "num_classes",
    ),
    "negative counts": (
        lambda: tx.Energy.mlp(Dataset.from_arrays(X, Y - 3, task="counts"), (2,)),
        "y",
    ),
    "held-out counts below 0": (
        lambda: tx.Energy.mlp(Dataset.from_arrays(X, Y, X, Y - 3, task="counts"), (2,)),
        "y_test",
    ),
    "counts beyond 32 bits": (lambda: tx.Energy.mlp(Dataset.from_arrays(X, Y * 1e9, task="counts"), (2,)), "y"),
    "one label of strings": (lambda: classes(["a"] * 6), "y"),
    "three classes of a Bernoulli": (
        lambda: tx.Energy.mlp(
            Dataset.from_arrays(X, ["a", "b"] * 3, task="classification", classes=["a", "b", "c"]),
            (2,),
            likelihood=tx.likelihoods.Bernoulli(),
        ),
        "y",
    ),
    "user's improper prior": (
        lambda: tx.parallel_tempering(
            jax.random.key(0),
            tx.Energy(lambda p: 0.0 * p, dist.ImproperUniform(dist.constraints.real, (), ())),
            progress=False,
        ),
        "path",
    ),
    "user's prior without distributions": (lambda: tx.Energy(lambda p: 0.0, {"w": 1.0}), "prior"),
    "user's discrete prior": (lambda: tx.Energy(lambda p: 0.0, dist.Poisson(1.0)), "prior"),
    "user's empty prior": (lambda: tx.Energy(lambda p: 0.0, {}), "prior"),
    "user's energy is no function": (lambda: tx.Energy(3, dist.Normal()), "data_energy"),
    "user's energy is a matrix": (
        lambda: tx.Energy(lambda p: jnp.zeros((2, 2)) * p, dist.Normal()),
        "data_energy",
    ),
    "user's energy takes no data": (lambda: tx.Energy(lambda p: p, dist.Normal(), data=X), "data_energy"),
    "user's data with nan": (lambda: tx.Energy(lambda p, d: p, dist.Normal(), data=X * np.nan), "data"),
    "replace of a user's energy": (
        lambda: tx.Energy(lambda p: p, dist.Normal()).replace(hidden=(2,)),
        "energy",
    ),
    "replace of an unknown argument": (lambda: energy().replace(widths=(2,)), "changes"),
    # temperatures and paths
    "temperature 0": (lambda: run(0.0, path="posterior"), "temperature"),
    "negative temperature": (lambda: run([1.0, -1.0], path="posterior"), "temperature"),
    "nan temperature": (lambda: run(float("nan"), path="posterior"), "temperature"),
    "temperature of text": (lambda: run("hot", path="posterior"), "temperature"),
    "no temperatures": (lambda: run([], path="posterior"), "temperature"),
    "temperature twice": (lambda: run([1.0, 1.0]), "temperature"),
    "temperature and beta": (lambda: run(1.0, beta=1.0), "temperature"),
    "infinite beta": (lambda: run(beta=np.inf, path="posterior"), "beta"),
    "no path": (lambda: run([1.0, 0.3]), "path"),
    "unknown path": (lambda: run(0.3, path="geometric"), "path"),
    "posterior path at T = inf": (lambda: run([np.inf, 1.0], path="posterior"), "temperature"),
    # the run
    "kernel": (lambda: run(kernel="gibbs"), "kernel"),
    "kernel object": (lambda: run(kernel=3), "kernel"),
    "kernel that is no pytree": (lambda: run(kernel=tx.Explorer()), "kernel"),
    "step size": (lambda: tx.HMC(step_size=0.0), "step_size"),
    "negative mass": (lambda: tx.NUTS(inverse_mass=-1.0), "inverse_mass"),
    "mass with nan": (lambda: tx.HMC(inverse_mass=[1.0, np.nan]), "inverse_mass"),
    "mass of another shape": (lambda: run(kernel=tx.HMC(inverse_mass=[1.0, 2.0])), "inverse_mass"),
    "acceptance 1": (lambda: tx.NUTS(target_acceptance=1.0), "target_acceptance"),
    "tree depth": (lambda: tx.NUTS(max_tree_depth=0), "max_tree_depth"),
    "no chains": (lambda: run(num_chains=0), "num_chains"),
    "chains of a float": (lambda: run(num_chains=4.0), "num_chains"),
    "negative warm-up": (lambda: run(num_warmup=-1), "num_warmup"),
    "no draws": (lambda: run(num_draws=0), "num_draws"),
    "thin": (lambda: run(thin=0), "thin"),
    "keep": (lambda: run(keep="some"), "keep"),
    "keep what is not there": (lambda: run(keep=[0.5]), "keep"),
    "start": (lambda: run(start="mode"), "start"),
    "start of another shape": (lambda: run(start=np.zeros((4, 3))), "start"),
    "start with nan": (lambda: run(start=np.full((4, energy().size), np.nan)), "start"),
    "seed as key": (lambda: tx.sample(0, energy()), "key"),
    "energy as function": (lambda: tx.sample(jax.random.key(0), lambda p: p), "energy"),
    "optimiser": (lambda: tx.optimise.minimise(jax.random.key(0), energy(), optimiser="adam"), "optimiser"),
    "no starts": (lambda: tx.optimise.minimise(jax.random.key(0), energy(), 0), "num_starts"),
    "holdout": (lambda: tx.deep_ensemble(jax.random.key(0), energy(), holdout=1.5), "holdout"),
    "holdout without rows": (
        lambda: tx.deep_ensemble(jax.random.key(0), tx.Energy(lambda p: p, dist.Normal())),
        "holdout",
    ),
    "folder with a backslash": (lambda: run(directory="C:\\runs\\a"), "directory"),
    "folder that is an address": (lambda: run(directory="s3://bucket/run"), "directory"),
    "folder without a name": (lambda: run(directory=""), "directory"),
    "folder of a number": (lambda: run(directory=7), "directory"),
    "folder of nobody": (lambda: run(directory="~nobody-of-this-name/run"), "directory"),
    "folder with a line feed": (lambda: run(directory="a\nb"), "directory"),
    "folder with too long a name": (lambda: run(directory="n" * 300), "directory"),
    "no folder to open": (lambda: tx.open_run(b"run"), "directory"),
    "seconds between checkpoints": (lambda: run(save_every=0.0), "save_every"),
    # results
    "report of something else": (lambda: tx.diagnostics.report({}), "tree"),
    "devices": (lambda: tx.use_cpu_devices(0), "number"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case, monkeypatch):
    def compiled(*_, **__):
        pytest.fail("compiled before the input was checked")

    for module, name in (
        (engine, "run_block"),
        (descent, "_begin"),
        (descent, "prior_draws"),
        (bottoms, "prior_draws"),
        (descent, "_advance"),
    ):
        monkeypatch.setattr(module, name, compiled)
    attempt, argument = BAD[case]
    with pytest.raises(tx.InputError) as caught:
        attempt()
    error, message = caught.value, str(caught.value)
    assert error.argument == argument
    assert message.startswith(f"{argument} = ") and "; " in message and message.endswith(".")
    assert "\n" not in message


def test_everything_that_is_wrong_is_said_at_once(tmp_path):
    """A sentence each, the first of which the error's argument names; all before anything is compiled."""
    with pytest.raises(tx.InputError) as caught:
        tx.sample(0, energy(), -1.0, path="posterior", kernel="gibbs", num_chains=0, num_draws=0, thin=0)
    wrong = [caught.value.argument, *(other.argument for other in caught.value.others)]
    assert wrong == ["key", "kernel", "num_chains", "thin", "num_draws", "temperature"]
    assert all(f"{name} = " in str(caught.value) for name in wrong) and "\n" not in str(caught.value)
    with pytest.raises(tx.InputError) as caught:
        tx.parallel_tempering(0, energy(), path="x", num_replicas=1, scheme="y", num_draws=3)
    wrong = [caught.value.argument, *(other.argument for other in caught.value.others)]
    assert wrong == ["key", "path", "scheme", "num_replicas", "num_draws"]
    with pytest.raises(tx.InputError, match=r"x = nan .*y = inf"):
        Dataset.from_arrays(np.full((6, 2), np.nan), np.full(6, np.inf))
    with pytest.raises(tx.InputError, match=r"likelihood = .*hidden = 0"):
        tx.Energy.mlp(Dataset.from_arrays(X, Y), (0,), likelihood="gaussian")
    (tmp_path / "table.csv").write_text("a,b,y\n1,5,2\n2,6,\n3,z,1\n")
    with pytest.raises(tx.InputError, match=r"target = 'y' has no finite number in rows 1 .*column = 'b' holds"):
        Dataset.from_csv(tmp_path / "table.csv", "y")


def test_an_error_of_somebody_elses_says_what_is_saved(tmp_path, monkeypatch):
    """What was drawn before it is there, and where."""
    from temperax.samplers import runs

    def breaks(*_, **__):
        raise RuntimeError("out of memory")

    simple = tx.Energy(lambda p: p**2, dist.Normal())
    options = {"num_warmup": 5, "num_draws": 5, "num_chains": 2, "progress": False}
    tx.sample(jax.random.key(0), simple, directory=tmp_path / "run", **options)
    monkeypatch.setattr(runs.engine, "run", breaks)
    for more, said in (
        ({}, "nothing of this run was saved"),
        ({"directory": tmp_path / "new"}, "nothing was saved yet in"),
        ({"directory": tmp_path / "run", "resume": True, "num_draws": 50}, "5 draws of every chain are saved in"),
    ):
        with pytest.raises(RuntimeError, match="out of memory") as caught:
            tx.sample(jax.random.key(0), simple, **(options | more))
        assert said in caught.value.__notes__[0]


def test_what_things_are_takes_a_line():
    things = [energy(), Dataset.from_arrays(X, Y), tx.HMC(), tx.NUTS(inverse_mass=2.0)]
    assert all(len(repr(thing)) < 300 and "\n" not in repr(thing) for thing in things)


def test_devices_after_jax_has_started():
    jax.devices()
    with pytest.raises(tx.InputError, match="too late"):
        tx.use_cpu_devices(2)


@pytest.mark.slow
def test_starts_that_cannot_move():
    stuck = tx.Energy(lambda p: jnp.where(p > 100.0, 0.0, jnp.inf), dist.Normal())
    with pytest.raises(tx.InputError, match="no finite energy"):
        tx.sample(jax.random.key(0), stuck, start="prior", progress=False)


def test_an_optimiser_that_blows_up():
    cliff = tx.Energy(lambda p: jnp.log(-jnp.abs(p) - 1.0), dist.Normal())
    with pytest.raises(tx.InputError, match="not finite on the way"):
        tx.optimise.minimise(jax.random.key(0), cliff, 2, optimiser=optax.sgd(0.1), max_steps=100)


def test_absurd_scales_run():
    """Columns of 1e20 and 1e-20 are standardised away."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(30, 2)) * [1e20, 1e-20], rng.normal(size=30) * 1e20
    energy = tx.Energy.mlp(Dataset.from_arrays(x, y), (2,))
    tree = tx.sample(jax.random.key(0), energy, num_chains=1, num_warmup=20, num_draws=5, progress=False)
    assert np.isfinite(tree["sample_stats"]["lp"]).all()


@pytest.mark.slow
def test_one_row_runs():
    data = Dataset.from_arrays([[1.0]], [[2.0]], standardise=False, task="counts")
    tree = tx.sample(
        jax.random.key(0), tx.Energy.mlp(data, ()), num_chains=1, num_warmup=20, num_draws=5, progress=False
    )
    assert np.isfinite(tree["sample_stats"]["lp"]).all()
