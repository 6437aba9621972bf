"""Order, temperature and latent heat of the Potts model's transition by finite-size scaling, beside Baxter's values.

``python -m benchmarks.potts --json out.json`` (``--colours 10 --sizes 8 12 16 24`` and ``--merge`` for a part)

Every number of colours q is a row: ladders of several sizes of a periodic square lattice, moved by the heat bath, give
the temperature of the transition, its latent heat a site and whether it is a coexistence (``transitions.finite_size``).
Nothing exact goes into the run.  The ladder of the smallest size is a wide one; that of every other spans the peak of
the size before it at half its height.  Sizes of ``--pilots`` come first and only place the rungs: a lattice shorter
than the correlation length is not on the line that leads to the latent heat.
"""

import json
import time

import jax
import numpy as np
import xarray as xr

import temperax as tx
from benchmarks import harness

#: Ladder of the smallest size: all q from 2 to 10 have their peaks well inside.
FIRST_LADDER = np.linspace(0.5, 1.9, 15)
RUNGS = 6
CHAINS = 8


def baxter(num_colours: int) -> tuple[float, float]:
    """Transition temperature, and latent heat a site, of the infinite square lattice with E = -Σ δ (Baxter 1973)."""
    root = np.sqrt(num_colours)
    if num_colours <= 4:
        return 1 / np.log(1 + root), 0.0
    theta = np.arccosh(root / 2)
    factors = np.tanh(np.arange(1, 20_000) * theta) ** 2
    return 1 / np.log(1 + root), float(2 * (1 + 1 / root) * np.tanh(theta / 2) * factors.prod())


def ladder(num_colours: int, size: int, betas: np.ndarray, draws: int) -> xr.DataTree:
    """Draws of one size, one every L sweeps, since larger systems forget more slowly."""
    energy = tx.systems.potts((size, size), num_colours)
    return tx.parallel_tempering(
        jax.random.key(100 * num_colours + size),
        energy,
        kernel=tx.systems.heat_bath(energy),
        ladder=betas,
        num_chains=CHAINS,
        num_draws=draws,
        thin=size,
        most_transitions=1,
        start="prior",
        batch_size=0,
        progress=False,
    )


def window(tree: xr.DataTree) -> np.ndarray:
    """Rungs for the next size: over the peak at half its height, and a quarter of its width on either side."""
    found = tx.thermodynamics.ensemble(tree)
    grid = np.linspace(max(found.betas[0], 1e-3), found.betas[-1], 100)
    capacity = np.array([beta**2 * found.moments(beta)[2] for beta in grid])
    first, last = grid[capacity > capacity.max() / 2][[0, -1]]
    return np.linspace(first - (last - first) / 4, last + (last - first) / 4, RUNGS)


def colours_row(num_colours: int, pilots: list[int], sizes: list[int], draws: int) -> dict:
    """What ladders of several sizes say of one q."""
    began, betas, trees = time.perf_counter(), FIRST_LADDER, {}
    for size in [*pilots, *sizes]:
        trees[size] = ladder(num_colours, size, betas, draws)
        betas = window(trees[size])
    trees = {size: trees[size] for size in sizes}
    found = tx.transitions.finite_size(trees)
    temperature, heat = baxter(num_colours)
    row = {
        "colours": num_colours,
        "sizes": "-".join(map(str, sizes)),
        "draws": draws,
        "verdict": found.attrs["verdict"],
        "temperature": float(found["critical_temperature"]),
        "temperature_error": float(found["critical_temperature_error"]),
        "exact_temperature": temperature,
        "latent_heat": float(found["latent_heat"]),
        "latent_heat_error": float(found["latent_heat_error"]),
        "exact_latent_heat": heat,
        "exponent": float(found["exponent"]),
        "exponent_error": float(found["exponent_error"]),
        "kurtosis": found["kurtosis"].values.tolist(),
        "kurtosis_error": found["kurtosis_error"].values.tolist(),
        "latent_heat_size": found["latent_heat_size"].values.tolist(),
        "round_trips": [tx.diagnostics.round_trips(tree)["round_trips"] for tree in trees.values()],
        "seconds": time.perf_counter() - began,
    }
    print(json.dumps(harness.plain(row)), flush=True)
    return harness.stamp(row)


def goals_of(row: dict) -> list[dict]:
    """Both within 2 %, and the order of the transition."""
    name, right = f"q = {row['colours']}", "coexistence" if row["colours"] > 4 else "continuous"
    off = abs(row["temperature"] / row["exact_temperature"] - 1)
    found = [
        harness.goal(f"{name}: temperature, relative error", off, 0.02, at_most=True),
        harness.goal(f"{name}: called {right}", float(row["verdict"] == right), 1, at_most=False),
    ]
    if row["colours"] > 4:
        off = np.nan if row["latent_heat"] is None else abs(row["latent_heat"] / row["exact_latent_heat"] - 1)
        found.append(harness.goal(f"{name}: latent heat, relative error", off, 0.02, at_most=True))
    return found


def main() -> None:
    parser = harness.arguments(__doc__.splitlines()[0])
    harness.add_merge(parser)
    parser.add_argument("--colours", type=int, nargs="+", default=[2, 3, 4, 5, 6, 7, 8, 10])
    parser.add_argument("--pilots", type=int, nargs="*", default=[], help="smaller sizes that only place the rungs")
    parser.add_argument("--sizes", type=int, nargs="+", default=[8, 12, 16, 20])
    parser.add_argument("--draws", type=int, default=1000)
    options = parser.parse_args()
    tx.use_cpu_devices(harness.cores())
    colours, pilots, sizes, draws = options.colours, options.pilots, options.sizes, options.draws
    if options.quick:
        colours, pilots, sizes, draws = [3, 10], [], [4, 6, 8], 250
    rows = [colours_row(num_colours, pilots, sizes, draws) for num_colours in colours]
    if options.merge:
        rows = harness.merged(rows, options.json, ["colours", "sizes"])
    rows.sort(key=lambda row: (row["colours"], row["sizes"]))
    harness.finish(rows, [goal for row in rows for goal in goals_of(row)], options.json)


if __name__ == "__main__":
    main()
