"""What tests of systems share: loops over bonds, kernels alone, and deviations in standard errors."""

from functools import partial

import arviz_stats
import jax
import numpy as np

from temperax import thermodynamics


def z_scores(values, expected):
    """Deviation of the mean over chains and draws, in standard errors from the ESS."""
    values = np.asarray(values, float)
    error = arviz_stats.base.array_stats.mcse(values, chain_axis=0, draw_axis=1)
    return np.abs(values.mean((0, 1)) - expected) / (error + 1e-6)


def log_z_scores(betas, path_energy, expected):
    """Deviations of both stepping stones at every rung but the first, in standard errors."""
    worst = []
    for i in range(2, len(betas) + 1):
        found = thermodynamics.stepping_stone((betas[:i], path_energy[..., :i]))
        worst.append((found.forward - expected[i - 1]) / found.forward_error)
        worst.append((found.backward - expected[i - 1]) / found.backward_error)
    return np.abs(worst)


@partial(jax.jit, static_argnames=("chains", "sweeps"))
def sweep(kernel, energy, beta, key, chains, sweeps):
    """Positions (chain, draw, parameter) of a kernel alone, without the engine; the first tenth is left out."""

    def potential(position):
        return beta * energy.data_energy(position)

    def one(key):
        first, rest = jax.random.split(key)

        def move(position, key):
            position = kernel.move(key, position, beta, potential)
            return position, position

        return jax.lax.scan(move, energy.sample_prior(first), jax.random.split(rest, sweeps))[1]

    return jax.vmap(one)(jax.random.split(key, chains))[:, sweeps // 10 :]


def path_energy(tree):
    return tree["tempered_stats"]["path_energy"].transpose("chain", "draw", "temperature").values


def over_bonds(term, values, periodic):
    """Σ_<ij> term(v_i, v_j) by a loop over sites and axes."""
    total = 0.0
    for site in np.ndindex(values.shape):
        for axis, side in enumerate(values.shape):
            after = list(site)
            after[axis] = (site[axis] + 1) % side
            if side > 1 and (periodic or after[axis] > site[axis]):
                total += term(values[site], values[tuple(after)])
    return total
