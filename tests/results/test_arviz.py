"""ArviZ's functions read every result without an adapter, and leave-one-out is right at every temperature."""

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
import numpyro.distributions as dist
import pytest
from cases import some
from regression import linear

import temperax as tx

matplotlib.use("Agg")
az = pytest.importorskip("arviz")

RNG = np.random.default_rng(3)
X = RNG.normal(size=(50, 2))
DATA = {
    "regression": tx.Dataset.from_arrays(X[:40], X[:40, 0], X[40:], X[40:, 0]),
    "two targets": tx.Dataset.from_arrays(X[:40], X[:40], X[40:], X[40:]),
    "classes": tx.Dataset.from_arrays(
        X[:40], np.where(X[:40, 0] > 0, "up", "down"), X[40:], ["up"] * 10, task="classification"
    ),
    "counts": tx.Dataset.from_arrays(X[:40], np.arange(40) % 4, task="counts"),
}


class Trees(dict):
    """Results by name, sampled when they are asked for."""

    def __missing__(self, name):
        options = {"num_chains": 2, "num_warmup": 60, "num_draws": 50, "progress": False}
        if name == "a ladder":
            energy = tx.Energy.mlp(DATA["regression"], ())
            options = {"num_chains": 2, "num_replicas": 4, "num_draws": 64, "keep": "all", "progress": False}
            self[name] = tx.parallel_tempering(jax.random.key(0), energy, **options)
        elif name in DATA:
            self[name] = tx.sample(jax.random.key(0), tx.Energy.mlp(DATA[name], (2,)), **options)
        else:
            rows = tx.Energy(lambda p, d: 0.5 * (p - d) ** 2, dist.Normal(0.0, 1.0), data=np.arange(5.0))
            self[name] = tx.sample(jax.random.key(0), rows, **options)
        return self[name]


@pytest.fixture(scope="module")
def trees():
    return Trees()


NAMES = some(["rows of a user's own"], ["regression", "classes", "two targets", "counts", "a ladder"])
PICTURES = ("plot_ppc_dist", "plot_loo_pit", "plot_forest", "plot_trace", "plot_rank", "plot_ess")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", NAMES)
def test_arviz_reads_every_tree(trees, name):
    tree = trees[name]
    assert np.isfinite(az.loo(tree).elpd)
    for picture in PICTURES:
        if "posterior_predictive" in tree.children or picture not in ("plot_ppc_dist", "plot_loo_pit"):
            assert getattr(az, picture)(tree) is not None
    matplotlib.pyplot.close("all")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_training_and_held_out_rows_have_groups_of_their_own(trees):
    tree = trees["regression"]
    assert tree["posterior_predictive"]["y"].dims == ("chain", "draw", "row")
    assert tree["predictions"]["y"].dims == ("chain", "draw", "test_row", "target")
    assert tree["observed_data"]["y"].dims == ("row",)
    rows = tree["log_likelihood"]["y"].sum("row")
    np.testing.assert_allclose(rows, -tree["sample_stats"]["data_energy"], rtol=1e-4)
    ladder = trees["a ladder"]
    rows = ladder["tempered_log_likelihood"]["y"].sum("row")
    np.testing.assert_allclose(rows, -ladder["tempered_stats"]["data_energy"], rtol=1e-3, atol=1e-3)
    assert "log_likelihood" not in tx.sample(
        jax.random.key(0),
        tx.Energy.mlp(DATA["regression"], (2,)),
        num_chains=2,
        num_warmup=5,
        num_draws=5,
        log_likelihood=False,
        progress=False,
    )


@pytest.mark.filterwarnings("ignore")
def test_targets_are_drawn_about_the_predictions(trees):
    """Draws of training targets have the residuals' spread: the noise, beside which that of f is nothing here."""
    tree = trees["regression"]
    drawn, observed = tree["posterior_predictive"]["y"], tree["observed_data"]["y"]
    assert abs(float((drawn.mean(("chain", "draw")) - observed).mean())) < 0.2
    other = drawn.isel(draw=0).values != drawn.isel(draw=1).values
    assert other.mean() > 0.99, "every draw has targets of its own"


def exact_loo(x, y, noise, beta):
    """Leave-one-out of a linear regression with N(0, 1) coefficients whose likelihood is tempered by β."""
    total = 0.0
    for i in range(len(y)):
        kept = np.arange(len(y)) != i
        precision = np.eye(x.shape[1]) + beta * x[kept].T @ x[kept] / noise**2
        mean = np.linalg.solve(precision, beta * x[kept].T @ y[kept] / noise**2)
        variance = noise**2 + x[i] @ np.linalg.solve(precision, x[i])
        total += -0.5 * (y[i] - x[i] @ mean) ** 2 / variance - 0.5 * np.log(2 * np.pi * variance)
    return total


@pytest.mark.filterwarnings("ignore")
@pytest.mark.slow
def test_leave_one_out_at_every_temperature():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(30, 3))
    y = x @ [1.0, -1.0, 0.5] + rng.normal(size=30)
    data = tx.Dataset.from_arrays(x, y, standardise=False)
    energy = tx.Energy.network(data, linear, jnp.zeros(3), tx.likelihoods.Gaussian(1.0), tx.priors.Normal(1.0))
    tree = tx.sample(jax.random.key(0), energy, beta=[0.0, 0.3, 1.0, 4.0], path="likelihood", progress=False)
    found = tx.diagnostics.loo(tree)
    for temperature, score in found.items():
        assert float(score.elpd) == pytest.approx(exact_loo(x, y, 1.0, 1.0 / temperature), abs=0.25), temperature
    assert list(az.compare({f"{t:.2g}": score for t, score in found.items()})["elpd"])
    cold = tx.sample(jax.random.key(0), energy, beta=4.0, path="likelihood", progress=False)
    assert float(tx.diagnostics.loo(cold)[0.25].elpd) == pytest.approx(exact_loo(x, y, 1.0, 4.0), abs=0.25)
    # What takes the row out once, not four times, must not pass.
    assert abs(float(az.loo(cold).elpd) - exact_loo(x, y, 1.0, 4.0)) > 0.5


SHORT = {"num_chains": 2, "num_warmup": 10, "num_draws": 40, "path": "posterior", "progress": False}


@pytest.fixture(scope="module")
def whole():
    return tx.sample(jax.random.key(0), tx.Energy.mlp(DATA["regression"], (2,)), [1.0, 0.5], **SHORT)


#: Draws are kept in single precision, from which double precision comes back to fewer digits than it had.
AS_KEPT = {"rtol": 1e-4, "atol": 1e-4 if jax.numpy.result_type(float) == np.float32 else 1e-3}
GIVEN = ("log_likelihood", "tempered_log_likelihood", "posterior_predictive")


def test_log_likelihoods_can_come_later(whole):
    tree = tx.sample(
        jax.random.key(0), tx.Energy.mlp(DATA["regression"], (2,)), [1.0, 0.5], log_likelihood=False, **SHORT
    )
    assert not set(GIVEN) & set(tree.children)
    tx.add_log_likelihood(tree)
    for group in GIVEN:
        np.testing.assert_allclose(tree[group]["y"], whole[group]["y"], **AS_KEPT)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("on_disk", [False, True])
def test_many_rows_have_log_likelihoods_of_some_draws(whole, on_disk, monkeypatch, tmp_path):
    """80 rows × temperatures where 30 are allowed: every third draw, as ArviZ reads it, also of a run that went on."""
    monkeypatch.setattr("temperax.results.results.MOST_ROWS", 30)
    energy = tx.Energy.mlp(DATA["regression"], (2,))
    run = SHORT | {"directory": tmp_path / "run"} if on_disk else SHORT
    for num_draws in (2, 3, 40) if on_disk else (40,):  # the second of the parts has no draw to keep
        tree = tx.sample(jax.random.key(0), energy, [1.0, 0.5], resume=on_disk, **run | {"num_draws": num_draws})
    for group in GIVEN:
        assert tree[group]["draw"].values.tolist() == list(range(0, 40, 3))
        some = whole[group]["y"].isel(draw=slice(0, 40, 3))
        np.testing.assert_allclose(tree[group]["y"], some, **AS_KEPT)
    assert tree["posterior"].sizes["draw"] == 40
    assert az.plot_loo_pit(tree) is not None
    assert az.loo(tree).n_samples == 28
    tx.add_log_likelihood(tree)
    for group in GIVEN:
        np.testing.assert_allclose(tree[group]["y"], whole[group]["y"], **AS_KEPT)
    matplotlib.pyplot.close("all")


# -- trees that were cut ---------------------------------------------------------------------------------------------


def stacked(tree):
    return tree.map_over_datasets(
        lambda d: d.stack(sample=("chain", "draw")) if {"chain", "draw"} <= set(d.dims) else d
    )


CUTS = {
    "one chain": lambda t: t.isel(chain=0),
    "half of the draws": lambda t: t.isel(draw=slice(0, 25)),
    "one draw": lambda t: t.isel(draw=0),
    "one temperature": lambda t: t.sel(temperature=1.0, method="nearest"),
    "first and last temperature": lambda t: t.isel(temperature=[0, -1]),
    "stacked": stacked,
    "transposed": lambda t: t.map_over_datasets(lambda d: d.transpose()),
}


RARE = ("half of the draws", "one draw", "first and last temperature")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("cut", [pytest.param(c, marks=pytest.mark.slow) if c in RARE else c for c in CUTS])
def test_what_was_cut_is_read(trees, cut, capsys):
    tree = CUTS[cut](trees["a ladder"])
    energy = tx.Energy.mlp(DATA["regression"], ())
    assert np.isfinite(tx.predict.scores(tree)["lppd"]).all()
    f = tx.predict.predictions(tree, X[40:], energy)["f"]
    assert f.dims == ("chain", "draw", "row", "target")
    whole = tx.predict.predictions(trees["a ladder"], X[40:])["f"]
    np.testing.assert_allclose(f.isel(chain=0, draw=0), whole.isel(chain=0, draw=0), rtol=1e-5)
    assert len(tx.diagnostics.report(tree)) > 5
    tx.add_log_likelihood(tree.copy(), energy)
    if cut != "one draw":
        assert np.isfinite(max(score.elpd for score in tx.diagnostics.loo(tree).values()))


def test_no_draws_are_no_result(trees):
    with pytest.raises(tx.InputError, match="has no draws"):
        tx.predict.scores(trees["regression"].isel(draw=slice(0, 0)))


def test_rates_count_scans_and_not_the_draws_that_are_left(trees):
    tree = trees["a ladder"]
    every, half = (tx.diagnostics.round_trips(t)["observed"] for t in (tree, tree.isel(draw=slice(None, None, 2))))
    assert half == pytest.approx(every, rel=0.35)


def test_a_result_repeats_with_another_key_and_ladders_do_too(trees):
    tree = trees["a ladder"]
    again = tx.repeat(tree, progress=False)
    np.testing.assert_array_equal(again["posterior"]["layer_0_weight"], tree["posterior"]["layer_0_weight"])
    other = tx.repeat(tree, key=jax.random.key(9), num_rounds=5, progress=False)
    assert other["posterior"].sizes["draw"] == 32
    with pytest.raises(tx.InputError, match="are not arguments of parallel_tempering"):
        tx.repeat(tree, num_warmup=3)
