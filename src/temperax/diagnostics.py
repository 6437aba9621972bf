"""Diagnostics: has it converged, in the space of functions, and can each number be believed?

Weight space has permutation and sign symmetries, so R-hat there says little; the question is asked of f(x*) on held-out
inputs and of the energy, per temperature, over independent chains.  The statistics are ArviZ's.
"""

import json
import math
from typing import NamedTuple

import arviz_stats
import numpy as np
import pandas as pd
import xarray as xr

from temperax import ladder, thermodynamics
from temperax.errors import InputError, check_result
from temperax.parameters import parameter_name
from temperax.rounds import MOST_REPLICAS


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
    check_held_out(tree)
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


def check_held_out(tree: xr.DataTree) -> None:
    """Say so if a result has no predictions of held-out rows."""
    remedy = "hold rows out of the data set"
    check_result(tree, "tempered_predictive", "f", problem="has no held-out predictions", remedy=remedy)


def energies(tree: xr.DataTree) -> pd.DataFrame:
    """Mean, R-hat and ESS of the data energy, E-BFMI, acceptance, steps and divergences, per temperature.

    Returns
    -------
    pandas.DataFrame
        Index ``temperature``; ``data_energy`` and ``data_energy_mcse`` in nats, ``rhat_energy``, ``ess_energy``,
        ``bfmi`` (smallest of the chains, Betancourt 2016), ``acceptance``, ``n_steps``, ``saturated`` (share of
        transitions that hit the kernel's cap on steps), ``divergences``, ``faults`` (draws of replicas whose energy or
        its gradient is not finite; see `faults`).
    """
    stats = _stats(tree)
    if "step_cap" not in tree.attrs:
        raise InputError("tree", list(tree.attrs), "are not the attributes of a result", "give what a sampler returned")
    data = stats[["data_energy"]]
    if stats.sizes["draw"] < 2:
        bfmi = stats["energy"].isel(draw=0) * np.nan  # of one draw, ArviZ divides by no degrees of freedom
    else:
        # Exact draws at β = 0 have no Hamiltonian: their energy is constant and its BFMI undefined.
        with np.errstate(invalid="ignore", divide="ignore"):
            bfmi = arviz_stats.bfmi(stats)
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
            "saturated": (stats["n_steps"] >= np.asarray(json.loads(tree.attrs["step_cap"])))
            .mean(("chain", "draw"))
            .values,
            "divergences": stats["diverging"].sum(("chain", "draw")).values,
            "faults": (stats["fault"] >= 0).sum(("chain", "draw")).values,
        },
        index=pd.Index(stats["temperature"].values, name="temperature"),
    )


def faults(tree: xr.DataTree) -> pd.DataFrame:
    """Replicas whose energy or its gradient is not finite, and where.

    Such a replica stays where it is, and the others go on without it: what it leaves are no draws.

    Returns
    -------
    pandas.DataFrame
        One row a chain and temperature that has any: ``chain``, ``temperature``, ``draws`` (how many), ``first`` (the
        first of them) and ``parameter``: the first parameter at which the gradient is not finite, by name.
    """
    fault = _stats(tree)["fault"].transpose("chain", "temperature", "draw")
    layout = json.loads(tree.attrs["layout"])
    rows = []
    for chain, slot in np.argwhere((fault.values >= 0).any(axis=-1)).tolist():
        seen = fault.values[chain, slot]
        first = int(np.argmax(seen >= 0))
        temperature = float(fault["temperature"][slot])
        rows.append((chain, temperature, int((seen >= 0).sum()), first, parameter_name(layout, int(seen[first]))))
    return pd.DataFrame(rows, columns=["chain", "temperature", "draws", "first", "parameter"])


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


# -- exchange --------------------------------------------------------------------------------------------------------


def exchange(tree: xr.DataTree) -> pd.DataFrame:
    """What every pair of neighbours on a ladder did, and whether it is a wall.

    Returns
    -------
    pandas.DataFrame
        One row a pair: ``beta_hot`` and ``beta_cold``, ``rejection``, ``local_barrier`` λ(β) at the middle of the pair,
        ``lag_one`` (largest lag-one correlation of the path energy over a scan at the pair's two rungs, the assumption
        behind the theory), ``drift`` (largest change of the mean energy between the halves of the run, in standard
        errors), ``bimodality`` (largest coefficient of Sarle, 5/9 for a uniform law, more for two humps) and ``wall``:
        empty, ``transition`` or ``drifting``.
    """
    barrier, stats = _barrier(tree), _stats(tree)
    v = stats[["path_energy"]].transpose("chain", "draw", "temperature")
    values = v["path_energy"].values.astype(float)
    half = values.shape[1] // 2
    lag = ladder.lag_one(values)
    first, second = v.isel(draw=slice(0, half)), v.isel(draw=slice(half, None))
    change = second["path_energy"].mean(("chain", "draw")) - first["path_energy"].mean(("chain", "draw"))
    error = np.hypot(*(arviz_stats.mcse(part)["path_energy"].values for part in (first, second)))
    drift = np.abs(change.values) / np.where(error > 0, error, np.inf)
    humps = np.array([_bimodality(values[..., n]) for n in range(values.shape[-1])])
    rhat = arviz_stats.rhat(v)["path_energy"].values
    unsettled = (drift > 4) | (rhat > 1.1)

    def pair(values: np.ndarray) -> np.ndarray:
        return np.maximum(values[1:], values[:-1])

    wall = np.where(barrier.rejection < WALL, "", np.where(pair(unsettled), "drifting", "transition"))
    return pd.DataFrame(
        {
            "beta_hot": barrier.betas[:-1],
            "beta_cold": barrier.betas[1:],
            "rejection": barrier.rejection,
            "local_barrier": barrier.local((barrier.betas[1:] + barrier.betas[:-1]) / 2),
            "lag_one": pair(lag),
            "drift": pair(drift),
            "bimodality": pair(humps),
            "wall": wall,
        }
    )


def round_trips(tree: xr.DataTree) -> dict[str, float]:
    """How replicas travelled, against theory.

    Returns
    -------
    dict
        ``barrier`` Λ; ``round_trips`` and ``restarts`` of all ladders together; ``observed`` round trips a scan and
        ladder after the first quarter of the run, by when replicas have met an end; ``predicted`` by the rejections,
        1/(2 + 2Σr/(1-r)); their ratio ``efficiency``; ``log_z_forward`` and ``log_z_backward`` in nats with their
        ``_error``.
    """
    barrier = _barrier(tree)
    group = tree["exchange"].to_dataset()
    trips = group["round_trips"].transpose("chain", "draw").values
    quarter = trips.shape[1] // 4
    scans = (trips.shape[1] - quarter) * int(json.loads(tree.attrs["arguments"])["thin"])
    observed = float((trips[:, -1] - trips[:, quarter - 1]).mean() / scans)
    z = thermodynamics.stepping_stone(tree)
    return {
        "barrier": barrier.total,
        "round_trips": float(trips[:, -1].sum()),
        "restarts": float(group["restarts"].transpose("chain", "draw").values[:, -1].sum()),
        "observed": observed,
        "predicted": barrier.round_trip_rate(),
        "efficiency": observed / barrier.round_trip_rate(),
        "log_z_forward": z.forward,
        "log_z_forward_error": z.forward_error,
        "log_z_backward": z.backward,
        "log_z_backward_error": z.backward_error,
    }


#: A pair that rejects at least this often is a wall.
WALL = 0.9


def _barrier(tree: xr.DataTree) -> ladder.Barrier:
    remedy = "give a result of temperax.parallel_tempering"
    wanted = ("swap_acceptance", "round_trips", "restarts", "beta")
    group = check_result(tree, "exchange", *wanted, problem="has no exchange", remedy=remedy)
    acceptance = group["swap_acceptance"].mean(("chain", "draw")).values
    return ladder.barrier(group["beta"].values, np.clip(1.0 - acceptance, 0.0, 1.0))


def _bimodality(values: np.ndarray) -> float:
    """Sarle's coefficient (skewness² + 1) / kurtosis."""
    if values.std() == 0:
        return 0.0
    z = (values - values.mean()) / values.std()
    return float(((z**3).mean() ** 2 + 1) / (z**4).mean())


def _stats(tree: xr.DataTree) -> xr.Dataset:
    wanted = ("data_energy", "path_energy", "energy", "virial", "acceptance_rate", "n_steps", "diverging")
    return check_result(tree, "tempered_stats", *wanted, "temperature", "beta")


# -- the report ------------------------------------------------------------------------------------------------------


class Check(NamedTuple):
    """One line of the report: the bounds of a good and of a fair value, and what to do beyond them."""

    title: str
    side: str  # "most": smaller is better, "least": larger is better
    good: float
    fair: float
    advice: str

    def verdict(self, value: float) -> str:
        """Good, fair or bad."""
        sign = 1.0 if self.side == "most" else -1.0
        return "good" if sign * value <= sign * self.good else "fair" if sign * value <= sign * self.fair else "bad"


_MORE_DRAWS = "too few independent draws: raise num_draws or num_chains"

#: Checks of every temperature, by the column of `summary`; the worst temperature is shown.
CHECKS = {
    "rhat_f_max": Check(
        "R-hat of f, worst row",
        "most",
        1.01,
        1.05,
        "chains disagree on predictions: run longer, or exchange replicas (parallel tempering)",
    ),
    "rhat_f_median": Check(
        "R-hat of f, median row",
        "most",
        1.01,
        1.05,
        "chains sit in different modes: exchange replicas (parallel tempering)",
    ),
    "ess_f_min": Check("ESS of f, worst row", "least", 400, 100, _MORE_DRAWS),
    "rhat_energy": Check(
        "R-hat of the data energy", "most", 1.01, 1.05, "energies still drift or chains differ: raise num_warmup"
    ),
    "ess_energy": Check("ESS of the data energy", "least", 400, 100, _MORE_DRAWS),
    "z": Check(
        "configurational temperature, |z|",
        "most",
        3,
        4,
        "draws are not at the temperature asked for: raise num_warmup, check the gradient",
    ),
    "acceptance": Check(
        "acceptance rate", "least", 0.6, 0.4, "steps are too long: raise num_warmup or target_acceptance"
    ),
    "divergences": Check(
        "divergences", "most", 0, 5, "trajectories blow up: raise target_acceptance, or reparametrise"
    ),
    "faults": Check(
        "draws without a finite energy", "most", 0, 0, "energies overflow: see below where, and narrow the prior there"
    ),
    "saturated": Check(
        "share of trajectories at the cap",
        "most",
        0.01,
        0.1,
        "trajectories are cut short: raise max_steps or max_tree_depth",
    ),
    "bfmi": Check(
        "E-BFMI, worst chain",
        "least",
        0.3,
        0.2,
        "momenta cannot change the energy fast enough: reparametrise, or use longer runs",
    ),
}

#: Checks of a ladder, by what `_ladder_values` measures.
LADDER_CHECKS = {
    "round_trips": Check(
        "round trips", "least", 20, 1, "hardly a replica travels the ladder: more scans, or look at walls"
    ),
    "efficiency": Check("round trips, observed / predicted", "least", 0.7, 0.3, "exploration lags: raise transitions"),
    "rejection": Check("rejection, worst pair", "most", 0.85, WALL, "a wall: see below"),
    "lag_one": Check("lag-one correlation of the energy", "most", 0.6, 0.9, "raise transitions"),
    "gap": Check("log Z, |backward - forward| (nats)", "most", 1, 3, "more scans or more replicas"),
}


def verdicts(tree: xr.DataTree) -> pd.DataFrame:
    """The lines of the report: for each check the worst temperature, its value, the verdict and the advice.

    Returns
    -------
    pandas.DataFrame
        Columns ``check``, ``value``, ``temperature``, ``verdict`` (good, fair, bad or unknown) and ``advice`` (empty
        where the verdict is good).
    """
    table = summary(tree).drop(columns=_undefined(_stats(tree)))
    found = []
    for column, check in CHECKS.items():
        if column in table:
            values = table[column].abs().dropna()
            where = (values.idxmax() if check.side == "most" else values.idxmin()) if len(values) else np.nan
            found.append((check, float(values[where]) if len(values) else np.nan, where))
    if "exchange" in tree.children:
        found += [(LADDER_CHECKS[name], *value) for name, value in _ladder_values(tree).items()]
    lines = []
    for check, value, temperature in found:
        verdict = check.verdict(value) if np.isfinite(value) else "unknown"
        advice = {"good": "", "unknown": "cannot be told: use at least 4 chains and 100 draws"}.get(
            verdict, check.advice
        )
        lines.append((check.title, value, temperature, verdict, advice))
    return pd.DataFrame(lines, columns=["check", "value", "temperature", "verdict", "advice"])


def _undefined(stats: xr.Dataset) -> list[str]:
    """Columns of `summary` that no number of draws would fill: spins feel no force, and only momenta make a BFMI."""
    spins = bool(stats["virial"].isnull().all())
    still = bool((stats["energy"].max(("chain", "draw")) == stats["energy"].min(("chain", "draw"))).all())
    return ["z"] * spins + ["bfmi"] * still


def _ladder_values(tree: xr.DataTree) -> dict[str, tuple[float, float]]:
    """Value and temperature of each of `LADDER_CHECKS`."""
    trips, pairs = round_trips(tree), exchange(tree)
    values = {name: (trips[name], np.nan) for name in ("round_trips", "efficiency")}
    for name in ("rejection", "lag_one"):
        worst = pairs.loc[pairs[name].idxmax()]
        values[name] = (float(worst[name]), 1.0 / worst["beta_cold"])
    return values | {"gap": (abs(trips["log_z_backward"] - trips["log_z_forward"]), np.nan)}


def report(tree: xr.DataTree) -> pd.DataFrame:
    """Print the verdicts as a table, and return them; for a ladder also what exchange did, and its walls.

    Parameters
    ----------
    tree
        A result of `temperax.sample` or `temperax.parallel_tempering`.
    """
    lines = verdicts(tree)
    print(_start_sentence(tree))
    print(f"{'check':<34}{'worst value':>12}  {'at T':>8}  verdict  what to do")
    for line in lines.itertuples():
        temperature = f"{line.temperature:>8.3g}" if np.isfinite(line.temperature) else f"{'':>8}"
        print(f"{line.check:<34}{line.value:>12.4g}  {temperature}  {line.verdict:<7}  {line.advice}".rstrip())
    for row in faults(tree).itertuples():
        print(
            f"Chain {row.chain} at T = {row.temperature:.3g} has no finite energy in {row.draws} draws from number "
            f"{row.first} on: look at {row.parameter}."
        )
    if "exchange" in tree.children:
        print("\n" + "\n".join(_exchange_sentences(tree)))
    return lines


def _start_sentence(tree: xr.DataTree) -> str:
    """How the chains started."""
    started = json.loads(tree.attrs["started"])
    if started["start"] != "optimum":
        return f"{tree['posterior'].sizes['chain']} chains from {started['start']} positions."
    reasons = " and ".join(sorted(set(started["stopped"])))
    return (
        f"{len(started['steps'])} chains, each from an optimum of its own "
        f"({min(started['steps'])}-{max(started['steps'])} steps, stopped by {reasons})."
    )


def _why_replicas(tree: xr.DataTree, pairs: pd.DataFrame) -> str:
    """One sentence on the number of replicas."""
    arguments = json.loads(tree.attrs["arguments"])
    count, worst, barrier = len(pairs) + 1, pairs["rejection"].max(), pairs["rejection"].sum()
    seen = f"barrier {barrier:.1f}, so about {math.ceil(2 * barrier) + 1} are best; worst rejection {worst:.2f}"
    if arguments["num_replicas"] == "auto" and arguments["ladder"] is None:
        capped = f" (capped at {MOST_REPLICAS})" if count == MOST_REPLICAS else ""
        return f"auto chose {count} replicas{capped}: {seen}."
    return f"{count} replicas were given: {seen}."


def _exchange_sentences(tree: xr.DataTree) -> list[str]:
    """What exchange did, in plain sentences."""
    trips, pairs = round_trips(tree), exchange(tree)
    sentences = [
        _why_replicas(tree, pairs),
        f"log Z from {trips['log_z_forward']:.2f} ± {trips['log_z_forward_error']:.2f} (forward) to "
        f"{trips['log_z_backward']:.2f} ± {trips['log_z_backward_error']:.2f} (backward).",
    ]
    if trips["log_z_forward"] - trips["log_z_backward"] > 3 * (
        trips["log_z_forward_error"] + trips["log_z_backward_error"]
    ):
        sentences.append(
            "The two are the wrong way round: the replicas are not in equilibrium, and neither can be believed."
        )
    advice = {
        "drifting": "its replicas still drift or its ladders disagree: more scans",
        "transition": "energies on its two sides are settled and far apart, as at a phase transition: "
        "more replicas there, another path (reference), or a parametrisation without the jump",
    }
    for row in pairs[pairs["wall"] != ""].itertuples():
        humps = ", two humps in the energy" if row.bimodality > 5 / 9 else ""
        sentences.append(
            f"Wall between beta {row.beta_hot:.3g} and {row.beta_cold:.3g} "
            f"(rejection {row.rejection:.2f}{humps}): {advice[row.wall]}."
        )
    return sentences
