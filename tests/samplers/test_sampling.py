"""The engine: compilations, blocks, interruption, thinning, starts, and the temperature that draws show."""

import signal
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compilations import Compilations

import temperax as tx
from temperax.engine import engine, program
from temperax.samplers import drawing

QUICK = {"num_chains": 2, "num_warmup": 30, "num_draws": 20, "progress": False}


@pytest.fixture
def energy(small_data):
    return tx.Energy.mlp(small_data, (4,))


def test_nothing_compiles_again_when_only_values_change(key, small_data, energy):
    def run(key, energy, temperature, kernel, num_draws):
        options = QUICK | {"num_draws": num_draws}
        return tx.sample(key, energy, temperature, path="posterior", kernel=kernel, **options)

    run(key, energy, [1.0, 0.5], tx.HMC(step_size=0.01, inverse_mass=np.ones(energy.size)), 20)
    rng = np.random.default_rng(9)
    other_data = tx.Dataset.from_arrays(
        rng.normal(size=(60, 3)), rng.normal(size=60), rng.normal(size=(20, 3)), rng.normal(size=20)
    )
    other = tx.Energy.mlp(other_data, (4,), prior=tx.priors.Normal(0.3))
    with Compilations() as compilations:
        kernel = tx.HMC(step_size=0.02, inverse_mass=np.full(energy.size, 2.0), max_steps=64)
        run(jax.random.key(7), other, [2.0, 0.1], kernel, 20)
    assert compilations.count == 0
    with Compilations() as compilations:  # the counter can count
        run(key, energy.replace(hidden=(5,)), [1.0, 0.5], tx.HMC(step_size=0.01), 20)
    assert compilations.count > 0


def test_number_of_draws_and_blocks_share_one_program(key, energy):
    jax.clear_caches()
    with Compilations() as compilations:
        tx.sample(key, energy, **QUICK)
        tx.sample(key, energy, **(QUICK | {"num_draws": 33, "num_warmup": 47, "thin": 2}))
    assert compilations.programs["jit(run_block)"] == 1


def test_draws_do_not_depend_on_the_blocks(key, energy, monkeypatch):
    one = tx.sample(key, energy, **QUICK)
    monkeypatch.setattr(program, "BLOCK_DRAWS", 7)
    monkeypatch.setattr(engine, "BLOCK_SECONDS", 1e9)
    other = tx.sample(key, energy, **QUICK)
    for name, values in one["posterior"].data_vars.items():
        np.testing.assert_array_equal(values, other["posterior"][name])


def test_a_part_of_a_block_holds_on_to_no_more_than_its_draws(key, energy, monkeypatch):
    """Slow energies have a draw a block, and a block's room is that of many."""
    parts, add = [], drawing.Draws.add
    monkeypatch.setattr(engine, "BLOCK_SECONDS", 0.0)
    monkeypatch.setattr(drawing.Draws, "add", lambda draws, record: add(draws, parts.append(record) or record))
    tx.sample(key, energy, **QUICK)
    assert [len(record.fault) for record in parts] == [1] * QUICK["num_draws"]
    held = [leaf if leaf.base is None else leaf.base for record in parts for leaf in record]
    assert sum(owner.nbytes for owner in held) == sum(leaf.nbytes for record in parts for leaf in record)


def test_another_seed_gives_other_draws(key, energy):
    one, other = (tx.sample(k, energy, **QUICK) for k in (key, jax.random.key(3)))
    assert not np.array_equal(one["posterior"]["noise_scale"], other["posterior"]["noise_scale"])


def test_chains_and_temperatures_have_streams_of_their_own(key, energy):
    tree = tx.sample(key, energy, [1.0, 0.999], path="posterior", **QUICK)
    draws = tree["tempered_posterior"]["noise_scale"].values[..., 0]
    assert len(np.unique(draws[:, -1])) == draws[:, -1].size


@pytest.mark.slow
@pytest.mark.parametrize(("kernel", "batch_size"), [("nuts", 0), ("hmc", 3)])
def test_batching_changes_the_machine_code_only(key, energy, kernel, batch_size):
    """The first draws agree to rounding; chaos takes over later."""
    options = QUICK | {"num_warmup": 0, "num_draws": 1, "start": "prior"}
    one = tx.sample(key, energy, [1.0, 0.5, 0.2], path="posterior", kernel=kernel, batch_size=1, **options)
    other = tx.sample(key, energy, [1.0, 0.5, 0.2], path="posterior", kernel=kernel, batch_size=batch_size, **options)
    np.testing.assert_allclose(
        one["tempered_posterior"]["layer_0_weight"],
        other["tempered_posterior"]["layer_0_weight"],
        rtol=1e-2,
        atol=1e-3,
    )


def test_thinning_keeps_every_second_draw(key, energy):
    dense = tx.sample(key, energy, **QUICK)
    thin = tx.sample(key, energy, **(QUICK | {"num_draws": 10, "thin": 2}))
    np.testing.assert_array_equal(dense["posterior"]["noise_scale"][:, 1::2], thin["posterior"]["noise_scale"])
    steps = dense["sample_stats"]["n_steps"].values
    np.testing.assert_array_equal(steps[:, ::2] + steps[:, 1::2], thin["sample_stats"]["n_steps"])


def test_interruption_returns_the_draws_so_far(key, energy, monkeypatch):
    monkeypatch.setattr(engine, "BLOCK_SECONDS", 0.0)  # one draw a block
    real, calls, last = engine.run_block, [], [None]

    def interrupted(*args):
        calls.append(args)
        if len(calls) == last[0]:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(engine, "run_block", interrupted)
    whole = tx.sample(key, energy, **QUICK)
    last[0] = len(calls) - QUICK["num_draws"] + 6
    calls.clear()
    tree = tx.sample(key, energy, **QUICK)
    assert tree.attrs["interrupted"] == 1
    assert tree["posterior"].sizes["draw"] == 5
    np.testing.assert_array_equal(tree["posterior"]["noise_scale"], whole["posterior"]["noise_scale"][:, :5])
    calls.clear()
    with pytest.raises(KeyboardInterrupt):  # nothing to return yet
        tx.sample(key, energy, **(QUICK | {"num_warmup": 100}))


def test_a_run_that_is_stopped_looks_for_no_bias(key, energy, tmp_path, monkeypatch):
    """Of a kernel that is not exact; and what is drawn survives a Ctrl-C while its bias is looked for."""
    monkeypatch.setattr(engine, "BLOCK_SECONDS", 0.0)  # one draw a block
    real, calls, last = engine.run_block, [], [QUICK["num_warmup"] + 22]

    def asked(*args):
        calls.append(args)
        if len(calls) == last[0]:
            signal.raise_signal(signal.SIGINT)
        return real(*args)

    def stopped(*args):
        looked.append(args)
        raise KeyboardInterrupt

    looked = []
    monkeypatch.setattr(drawing, "energy_bias", stopped)
    monkeypatch.setattr(engine, "run_block", asked)
    options = QUICK | {"kernel": "mclmc", "start": "prior", "directory": tmp_path / "run"}
    tree = tx.sample(key, energy, **options)
    drawn = tree["posterior"].sizes["draw"]
    assert tree.attrs["interrupted"] == 1 and QUICK["num_draws"] / 2 < drawn < QUICK["num_draws"] and not looked
    whole = tx.sample(key, energy, **options, resume=True)
    assert looked and "energy_bias" not in whole.attrs and whole.attrs["interrupted"] == 0
    assert whole["posterior"].sizes["draw"] == QUICK["num_draws"]


def test_starts(key, energy):
    report = tx.sample(key, energy, **QUICK).attrs["started"]
    assert '"start": "optimum"' in report and "held-out" in report
    assert '"prior"' in tx.sample(key, energy, start="prior", **QUICK).attrs["started"]
    positions = 0.1 * np.ones((2, energy.size))
    assert '"given"' in tx.sample(key, energy, start=positions, **QUICK).attrs["started"]


@pytest.mark.slow
def test_keep_chooses_the_temperatures_whose_positions_stay(key, energy):
    tree = tx.sample(key, energy, [3.0, 1.0, 0.5], path="posterior", keep="target", **QUICK)
    assert "tempered_posterior" not in tree.children
    assert tree["tempered_stats"].sizes["temperature"] == 3
    tree = tx.sample(key, energy, [3.0, 1.0, 0.5], path="posterior", keep=[0.5], **QUICK)
    np.testing.assert_allclose(tree["tempered_posterior"]["temperature"], [1.0, 0.5])


def test_beta_zero_is_drawn_exactly_from_the_prior(key, energy):
    tree = tx.sample(
        key,
        energy,
        [np.inf, 1.0],
        path="likelihood",
        num_chains=4,
        num_warmup=20,
        num_draws=1000,
        progress=False,
    )
    hot = tree["tempered_posterior"].sel(temperature=np.inf)
    assert float(hot["noise_scale"].mean()) == pytest.approx(np.sqrt(2 / np.pi), abs=0.05)  # HalfNormal(1)
    assert float(hot["layer_0_weight"].std()) == pytest.approx(1.0, abs=0.03)
    assert np.all(tree["tempered_stats"]["n_steps"].sel(temperature=np.inf) == 0)


@pytest.mark.slow
def test_rows_with_nothing_to_say_leave_the_prior(key):
    """A user's energy that ignores its parameters: the posterior is the prior at every temperature."""
    import numpyro.distributions as dist

    energy = tx.Energy(lambda p: jnp.zeros(3), dist.Gamma(3.0, 2.0))
    tree = tx.sample(key, energy, [1.0, 0.2], path="likelihood", num_draws=2000, num_warmup=300, progress=False)
    draws = tree["tempered_posterior"]["theta"]
    np.testing.assert_allclose(draws.mean(("chain", "draw")), 1.5, atol=0.1)
    assert not tree["log_likelihood"]["y"].any() and tree["log_likelihood"]["y"].shape == (4, 2000, 3)


@pytest.mark.slow
def test_configurational_temperature_of_a_real_network(key):
    energy = tx.Energy.mlp(tx.datasets.load("diabetes"), (5,))
    tree = tx.sample(
        key,
        energy,
        [3.0, 1.0, 0.1],
        path="posterior",
        num_warmup=400,
        num_draws=500,
        progress=False,
        keep="target",
    )
    table = tx.diagnostics.configurational_temperature(tree)
    assert (table["z"].abs() < 4).all()
    assert (table["standard_error"] < 0.05 * table["expected"]).all(), "sharp enough to fail"
    wrong = (table["estimate"] - 2 * table["expected"]) / table["standard_error"]
    assert (wrong.abs() > 10).all()


@pytest.mark.slow
def test_one_program_on_several_devices():
    """Blocks follow one another without compiling again, however arrays come to lie on the devices."""
    code = """
import jax, numpy as np, temperax as tx
from temperax.engine import engine
from temperax.engine import program
from temperax.machine import sharding
tx.use_cpu_devices(2)
sharding.WORTH_SHARING = 0
data = tx.Dataset.from_arrays(np.arange(40.0)[:, None] % 7, np.arange(40.0) % 5)
energy = tx.Energy.mlp(data, (2,))
quick = dict(num_chains=2, progress=False, start="prior")
tx.sample(jax.random.key(0), energy, num_warmup=60, num_draws=30, **quick)
assert jax.local_device_count() == 2 and engine.run_block._cache_size() == 1, engine.run_block._cache_size()
tx.parallel_tempering(jax.random.key(0), energy, num_replicas=4, num_draws=64, **quick)
assert engine.run_block._cache_size() == 2, engine.run_block._cache_size()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
