"""The pages of ``docs`` say what runs: every block of Python, page by page, and what each of them claims."""

import importlib.util
import json
import re
from pathlib import Path

import numpy as np
import pytest

DOCS = Path(__file__).parents[1] / "docs"
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


def blocks(page):
    return re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(), flags=re.S)


@pytest.mark.slow
@pytest.mark.parametrize("page", ["models.md", "kernels.md", "predict.md", "report.md"])
def test_every_block_runs(page, tmp_path, monkeypatch):
    """In order, in one namespace, as a reader would; what other packages bring runs where they are installed."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.stan").write_text(STAN)
    (tmp_path / "data.json").write_text(json.dumps({"n": 3, "y": [0.3, 0.7, 1.1]}))
    found: dict = {}
    ran = 0
    for block in blocks(page):
        needed = next((module for word, module in NEEDS.items() if word in block), None)
        if needed and importlib.util.find_spec(needed) is None:
            continue
        if needed == "bridgestan" and not stan_builds(tmp_path):
            continue
        exec(compile(block, f"{page}, block {ran}", "exec"), found)
        ran += 1
    assert ran >= 2
    if page == "kernels.md":
        theta = found["ladder"]["posterior"]["theta"]
        assert np.abs(float(theta.mean()) - 0.8) < 0.1


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

    import temperax as tx

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
