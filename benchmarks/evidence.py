"""Log evidence of networks of several widths: from both sides, by MBAR, with errors and seconds.

``python -m benchmarks.evidence --json out.json`` (``--data diabetes`` and ``--widths 2 10`` for a part)

N(0,1) priors, learned noise, split 0, from the prior to the posterior; the ladder is chosen by "auto".  Peaks of the
heat capacity are named by their temperature and kind.  Trajectories
have at most 256 steps: log Z needs energies that are right, not replicas that come home.
"""

import time

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
    return {
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
        "seconds": seconds,
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
    goals = [
        harness.goal("largest |forward - backward| (nats)", max(r["gap"] for r in rows), 1.0, at_most=True),
        harness.goal("longest run (s)", max(r["seconds"] for r in rows), 600.0, at_most=True),
    ]
    harness.finish(rows, goals, options.json)


if __name__ == "__main__":
    main()
