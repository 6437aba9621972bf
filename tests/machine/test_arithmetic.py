"""The same answers whatever JAX's arithmetic: 64 bits, strict types, a stop at every NaN, a look for leaked tracers."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cases import some

SCRIPT = Path(__file__).parent / "arithmetic.py"
SETTINGS = {
    "double": {"JAX_ENABLE_X64": "1"},
    "strict": {"JAX_NUMPY_DTYPE_PROMOTION": "strict"},
    "nans": {"JAX_DEBUG_NANS": "1"},
    "leaks": {"JAX_CHECK_TRACER_LEAKS": "1"},
}
#: Of two independent N(1/2, 1/2): in closed form.
EXACT = {"mean by hmc": 0.5, "mean by nuts": 0.5, "log Z": -np.log(2) - 0.5}


#: Every public function in 64 bits; of the other settings samplers, ladders and evidence, and all among the slow tests.
OTHERS = [setting for setting in SETTINGS if setting != "double"]
CASES = some([("double", "all"), *((setting, "few") for setting in OTHERS)], [(setting, "all") for setting in OTHERS])


@pytest.mark.parametrize(("setting", "what"), CASES)
def test_everything_runs_and_is_right(setting, what):
    """In a process with this setting; the numbers are those of the closed form."""
    done = subprocess.run(
        [sys.executable, str(SCRIPT), what],
        capture_output=True,
        text=True,
        cwd=SCRIPT.parents[2],
        env=os.environ | {"JAX_PLATFORMS": "cpu"} | SETTINGS[setting],
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found.keys() == EXACT.keys()
    for name, (value, error) in found.items():
        assert abs(value - EXACT[name]) < 4 * error, name
