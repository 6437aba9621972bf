"""Whether a long run keeps its memory, and its directory can be read throughout.

``python -m benchmarks.soak --scans 200000 --json out.json``

A small network is sampled in a process of its own, every scan a draw that is written to a directory.  Twice a second
its resident memory is read, and once a second the newest checkpoint and the last of its draws.  The memory at the end
is compared with that after the first minute, or after a tenth of the draws where the run takes less than five minutes.
"""

import os
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

import temperax as tx
from benchmarks import harness
from temperax.storage.rundir import RunDirectory

#: Seconds between looks at the memory and at the directory, between checkpoints, and until memory should have settled.
LOOK, READ, SAVE, SETTLED = 0.5, 1.0, 2.0, 60.0
#: What a process runs that is asked to.
CHILD = "import sys; from benchmarks import soak; soak.work(sys.argv[1], int(sys.argv[2]))"


def work(directory: str, scans: int) -> None:
    """The run."""
    import jax

    rng = np.random.default_rng(0)
    x = rng.normal(size=(50, 3))
    y = np.sin(x[:, :1]) + 0.3 * rng.normal(size=(50, 1))
    energy = tx.Energy.mlp(tx.Dataset.from_arrays(x, y), (8,), "tanh", tx.likelihoods.Gaussian(0.3))
    kernel = tx.HMC(max_steps=16)
    options: dict[str, Any] = {"num_chains": 2, "num_warmup": 500, "num_draws": scans, "progress": False}
    tx.sample(jax.random.key(0), energy, kernel=kernel, directory=directory, save_every=SAVE, **options)


def megabytes(pid: int) -> float:
    """Resident memory of a process."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):  # it has ended
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def read(directory: Path) -> int:
    """Draws that a reader finds, whose last one is read and must be sound."""
    if not RunDirectory.is_one(directory):
        return 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of a damaged checkpoint, say
        try:
            tree = tx.open_run(directory)
        except tx.InputError as error:
            if "no draws yet" in str(error):
                return 0
            raise
    last = tree["posterior"].isel(draw=-1).to_dataset().load()
    assert all(np.isfinite(variable).all() for variable in last.data_vars.values())
    assert int(last["draw"]) == tree["posterior"].sizes["draw"] - 1
    return int(last["draw"]) + 1


def soak(scans: int, directory: Path) -> tuple[dict, list[dict]]:
    """Watch a run from its first scan to its last: a row, and what was seen."""
    began, seen, draws, last_read = time.monotonic(), [], 0, 0.0
    process = subprocess.Popen([sys.executable, "-c", CHILD, str(directory), str(scans)])
    try:
        while process.poll() is None:
            time.sleep(LOOK)
            seconds = time.monotonic() - began
            if seconds - last_read >= READ:
                found, last_read = read(directory), seconds
                assert found >= draws, f"{draws} draws were saved, and {found} are there"
                draws = found
            if memory := megabytes(process.pid):
                seen.append({"seconds": round(seconds, 1), "draws": draws, "megabytes": round(memory, 1)})
    finally:
        process.kill()
        process.wait()
    if process.returncode:
        raise SystemExit(f"the run ended with status {process.returncode}.")
    assert read(directory) == scans
    seconds = seen[-1]["seconds"]
    settled = [s for s in seen if s["draws"] >= scans / 10 and (seconds < 300 or s["seconds"] >= SETTLED)] or seen[-1:]
    row = {
        "scans": scans,
        "seconds": seconds,
        "settled_after": settled[0]["seconds"],
        "settled_megabytes": settled[0]["megabytes"],
        "end_megabytes": seen[-1]["megabytes"],
        "most_megabytes": max(s["megabytes"] for s in settled),
        "reads": len({s["draws"] for s in seen}),
        "directory_megabytes": round(sum(f.stat().st_size for f in directory.rglob("*") if f.is_file()) / 2**20, 1),
    }
    return row, seen


def main() -> None:
    parser = harness.arguments(__doc__.splitlines()[0])
    parser.add_argument("--scans", type=int, default=200_000, help="scans, each of them a draw")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        row, seen = soak(5000 if options.quick else options.scans, Path(folder) / "run")
    growth = 100 * (row["end_megabytes"] / row["settled_megabytes"] - 1)
    goals = [harness.goal("growth of the resident memory in %", growth, 5.0, at_most=True)]
    harness.finish([harness.stamp(row) | {"seen": seen}], goals, options.json)


if __name__ == "__main__":
    main()
