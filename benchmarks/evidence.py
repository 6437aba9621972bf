"""Log evidence of networks of several widths: by a ladder from both sides and MBAR, and by sequential Monte Carlo.

``python -m benchmarks.evidence --json out.json`` (``--data diabetes`` and ``--widths 2 10`` for a part)

N(0,1) priors, learned noise, split 0, from the prior to the posterior; the ladder is chosen by "auto".  Peaks of the
heat capacity are named by their temperature and kind.  Trajectories
have at most 256 steps: log Z needs energies that are right, not replicas that come home.  Sequential Monte Carlo has
about as many gradients, in trajectories of at most 64 steps, and as many particles as these allow, in four populations,
whose spread is its error.
"""

import time
from typing import Any

import jax

import temperax as tx
from benchmarks import harness


def evidence_row(name: str, width: int, draws: int, chains: int) -> dict:
    """One network."""
    energy = tx.Energy.mlp(tx.datasets.load(name, split=0), (width,))
    began = time.perf_counter()
    tree = tx.parallel_tempering(
        jax.random.key(0),
        energy,
        kernel=tx.HMC(max_steps=256),
        num_chains=chains,
        num_draws=draws,
        progress=False,
    )
    seconds = time.perf_counter() - began
    found = tx.thermodynamics.ensemble(tree)
    z = tx.thermodynamics.log_evidence(found)
    gradients = int(tree.attrs["warmup_gradients"]) + int(tree["tempered_stats"]["n_steps"].sum())
    return {
        "method": "ladder",
        "gradients": gradients,
        "data": name,
        "width": width,
        "parameters": energy.size,
        "replicas": len(found.betas),
        "forward": z.forward,
        "forward_error": z.forward_error,
        "backward": z.backward,
        "backward_error": z.backward_error,
        "mbar": z.mbar,
        "mbar_error": z.mbar_error,
        "gap": abs(z.backward - z.forward),
        "peaks": "; ".join(f"T = {p.temperature:.3g}: {p.kind}" for p in tx.transitions.peaks(found).itertuples()),
        "rhat_energy": float(found.rhat().max()) if chains > 1 else float("nan"),
        "doubts": "; ".join(tx.thermodynamics.doubts(found)),
        "data_energy": float(tree["sample_stats"]["data_energy"].mean()),
        "seconds": seconds,
    }


def smc_row(ladder: dict) -> dict:
    """The same network by sequential Monte Carlo, at about as many gradients as a ladder had."""
    energy = tx.Energy.mlp(tx.datasets.load(ladder["data"], split=0), (ladder["width"],))
    options: dict[str, Any] = {"kernel": tx.HMC(max_steps=64), "num_chains": 4, "progress": False}
    began = time.perf_counter()
    first = tx.smc(jax.random.key(1), energy, num_particles=16, **options)
    spent = int(first["tempered_stats"]["n_steps"].sum())
    particles = int(max(16, min(2048, 16 * (ladder["gradients"] - spent) / spent)))
    began_again = time.perf_counter()
    tree = tx.smc(jax.random.key(0), energy, num_particles=particles, **options)
    ended = time.perf_counter()
    families = tree["smc"]["families"].isel(temperature=-1)
    return {
        "method": "smc",
        "gradients": int(tree["tempered_stats"]["n_steps"].sum()),
        "data": ladder["data"],
        "width": ladder["width"],
        "parameters": energy.size,
        "replicas": 4 * particles,
        "steps": tree["smc"].sizes["temperature"] - 1,
        "families": f"{int(families.min())}-{int(families.max())}",
        "weights": tree.attrs["log_z"],
        "weights_error": tree.attrs["log_z_error"],
        "data_energy": float(tree["sample_stats"]["data_energy"].mean()),
        "seconds": ended - began_again,
        "seconds_sizing": began_again - began,
    }


def main() -> None:
    parser = harness.arguments(__doc__.splitlines()[0])
    parser.add_argument("--data", nargs="+", default=["diabetes", "concrete"])
    parser.add_argument("--widths", nargs="+", type=int, default=[2, 10, 50])
    parser.add_argument("--draws", type=int, default=768)
    parser.add_argument("--chains", type=int, default=2, help="independent ladders")
    options = parser.parse_args()
    tx.use_cpu_devices(2)
    draws = 64 if options.quick else options.draws
    rows = [evidence_row(name, width, draws, options.chains) for name in options.data for width in options.widths]
    ladders = list(rows)
    rows += [smc_row(row) for row in ladders]
    goals = [
        harness.goal("largest |forward - backward| (nats)", max(r["gap"] for r in ladders), 1.0, at_most=True),
        harness.goal("longest run (s)", max(r["seconds"] for r in ladders), 600.0, at_most=True),
    ]
    harness.finish(rows, goals, options.json)


if __name__ == "__main__":
    main()
