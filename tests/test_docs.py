"""The site says what runs: every block of Python of every page, and of the README; and links lead somewhere."""

import functools
import importlib.util
import inspect
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
#: What blocks ask of samplers is cut to this where a page is only to run; `make test-slow` runs pages as they stand.
LITTLE = {"num_draws": 32, "num_warmup": 30, "num_replicas": 5, "num_particles": 32, "scans": 4, "thin": 1}
SAMPLERS = ("sample", "parallel_tempering", "smc", "anneal", "learning_coefficient", "repeat", "transitions.hysteresis")
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


def shortened(sampler):
    """A sampler that draws little, whatever it is asked for."""
    signature = inspect.signature(sampler)

    @functools.wraps(sampler)
    def short(*args, **kwargs):
        known = {name: p.default for name, p in signature.parameters.items()} | kwargs
        cut = {name: min(known[name], most) for name, most in LITTLE.items() if isinstance(known.get(name), int)}
        chosen = {name: most for name, most in LITTLE.items() if known.get(name, 0) in (None, "auto")}
        if known.get("ladder") is not None:
            chosen.pop("num_replicas", None)
        cut |= chosen
        return sampler(*args, **(kwargs | cut))

    return short


@pytest.fixture
def little(monkeypatch):
    for name in SAMPLERS:
        *room, last = name.split(".")
        owner = getattr(tx, *room) if room else tx
        monkeypatch.setattr(owner, last, shortened(getattr(owner, last)))


WITH_CODE = {name_of(page): page for page in PAGES if blocks(page)}


@pytest.mark.filterwarnings("ignore:Estimated shape parameter")  # of leave-one-out, by so few draws
@pytest.mark.parametrize("name", WITH_CODE)
def test_every_block_runs(name, tmp_path, monkeypatch, little):
    assert read(WITH_CODE[name], tmp_path, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("name", WITH_CODE)
def test_every_page_runs_as_it_stands(name, tmp_path, monkeypatch):
    found = read(WITH_CODE[name], tmp_path, monkeypatch)
    if name == "docs/how-to/kernels.md":
        theta = found["ladder"]["posterior"]["theta"]
        assert np.abs(float(theta.mean()) - 0.8) < 0.1


def read(page, folder, monkeypatch):
    """Run the blocks in order, in one namespace, as a reader would; what other packages bring where they are there."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(tx, "use_cpu_devices", lambda number: None)  # JAX has started already
    (folder / "model.stan").write_text(STAN)
    (folder / "data.json").write_text(json.dumps({"n": 3, "y": [0.3, 0.7, 1.1]}))
    found: dict = {}
    for number, block in enumerate(blocks(page)):
        needed = next((module for word, module in NEEDS.items() if word in block), None)
        if needed and importlib.util.find_spec(needed) is None:
            continue
        if needed == "bridgestan" and not stan_builds(folder):
            continue
        exec(compile(block, f"{name_of(page)}, block {number}", "exec"), found)
    return found


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
