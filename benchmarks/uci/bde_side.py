"""sklearn-contrib-bde's side of the tables: run by its own environment, on arrays from a file.

``python bde_side.py given.npz found.npz``
"""

import json
import os
import sys
import time

import numpy as np


def main() -> None:
    """Fit, predict, and write the mixture's means and standard deviations, in units of the given target."""
    given = np.load(sys.argv[1], allow_pickle=False)
    settings = json.loads(str(given["settings"]))
    os.environ.setdefault("XLA_FLAGS", f"--xla_force_host_platform_device_count={settings.get('devices', 2)}")
    from bde import BdeRegressor

    began = time.perf_counter()
    model = BdeRegressor(
        n_members=settings.get("members", 10),
        hidden_layers=settings.get("hidden", [16, 16, 16, 16]),
        seed=int(given["seed"]),
        epochs=settings.get("epochs", 1000),
        warmup_steps=settings.get("warmup_steps", 50000),
        n_samples=settings.get("n_samples", 10000),
        n_thinning=settings.get("n_thinning", 100),
    )
    model.fit(given["x"].astype(np.float32), given["y"].astype(np.float32))
    raw = np.asarray(model.predict(given["x_test"].astype(np.float32), raw=True), float)
    seconds = time.perf_counter() - began
    raw = raw.reshape(-1, *raw.shape[2:])
    np.savez(sys.argv[2], mean=raw[..., 0], sd=np.logaddexp(0, raw[..., 1]) + 1e-6, seconds=seconds)


if __name__ == "__main__":
    main()
