"""Time of a scan on one device, two devices and two processes, what they send each other, and a model of many hosts.

``python -m benchmarks.distributed --json out.json``

A ladder on a network of the size of concrete's (8-50-1 tanh, made-up rows), trajectories of fixed length.  Fixed work
a device (weak scaling) and fixed work in all (strong scaling); every device has one core, also where it is alone, and
every point processes of its own.  What is sent is read from the compiled program: results of its all-gathers and
all-reduces, once a scan, once a draw, or while adapting; and held against the formula of `expected_bytes`.

The model puts together what is measured here: seconds of a leapfrog, latency and bandwidth of a gather between two
processes, and seconds a replica of what every device computes for all replicas alike (arranging reports, deciding
swaps).  It says with how few replicas a host N hosts are 90 % efficient, and up to how many hosts a ladder with one
replica a device is.  ASSUMPTIONS are printed with it and in the JSON.
"""

import argparse
import json
import math
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import temperax as tx
from benchmarks import harness
from benchmarks.ladder import FullTrajectories
from temperax import tempering
from temperax.engine import engine, exchange, scanning
from temperax.engine.program import Program, State, make_program
from temperax.machine import sharding
from temperax.training.starts import make_starts

#: Networks: rows, inputs, hidden units, leapfrogs of a trajectory.
NETWORKS = {"concrete": (927, 8, (50,), 64), "larger": (10_000, 8, (200, 200), 64)}
REPLICAS = 4  # a device, under weak scaling; twice as many in all under strong scaling
HOSTS = [2**i for i in range(1, 11)]
EFFICIENT = 0.9
ASSUMPTIONS = (
    "a host is one device of the speed of one core here, with one process",
    "trajectories have the same length everywhere: no host waits for another's longer one",
    "a gather over N hosts is a ring of N - 1 steps, each with the latency of a gather between two processes here",
    "an all-reduce is two such rings; every scan is a draw (thin = 1) that keeps one position a ladder",
    "latency and bandwidth are those of loopback: a real network's latency, if larger, scales the hosts down with it",
    "what all devices compute alike grows as the number of replicas, and nothing overlaps with communication",
)
SIZES = {"f64": 8, "s64": 8, "u64": 8, "f32": 4, "s32": 4, "u32": 4, "bf16": 2, "f16": 2, "s8": 1, "u8": 1, "pred": 1}


# -- a program and what it sends -------------------------------------------------------------------------------------


def ladder_program(network: str, replicas: int, leapfrogs: int) -> tuple[Program, State, jax.Array]:
    """A ladder from the prior, ready to run on all devices of all processes."""
    rows, inputs, hidden, _ = NETWORKS[network]
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, inputs))
    y = np.sin(x[:, :1]) + 0.5 * x[:, 1:2] + 0.3 * rng.normal(size=(rows, 1))
    energy = tx.Energy.mlp(tx.Dataset.from_arrays(x, y), hidden)
    program = make_program(
        energy,
        tx.ladder.geometric(replicas, hottest=1e-3),
        path=tempering.PATHS["likelihood"],
        # A step so short that every trajectory is accepted: what is timed is the machine, not the posterior.
        kernel=FullTrajectories(step_size=1e-6, max_steps=leapfrogs),
        num_chains=1,
        kept=np.array([replicas - 1]),
        thin=1,
        scheme="deterministic",
        batch_size=None,
    )
    key = jax.random.key(0)
    positions, origin = make_starts(key, energy, program, "prior", False)
    program = origin.seat(program)
    return program, engine.start(program, key, positions)[0], sharding.place(program.mesh, key)


def sent(hlo: str) -> dict[str, int]:
    """Bytes of the results of a compiled block's collectives: those of every scan, of every draw, and of adapting."""
    found = {"scan": 0, "draw": 0, "adapting": 0}
    for line in hlo.splitlines():
        match = re.search(r"= (.*?) (all-gather|all-reduce|all-to-all|collective-permute)(-start)?\(", line)
        if match is None:
            continue
        shapes = re.findall(r"(\w+)\[([\d,]*)\]", match[1])
        size = sum(SIZES[kind] * math.prod(int(n) for n in shape.split(",") if n) for kind, shape in shapes)
        name = re.search(r'op_name="([^"]*)"', line)
        # Positions are summed over the devices, once a draw; all that is gathered in a branch is for adapting.
        branch = name is not None and "branch_" in name[1]
        found["draw" if match[2] == "all-reduce" else "adapting" if branch else "scan"] += size
    return found


def expected_bytes(program: Program) -> dict[str, int]:
    """The same by what the engine says that it sends, in single precision."""
    devices = program.mesh.shape[sharding.REPLICA]
    places = devices * sharding.per_device(program.mesh, program.num_replicas) if devices > 1 else 0
    kept = program.num_chains * len(program.keep) if devices > 1 else 0
    return {
        "scan": 4 * places * len(scanning.Report._fields),
        "draw": 4 * kept * program.energy.size,
        "adapting": 4 * places * 4 * program.energy.size,  # where it began and ended, its gradient and its momentum
    }


def scan_point(network: str, replicas: int, leapfrogs: int, scans: int, repeats: int) -> dict:
    """Milliseconds a scan, the least of several runs, and what is sent."""
    program, state, key = ladder_program(network, replicas, leapfrogs)
    arguments = np.int32(min(scans, program.block_draws)), np.bool_(False)
    block = engine.run_block.lower(program, key, state, *arguments).compile()
    seconds = []
    for _ in range(repeats + 1):
        sharding.meet("begin")
        began = time.perf_counter()
        state, record = block(program, key, state, *arguments)
        jax.block_until_ready((state, record))
        seconds.append((time.perf_counter() - began) / int(arguments[0]))
    # One device gathers from itself alone, which sends nothing.
    found = sent((block.as_text() or "") if jax.device_count() > 1 else "")
    formula = expected_bytes(program)
    return {
        "ms_per_scan": 1e3 * min(seconds[1:]),
        **{f"bytes_{name}": value for name, value in found.items()},
        **{f"formula_{name}": value for name, value in formula.items()},
    }


# -- what the model needs --------------------------------------------------------------------------------------------


def least_seconds(function: Callable, *arguments: object, repeats: int = 5) -> float:
    """Seconds of a compiled call."""
    jax.block_until_ready(function(*arguments))
    seconds = []
    for _ in range(repeats):
        sharding.meet("begin")
        began = time.perf_counter()
        jax.block_until_ready(function(*arguments))
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def gather_point(times: int) -> dict:
    """Latency (µs) and bandwidth (MB/s, of what a device receives) of the engine's gather, by small and large ones."""
    mesh = sharding.make_mesh(jax.device_count(), np.inf)

    def seconds(numbers: int) -> float:
        def local(x: jax.Array) -> jax.Array:
            def once(_: int, x: jax.Array) -> jax.Array:
                return x + jnp.sum(sharding.everywhere(x[None], jax.device_count()), axis=0)

            return jax.lax.fori_loop(0, times, once, x)

        repeat = jax.jit(sharding.on_mesh(mesh, local, sharding.ON_EVERY_DEVICE, sharding.ON_EVERY_DEVICE))
        return least_seconds(repeat, sharding.place(mesh, np.zeros(numbers, np.float32))) / times

    small, large = 16, 2**18
    low, high = seconds(small), seconds(large)
    return {"latency_us": 1e6 * low, "mb_per_second": 4e-6 * (large - small) / max(high - low, 1e-9)}


def alike_point() -> dict:
    """Nanoseconds a replica of what all devices compute alike: reports into slots, the swaps, the journeys."""

    @jax.jit
    def alike(reports: jax.Array, journeys: exchange.Journeys, betas: jax.Array) -> tuple:
        values = reports[journeys.replica]
        swaps = exchange.swap("deterministic", jax.random.key(0), jnp.int32(0), betas, values[:, 2])
        order = jnp.argsort(journeys.replica)
        return values[swaps.order], exchange.travel(journeys, swaps.order), swaps.acceptance, order

    def seconds(replicas: int) -> float:
        reports = jnp.ones((replicas, len(scanning.Report._fields)))
        return least_seconds(alike, reports, exchange.depart(replicas), jnp.linspace(0, 1, replicas), repeats=20)

    few, many = 64, 4096
    return {"ns_per_replica": 1e9 * (seconds(many) - seconds(few)) / (many - few)}


def efficiency(hosts: int, replicas: float, step: float, leapfrogs: int, size: int, costs: dict) -> float:
    """Share of a scan that is leapfrogs, with so many replicas a host (seconds a leapfrog, parameters)."""
    useful = replicas * leapfrogs * step
    latency, rate = 1e-6 * costs["latency_us"], 1e6 * costs["mb_per_second"]
    gather = (hosts - 1) * (latency + 4 * len(scanning.Report._fields) * replicas / rate)
    reduce = 2 * (hosts - 1) * (latency + 4 * size / hosts / rate)
    alike = 1e-9 * costs["ns_per_replica"] * replicas * hosts
    return useful / (useful + gather + reduce + alike)


def model(network: str, step: float, size: int, costs: dict) -> dict:
    """What many hosts would do: rows for N = 2 … 1024, and the largest ladder with one replica a host."""
    leapfrogs = NETWORKS[network][3]

    def of(hosts: int, replicas: float) -> float:
        return efficiency(hosts, replicas, step, leapfrogs, size, costs)

    rows = []
    for hosts in HOSTS:
        # Efficiency grows with the replicas of a host, up to a limit.
        fewest = next((r for r in range(1, 4097) if of(hosts, r) >= EFFICIENT), None)
        rows.append(
            {
                "network": network,
                "hosts": hosts,
                "efficiency_one_each": of(hosts, 1),
                "fewest_each": fewest,
                "ladder": fewest and fewest * hosts,
            }
        )
    largest = max((n for n in range(1, 2**16) if of(n, 1) >= EFFICIENT), default=0)
    return {"network": network, "us_per_leapfrog": 1e6 * step, "parameters": size, "largest_one_each": largest} | {
        "rows": rows
    }


# -- processes -------------------------------------------------------------------------------------------------------


def obey(order: dict) -> dict:
    """One point, in this process, which has as many cores as devices."""
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        first = order["process"] % len(cores)
        os.sched_setaffinity(0, cores[first : first + order["devices"]])
    tx.use_cpu_devices(order["devices"])
    if order["processes"] > 1:
        tx.use_processes(f"localhost:{order['port']}", order["processes"], order["process"])
    points: dict[str, Callable[..., dict]] = {"scan": scan_point, "gather": gather_point, "alike": alike_point}
    return points[order["what"]](**order["arguments"])


def in_processes(what: str, devices: int, processes: int, limit: float = 300.0, **arguments: Any) -> dict:
    """A point in processes of their own, or why there is none."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    order = {"what": what, "devices": devices, "processes": processes, "port": port, "arguments": arguments}
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "benchmarks.distributed", "--point", json.dumps(order | {"process": i})],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parent.parent,
        )
        for i in range(processes)
    ]
    try:
        outputs = [process.communicate(timeout=limit) for process in running]
    except subprocess.TimeoutExpired:
        return {"failure": f"not in {limit:.0f} s"}
    finally:
        for process in running:
            process.kill()
    if any(process.returncode for process in running):
        return {"failure": next(filter(None, (harness.last_error(errors) for _, errors in outputs)), "no reason given")}
    return json.loads([line for line in outputs[0][0].splitlines() if line.startswith("{")][-1])


def scaling_rows(quick: bool) -> list[dict]:
    """Weak and strong scaling of the network of concrete's size."""
    leapfrogs = 16 if quick else NETWORKS["concrete"][3]
    work: dict[str, Any] = {
        "network": "concrete",
        "leapfrogs": leapfrogs,
        "scans": 20 if quick else 50,
        "repeats": 2 if quick else 5,
    }
    rows = []
    for replicas, devices, processes in (
        (REPLICAS, 1, 1),
        (2 * REPLICAS, 1, 1),
        (2 * REPLICAS, 2, 1),
        (2 * REPLICAS, 1, 2),
    ):
        print(f"{replicas} replicas, {processes} × {devices} devices …", flush=True)
        point = {"case": "scan", "replicas": replicas, "processes": processes, "devices": devices * processes}
        rows.append(
            point | {"leapfrogs": leapfrogs} | in_processes("scan", devices, processes, replicas=replicas, **work)
        )
    few, many = (row.get("ms_per_scan", float("nan")) for row in rows[:2])
    for row in rows[2:]:
        row["weak_efficiency"] = few / row.get("ms_per_scan", float("nan"))
        row["strong_efficiency"] = many / (2 * row.get("ms_per_scan", float("nan")))
    return rows


def measured_costs(quick: bool) -> tuple[dict, dict[str, float]]:
    """What the model needs: costs of exchange, and seconds of a leapfrog of each network."""
    costs = in_processes("gather", 1, 2, times=200 if quick else 1000) | in_processes("alike", 1, 1)
    steps = {}
    for name in NETWORKS:
        print(f"a leapfrog of {name} …", flush=True)
        short, long = (
            in_processes(
                "scan",
                1,
                1,
                network=name,
                replicas=3,
                leapfrogs=n,
                scans=3 if name == "larger" else 30,
                repeats=2 if quick else 5,
            )
            for n in (2, 10)
        )
        per_scan = 1e-3 * (long.get("ms_per_scan", float("nan")) - short.get("ms_per_scan", float("nan")))
        steps[name] = per_scan / (3 * 8)
    return costs, steps


def size_of(network: str) -> int:
    """Parameters of a network, and the scale of its noise."""
    _, inputs, hidden, _ = NETWORKS[network]
    return 1 + sum((below + 1) * above for below, above in pairwise((inputs, *hidden, 1)))


def main() -> None:
    parser = harness.arguments(__doc__.splitlines()[0])
    parser.add_argument("--point", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.point:
        print("\n" + json.dumps(obey(json.loads(options.point))), flush=True)
        return
    rows = scaling_rows(options.quick)
    costs, steps = measured_costs(options.quick)
    rows.append({"case": "costs", **costs})
    goals = []
    for row in rows[2:4]:
        name = "two processes" if row["processes"] > 1 else "two devices"
        for kind in ("weak", "strong"):
            value = row[f"{kind}_efficiency"]
            goals.append(harness.goal(f"{kind} scaling, {name}", value, EFFICIENT, at_most=False))
        off = [
            abs(row.get(f"bytes_{k}", math.nan) - row.get(f"formula_{k}", math.nan))
            for k in ("scan", "draw", "adapting")
        ]
        goals.append(harness.goal(f"bytes sent, program less formula, {name}", max(off), 0, at_most=True))
    if "failure" not in costs:
        models = [model(name, step, size_of(name), costs) for name, step in steps.items()]
        print("\nThe model of many hosts assumes:", *(f"- {text}" for text in ASSUMPTIONS), sep="\n")
        harness.show([row for m in models for row in m["rows"]], [])
        for m in models:
            largest, leapfrog = m["largest_one_each"], f"{m['us_per_leapfrog']:.3g} µs a leapfrog"
            print(f"{m['network']}: {leapfrog}; {EFFICIENT} efficient with one replica a host up to {largest} hosts")
        rows += [{"case": "model", **m, "assumptions": list(ASSUMPTIONS)} for m in models]
    harness.finish(rows, goals, options.json)


if __name__ == "__main__":
    main()
