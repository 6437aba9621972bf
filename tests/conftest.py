"""Shapes written in the annotations are enforced while the tests run."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import jaxtyping

# Programs are compiled once in a test run, whichever worker, file or child process wants them; before JAX is imported.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parents[1] / ".pytest_cache" / "compiled"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")

# Modules of functions; those whose dataclasses are pytrees are left out, since JAX rebuilds them with placeholders.
CHECKED = (
    "analysis.ensemble",
    "analysis.studies.draws",
    "analysis.thermodynamics",
    "energies.networks",
    "engine.adaptation",
    "engine.exchange",
    "engine.ladder",
    "results.reading",
)
jaxtyping.install_import_hook([f"temperax.{name}" for name in CHECKED], "beartype.beartype")

import jax  # noqa: E402
import numpy as np  # noqa: E402
import numpyro  # noqa: E402, F401 - before ArviZ, whose lazy stand-in for it loses what is imported from it first
import pytest  # noqa: E402


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest file first: a worker takes whole files, and the other would wait for it at the end."""
    items.sort(key=lambda item: item.path.name != "test_docs.py")


#: Memory maps of a process from which its compiled programs are forgotten: Linux gives it 65 530.
MANY_MAPS = 30_000


@pytest.fixture(scope="module", autouse=True)
def programs_of_many_files() -> Iterator[None]:
    """Forget compiled programs, after the file in which they have become many; the next files use what is left.

    A worker that had kept all of them died in the compiler by a segmentation fault; that it had run out of memory maps
    is likely.
    """
    yield
    maps = Path("/proc/self/maps")
    if maps.exists() and maps.read_bytes().count(b"\n") > MANY_MAPS:
        jax.clear_caches()


@pytest.fixture(scope="session")
def exact_cases() -> dict:
    """Closed-form values that a correct sampler, ladder or evidence estimate must reproduce."""
    return json.loads((Path(__file__).parent / "reference" / "exact_cases.json").read_text())


@pytest.fixture
def key() -> jax.Array:
    return jax.random.key(20261123)


@pytest.fixture(scope="session")
def small_data():
    """A made regression with a known shape: 60 rows to train on and 20 held out."""
    from temperax import Dataset

    rng = np.random.default_rng(1)
    x = rng.normal(size=(80, 3))
    y = np.sin(x[:, 0]) + 0.5 * x[:, 1] + 0.2 * rng.normal(size=80)
    return Dataset.from_arrays(x[:60], y[:60], x[60:], y[60:], name="small")


@pytest.fixture
def disk(tmp_path):
    """A disk of its own with 30 MB; only the superuser can make one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=30m", "tmpfs", folder]).returncode:
        pytest.skip("needs mount")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)
