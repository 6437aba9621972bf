"""How many programs XLA compiles."""

from jax import monitoring


class Compilations:
    """Counts what XLA compiles while it is open."""

    EVENT = "/jax/core/compile/backend_compile_duration"

    def __enter__(self):
        self.count = 0
        monitoring.register_event_duration_secs_listener(self._listen)
        return self

    def _listen(self, event, duration, **_):
        self.count += event == self.EVENT

    def __exit__(self, *_):
        monitoring.unregister_event_duration_listener(self._listen)
