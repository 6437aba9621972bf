"""What is on disk survives kills, full disks and damage, is read lazily, and executes nothing."""

import ast
import json
import os
import pickle
import resource
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import arviz as az
import arviz_stats
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
import zarr

import temperax as tx
from temperax.errors import InputError, StorageError
from temperax.storage import checkpoint, drawstore, rundir
from temperax.storage.rundir import RunDirectory

CONFIGURATION = {"version": "1.0", "data": "a" * 64, "arguments": {"num_chains": 4, "path": None, "betas": [0.0, 1.0]}}


class Inner(NamedTuple):
    scale: Any
    nothing: Any


class State(NamedTuple):
    key: Any
    inner: Inner
    rest: Any


def state(seed=0):
    rng = np.random.default_rng(seed)
    return State(
        key=np.asarray(jax.random.key_data(jax.random.key(seed))),
        inner=Inner(rng.normal(size=(2, 3)).astype(np.float32), None),
        rest=(
            (),
            [np.asarray(True), np.int32(seed), 3, 0.5],
            {"a/b": jnp.ones(2, jnp.bfloat16), "nan": np.array([np.nan, np.inf]), "none": np.zeros((0, 2), np.float16)},
        ),
    )


def assert_same(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        x, y = np.asarray(x), np.asarray(y)
        assert (x.dtype, x.shape, x.tobytes()) == (y.dtype, y.shape, y.tobytes())


def groups(num_draws, seed=0):
    rng = np.random.default_rng(seed)
    shape = (2, num_draws)
    posterior = {
        "weight": (("chain", "draw", "input"), rng.normal(size=(*shape, 3)).astype(np.float32)),
        "half": (("chain", "draw"), rng.normal(size=shape).astype(np.float16)),
        "double": (("chain", "draw"), np.where(rng.random(shape) < 0.3, np.nan, rng.random(shape))),
    }
    stats = {
        "diverging": (("chain", "draw"), rng.random(shape) < 0.5),
        "n_steps": (("draw", "chain", "temperature"), rng.integers(0, 9, (num_draws, 2, 2), dtype=np.int32)),
        "no_pair": (("chain", "draw", "pair"), np.zeros((*shape, 0), np.float32)),
        "fixed": (("temperature",), np.array([1.5, 2.5])),
    }
    temperature = {"temperature": [np.inf, 1.0], "beta": ("temperature", [0.0, 1.0])}
    return {
        "posterior": xr.Dataset(
            posterior, {"chain": [0, 1], "input": ["a", "long name", "ö"]}, {"made": "here", "n": 1}
        ),
        "sample_stats": xr.Dataset(stats, temperature),
        "observed_data": xr.Dataset({"y": (("row",), np.arange(4, dtype=np.uint32))}),
    }


def joined(*parts):
    """What a store should hold after appending parts."""
    how = {"data_vars": "minimal", "coords": "minimal", "compat": "override", "join": "override"}
    whole = {
        name: xr.concat([p[name] for p in parts], "draw", **how) if "draw" in first.dims else first
        for name, first in parts[0].items()
    }
    return {n: d.assign_coords(draw=np.arange(d.sizes["draw"])) if "draw" in d.dims else d for n, d in whole.items()}


def assert_holds(tree, expected):
    assert list(tree.children) == list(expected)
    for name, dataset in expected.items():
        found = tree[name].to_dataset()
        assert list(found.data_vars) == list(dataset.data_vars)
        for variable in dataset.variables:
            a, b = found[variable].transpose(*dataset[variable].dims), dataset[variable]
            assert a.dtype == b.dtype and a.values.tobytes() == b.values.tobytes(), variable
        xr.testing.assert_identical(found.drop_encoding(), dataset)


@pytest.fixture
def run(tmp_path):
    return RunDirectory.create(tmp_path / "run", CONFIGURATION)


# -- states ----------------------------------------------------------------------------------------------------------


def test_a_state_comes_back_bit_for_bit_and_quietly(run, capfd):
    assert run.restore() is None
    run.save(7, state(1), {"phase": "draws", "scale": float("nan")})
    found = run.restore()
    assert found.step == 7 and found.notes["phase"] == "draws" and found.notes["num_draws"] == 0
    assert_same(found.into(state(2)), jax.tree.map(np.asarray, state(1)))
    assert capfd.readouterr() == ("", "")


def test_shapes_may_change_from_one_checkpoint_to_the_next(run):
    run.save(0, {"x": np.zeros((8, 3))})
    run.save(1, {"x": np.zeros((11, 3))})
    assert run.restore().into({"x": 0})["x"].shape == (11, 3)


def test_a_state_without_arrays(run):
    run.save(0, None, {"phase": "done"})
    found = run.restore()
    assert found.into(None) is None and found.notes["phase"] == "done"


def test_another_structure_is_refused(run):
    run.save(0, {"x": 1.0, "y": 2.0})
    with pytest.raises(InputError, match="'z'"):
        run.restore().into({"x": 0, "z": 0})


@pytest.mark.parametrize("leaf", ["text", np.array([object()]), jax.random.key(0)], ids=["text", "object", "key"])
def test_what_is_no_number_is_refused(run, leaf):
    with pytest.raises(InputError, match=r"state\['a'\].*is no number"):
        run.save(0, {"a": leaf})
    assert run.restore() is None


def test_the_newest_two_are_kept_and_a_past_that_is_given_up_goes(run):
    folder = run.path / "checkpoints"
    for step in (1, 2, 10):
        run.save(step, state(step))
    assert checkpoint.steps(folder) == [10, 2]
    run.save(2, state(20))
    assert checkpoint.steps(folder) == [2]
    assert_same(run.restore().into(state()), jax.tree.map(np.asarray, state(20)))


def test_what_a_killed_save_left_is_ignored_and_goes(run):
    run.save(1, state(1))
    folder = run.path / "checkpoints"
    shutil.copytree(folder / "1", folder / "2.orbax-checkpoint-tmp")
    assert run.restore().step == 1
    run.save(2, state(2))
    assert sorted(p.name for p in folder.iterdir()) == ["1", "2"]


def truncate(file):
    file.write_bytes(file.read_bytes()[:-1])


def flip(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0x10
    file.write_bytes(content)


def empty(file):
    file.write_bytes(b"")


def add(file):
    file.with_name("stranger").write_bytes(b"")


@pytest.mark.parametrize("damage", [truncate, flip, empty, Path.unlink, add])
def test_damage_to_any_file_falls_back_and_says_so(tmp_path, run, damage, capfd):
    run.save(1, state(1))
    run.save(2, state(2))
    files = [p.relative_to(run.path) for p in (run.path / "checkpoints" / "2").rglob("*") if p.is_file()]
    assert len(files) > 8
    for i, file in enumerate(files):
        copy = tmp_path / f"copy{i}"
        shutil.copytree(run.path, copy)
        damage(copy / file)
        with pytest.warns(
            UserWarning, match=r"^checkpoint 2 in .* is damaged \(.+\), and checkpoint 1 is used instead"
        ):
            found = RunDirectory.open(copy).restore()
        assert_same(found.into(state()), jax.tree.map(np.asarray, state(1)))
    assert capfd.readouterr() == ("", "")


def test_a_checkpoint_that_is_another_is_damaged(run):
    run.save(1, state(1))
    run.save(2, state(2))
    folder = run.path / "checkpoints"
    shutil.rmtree(folder / "2")
    shutil.copytree(folder / "1", folder / "2")
    with pytest.warns(UserWarning, match=r"damaged \(it is that of step 1\), and checkpoint 1 is used"):
        assert run.restore().step == 1
    run.save(2, state(3))  # goes on from 1
    assert run.restore().step == 2


def test_a_damaged_checkpoint_does_not_count_among_the_two(run):
    for step in (1, 2):
        run.save(step, state(step))
    flip(next((run.path / "checkpoints" / "2" / "state" / "d").iterdir()))
    run.save(3, state(3))
    assert checkpoint.steps(run.path / "checkpoints") == [3, 1]


def test_no_whole_checkpoint_is_an_error(run):
    for step in (1, 2):
        run.save(step, state(step))
    for step in (1, 2):
        flip(run.path / "checkpoints" / str(step) / "about" / "metadata")
    with pytest.raises(InputError, match=r"no whole checkpoint \(damaged: 2, 1;.*start another run"):
        run.restore()


# -- the folder ------------------------------------------------------------------------------------------------------


def test_a_run_carries_its_configuration(run):
    again = RunDirectory.open(run.path)
    assert again.configuration == CONFIGURATION
    again.check({**CONFIGURATION, "arguments": {"betas": (0, 1), "path": None, "num_chains": 4}})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"data": "b" * 64}, r"^data = 'b+' is not what the run in '.*' has \('a+'\); resume with the same"),
        ({"version": "1.1"}, r"^version = '1.1' is not what .* has \('1.0'\)"),
        ({"arguments": {**CONFIGURATION["arguments"], "num_chains": 8}}, r"^arguments.num_chains = 8 .*\(4\)"),
        ({"extra": 1}, r"^extra = 1 .*\('\(absent\)'\)"),
    ],
)
def test_another_configuration_is_refused_by_name(run, change, said):
    with pytest.raises(InputError, match=said):
        run.check(CONFIGURATION | change)


def test_a_folder_with_a_run_is_not_used_again(run):
    with pytest.raises(InputError, match=r"holds a run \(run.json\); resume it"):
        RunDirectory.create(run.path, CONFIGURATION)


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(InputError, match="cannot be written .*; choose another folder"):
            RunDirectory.create(path, CONFIGURATION)
    with pytest.raises(InputError, match="holds no run"):
        RunDirectory.open(tmp_path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "damaged run.json"),
        ("garbage", "damaged run.json"),
        ("[]", "damaged run.json"),
        ('{"format": 1}', "damaged run.json"),
        ('{"format": 1, "configuration": {}, "digest": ""}', "damaged run.json"),
        ('{"format": 99, "configuration": {}}', "layout 99, not 1; use the version that wrote it"),
    ],
)
def test_a_damaged_or_newer_run_json_is_refused(run, content, said):
    (run.path / "run.json").write_text(content)
    with pytest.raises(InputError, match=said):
        RunDirectory.open(run.path)


def test_a_changed_byte_of_run_json_is_seen(run):
    file = run.path / "run.json"
    file.write_text(file.read_text().replace('"num_chains": 4', '"num_chains": 5'))
    with pytest.raises(InputError, match="damaged run.json"):
        RunDirectory.open(run.path)


@pytest.mark.parametrize("name", ["..", ".", "", "../other", "/tmp", "a\\b", ".hidden", "a\0", "C:"])
def test_names_of_groups_stay_in_their_folder(run, name):
    with pytest.raises(InputError, match="is not a plain name"):
        run.append({name: groups(2)["posterior"]})
    assert run.num_draws == 0


# -- draws -----------------------------------------------------------------------------------------------------------


def test_appended_draws_are_the_whole(run, monkeypatch):
    monkeypatch.setattr(drawstore, "CHUNK_DRAWS", 4)  # so that appends begin and end within chunks and between them
    parts = [groups(n, seed=n) for n in (3, 1, 6, 4)]
    for part in parts:
        run.append(part)
    assert run.num_draws == 14
    assert_holds(run.tree(), joined(*parts))
    cut = {n: d.isel(draw=slice(5)) if "draw" in d.dims else d for n, d in joined(*parts).items()}
    assert_holds(run.tree(5), cut)
    for bad in (0, 15):
        with pytest.raises(InputError, match="num_draws"):
            run.tree(bad)


def test_names_that_are_objects_become_text(run, tmp_path):
    names = {"input": np.array(["a", "long name"], object), "also": ("input", np.array(["ä", "b"], object))}
    run.append({"posterior": xr.Dataset({"w": (("chain", "draw", "input"), np.ones((2, 3, 2)))}, names)})
    found = run.tree()
    assert found["posterior"]["input"].dtype == "<U9" and found["posterior"]["also"].values.tolist() == ["ä", "b"]
    found.to_netcdf(tmp_path / "tree.nc")


def test_small_appends_share_files(run):
    for seed in range(20):
        run.append(groups(2, seed))
    assert len(list((run.path / "draws.zarr" / "posterior" / "weight" / "c").rglob("*"))) <= 4


def test_draws_that_do_not_fit_are_refused(run):
    run.append(groups(3))
    wrong = groups(3)
    wrong["sample_stats"] = wrong["sample_stats"].isel(draw=slice(2))
    with pytest.raises(InputError, match="equally many draws"):
        run.append(wrong)
    wrong = groups(3)
    wrong["posterior"]["half"] = wrong["posterior"]["half"].astype(np.float64)
    with pytest.raises(InputError, match="posterior/half = .*not of the store's shape and type"):
        run.append(wrong)
    wrong = groups(3)
    with pytest.raises(InputError, match="posterior/half.*do not match the store"):
        run.append(wrong | {"posterior": wrong["posterior"].drop_vars("half")})
    with pytest.raises(InputError, match="is not a number"):
        run.append({"a": xr.Dataset({"when": (("draw",), np.array(["x"]))})})
    assert_holds(run.tree(), joined(groups(3)))


def test_a_group_may_hold_every_third_draw(run):
    whole = groups(12)["posterior"].assign_coords(draw=np.arange(12))
    some = whole[["double"]].isel(draw=slice(0, 12, 3)).assign_attrs(every=3)

    def part(start, end):
        chosen = some.isel(draw=[n for n in range(4) if start <= 3 * n < end])
        return {"posterior": whole.isel(draw=slice(start, end)), "some": chosen}

    for start, end in ((0, 4), (4, 6), (6, 12)):  # the second has none of them
        run.append(part(start, end))
        assert_holds(run.tree(), part(0, end))
    run.truncate(4)
    assert_holds(run.tree(), part(0, 4))
    with pytest.raises(InputError, match="equally many draws"):
        run.append(part(4, 7) | {"some": some.isel(draw=[2, 3])})
    run.append(part(4, 12))
    assert_holds(run.tree(), part(0, 12))


def grow_some(store):
    """What a kill in the middle of an append leaves: arrays of different lengths, a file half written."""
    root = zarr.open_group(store, mode="r+")
    root["posterior/half"].append(np.ones((2, 3), np.float16), axis=1)
    root["sample_stats/n_steps"].resize((9, 2, 2))
    root["posterior/draw"].resize((50,))
    for name in ("posterior/zarr.0123.partial", "posterior/weight/c/0/0/0.0123.partial", "zarr.0123.partial"):
        (store / name).write_bytes(b"{")


def test_a_kill_within_an_append_leaves_the_draws_before_it(run):
    parts = [groups(n, seed=n) for n in (4, 3, 5)]
    run.append(parts[0])
    grow_some(run.path / "draws.zarr")
    assert_holds(run.tree(), joined(parts[0]))  # a reader sees whole draws
    run.append(parts[1])
    assert_holds(run.tree(), joined(*parts[:2]))
    grow_some(run.path / "draws.zarr")
    run.truncate(4)
    arrays = dict(zarr.open_group(run.path / "draws.zarr", mode="r").members(max_depth=None))
    lengths = {a.shape[a.metadata.dimension_names.index("draw")] for n, a in arrays.items() if _grows(a)}
    assert lengths == {4} and not list(run.path.rglob("*.partial"))
    for part in parts[1:]:
        run.append(part)
    assert_holds(run.tree(), joined(*parts))


def _grows(node):
    return isinstance(node, zarr.Array) and "draw" in node.metadata.dimension_names


def test_a_kill_within_the_first_append_leaves_nothing(run):
    run.append(groups(2, seed=9))
    store = run.path / "draws.zarr"
    shutil.rmtree(store / "sample_stats")
    store.rename(run.path / "draws.zarr.partial")
    assert run.num_draws == 0
    with pytest.raises(InputError, match="exceeds the 0 draws"):
        run.tree()
    run.truncate(0)
    run.append(groups(3))
    assert_holds(run.tree(), joined(groups(3)))
    assert sorted(p.name for p in run.path.iterdir()) == ["draws.zarr", "run.json"]


def test_truncating(run):
    run.truncate(0)
    with pytest.raises(InputError, match="num_draws = 1 exceeds the 0 draws"):
        run.truncate(1)
    run.append(groups(5))
    with pytest.raises(InputError, match="num_draws = 6 exceeds the 5 draws"):
        run.truncate(6)
    run.truncate(5)
    run.truncate(0)
    assert run.num_draws == 0 and not (run.path / "draws.zarr").exists()


def test_a_checkpoint_counts_the_draws_it_belongs_to(run):
    run.append(groups(5))
    run.save(1, state())
    run.append(groups(2))
    assert run.restore().notes["num_draws"] == 5 and run.num_draws == 7


def test_values_are_read_when_they_are_asked_for(run):
    run.append(groups(5))
    tree = run.tree(3)
    for node in tree.subtree:
        for name, variable in node.dataset.variables.items():
            assert not variable._in_memory or name in node.dataset.indexes, name
    tree["posterior"]["weight"].mean().compute()
    assert not tree["posterior"].dataset.variables["half"]._in_memory


@pytest.mark.parametrize("damage", [flip, Path.unlink])
def test_a_damaged_or_lost_chunk_is_never_read_as_draws(run, damage):
    block = groups(5)
    block["sample_stats"]["diverging"][:] = False  # the value that Zarr fills in
    run.append(block)
    run.append(block)
    for name in ("posterior/weight/c/0/0/0", "sample_stats/diverging/c/0/0"):
        damage(run.path / "draws.zarr" / name)
    tree = run.tree()
    for group, name in (("posterior", "weight"), ("sample_stats", "diverging")):
        with pytest.raises((RuntimeError, ValueError), match="checksum|not found|Zstd"):
            tree[group][name].load()
    tree["posterior"]["half"].load()


@pytest.mark.parametrize("name", ["zarr.json", "posterior/zarr.json", "posterior/weight/zarr.json"])
@pytest.mark.parametrize("damage", [empty, truncate, Path.unlink])
def test_a_damaged_store_is_an_error_of_one_sentence(run, name, damage):
    run.append(groups(5))
    damage(run.path / "draws.zarr" / name)
    with pytest.raises(InputError, match="damaged"):
        run.tree()


def test_the_tree_is_arvizs(run, tmp_path):
    for seed in range(5):
        run.append(groups(40, seed) | {"posterior": groups(40, seed)["posterior"].drop_vars("double")})
    tree = run.tree()
    assert tree.attrs == {}, "the store's own attributes stay its own"
    tree.attrs = {"inference_library": "temperax", "timings": json.dumps({"draws": 1.0}), "interrupted": 0}
    assert len(az.summary(tree, var_names=["weight", "half"])) == 4
    assert float(arviz_stats.ess(tree)["weight"].min()) > 100
    tree.to_netcdf(tmp_path / "tree.nc")
    again = xr.load_datatree(tmp_path / "tree.nc")
    assert again.attrs == tree.attrs
    np.testing.assert_array_equal(again["posterior"]["weight"], tree["posterior"]["weight"])


# -- trouble ---------------------------------------------------------------------------------------------------------


def big(num_draws):
    return {"posterior": xr.Dataset({"w": (("draw", "p"), np.random.default_rng(0).random((num_draws, 5000)))})}


def resize(disk, size):
    subprocess.run(["mount", "-o", f"remount,size={size}", disk], check=True)


def assert_the_run_goes_on(run, saved):
    """After trouble: the checkpoint and its draws are there, and appending goes on."""
    found = RunDirectory.open(run.path).restore()
    assert_same(found.into(saved), saved)
    run.truncate(found.notes["num_draws"])
    expected = big(2)["posterior"].assign_coords(draw=[0, 1])
    xr.testing.assert_equal(run.tree()["posterior"].to_dataset(), expected)
    run.append(big(1))
    run.save(5, saved)
    assert run.num_draws == 3 and run.restore().step == 5


def fill_up(run, saved):
    run.append(big(2))
    run.save(1, saved)
    run.append(big(1))
    said = (
        r"directory = .* cannot be written any more \(.*\); free space .*: "
        r"its 2 draws up to the last checkpoint are safe\.$"
    )
    with pytest.raises(StorageError, match=said) as caught:
        run.append(big(100))
    with pytest.raises(StorageError, match=said):
        run.save(2, {"x": np.random.default_rng(1).random(500_000)})
    with pytest.raises(StorageError, match=said):
        run.save(2, saved, {"long": "x" * 3_000_000})
    assert run.num_draws == 3
    return str(caught.value)


def test_a_full_disk(disk, capfd):
    resize(disk, "2m")
    run, saved = RunDirectory.create(disk / "run", CONFIGURATION), {"x": np.arange(3.0)}
    assert "No space left on device" in fill_up(run, saved)
    resize(disk, "20m")
    assert_the_run_goes_on(run, saved)
    assert capfd.readouterr() == ("", "")


def test_a_limit_on_files(run, capfd):
    limits, saved = resource.getrlimit(resource.RLIMIT_FSIZE), {"x": np.arange(3.0)}
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, limits[1]))
    try:
        assert "File too large" in fill_up(run, saved)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert_the_run_goes_on(run, saved)
    assert capfd.readouterr() == ("", "")


def test_a_folder_that_becomes_read_only(disk, capfd):
    run, saved = RunDirectory.create(disk / "run", CONFIGURATION), {"x": np.arange(3.0)}
    run.append(big(2))
    run.save(1, saved)
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    for action in (
        lambda: run.append(big(1)),
        lambda: run.save(2, saved),
        lambda: run.truncate(1),
        lambda: run.truncate(0),
    ):
        with pytest.raises(StorageError, match=r"\(Read-only file system\).* its 2 draws .* are safe"):
            action()
    with pytest.raises(InputError, match=r"cannot be written \(Read-only file system\); choose another folder"):
        RunDirectory.create(disk / "other", CONFIGURATION)
    assert run.restore().step == 1 and run.tree()["posterior"]["w"].shape == (2, 5000)
    subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
    assert_the_run_goes_on(run, saved)
    assert capfd.readouterr() == ("", "")


# -- nothing is executed ---------------------------------------------------------------------------------------------


class Trap:
    def __init__(self, file):
        self.file = str(file)

    def __reduce__(self):
        return (open, (self.file, "w"))


def test_a_pickle_in_place_of_any_file_is_not_run(tmp_path, run):
    sprung = tmp_path / "sprung"
    run.append({"posterior": groups(2)["posterior"][["half"]]})
    run.save(1, state(1))
    trap = pickle.dumps(Trap(sprung))
    pickle.loads(trap).close()
    sprung.unlink()  # the trap works
    (run.path / "checkpoints" / "1" / "state" / "checkpoint").write_bytes(trap)
    for i, file in enumerate(sorted(p for p in run.path.rglob("*") if p.is_file())):
        copy = tmp_path / f"copy{i}"
        shutil.copytree(run.path, copy)
        (copy / file.relative_to(run.path)).write_bytes(trap)
        saved = copy / "checkpoints" / "1"
        with suppress(InputError, ValueError, RuntimeError):
            again = RunDirectory.open(copy)
            if saved in (copy / file.relative_to(run.path)).parents:
                checkpoint._seal(saved)  # as whoever sets a trap would do, so that Orbax gets to see it
                again.restore()
            else:
                again.tree().load()
        assert not sprung.exists(), file


def test_a_store_of_the_older_format_whose_codecs_include_pickle_is_refused(run):
    zarr.open_group(run.path / "draws.zarr", mode="w", zarr_format=2).attrs["_num_draws"] = 1
    with pytest.raises(InputError, match="no store of draws"):
        run.tree()


def test_nothing_is_unpickled(run, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("unpickled")

    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    run.append(groups(2))
    run.save(1, state(1))
    again = RunDirectory.open(run.path)
    again.restore()
    again.tree().load()
    for module in (checkpoint, drawstore, rundir):
        imported = {a.name for n in ast.walk(ast.parse(Path(module.__file__).read_text())) if isinstance(n, ast.Import) for a in n.names}  # fmt: skip  # noqa: E501
        assert not imported & {"pickle", "dill", "cloudpickle", "marshal", "shelve"}


# -- other processes -------------------------------------------------------------------------------------------------


def python(code, *arguments):
    """A process of its own, which sees this temperax."""
    path = os.pathsep.join([str(Path(tx.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code), *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": path, "JAX_PLATFORMS": "cpu"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


WALK = """
import os, random, signal, sys, time, warnings
import numpy as np, xarray as xr
import orbax.checkpoint, zarr  # once for all children
from temperax.storage.rundir import RunDirectory

def step(state):
    rng = np.random.default_rng(int(state["key"]))
    x = state["x"] + rng.normal(size=(2, 7, 50))
    block = {"posterior": xr.Dataset({"x": (("chain", "draw", "p"), x), "b": (("draw",), x[0, :, 0] > 0)})}
    return {"key": state["key"] + np.uint32(1), "x": x[:, -1:]}, block

def start():
    return {"key": np.uint32(0), "x": np.zeros((2, 1, 50))}

def walk(path, steps):
    run = RunDirectory.open(path)
    found = run.restore()
    state, now = (start(), 0) if found is None else (found.into(start()), found.step)
    run.truncate(0 if found is None else found.notes["num_draws"])
    while now < steps:
        state, block = step(state)
        run.append(block)
        now += 1
        if now % 3 == 0 or now == steps:
            run.save(now, state)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("kills", "steps"), [(2, 30), (10, 200)])
def test_kills_change_nothing(tmp_path, kills, steps):
    code = f"""
    {textwrap.indent(WALK, "    ").strip()}

    def child(path, steps):
        pid = os.fork()
        if pid == 0:
            try:
                walk(path, steps)
                os._exit(0)
            except BaseException as error:
                print(repr(error), flush=True)
                os._exit(1)
        return pid

    warnings.filterwarnings("ignore", "os.fork", RuntimeWarning)
    path, kills, steps = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    RunDirectory.create(path, {{}})
    random.seed(1)
    for _ in range(kills):
        pid = child(path, steps)
        time.sleep(random.uniform(0.3, 0.9))
        os.kill(pid, signal.SIGKILL)
        print(os.waitpid(pid, 0)[1], flush=True)
    print(os.waitpid(child(path, steps), 0)[1])
    """
    done = python(code, tmp_path / "run", kills, steps)
    ends = [int(line) for line in done.communicate()[0].split()]
    assert len(ends) == kills + 1 and ends[-1] == 0 and set(ends) <= {0, signal.SIGKILL}
    assert signal.SIGKILL in ends
    scope: dict[str, Any] = {}
    exec(WALK, scope)
    now, blocks = scope["start"](), []
    for _ in range(steps):
        now, block = scope["step"](now)
        blocks.append(block["posterior"])
    run = RunDirectory.open(tmp_path / "run")
    expected = xr.concat(blocks, "draw").assign_coords(draw=np.arange(7 * steps))
    xr.testing.assert_identical(run.tree()["posterior"].to_dataset().drop_encoding(), expected)
    assert_same(run.restore().into(now), jax.tree.map(np.asarray, now))


@pytest.mark.slow
def test_a_run_is_read_while_another_process_appends(tmp_path):
    run = RunDirectory.create(tmp_path / "run", {})
    writer = python(WALK + "walk(sys.argv[1], 50)", run.path)
    seen = set()
    while writer.poll() is None:
        if run.num_draws:
            found = run.tree()["posterior"].to_dataset().load()
            assert np.abs(np.diff(found["x"].values, axis=1)[:, ::7]).max() < 20 and (found["x"] != 0).all()
            assert found["draw"].values.tolist() == list(range(found.sizes["draw"])) and found.sizes["draw"] % 7 == 0
            seen.add(found.sizes["draw"])
    assert writer.communicate()[0] == "" and writer.returncode == 0 and len(seen) > 3


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("hold", [False, True])
def test_memory_does_not_grow_with_the_draws(tmp_path, hold):
    """104 MiB of draws are written, and read in part; a process that holds them all the same grows."""
    code = r"""
    import re, sys
    from pathlib import Path
    import numpy as np, xarray as xr
    from temperax.storage.rundir import RunDirectory

    # Of this process alone: what `getrusage` says is at least what its parent had resident when it began.
    peak = lambda: int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) // 1024
    run, rng, held = RunDirectory.create(sys.argv[1], {}), np.random.default_rng(0), []
    for i in range(110):
        draws = xr.Dataset({"x": (("chain", "draw", "p"), rng.random((1, 25, 5000)))})
        run.append({"posterior": draws})
        if sys.argv[2] == "True":
            held.append(draws)
        if i % 20 == 19:
            run.save(i, {"x": np.zeros(1000)})
        if i == 20:
            before = peak()
    x = run.tree()["posterior"]["x"]
    print(x.nbytes // 2**20, float(x[0, 2222].mean()) > 0, peak() - before < 40)
    """
    done = python(code, tmp_path / "run", hold)
    assert done.communicate()[0] == f"104 True {not hold}\n"


@pytest.mark.slow
def test_one_process_of_two_saves_alone(tmp_path):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    code = """
    import sys, jax, numpy as np
    path, port, index = sys.argv[1], sys.argv[2], int(sys.argv[3])
    jax.distributed.initialize(f"localhost:{port}", 2, index)
    from jax._src import distributed
    from temperax.storage.rundir import RunDirectory
    assert (jax.process_count(), jax.process_index()) == (2, index)
    if index == 0:
        run = RunDirectory.create(path, {})
        for step in range(3):
            run.save(step, {"x": np.full(3, step), "y": jax.numpy.ones(2)})
        assert run.restore().into({"x": 0, "y": 0})["x"].tolist() == [2, 2, 2]
    distributed.global_state.client.wait_at_barrier("end", 60_000)
    print("done", index)
    """
    processes = [python(code, tmp_path / "run", port, index) for index in (1, 0)]
    for process, index in zip(processes, (1, 0), strict=True):
        assert process.communicate(timeout=120)[0].endswith(f"done {index}\n")
