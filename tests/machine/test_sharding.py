"""Rows of the data spread over devices: the same energies and gradients up to rounding, and right draws."""

import json
import os
import re
import socket
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from cases import some

import temperax as tx
from temperax import tempering
from temperax.engine import engine
from temperax.engine.program import MEMORY_SHARE, bytes_of_gradient, make_program
from temperax.machine import sharding
from temperax.training.landscape import prior_draws

HERE = Path(__file__).parent


def begin(what, devices, *arguments):
    """A process with so many devices that does one of the things below."""
    code = f"import test_sharding as t, temperax as tx; tx.use_cpu_devices({devices}); t.{what}{arguments}"
    path = os.pathsep.join([str(HERE), str(HERE.parent), os.environ.get("PYTHONPATH", "")])
    pipe, environment = subprocess.PIPE, os.environ | {"PYTHONPATH": path}
    return subprocess.Popen([sys.executable, "-c", code], stdout=pipe, stderr=pipe, text=True, env=environment)


def end(process):
    """What it printed."""
    out, errors = process.communicate(timeout=900)
    assert process.returncode == 0, errors
    return json.loads([line for line in out.splitlines() if line.startswith("{")][-1])  # Gloo prints some of its own


# -- what the processes do -------------------------------------------------------------------------------------------


def own_rows(w, data):
    """A user's own energy, one value a row."""
    return 0.5 * (data["y"] - jnp.tanh(data["x"] @ w)) ** 2 + jnp.log(2.0)


def make_energies():
    """Networks and a user's own energy on rows that neither 2 nor 4 divides, absolute and from a reference."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(53, 3))
    y = np.sin(x[:, 0]) + 0.2 * rng.normal(size=53)
    network = tx.Energy.mlp(tx.Dataset.from_arrays(x, y), (4,))
    own = tx.Energy(own_rows, dist.Normal(0, 1).expand([3]).to_event(1), {"x": x, "y": y})
    x = rng.normal(size=(40_001, 2))  # more than a chunk on every device
    many = tx.Energy.mlp(tx.Dataset.from_arrays(x, np.sin(x[:, 0])), (3,), likelihood=tx.likelihoods.StudentT())
    energies = {"network": network, "own": own, "many": many}
    return energies | {
        f"{name}, relative": energy.relative_to(prior_draws(energy, jax.random.key(3), 1)[0])
        for name, energy in energies.items()
    }


def program_of(energy, row_devices=1, num_chains=1, **changes):
    """Three temperatures of an energy, ready to run."""
    options = {"kernel": tx.HMC(step_size=0.1), "scheme": None, "batch_size": None} | changes
    return make_program(
        energy,
        np.array([0.0, 0.5, 1.0]),
        path=tempering.PATHS["likelihood"],
        num_chains=num_chains,
        kept=np.array([2]),
        thin=1,
        row_devices=row_devices,
        **options,
    )


def points(energy, row_devices):
    """Energies and gradients at three positions, as the engine evaluates them."""
    program = program_of(energy, row_devices)
    program = program.placed(energy=energy.over_rows(row_devices))
    found = evaluated(program, prior_draws(energy, jax.random.key(5), 3))
    return jax.tree.map(np.asarray, found)


@jax.jit
def evaluated(program, positions):
    """What the engine knows of positions, by one program of the mesh."""

    def every(program, positions):
        return jax.lax.map(partial(tempering.evaluate, program.path, program.energy), positions)

    return engine.on_devices(every, program, positions, out=sharding.ON_EVERY_DEVICE)


def compare(row_devices, forgotten):
    """Print the largest errors of energies and gradients, for each energy; something may have been forgotten."""
    found = {}
    energies = make_energies()
    whole = {name: points(energy, 1) for name, energy in energies.items()}
    if forgotten:
        setattr(sharding, forgotten, lambda x: x)
    for name, energy in energies.items():
        split = points(energy, row_devices)
        scale = np.abs(whole[name].terms.data).max()
        of_energy = np.abs(split.terms.data - whole[name].terms.data).max() / scale
        of_gradient = np.abs(split.path_gradient - whole[name].path_gradient).max()
        of_gradient /= np.abs(whole[name].path_gradient).max()
        np.testing.assert_allclose(split.terms.prior, whole[name].terms.prior, rtol=1e-5, atol=1e-4)
        found[name] = [float(of_energy), float(of_gradient)]
    print(json.dumps(found))


def regression(kernel):
    """Print how far, in standard errors, moments of an exactly known posterior are off, with rows on two devices."""
    from regression import largest_z, make_energy

    case = json.loads((HERE.parent / "reference" / "exact_cases.json").read_text())["linear_regression"]
    beta = [float(b) for b in case["temperatures"]]
    options = {"path": "likelihood", "num_warmup": 300, "num_draws": 1000, "num_chains": 2, "progress": False}
    tree = tx.sample(jax.random.key(4), make_energy(case), beta=beta, kernel=kernel, row_devices=2, **options)
    found = {"right": largest_z(tree, case, "likelihood"), "wrong": largest_z(tree, case, "posterior")}
    print(json.dumps(found))


def ladder(port=None, process=0):
    """Print draws of a short ladder whose rows lie on two devices, of one process or of two."""
    if port is not None:
        tx.use_processes(f"localhost:{port}", 2, process)
    kernel = tx.HMC(max_steps=4)  # every one of their gradients is a message
    options = {"num_replicas": 3, "num_chains": 1, "num_draws": 32, "start": "prior", "progress": False}
    tree = tx.parallel_tempering(jax.random.key(4), make_energies()["network"], kernel=kernel, row_devices=2, **options)
    assert jax.device_count() == 2
    kept = {"weight": tree["posterior"]["layer_0_weight"], "replica": tree["exchange"]["replica"]}
    print(json.dumps({name: values.values.tolist() for name, values in kept.items()}))


def meshes():
    """Print how many devices share replicas of a small and a large energy, few of them and many."""
    energies, many = make_energies(), np.linspace(0, 1, 400)
    few = {name: program_of(energies[name], num_chains=2) for name in ("network", "many")}
    found = {name: [program.mesh.size, program.refit(many).mesh.size] for name, program in few.items()}
    print(json.dumps(found))


# -- tests -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("row_devices", [2, 4])
def test_energies_and_gradients_are_those_of_all_rows(row_devices):
    found = end(begin("compare", 4, row_devices, ""))
    assert len(found) == 6
    for name, (of_energy, of_gradient) in found.items():
        assert of_energy < 2e-5 and of_gradient < 2e-5, (name, of_energy, of_gradient)


@pytest.mark.slow
@pytest.mark.parametrize("forgotten", ["total", "shared"])
def test_what_is_forgotten_shows(forgotten):
    """The negative control: without the sum over devices energies are of a part, without its transpose gradients."""
    for name, (of_energy, of_gradient) in end(begin("compare", 2, 2, forgotten)).items():
        assert (of_energy > 0.1, of_gradient > 0.1) == (forgotten == "total", forgotten == "shared"), name


@pytest.mark.slow
@pytest.mark.parametrize("kernel", ["hmc", "nuts"])
def test_moments_with_rows_on_two_devices(kernel):
    found = end(begin("regression", 2, kernel))
    assert found["right"] < 5 < 10 < found["wrong"]


@pytest.mark.slow
def test_rows_of_two_processes():
    """Two halves add up to the same in either order, so that even the bits agree."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    both = [begin("ladder", 1, port, i) for i in range(2)]
    alone = begin("ladder", 2)
    first, second = (end(process) for process in both)
    assert first == second == end(alone)


def test_devices_share_what_is_worth_it():
    """A message costs as much as thousands of small energies; six replicas lie on three devices of four."""
    assert end(begin("meshes", 4)) == {"network": [1, 4], "many": [3, 4]}


def test_rows_that_cannot_be_shared():
    scalar = tx.Energy(lambda w: jnp.sum(w**2), dist.Normal(0, 1).expand([3]).to_event(1))
    with pytest.raises(tx.InputError, match="row_devices.*asks for rows to share.*one value a row"):
        scalar.over_rows(2)
    other = tx.Energy(lambda w, d: (d["y"] - w) ** 2, dist.Normal(0, 1), {"y": np.ones(4), "scale": np.ones(())})
    with pytest.raises(tx.InputError, match="rows to share"):
        other.over_rows(2)
    rows = tx.Energy(own_rows, dist.Normal(0, 1).expand([3]).to_event(1), {"x": np.ones((6, 3)), "y": np.ones(6)})
    with pytest.raises(tx.InputError, match="row_devices = 3 does not divide 1 devices"):
        tx.sample(jax.random.key(0), rows, row_devices=3, progress=False)


# -- what an accelerator runs ----------------------------------------------------------------------------------------


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Talkative(tx.HMC):
    """HMC that tells the host of every trajectory."""

    def step(self, key, potential_at, beta, start, tuning, jitter):
        jax.debug.print("{}", beta)
        return super().step(key, potential_at, beta, start, tuning, jitter)


@pytest.mark.parametrize(("kernel", "asks"), some([(tx.HMC(), False), (Talkative(), True)], [(tx.NUTS(), False)]))
def test_a_block_asks_nothing_of_the_host(small_data, key, kernel, asks):
    """A block as an accelerator runs it, with all replicas at once, adaptation and exchange in it."""
    energy = tx.Energy.mlp(small_data, (3,))
    program = program_of(energy, num_chains=2, kernel=kernel, scheme="deterministic", batch_size=0)
    positions = np.asarray(prior_draws(energy, key, 6)).reshape(2, 3, -1)
    state = engine.to_devices(program, engine.blank_state(program, positions))
    block = engine.run_block.lower(program, key, state, np.int32(1), np.bool_(True))
    block = block.compile(compiler_options={"xla_backend_optimization_level": 0})  # it is read, not run
    assert bool(re.search("callback|infeed|outfeed|host_transfer", block.as_text())) == asks


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Wander(tx.Explorer):
    """Steps of a random walk that are always accepted: energies that differ from scan to scan, and soon compiled."""

    def move(self, key, position, beta, potential):
        return position + 0.1 * jax.random.normal(key, position.shape)


@pytest.mark.slow
def test_an_accelerator_advances_what_its_memory_has_room_for(small_data, key, monkeypatch):
    """Six replicas on a device that says it has so much memory; the draws are the same up to rounding."""
    energy = tx.Energy.mlp(small_data, (20,))
    each = bytes_of_gradient(energy)
    positions = np.asarray(prior_draws(energy, key, 6)).reshape(2, 3, -1)
    monkeypatch.setattr(sharding, "on_processor", lambda: False)

    def on_device(room):
        memory = None if room is None else int(room * each / MEMORY_SHARE)
        monkeypatch.setattr(sharding, "device_memory", lambda: memory)
        return program_of(energy, num_chains=2, kernel=Wander())

    def energies(program):
        state, _ = engine.start(program, key, positions)
        return engine.run_block(program, key, state, np.int32(2), np.bool_(False))[1].data_energy[:2]

    for room, batch_size, at_once in ((None, 0, 0), (0.1, 1, 1), (4.5, 4, 4), (6.5, 6, 0), (1000.5, 1000, 0)):
        program = on_device(room)
        assert (program.batch_size, program.at_once) == (batch_size, at_once)
    np.testing.assert_allclose(energies(on_device(4.5)), energies(on_device(6.5)), rtol=1e-4)
    assert on_device(6.5).refit(np.linspace(0, 1, 6)).at_once == 6, "twelve replicas no longer fit"


def test_a_gradient_needs_memory_for_its_rows_up_to_a_chunk_of_them():
    rng = np.random.default_rng(0)
    each = {}
    for rows in (400, 4_000, 81_920, 819_200):
        x = rng.normal(size=(rows, 2))
        each[rows] = bytes_of_gradient(tx.Energy.mlp(tx.Dataset.from_arrays(x, np.sin(x[:, 0])), (50,)))
    assert 5 < each[4_000] / each[400] < 11
    assert each[4_000] < each[81_920] == each[819_200]
