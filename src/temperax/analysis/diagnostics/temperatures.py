"""Statistics of every temperature's draws: in the space of functions, of the energy, and of the temperature itself."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from temperax.analysis import statistics
from temperax.analysis.diagnostics.draws import (
    attribute,
    check_held_out,
    columns,
    judges_parameters,
    kept_draws,
    of_particles,
    tempered_stats,
)
from temperax.analysis.diagnostics.failures import digits
from temperax.errors import InputError, check_callable, check_result

Functions = Mapping[str, Callable[[xr.Dataset], xr.DataArray]]


def function_space(tree: xr.DataTree) -> pd.DataFrame:
    """R-hat and bulk ESS of the predictions f(x*) on held-out inputs, per temperature.

    Rank-normalised split R-hat and bulk ESS of Vehtari et al. 2021, over the held-out rows and outputs.

    Returns
    -------
    pandas.DataFrame
        Index ``temperature``; ``rhat_f_max``, ``rhat_f_median``, ``ess_f_min``, ``ess_f_median``.

    Raises
    ------
    InputError
        If the result has no held-out predictions.

    See Also
    --------
    temperax.diagnostics.parameter_space, temperax.plots.mixing

    Examples
    --------
    >>> table = tx.diagnostics.function_space(tree)
    >>> bool(table["rhat_f_median"].loc[1.0] < 1.2)
    True
    """
    check_held_out(tree)
    f = check_result(tree, "tempered_predictions")[["f"]]
    rest = [d for d in f["f"].dims if d not in ("chain", "draw", "temperature")]
    rhat, ess = statistics.rhat(f)["f"], statistics.ess(f)["f"]
    return pd.DataFrame(
        {
            "rhat_f_max": rhat.max(rest).values,
            "rhat_f_median": rhat.median(rest).values,
            "ess_f_min": ess.min(rest).values,
            "ess_f_median": ess.median(rest).values,
        },
        index=pd.Index(f["temperature"].values, name="temperature"),
    )


def parameter_space(tree: xr.DataTree, functions: Functions | None = None, *, parameters: bool = True) -> pd.DataFrame:
    """R-hat and ESS of every parameter of the posterior, and of any function of them, per kept temperature.

    R-hat is the larger of the rank-normalised split one and of the folded one, which sees chains that differ in width;
    ESS is that of the bulk and that of the 5 % and 95 % quantiles (Vehtari et al. 2021).

    Parameters
    ----------
    tree
        A result.
    functions
        Functions of the draws, by name: each is given the parameters as a dataset (chain, draw, …) and returns an array
        with these dimensions.
    parameters
        False judges the functions alone.

    Returns
    -------
    pandas.DataFrame
        Index ``temperature``; ``rhat_parameter_max`` and ``worst_parameter``, whose it is, with ``separation``: how far
        apart the means of its chains are, in standard deviations of a chain; ``rhat_parameter_median``,
        ``ess_parameter_min``, ``ess_tail_min``.

    Raises
    ------
    InputError
        If a function is none, or returns no array of draws.

    See Also
    --------
    temperax.diagnostics.function_space

    Examples
    --------
    >>> largest = {"largest weight": lambda draws: abs(draws["layer_0_weight"]).max(("input", "layer_0_unit"))}
    >>> tx.diagnostics.parameter_space(tree, largest, parameters=False)["worst_parameter"].unique().tolist()
    ['largest weight']
    """
    kept = kept_draws(tree)
    found = {name: _of_draws(name, function, kept) for name, function in (functions or {}).items()}
    draws = (kept if parameters else kept[[]]).assign(found)
    rhat, ess, tail = _rhat(draws), statistics.ess(draws), statistics.ess(draws, method="tail")
    rows = []
    for n in range(draws.sizes["temperature"]):
        r, bulk, ends = (columns(found.isel(temperature=n)) for found in (rhat, ess, tail))
        worst = r.fillna(-np.inf).idxmax()
        variable = next(str(v) for v in draws.data_vars if worst == v or worst.startswith(f"{v}["))
        chains = columns(draws[[variable]].isel(temperature=n), ("chain", "draw"))[worst]
        within = np.sqrt(np.mean(np.var(chains, axis=1)))
        separation = np.std(np.mean(chains, axis=1)) / within if within > 0 else np.inf
        rows.append((r.max(), worst, separation, r.median(), bulk.min(), ends.min()))
    names = ["rhat_parameter_max", "worst_parameter", "separation"]
    names += ["rhat_parameter_median", "ess_parameter_min", "ess_tail_min"]
    return pd.DataFrame(rows, columns=names, index=pd.Index(draws["temperature"].values, name="temperature"))


def largest_rhat(tree: xr.DataTree) -> tuple[str, pd.Series]:
    """The largest R-hat at each kept temperature, and of what: ``predictions``, or ``parameters`` where judged."""
    if "tempered_predictions" in tree.children:
        what, draws = "predictions", check_result(tree, "tempered_predictions")[["f"]]
    elif judges_parameters(tree):
        what, draws = "parameters", kept_draws(tree)
    else:
        return "parameters", pd.Series(dtype=float)
    found = [each.max([d for d in each.dims if d != "temperature"]).values for each in _rhat(draws).values()]
    return what, pd.Series(np.max(found, axis=0), pd.Index(draws["temperature"].values, name="temperature"))


def _rhat(draws: xr.Dataset) -> xr.Dataset:
    """R-hat; infinite of what each chain keeps at a value of its own, where it is no number and surely not 1."""
    rhat = statistics.rhat(draws)
    differs = draws.max(("chain", "draw")) > draws.min(("chain", "draw"))
    return rhat.where(rhat.notnull() | ~differs, np.inf)


def _of_draws(name: str, function: Any, draws: xr.Dataset) -> xr.DataArray:
    """A user's function of the draws, or what is wrong with what it returns."""
    found = check_callable("functions", function, "functions of the draws by name")(draws)
    if not isinstance(found, xr.DataArray) or not {"chain", "draw", "temperature"} <= set(found.dims):
        problem = f"({name}) does not return an array with the dimensions chain, draw and temperature"
        raise InputError("functions", found, problem, "compute with the variables of the dataset it is given")
    return found


def energies(tree: xr.DataTree) -> pd.DataFrame:
    """Mean, R-hat and ESS of the data energy, E-BFMI, acceptance, steps and divergences, per temperature.

    Returns
    -------
    pandas.DataFrame
        Index ``temperature``; ``data_energy`` and ``data_energy_mcse`` in nats, ``rhat_energy``, ``ess_energy``,
        ``bfmi`` (smallest of the chains, Betancourt 2016), ``acceptance``, ``n_steps``, ``saturated`` (share of
        transitions that hit the kernel's cap on steps), ``divergences``, ``faults`` (draws of replicas whose energy or
        its gradient is not finite; see `faults`).

    See Also
    --------
    temperax.diagnostics.report, temperax.plots.energies

    Examples
    --------
    >>> tx.diagnostics.energies(tree).index.tolist()
    [2.0, 1.0, 0.5]
    """
    stats = tempered_stats(tree)
    step_cap = _step_cap(tree, stats["beta"].values)
    data = stats[["data_energy"]]
    if stats.sizes["draw"] < 2 or of_particles(tree):
        # Of one draw, ArviZ divides by no degrees of freedom; particles do not follow one another.
        bfmi = stats["energy"].isel(draw=0) * np.nan
    else:
        # Exact draws at β = 0 have no Hamiltonian: their energy is constant and its BFMI undefined.
        with np.errstate(invalid="ignore", divide="ignore"):
            bfmi = statistics.bfmi(stats)
        bfmi = bfmi["energy"] if isinstance(bfmi, xr.Dataset) else bfmi
    return pd.DataFrame(
        {
            "data_energy": stats["data_energy"].mean(("chain", "draw")).values,
            "data_energy_mcse": statistics.mcse(data)["data_energy"].values,
            "rhat_energy": statistics.rhat(data)["data_energy"].values,
            "ess_energy": statistics.ess(data)["data_energy"].values,
            "bfmi": bfmi.min("chain").values,
            "acceptance": stats["acceptance_rate"].mean(("chain", "draw")).values,
            "n_steps": stats["n_steps"].mean(("chain", "draw")).values,
            "saturated": (stats["n_steps"] >= step_cap).mean(("chain", "draw")).values,
            "divergences": stats["diverging"].sum(("chain", "draw")).values,
            "faults": (stats["fault"] >= 0).sum(("chain", "draw")).values,
        },
        index=pd.Index(stats["temperature"].values, name="temperature"),
    )


def configurational_temperature(tree: xr.DataTree) -> pd.DataFrame:
    """The temperature that positions and forces themselves show: ⟨(θ - c)·∇U⟩ / P against T.

    On the posterior path U = U0 + E and the value is T; on the likelihood path U = U0 + βE and the value is 1.  It
    detects wrong gradients, a missing accept step and unequilibrated draws; on a single mode it says nothing of others.

    Returns
    -------
    pandas.DataFrame
        Index ``temperature``; ``expected``, ``estimate``, ``standard_error`` (from the ESS) and ``z``.

    See Also
    --------
    temperax.diagnostics.report, temperax.diagnostics.energies

    Examples
    --------
    >>> list(tx.diagnostics.configurational_temperature(tree).columns)
    ['expected', 'estimate', 'standard_error', 'z']
    >>> bool((tx.diagnostics.configurational_temperature(tree)["z"].abs() < 5).all())
    True
    """
    stats = tempered_stats(tree)
    temperature = stats["temperature"].values
    expected = temperature if tree.attrs["path"] == "posterior" else np.ones_like(temperature)
    virial = stats[["virial"]]
    estimate = virial["virial"].mean(("chain", "draw")).values * expected
    error = statistics.mcse(virial)["virial"].values * expected
    with np.errstate(divide="ignore", invalid="ignore"):  # chains that stand still have no error
        z = (estimate - expected) / error
    columns = {"expected": expected, "estimate": estimate, "standard_error": error, "z": z}
    return pd.DataFrame(columns, index=pd.Index(temperature, name="temperature"))


def summary(tree: xr.DataTree, functions: Functions | None = None) -> pd.DataFrame:
    """All diagnostics of every temperature: the table behind `report`.

    Predictions of networks are judged, every parameter of a user's own energy, and ``functions`` as in
    `parameter_space`.

    See Also
    --------
    temperax.diagnostics.report

    Examples
    --------
    >>> bool(tx.diagnostics.summary(tree)["acceptance"].between(0.5, 1.0).all())
    True
    """
    table = energies(tree).join(configurational_temperature(tree)[["expected", "estimate", "standard_error", "z"]])
    table = table.join(digits(tree)[["digits"]])
    if "tempered_predictions" in tree.children:
        table = function_space(tree).join(table, how="right")
    if (own := judges_parameters(tree)) or functions:
        table = parameter_space(tree, functions, parameters=own).join(table, how="right")
    return table


def warmup_share(tree: xr.DataTree) -> float:
    """Share of a run's gradients that came before its first draw: the search for starts and the warm-up.

    Raises
    ------
    InputError
        If the result is not of `temperax.sample` or `temperax.parallel_tempering`.

    See Also
    --------
    temperax.sample

    Examples
    --------
    >>> 0 < tx.diagnostics.warmup_share(tree) < 1
    True
    """
    before, drawn = int(attribute(tree, "warmup_gradients")), int(tempered_stats(tree)["n_steps"].sum())
    return before / (before + drawn) if before else 0.0


def _step_cap(tree: xr.DataTree, betas: np.ndarray) -> np.ndarray:
    """Steps of a draw in which every trajectory hits the cap, at these β; infinite where a result does not say."""
    given = np.asarray(json.loads(attribute(tree, "step_cap")), float)
    if given.ndim == 1:  # as results had it before they could be cut
        return given if len(given) == len(betas) else np.full(len(betas), np.inf)
    return given[np.abs(given[:, 0] - betas[:, None]).argmin(axis=1), 1]
