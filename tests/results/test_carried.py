"""A run knows its model: predictions from a file alone, in another process, of whatever rows come."""

import json
import subprocess
import sys
from pathlib import Path

import equinox as eqx
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pandas as pd
import pytest
import xarray as xr

import temperax as tx
from temperax.results import notation

HERE = Path(__file__).parent
RNG = np.random.default_rng(3)
X = RNG.normal(size=(50, 2))
Y = 3.0 * X[:, 0] + RNG.normal(size=50) + 100.0
DATA = tx.Dataset.from_arrays(X[:40], Y[:40], X[40:], Y[40:])
QUICK = {"num_chains": 2, "num_warmup": 20, "num_draws": 10, "progress": False}

CODE = """
import sys, json
import xarray as xr, temperax as tx
tree = xr.open_datatree(sys.argv[1]).load()
energy = tx.energy_of(tree, ["nets"])
f = tx.predict.predictions(tree, json.loads(sys.argv[2]), trust=["nets"])["f"]
print(json.dumps([f.values.ravel().tolist(), str(energy)]))
"""


def in_another_process(file, x):
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(file), json.dumps(np.asarray(x).tolist())],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": f"{HERE}:{Path(tx.__file__).parents[1]}", "PATH": "/usr/bin:/bin", "JAX_PLATFORMS": "cpu"},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)[0]


@pytest.fixture
def on_path(monkeypatch):
    monkeypatch.syspath_prepend(str(HERE))


def energies():
    import nets

    linen = nn.Sequential([nn.Dense(3), nn.tanh, nn.Dense(1)])
    prior = {"*/kernel": tx.priors.FanInNormal(), "*/bias": tx.priors.Normal(0.5)}
    return {
        "an activation": tx.Energy.mlp(DATA, (3,), nets.bent, tx.likelihoods.StudentT(), tx.priors.ARD()),
        "a module's path": tx.Energy.network(DATA, "nets:make", prior={"*": tx.priors.Normal(0.7)}),
        "a Linen module": tx.Energy.network(DATA, linen, prior=prior),
        "a pair": tx.Energy.network(DATA, (nets.init, nets.apply), likelihood=tx.likelihoods.Gaussian(0.5)),
        "a function": tx.Energy.network(
            DATA, nets.apply, nets.init(jax.random.key(1), X), prior={"w": None, "b": tx.priors.Normal()}
        ),
    }


#: The package of `nets`, which files of ours may import.
OURS = ["nets"]
KINDS = ["an activation", "a module's path", "a Linen module", "a pair", "a function"]


@pytest.mark.parametrize(
    "kind", [pytest.param(k, marks=pytest.mark.slow) if k != "a module's path" else k for k in KINDS]
)
def test_a_file_alone_predicts(kind, on_path, tmp_path, key):
    energy = energies()[kind]
    tree = tx.sample(key, energy, **QUICK)
    own = tx.predict.predictions(tree, X[:3], energy)["f"].values
    tree.to_netcdf(tmp_path / "run.nc")
    back = xr.open_datatree(tmp_path / "run.nc").load()
    again = tx.energy_of(back, OURS)
    assert again.size == energy.size and tx.predict.positions(back, again).shape == (2, 10, energy.size)
    np.testing.assert_array_equal(tx.predict.predictions(back, X[:3], trust=OURS)["f"], own)
    if kind != "a Linen module":
        with pytest.raises(
            tx.InputError, match=r"is of nets, from which a file may not import .* add trust=\['nets'\]"
        ):
            tx.predict.predictions(back, X[:3])
    if kind == "a module's path":
        np.testing.assert_allclose(in_another_process(tmp_path / "run.nc", X[:3]), own.ravel(), rtol=1e-5)
        repeated = tx.repeat(back, trust=OURS, progress=False)
        np.testing.assert_array_equal(repeated["posterior"]["noise_scale"], tree["posterior"]["noise_scale"])


def lambda_energy():
    return tx.Energy.mlp(DATA, (2,), lambda x: jnp.tanh(x))


def module_energy():
    return tx.Energy.network(DATA, eqx.nn.MLP(2, 1, 3, 1, key=jax.random.key(0)))


@pytest.mark.slow
@pytest.mark.parametrize("make", [lambda_energy, pytest.param(module_energy, marks=pytest.mark.slow)])
def test_what_has_no_name_is_refused_and_may_be_given(make, key):
    energy = make()
    tree = tx.sample(key, energy, **QUICK)
    with pytest.raises(tx.InputError, match=r"is the user's own function or class, .*; give the energy itself"):
        tx.predict.predictions(tree, X[:3])
    assert tx.predict.predictions(tree, X[:3], energy)["f"].shape == (2, 10, 3, 1)


def seen_elsewhere(tree, rounding=0.0):
    """The result as another version of JAX wrote it, whose program looks otherwise and whose arrays are rounded so."""
    made = json.loads(tree.attrs["fingerprint"])
    made |= {"seen_by": "JAX 0", "program": "", "fixed": (np.array(made["fixed"]) * (1 + rounding)).tolist()}
    tree.attrs["fingerprint"] = json.dumps(made)
    return tree


def test_arrays_that_are_kept_are_those_that_were_sampled(on_path, monkeypatch, key):
    """Whatever an import path makes of them now, and whatever version of JAX says so."""
    import nets

    prior = {"*": tx.priors.Normal(), "layers/0/*": None}
    energy = tx.Energy.network(DATA, "nets:kept", prior=prior)
    tree = seen_elsewhere(tx.sample(key, energy, **QUICK), rounding=3e-7)
    own = tx.predict.predictions(tree, X[:3], energy)["f"]
    np.testing.assert_array_equal(tx.predict.predictions(tree, X[:3], trust=OURS)["f"], own)
    monkeypatch.setattr(nets, "SEED", 1)
    for call in (tx.repeat, lambda tree, trust: tx.predict.predictions(tree, X[:3], trust=trust)):
        with pytest.raises(tx.InputError, match="it differs in arrays that its network keeps fixed"):
            call(tree, trust=OURS)
    tree.attrs["fingerprint"] = json.dumps(json.loads(tree.attrs["fingerprint"]) | {"fixed": "none"})
    with pytest.raises(tx.InputError, match="'none' is not made of numbers"):
        tx.predict.predictions(tree, X[:3], energy)


def test_a_module_that_is_bound_to_arrays_asks_for_the_energy(on_path, key):
    """Of which its import path says nothing."""
    import nets

    def bound(seed):
        return nets.Net().bind(nets.Net().init(jax.random.key(seed), X))

    prior = {"*": tx.priors.Normal(), "Dense_0/*": None}
    ours, other = (tx.Energy.network(DATA, bound(seed), prior=prior) for seed in (1, 2))
    tree = seen_elsewhere(tx.map_estimate(key, ours, num_starts=1))
    with pytest.raises(tx.InputError, match="give the energy itself"):
        tx.predict.predictions(tree, X[:3], trust=OURS)
    assert tx.predict.predictions(tree, X[:3], ours)["f"].shape == (1, 1, 3, 1)
    with pytest.raises(tx.InputError, match="it differs in arrays that its network keeps fixed"):
        tx.predict.predictions(tree, X[:3], other)


def test_keys_of_parameters_travel_whatever_they_are():
    """Numbers, and names that the notation has a use for."""
    keys = {0: np.zeros(2), 10: {"array": 1.5, "class": "V"}, (1, "a"): {"pairs": 2}, "tuple": [3]}
    again = notation.decode(json.loads(json.dumps(notation.encode(keys))))
    assert list(again) == list(keys) and again[10] == keys[10] and again[1, "a"] == {"pairs": 2}
    np.testing.assert_array_equal(again[0], np.zeros(2))
    for damaged in ([1], [[1, 2, 3]], [[{"a": 1}, 2]]):
        with pytest.raises(tx.InputError, match="are no pairs"):
            notation.decode({"pairs": damaged})


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        ({"hidden": [2], "activation": {"function": "os:system"}}, "is of os, from which a file may not import"),
        ({"hidden": [2], "activation": {"function": "pandas.io.common:os.system"}}, "is of pandas"),
        ({"hidden": [2], "activation": {"function": "trusted:f"}}, "cannot be imported (ModuleNotFoundError"),
        ({"hidden": [2], "activation": {"function": "numpy:nothing"}}, "cannot be imported (AttributeError"),
        ({"hidden": [2], "activation": {"function": "numpy:ma.sqrt"}}, "ma is a module"),
        ({"hidden": [2], "activation": {"function": "numpy:pi"}}, "is not where it was defined"),
        ({"hidden": [2], "activation": {"function": "jax._src.numpy.lax_numpy:np.load"}}, "np is a module"),
        ({"module": {"linen": "pandas:DataFrame", "arguments": {}}}, "is of pandas"),
        ({"module": {"linen": "numpy:ndarray", "arguments": {}}}, "is no Linen module"),
        ({"module": {"linen": "flax.nnx.bridge.wrappers:ToLinen", "arguments": {}}}, "is of flax"),
        ({"module": "pytest:main"}, "is of pytest"),
        ({"module": "os:abort"}, "is of os"),
        ({"hidden": [2], "extra": 1}, "is damaged"),
        ([1], "is damaged"),
        (None, "is not of Energy.mlp or Energy.network, and carries no recipe"),
    ],
)
def test_a_recipe_makes_what_it_may_and_nothing_else(recipe, words, key):
    tree = tx.map_estimate(key, tx.Energy.mlp(DATA, ()), num_starts=1)
    tree.attrs["energy"] = json.dumps(recipe)
    with pytest.raises(tx.InputError) as caught:
        tx.predict.predictions(tree, X[:3], trust=["numpy", "trusted"])
    assert words in str(caught.value)


@pytest.mark.slow
def test_a_table_of_text_dates_and_gaps_travels(tmp_path, key):
    frame = pd.DataFrame(
        {
            "size": np.where(np.arange(50) % 7 == 3, np.nan, X[:, 0]),
            "color": np.array(["red", "green", "blue"])[np.arange(50) % 3],
            "day": pd.date_range("2020-01-01", periods=50, freq="D"),
            "price": Y,
        }
    )
    data = tx.Dataset.from_frame(frame, "price")
    tree = tx.sample(key, tx.Energy.mlp(data, (2,)), directory=tmp_path / "run", **QUICK)
    new = frame.head(4).set_index(pd.Index(["a", "b", "c", "d"], name="house"))
    table = tx.predict.summary(tree, new)
    assert table.index.tolist() == ["a", "b", "c", "d"] and table.index.name == "house"
    assert tx.energy_of(tree).dataset.encoding == data.encoding
    pd.testing.assert_frame_equal(tx.predict.summary(tx.open_run(tmp_path / "run").load(), new), table)
    with pytest.raises(tx.InputError, match="'color' holds violet in rows 1"):
        tx.predict.summary(tree, new.assign(color=["red", "violet", "red", "red"]))


@pytest.mark.parametrize(
    ("name", "value"),
    [("classes", "{"), ("classes", "5"), ("encoding", "["), ("fingerprint", "{"), ("fingerprint", "3"), ("task", None)],
)
def test_damaged_attributes_are_named(name, value, key):
    tree = tx.map_estimate(key, tx.Energy.mlp(DATA, ()), num_starts=1)
    tree.attrs.pop(name, None)
    if value is not None:
        tree.attrs[name] = value
    with pytest.raises(tx.InputError, match=r"damaged|are no classes|lacks attributes"):
        tx.predict.predictions(tree, X[:3])


def test_priors_that_are_made_of_others_ask_for_the_energy(key):
    mixed = dist.MixtureGeneral(dist.Categorical(jnp.array([0.5, 0.5])), [dist.Normal(0, 1), dist.Normal(0, 3)])
    energy = tx.Energy.mlp(DATA, (), prior=mixed)
    tree = tx.map_estimate(key, energy, num_starts=1)
    with pytest.raises(tx.InputError, match="give the energy itself"):
        tx.predict.predictions(tree, X[:3])
    assert tx.predict.predictions(tree, X[:3], energy)["f"].shape == (1, 1, 3, 1)
