"""Run directories through the samplers: what goes on, what is refused, what is stored.  Kills are in `test_faults`."""

import os
import subprocess
import sys
from dataclasses import dataclass
from typing import ClassVar

import blackjax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from broken import UntemperedGradient
from jax.tree_util import register_dataclass
from numpyro.infer.util import ParamInfo

import temperax as tx
from temperax.engine.kernels import Info
from temperax.samplers import runs
from temperax.storage.rundir import RunDirectory

QUICK = {"num_chains": 2, "num_warmup": 30, "num_draws": 20, "progress": False, "start": "prior"}
LADDER = {"num_replicas": 4, "num_chains": 2, "num_draws": 32, "progress": False, "start": "prior"}


@pytest.fixture
def energy(small_data):
    return tx.Energy.mlp(small_data, (2,))


def assert_same(one, other, draws=None):
    """Every variable of every group, bit for bit, up to a number of draws."""
    assert set(one.groups) == set(other.groups)
    for group in one.groups:
        for name, values in one[group].data_vars.items():
            found = other[group][name].transpose(*values.dims)
            if draws is not None and "draw" in values.dims:
                values, found = values.isel(draw=slice(0, draws)), found.isel(draw=slice(0, draws))
            np.testing.assert_array_equal(values, found, err_msg=f"{group}/{name}")


def test_a_directory_changes_no_draw_and_goes_on_for_more(key, energy, tmp_path):
    here = {"directory": tmp_path / "run"}
    plain = tx.sample(key, energy, **QUICK)
    kept = tx.sample(key, energy, **QUICK, **here)
    assert_same(plain, kept)
    assert_same(plain, tx.open_run(tmp_path / "run"))
    more = tx.sample(key, energy, **(QUICK | {"num_draws": 50}), **here, resume=True)
    assert more["posterior"].sizes["draw"] == 50
    assert_same(kept, more, draws=20)
    assert_same(tx.sample(key, energy, **(QUICK | {"num_draws": 50})), more)


@pytest.mark.slow
def test_a_ladder_goes_on_with_the_rounds_it_began_with(key, energy, tmp_path):
    here = {"directory": tmp_path / "run"}
    first = tx.parallel_tempering(key, energy, **LADDER, **here)
    more = tx.parallel_tempering(key, energy, **(LADDER | {"num_draws": 100}), **here, resume=True)
    assert more["posterior"].sizes["draw"] == 100
    assert_same(first, more, draws=32)
    tx.diagnostics.report(more)


def test_a_run_that_was_never_begun_begins(key, energy, tmp_path):
    tree = tx.sample(key, energy, **QUICK, directory=tmp_path / "run", resume=True)
    assert_same(tx.sample(key, energy, **QUICK), tree)


COUNTS = {
    "sample": {"num_warmup": 12, "num_draws": 4, "thin": 2},
    "parallel_tempering": {"num_replicas": 3, "num_draws": 32, "transitions": 1, "most_transitions": 2},
    "smc": {"num_particles": 8, "scans": 2},
}


@pytest.mark.parametrize("name", COUNTS)
def test_counts_may_be_numpys(name, key, energy, tmp_path):
    """They are in every checkpoint, which is JSON."""
    counts = COUNTS[name] | {"num_chains": 2, "batch_size": 1}
    options = {"progress": False, "save_every": 1e-9} | ({"ladder": [0.0, 1e-3, 1.0]} if name == "smc" else {})
    sampler = getattr(tx, name)
    found = sampler(
        key, energy, directory=tmp_path / "run", **options, **{count: np.int64(n) for count, n in counts.items()}
    )
    assert_same(found, tx.open_run(tmp_path / "run"))
    assert_same(found, sampler(key, energy, directory=tmp_path / "run", resume=True, **options, **counts))


def test_another_run_is_refused(key, energy, small_data, tmp_path, monkeypatch):
    here = {"directory": tmp_path / "run"}
    tx.sample(key, energy, **QUICK, **here)
    other = tx.Dataset.from_arrays(small_data.x, small_data.y**3, small_data.x_test, small_data.y_test**3)
    refused = {
        "directory": lambda: tx.sample(key, energy, **QUICK, **here),
        "data": lambda: tx.sample(key, energy.replace(data=other), **QUICK, **here, resume=True),
        "model": lambda: tx.sample(key, energy.replace(activation="relu"), **QUICK, **here, resume=True),
        "key": lambda: tx.sample(jax.random.key(1), energy, **QUICK, **here, resume=True),
        "arguments.thin": lambda: tx.sample(key, energy, **QUICK, thin=2, **here, resume=True),
        "function": lambda: tx.parallel_tempering(key, energy, **LADDER, **here, resume=True),
        "resume": lambda: tx.sample(key, energy, **QUICK, resume=True),
        "save_every": lambda: tx.sample(key, energy, **QUICK, directory=tmp_path / "new", save_every=0.0),
    }
    for argument, attempt in refused.items():
        with pytest.raises(tx.InputError) as caught:
            attempt()
        assert caught.value.argument.startswith(argument), caught.value
    monkeypatch.setattr(runs, "version", lambda name: "0.0")
    with pytest.raises(tx.InputError, match="versions"):
        tx.sample(key, energy, **QUICK, **here, resume=True)


@register_dataclass
@dataclass(frozen=True)
class Walk(tx.Explorer):
    """A kernel of the user's own, which its name does not tell from another."""

    width: float

    def move(self, key, position, beta, potential):
        there = position + self.width * jax.random.normal(key, position.shape)
        return jnp.where(jax.random.uniform(key) < jnp.exp(potential(position) - potential(there)), there, position)


def test_another_kernel_of_the_users_own_is_refused(key, energy, tmp_path):
    def walks(width):
        return tx.kernels.FromBlackJAX(lambda logp: blackjax.additive_step_random_walk.normal_random_walk(logp, width))

    def asked(kernel):
        return runs.describe("sample", key, energy, {"kernel": kernel})["moves"]

    widths = [asked(Walk(1.0)), asked(Walk(0.1)), asked(walks(1.0)), asked(walks(0.1))]
    assert len(set(map(tuple, widths))) == 4 and asked(Walk(1.0)) == widths[0] and asked(walks(1.0)) == widths[2]
    assert "moves" not in runs.describe("sample", key, energy, {"kernel": tx.HMC()})
    assert asked(tx.kernels.Alternating(Walk(1.0))) == widths[0] != asked(tx.kernels.Alternating(Walk(0.1)))
    here = {"start": "prior", "num_chains": 2, "num_warmup": 0, "progress": False, "directory": tmp_path / "run"}
    tx.sample(key, energy, kernel=Walk(1.0), num_draws=4, **here)
    tx.sample(key, energy, kernel=Walk(1.0), num_draws=8, **here, resume=True)
    with pytest.raises(tx.InputError, match="moves = "):
        tx.sample(key, energy, kernel=Walk(0.1), num_draws=8, **here, resume=True)


def test_another_kernel_of_the_users_own_is_refused_whatever_it_is_made_of(key, energy, tmp_path):
    """A plain class with a step, and one that inherits from a kernel of the library."""

    def langevin(width, drift):
        @register_dataclass
        @dataclass(frozen=True)
        class Langevin:
            width: float
            step_size: ClassVar[float] = 1.0
            trajectory_length: ClassVar[float] = 1.0
            inverse_mass: ClassVar[float] = 1.0
            target_acceptance: ClassVar[float] = 0.8

            def step(self, key, potential_at, beta, start, tuning, jitter):
                noise = self.width * jax.random.normal(key, start.z.shape)
                position = start.z - drift * self.width**2 * start.z_grad + noise * tuning.step_size
                potential, gradient = jax.value_and_grad(potential_at(beta))(position)
                one = jnp.ones(())
                info = Info(one, jnp.int32(1), jnp.bool(False), potential, jnp.zeros_like(position), one)
                return ParamInfo(position, potential, gradient), info

        return Langevin(width)

    def asked(kernel):
        return runs.describe("sample", key, energy, {"kernel": kernel}).get("moves")

    kernels = [langevin(1.0, 0.5), langevin(0.1, 0.5), langevin(1.0, 0.4), UntemperedGradient()]
    assert len({tuple(asked(kernel)) for kernel in kernels}) == 4 and asked(kernels[0]) == asked(langevin(1.0, 0.5))
    assert all(asked(own) is None for own in (tx.HMC(), tx.NUTS(), tx.MAMS(), tx.MCLMC(), "nuts", "auto"))
    assert asked(tx.kernels.Alternating(kernels[0])) == asked(kernels[0])
    here = {"start": "prior", "num_chains": 2, "num_warmup": 0, "progress": False, "directory": tmp_path / "run"}
    tx.sample(key, energy, kernel=langevin(1e-3, 0.5), num_draws=4, **here)
    with pytest.raises(tx.InputError, match="moves = "):
        tx.sample(key, energy, kernel=langevin(1e-3, 0.4), num_draws=8, **here, resume=True)


def test_what_a_run_found_out_at_its_end_is_in_its_folder(key, energy, tmp_path):
    """That a kernel is not exact, and by how much: also for whoever reads the folder, and after a few more draws."""
    here = QUICK | {"kernel": "mclmc", "directory": tmp_path / "run"}
    tree = tx.sample(key, energy, **here)
    kept = tx.open_run(tmp_path / "run").attrs
    assert kept["energy_bias"] == tree.attrs["energy_bias"] and kept["interrupted"] == 0
    again = tx.sample(key, energy, **here, resume=True)
    assert again.attrs["energy_bias"] == tree.attrs["energy_bias"]
    more = tx.sample(key, energy, **here | {"num_draws": 22}, resume=True)
    assert more.attrs["energy_bias"] == tree.attrs["energy_bias"]


def test_a_model_has_one_digest_and_another_model_another(energy, small_data):
    """Numbers of the prior, the structure and the likelihood all count; building it again does not."""

    def digest(energy):
        return runs.describe("sample", jax.random.key(0), energy, {})["model"]

    same = tx.Energy.mlp(small_data, (2,))
    changed = [{"prior": tx.priors.Normal(0.9)}, {"hidden": (2, 2)}, {"likelihood": tx.likelihoods.StudentT()}]
    assert digest(energy) == digest(same)
    assert len({digest(energy), *(digest(energy.replace(**change)) for change in changed)}) == 4


def test_half_precision_is_for_weights_alone(key, energy, tmp_path):
    whole = tx.sample(key, energy, **QUICK)
    half = tx.sample(key, energy, **QUICK, storage="float16", directory=tmp_path / "run")
    assert half["posterior"]["layer_0_weight"].dtype == np.float16
    np.testing.assert_allclose(half["posterior"]["layer_0_weight"], whole["posterior"]["layer_0_weight"], rtol=1e-3)
    np.testing.assert_array_equal(half["predictions"]["f"], whole["predictions"]["f"])
    np.testing.assert_array_equal(half["sample_stats"]["lp"], whole["sample_stats"]["lp"])
    with pytest.raises(tx.InputError, match="storage"):
        tx.sample(key, energy, **QUICK, storage="float8")


def test_half_precision_is_refused_for_numbers_that_it_does_not_hold(key, energy):
    wide = energy.replace(prior=tx.priors.Normal(1e6))
    for sampler, options in ((tx.sample, QUICK), (tx.parallel_tempering, LADDER)):
        with pytest.raises(tx.InputError, match="storage = 'float16' holds numbers up to 65504"):
            sampler(key, wide, **options, storage="float16")


@pytest.mark.slow
def test_a_ladder_keeps_the_rungs_nearest_to_the_temperatures_asked_for(key, energy):
    tree = tx.parallel_tempering(key, energy, **LADDER, keep=[1.0, 1e6])
    temperatures = tree["tempered_posterior"]["temperature"].values
    assert len(temperatures) == 2 and temperatures[-1] == 1.0 and temperatures[0] > 1.0
    assert tree["tempered_stats"].sizes["temperature"] == 4


def test_no_draws_yet(energy, tmp_path):
    with pytest.raises(tx.InputError, match="holds no run"):
        tx.open_run(tmp_path)


WRITER = """
import sys
from temperax.storage.rundir import RunDirectory

lock = RunDirectory.open(sys.argv[1]).lock()
print("locked", flush=True)
sys.stdin.read()
"""


def test_a_directory_has_one_writer(key, energy, tmp_path):
    """And any number of readers; a writer that is killed leaves nothing behind that stands in the way."""
    here = {"directory": tmp_path / "run", "resume": True}
    first = tx.sample(key, energy, **QUICK, **here)
    pipe = subprocess.PIPE
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path / "run")], stdin=pipe, stdout=pipe, text=True, env=os.environ
    )
    try:
        assert writer.stdout.readline() == "locked\n"
        said = rf"^directory = .*run' is being written by process {writer.pid} on .*; wait until it ends, or choose "
        with pytest.raises(tx.InputError, match=said):
            tx.sample(key, energy, **(QUICK | {"num_draws": 30}), **here)
        assert_same(first, tx.open_run(tmp_path / "run"))
    finally:
        writer.kill()
        writer.communicate()
    assert tx.sample(key, energy, **(QUICK | {"num_draws": 30}), **here)["posterior"].sizes["draw"] == 30


def test_a_run_that_is_refused_holds_no_lock(key, energy, tmp_path):
    here = {"directory": tmp_path / "run"}
    tx.sample(key, energy, **QUICK, **here)
    for _ in range(2):
        with pytest.raises(tx.InputError, match="num_chains"):
            tx.sample(key, energy, **(QUICK | {"num_chains": 3}), **here, resume=True)
    RunDirectory.open(tmp_path / "run").lock().release()


def test_paths_stay_what_they_were(key, energy, tmp_path, monkeypatch):
    """Relative ones when the folder changes, and ``~``; a name may have spaces."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    tree = tx.sample(key, energy, **QUICK, directory="a run")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert np.isfinite(tree["posterior"].to_dataset().to_dataarray()).all()
    tx.sample(key, energy, **QUICK, directory="~/another")
    assert_same(tree, tx.open_run("~/another"))
    assert (tmp_path / "another" / "run.json").exists()


def test_other_held_out_rows_units_or_names_are_another_run(key, small_data, tmp_path):
    def energy(shift=0.0, scale=1.0, names=None):
        x, y = small_data.x, small_data.y * scale
        held = small_data.x_test + shift, small_data.y_test
        return tx.Energy.mlp(tx.Dataset.from_arrays(x, y, *held, inputs=names), (2,))

    tx.sample(key, energy(), **QUICK, directory=tmp_path / "run")
    for other in (energy(shift=5.0), energy(scale=100.0), energy(names=["a", "b", "c"])):
        with pytest.raises(tx.InputError, match="data"):
            tx.sample(key, other, **(QUICK | {"num_draws": 40}), directory=tmp_path / "run", resume=True)
    assert tx.open_run(tmp_path / "run")["posterior"].sizes["draw"] == 20


def test_a_folder_that_moves_away_is_found_out_at_the_next_save(key, energy, tmp_path, monkeypatch):
    """Nothing appears in its place, and what was saved goes on from where it is now."""
    moved, saved = [], RunDirectory.save

    def save(self, *args, **kwargs):
        if len(moved) == 1:
            self.path.rename(tmp_path / "elsewhere")
        moved.append(None)
        return saved(self, *args, **kwargs)

    monkeypatch.setattr(RunDirectory, "save", save)
    monkeypatch.setattr("temperax.engine.engine.BLOCK_SECONDS", 1e-9)
    with pytest.raises(tx.StorageError, match="No such file"):
        tx.sample(key, energy, **QUICK, directory=tmp_path / "run", save_every=1e-6)
    assert not (tmp_path / "run").exists()
    monkeypatch.undo()
    tree = tx.sample(key, energy, **QUICK, directory=tmp_path / "elsewhere", resume=True)
    assert_same(tx.sample(key, energy, **QUICK), tree)
