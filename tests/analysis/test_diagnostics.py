"""Diagnostics say good where it is good, bad where it is bad, and what a wall is."""

import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pandas as pd
import pytest
import xarray as xr

import temperax as tx
from temperax.analysis.diagnostics.journeys import bimodality
from temperax.analysis.diagnostics.sentences import at_temperatures, exchange_sentences
from temperax.analysis.diagnostics.verdicts import by_temperature, judged
from temperax.pages.report import render


@pytest.fixture(scope="module")
def ladder_tree(small_data):
    energy = tx.Energy.mlp(small_data, (3,))
    return tx.parallel_tempering(jax.random.key(2), energy, num_replicas=6, num_draws=64, keep="all", progress=False)


def test_report_prints_a_verdict_for_each_line(ladder_tree, capsys):
    lines = tx.diagnostics.report(ladder_tree)
    printed = capsys.readouterr().out
    for check in (
        "each from an optimum",
        "Before the first draw came",
        "R-hat of f",
        "configurational temperature",
        "restarts, observed / predicted",
        "log Z",
    ):
        assert check in printed
    assert set(lines["verdict"]) <= {"good", "fair", "bad", "unknown"}
    assert all(bool(line.advice) != (line.verdict == "good") for line in lines.itertuples())


@pytest.mark.slow
def test_warmup_share_counts_starts_and_warm_up(small_data, tmp_path):
    """With steps and trajectories given, every scan makes as many steps: 30 of warm-up and 60 of draws."""
    energy = tx.Energy.mlp(small_data, (3,))
    kernel = tx.HMC(step_size=1e-3, trajectory_length=1e-3)  # one step a trajectory
    options = {"kernel": kernel, "num_warmup": 30, "num_draws": 60, "progress": False, "directory": tmp_path / "run"}
    tree = tx.sample(jax.random.key(0), energy, start="prior", **options)
    assert tx.diagnostics.warmup_share(tree) == pytest.approx(1 / 3)
    again = tx.sample(jax.random.key(0), energy, start="prior", resume=True, **(options | {"num_draws": 120}))
    assert tx.diagnostics.warmup_share(again) == pytest.approx(1 / 5)
    started = tx.sample(jax.random.key(0), energy, **(options | {"directory": None}))
    steps = sum(json.loads(started.attrs["started"])["steps"])
    assert tx.diagnostics.warmup_share(started) == pytest.approx((steps + 120) / (steps + 360))
    with pytest.raises(tx.InputError, match="are not the attributes of a result"):
        tx.diagnostics.warmup_share(tx.map_estimate(jax.random.key(0), energy, max_steps=10))


def test_pictures_of_a_ladder(ladder_tree, tmp_path):
    tx.plots.ladder(ladder_tree).savefig(tmp_path / "ladder.png")
    assert (tmp_path / "ladder.png").stat().st_size > 10_000
    for picture in (tx.plots.swap_rates, tx.plots.index_process, tx.plots.barrier, tx.plots.mean_energy):
        axes = picture(ladder_tree)
        assert axes.get_xlabel() and axes.get_ylabel() and axes.get_title()


@pytest.mark.slow
def test_one_chain_cannot_be_judged(small_data):
    energy = tx.Energy.mlp(small_data, (2,))
    tree = tx.sample(jax.random.key(0), energy, num_chains=1, num_warmup=10, num_draws=3, progress=False)
    assert "unknown" in set(tx.diagnostics.verdicts(tree)["verdict"])


def test_unmixed_chains_are_called_bad():
    """Two modes that HMC cannot leave: one chain each."""
    energy = tx.Energy(lambda x: 50 * (x**2 - 1) ** 2, dist.Normal(0.0, 2.0))
    starts = np.array([[1.0], [1.0], [-1.0], [-1.0]])
    tree = tx.sample(jax.random.key(0), energy, start=starts, num_warmup=200, num_draws=200, progress=False)
    assert tree["posterior"]["theta"].mean("draw").values.min() < -0.8
    z = tx.diagnostics.energies(tree)["rhat_energy"].iloc[0]
    assert z < 1.05, "the energy cannot see it: both modes are alike"
    lines = tx.diagnostics.verdicts(tree).set_index("check")
    assert lines.loc["R-hat, worst (theta)", "verdict"] == "bad"
    assert "separate modes" in lines.loc["R-hat, worst (theta)", "advice"]
    assert float(np.asarray(jnp.abs(tree["posterior"]["theta"].mean("draw").values)).min()) > 0.8


def test_every_parameter_is_judged_and_any_function(key, capsys):
    """Chains of a plane whose second axis has two modes; what they share is good, also as a function."""
    prior = {"free": dist.Normal(0.0, 1.0), "stuck": dist.Normal(0.0, 2.0)}
    energy = tx.Energy(lambda p: 50 * (p["stuck"] ** 2 - 1) ** 2, prior)
    starts = np.array([[0.0, 1.0], [0.0, 1.0], [0.0, -1.0], [0.0, -1.0]])
    tree = tx.sample(key, energy, start=starts, num_draws=500, progress=False)
    functions = {"size": lambda draws: abs(draws["stuck"])}
    table = tx.diagnostics.parameter_space(tree, functions).iloc[0]
    assert table["worst_parameter"] == "stuck" and table["separation"] > 1 and table["rhat_parameter_max"] > 1.5
    assert table["rhat_parameter_median"] < 1.05, "the other parameter and the function are well"
    lines = tx.diagnostics.report(tree, functions).set_index("check")
    assert capsys.readouterr().out.startswith("Judged by all 2 parameters, size and the energy")
    assert lines.loc["R-hat, worst (stuck)", "verdict"] == "bad"


@pytest.mark.slow
def test_chains_that_never_move_are_bad(key, capsys):
    """Not unknown: each step is a thousand widths long."""
    energy = tx.Energy(lambda p: 5e5 * jnp.sum(p**2), dist.Normal(0.0, 1.0).expand([2]).to_event(1))
    kernel = tx.HMC(step_size=1.0, trajectory_length=1.0)
    tree = tx.sample(key, energy, kernel=kernel, num_warmup=10, num_draws=50, start="prior", progress=False)
    lines = tx.diagnostics.report(tree).set_index("check")["verdict"]
    assert lines["chains that never move"] == "bad" and lines["R-hat of the data energy"] == "bad"
    assert "Chain 3 at T = 1 never moves" in capsys.readouterr().out
    assert len(tx.diagnostics.frozen(tree)) == 4


def first_order(x):
    """A wide shallow basin beside a deep narrow well: the energy falls by some 40 nats at one β."""
    shallow, deep = 0.02 * jnp.sum(x**2), 150.0 * jnp.sum((x - 2.0) ** 2) - 40.0
    return -jnp.logaddexp(-shallow, -deep)


def test_walls_are_named_with_their_beta():
    """A ladder with two rungs across a jump of the energy never swaps there."""
    energy = tx.Energy(first_order, dist.Normal(0.0, 3.0).expand([4]).to_event(1))
    ladder = np.array([0.0, 0.05, 0.1, 3.0, 3.3])
    tree = tx.parallel_tempering(
        jax.random.key(0), energy, ladder=ladder, num_draws=256, start=np.full((4, 4), 2.0), progress=False
    )
    pairs = tx.diagnostics.exchange(tree)
    walls = pairs[pairs["wall"] != ""]
    assert len(walls) == 1 and walls["beta_hot"].iloc[0] == pytest.approx(0.1)
    assert "Wall between beta 0.1 and 3" in " ".join(exchange_sentences(tree, judged(tree)))


def test_lag_one_and_bimodality():
    rng = np.random.default_rng(0)
    white = rng.normal(size=(4, 5000))
    assert abs(tx.ladder.lag_one(white)) < 0.05
    assert tx.ladder.lag_one(np.cumsum(white, axis=1)) > 0.95
    assert bimodality(white) < 5 / 9 < bimodality(np.sign(white) * 3 + white)


def made_up_journeys(of_energy, of_f, follows=True):
    """Five replicas that walk along five rungs, and remember their energy and their predictions geometrically."""
    rng, (chains, draws, rungs) = np.random.default_rng(0), (8, 4000, 5)

    def walk(kept):
        each = np.empty((chains, draws, rungs))
        each[:, 0] = rng.normal(size=(chains, rungs))
        for i in range(1, draws):
            each[:, i] = kept * each[:, i - 1] + np.sqrt(1 - kept**2) * rng.normal(size=(chains, rungs))
        return each

    replicas = np.argsort(walk(0.9), axis=-1)  # who sits at each rung

    def at_rungs(kept):  # in units and places of the rung's own
        return np.arange(1.0, 6.0) * np.take_along_axis(walk(kept), replicas, axis=-1) + np.arange(rungs)

    replica = replicas if follows else np.broadcast_to(np.arange(rungs), replicas.shape)
    dims, rung = ("chain", "draw", "temperature"), {"temperature": [16.0, 8.0, 4.0, 2.0, 1.0]}
    parts = {
        "exchange": xr.Dataset({"replica": (dims, replica)}, rung | {"pair": np.arange(rungs - 1)}),
        "tempered_stats": xr.Dataset({"path_energy": (dims, at_rungs(of_energy))}, rung),
        "tempered_predictions": xr.Dataset({"f": ((*dims, "test_row"), at_rungs(of_f)[..., None])}, rung),
    }
    return xr.DataTree.from_dict(parts)


def test_a_temperature_of_which_nobody_knows_is_not_good():
    table = pd.DataFrame({"rhat_energy": [np.nan, 1.0], "divergences": [0, 9]}, [2.0, 1.0])
    each = by_temperature(table)
    assert each["verdict"].tolist() == ["unknown", "bad"]
    assert by_temperature(table.drop(columns="rhat_energy"))["verdict"].tolist() == ["good", "bad"]


def test_correlations_over_a_scan_do_not_depend_on_how_many_scans_a_draw_is(ladder_tree):
    thinned = ladder_tree.copy()
    arguments = json.loads(ladder_tree.attrs["arguments"]) | {"thin": 4}
    thinned.attrs = ladder_tree.attrs | {"arguments": json.dumps(arguments)}
    every, fourth = (tx.diagnostics.exchange(tree)["lag_one"] for tree in (ladder_tree, thinned))
    np.testing.assert_allclose(np.abs(fourth) ** 4, np.abs(every), rtol=1e-6)
    assert "bfmi" in judged(ladder_tree).table and "bfmi" not in judged(thinned).table
    left_out = ladder_tree.map_over_datasets(lambda d: d.isel(draw=slice(None, None, 2)) if "draw" in d.dims else d)
    left_out.attrs = ladder_tree.attrs
    assert "bfmi" not in judged(left_out).table


def test_particles_are_not_judged_by_their_momenta_and_told_what_smc_has(ladder_tree):
    """E-BFMI is of draws that follow one another."""
    groups = {name: group.to_dataset() for name, group in ladder_tree.children.items() if name != "exchange"}
    tree = xr.DataTree.from_dict(groups)
    tree.attrs = ladder_tree.attrs | {"function": "smc"}
    lines = tx.diagnostics.verdicts(tree)
    assert "E-BFMI, worst chain" not in set(lines["check"]) and tx.diagnostics.energies(tree)["bfmi"].isna().all()
    assert not lines["advice"].str.contains("num_draws|run longer").any()
    assert lines["advice"].str.contains("num_particles").any()


def test_memory_of_one_chain_that_was_taken_out(ladder_tree):
    alone, kept = (tx.diagnostics.memory(ladder_tree.isel(chain=n), lags=[1]) for n in (0, [0]))
    pd.testing.assert_frame_equal(alone, kept)


def test_steps_in_double_precision_are_not_seen_in_single(ladder_tree):
    assert ladder_tree.attrs["precision"] == str(jnp.result_type(float))
    coarse, fine = ladder_tree.copy(), ladder_tree.copy()
    coarse.attrs, fine.attrs = (ladder_tree.attrs | {"precision": name} for name in ("float32", "float64"))
    assert tx.diagnostics.digits(coarse)["digits"].notna().all() and "digits" in judged(coarse).table
    assert tx.diagnostics.digits(fine)["digits"].isna().all() and "digits" not in judged(fine).table


def test_pictures_of_what_is_infinite_and_of_some_draws(ladder_tree):
    tree = ladder_tree.isel(draw=slice(None, None, 3))
    tree.attrs = ladder_tree.attrs
    assert tx.plots.index_process(tree).lines[0].get_xdata()[-1] == tree["exchange"]["draw"].values[-1] == 63
    some = tree.isel(temperature=[0, -1]).copy(deep=True)
    some["tempered_stats"]["data_energy"][:, :2, 0] = np.inf
    tx.plots.energies(some).figure.canvas.draw()


def test_a_ladder_without_some_of_its_rungs_is_told(ladder_tree):
    """Whose replicas have the numbers of the whole, and whose pairs are others."""
    cut = ladder_tree.isel(temperature=[0, 2, 4, 5])
    diagnoses = (tx.diagnostics.flow, tx.diagnostics.memory, tx.diagnostics.exchange, tx.diagnostics.round_trips)
    for read in (*diagnoses, *(getattr(tx.plots, n) for n in ("flow", "index_process", "swap_rates", "barrier"))):
        with pytest.raises(tx.InputError, match="has not all rungs of its ladder"):
            read(cut)


def test_memory_is_of_replicas_and_not_of_rungs():
    """To five standard errors of a correlation that falls off geometrically, from 32 000 draws of a rung."""
    found = tx.diagnostics.memory(made_up_journeys(0.5, 0.9), lags=[1, 4, 5000])
    assert found.columns.tolist() == [("energy", 1), ("energy", 4), ("f", 1), ("f", 4)]
    for name, kept in (("energy", 0.5), ("f", 0.9)):
        error = np.sqrt((1 + kept**2) / (1 - kept**2) / 32_000)
        for lag in (1, 4):
            np.testing.assert_allclose(found[name, lag], kept**lag, atol=5 * error)
    wrong = tx.diagnostics.memory(made_up_journeys(0.5, 0.9, follows=False), lags=[4])
    assert (wrong["f", 4] < 0.9**4 - 0.1).all(), "rungs whose replicas change remember less than replicas do"
    with pytest.raises(tx.InputError, match="lags"):
        tx.diagnostics.memory(made_up_journeys(0.5, 0.9), lags=[0])


def test_memory_of_what_is_infinite_is_left_out_and_of_the_rest_is_there(ladder_tree):
    """A wide prior has no energy at some draws of β = 0, and a class may be certain in all of them."""
    whole, tree = tx.diagnostics.memory(ladder_tree, lags=[1, 64]), ladder_tree.copy(deep=True)
    tree["tempered_stats"]["path_energy"].loc[{"temperature": whole.index[0], "draw": 3}] = np.inf
    tree["tempered_predictions"]["f"].loc[{"temperature": whole.index[-1], "test_row": 0}] = 1.0
    found = tx.diagnostics.memory(tree, lags=[1, 64])
    assert np.isfinite(found.iloc[1:].to_numpy()).all() and np.isfinite(found["f"].to_numpy()).all()
    np.testing.assert_allclose(found.iloc[3:-1], whole.iloc[3:-1], atol=0.1)


def test_memory_of_a_ladder(ladder_tree):
    found = tx.diagnostics.memory(ladder_tree, lags=[1, 8])
    assert found.shape == (6, 4) and np.isfinite(found.to_numpy()).all()
    cold = ladder_tree.copy()
    cold["tempered_predictions"] = cold["tempered_predictions"].to_dataset().isel(temperature=[-1])
    assert tx.diagnostics.memory(cold, lags=[1]).columns.tolist() == [("energy", 1)]


def test_what_is_bad_at_one_temperature_is_not_said_of_the_others(capsys, key):
    energy = tx.Energy(lambda p: 0.5 * (p["x"] ** 2).sum(), {"x": dist.Normal(0.0, 1.0).expand([2]).to_event(1)})
    tree = tx.sample(key, energy, [2.0, 1.0], path="posterior", num_draws=500, progress=False)
    assert set(by_temperature(judged(tree).table)["verdict"]) <= {"good", "fair"}
    tree["tempered_stats"]["diverging"][:, :50, 1] = True
    each = by_temperature(judged(tree).table)
    assert each["verdict"].loc[1.0] == "bad" and each["checks"].loc[1.0] == ["divergences"]
    tx.diagnostics.report(tree)
    assert re.search(r"By temperature: T = 2 (good|fair \(.*\)), T = 1 bad \(divergences\)\.", capsys.readouterr().out)
    assert "T = 1 bad (divergences)" in render(tree)


def test_neighbours_of_one_verdict_are_said_together(ladder_tree):
    table = pd.DataFrame({"rhat_energy": [1.0, 1.0, 1.03, 1.2], "divergences": [0, 0, 0, 9]}, [np.inf, 2.0, 1.0, 0.3])
    said = "By temperature: T = inf to 2 good, T = 1 fair (R-hat of the data energy), T = 0.3 bad (R-hat of the data "
    assert at_temperatures(ladder_tree, table) == [said + "energy; divergences)."]
    assert at_temperatures(ladder_tree, table.iloc[:2]) == []


def test_of_few_draws_nothing_is_said(key, capsys):
    """Two draws that are alike are no frozen chain, and no number of theirs is good or bad."""
    energy = tx.Energy(lambda p: 0.5 * p**2, dist.Normal())
    tree = tx.sample(key, energy, [2.0, 1.0], path="posterior", num_warmup=20, num_draws=2, progress=False)
    tree["sample_stats"]["lp"][0] = 1.0
    lines = tx.diagnostics.verdicts(tree)
    assert set(lines["verdict"]) == {"unknown"} and lines["advice"].str.startswith("2 draws of a chain").all()
    assert not len(tx.diagnostics.frozen(tree))
    tree["tempered_stats"]["diverging"][:, :, 1] = True
    tx.diagnostics.report(tree)
    assert "By temperature" not in capsys.readouterr().out
