"""Every benchmark can be imported and says what its options are; whether it is right is for its own run to show."""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

ROOT = Path(__file__).parents[1]
MODULES = sorted(
    f.stem
    for f in (ROOT / "benchmarks").glob("*.py")
    if f.stem not in ("__init__", "harness", "multimodal", "posteriors", "samplers")
)
MODULES += [f"{f.parent.name}.__main__" for f in sorted((ROOT / "benchmarks").glob("*/__main__.py"))]

# One process for all: what takes time is importing JAX, and a benchmark may configure it.
ASK = """
import contextlib, importlib, io, json, sys
found = {}
for name in json.loads(sys.argv[1]):
    module, sys.argv[1:] = importlib.import_module(f"benchmarks.{name}"), ["--help"]
    text = io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
        module.main()
    found[name] = text.getvalue()
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def helps():
    command = [sys.executable, "-c", ASK, json.dumps(MODULES)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", MODULES)
def test_benchmark_says_what_its_options_are(helps, name):
    assert helps[name].startswith("usage:")


def test_no_benchmark_uses_a_name_that_is_not_there():
    done = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--isolated", "--select", "F", "benchmarks"],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(find_spec("blackjax") is None, reason="BlackJAX is in the group bench, not in dev")
def test_blackjax_has_what_the_samplers_call():
    import blackjax

    for name in ("nuts", "window_adaptation", "chees_adaptation", "dynamic_hmc", "mclmc_find_L_and_step_size"):
        assert hasattr(blackjax, name), name


@pytest.mark.slow
def test_devices_send_each_other_what_the_formula_says():
    """Counted in the compiled block: every scan, every draw, and while adapting."""
    ask = "import json, temperax as tx; tx.use_cpu_devices(2); from benchmarks.distributed import scan_point; "
    ask += "print(json.dumps(scan_point('concrete', 3, 1, scans=1, repeats=1)))"
    done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    row = json.loads(done.stdout.splitlines()[-1])
    for when in ("scan", "draw", "adapting"):
        assert row[f"bytes_{when}"] == row[f"formula_{when}"] > 0, when


def test_truths_of_the_posteriors_with_modes():
    """Wells by quadrature of every dimension, the frequency by weighted draws of its prior."""
    sys.path.insert(0, str(ROOT))
    from benchmarks import multimodal

    logs = []
    for centre, width, part in zip(multimodal.CENTRES, multimodal.WIDTHS, multimodal.PARTS, strict=True):
        one = quad(
            lambda q, c=centre, w=width: norm.pdf(q, 0, multimodal.WIDE) * norm.pdf(q, c, w), -20, 20, points=[centre]
        )
        logs.append(np.log(part) + multimodal.DIMENSIONS * np.log(one[0]))
    truth = multimodal.wells_truth()
    assert truth.log_z == pytest.approx(np.logaddexp(*logs), abs=1e-6)
    assert truth.weight == pytest.approx(1 / (1 + np.exp(logs[0] - logs[1])), abs=1e-6)

    rng, number = np.random.default_rng(0), 200_000
    omega = rng.uniform(multimodal.SLOWEST, multimodal.FASTEST, size=number)
    drawn = {"frequency": omega, "cosine": rng.normal(size=number), "sine": rng.normal(size=number)}
    weights = np.exp(-np.asarray(multimodal._frequency_energy(drawn)).sum(axis=-1).astype(float))
    truth, inside = multimodal.frequency_truth(), np.abs(omega - 3.7) < 0.4
    effective = weights.sum() ** 2 / (weights**2).sum()
    assert np.log(weights.mean()) == pytest.approx(truth.log_z, abs=4 / np.sqrt(effective))
    assert weights[inside].sum() / weights.sum() == pytest.approx(truth.weight, abs=2 / np.sqrt(effective))


def test_parts_of_a_run_are_put_together(tmp_path):
    sys.path.insert(0, str(ROOT))
    from benchmarks import harness

    file = tmp_path / "parts.json"
    harness.write([{"target": "a", "value": 1.0}, {"target": "b", "value": float("nan")}], [], file)
    rows = harness.merged([{"target": "a", "value": 2.0}], file, ("target",))
    assert rows == [{"target": "b", "value": None}, {"target": "a", "value": 2.0}]


def test_round_trips_are_counted_as_the_engine_counts_them():
    sys.path.insert(0, str(ROOT))
    import jax
    import numpy as np

    from benchmarks import exchange
    from temperax.engine.exchange import depart, travel

    rng = np.random.default_rng(0)
    pairs, scans = 3, 400
    parity = np.arange(scans)[:, None] % 2 == np.arange(pairs) % 2
    accepted = (rng.uniform(size=(scans, pairs)) < 0.8) & parity
    replica = exchange.index_process(accepted[:, :, None])
    journeys, step = depart(pairs + 1), jax.jit(travel)
    for scan in range(scans):
        up, down = np.append(accepted[scan], False), np.append(False, accepted[scan])
        journeys = step(journeys, np.arange(pairs + 1) + up - down)
        np.testing.assert_array_equal(replica[0, scan], journeys.replica)
    # The engine starts the replica that is hottest at first as one that has been there; by its first return both agree.
    assert abs(exchange.round_trips(replica) - int(journeys.round_trips)) <= 1
    assert exchange.round_trips(replica) > 10
