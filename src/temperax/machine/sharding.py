"""The door to the machine: its devices and processes, and what they tell each other.

The replicas (and, if asked for, the rows of the data) are spread over a mesh of devices, of one process or of many.
What works on several devices runs inside `on_mesh`, as one program that every device runs on its own part: `places`
says which part that is, and `everywhere`, `picked`, `shared` and `total` are all that devices tell each other.
"""

import atexit
import ctypes
import os
import re
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import NoneType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pooch
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Int, PyTree

from temperax.errors import InputError, ProcessError, check_count

#: Keeps what is computed before it and after it apart: fused, they could be rounded in another way.
apart = jax.lax.optimization_barrier
#: Axes of the mesh.
REPLICA, ROW = "replica", "row"
ON_EVERY_DEVICE, BY_REPLICA, BY_ROW = PartitionSpec(), PartitionSpec(REPLICA), PartitionSpec(ROW)


# -- before JAX starts -----------------------------------------------------------------------------------------------


def use_cpu_devices(number: int) -> None:
    """Let JAX see the processor as ``number`` devices, so that replicas run side by side.

    Call it before anything has run on JAX.

    Raises
    ------
    InputError
        If JAX has started already.

    See Also
    --------
    temperax.use_processes

    Examples
    --------
    >>> tx.use_cpu_devices(0)  # what is wrong is said before JAX starts
    Traceback (most recent call last):
    ...
    temperax.errors.InputError: number = 0 is too small; give at least 1.
    """
    check_count("number", number, 1, 1024)
    try:
        jax.config.update("jax_num_cpu_devices", number)
    except RuntimeError as error:
        raise InputError("number", number, "comes too late, since JAX has started", "call it first of all") from error


def use_compilation_cache(directory: str | Path | None = None) -> Path:
    """Keep compiled programs on disk, so that another process with the same shapes starts without compiling.

    This is JAX's persistent cache; call it before anything is compiled.

    Parameters
    ----------
    directory
        By default the cache directory of the user's system.

    See Also
    --------
    temperax.use_cpu_devices

    Examples
    --------
    >>> folder = tx.use_compilation_cache()  # doctest: +SKIP
    """
    if not isinstance(directory, (str, Path, NoneType)):
        raise InputError("directory", directory, "is not a path", "give a folder's name")
    folder = Path(pooch.os_cache("temperax")) / "compiled" if directory is None else Path(directory)
    jax.config.update("jax_compilation_cache_dir", str(folder))
    # Many of a ladder's programs compile within a second, and there are dozens of them.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    return folder


#: Seconds after which the processes of a job take a silent one for dead.
HEARTBEAT = 20
#: Seconds that the main thread has to end by itself when JAX aborts the process.
GRACE = 3
#: What JAX's errors say when a process was lost: the transports of CPUs and GPUs, and the coordination service.
_LOST = re.compile(r"Gloo [^:]*|NCCL [^:]*|.*coordination.service.*|.*heartbeat.*", re.IGNORECASE)


def use_processes(
    coordinator: str | None = None, num_processes: int | None = None, process_id: int | None = None
) -> None:
    """Join the processes of a job, on one host or many: all of them run the same program, on the devices of all.

    This is `jax.distributed.initialize`; call it before anything has run on JAX.  Under Slurm, MPI or Kubernetes the
    arguments may be left out, since JAX finds them.

    Parameters
    ----------
    coordinator
        ``host:port`` of process 0.
    num_processes, process_id
        How many processes there are, and which of them this is, counted from 0.

    Raises
    ------
    InputError
        If some of the arguments are missing or do not fit each other, JAX has started already, or the processes do not
        find each other.

    See Also
    --------
    temperax.use_cpu_devices

    Examples
    --------
    >>> tx.use_processes("node0:1234", num_processes=2)
    Traceback (most recent call last):
    ...
    temperax.errors.InputError: process_id = None is missing; give coordinator, num_processes and process_id, or none.
    """
    given = {"coordinator": coordinator, "num_processes": num_processes, "process_id": process_id}
    missing = [name for name, value in given.items() if value is None]
    if 0 < len(missing) < 3:
        raise InputError(missing[0], None, "is missing", "give coordinator, num_processes and process_id, or none")
    if num_processes is not None and process_id is not None:
        check_count("num_processes", num_processes)
        if check_count("process_id", process_id, 0) >= num_processes:
            raise InputError("process_id", process_id, f"is not below {num_processes} processes", "count from 0")
        if not str(coordinator).rpartition(":")[2].isdigit() or not str(coordinator).rpartition(":")[0]:
            raise InputError("coordinator", coordinator, "is not of the form host:port", "give one such as node1:1234")
    try:
        jax.distributed.initialize(coordinator, num_processes, process_id, heartbeat_timeout_seconds=HEARTBEAT)
    except (RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            "coordinator", coordinator, f"joins no processes ({reason})", "call it first of all, in every process"
        ) from error
    _end_with_a_sentence()
    atexit.register(_leave)  # after JAX's own, and so called before it


# -- the mesh --------------------------------------------------------------------------------------------------------


#: Floating-point operations of a batch's energies from which devices share it.  Below, a scan of a dozen leapfrogs is
#: over before two devices have exchanged what they need to know of each other (some 100 μs on a processor).
WORTH_SHARING = 1e5


def make_mesh(batch: int, operations: float, row_devices: int = 1) -> Mesh:
    """Devices for a batch of replicas: of one process the fewest that are as quick as all, of several processes all.

    Parameters
    ----------
    batch
        How many replicas there are.
    operations
        Floating-point operations of the energy of one of them.
    row_devices
        How many devices share the rows of each replica.

    Raises
    ------
    InputError
        If the devices cannot be divided so.
    """
    devices = np.array(jax.devices())
    if len(devices) % check_count("row_devices", row_devices):
        raise InputError("row_devices", row_devices, f"does not divide {len(devices)} devices", "give a divisor")
    devices = devices.reshape(-1, row_devices)
    if jax.process_count() == 1:
        most = -(-batch // len(devices))  # replicas on the fullest device
        devices = devices[: -(-batch // most)] if batch * operations >= WORTH_SHARING else devices[:1]
    return Mesh(devices, (REPLICA, ROW))


def idle_cores(batch: int, operations: float) -> int:
    """Cores of this machine that a batch of replicas would use and JAX has been given no devices for; 0 if none."""
    cores = os.cpu_count() or 1
    if jax.device_count() > 1 or not on_processor() or batch * operations < WORTH_SHARING:
        return 0
    return min(cores, batch) if cores > 1 and batch > 1 else 0


def at_once(batch_size: int, held: int) -> int:
    """The `map_batch` size for so many replicas on a device: 0, all at once, where an accelerator's batch has them all.

    On a processor batches keep their size, so that their machine code does not depend on the number of devices.
    """
    return 0 if held <= batch_size and not on_processor() else batch_size


def on_processor() -> bool:
    """Whether the devices are a processor's."""
    return jax.default_backend() == "cpu"


def device_memory() -> int | None:
    """Bytes of memory that JAX may use on a device, where it says so."""
    return (jax.local_devices()[0].memory_stats() or {}).get("bytes_limit")


def place(mesh: Mesh, arrays: PyTree, spec: PyTree = ON_EVERY_DEVICE) -> PyTree[Array]:
    """Arrays that every process has whole, laid out on the mesh; those that lie there already stay."""

    def put(array: Any, spec: PartitionSpec) -> Array:
        sharding = NamedSharding(mesh, spec)
        if isinstance(array, jax.Array) and array.sharding == sharding:
            return array
        if jax.process_count() == 1:
            return jax.device_put(array, sharding)
        if isinstance(array, jax.Array) and jnp.issubdtype(array.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(put(jax.random.key_data(array), spec), impl=jax.random.key_impl(array))
        host = np.asarray(array)
        return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])

    specs = jax.tree.broadcast(spec, arrays, is_leaf=lambda leaf: isinstance(leaf, PartitionSpec))
    return jax.tree.map(put, arrays, specs)


def on_mesh(mesh: Mesh, function: Callable, in_specs: Any, out_specs: Any) -> Callable:
    """The function as every device of the mesh runs it, on its own part of the arguments.

    One device goes the same way, so that its program is the one that several run.
    """
    return jax.shard_map(function, mesh=mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False)


# -- on the mesh -----------------------------------------------------------------------------------------------------


def per_device(mesh: Mesh, batch: int) -> int:
    """How many of a batch each device holds; the last places of the last device may be spare."""
    return -(-batch // mesh.shape[REPLICA])


def places(mesh: Mesh, batch: int) -> Int[Array, " local"]:
    """Numbers of the replicas that this device holds; spare places do again what the last replica does."""
    count = per_device(mesh, batch)
    first = jax.lax.axis_index(REPLICA) * count  # of 32 bits, whatever JAX's integers have
    return jnp.minimum(first + jnp.arange(count, dtype=first.dtype), batch - 1)


def map_batch(function: Callable, batch: PyTree[Array], batch_size: int, zero: Int[Array, ""]) -> PyTree[Array]:
    """``function(item)`` over the leading axis of a batch.

    Parameters
    ----------
    function
        Works on one item.
    batch
        Arrays with a leading axis.
    batch_size
        Items that are run at once; 1 runs them in turn, 0 all at once.
    zero
        A 0 that the compiler does not know of: whether a device holds one item or many, they run in a loop, and the
        loop's body is compiled alike.
    """
    if batch_size == 0:
        return jax.vmap(function)(batch)
    if batch_size > 1:
        return _by_batches(function, batch, batch_size, zero)

    function = jax.jit(function)  # traced once, for its shapes and for the loop

    def item(i: Array) -> PyTree[Array]:
        return jax.tree.map(lambda x: jax.lax.dynamic_index_in_dim(x, i, keepdims=False), batch)

    count = len(jax.tree.leaves(batch)[0])
    if count == 1:  # the compiler would see that its index is 0, and compile the body otherwise
        batch = jax.tree.map(lambda x: jnp.concatenate([x, x]), batch)
    room = max(count, 2)
    results = jax.tree.map(lambda x: jnp.zeros((room, *x.shape), x.dtype), jax.eval_shape(function, item(zero)))

    def body(i: Array, results: PyTree[Array]) -> PyTree[Array]:
        found = apart(function(apart(item(i))))
        return jax.tree.map(lambda all_, one: jax.lax.dynamic_update_index_in_dim(all_, one, i, 0), results, found)

    results = jax.lax.fori_loop(0, count + zero, body, results)
    return jax.tree.map(lambda x: x[:count], results)


def _by_batches(function: Callable, batch: PyTree[Array], size: int, zero: Int[Array, ""]) -> PyTree[Array]:
    """`map_batch` by full batches: the last item fills the last one, since a rest would be other machine code."""
    count = len(jax.tree.leaves(batch)[0])
    number = jnp.minimum(jnp.arange(-(-count // size) * size), count - 1).reshape(-1, size)
    results = map_batch(jax.vmap(function), jax.tree.map(lambda x: x[number], batch), 1, zero)
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[:count], results)


def everywhere(local: PyTree[Array], batch: int) -> PyTree[Array]:
    """Values of all replicas, on every device, from those of each device's replicas."""
    gathered = apart(jax.tree.map(lambda x: jax.lax.all_gather(x, REPLICA, tiled=True), apart(local)))
    return jax.tree.map(lambda x: x[:batch], gathered)


def picked(mesh: Mesh, batch: int, local: Array, wanted: Int[Array, "*wanted"]) -> Array:
    """Values of a few replicas, by number, on every device."""
    count = per_device(mesh, batch)
    index = wanted - jax.lax.axis_index(REPLICA) * count
    here = (index >= 0) & (index < count)
    values = local[jnp.clip(index, 0, count - 1)]
    mine = jnp.where(here.reshape(here.shape + (1,) * (values.ndim - here.ndim)), values, 0)
    return jax.lax.psum(mine, REPLICA)


@jax.custom_vjp
def shared(position: Array) -> Array:
    """A position that all devices of a replica's rows work on; what flows back from them is added up."""
    return position


shared.defvjp(lambda position: (position, None), lambda _, flow: (jax.lax.psum(flow, ROW),))


@jax.custom_vjp
def total(part: Array) -> Array:
    """The sum over the devices of a replica's rows; each of them gets back the derivative of the sum."""
    return jax.lax.psum(part, ROW)


total.defvjp(lambda part: (jax.lax.psum(part, ROW), None), lambda _, flow: (flow,))


# -- between processes -----------------------------------------------------------------------------------------------


def first_process() -> bool:
    """Whether this process is the one that writes and shows progress."""
    return jax.process_index() == 0


def agree(value: float) -> float:
    """The largest of the processes' values, the same in all of them."""
    return value if jax.process_count() == 1 else float(np.max(multihost_utils.process_allgather(np.float64(value))))


def meet(name: str) -> None:
    """Wait until every process is here."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def lost(error: BaseException) -> str | None:
    """What an error says of another process that was lost, or None if it is about something else."""
    if jax.process_count() == 1 or isinstance(error, InputError) or not isinstance(error, (RuntimeError, ValueError)):
        return None
    found = _LOST.search(str(error).partition("\n")[0])
    return found[0] if found else None


_leaving = False


def leave_alone() -> None:
    """Have this process end without the others: JAX would wait for them, and they may be waiting for this one."""
    global _leaving
    _leaving = jax.process_count() > 1


def _leave() -> None:
    if _leaving:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)


def _end_with_a_sentence() -> None:
    """Say in a sentence why JAX ends this process.

    Where process 0 is gone, or another is silent for long, JAX calls ``abort`` from a thread of its own, which no
    handler of Python's would live to see.  A handler of C's may let the main thread end first: it has mostly found out
    by itself, and knows of the run's directory.
    """

    @ctypes.CFUNCTYPE(None, ctypes.c_int)
    def end(number: int) -> None:
        time.sleep(GRACE)
        os.write(2, f"\n{ProcessError(None, 'as JAX says above')}\n".encode())
        os._exit(1)

    _kept.append(end)
    set_handler = ctypes.CDLL(None).signal
    set_handler.restype = ctypes.c_void_p  # a pointer, which an int would cut
    set_handler(ctypes.c_int(signal.SIGABRT), end)


#: What C calls must live as long as the process.
_kept: list[object] = []


def host(mesh: Mesh, arrays: PyTree[Array]) -> PyTree[np.ndarray]:
    """Arrays from the mesh, whole, in every process."""
    if jax.process_count() > 1:
        arrays = _replicate(mesh, arrays)
    return jax.tree.map(np.asarray, arrays)


@partial(jax.jit, static_argnames="mesh")
def _replicate(mesh: Mesh, arrays: PyTree[Array]) -> PyTree[Array]:
    return jax.lax.with_sharding_constraint(arrays, NamedSharding(mesh, ON_EVERY_DEVICE))
