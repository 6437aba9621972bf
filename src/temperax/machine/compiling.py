"""How long this process compiles, as JAX's own events tell, how strictly what it traces is typed, and how it rounds."""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from temperax.machine.sharding import apart

#: What JAX calls its steps from a function to a compiled program.
EVENTS = (
    "/jax/core/compile/jaxpr_trace_duration",
    "/jax/core/compile/jaxpr_to_mlir_module_duration",
    "/jax/core/compile/backend_compile_duration",
)


class _Watch:
    """The time that events cover; functions are traced inside others, whose time has theirs in it."""

    def __init__(self) -> None:
        self.spans: list[tuple[float, float]] = []
        jax.monitoring.register_event_duration_secs_listener(self._listen)

    def _listen(self, event: str, duration_secs: float, **_: Any) -> None:
        if event in EVENTS:
            end = time.perf_counter()
            while self.spans and self.spans[-1][0] >= end - duration_secs:
                self.spans.pop()
            self.spans.append((end - duration_secs, end))


_watch: _Watch | None = None


def compiled_seconds() -> float:
    """Seconds that this process has spent on compiling since it was first asked."""
    global _watch
    _watch = _watch or _Watch()
    return sum(end - start for start, end in _watch.spans)


def mixing_types() -> AbstractContextManager:
    """Where NumPyro's and Optax's own code is traced, which leaves types to promotion, however strict the user is."""
    return jax.numpy_dtype_promotion("standard")


@contextmanager
def in_double() -> Iterator[None]:
    """Double precision, on the host's processor; on the accelerator where JAX was told to see nothing else."""
    try:
        processor = jax.local_devices(backend="cpu")[0]
    except RuntimeError:  # JAX_PLATFORMS=cuda
        processor = None
    with jax.enable_x64(True), jax.default_device(processor):
        yield


def root(value: Array) -> Array:
    """√value, rounded by itself.

    XLA makes x / √y to x · rsqrt(y), which differs between the vectors and the single numbers of a processor, and so
    with how many replicas a device has.
    """
    return apart(jnp.sqrt(value))
