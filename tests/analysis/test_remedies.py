"""The report tells causes apart that look alike in a number, and gives no all-clear over chains that never met."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pandas as pd
import pytest
import xarray as xr

import temperax as tx
from temperax.analysis import statistics
from temperax.analysis.diagnostics import remedies

KEY = jax.random.key(0)


def lines_of(tree, functions=None):
    return tx.diagnostics.verdicts(tree, functions).set_index("check")


def two_modes(p):
    """A mixture at ±6."""
    return -jnp.logaddexp(-0.5 * (p - 6.0) ** 2, -0.5 * (p + 6.0) ** 2)


@pytest.mark.slow
def test_a_funnel_is_called_one():
    """Eight schools (Rubin 1981), centred: where the schools' spread is small, no step is short enough."""
    y = np.array([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
    error = np.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])
    wide = dist.Normal(0.0, 100.0)

    def energy(p, data):
        of_schools = dist.Normal(p["mu"], p["tau"]).log_prob(p["theta"]) - wide.log_prob(p["theta"])
        return -dist.Normal(p["theta"], data[1]).log_prob(data[0]) - of_schools

    prior = {"mu": dist.Normal(0.0, 5.0), "tau": dist.HalfCauchy(5.0), "theta": wide.expand([8]).to_event(1)}
    tree = tx.sample(jax.random.key(2), tx.Energy(energy, prior, data=(y, error)), progress=False)
    advice = lines_of(tree).loc["divergences", "advice"]
    assert "they gather where tau is small, as in a funnel: reparametrise" in advice


@pytest.mark.slow
def test_energies_that_are_nan_are_counted():
    energy = tx.Energy(lambda p: jnp.where(p > 0, jnp.nan, 0.5 * p**2), dist.Normal(0.0, 1.0))
    tree = tx.sample(KEY, energy, num_draws=200, progress=False)
    assert float(tree["posterior"]["theta"].max()) <= 0, "NaN is +infinity to every step"
    assert "have an energy that is NaN" in lines_of(tree).loc["divergences", "advice"]
    walled = tx.Energy(lambda p: jnp.where(p > 0, jnp.inf, 0.5 * p**2), dist.Normal(0.0, 1.0))
    tree = tx.sample(KEY, walled, num_draws=200, progress=False)
    assert "NaN" not in lines_of(tree).loc["divergences", "advice"], "infinity is not NaN"


@pytest.mark.slow
def test_a_ladder_shows_replicas_without_an_energy(capsys):
    """No diagnostic raises, whatever the energies are: NaN on half of the prior."""
    energy = tx.Energy(lambda p: jnp.where(p["w"] > 0, jnp.nan, p["w"] ** 2), {"w": dist.Normal(0.0, 1.0)})
    tree = tx.parallel_tempering(KEY, energy, path="likelihood", num_draws=64, num_chains=2, progress=False)
    tx.diagnostics.report(tree)
    tx.thermodynamics.report(tree)
    tx.transitions.report(tree)
    assert not len(tx.diagnostics.faults(tree)), "no replica is left where its energy is NaN"
    z = tx.thermodynamics.log_evidence(tree)
    assert z.mbar == pytest.approx(np.log(0.5 / np.sqrt(3)), abs=5 * max(z.mbar_error, 0.05))


def test_many_short_chains_that_mix_are_good_and_those_that_do_not_are_bad():
    """Nested R-hat: superchains begin near one another, so that what they remember of it shows."""
    rng = np.random.default_rng(1)
    free = rng.normal(size=(64, 20))
    for i in range(1, 20):  # a memory of some draws, which a chain of twenty cannot average away
        free[:, i] = 0.5 * free[:, i - 1] + 0.75**0.5 * free[:, i]
    stuck = free + np.where(np.arange(64) % 2, 6.0, -6.0)[:, None]
    both = [xr.Dataset({"x": (("chain", "draw"), values)}) for values in (free, stuck)]
    good, bad = (float(statistics.rhat(draws)["x"]) for draws in both)
    assert good < 1.01 and bad > 1.5
    # The ordinary one calls none of them good; superchains that know nothing of the starts call both so.
    assert statistics.base.array_stats.rhat(free, chain_axis=0, draw_axis=1) > 1.03
    ids = np.repeat(np.arange(4), 16).tolist()
    assert all(float(statistics.rhat_nested(draws, superchain_ids=ids)["x"]) < 1.01 for draws in both)


@pytest.mark.parametrize("side", [-6.0, 6.0])
@pytest.mark.parametrize("chains", [17, 18, 19, 21])
def test_of_many_short_chains_the_extreme_ones_are_judged_in_whichever_number(chains, side):
    draws = np.random.default_rng(chains).normal(size=(chains, 20))
    good = float(statistics.rhat(xr.Dataset({"x": (("chain", "draw"), draws)}))["x"])
    draws[:3] += side
    bad = float(statistics.rhat(xr.Dataset({"x": (("chain", "draw"), draws)}))["x"])
    assert good < 1.05 and bad > 1.1


@pytest.mark.slow
def test_chains_in_two_modes_are_bad_in_whichever_number(capsys):
    starts = np.where(np.arange(32)[:, None] % 2, 6.0, -6.0)
    for chains, draws in ((4, 300), (32, 20)):
        tree = tx.sample(
            KEY,
            tx.Energy(two_modes, dist.Normal(0.0, 20.0)),
            start=starts[:chains],
            num_chains=chains,
            num_draws=draws,
            progress=False,
        )
        row = lines_of(tree).loc["R-hat, worst (theta)"]
        assert row["verdict"] == "bad" and "parallel_tempering" in row["advice"]
    ladder = tx.parallel_tempering(KEY, tx.Energy(two_modes, dist.Normal(0.0, 20.0)), progress=False)
    assert lines_of(ladder).loc["R-hat, worst (theta)", "verdict"] == "good"


@pytest.mark.slow
def test_functions_of_a_networks_draws_are_judged_beside_its_predictions(small_data, capsys):
    energy = tx.Energy.mlp(small_data, (2,))
    tree = tx.sample(KEY, energy, num_warmup=100, num_draws=100, progress=False)
    functions = {
        "noise": lambda d: d["noise_scale"].isel(target=0),
        "chain number": lambda d: 0 * d["noise_scale"].isel(target=0) + d["chain"],
    }
    lines = tx.diagnostics.report(tree, functions)
    printed = capsys.readouterr().out
    assert "held-out rows, noise, chain number and the energy" in printed
    judged = lines.set_index("check")
    assert "R-hat of f, worst row" in judged.index
    assert judged.loc["R-hat, worst (chain number)", "verdict"] == "bad"
    assert not any("layer_0" in check for check in judged.index), "weights of symmetric networks are not judged"


@pytest.mark.parametrize(
    "function", [pytest.param(3, marks=pytest.mark.slow), lambda d: 1.0, lambda d: d["theta"].mean("draw")]
)
def test_functions_that_are_none(function):
    energy = tx.Energy(lambda p: 0.5 * p**2, dist.Normal(0.0, 1.0))
    tree = tx.sample(KEY, energy, num_warmup=10, num_draws=10, num_chains=2, progress=False)
    with pytest.raises(tx.InputError, match="functions = "):
        tx.diagnostics.report(tree, {"mine": function})


@pytest.mark.slow
def test_steps_that_are_lost_in_rounding_are_seen(capsys):
    """Single precision holds nothing of a width of 1e-4 beside 1e4: every step is accepted and none is made."""
    energy = tx.Energy(lambda p: 0.5 * ((p - 1e4) / 1e-5) ** 2, dist.Normal(0.0, 1e5))
    tree = tx.sample(
        KEY,
        energy,
        kernel=tx.HMC(step_size=1e-6),
        start=np.full((4, 1), 1e4),
        num_warmup=0,
        num_draws=50,
        progress=False,
    )
    assert len(tx.diagnostics.frozen(tree)) == 4
    tx.diagnostics.report(tree)
    assert "lost in rounding" in capsys.readouterr().out
    wide = tx.Energy(lambda p: 0.5 * ((p - 1e4) / 3e-2) ** 2, dist.Normal(0.0, 1e5))
    tree = tx.sample(KEY, wide, num_draws=100, progress=False)
    assert lines_of(tree).loc["width in steps of the precision", "verdict"] != "good"
    fine = tx.Energy(lambda p: 0.5 * (p - 1.0) ** 2, dist.Normal(0.0, 1e5))
    assert (
        lines_of(tx.sample(KEY, fine, num_draws=100, progress=False)).loc["width in steps of the precision", "verdict"]
        == "good"
    )


@pytest.mark.slow
def test_a_prior_alone_has_no_data_energy_to_judge():
    energy = tx.Energy(lambda p: 0.0 * p, dist.Normal(0.0, 1.0))
    for tree in (
        tx.sample(KEY, energy, num_draws=200, progress=False),
        tx.parallel_tempering(KEY, energy, num_replicas=4, num_draws=128, progress=False),
    ):
        judged = tx.diagnostics.verdicts(tree)
        assert "R-hat of the data energy" not in set(judged["check"])
        assert not {"bad", "unknown"} & set(judged["verdict"]), judged


@pytest.mark.slow
def test_a_ladder_is_not_told_to_exchange_replicas(small_data):
    energy = tx.Energy.mlp(small_data, (6,))
    tree = tx.parallel_tempering(KEY, energy, num_replicas=4, num_draws=32, num_chains=2, progress=False)
    assert not any("parallel_tempering" in advice for advice in tx.diagnostics.verdicts(tree)["advice"])


def test_heavy_tails_and_correlation_have_remedies_of_their_own():
    """Tails far poorer than the bulk; chains that are slow about one mean, by their kernel, or about several."""
    tree = xr.DataTree()
    heavy = remedies.of_tails(tree, pd.Series({"ess_tail_min": 50.0, "ess_parameter_min": 400.0}))
    assert heavy is not None and "tails are heavy" in heavy
    assert remedies.of_tails(tree, pd.Series({"ess_tail_min": 300.0, "ess_parameter_min": 400.0})) is None
    slow, apart = (pd.Series({"separation": separation}) for separation in (0.3, 3.0))
    for kernel, said in (("HMC", "kernel='nuts'"), ("NUTS", "correlated: run longer")):
        tree.attrs["kernel"] = kernel
        assert said in remedies.of_differing(tree, slow)
        assert "separate modes" in remedies.of_differing(tree, apart)
