"""The T = 0 end as results: MAP estimates, deep ensembles, and annealing towards the ground state.

As T → 0 the posterior path concentrates on the minima of U0 + E, which is what training with weight decay finds.
"""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

from temperax.energies.energy import Energy
from temperax.engine import engine, tempering
from temperax.engine.kernels import KernelLike
from temperax.engine.program import make_program
from temperax.errors import InputError, all_at_once, check_array, check_betas, check_choice, check_count, check_key
from temperax.machine.progress import tqdm
from temperax.results import results
from temperax.results.carried import PREDICT
from temperax.samplers.setup import common
from temperax.training.bottoms import polish
from temperax.training.descent import Optima, minimise, train
from temperax.training.landscape import check_positions, energies_at, prior_draws
from temperax.training.starts import Origin, first_state

__all__ = ["Optima", "anneal", "baselines", "deep_ensemble", "map_estimate", "minimise", "polish", "train"]

#: What `baselines` calls the model to compare a network with first of all.
LINEAR = "linear model, MAP"


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

    See Also
    --------
    temperax.deep_ensemble, temperax.optimise.minimise

    Examples
    --------
    >>> best = tx.map_estimate(key, energy, num_starts=4)
    >>> bool(best["sample_stats"]["lp"].max() > tree["sample_stats"]["lp"].max())  # -(U0 + E), in nats
    True
    """
    key = check_key(key)
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

    See Also
    --------
    temperax.map_estimate, temperax.predict.scores

    Examples
    --------
    >>> members = tx.deep_ensemble(key, energy, num_members=4)
    >>> members["posterior"].sizes["chain"], members["posterior"].sizes["draw"]
    (4, 1)
    """
    key = check_key(key)
    optima = minimise(key, energy, num_members, holdout=holdout, **options)
    arguments = {"num_members": num_members, "holdout": holdout} | options
    return _as_tree(key, energy, optima, "deep_ensemble", arguments)


def baselines(key: Array, energy: Energy, *, progress: bool = False) -> dict[str, xr.DataTree]:
    """What a posterior should beat: the network trained and stopped early, and a linear model.

    Parameters
    ----------
    key
        Typed or old-style.
    energy
        Of an MLP with held-out rows, as `temperax.Energy.mlp` builds it.
    progress
        Show progress bars.

    Returns
    -------
    dict
        Results at temperature 0 by name: ``"MAP, early stopping"`` and ``"linear model, MAP"``, the same likelihood and
        prior without a hidden layer.

    Raises
    ------
    InputError
        If the energy is none of an MLP.

    See Also
    --------
    temperax.predict.compare, temperax.deep_ensemble

    Examples
    --------
    >>> list(tx.optimise.baselines(key, energy))
    ['MAP, early stopping', 'linear model, MAP']
    """
    return {
        "MAP, early stopping": map_estimate(key, energy, holdout=0.1, progress=progress),
        LINEAR: map_estimate(key, _line(energy), progress=progress),
    }


def _line(energy: Energy) -> Energy:
    """The energy without a hidden layer: of priors by layer, the last layer's serves the only one."""
    arguments = energy.arguments or {}
    changes: dict[str, Any] = {"hidden": ()}
    if "hidden" in arguments and isinstance(arguments["prior"], Mapping):
        left = {f"layer_{len(arguments['hidden'])}": "layer_0", "default": "default"}
        changes["prior"] = {left[name]: prior for name, prior in arguments["prior"].items() if name in left}
    return energy.replace(**changes)


def anneal(
    key: Array,
    energy: Energy,
    betas: Float[np.ndarray, " step"],
    *,
    path: str = "posterior",
    kernel: KernelLike = "auto",
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

    See Also
    --------
    temperax.optimise.minimise, temperax.transitions.hysteresis, temperax.ladder.constant_speed

    Examples
    --------
    >>> cooled = tx.anneal(key, energy, tx.ladder.geometric(10, hottest=0.1, coldest=100.0))
    >>> cooled["annealing"]["path_energy"].dims
    ('chain', 'step')
    """
    key, chosen, _, num_chains, _, batch_size, *_, betas, scans = all_at_once(
        *common(key, energy, kernel, num_chains, batch_size),
        lambda: _check_schedule(betas, path),
        lambda: check_count("scans", scans),
    )
    program = make_program(
        energy,
        betas[:1],
        path=tempering.PATHS[path],
        kernel=chosen,
        num_chains=num_chains,
        kept=np.array([0]),
        thin=1,
        scheme=None,
        batch_size=batch_size,
        exact=bool((betas == 0).any()),
    )
    if isinstance(start, str) and start != "prior":
        raise InputError("start", start, "is not a known choice", "give 'prior' or one position a chain")
    if polish and energy.discrete:
        raise InputError("polish", polish, "follows gradients, which spins lack", "leave it out")
    run_key, begin_key = jax.random.split(key)
    if isinstance(start, str):
        positions = np.asarray(prior_draws(energy, begin_key, num_chains))
    else:
        positions = check_positions("start", start, (num_chains, energy.size))
    origin = Origin.at_lowest(energy, positions, {})
    program = origin.seat(program)
    state = first_state(program, run_key, positions[:, None], redraw=isinstance(start, str))
    kept: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    gradients = 0
    with tqdm(total=len(betas) * scans, desc="anneal", unit="scan", disable=not progress) as bar:
        for beta in betas:
            # From where the chains stand now: counted from a draw of the prior, of millions, no digits would be left.
            origin = Origin.at_lowest(energy, engine.to_host(program, state).points.position[:, 0], {})
            program = origin.seat(program.placed(betas=np.full(1, beta, program.betas.dtype)))
            state, _ = engine.evaluate_again(program, run_key, state)
            records = []
            for after, record in engine.run(program, run_key, state, scans, adapt=True, bar=bar):
                state = after
                records.append(engine.absolute(program.path, np.array([beta]), origin.energy.offsets(), record))
            energies = np.concatenate([record.path_energy for record in records])[..., 0]
            accepted = np.concatenate([record.acceptance_rate for record in records])[..., 0]
            gradients += sum(int(record.n_steps.sum()) for record in records)
            state = engine.end_window(program, state)  # whose mass the next temperature begins with
            kept.append((energies[scans // 2 :].mean(axis=0), energies[-1], accepted.mean(axis=0)))
    final = np.asarray(engine.to_host(program, state).points.position[:, 0])
    arguments = {"betas": betas.tolist(), "path": path, "kernel": kernel, "num_chains": num_chains, "scans": scans}
    arguments |= {"start": start, "polish": polish}
    if polish:
        optima = minimise(key, energy, num_chains, start=final, progress=progress)
    else:
        prior_energy, data_energy = energies_at(energy, final)
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
    found = np.atleast_1d(check_array("betas", betas, "give a schedule such as ladder.geometric(50)"))
    if found.ndim != 1 or not found.size:
        raise InputError("betas", betas, "is not a list of inverse temperatures", "give ladder.geometric(50)")
    check_betas("betas", betas, found)
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
        energy, optima.position[:, None, None], np.array([beta]), 0, jax.random.fold_in(key, PREDICT)
    )
    found = {"steps": optima.num_steps.tolist(), "stopped": optima.stopped}
    energies = {"prior_energy": optima.prior_energy, "data_energy": optima.data_energy}
    groups["sample_stats"] = xr.Dataset(
        {name: (("chain", "draw"), values[:, None]) for name, values in energies.items()}
        | {"lp": (("chain", "draw"), -(optima.prior_energy + optima.data_energy)[:, None])}
    )
    return results.assemble(groups, results.describe(energy, key, function, arguments, found) | {"timings": {}})
