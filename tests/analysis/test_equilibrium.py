"""Whether a ladder's log Z can be believed: brackets that close on a wrong value must not pass."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from numpyro import distributions as dist

import temperax as tx
from temperax import thermodynamics
from temperax.engine import ladder

BETAS = ladder.linear(12)
QUICK = {"num_chains": 2, "num_draws": 64, "progress": False}


def gamma_energies(seed, chains=4, draws=500):
    """Independent draws of U from a distance with ten degrees of freedom: log Z(β) = -5 log(1 + β)."""
    generator = np.random.default_rng(seed)
    return generator.gamma(5.0, 1.0 / (1.0 + BETAS), size=(chains, draws, len(BETAS)))


def test_independent_ladders_in_equilibrium_pass():
    wrongly = [seed for seed in range(40) if len(tx.diagnostics.equilibrium((BETAS, gamma_energies(seed))))]
    assert not wrongly
    assert (thermodynamics.summary((BETAS, gamma_energies(0)))["verdict"] == "good").all()


def test_one_ladder_is_judged_by_its_halves():
    """Nobody is there to disagree with it, and it may drift all the same."""
    wrongly = [seed for seed in range(40) if len(tx.diagnostics.equilibrium((BETAS, gamma_energies(seed, chains=1))))]
    assert not wrongly
    drifting = gamma_energies(0, chains=1)
    drifting[:, 250:, 6:] += 0.8
    assert tx.diagnostics.equilibrium((BETAS, drifting))["rung"].min() in range(5, 12)
    assert thermodynamics.summary((BETAS, drifting))["verdict"].iloc[-1] == "not equilibrated"


def test_a_bracket_that_closes_on_a_wrong_value_is_not_believed(capsys):
    """One ladder of four stands in a mode of its own: forward and backward are as near as ever, and wrong."""
    energies = gamma_energies(1)
    energies[0, :, 4:] += 0.6
    z = thermodynamics.log_evidence((BETAS, energies))
    assert abs(z.backward - z.forward) < 4 * np.hypot(z.forward_error, z.backward_error), "closed"
    found = tx.diagnostics.equilibrium((BETAS, energies))
    assert found["reason"].str.contains("log Z").any() and found["rung"].min() in range(3, 12)
    verdict = thermodynamics.summary((BETAS, energies))["verdict"]
    assert verdict.iloc[0] == "good" and verdict.iloc[-1] == "not equilibrated"
    thermodynamics.report((BETAS, energies))
    assert ", not equilibrated, in nats" in capsys.readouterr().out
    table = thermodynamics.compare_evidence({"a": (BETAS, gamma_energies(2)), "b": (BETAS, energies)})
    assert table["verdict"].to_dict() == {"a": "good", "b": "not equilibrated"}


def test_energies_of_ladders_that_drift_apart_name_their_rung():
    energies = gamma_energies(3)
    energies[1, :, 9:] += 3.0 * np.linspace(0, 1, 500)[:, None]
    found = tx.diagnostics.equilibrium((BETAS, energies))
    row = found[found["reason"].str.contains("mean energy")].iloc[0]
    assert row["rung"] == 9 and row["beta"] == pytest.approx(BETAS[9])


def two_wells(q):
    """U of two narrow wells at ±9."""
    return -jnp.logaddexp(-5 * jnp.sum((q - 9) ** 2), -5 * jnp.sum((q + 9) ** 2))


@pytest.fixture(scope="module")
def two_modes():
    """A ladder over two modes far apart, too short for a replica to come from one to the other."""
    energy = tx.Energy(two_wells, dist.Normal(0.0, 10.0).expand([2]).to_event(1))
    return tx.parallel_tempering(jax.random.key(0), energy, ladder=np.array([0.0, 0.3, 0.7]), **QUICK)


def test_a_result_says_of_which_temperature_its_posterior_and_its_log_z_are(two_modes, tmp_path, capsys):
    assert two_modes["posterior"].attrs["temperature"] == pytest.approx(1 / 0.7)
    two_modes.to_netcdf(tmp_path / "run.nc")
    with xr.open_datatree(tmp_path / "run.nc") as read:
        assert read["posterior"].attrs["temperature"] == pytest.approx(1 / 0.7)
    tx.diagnostics.report(two_modes)
    said = capsys.readouterr().out
    assert "the posterior group is of T = 1.429" in said and "log Z(T = 1.43) - log Z(T = inf)" in said


def test_ladders_whose_replicas_have_not_travelled_are_not_believed(two_modes, capsys):
    without = two_modes.copy()
    without["exchange"]["restarts"] = without["exchange"]["restarts"] * 0
    found = tx.diagnostics.equilibrium(without)
    assert found["reason"].str.contains("no replica has come from the hottest rung").any()
    lines = tx.diagnostics.verdicts(without).set_index("check")
    assert lines.loc["log Z, |backward - forward| (nats)", "verdict"] == "bad"
    tx.diagnostics.report(without)
    assert ", not equilibrated, is from" in capsys.readouterr().out


@pytest.mark.slow
def test_the_temperature_of_a_prior_is_kept_by_a_run_on_disk(tmp_path):
    energy = tx.Energy(lambda q: jnp.sum(q**2), dist.Normal(0.0, 1.0).expand([2]).to_event(1))
    options = {"beta": 0.0, "path": "likelihood", "num_chains": 2, "num_warmup": 5, "num_draws": 5, "progress": False}
    tree = tx.sample(jax.random.key(0), energy, directory=tmp_path / "run", **options)
    assert tree["posterior"].attrs["temperature"] == np.inf
    assert tx.open_run(tmp_path / "run")["posterior"].attrs["temperature"] == np.inf
