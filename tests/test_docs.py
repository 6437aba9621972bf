"""The site says what runs: every block of Python of every page, and of the README; and links lead somewhere."""

import importlib.util
import json
import re
import sys
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest

import temperax as tx

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "docs"))

import pages  # noqa: E402

PAGES = [ROOT / "README.md", *sorted(p for p in (ROOT / "docs").rglob("*.md") if not {"made", "_build"} & {*p.parts})]
#: Pages that are done in seconds; every other one is for `make test-slow`.
QUICK = {"docs/how-to/data.md", "docs/how-to/hosts.md"}
#: Blocks that need what is not everywhere: by a word of theirs, the module.
NEEDS = {"import pymc": "pymc", "import bridgestan": "bridgestan"}
#: A Stan program of two normal parameters and its data, for the page's block.
STAN = """
data { int n; vector[n] y; }
parameters { real mean; real<lower=0> scale; }
model { mean ~ normal(0, 1); scale ~ normal(0, 1); y ~ normal(mean, scale); }
"""


@pytest.fixture(autouse=True)
def precision():
    """PyMC's JAX backend switches JAX to double precision as it is imported; other tests are not to see that."""
    import jax

    before = jax.config.jax_enable_x64
    yield
    jax.config.update("jax_enable_x64", before)


def name_of(page):
    return page.relative_to(ROOT).as_posix()


def blocks(page):
    return re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.S)


def with_code():
    for page in PAGES:
        if blocks(page):
            yield pytest.param(page, id=name_of(page), marks=[] if name_of(page) in QUICK else pytest.mark.slow)


@pytest.mark.parametrize("page", with_code())
def test_every_block_runs(page, tmp_path, monkeypatch):
    """In order, in one namespace, as a reader would; what other packages bring runs where they are installed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tx, "use_cpu_devices", lambda number: None)  # JAX has started already
    (tmp_path / "model.stan").write_text(STAN)
    (tmp_path / "data.json").write_text(json.dumps({"n": 3, "y": [0.3, 0.7, 1.1]}))
    found: dict = {}
    for number, block in enumerate(blocks(page)):
        needed = next((module for word, module in NEEDS.items() if word in block), None)
        if needed and importlib.util.find_spec(needed) is None:
            continue
        if needed == "bridgestan" and not stan_builds(tmp_path):
            continue
        exec(compile(block, f"{name_of(page)}, block {number}", "exec"), found)
    assert found
    if page.name == "kernels.md":
        theta = found["ladder"]["posterior"]["theta"]
        assert np.abs(float(theta.mean()) - 0.8) < 0.1


def test_blocks_that_do_not_run_say_why():
    """Python that is shown and not run is a ``code-block`` with a caption."""
    for page in PAGES:
        for caption in re.findall(r"\{code-block\} python\n(.*)\n", page.read_text()):
            assert caption.startswith(":caption: Not run by the tests: "), f"{name_of(page)}: {caption}"


def test_links_lead_to_files():
    """Relative links of Markdown; what is within the site Sphinx checks as well, and `make linkcheck` the others."""
    for page in [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", ROOT / "benchmarks" / "README.md"]:
        text = re.sub(r"```.*?```", "", page.read_text(), flags=re.S)
        for link in re.findall(r"\]\(([^)#\s]+)", text):
            if "://" not in link and not (page.parent / unquote(link)).exists():
                made = {f"{name}.rst" for name in pages.REFERENCE}  # when the site is built
                assert Path(link).name in made, f"{name_of(page)} links to {link}, which is not there"


def stan_builds(folder):
    """Whether a Stan program can be compiled here, which needs its sources and a compiler."""
    import bridgestan

    try:
        bridgestan.compile_model(folder / "model.stan")
    except Exception as error:
        print(f"no Stan here: {error}")
        return False
    return True


def test_pymc_by_its_log_density(key):
    """PyMC's model of normal data: the energy is its own."""
    pm = pytest.importorskip("pymc")
    import jax
    import jax.numpy as jnp
    from pymc.sampling.jax import get_jaxified_logp

    y = np.array([0.3, 0.7, 1.1])
    with pm.Model() as model:
        pm.Normal("y", pm.Normal("mean", 0, 1), pm.HalfNormal("scale", 1), observed=y)
    logp, names, point = get_jaxified_logp(model), [v.name for v in model.value_vars], model.initial_point()
    energy = tx.Energy.from_log_density(
        lambda p: logp([p[name] for name in names]), {name: jnp.asarray(point[name], float) for name in names}
    )
    compiled = model.compile_logp()
    for position in jax.random.normal(key, (3, 2)):
        values = {name: np.asarray(v) for name, v in energy.unravel(position).items()}
        assert energy.data_energy(position) == pytest.approx(-float(compiled(values)), rel=1e-4)
