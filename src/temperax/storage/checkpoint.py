"""Checkpoints: complete states in Orbax, the newest two of them, with digests that tell whether they are whole.

A state is any pytree of numbers; it is stored leaf by leaf under its own names, with notes in JSON.  Everything is
written to a folder beside and renamed at last, so that a kill leaves the checkpoints before; nothing that is read is
ever executed.
"""

import hashlib
import json
import logging
import os
import shutil
import sys
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from temperax.errors import InputError, check_count

#: Checkpoints that are kept.
KEEP = 2
#: The digests of a checkpoint's files.
_SEAL = "digests.json"


@dataclass(frozen=True)
class Checkpoint:
    """A state as it was saved.

    Attributes
    ----------
    step
        Its number.
    leaves
        Arrays by their path in the pytree, as `jax.tree_util.keystr` writes it.
    notes
        What was noted with it.
    """

    step: int
    leaves: dict[str, np.ndarray]
    notes: dict[str, Any]

    def into(self, like: Any) -> Any:
        """The state as a pytree with the structure of ``like``, whose leaves are not looked at.

        Raises
        ------
        InputError
            If ``like`` has other leaves than were saved.
        """
        paths, structure = jax.tree_util.tree_flatten_with_path(like)
        names = [jax.tree_util.keystr(path) for path, _ in paths]
        if names != list(self.leaves):
            other = sorted(set(names) ^ set(self.leaves))
            raise InputError(
                "like", other, "are not in both, the state and the checkpoint", "use the version that wrote it"
            )
        return jax.tree.unflatten(structure, self.leaves.values())


def save(folder: Path, step: int, state: Any, notes: Mapping[str, Any]) -> None:
    """Write a checkpoint; when this returns it is whole, and the newest two that are whole are kept.

    Parameters
    ----------
    folder
        Where all checkpoints of a run are.
    step
        The checkpoint's number, higher than those before; what has the same or a higher one is of a past that is given
        up, and goes.
    state
        A pytree of arrays and numbers, on the host; keys as `jax.random.key_data`.
    notes
        Anything that JSON can hold.

    Raises
    ------
    InputError
        If a leaf is no number.
    OSError, ValueError
        Of the system or of Orbax, if the disk is full or read-only; the checkpoints before are still there.
    """
    check_count("step", step, 0)
    leaves = {jax.tree_util.keystr(p): _host(p, leaf) for p, leaf in jax.tree_util.tree_flatten_with_path(state)[0]}
    about: dict[str, Any] = {
        "step": step,
        "notes": json.loads(json.dumps(dict(notes))),
        "leaves": {name: [str(leaf.dtype), list(leaf.shape)] for name, leaf in leaves.items()},
    }
    import orbax.checkpoint as ocp

    arrays = {key: leaf for key, leaf in zip(_keys(about), leaves.values(), strict=True) if leaf.size}
    # Orbax refuses arrays without elements, and trees without arrays.
    items = {"state": ocp.args.PyTreeSave(arrays or {"empty": np.zeros(1)}), "about": ocp.args.JsonSave(about)}
    folder.mkdir(exist_ok=True)
    _clear(folder)
    saving, final = folder / f"{step}.saving", folder / str(step)
    try:
        with _orbax() as checkpointer:
            checkpointer.save(saving.absolute(), args=ocp.args.Composite(**items))
        _seal(saving)
    except BaseException:
        _clear(folder)  # on a full disk the half that was written is in the way
        raise
    if final.exists():
        final.rename(folder / f"{step}.old")
    saving.rename(final)
    kept = [s for s in steps(folder) if s <= step and not _damage(folder / str(s))][:KEEP]
    for old in set(steps(folder)) - set(kept):
        (folder / str(old)).rename(folder / f"{old}.old")
    sync(folder)
    _clear(folder)


def restore(folder: Path) -> Checkpoint | None:
    """The newest checkpoint that is whole, or None if there is none; nothing on disk is changed.

    Warns of every newer one that is damaged.

    Raises
    ------
    InputError
        If there are checkpoints and none is whole.
    """
    damage: list[tuple[int, str]] = []
    for step in steps(folder):
        try:
            found = _read(folder / str(step))
        except Exception as error:  # whatever a damaged file makes its reader raise
            if not (folder / str(step)).exists():  # the run goes on, and has newer ones by now
                return restore(folder)
            why = str(error) if type(error) is ValueError else f"{type(error).__name__}: {error}"
            damage.append((step, " ".join(why.split())[:120]))
            continue
        for damaged, why in damage:
            warnings.warn(
                f"checkpoint {damaged} in {folder} is damaged ({why}), and checkpoint {step} is used instead.",
                stacklevel=2,
            )
        return found
    if damage:
        numbers = ", ".join(str(step) for step, _ in damage)
        raise InputError(
            "directory",
            str(folder),
            f"has no whole checkpoint (damaged: {numbers}; {damage[0][1]})",
            "start another run",
        )
    return None


def steps(folder: Path) -> list[int]:
    """Numbers of the checkpoints, newest first; what a killed save left is none."""
    if not folder.is_dir():
        return []
    return sorted((int(p.name) for p in folder.iterdir() if p.name.isdecimal() and p.is_dir()), reverse=True)


def notes(folder: Path, step: int) -> dict[str, Any]:
    """What was noted with a checkpoint, from its text alone: it need not be whole."""
    return json.loads((folder / str(step) / "about" / "metadata").read_text())["notes"]


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, would survive a power failure."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# -- inside ----------------------------------------------------------------------------------------------------------


def _host(path: Any, leaf: Any) -> np.ndarray:
    """A leaf as an array on the host, in the machine's byte order."""
    dtype = getattr(leaf, "dtype", None)
    if not (dtype is not None and jax.dtypes.issubdtype(dtype, jax.dtypes.extended)):
        array = np.asarray(leaf)
        if array.dtype == bool or jnp.issubdtype(array.dtype, np.number):
            return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))
    raise InputError(f"state{jax.tree_util.keystr(path)}", leaf, "is no number", "save numbers, and keys as key_data")


def _keys(about: Mapping[str, Any]) -> list[str]:
    """Names for Orbax, which takes "/" for a folder."""
    return [f"{i}{name.replace('/', '|')}" for i, name in enumerate(about["leaves"])]


def _seal(path: Path) -> None:
    """Bring all files of a checkpoint to the disk, and write down what each of them is."""
    (path / _SEAL).write_text(json.dumps(_digests(path)))
    for found in (*path.rglob("*"), path):
        sync(found)


def _digests(path: Path) -> dict[str, str]:
    """SHA-256 of every file of a checkpoint."""
    files = sorted(p for p in path.rglob("*") if p.is_file() and p != path / _SEAL)
    return {str(p.relative_to(path).as_posix()): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def _damage(path: Path) -> str:
    """What is wrong with the files of a checkpoint, or nothing."""
    try:
        sealed = json.loads((path / _SEAL).read_text())
        found = _digests(path)
        changed = sorted(name for name in {*sealed, *found} if sealed.get(name) != found.get(name))
    except (OSError, ValueError, AttributeError, TypeError):
        return f"{_SEAL} cannot be read"
    return f"{changed[0]} is {'not what was written' if changed[0] in found else 'missing'}" if changed else ""


def _read(path: Path) -> Checkpoint:
    """One checkpoint, or any exception if it is not whole."""
    import orbax.checkpoint as ocp

    if why := _damage(path):  # before Orbax opens anything: it would be in the middle of reading when it finds out
        raise ValueError(why)
    arguments = ocp.args.Composite(state=ocp.args.PyTreeRestore(), about=ocp.args.JsonRestore())
    with _orbax() as checkpointer:
        restored = checkpointer.restore(path.absolute(), args=arguments)
    about, arrays = restored.about, restored.state
    if about["step"] != int(path.name):
        raise ValueError(f"it is that of step {about['step']}")
    leaves = {}
    for key, (name, (dtype, shape)) in zip(_keys(about), about["leaves"].items(), strict=True):
        leaves[name] = np.asarray(arrays[key]) if np.prod(shape) else np.zeros(shape, dtype)
        if [str(leaves[name].dtype), list(leaves[name].shape)] != [dtype, shape]:
            raise ValueError(f"{name} is not of the type and shape that were saved")
    return Checkpoint(about["step"], leaves, about["notes"])


@contextmanager
def _orbax() -> Iterator[Any]:
    """Orbax's checkpointer, for this process alone and without a word on the terminal.

    In a run of several processes, none of them waits for the others here: the first writes, and all may read.
    """
    import orbax.checkpoint as ocp

    me = jax.process_index()  # all processes read, each for itself
    prefix = f"temperax{me}"
    alone = ocp.options.MultiprocessingOptions(primary_host=me, active_processes={me}, barrier_sync_key_prefix=prefix)
    handler = ocp.CompositeCheckpointHandler(
        composite_options=ocp.CompositeOptions(multiprocessing_options=alone),
        state=ocp.PyTreeCheckpointHandler(multiprocessing_options=alone),
        about=ocp.JsonCheckpointHandler(multiprocessing_options=alone),
    )
    log, hook = logging.getLogger("absl"), sys.unraisablehook

    def unless_closed(unraisable: Any) -> None:
        if "Event loop is closed" not in str(unraisable.exc_value):
            hook(unraisable)

    log.addFilter(_not_orbax)
    sys.unraisablehook = unless_closed
    try:
        with ocp.Checkpointer(handler, multiprocessing_options=alone) as checkpointer:
            yield checkpointer
    except Exception:
        time.sleep(0.1)  # Orbax leaves after the first array that fails; the others fail now, and find nobody to tell
        raise
    finally:
        sys.unraisablehook = hook
        log.removeFilter(_not_orbax)


def _not_orbax(record: logging.LogRecord) -> bool:
    return "orbax" not in record.pathname


def _clear(folder: Path) -> None:
    """Remove what is no checkpoint: killed saves and old ones."""
    for path in folder.iterdir():
        if path.is_dir() and not path.name.isdecimal():
            shutil.rmtree(path, ignore_errors=True)
