"""Diagnostics: has it converged, in the space of functions, and can each number be believed?

Weight space has permutation and sign symmetries, so R-hat there says little; the question is asked of f(x*) on held-out
inputs and of the energy, per temperature, over independent chains.  The statistics are ArviZ's.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass

import arviz_stats
import numpy as np
import pandas as pd
import xarray as xr

from temperax import recipes
from temperax.errors import InputError
from temperax.kernels import HMC, as_kernel


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
    """
    if "tempered_predictive" not in tree.children:
        raise InputError("tree", list(tree.children), "has no held-out predictions", "hold rows out of the data set")
    f = tree["tempered_predictive"].dataset[["f"]]
    rest = [d for d in f["f"].dims if d not in ("chain", "draw", "temperature")]
    rhat, ess = arviz_stats.rhat(f)["f"], arviz_stats.ess(f)["f"]
    return pd.DataFrame(
        {
            "rhat_f_max": rhat.max(rest).values,
            "rhat_f_median": rhat.median(rest).values,
            "ess_f_min": ess.min(rest).values,
            "ess_f_median": ess.median(rest).values,
        },
        index=pd.Index(f["temperature"].values, name="temperature"),
    )


def energies(tree: xr.DataTree) -> pd.DataFrame:
    """Mean, R-hat and ESS of the data energy, E-BFMI, acceptance, steps and divergences, per temperature.

    Returns
    -------
    pandas.DataFrame
        Index ``temperature``; ``data_energy`` and ``data_energy_mcse`` in nats, ``rhat_energy``, ``ess_energy``,
        ``bfmi`` (smallest of the chains, Betancourt 2016), ``acceptance``, ``n_steps``, ``saturated`` (share of
        transitions that hit the kernel's cap on steps), ``divergences``.
    """
    stats = _stats(tree)
    data = stats[["data_energy"]]
    # Exact draws at β = 0 have no Hamiltonian: their energy is constant and its BFMI undefined.
    with np.errstate(invalid="ignore", divide="ignore"):
        bfmi = arviz_stats.bfmi(stats.to_dataset() if isinstance(stats, xr.DataTree) else stats)
    bfmi = bfmi["energy"] if isinstance(bfmi, xr.Dataset) else bfmi
    return pd.DataFrame(
        {
            "data_energy": stats["data_energy"].mean(("chain", "draw")).values,
            "data_energy_mcse": arviz_stats.mcse(data)["data_energy"].values,
            "rhat_energy": arviz_stats.rhat(data)["data_energy"].values,
            "ess_energy": arviz_stats.ess(data)["data_energy"].values,
            "bfmi": bfmi.min("chain").values,
            "acceptance": stats["acceptance_rate"].mean(("chain", "draw")).values,
            "n_steps": stats["n_steps"].mean(("chain", "draw")).values,
            "saturated": (stats["n_steps"] >= _most_steps(tree)).mean(("chain", "draw")).values,
            "divergences": stats["diverging"].sum(("chain", "draw")).values,
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
    """
    stats = _stats(tree)
    temperature = stats["temperature"].values
    expected = temperature if tree.attrs["path"] == "posterior" else np.ones_like(temperature)
    virial = stats[["virial"]]
    estimate = virial["virial"].mean(("chain", "draw")).values * expected
    error = arviz_stats.mcse(virial)["virial"].values * expected
    return pd.DataFrame(
        {
            "expected": expected,
            "estimate": estimate,
            "standard_error": error,
            "z": (estimate - expected) / error,
        },
        index=pd.Index(temperature, name="temperature"),
    )


def summary(tree: xr.DataTree) -> pd.DataFrame:
    """All diagnostics of every temperature: the table behind `report`."""
    table = energies(tree).join(configurational_temperature(tree)[["expected", "estimate", "standard_error", "z"]])
    if "tempered_predictive" in tree.children:
        table = function_space(tree).join(table, how="right")
    return table


def _stats(tree: xr.DataTree) -> xr.Dataset:
    if not isinstance(tree, xr.DataTree) or "tempered_stats" not in tree.children:
        raise InputError("tree", type(tree).__name__, "is no result of a sampler", "give what temperax.sample returned")
    return tree["tempered_stats"].to_dataset()


def _most_steps(tree: xr.DataTree) -> int:
    """Steps that a draw has when every trajectory hits the kernel's cap."""
    arguments = recipes.decode(json.loads(tree.attrs["arguments"]))
    kernel = as_kernel(arguments["kernel"])
    cap = kernel.max_steps if isinstance(kernel, HMC) else 2 ** getattr(kernel, "max_tree_depth", 31) - 1
    return int(cap) * int(arguments["thin"])


# -- the report ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Check:
    """One line of the report: which number, which way is worse, and what the verdicts are."""

    column: str
    title: str
    worst: Callable[[pd.Series], float]  # index (temperature) of the worst value
    good: Callable[[float], bool]
    fair: Callable[[float], bool]
    advice: str


CHECKS = (
    Check(
        "rhat_f_max",
        "R-hat of f, worst row",
        pd.Series.idxmax,
        lambda v: v <= 1.01,
        lambda v: v <= 1.05,
        "chains disagree on predictions: run longer, or exchange replicas (parallel tempering)",
    ),
    Check(
        "rhat_f_median",
        "R-hat of f, median row",
        pd.Series.idxmax,
        lambda v: v <= 1.01,
        lambda v: v <= 1.05,
        "chains sit in different modes: exchange replicas (parallel tempering)",
    ),
    Check(
        "ess_f_min",
        "ESS of f, worst row",
        pd.Series.idxmin,
        lambda v: v >= 400,
        lambda v: v >= 100,
        "too few independent draws: raise num_draws or num_chains",
    ),
    Check(
        "rhat_energy",
        "R-hat of the data energy",
        pd.Series.idxmax,
        lambda v: v <= 1.01,
        lambda v: v <= 1.05,
        "energies still drift or chains differ: raise num_warmup",
    ),
    Check(
        "ess_energy",
        "ESS of the data energy",
        pd.Series.idxmin,
        lambda v: v >= 400,
        lambda v: v >= 100,
        "too few independent draws: raise num_draws or num_chains",
    ),
    Check(
        "z",
        "configurational temperature, z",
        lambda s: s.abs().idxmax(),
        lambda v: abs(v) <= 3,
        lambda v: abs(v) <= 4,
        "draws are not at the temperature asked for: raise num_warmup, check the gradient",
    ),
    Check(
        "acceptance",
        "acceptance rate",
        pd.Series.idxmin,
        lambda v: v >= 0.6,
        lambda v: v >= 0.4,
        "steps are too long: raise num_warmup or target_acceptance",
    ),
    Check(
        "divergences",
        "divergences",
        pd.Series.idxmax,
        lambda v: v == 0,
        lambda v: v <= 5,
        "trajectories blow up: raise target_acceptance, or reparametrise",
    ),
    Check(
        "saturated",
        "share of trajectories at the cap",
        pd.Series.idxmax,
        lambda v: v <= 0.01,
        lambda v: v <= 0.1,
        "trajectories are cut short: raise max_steps or max_tree_depth",
    ),
    Check(
        "bfmi",
        "E-BFMI, worst chain",
        pd.Series.idxmin,
        lambda v: v >= 0.3,
        lambda v: v >= 0.2,
        "momenta cannot change the energy fast enough: reparametrise, or use longer runs",
    ),
)


def verdicts(tree: xr.DataTree) -> pd.DataFrame:
    """The lines of the report: for each check the worst temperature, its value, the verdict and the advice.

    Returns
    -------
    pandas.DataFrame
        Columns ``check``, ``value``, ``temperature``, ``verdict`` (good, fair, bad or unknown) and ``advice`` (empty
        where the verdict is good).
    """
    table = summary(tree)
    lines = []
    for check in CHECKS:
        if check.column not in table:
            continue
        values = table[check.column].dropna()
        if values.empty:
            lines.append(
                (
                    check.title,
                    np.nan,
                    np.nan,
                    "unknown",
                    "cannot be told: use at least 4 chains and 100 draws",
                )
            )
            continue
        temperature = check.worst(values)
        value = float(values[temperature])
        verdict = "good" if check.good(value) else "fair" if check.fair(value) else "bad"
        lines.append((check.title, value, temperature, verdict, "" if verdict == "good" else check.advice))
    return pd.DataFrame(lines, columns=["check", "value", "temperature", "verdict", "advice"])


def report(tree: xr.DataTree) -> pd.DataFrame:
    """Print the verdicts as a table, and return them.

    Parameters
    ----------
    tree
        A result of `temperax.sample` or `temperax.parallel_tempering`.
    """
    lines = verdicts(tree)
    print(f"{'check':<34}{'worst value':>12}  {'at T':>8}  verdict  what to do")
    for line in lines.itertuples():
        print(
            f"{line.check:<34}{line.value:>12.4g}  {line.temperature:>8.3g}  {line.verdict:<7}  {line.advice}".rstrip()
        )
    return lines
