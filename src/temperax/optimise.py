"""The T = 0 end: training by optax, many starts at once, and annealing towards it.

As T → 0 the posterior path concentrates on the minima of U0 + E, which is what training with weight decay finds.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import scipy.optimize
import xarray as xr
from jaxtyping import Array, Float, Int

from temperax import engine, results, tempering
from temperax.energy import Energy
from temperax.errors import InputError, check_choice, check_count, check_fraction
from temperax.kernels import Kernel, as_kernel
from temperax.program import make_program
from temperax.progress import tqdm

#: Steps of one compiled call, between which stopping is decided.
BLOCK_STEPS = 100


class Optima(NamedTuple):
    """Where the starts ended, the best point that each has seen.

    Attributes
    ----------
    position
        (start, parameter), unconstrained.
    prior_energy, data_energy
        U0 and E there, in nats.
    score
        What was minimised at the end: U0 + E, or the data energy of held-out rows, in nats.
    num_steps
        Steps each start took.
    stopped
        What ended each start: ``plateau``, ``held-out`` or ``max_steps``.
    """

    position: Float[np.ndarray, "start parameter"]
    prior_energy: Float[np.ndarray, " start"]
    data_energy: Float[np.ndarray, " start"]
    score: Float[np.ndarray, " start"]
    num_steps: Int[np.ndarray, " start"]
    stopped: list[str]

    def best(self) -> int:
        """Index of the start with the lowest score."""
        return int(np.nanargmin(self.score))


class _Training(NamedTuple):
    """State of one start."""

    position: Array
    optimiser: optax.OptState
    best_position: Array
    best_loss: Array


def default_optimiser() -> optax.GradientTransformation:
    """Adam at 0.02, halved every 500 steps: quick on standardised data, and it settles."""
    return optax.adam(optax.exponential_decay(0.02, transition_steps=500, decay_rate=0.5))


_DEFAULT = default_optimiser()


def minimise(
    key: Array,
    energy: Energy,
    num_starts: int = 8,
    *,
    optimiser: optax.GradientTransformation | None = None,
    max_steps: int = 5000,
    patience: int = 3,
    tolerance: float = 1e-3,
    holdout: float | None = None,
    start: Float[np.ndarray, "start parameter"] | None = None,
    progress: bool = False,
) -> Optima:
    """Minimise U0 + E from several draws of the prior, all at once.

    A start stops when its score has not fallen by ``tolerance`` nats a parameter over ``patience`` blocks of 100
    steps, and returns the best point it has seen.  The score is U0 + E or, with ``holdout``, the data energy of rows
    that are held out of the training rows: early stopping, without which a learned noise scale collapses wherever the
    network can fit every row.

    Parameters
    ----------
    key
        Randomness of the starts.
    energy
        What to minimise.
    num_starts
        How many independent starts.
    optimiser
        Any optax optimiser; by default `default_optimiser`.
    max_steps
        Most steps of a start.
    patience, tolerance
        When a start has reached its plateau.
    holdout
        Share of the training rows to decide stopping on; None trains on all rows until the loss is level.
    start
        Unconstrained positions to begin at, one a start; None draws them from the prior.
    progress
        Show a progress bar.

    Returns
    -------
    Optima

    Raises
    ------
    InputError
        For bad arguments, if there are no rows to hold out, and if no start keeps a finite loss.
    """
    check_count("num_starts", num_starts)
    check_count("max_steps", max_steps)
    check_count("patience", patience)
    optimiser = _DEFAULT if optimiser is None else optimiser
    if not isinstance(optimiser, optax.GradientTransformation):
        raise InputError("optimiser", optimiser, "is not an optax optimiser", "give one such as optax.adam(0.01)")
    train, held_out = (energy, None) if holdout is None else _hold_out(jax.random.fold_in(key, 1), energy, holdout)
    if start is None:
        begin = _prior_draws(energy, jax.random.split(key, num_starts))
    else:
        begin = _check_positions("start", start, (num_starts, energy.size))
    state = _begin(optimiser, begin)
    margin = tolerance * energy.size
    reference = np.full(num_starts, np.inf)
    waited, steps, running = np.zeros(num_starts, int), np.zeros(num_starts, int), np.ones(num_starts, bool)
    with tqdm(total=max_steps, desc="optimise", unit="step", disable=not progress) as bar:
        while running.any() and steps.max() < max_steps:
            size = min(BLOCK_STEPS, max_steps - int(steps.max()))
            state = _advance(optimiser, train, held_out, state, np.int32(size), running)
            loss = np.asarray(state.best_loss)
            steps += size * running
            improved = loss < reference - margin
            reference = np.where(improved, loss, reference)
            waited = np.where(improved, 0, waited + 1)
            running &= waited < patience
            bar.update(size)
            bar.set_postfix(energy=f"{loss.min():.1f}", refresh=False)
    if not np.isfinite(state.best_loss).any():
        raise InputError(
            "energy", energy.model, "is not finite on the way down from the prior", "lower the learning rate"
        )
    prior_energy, data_energy = _energies(energy, state.best_position)
    reason = "plateau" if holdout is None else "held-out"
    stopped = ["max_steps" if still else reason for still in running]
    found = [np.asarray(part) for part in (state.best_position, prior_energy, data_energy, state.best_loss)]
    return Optima(found[0], found[1], found[2], found[3], steps, stopped)


def polish(energy: Energy, position: Float[np.ndarray, " parameter"]) -> Float[np.ndarray, " parameter"]:
    """Go on from an optimum of `minimise` to the bottom of U0 + E, by L-BFGS on all rows.

    Energies are counted from where it starts, so that single precision sees the last hundredths of a nat.

    Parameters
    ----------
    energy
        What was minimised.
    position
        Where to start, unconstrained.

    Returns
    -------
    numpy.ndarray
        The bottom, or the start if nothing lower was found.
    """
    relative = energy.relative_to(jnp.asarray(position))

    def loss(q: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = _loss_and_gradient(relative, jnp.asarray(q, jnp.result_type(float)))
        return float(value), np.asarray(gradient, float)

    found = scipy.optimize.minimize(loss, position, jac=True, method="L-BFGS-B", options={"maxiter": 1000})
    return found.x.astype(np.asarray(position).dtype) if found.fun < 0 else position


def map_estimate(key: Array, energy: Energy, num_starts: int = 8, **options: Any) -> xr.DataTree:
    """The maximum a posteriori estimate: the best of several starts.

    Parameters
    ----------
    key, energy, num_starts, **options
        As in `minimise`.

    Returns
    -------
    xarray.DataTree
        One chain of one draw at temperature 0, so that predictions and scores read it like any other result.
    """
    optima = minimise(key, energy, num_starts, **options)
    best = optima.best()
    optima = Optima._make(part[best : best + 1] for part in optima)
    return _as_tree(key, energy, optima, "map_estimate", {"num_starts": num_starts} | options)


def deep_ensemble(
    key: Array, energy: Energy, num_members: int = 10, *, holdout: float = 0.1, **options: Any
) -> xr.DataTree:
    """A deep ensemble: independent starts, each stopped early on held-out training rows.

    Lakshminarayanan, Pritzel & Blundell 2017, *Simple and scalable predictive uncertainty estimation using deep
    ensembles*.

    Parameters
    ----------
    key, energy, **options
        As in `minimise`; the energy must be a network's.
    num_members
        Members of the ensemble.
    holdout
        Share of the training rows that stopping is decided on.

    Returns
    -------
    xarray.DataTree
        One chain a member, of one draw at temperature 0.

    Raises
    ------
    InputError
        As `minimise`.
    """
    optima = minimise(key, energy, num_members, holdout=holdout, **options)
    arguments = {"num_members": num_members, "holdout": holdout} | options
    return _as_tree(key, energy, optima, "deep_ensemble", arguments)


def anneal(
    key: Array,
    energy: Energy,
    betas: Float[np.ndarray, " step"],
    *,
    path: str = "posterior",
    kernel: str | Kernel = "hmc",
    num_chains: int = 4,
    scans: int = 10,
    start: str | Float[np.ndarray, "chain parameter"] = "prior",
    polish: bool = False,
    batch_size: int | None = None,
    progress: bool = False,
) -> xr.DataTree:
    """Simulated annealing: take chains along a schedule of temperatures by the library's kernels.

    Step size, mass and trajectory length adapt all the way, since what is sought is the end and not a stationary law.
    The method is that of Kirkpatrick, Gelatt & Vecchi 1983, with exact transitions of HMC for Metropolis moves.

    Parameters
    ----------
    key, energy, kernel, num_chains, batch_size, progress
        As in `temperax.sample`.
    betas
        The schedule, in the order in which it is run, from `temperax.ladder` (``geometric``, ``logarithmic``,
        ``constant_speed``) or the user's own; ascending is cooling, descending is heating.
    path
        ``"posterior"``, whose T → 0 end is training, or ``"likelihood"``.
    scans
        Transitions at every temperature.
    start
        ``"prior"``: draws of it, or positions (chain, parameter).
    polish
        End at T = 0: minimise U0 + E by `minimise` from where the chains stand.

    Returns
    -------
    xarray.DataTree
        A chain each of one draw, where it ended, at temperature 0 if polished and at the schedule's end if not; the
        group ``annealing`` has ``path_energy`` (its mean over the second half of the scans), ``final_energy`` and
        ``acceptance_rate`` of (chain, step), with the coordinates ``temperature`` and ``beta`` of every step, and
        ``num_gradients`` in its attributes.

    Raises
    ------
    InputError
        For bad arguments, before anything is compiled.
    """
    betas = _check_schedule(betas, path)
    check_count("scans", scans)
    program = make_program(
        energy,
        betas[:1],
        path=tempering.PATHS[path],
        kernel=as_kernel(kernel),
        num_chains=num_chains,
        kept=np.array([0]),
        thin=1,
        scheme=None,
        batch_size=batch_size,
    )
    if isinstance(start, str) and start != "prior":
        raise InputError("start", start, "is not a known choice", "give 'prior' or one position a chain")
    run_key, begin_key = jax.random.split(key)
    if isinstance(start, str):
        positions = _prior_draws(energy, jax.random.split(begin_key, num_chains))
    else:
        positions = _check_positions("start", start, (num_chains, energy.size))
    program = replace(program, energy=energy.relative_to(positions[0]))
    state = engine.start(program, run_key, positions[:, None])
    kept: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    gradients = 0
    with tqdm(total=len(betas) * scans, desc="anneal", unit="scan", disable=not progress) as bar:
        for beta in betas:
            program = replace(program, betas=jnp.full_like(program.betas, beta))
            records = []
            for after, record in engine.run(program, run_key, state, scans, adapt=True, bar=bar):
                state = after
                records.append(engine.absolute(program, record))
            energies = np.concatenate([record.path_energy for record in records])[..., 0]
            accepted = np.concatenate([record.acceptance_rate for record in records])[..., 0]
            gradients += sum(int(record.n_steps.sum()) for record in records)
            kept.append((energies[scans // 2 :].mean(axis=0), energies[-1], accepted.mean(axis=0)))
    final = np.asarray(state.points.position[:, 0])
    arguments = {"betas": betas.tolist(), "path": path, "scans": scans, "polish": polish}
    if polish:
        optima = minimise(key, energy, num_chains, start=final, progress=progress)
    else:
        prior_energy, data_energy = (np.asarray(part) for part in _energies(energy, jnp.asarray(final)))
        score, counts = prior_energy + data_energy, np.full(num_chains, len(betas) * scans)
        optima = Optima(final, prior_energy, data_energy, score, counts, ["schedule"] * num_chains)
    tree = _as_tree(key, energy, optima, "anneal", arguments, np.inf if polish else float(betas[-1]))
    means, ends, acceptance = (np.stack(part, axis=1) for part in zip(*kept, strict=True))
    dims = ("chain", "step")
    columns = {"path_energy": (dims, means), "final_energy": (dims, ends), "acceptance_rate": (dims, acceptance)}
    with np.errstate(divide="ignore"):
        coords = {"temperature": ("step", 1.0 / betas), "beta": ("step", betas)}
    tree["annealing"] = xr.DataTree(xr.Dataset(columns, coords=coords, attrs={"num_gradients": gradients}))
    return tree


def _check_schedule(betas: object, path: str) -> Float[np.ndarray, " step"]:
    """A schedule as an array, or what is wrong with it."""
    check_choice("path", path, tempering.PATHS)
    found = np.atleast_1d(np.asarray(betas, dtype=float))
    if found.ndim != 1 or not found.size:
        raise InputError("betas", betas, "is not a list of inverse temperatures", "give ladder.geometric(50)")
    if not np.isfinite(found).all() or (found < 0).any():
        raise InputError("betas", betas, "has a β that is negative or not finite", "give 0 < β < inf")
    if (found == 0).any() and not tempering.PATHS[path].exact_at_zero:
        raise InputError("betas", betas, f"has β = 0, which is improper on the {path} path", "begin hotter than 0")
    return found


def _as_tree(
    key: Array,
    energy: Energy,
    optima: Optima,
    function: str,
    arguments: dict[str, Any],
    beta: float = np.inf,
) -> xr.DataTree:
    """Optima as chains of one draw, by default at T = 0."""
    groups = results.position_groups(
        energy, optima.position[:, None, None], np.array([beta]), 0, jax.random.fold_in(key, 2)
    )
    found = {"steps": optima.num_steps.tolist(), "stopped": optima.stopped}
    energies = {"prior_energy": optima.prior_energy, "data_energy": optima.data_energy}
    groups["sample_stats"] = xr.Dataset(
        {name: (("chain", "draw"), values[:, None]) for name, values in energies.items()}
        | {"lp": (("chain", "draw"), -(optima.prior_energy + optima.data_energy)[:, None])}
    )
    return results.assemble(groups, results.describe(energy, key, function, arguments, found, {}))


def _hold_out(key: Array, energy: Energy, share: float) -> tuple[Energy, Energy]:
    """The same model on most of the rows, and on the held-out rest."""
    check_fraction("holdout", share)
    if energy.dataset is None:
        raise InputError("holdout", share, "needs an energy with rows", "use Energy.mlp, or leave holdout out")
    rows = len(energy.dataset.x)
    count = max(1, round(share * rows))
    if rows == count:
        raise InputError("holdout", share, f"leaves no training rows of {rows}", "hold out fewer")
    order = np.asarray(jax.random.permutation(key, rows))
    return _rows(energy, order[count:]), _rows(energy, order[:count])


def _rows(energy: Energy, rows: np.ndarray) -> Energy:
    """The same model on some of the rows."""
    return energy.with_data(jax.tree.map(lambda a: a[rows], energy.data))


@jax.jit
def _prior_draws(energy: Energy, keys: Array) -> Array:
    return jax.vmap(energy.sample_prior)(keys)


def _check_positions(argument: str, positions: object, shape: tuple[int, int]) -> Array:
    """Positions of the shape that is needed, finite."""
    found = np.asarray(positions, dtype=float)
    if found.shape != shape:
        raise InputError(argument, found.shape, f"is not of shape {shape}", "give one row of parameters each")
    if not np.isfinite(found).all():
        raise InputError(argument, positions, "has NaN or infinite values", "give finite positions")
    return jnp.asarray(found, jnp.result_type(float))


@jax.jit
def _loss_and_gradient(energy: Energy, position: Array) -> tuple[Array, Array]:
    return jax.value_and_grad(lambda q: energy.prior_energy(q) + energy.data_energy(q))(position)


@partial(jax.jit, static_argnames="optimiser")
def _begin(optimiser: optax.GradientTransformation, position: Array) -> _Training:
    infinite = jnp.full(len(position), jnp.inf, position.dtype)
    return _Training(position, jax.vmap(optimiser.init)(position), position, infinite)


@partial(jax.jit, static_argnames="optimiser")
def _advance(
    optimiser: optax.GradientTransformation,
    energy: Energy,
    held_out: Energy | None,
    state: _Training,
    num_steps: Array,
    running: Array,
) -> _Training:
    """A block of steps of the starts that still run."""

    def step(state: _Training) -> _Training:
        loss, gradient = _loss_and_gradient(energy, state.position)
        score = loss if held_out is None else held_out.data_energy(state.position)
        better = score < state.best_loss  # false for NaN
        updates, optimiser_state = optimiser.update(gradient, state.optimiser, state.position)
        return _Training(
            optax.apply_updates(state.position, updates),
            optimiser_state,
            jnp.where(better, state.position, state.best_position),
            jnp.where(better, score, state.best_loss),
        )

    def block(item: tuple[_Training, Array]) -> _Training:
        state, runs = item
        return jax.lax.fori_loop(0, jnp.where(runs, num_steps, 0), lambda _, state: step(state), state)

    # One after the other on a processor, where a finished start costs nothing; together on an accelerator.
    each: Callable = jax.lax.map if jax.default_backend() == "cpu" else lambda f, xs: jax.vmap(f)(xs)
    return each(block, (state, running))


@jax.jit
def _energies(energy: Energy, positions: Array) -> tuple[Array, Array]:
    return jax.vmap(energy.prior_energy)(positions), jax.vmap(energy.data_energy)(positions)
