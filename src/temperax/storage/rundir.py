"""Run directories: a run's configuration, its checkpoints and its draws, from which it is resumed after any end.

``run.json`` says what was run, ``checkpoints/`` holds the newest two states (`temperax.storage.checkpoint`), and
``draws.zarr`` the draws so far (`temperax.storage.drawstore`).  A kill at any moment loses what came after the last
checkpoint and nothing else: restore, cut the draws back to the checkpoint's number, and go on.
"""

import errno
import hashlib
import json
import os
import platform
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xarray as xr
from filelock import BaseFileLock, FileLock, Timeout

from temperax.errors import InputError, StorageError, short
from temperax.storage import checkpoint, drawstore
from temperax.storage.checkpoint import Checkpoint

#: Version of the layout of a run directory.
FORMAT = 1
_FILE = "run.json"
#: How tensorstore, which Orbax writes with, passes on what the system said.
_SYSTEM = re.compile(r"os_error_code='(\d+)'")


@dataclass(frozen=True)
class RunDirectory:
    """A folder that a run is written to and resumed from.

    Attributes
    ----------
    path
        The folder.
    configuration
        What determines the run, as JSON holds it.
    """

    path: Path
    configuration: dict[str, Any]

    def __repr__(self) -> str:
        """What was run, and where it is."""
        return f"RunDirectory({str(self.path)!r}, {self.configuration.get('function', 'a run')})"

    @classmethod
    def create(cls, path: str | os.PathLike, configuration: Mapping[str, Any]) -> "RunDirectory":
        """Make the folder for a new run.

        Raises
        ------
        InputError
            If it holds a run, is a file, or cannot be written.
        """
        path = place(path)
        for name in (_FILE, "checkpoints", "draws.zarr"):
            if (path / name).exists():
                raise InputError("directory", str(path), f"holds a run ({name})", "resume it, or choose another folder")
        configuration = _plain(configuration)
        content = {"format": FORMAT, "configuration": configuration, "digest": _digest(configuration)}
        try:
            path.mkdir(parents=True, exist_ok=True)
            _write(path / _FILE, json.dumps(content, indent=1))
        except OSError as error:
            raise InputError(
                "directory", str(path), f"cannot be written ({error.strerror})", "choose another folder"
            ) from error
        return cls(path, configuration)

    @staticmethod
    def is_one(path: str | os.PathLike) -> bool:
        """Whether a folder holds a run."""
        return (place(path) / _FILE).exists()

    @classmethod
    def open(cls, path: str | os.PathLike) -> "RunDirectory":
        """The run that a folder holds.

        Raises
        ------
        InputError
            If it holds none, or its ``run.json`` is damaged or of another version of the layout.
        """
        path = place(path)
        try:
            content = json.loads((path / _FILE).read_text())
            layout, configuration = content["format"], content["configuration"]
        except OSError as error:
            reason = f"holds no run that can be read ({_FILE}: {error.strerror})"
            raise InputError("directory", str(path), reason, "give the folder of a run") from error
        except (ValueError, KeyError, TypeError) as error:
            raise InputError("directory", str(path), f"has a damaged {_FILE}", "start another run") from error
        if layout != FORMAT:
            raise InputError(
                "directory", str(path), f"has layout {layout!r}, not {FORMAT}", "use the version that wrote it"
            )
        if not isinstance(configuration, dict) or content.get("digest") != _digest(configuration):
            raise InputError("directory", str(path), f"has a damaged {_FILE}", "start another run")
        return cls(path, configuration)

    def lock(self) -> BaseFileLock:
        """Keep other processes from writing here until the lock is released, or this process ends however it does.

        Raises
        ------
        InputError
            If another one writes here: with its number and machine.
        StorageError
            If the disk is read-only.
        """
        lock, holder = FileLock(self.path / "lock"), self.path / "writer"
        try:
            with self._writing():
                lock.acquire(timeout=0)
                _write(holder, f"process {os.getpid()} on {platform.node()}")
        except Timeout as error:
            who = holder.read_text() if holder.exists() else "another process"
            raise InputError(
                "directory",
                str(self.path),
                f"is being written by {who}",
                "wait until it ends, or choose another folder",
            ) from error
        except BaseException:
            lock.release()
            raise
        return lock

    def is_written(self) -> bool | None:
        """Whether the process that took the lock last is still there; None where that cannot be told from here."""
        try:
            _, number, _, machine = (self.path / "writer").read_text().split(" ", 3)
            if os.name != "posix" or machine != platform.node():
                return None
            os.kill(int(number), 0)
        except (ProcessLookupError, OverflowError):
            return False
        except PermissionError:  # of another user's
            return True
        except (OSError, ValueError):  # nobody has written yet, or not all of it
            return None
        return True

    def check(self, configuration: Mapping[str, Any]) -> None:
        """Refuse to go on with anything that would change the answer.

        Raises
        ------
        InputError
            Naming the first entry that differs, as it is and as it was.
        """
        for name, new, old in _differences(_plain(configuration), self.configuration):
            raise InputError(
                name, new, f"is not what the run in {short(str(self.path))} has ({short(old)})",
                "resume with the same, or start a run in another folder",
            )  # fmt: skip

    # -- states ------------------------------------------------------------------------------------------------------

    def save(self, step: int, state: Any, notes: Mapping[str, Any] | None = None) -> None:
        """Write a checkpoint that counts the draws appended so far; see `temperax.storage.checkpoint.save`.

        Raises
        ------
        InputError
            If a leaf is no number.
        StorageError
            If the disk is full or read-only; the checkpoints before are safe.
        """
        with self._writing():
            self._check_there()
            self._flush()
            checkpoint.save(self._checkpoints, step, state, {**(notes or {}), "num_draws": self.num_draws})

    def restore(self) -> Checkpoint | None:
        """The newest whole checkpoint, whose ``notes["num_draws"]`` draws are its own; None before the first one.

        Warns of a newer one that is damaged.  The state is ``checkpoint.into(like)``; nothing on disk is changed, so
        `truncate` comes next.

        Raises
        ------
        InputError
            If there are checkpoints and none is whole.
        """
        return checkpoint.restore(self._checkpoints)

    def history(self) -> list[tuple[float, dict[str, Any]]]:
        """When each checkpoint was written (seconds since 1970) and what was noted with it, newest first.

        Only their text is read, also while another process writes; one that goes meanwhile is left out.
        """
        found = []
        for step in checkpoint.steps(self._checkpoints):
            try:
                noted = checkpoint.notes(self._checkpoints, step)
                found.append(((self._checkpoints / str(step)).stat().st_mtime, noted))
            except FileNotFoundError:
                continue
        return found

    # -- draws -------------------------------------------------------------------------------------------------------

    @property
    def num_draws(self) -> int:
        """Draws that have been appended in full."""
        return drawstore.count(self._draws)

    def append(self, groups: Mapping[str, xr.Dataset]) -> None:
        """Append draws; see `temperax.storage.drawstore.append`.

        Raises
        ------
        InputError
            If the datasets do not fit each other or those before.
        StorageError
            If the disk is full or read-only; the draws before are safe.
        """
        with self._writing():
            self._check_there()
            drawstore.append(self._draws, groups)

    def truncate(self, num_draws: int) -> None:
        """Cut the draws back to ``num_draws``, those of a checkpoint, before the run goes on.

        Raises
        ------
        InputError
            If there are fewer.
        StorageError
            If the disk is read-only.
        """
        with self._writing():
            _write(self.path / "writable", "")  # also where there are no draws to cut
            (self.path / "writable").unlink()
            drawstore.truncate(self._draws, num_draws)

    def tree(self, num_draws: int | None = None) -> xr.DataTree:
        """The draws so far, or the first of them, read lazily: also while another process appends.

        Raises
        ------
        InputError
            If there are no such draws.
        """
        return drawstore.open_tree(self._draws, num_draws)

    # -- inside ------------------------------------------------------------------------------------------------------

    @property
    def _checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def _draws(self) -> Path:
        return self.path / "draws.zarr"

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Whatever the disk refuses, in one sentence."""
        try:
            yield
        except (InputError, Timeout):
            raise
        except (OSError, ValueError, RuntimeError) as error:
            reason = _system_reason(error)
            if reason is None:
                raise
            raise StorageError(self.path, reason, self._safe_draws()) from error

    def _check_there(self) -> None:
        """Say so where the folder was renamed or deleted, before half of a run appears in its place."""
        if not (self.path / _FILE).exists():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self.path / _FILE))

    def _flush(self) -> None:
        """Bring the draws since the last checkpoint to the disk, before the next one counts them."""
        steps = checkpoint.steps(self._checkpoints)
        since = (self._checkpoints / str(steps[0])).stat().st_mtime - 1 if steps else 0.0
        for found in [*self._draws.rglob("*"), *self.path.glob("draws.zarr"), self.path]:
            if found.stat().st_mtime >= since:
                checkpoint.sync(found)

    def _safe_draws(self) -> int:
        """Draws of the newest checkpoint, as far as can be told in the middle of trouble."""
        try:
            newest = checkpoint.steps(self._checkpoints)[0]
            return int(checkpoint.notes(self._checkpoints, newest)["num_draws"])
        except (OSError, ValueError, LookupError, TypeError):
            return 0


def place(path: object) -> Path:
    """A path that stays the same when the working directory changes, ``~`` resolved.

    Raises
    ------
    InputError
        If it is none, or one that the packages that write there would take for another.
    """
    if not isinstance(path, (str, os.PathLike)) or not str(path):
        raise InputError("directory", path, "is not a path", "give the name of a folder")
    text = os.fspath(path)
    if not isinstance(text, str) or not text.isprintable() or "\\" in text or "://" in text:
        remedy = "give a folder on this machine, with / between its parts"
        raise InputError("directory", path, "has a character that no folder's name may have", remedy)
    try:
        found = Path(path).expanduser().absolute()
        found.exists()
    except (RuntimeError, OSError, ValueError) as error:  # an unknown user, a name that is too long
        reason = getattr(error, "strerror", None) or str(error).rstrip(".")
        raise InputError("directory", str(path), f"is no place ({reason})", "choose another folder") from error
    return found


def _plain(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """As JSON gives it back, so that like is compared with like."""
    return json.loads(json.dumps(dict(configuration)))


def _digest(configuration: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(configuration, sort_keys=True).encode()).hexdigest()


def _write(path: Path, text: str) -> None:
    """All of a file or nothing, also if the power fails."""
    partial = path.with_name(f"{path.name}.partial-{os.getpid()}")
    try:
        with partial.open("w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        checkpoint.sync(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def _differences(new: Any, old: Any, name: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Entries that differ, by dotted name."""
    if isinstance(new, dict) and isinstance(old, dict):
        for key in [*old, *(k for k in new if k not in old)]:
            yield from _differences(new.get(key, "(absent)"), old.get(key, "(absent)"), f"{name}.{key}".lstrip("."))
    elif new != old and json.dumps(new) != json.dumps(old):  # 1 is 1.0, and NaN is NaN
        yield name, new, old


def _system_reason(error: BaseException) -> str | None:
    """What the system said, if it is the disk that an exception is about."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if found := _SYSTEM.search(str(error)):
        return os.strerror(int(found[1]))
    inner = [*getattr(error, "exceptions", ()), *(e for e in (error.__cause__, error.__context__) if e is not None)]
    return next((reason for e in inner if (reason := _system_reason(e))), None)
