"""Which programs XLA compiles."""

from collections import Counter

from jax import monitoring


class Compilations:
    """Counts what XLA compiles while it is open, in all and by the name of the function."""

    EVENT = "/jax/core/compile/backend_compile_duration"

    def __enter__(self):
        self.programs = Counter()
        monitoring.register_event_duration_secs_listener(self._listen)
        return self

    def _listen(self, event, duration, fun_name="", **_):
        self.programs[fun_name] += event == self.EVENT

    @property
    def count(self):
        return self.programs.total()

    def __exit__(self, *_):
        monitoring.unregister_event_duration_listener(self._listen)
