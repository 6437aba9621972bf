"""The package as it is released: what wheel and sdist hold, and that the wheel works away from the checkout."""

import email
import os
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

import temperax as tx

ROOT = Path(__file__).parents[1]
#: What a user does first, in a folder of their own.
LINES = """
import temperax as tx
assert "site-packages" in tx.__file__, tx.__file__
data = tx.datasets.load("motorcycle")
assert tx.Energy.mlp(data, (3,), "tanh", tx.likelihoods.HeteroscedasticGaussian()).size == 14
print(tx.__version__)
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A wheel, and a source distribution; hatchling reads the checkout and writes here."""
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-d", folder], cwd=ROOT, check=True, capture_output=True
    )
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return wheel, sdist


def test_the_wheel_holds_the_package_and_nothing_else(built):
    with zipfile.ZipFile(built[0]) as wheel:
        names = set(wheel.namelist())
    sources = {str(f.relative_to(ROOT / "src")) for f in (ROOT / "src" / "temperax").rglob("*") if f.is_file()}
    expected = {name for name in sources if "__pycache__" not in name}
    assert {"temperax/py.typed", "temperax/__init__.pyi", "temperax/energies/data/motorcycle.csv"} <= expected
    info = f"temperax-{tx.__version__}.dist-info"
    assert names == expected | {f"{info}/{n}" for n in ("METADATA", "WHEEL", "RECORD", "entry_points.txt")} | {
        f"{info}/licenses/LICENSE"
    }


def test_the_metadata_say_what_a_registry_shows(built):
    with zipfile.ZipFile(built[0]) as wheel:
        (name,) = [n for n in wheel.namelist() if n.endswith("METADATA")]
        found = email.message_from_bytes(wheel.read(name))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert (found["Name"], found["Version"]) == ("temperax", tx.__version__)
    assert found["License-Expression"] == "Apache-2.0" and found["Requires-Python"] == project["requires-python"]
    assert found["Description-Content-Type"] == "text/markdown" and found.get_payload().startswith("# temperax")
    assert {"cuda12", "cuda13", "models", "bench"} <= set(found.get_all("Provides-Extra"))
    bounds = [line for line in found.get_all("Requires-Dist") if "extra" not in line]
    assert len(bounds) == len(project["dependencies"]) and all(">=" in line for line in bounds)


def test_the_citation_is_of_this_version():
    lines = (ROOT / "CITATION.cff").read_text().splitlines()
    assert f"version: {tx.__version__}" in lines and "license: Apache-2.0" in lines


def test_the_source_distribution_builds_the_same_wheel(built, tmp_path):
    wheel, sdist = built
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (source,) = tmp_path.iterdir()
    for name in (
        "tests/test_package.py",
        "docs/how-to/models.md",
        "CHANGELOG.md",
        "CITATION.cff",
        "SECURITY.md",
        "LICENSE",
    ):
        assert (source / name).is_file(), name
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel"], cwd=source, check=True, capture_output=True
    )
    with zipfile.ZipFile(wheel) as one, zipfile.ZipFile(source / "dist" / wheel.name) as other:
        assert {n: one.read(n) for n in one.namelist()} == {n: other.read(n) for n in other.namelist()}


def test_an_installed_wheel_works_away_from_the_checkout(built, tmp_path):
    """In an environment of its own, which borrows the dependencies of this one and nothing of temperax."""
    python = make_environment(tmp_path / "venv")
    site = Path(
        subprocess.check_output(
            [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], text=True
        ).strip()
    )
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        python,
        "--no-input",
        "install",
        "--no-deps",
        "--no-index",
        "--quiet",
    ]
    subprocess.run([*pip, built[0]], check=True)
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib"))  # a path, whose own .pth files are not read
    assert run(python, LINES, tmp_path) == tx.__version__
    shown = subprocess.check_output([python.parent / "temperax", "--help"], text=True, env=alone(), cwd=tmp_path)
    assert "temper" in shown


@pytest.mark.slow
def test_an_installed_wheel_brings_all_that_it_needs(built, tmp_path):
    """With its dependencies from the package index, as a user has it."""
    python = make_environment(tmp_path / "venv")
    subprocess.run([sys.executable, "-m", "pip", "--python", python, "install", "--quiet", built[0]], check=True)
    assert run(python, LINES, tmp_path) == tx.__version__


def make_environment(folder):
    venv.create(folder, with_pip=False)
    return folder / "bin" / "python"


def alone():
    """This environment without what leads back to the checkout."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def run(python, lines, folder):
    done = subprocess.run([python, "-c", lines], capture_output=True, text=True, cwd=folder, env=alone())
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
