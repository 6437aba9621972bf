"""Time of a scan and peak memory against replicas, rows, width and depth.

``python -m benchmarks.scaling --json out.json`` (``--only replicas rows`` for a part, ``--only replicas --sizes 4096``
for other sizes)

Made-up regressions of eight inputs under tanh networks; every scan has trajectories of eight leapfrogs on all
replicas.  On the axis of replicas they are the rungs of one fixed ladder and exchange in every scan; on the others they
are four chains of `sample`.  Every point has a process of its own, whose peak memory is its own; a scan's time is that
of the draws over their number, all compiled before, the least of several runs (what else a machine does only adds).
The exponents are slopes of least squares in logarithms, over the upper half of an axis, where the constant costs have
gone under.
"""

import argparse
import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np

import temperax as tx
from benchmarks import harness
from benchmarks.ladder import FullTrajectories

LEAPFROGS, INPUTS = 8, 8
#: What a point has where it is not on that axis.
BASE = {"replicas": 4, "rows": 1000, "width": 50, "depth": 1}
AXES = {
    "replicas": (1, 4, 16, 64, 256, 1024),
    "rows": (100, 1000, 10_000, 100_000, 1_000_000),
    "width": (10, 50, 200, 1000),
    "depth": (1, 2, 4, 8),
}
QUICK = {"replicas": (16, 64), "rows": (100, 1000), "width": (10, 50), "depth": (1, 2)}
#: Floating-point operations that a run should take, and the fewest draws of a ladder and of chains.
WORK, LEAST = 5e10, {True: 32, False: 4}
REPEATS = 3


def draws_of(ladder: bool, replicas: int, rows: int, width: int, depth: int) -> int:
    """Draws that take about a second, or as few as there may be."""
    weights = INPUTS * width + (depth - 1) * width**2 + width
    return int(np.clip(WORK / (replicas * LEAPFROGS * 6 * rows * weights), LEAST[ladder], 1000))


def point(axis: str, replicas: int, rows: int, width: int, depth: int, repeats: int) -> dict:
    """Milliseconds a scan and peak memory, of this process."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, INPUTS))
    y = np.sin(x[:, :1]) + 0.5 * x[:, 1:2] + 0.3 * rng.normal(size=(rows, 1))
    energy = tx.Energy.mlp(tx.Dataset.from_arrays(x, y), (width,) * depth, "tanh", tx.likelihoods.Gaussian(0.3))
    # A step so short that every trajectory is accepted: what is timed is the machine, not the posterior.
    kernel = FullTrajectories(step_size=1e-6, max_steps=LEAPFROGS)
    ladder = axis == "replicas" and replicas > 1
    draws = draws_of(ladder, replicas, rows, width, depth)
    options: dict[str, Any] = {"kernel": kernel, "num_draws": draws, "start": "prior", "progress": False}

    def run() -> float:
        key = jax.random.key(0)
        if ladder:
            rungs = tx.ladder.geometric(replicas, hottest=1e-3)
            # Energies hardly move, which must not be answered by more trajectories a scan.
            tree = tx.parallel_tempering(key, energy, ladder=rungs, num_chains=1, most_transitions=1, **options)
        else:
            tree = tx.sample(key, energy, num_chains=replicas, num_warmup=2, **options)
        return json.loads(tree.attrs["timings"])["draws"] / draws

    seconds = min(run() for _ in range(repeats))
    device = jax.local_devices()[0]
    memory = device.memory_stats() or {}
    return {
        "device": device.device_kind,
        "ms_per_scan": 1e3 * seconds,
        "us_per_gradient": 1e6 * seconds / (replicas * LEAPFROGS),
        "peak_mb": memory.get("peak_bytes_in_use", 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) / 1e6,
        "draws": draws,
    }


def in_process(sizes: dict, repeats: int, limit: float) -> dict:
    """A point in a process of its own, or why there is none."""
    command = [sys.executable, "-m", "benchmarks.scaling", "--point", json.dumps(sizes), "--repeats", str(repeats)]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=limit, cwd=Path(__file__).parent.parent, check=False
        )
    except subprocess.TimeoutExpired:
        return {"failure": f"not in {limit:.0f} s"}
    if done.returncode:
        return {"failure": harness.last_error(done.stderr) or f"exit status {done.returncode}"}
    return json.loads(done.stdout.splitlines()[-1])


def exponent(rows: list[dict], axis: str) -> float:
    """Slope of log time against log size over the upper half of an axis."""
    found = sorted((r[axis], r["ms_per_scan"]) for r in rows if r["axis"] == axis and "ms_per_scan" in r)
    upper = found[len(found) // 2 :] if len(found) > 3 else found
    if len(upper) < 2:
        return float("nan")
    sizes, times = np.log(np.array(upper)).T
    return float(np.polyfit(sizes, times, 1)[0])


def linearity(rows: list[dict]) -> float:
    """Time per replica of the most over that of 16 replicas, less 1."""
    times = {r["replicas"]: r["ms_per_scan"] for r in rows if r["axis"] == "replicas" and "ms_per_scan" in r}
    most = max(times, default=0)
    return times[most] / most / (times[16] / 16) - 1 if 16 in times and most > 16 else float("nan")


def main() -> None:
    parser = harness.arguments(__doc__.splitlines()[0])
    harness.add_merge(parser)
    parser.add_argument("--only", nargs="+", choices=AXES, default=list(AXES))
    parser.add_argument("--sizes", type=int, nargs="+", help="points of the axes, instead of the usual ones")
    parser.add_argument("--repeats", type=int, help="runs of each point, of which the least counts")
    parser.add_argument("--point", help=argparse.SUPPRESS)
    options = parser.parse_args()
    tx.use_cpu_devices(harness.cores())
    if options.point:
        print(json.dumps(point(**json.loads(options.point), repeats=options.repeats)))
        return
    repeats, limit = options.repeats or (1 if options.quick else REPEATS), 60.0 if options.quick else 180.0
    rows = []
    for axis in options.only:
        for size in options.sizes or (QUICK if options.quick else AXES)[axis]:
            sizes = {"axis": axis} | BASE | {axis: size}
            print(f"{axis} {size} …", flush=True)
            rows.append(harness.stamp(sizes | in_process(sizes, repeats, limit)))
    rows = harness.merged(rows, options.json if options.merge else None, ("axis", *BASE))
    for axis in dict.fromkeys(r["axis"] for r in rows):
        print(f"time of a scan ~ {axis}^{exponent(rows, axis):.2f}")
    off = abs(linearity(rows))
    goals = [harness.goal("time per replica of the most over 16's, off by", off, 0.1, at_most=True)]
    harness.finish(rows, goals, options.json)


if __name__ == "__main__":
    main()
