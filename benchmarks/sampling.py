"""temperax beside NumPyro and BlackJAX on four posteriors: effective draws of f a second, and seconds to convergence.

``python -m benchmarks.sampling --json out.json`` (``--targets diabetes --samplers temperax-hmc numpyro-nuts`` for a
part, ``--merge`` to add it to a file that is there; ``JAX_PLATFORMS=cuda`` in front to run on a GPU)

Every sampler runs in a process of its own with four chains, the same log density and the same held-out rows, until its
worst R-hat of f is at most 1.01 and its least bulk ESS of f at least 400, or a limit of minutes (twice as many for
airfoil) is over and what is there is judged; it goes on for a minute in any case, so that compiling and warming up
weigh alike in all rates. Peers' chains are continued and judged whenever they have grown by a quarter. temperax makes a
short run and, from what that took, another that fills the minute or, where the target was missed, the limit (a ladder
gets there by runs three times as long); all are whole runs of its public functions, compiled anew and judged at
prefixes that grow by a quarter. Peers warm up for the iterations that `samplers.TARGETS` names, temperax for its
default. Seconds "end to end" have the starting points, every compilation and the warm-up in them, but neither imports
nor the judging; NumPyro compiles for every run that continues, and that is counted once. The share of the warm-up is
that of all gradients, of samplers that count them. Lines of the table whose sampler failed say how. An unadjusted
sampler's bias is its mean energy less that of the exact sampler that has the smallest R-hat of the energy.
"""

import json
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import numpy as np

from benchmarks import harness
from benchmarks.samplers import SAMPLERS, TARGETS

#: Times the limit, and seconds, after which a process is ended that has not come back from a compiled call.  Two runs
#: of temperax, and the judging, have room in it.
OVERTIME, GRACE = 2.2, 120.0
#: In which concrete is to be solved; each is judged where that long was given.
MINUTES = (10.0, 15.0)
#: What is printed; the JSON has everything.
COLUMNS = (
    *("target", "sampler", "seed", "to_target", "seconds", "seconds_warmup", "draws", "rhat_f_max", "rhat_f_median"),
    *("ess_f_min", "min_ess_per_s", "median_ess_per_s", "min_ess_per_s_sampling", "median_ess_per_s_sampling"),
    *("gradients_per_ess", "us_per_gradient", "energy", "energy_bias", "ess_energy", "rhat_energy", "rmse", "lppd"),
    *("warmup_share", "failure"),
)


def run(target: str, sampler: str, seed: int, minutes: float, least: float, quick: bool) -> dict:
    """The last judgement of a sampler's process, or why there is none."""
    command = [sys.executable, "-m", "benchmarks.sampling_run", target, sampler]
    command += ["--seed", str(seed), "--minutes", str(minutes), "--least", str(least), *(["--quick"] if quick else [])]
    environment = harness.environment()
    limit = 60 * minutes * TARGETS[target].patience
    row: dict = {"target": target, "sampler": sampler, "seed": seed, "exact": SAMPLERS[sampler].exact, "limit": limit}
    longest = OVERTIME * limit + GRACE
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment, cwd=Path(__file__).parent.parent
        )
        late = threading.Event()

        def end() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(longest, end)
        timer.start()
        try:
            for line in process.stdout or ():
                row |= json.loads(line)
            code = process.wait()
        except BaseException:  # Ctrl-C: leave nothing running
            process.kill()
            raise
        finally:
            timer.cancel()
        if late.is_set():
            row["failure"] = f"ended from outside after {longest:.0f} s"
        elif code:
            errors.seek(0)
            row["failure"] = harness.last_error(errors.read()) or f"exit status {code}"
    return row


def judged(rows: list[dict]) -> list[dict]:
    """Rows with what is seen only beside others: the words for the time, and the bias in the mean energy."""
    done = []
    for row in rows:
        seconds = row.get("seconds_to_target")
        in_time = seconds is not None and seconds <= row["limit"]
        row["to_target"] = f"{seconds:.0f} s" if in_time else f"not in {row['limit'] / 60:g} minutes"
        others = [r for r in rows if r["target"] == row["target"] and r["exact"] and _number(r, "rhat_energy") < np.inf]
        if not row["exact"] and others and row.get("energy") is not None:
            best = min(others, key=lambda r: r["rhat_energy"])
            row["energy_bias"] = row["energy"] - best["energy"]
            row["energy_bias_error"] = float(np.hypot(row["energy_mcse"], best["energy_mcse"]))
            row["energy_bias_sd"] = row["energy_bias"] / best["energy_sd"]
            row["energy_bias_from"] = best["sampler"]
        done.append(row)
    return done


def _number(row: dict, column: str, missing: float = np.inf) -> float:
    """A row's number, or what stands for one that is missing or undefined."""
    value = row.get(column)
    return missing if value is None or not np.isfinite(value) else float(value)


def _best(rows: list[dict], target: str, ours: bool, column: str, *, least: bool = False) -> float:
    """The best number that temperax, or an exact peer, has on a target; of a sampler's seeds, the worst counts."""
    worst = np.inf if least else 0.0
    numbers: dict[str, list[float]] = {}
    for row in rows:
        if row["target"] == target and row["exact"] and row["sampler"].startswith("temperax") == ours:
            numbers.setdefault(row["sampler"], []).append(_number(row, column, worst))
    each = [max(found) if least else min(found) for found in numbers.values()]
    return (min if least else max)(each, default=worst)


def goals(rows: list[dict]) -> list[dict]:
    """The goals of the targets that have rows of both sides, and of limits that were long enough."""
    found = []

    def over(target: str, peers: list[dict], whom: str, factor: float) -> None:
        ours = [r for r in rows if r["target"] == target and r["sampler"].startswith("temperax")]
        theirs = max((_number(r, "min_ess_per_s", 0.0) for r in peers if r["target"] == target), default=0.0)
        if ours and theirs > 0:
            value = _best(rows, target, True, "min_ess_per_s") / theirs
            found.append(harness.goal(f"{target}: least ESS of f / s over {whom}", value, factor, at_most=False))

    exact = [r for r in rows if r["exact"] and not r["sampler"].startswith("temperax")]
    over("diabetes", exact, "the best exact peer's", 3.0)
    over("breast_cancer", exact, "the best exact peer's", 2.0)
    for minutes in MINUTES:
        if long := [r for r in rows if r["target"] == "concrete" and r["limit"] >= 60 * minutes]:
            value = _best(long, "concrete", True, "seconds_to_target", least=True) / 60
            found.append(harness.goal("concrete: minutes to the target, worst seed", value, minutes, at_most=True))
    over("concrete", [r for r in rows if r["sampler"].startswith("numpyro")], "NumPyro's", 20.0)
    if any(r["target"] == "airfoil" for r in rows):
        median = _best(rows, "airfoil", True, "rhat_f_median", least=True)
        found.append(harness.goal("airfoil: median R-hat of f within 30 minutes", median, 1.05, at_most=True))
    return found


def main() -> None:
    parser = harness.arguments(__doc__.splitlines()[0])
    harness.add_merge(parser)
    parser.add_argument("--targets", nargs="+", choices=TARGETS)
    parser.add_argument("--samplers", nargs="+", choices=SAMPLERS, default=list(SAMPLERS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=15.0, help="limit of a sampler's own time on a target")
    options = parser.parse_args()
    minutes, least = (0.5, 5.0) if options.quick else (options.minutes, 60.0)
    rows = []
    for target in options.targets or (["diabetes"] if options.quick else TARGETS):
        for sampler in options.samplers:
            print(f"{target}, {sampler} …", flush=True)
            rows.append(harness.stamp(run(target, sampler, options.seed, minutes, least, options.quick)))
            everything = harness.merged(
                rows, options.json if options.merge else None, ("target", "sampler", "seed", "commit")
            )
            harness.write(judged(everything), goals(everything), options.json)
    harness.show(judged(everything), goals(everything), COLUMNS)


if __name__ == "__main__":
    main()
