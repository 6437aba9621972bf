"""The reference's examples run, what they point to exists, and names without one are a list that only shrinks."""

import doctest
import inspect
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "docs"))

import pages  # noqa: E402

#: Public names without an example; add none.
WITHOUT = {
    "Interrupted",
    "ProcessError",
    "StorageError",
}
#: Examples that compile a run of their own, or much else.
SLOW = {
    "anneal",
    "diagnostics.sides",
    "kernels.HMC",
    "kernels.MAMS",
    "kernels.MCLMC",
    "learning_coefficient",
    "numpyro.ParallelTempering",
    "numpyro.TemperedHMC",
    "numpyro.TemperedNUTS",
    "open_run",
    "optimise.train",
    "optimise.polish",
    "plots.annealing",
    "plots.annealing_against_restarts",
    "plots.particles",
    "predict.agreement",
    "predict.predictive",
    "recipes.tabular",
    "smc",
    "studies.annealing_against_restarts",
    "studies.expressivity",
    "studies.pruning",
    "systems.heat_bath",
    "systems.hopfield",
    "thermodynamics.compare_evidence",
    "transitions.finite_size",
    "transitions.hysteresis",
    "TemperedClassifier",
    "TemperedRegressor",
}
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def documented():
    """Every public name, and every method that the reference explains."""
    for names in pages.public().values():
        for name in names:
            yield name
            yield from (f"{name}.{method}" for method in pages.methods(name))


def section(name, title):
    """A section of a docstring, or nothing."""
    text = inspect.getdoc(pages.find(name)) or ""
    found = re.search(rf"^{title}\n-+\n(.*?)(?=^\S[^\n]*\n-+\n|\Z)", text, flags=re.S | re.M)
    return found.group(1) if found else ""


@pytest.fixture(scope="module")
def shared():
    """What the reference's first page says that its examples begin with."""
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "api" / "index.md").read_text(), flags=re.S)
    found: dict = {}
    exec(compile(block, "docs/api/index.md", "exec"), found)
    return found


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow if name in SLOW else [])
        for name in documented()
        if section(name, "Examples")
    ],
)
def test_example(name, shared, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    example = doctest.DocTestParser().get_doctest(section(name, "Examples"), dict(shared), name, name, 0)
    said: list[str] = []
    runner = doctest.DocTestRunner(optionflags=OPTIONS)
    runner.run(example, out=said.append)
    assert not runner.failures, "".join(said)


def test_public_names_have_examples():
    missing = {name for names in pages.public().values() for name in names if not section(name, "Examples")}
    assert missing <= WITHOUT, f"give {sorted(missing - WITHOUT)} an example in its docstring"
    assert missing >= WITHOUT, f"{sorted(WITHOUT - missing)} have an example now: take them off the list"


def test_what_is_pointed_to_exists():
    for name in documented():
        for other in re.findall(r"temperax\.([\w.]+\w)", section(name, "See Also")):
            assert pages.find(other) is not None
