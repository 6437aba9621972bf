"""Predictive scores on the published splits of the UCI regressions, beside published figures.

``python -m benchmarks.uci --datasets yacht --splits 1 --quick --json out.json``

A 50-unit tanh network with learned noise and N(0, 1) priors is sampled at T = 1 by ``temperax.sample``; RMSE and
LPPD are in original units.  The published figures are those of MC dropout with one layer of 50 units (Gal &
Ghahramani 2016, as the splits' repository lists them): means over all splits, so one split need not match.
"""

import time

import jax
import numpy as np

import temperax as tx
from benchmarks import harness

#: RMSE and log likelihood of MC dropout.
PUBLISHED = {
    "boston": (2.90, -2.40),
    "concrete": (4.82, -2.93),
    "energy": (0.54, -1.21),
    "kin8nm": (0.08, 1.14),
    "naval": (0.00, 4.45),
    "power": (4.01, -2.80),
    "protein": (4.27, -2.87),
    "wine": (0.62, -0.93),
    "yacht": (0.67, -1.25),
}


def run(name: str, split: int, quick: bool) -> dict:
    """Sample one split and score it."""
    began = time.perf_counter()
    energy = tx.Energy.mlp(tx.datasets.load(name, split), (10,) if quick else (50,))
    options = {"num_warmup": 200, "num_draws": 200} if quick else {"num_warmup": 1000, "num_draws": 1000}
    tree = tx.sample(jax.random.key(split), energy, progress=False, **options)
    seconds = time.perf_counter() - began
    scores, diagnostics = tx.predict.scores(tree).iloc[0], tx.diagnostics.summary(tree).iloc[0]
    return {
        "dataset": name,
        "split": split,
        "rmse": float(scores["rmse"]),
        "lppd": float(scores["lppd_original"]),
        "rhat_f_max": float(diagnostics["rhat_f_max"]),
        "rhat_f_median": float(diagnostics["rhat_f_median"]),
        "ess_f_min": float(diagnostics["ess_f_min"]),
        "divergences": int(diagnostics["divergences"]),
        "n_steps": float(diagnostics["n_steps"]),
        "seconds": seconds,
    }


def main() -> None:
    parser = harness.arguments(__doc__.splitlines()[0])
    parser.add_argument("--datasets", nargs="+", default=["yacht"], choices=list(tx.datasets.UCI))
    parser.add_argument("--splits", type=int, default=1, help="how many splits, from the first")
    options = parser.parse_args()
    tx.use_cpu_devices(2)
    rows = [run(name, split, options.quick) for name in options.datasets for split in range(options.splits)]
    goals = []
    for name in options.datasets:
        mine = [row for row in rows if row["dataset"] == name]
        rmse, lppd = (float(np.mean([row[column] for row in mine])) for column in ("rmse", "lppd"))
        if name in PUBLISHED:
            goals.append(harness.goal(f"{name}: RMSE of MC dropout", rmse, PUBLISHED[name][0], at_most=True))
            goals.append(harness.goal(f"{name}: LPPD of MC dropout", lppd, PUBLISHED[name][1], at_most=False))
        worst = max(row["rhat_f_max"] for row in mine)
        goals.append(harness.goal(f"{name}: worst R-hat of f", worst, 1.01, at_most=True))
    harness.finish(rows, goals, options.json)


if __name__ == "__main__":
    main()
