"""What a user waits for before anything is drawn: imports, and all that is compiled.

``python -m benchmarks.startup --json out.json``, on a machine that does nothing else.

Imports are those of a fresh process, temperax's beside JAX's and NumPyro's own, taken in turn.  A case
(`benchmarks.startup_case`) is a short call on an energy that is there, from its beginning to its result, so that the
search for starts, every compilation, adaptation and predictions are in it.  Each is a process of its own: with nothing
compiled before, and with what another one left in the cache of compiled programs.
"""

import json
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from benchmarks import harness

ROOT = Path(__file__).parent.parent
LIBRARIES = {"JAX and NumPyro": "import jax, numpyro", "JAX, NumPyro and temperax": "import jax, numpyro, temperax"}
#: Cases with the seconds and programs that they may take; the growing ladder's rungs change their number.
GOALS = {
    "toy": (4.0, 10),
    "own density": None,
    "three temperatures": None,
    "concrete": (10.0, 20),
    "ladder": (12.0, 30),
    "convolutional": None,
    "growing ladder": None,
}
MOST_MB = 1500.0


def python(*arguments: str) -> str:
    """What a fresh interpreter prints."""
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, stdout=subprocess.PIPE, text=True, check=True, env=harness.environment(), cwd=ROOT
    ).stdout


def import_seconds(code: str) -> float:
    """Seconds of an import in a fresh process."""
    return float(python("-c", f"import time; began = time.perf_counter(); {code}; print(time.perf_counter() - began)"))


def case(name: str, cache: str = "") -> dict:
    """One case in a process of its own."""
    options = ["--cache", cache] if cache else []
    return json.loads(python("-m", "benchmarks.startup_case", name, *options).splitlines()[-1])


def main() -> None:
    parser = harness.arguments(__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=GOALS, help="these cases alone")
    options = parser.parse_args()
    imports = {name: partial(import_seconds, code) for name, code in LIBRARIES.items()}
    seconds = harness.medians(imports, 1 if options.quick else 5)
    rows: list[dict] = [{"what": f"import of {name}", "seconds": value} for name, value in seconds.items()]
    own = seconds["JAX, NumPyro and temperax"] - seconds["JAX and NumPyro"]
    goals = [harness.goal("seconds of the import beyond JAX's and NumPyro's own", own, 1.0, at_most=True)]
    for name in options.only or (["toy"] if options.quick else GOALS):
        with tempfile.TemporaryDirectory() as cache:
            cold, _, warm = case(name), case(name, cache), case(name, cache)
        rows += [{"what": f"{name}, cold", **cold}, {"what": f"{name}, from the cache", **warm}]
        if found := GOALS[name]:
            limit, programs = found
            goals += [
                harness.goal(f"{name}: seconds, cold", cold["seconds"], limit, at_most=True),
                harness.goal(f"{name}: programs", cold["programs"], programs, at_most=True),
                harness.goal(f"{name}: seconds, from the cache", warm["seconds"], limit / 3, at_most=True),
                harness.goal(f"{name}: peak MB", cold["peak_mb"], MOST_MB, at_most=True),
            ]
    harness.finish(rows, goals, options.json)


if __name__ == "__main__":
    main()
