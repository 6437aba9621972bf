"""What a user waits for before anything is drawn: imports, and all that is compiled.

``python -m benchmarks.startup --json out.json``

Imports are those of a fresh process, temperax's beside JAX's and NumPyro's own, taken in turn.  The first draw is that
of the concrete network: from the call of `temperax.sample` with its defaults but for a warm-up of 20 scans to its
result, so that the search for starts, every compilation, adaptation and predictions are in it.  Each is a process of
its own: with nothing compiled before, and with what the one before it left in JAX's persistent cache.
"""

import json
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from benchmarks import harness

LIBRARIES = {"JAX and NumPyro": "import jax, numpyro", "JAX, NumPyro and temperax": "import jax, numpyro, temperax"}
FIRST_DRAW = """
import json, sys, time
import jax
import temperax as tx
tx.use_cpu_devices(int(sys.argv[1]))
if sys.argv[2]:
    tx.use_compilation_cache(sys.argv[2])
energy = tx.Energy.mlp(tx.datasets.load("concrete", split=0), (50,))
began = time.perf_counter()
tree = tx.sample(jax.random.key(0), energy, num_warmup=20, num_draws=1, progress=False)
print(json.dumps({"seconds": time.perf_counter() - began} | json.loads(tree.attrs["timings"])))
"""


def python(code: str, *arguments: str) -> str:
    """What a fresh interpreter prints."""
    root = Path(__file__).parent.parent
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(
        command, stdout=subprocess.PIPE, text=True, check=True, env=harness.environment(), cwd=root
    ).stdout


def import_seconds(code: str) -> float:
    """Seconds of an import in a fresh process."""
    return float(python(f"import time; began = time.perf_counter(); {code}; print(time.perf_counter() - began)"))


def first_draw(cache: str) -> dict:
    """Seconds of each stage up to the first draw, in a process of its own."""
    return json.loads(python(FIRST_DRAW, str(harness.cores()), cache))


def main() -> None:
    parser = harness.arguments(__doc__.splitlines()[0])
    options = parser.parse_args()
    imports = {name: partial(import_seconds, code) for name, code in LIBRARIES.items()}
    seconds = harness.medians(imports, 1 if options.quick else 5)
    rows: list[dict] = [{"what": f"import of {name}", "seconds": value} for name, value in seconds.items()]
    own = seconds["JAX, NumPyro and temperax"] - seconds["JAX and NumPyro"]
    rows.append({"what": "first draw, concrete", **first_draw("")})
    with tempfile.TemporaryDirectory() as folder:
        rows.append({"what": "first draw, concrete, writing a cache", **first_draw(folder)})
        rows.append({"what": "first draw, concrete, from the cache", **first_draw(folder)})
    goals = [
        harness.goal("seconds of the import beyond JAX's and NumPyro's own", own, 1.5, at_most=True),
        harness.goal("seconds to the first draw of concrete", rows[2]["seconds"], 10.0, at_most=True),
    ]
    harness.finish(rows, goals, options.json)


if __name__ == "__main__":
    main()
