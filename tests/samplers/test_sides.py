"""Chains from both sides of their posterior's energies: where they start, and whether they have met."""

import json

import jax
import numpy as np
import pytest

import temperax as tx
from temperax.training import descent
from temperax.training.landscape import scaled_draws

KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def energy():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 3))
    y = np.tanh(x @ [1.0, -1.0, 0.5]) + 0.3 * rng.normal(size=60)
    data = tx.Dataset.from_arrays(x[:45], y[:45], x[45:], y[45:])
    return tx.Energy.mlp(data, (8, 8), "relu", tx.likelihoods.Gaussian(0.3))


def test_weights_begin_at_the_scale_of_their_fan_in(energy):
    drawn = jax.vmap(energy.variables)(scaled_draws(energy, KEY, 200))
    for layer, scale in enumerate(((2 / 3) ** 0.5, 0.5, 0.1 / 8**0.5)):
        assert float(drawn[f"layer_{layer}_weight"].std()) == pytest.approx(scale, rel=0.1)
        assert not drawn[f"layer_{layer}_bias"].any()


@pytest.fixture(scope="module")
def both(energy):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(descent, "TRAINED", 2000)
        options = {"num_warmup": 100, "num_draws": 200, "progress": False}
        return tx.sample(KEY, energy, start="both", **options)


@pytest.mark.slow
def test_half_of_the_chains_start_below_and_the_report_says_whether_they_have_met(both, capsys):
    started = json.loads(both.attrs["started"])
    assert started["side"] == ["below"] * 2 + ["above"] * 2 and started["stopped"][:2] == ["schedule"] * 2
    assert max(started["energy"][:2]) < min(started["energy"][2:])
    row = tx.diagnostics.sides(both).loc[1.0]
    assert row["apart"] < 0.5, "an easy posterior, on which they meet"
    tx.diagnostics.report(both)
    said = capsys.readouterr().out
    assert "half from networks trained to the end" in said and "in chains from below" in said


@pytest.mark.slow
def test_chains_that_have_not_met_are_bad(both, capsys):
    apart = both.copy()
    shifted = apart["tempered_stats"]["data_energy"] + np.array([0, 0, 90.0, 110.0])[:, None, None]
    apart["tempered_stats"]["data_energy"] = shifted
    row = tx.diagnostics.sides(apart).loc[1.0]
    assert row["above"] - row["below"] == pytest.approx(100, abs=5) and abs(row["approach"]) < 5
    lines = tx.diagnostics.verdicts(apart).set_index("check")
    assert lines.loc["energies from both sides, deviations apart", "verdict"] == "bad"


@pytest.mark.slow
def test_of_one_side_nothing_is_said(both, energy):
    one = both.isel(chain=[0, 1])
    with pytest.raises(tx.InputError, match="both sides"):
        tx.diagnostics.sides(one)
    with pytest.raises(tx.InputError, match="cannot start from both sides"):
        tx.sample(KEY, energy, start="both", num_chains=1)
    linear = tx.Energy.mlp(energy.dataset, ())
    with pytest.raises(tx.InputError, match="hidden units"):
        tx.sample(KEY, linear, start="trained")
