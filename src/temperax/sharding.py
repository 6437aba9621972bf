"""The door to the machine: which devices there are, and a map over a batch that uses them well."""

from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pooch
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, PyTree

from temperax.errors import InputError, check_count


def use_cpu_devices(number: int) -> None:
    """Let JAX see the processor as ``number`` devices, so that replicas run side by side.

    Call it before anything has run on JAX.

    Raises
    ------
    InputError
        If JAX has started already.
    """
    check_count("number", number)
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
    """
    folder = Path(pooch.os_cache("temperax")) / "compiled" if directory is None else Path(directory)
    jax.config.update("jax_compilation_cache_dir", str(folder))
    # Many of a ladder's programs compile within a second, and there are dozens of them.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
    return folder


def num_devices(batch: int) -> int:
    """The largest number of local devices that share a batch evenly."""
    available = jax.local_device_count()
    return max(n for n in range(1, available + 1) if batch % n == 0)


def default_batch_size() -> int:
    """How many replicas a device advances at once: one on a processor, all (0) on an accelerator.

    On a processor a batch falls out of the cache, and waits for its longest trajectory.
    """
    return 1 if jax.default_backend() == "cpu" else 0


def everywhere[T](arrays: T, devices: int) -> T:
    """A pytree of arrays with a copy on each of so many local devices."""
    if devices == 1:
        return arrays
    return jax.device_put(arrays, NamedSharding(_mesh(devices), PartitionSpec()))


def _mesh(devices: int) -> Mesh:
    return Mesh(np.array(jax.local_devices()[:devices]), ("replica",))


def map_batch(
    function: Callable, shared: PyTree[Array], batch: PyTree[Array], *, batch_size: int, devices: int
) -> PyTree[Array]:
    """``function(shared, item)`` over the leading axis of ``batch``, on several devices.

    Parameters
    ----------
    function
        Works on one item.
    shared
        Arrays that every item needs, copied to every device.
    batch
        Arrays with a leading axis that ``devices`` divides.
    batch_size
        Items that a device runs at once; 1 runs them in turn, 0 all at once.
    devices
        Number of local devices.
    """

    def local(shared: PyTree[Array], batch: PyTree[Array]) -> PyTree[Array]:
        def one(item: PyTree[Array]) -> PyTree[Array]:
            return function(shared, item)

        if batch_size == 1:
            return jax.lax.map(one, batch)
        if batch_size == 0:
            return jax.vmap(one)(batch)
        return jax.lax.map(one, batch, batch_size=batch_size)

    if devices == 1:
        return local(shared, batch)
    split = PartitionSpec("replica")
    mapped = jax.shard_map(
        local, mesh=_mesh(devices), in_specs=(PartitionSpec(), split), out_specs=split, check_vma=False
    )
    return mapped(shared, batch)
