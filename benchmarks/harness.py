"""What every benchmark shares: the machine, the versions, the table and the JSON."""

import argparse
import json
import os
import platform
from importlib.metadata import version
from pathlib import Path

import pandas as pd

PACKAGES = ("temperax", "jax", "jaxlib", "numpyro", "arviz", "numpy")


def arguments(description: str) -> argparse.ArgumentParser:
    """A parser with the options that all benchmarks have."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="a short run that shows that everything works")
    parser.add_argument("--json", type=Path, help="also write the results here")
    return parser


def goal(name: str, value: float, goal: float, *, at_most: bool) -> dict:
    """A goal and whether it is met."""
    return {"name": name, "value": value, "goal": goal, "met": bool(value <= goal if at_most else value >= goal)}


def finish(rows: list[dict], goals: list[dict], file: Path | None) -> None:
    """Print the table and the goals, and write the JSON."""
    import jax

    result = {
        "machine": {
            "processor": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
            "devices": [str(d) for d in jax.local_devices()],
            "python": platform.python_version(),
        },
        "versions": {package: version(package) for package in PACKAGES},
        "rows": rows,
        "goals": goals,
    }
    print(pd.DataFrame(rows).to_string(index=False, float_format="{:.4g}".format))
    for g in goals:
        print(f"{'met   ' if g['met'] else 'missed'}  {g['name']}: {g['value']:.4g} (goal {g['goal']:.4g})")
    if file is not None:
        file.write_text(json.dumps(result, indent=1))
