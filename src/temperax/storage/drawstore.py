"""Draws on disk: a Zarr store that grows along ``draw``, is cut back after a kill, and is read lazily.

The store's root carries the number of draws that were written in full.  It is set after the arrays have grown and
before they are cut, so that whoever reads, or goes on after a SIGKILL, never sees half of an append.  Zarr replaces
each file by a rename, and an append never changes the draws that were counted before, so that a chunk with old and new
draws may be replaced under a reader.
"""

import re
import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from temperax.errors import InputError, check_count, short

#: The dimension that grows.
DRAW = "draw"
#: An attribute of groups that hold every second draw only, or every third, …: of those whose number it divides.
EVERY = "every"
#: A chunk holds about so many bytes and at most so many draws: an append rewrites the last chunk of every variable.
CHUNK_BYTES, CHUNK_DRAWS = 2**21, 4096
#: Attributes of the root: the number of whole draws, and variables by group in the order in which they came.
_COUNT, _LAYOUT = "_num_draws", "_layout"
_PLAIN = re.compile(r"\w[\w .+=-]*")


def check_name(argument: str, name: object) -> str:
    """Return a name that stays in its folder, or say that it would not.

    Raises
    ------
    InputError
        For anything but one plain name: ``..``, separators, hidden or empty names.
    """
    if not isinstance(name, str) or not _PLAIN.fullmatch(name):
        raise InputError(argument, name, "is not a plain name", "use letters, digits, '_', '-', '.' and spaces")
    return name


def count(path: Path) -> int:
    """Whole draws of a store, 0 if there is none.

    Raises
    ------
    InputError
        If the store is damaged.
    """
    return int(_root(path).attrs[_COUNT]) if path.exists() else 0


def append(path: Path, groups: Mapping[str, xr.Dataset]) -> None:
    """Append datasets along ``draw``; the first append makes the store, in one step.

    Parameters
    ----------
    path
        The store.
    groups
        Datasets by group, the same groups and variables in every append.  Along ``draw`` they hold numbers or bools,
        equally many draws each, or those that their attribute `EVERY` leaves of them; their ``draw`` coordinate is
        replaced by the position in the run.  What has no ``draw`` dimension is written by the first append alone.

    Raises
    ------
    InputError
        If the datasets do not fit each other or the store.
    OSError
        If the disk is full or read-only; the store keeps the draws it had.
    """
    root = _root(path, writing=True) if path.exists() else None
    start = 0 if root is None else int(root.attrs[_COUNT])
    num_new = _check(groups, start)
    if root is None:
        shutil.rmtree(partial := _partial(path), ignore_errors=True)
        try:
            _create(partial, groups, num_new)
            partial.rename(path)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)  # on a full disk it is in the way
            raise
        return
    arrays = _growing(root)
    _cut(arrays, start)  # what a killed append left behind
    new = {f"{group}/{name}": v for group, data in groups.items() for name, v in _numbered(data, start).items()}
    if set(new) != set(arrays):
        raise InputError(
            "groups", sorted(set(new) ^ set(arrays)), "do not match the store", "append the same variables"
        )
    for name, variable in new.items():
        array, every = arrays[name]
        _extend(array, name, variable, _held(start, every), _held(start + num_new, every))
    root.attrs.update({_COUNT: start + num_new})


def truncate(path: Path, num_draws: int) -> None:
    """Cut every variable back to ``num_draws`` draws; what a kill left behind goes too.

    Raises
    ------
    InputError
        If the store has fewer draws, or is damaged.
    """
    check_count("num_draws", num_draws, 0)
    if num_draws == 0:
        if path.exists():
            shutil.rmtree(partial := _partial(path), ignore_errors=True)
            path.rename(partial)
            shutil.rmtree(partial)
        return
    if num_draws > count(path):
        raise InputError("num_draws", num_draws, f"exceeds the {count(path)} draws of {path}", "start another run")
    root = _root(path, writing=True)
    root.attrs.update({_COUNT: num_draws})
    _cut(_growing(root), num_draws)
    for remnant in path.rglob("*.partial"):
        remnant.unlink(missing_ok=True)


def open_tree(path: Path, num_draws: int | None = None) -> xr.DataTree:
    """The whole draws, or the first ``num_draws`` of them; values are read from disk when they are asked for.

    Raises
    ------
    InputError
        If there are no such draws, or the store is damaged.  A chunk that is damaged or missing raises an error of
        Zarr's when it is read, and is never filled in.
    """
    total = count(path)
    num_draws = total if num_draws is None else check_count("num_draws", num_draws)
    if total == 0 or num_draws > total:
        raise InputError("num_draws", num_draws, f"exceeds the {total} draws of {path}", "wait for the next checkpoint")
    attributes = _root(path).attrs.asdict()
    try:
        tree = xr.DataTree.from_dict(
            {group: _open_group(path, group, names, num_draws) for group, names in attributes[_LAYOUT].items()}
        )
    except (KeyError, ValueError, FileNotFoundError) as error:
        raise InputError("directory", str(path), f"is damaged ({short(error)})", "start another run") from error
    tree.attrs = {name: value for name, value in attributes.items() if name not in (_COUNT, _LAYOUT)}
    return tree


# -- inside ----------------------------------------------------------------------------------------------------------


def _partial(path: Path) -> Path:
    """A store that is being made or removed."""
    return path.with_name(f"{path.name}.partial")


@contextmanager
def _zarr(reading: bool = False) -> Iterator[Any]:
    """Zarr, set up to open what arrays are opened inside."""
    import zarr

    # Chunks of zeros are written as well, so that one that is lost is told from them when it is read.
    settings = {"array.read_missing_chunks": False} if reading else {"array.write_empty_chunks": True}
    with warnings.catch_warnings(), zarr.config.set(settings):
        # Files that are being written, or were when the run was killed; what is lost is missed by name.
        warnings.filterwarnings("ignore", ".* is not recognized as a component", zarr.errors.ZarrUserWarning)
        yield zarr


def _root(path: Path, writing: bool = False) -> Any:
    """The store's root group."""
    try:
        with _zarr() as zarr:
            root = zarr.open_group(path, mode="r+" if writing else "r", zarr_format=3)
        if not isinstance(root.attrs.get(_COUNT), int):
            raise KeyError(_COUNT)
        return root
    except (KeyError, ValueError, TypeError, FileNotFoundError) as error:
        raise InputError(
            "directory", str(path), "is no store of draws, or a damaged one", "start another run"
        ) from error


def _open_group(path: Path, group: str, names: list[str], num_draws: int) -> xr.Dataset:
    """One group, cut before it becomes a dataset: in the middle of an append its variables differ in length."""
    with _zarr(reading=True):
        store = xr.backends.ZarrStore.open_group(path, "r", group=group, consolidated=False, zarr_format=3)
        variables, attributes = store.load()
    held = _held(num_draws, attributes.get(EVERY, 1))
    cut = {name: v.isel({DRAW: slice(held)}) if DRAW in v.dims else v for name, v in variables.items()}
    data = xr.decode_cf(xr.Dataset(cut, attrs=attributes), mask_and_scale=False, decode_times=False)
    return data[[*names, *data.coords]].drop_encoding()


def _held(num_draws: int, every: int) -> int:
    """How many of the first draws a group holds."""
    return -(-num_draws // every)


def _check(groups: Mapping[str, xr.Dataset], start: int) -> int:
    """Number of draws of the datasets."""
    lengths = {name: int(data.sizes[DRAW]) for name, data in groups.items() if DRAW in data.dims}
    every = {name: groups[name].attrs.get(EVERY, 1) for name in lengths}
    num_new = max((n for name, n in lengths.items() if every[name] == 1), default=-1)
    if lengths != {name: _held(start + num_new, k) - _held(start, k) for name, k in every.items()}:
        raise InputError("groups", lengths, "do not have equally many draws", "append one block of draws to all")
    for group, data in groups.items():
        for part in group.split("/"):
            check_name("groups", part)
        for name, variable in _numbered(data, 0).items():
            if variable.dtype.kind not in "biufc":
                raise InputError(f"{group}/{name}", variable.dtype, "is not a number", "append numbers and bools")
    return num_new


def _numbered(data: xr.Dataset, start: int) -> dict[str, xr.Variable]:
    """The variables along ``draw``, that coordinate among them."""
    if DRAW not in data.dims:
        return {}
    every = data.attrs.get(EVERY, 1)
    position = xr.Variable((DRAW,), every * (_held(start, every) + np.arange(data.sizes[DRAW], dtype=np.int64)))
    return {str(name): v for name, v in data.variables.items() if DRAW in v.dims} | {DRAW: position}


def _create(path: Path, groups: Mapping[str, xr.Dataset], num_draws: int) -> None:
    from zarr.codecs import ZstdCodec

    # `_FillValue` would make readers turn one value into NaN, and some types into others.
    for group, data in groups.items():
        data = data.assign_coords({DRAW: _numbered(data, 0)[DRAW]}) if DRAW in data.dims else data
        # Names that are objects would come back as a type that netCDF files cannot hold.
        data = data.assign_coords({name: c.astype(str) for name, c in data.coords.items() if c.dtype.kind in "OT"})
        data = data.drop_encoding()
        encoding: dict[Any, dict[str, Any]] = {
            name: {"_FillValue": None} if v.dtype.kind in "fc" else {} for name, v in data.variables.items()
        }
        for name, variable in _numbered(data, 0).items():
            encoding[name] |= {"chunks": _chunks(variable), "compressors": [ZstdCodec(level=0, checksum=True)]}
        data.to_zarr(
            path, group=group, mode="w", encoding=encoding, consolidated=False, zarr_format=3, write_empty_chunks=True
        )
    with _zarr() as zarr:
        layout = {group: [str(name) for name in data.data_vars] for group, data in groups.items()}
        zarr.open_group(path, mode="r+", zarr_format=3).attrs.update({_COUNT: num_draws, _LAYOUT: layout})


def _chunks(variable: xr.Variable) -> tuple[int, ...]:
    """All of a draw, and as many draws as make a file of sensible size."""
    others = {str(dim): max(size, 1) for dim, size in variable.sizes.items() if dim != DRAW}
    bytes_per_draw = variable.dtype.itemsize * int(np.prod(list(others.values())))
    draws = int(np.clip(CHUNK_BYTES // bytes_per_draw, 1, CHUNK_DRAWS))
    return tuple(others.get(str(dim), draws) for dim in variable.dims)


def _growing(root: Any) -> dict[str, tuple[Any, int]]:
    """The store's arrays along ``draw`` by path, each with `EVERY` of its group."""
    with _zarr() as zarr:
        members = dict(root.members(max_depth=None))
        arrays: dict[str, Any] = {path: node for path, node in members.items() if isinstance(node, zarr.Array)}
    growing = {path: array for path, array in arrays.items() if DRAW in (array.metadata.dimension_names or ())}
    return {path: (array, members[path.rpartition("/")[0]].attrs.get(EVERY, 1)) for path, array in growing.items()}


def _axis(array: Any) -> int:
    return array.metadata.dimension_names.index(DRAW)


def _cut(arrays: Mapping[str, tuple[Any, int]], num_draws: int) -> None:
    for name, (array, every) in arrays.items():
        axis, held = _axis(array), _held(num_draws, every)
        if array.shape[axis] < held:
            raise InputError(name, array.shape[axis], f"draws are there of {held}", "start another run")
        if array.shape[axis] > held:
            array.resize((*array.shape[:axis], held, *array.shape[axis + 1 :]))


def _extend(array: Any, name: str, variable: xr.Variable, start: int, end: int) -> None:
    variable = variable.transpose(*array.metadata.dimension_names)
    axis, shape = _axis(array), variable.shape
    expected = (*array.shape[:axis], end - start, *array.shape[axis + 1 :])
    if shape != expected or variable.dtype != array.dtype:
        found, wanted = f"{shape} {variable.dtype}", f"{expected} {array.dtype}"
        raise InputError(name, found, f"is not of the store's shape and type {wanted}", "append the same variables")
    if end == start:
        return
    array.resize((*shape[:axis], end, *shape[axis + 1 :]))
    array[(slice(None),) * axis + (slice(start, end),)] = variable.values
