"""The mass of a trajectory: a diagonal, and directions in which it is turned against the parameters' axes.

Trajectories run in a frame z where the mass is 1: θ = θ₀ + L z with L = D^½ (I + V (W - 1) Vᵀ), so that M⁻¹ = L Lᵀ.
D is diagonal, the columns of V are orthonormal (or 0 where fewer directions are needed), W are widths along them.
With no columns at all the mass is the diagonal one, at its price.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jaxtyping import Array, Float
from numpyro.infer.hmc import HMCState
from numpyro.infer.util import ParamInfo

from temperax.engine.kernels.kernel import PotentialAt, Tuning
from temperax.machine.compiling import mixing_types, root

#: Directions are kept in which the posterior is wider or narrower than the diagonal says by this factor of variance.
WORTH_TURNING = 2.0
#: Part of a variance that is added to all of them, so that draws that fill no volume have an inverse.
RIDGE = 1e-9


def _turn(tuning: Tuning, widths: Array, vector: Array) -> Array:
    """A vector stretched by these widths along the directions."""
    along = tuning.directions.T @ vector
    return vector + tuning.directions @ ((widths - 1) * along)


def displaced(tuning: Tuning, z: Array) -> Array:
    """L z: where a point of the frame lies, seen from where the frame has its origin."""
    return jnp.sqrt(tuning.inverse_mass) * _turn(tuning, tuning.widths, z)


def momentum_of(tuning: Tuning, covector: Array) -> Array:
    """L⁻ᵀ of a momentum or a gradient of the frame: the same one of the parameters."""
    return _turn(tuning, 1 / tuning.widths, covector) / root(tuning.inverse_mass)


def in_frame(
    tuning: Tuning,
    potential_at: PotentialAt,
    start: ParamInfo,
    trajectory: Callable[[PotentialAt, ParamInfo, Array], HMCState],
) -> HMCState:
    """A trajectory's end: of ``trajectory(potential, start, inverse mass)`` where the mass is turned.

    A mass that has no directions to be turned in is NumPyro's own diagonal one.
    """
    if not tuning.widths.shape[-1]:
        with mixing_types():
            return trajectory(potential_at, start, tuning.inverse_mass)

    def position(z: Array) -> Array:
        # By itself, since rounded together with what follows it would depend on what is compiled around it.
        return jax.lax.optimization_barrier(start.z + displaced(tuning, jax.lax.optimization_barrier(z)))

    def potential(beta: Array) -> Callable[[Array], Array]:
        height = potential_at(beta)
        return lambda z: height(position(z))

    gradient = _turn(tuning, tuning.widths, jnp.sqrt(tuning.inverse_mass) * start.z_grad)
    origin = ParamInfo(jnp.zeros_like(start.z), start.potential_energy, gradient)
    with mixing_types():
        end = trajectory(potential, origin, jnp.ones_like(start.z))
    momentum = None if end.r is None else momentum_of(tuning, end.r)
    return end._replace(z=position(end.z), z_grad=momentum_of(tuning, end.z_grad), r=momentum)


# -- on the host, between windows ------------------------------------------------------------------------------------


def turned(
    diagonal: Float[np.ndarray, " parameter"],
    draws: Float[np.ndarray, "draw parameter"],
    forces: Float[np.ndarray, "draw parameter"],
    rank: int,
) -> tuple[Float[np.ndarray, " parameter"], Float[np.ndarray, "parameter rank"], Float[np.ndarray, " rank"]]:
    """Diagonal, directions and widths of the mass, from a first diagonal and draws and forces that are centred.

    The mass that minimises the Fisher divergence is the geometric mean of the draws' covariance and the inverse of the
    forces' (Seyboldt, Carlson & Carpenter 2026, arXiv:2603.18845), sought in the span of all parameters or, where they
    are more than the directions, of the widest directions of both; the diagonal is then that of the others.
    """
    num_draws, num_parameters = draws.shape
    directions, widths = np.zeros((num_parameters, rank)), np.ones(rank)
    scale = np.sqrt(diagonal.astype(float))
    sides = [draws / scale, forces * scale]
    whole = num_parameters <= rank
    if whole:
        basis = np.eye(num_parameters)
    else:
        # Half of the directions from each side, and so few that most of what the draws span is left to be the rest.
        count = max(1, min(rank // 2, num_draws // 8))
        widest = [scipy.linalg.svd(side, full_matrices=False)[2][:count] for side in sides]
        basis = scipy.linalg.qr(np.concatenate(widest).T, mode="economic")[0]
    inside = [side @ basis for side in sides]
    of_draws, of_forces = map(_covariance, inside)
    variances, axes = np.linalg.eigh(_geometric_mean(of_draws, np.linalg.inv(of_forces)))
    variances = np.maximum(variances, RIDGE * variances.max())  # rounding leaves some of them negative
    # As many draws as there are directions count for as much as the diagonal does.
    logs = np.log(variances) * num_draws / (num_draws + len(variances))
    if not whole:  # seen from the many that are left, whose diagonal a few wide or narrow directions have spoilt
        of_all = [np.sum(side**2) for side in sides]
        of_rest = [whole - np.sum(within**2) for whole, within in zip(of_all, inside, strict=True)]
        # A few moves lie in the directions altogether, and leave rounding that says nothing of the others.
        told = all(left > RIDGE * whole for left, whole in zip(of_rest, of_all, strict=True))
        rest = 0.5 * (np.log(of_rest[0]) - np.log(of_rest[1])) if told else 0.0
        diagonal, logs = diagonal * np.exp(rest), logs - rest
    order = np.argsort(-np.abs(logs))
    order = order[np.abs(logs[order]) > np.log(WORTH_TURNING)]
    order = order[:rank]
    if whole and len(order):  # a full mass is as dear as a part of it
        order = np.arange(num_parameters)
    directions[:, : len(order)] = (basis @ axes)[:, order]
    widths[: len(order)] = np.exp(0.5 * logs[order])
    return diagonal, directions, widths


def _covariance(centred: Float[np.ndarray, "draw parameter"]) -> Float[np.ndarray, "parameter parameter"]:
    covariance = centred.T @ centred / len(centred)
    return covariance + RIDGE * np.mean(np.diag(covariance)) * np.eye(len(covariance))


def _geometric_mean(
    a: Float[np.ndarray, "parameter parameter"], b: Float[np.ndarray, "parameter parameter"]
) -> Float[np.ndarray, "parameter parameter"]:
    """The matrix half way from a to b: the positive S with S a⁻¹ S = b."""
    root = np.linalg.cholesky(a)
    inverse = np.linalg.inv(root)
    values, axes = np.linalg.eigh(inverse @ b @ inverse.T)
    half = root @ axes * np.maximum(values, 0.0) ** 0.25
    return half @ half.T
