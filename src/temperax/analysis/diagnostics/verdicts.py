"""The report: for each check the worst temperature, good, fair or bad, and what to do."""

import json
import math
from typing import NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from temperax.analysis.diagnostics.journeys import WALL, exchange, is_ladder, round_trips
from temperax.analysis.diagnostics.remedies import REMEDIES
from temperax.analysis.diagnostics.temperatures import (
    Functions,
    faults,
    frozen,
    judges_parameters,
    summary,
    tempered_stats,
    warmup_share,
)
from temperax.errors import check_result
from temperax.samplers.tuner import MOST_REPLICAS


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


_EXCHANGE = "exchange replicas (parallel_tempering)"
_MORE_SCANS = "find what keeps replicas from travelling"
_MORE_DRAWS = "too few independent draws: raise num_draws or num_chains"

#: Checks of every temperature, by the column of `summary`; the worst temperature is shown.
CHECKS = {
    "rhat_f_max": Check(
        "R-hat of f, worst row",
        "most",
        1.01,
        1.05,
        f"chains disagree on predictions: run longer, or {_EXCHANGE}",
    ),
    "rhat_f_median": Check(
        "R-hat of f, median row",
        "most",
        1.01,
        1.05,
        f"chains sit in different modes: {_EXCHANGE}",
    ),
    "ess_f_min": Check("ESS of f, worst row", "least", 400, 100, _MORE_DRAWS),
    "rhat_parameter_max": Check("R-hat, worst parameter", "most", 1.01, 1.05, ""),  # see `remedies`
    "rhat_parameter_median": Check(
        "R-hat, median parameter",
        "most",
        1.01,
        1.05,
        f"chains disagree on most parameters: run longer, or {_EXCHANGE}",
    ),
    "ess_parameter_min": Check("ESS, worst parameter", "least", 400, 100, _MORE_DRAWS),
    "ess_tail_min": Check("ESS of the tails, worst parameter", "least", 400, 100, _MORE_DRAWS),
    "frozen": Check("chains that never move", "most", 0, 0, "every proposal is rejected: see below which chains"),
    "digits": Check(
        "width in steps of the precision",
        "least",
        100,
        30,
        "single precision is too coarse: jax.config.update('jax_enable_x64', True) before anything runs",
    ),
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

#: Of kernels that are not exact.
BIAS = Check("bias of the energy, in its deviations", "most", 0.1, 0.3, "take the exact kernel MAMS, or shorter steps")

#: Checks of a ladder, by what `_ladder_values` measures.
LADDER_CHECKS = {
    "round_trips": Check(
        "round trips", "least", 20, 1, "hardly a replica travels the ladder: more scans, or look at walls"
    ),
    "restart_efficiency": Check(
        "restarts, observed / predicted", "least", 0.7, 0.3, "exploration lags: raise transitions"
    ),
    "rejection": Check("rejection, worst pair", "most", 0.85, WALL, "a wall: see below"),
    "lag_one": Check("lag-one correlation of the energy", "most", 0.6, 0.9, "raise transitions"),
    "gap": Check("log Z, |backward - forward| (nats)", "most", 1, 3, "more scans or more replicas"),
}


def verdicts(tree: xr.DataTree, functions: Functions | None = None) -> pd.DataFrame:
    """The lines of the report: for each check the worst temperature, its value, the verdict and the advice.

    Parameters
    ----------
    tree, functions
        As in `report`.

    Returns
    -------
    pandas.DataFrame
        Columns ``check``, ``value``, ``temperature``, ``verdict`` (good, fair, bad or unknown) and ``advice`` (empty
        where the verdict is good).

    See Also
    --------
    temperax.diagnostics.report

    Examples
    --------
    >>> lines = tx.diagnostics.verdicts(tree)
    >>> set(lines["verdict"]) <= {"good", "fair", "bad", "unknown"}
    True
    """
    table = summary(tree, functions).drop(columns=_undefined(tempered_stats(tree)))
    stuck = frozen(tree)["temperature"].value_counts()
    table["frozen"] = stuck.reindex(table.index, fill_value=0)
    found, exchanged = [], is_ladder(tree)
    for column, check in CHECKS.items():
        if column in table:
            values = table[column].abs()
            if column.startswith("rhat"):  # of a chain that stands still it is no number, and surely not 1
                values = values.where(values.notna() | (table["frozen"] == 0), np.inf)
            values = values.dropna()
            where = (values.idxmax() if check.side == "most" else values.idxmin()) if len(values) else np.nan
            value = float(values[where]) if len(values) else np.nan
            if column == "rhat_parameter_max" and len(values):
                check = check._replace(title=f"R-hat, worst ({table['worst_parameter'][where]})")
            if column in REMEDIES and len(values) and check.verdict(value) != "good":
                check = check._replace(advice=REMEDIES[column](tree, table.loc[where]) or check.advice)
            if exchanged:
                check = check._replace(advice=check.advice.replace(_EXCHANGE, _MORE_SCANS))
            found.append((check, value, where))
    if "energy_bias" in tree.attrs:
        found.append((BIAS, *_bias(tree)))
    if exchanged:
        found += [(LADDER_CHECKS[name], *value) for name, value in _ladder_values(tree).items()]
    lines = []
    for check, value, temperature in found:
        verdict = "unknown" if np.isnan(value) else check.verdict(value)
        advice = {"good": "", "unknown": "cannot be told: use at least 4 chains and 100 draws"}.get(
            verdict, check.advice
        )
        lines.append((check.title, value, temperature, verdict, advice))
    return pd.DataFrame(lines, columns=["check", "value", "temperature", "verdict", "advice"])


def _undefined(stats: xr.Dataset) -> list[str]:
    """Columns of `summary` that no number of draws would fill.

    Spins feel no force, only momenta make a BFMI, and a model without data has no data energy.
    """
    spins = bool(stats["virial"].isnull().all())
    still = bool((stats["energy"].max(("chain", "draw")) == stats["energy"].min(("chain", "draw"))).all())
    flat = bool((stats["data_energy"].max() == stats["data_energy"].min()) & (stats["lp"].max() > stats["lp"].min()))
    return ["z", "digits"] * spins + ["bfmi"] * still + ["rhat_energy", "ess_energy"] * flat


def _bias(tree: xr.DataTree) -> tuple[float, float]:
    """The largest bias of an energy in standard deviations of its draws, and the temperature where it is."""
    lp = tempered_stats(tree)["lp"].transpose("temperature", ...)
    deviations = lp.std(("chain", "draw")).values
    betas, biases, _ = np.array(json.loads(tree.attrs["energy_bias"])).T
    here = np.abs(betas[:, None] - lp["beta"].values).argmin(axis=0)  # a result may have been cut
    relative = np.abs(biases[here]) / np.where(deviations > 0, deviations, np.inf)
    worst = int(relative.argmax())
    return float(relative[worst]), float(lp["temperature"].values[worst])


def _ladder_values(tree: xr.DataTree) -> dict[str, tuple[float, float]]:
    """Value and temperature of each of `LADDER_CHECKS`."""
    trips, pairs = round_trips(tree), exchange(tree)
    values = {name: (trips[name], np.nan) for name in ("round_trips", "restart_efficiency")}
    for name in ("rejection", "lag_one"):
        worst = pairs.loc[pairs[name].idxmax()]
        values[name] = (float(worst[name]), 1.0 / worst["beta_cold"])
    return values | {"gap": (abs(trips["log_z_backward"] - trips["log_z_forward"]), np.nan)}


def report(tree: xr.DataTree, functions: Functions | None = None) -> pd.DataFrame:
    """Print the verdicts as a table, and return them; for a ladder also what exchange did, and its walls.

    Parameters
    ----------
    tree
        A result of `temperax.sample` or `temperax.parallel_tempering`.
    functions
        Functions of the parameters that are judged with them, as in `parameter_space`.

    See Also
    --------
    temperax.diagnostics.verdicts, temperax.diagnostics.summary

    Examples
    --------
    >>> table = tx.diagnostics.report(ladder)
    Judged by the predictions of 40 held-out rows and the energy, at 8 temperatures.
    ...
    """
    lines = verdicts(tree, functions)
    print(_what_was_judged(tree, functions))
    print(
        _start_sentence(tree),
        _kernel_sentence(tree),
        f"Before the first draw came {warmup_share(tree):.0%} of all gradients.",
    )
    print(f"{'check':<34}{'worst value':>12}  {'at T':>8}  verdict  what to do")
    for line in lines.itertuples():
        temperature = f"{line.temperature:>8.3g}" if np.isfinite(line.temperature) else f"{'':>8}"
        print(f"{line.check:<34}{line.value:>12.4g}  {temperature}  {line.verdict:<7}  {line.advice}".rstrip())
    for row in frozen(tree).itertuples():
        lost = row.acceptance > 0.5
        why = "though its steps are accepted: they are lost in rounding, jax_enable_x64 has more digits" if lost else ""
        print(f"Chain {row.chain} at T = {row.temperature:.3g} never moves{why and f' {why}'}", end="")
        print("." if lost else ": start it elsewhere, or shorten its steps.")
    for row in faults(tree).itertuples():
        print(
            f"Chain {row.chain} at T = {row.temperature:.3g} has no finite energy in {row.draws} draws from number "
            f"{row.first} on: look at {row.parameter}."
        )
    if is_ladder(tree):
        print("\n" + "\n".join(exchange_sentences(tree)))
    if "smc" in tree.children:
        print(_smc_sentence(tree))
    if "compilation" in tree.attrs:
        compiled, whole = float(tree.attrs["compilation"]), sum(json.loads(tree.attrs["timings"]).values())
        print(f"Compilation took {compiled:.1f} s of {whole:.1f} s.")
    return lines


def _what_was_judged(tree: xr.DataTree, functions: Functions | None) -> str:
    """Of what the R-hat and the ESS are."""
    count = len(tempered_stats(tree)["temperature"])
    temperatures = f"{count} temperatures" if count > 1 else "one temperature"
    judges = []
    if "tempered_predictions" in tree.children:
        judges = [f"the predictions of {tree['tempered_predictions'].sizes['test_row']} held-out rows"]
    if judges_parameters(tree):
        judges += [f"all {tree.attrs['num_parameters']} parameters"]
    judges += list(functions or ())
    if judges:
        return f"Judged by {', '.join(judges)} and the energy, at {temperatures}."
    return (
        f"Judged by the energy alone, at {temperatures}, which cannot tell one mode from another: hold rows out, "
        "or give functions."
    )


def _start_sentence(tree: xr.DataTree) -> str:
    """How the chains started."""
    started = json.loads(tree.attrs["started"])
    if started["start"] != "optimum":
        return f"{tree['posterior'].sizes['chain']} chains from {started['start']} positions."
    count = len(started["steps"])
    taken = f"{min(started['steps'])}-{max(started['steps'])} steps"
    without = started["stopped"].count("no bottom")
    if without:
        return f"{count} chains, {without} of them from draws of the prior below which no optimum was found ({taken})."
    late = started["stopped"].count("max_steps")
    if late:
        return f"{count} chains from the ends of {taken}, of which {late} were still falling when they were stopped."
    reasons = " and ".join(sorted(set(started["stopped"])))
    return f"{count} chains, each from an optimum of its own ({taken}, stopped by {reasons})."


def _kernel_sentence(tree: xr.DataTree) -> str:
    """What moved the chains, and why it was chosen; nothing of results that do not say."""
    if "kernel" not in tree.attrs:
        return ""
    if "energy_bias" in tree.attrs:
        beta, bias, error = max(json.loads(tree.attrs["energy_bias"]), key=lambda row: abs(row[1]))
        temperature = f"T = {1 / beta:.3g}" if beta else "T = inf"
        return (
            f"{tree.attrs['kernel']} moved them, which is not exact: by exact scans that went on from the last draws, "
            f"energies are {bias:+.2g} ± {error:.2g} nats off at {temperature}."
        )
    chosen = json.loads(tree.attrs["arguments"]).get("kernel") == "auto"
    fits = "a network" if tree.attrs["kernel"] == "HMC" else "an energy of one's own"
    moves = " and the scales of its units were drawn in between" if "moves" in tree.attrs else ""
    return f"{tree.attrs['kernel']} moved them" + (f", which fits {fits}" if chosen else "") + f"{moves}."


def _smc_sentence(tree: xr.DataTree) -> str:
    """What sequential Monte Carlo found, and from how few of its first particles."""
    stages = tree["smc"].dataset
    families = stages["families"].isel(temperature=-1)
    return (
        f"log Z = {tree.attrs['log_z']:.2f} ± {tree.attrs['log_z_error']:.2f} from {stages.sizes['chain']} populations "
        f"in {stages.sizes['temperature'] - 1} steps; the particles at the end descend from "
        f"{int(families.min())}-{int(families.max())} of {tree['posterior'].sizes['draw']} in each."
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


def _why_this_path(tree: xr.DataTree) -> list[str]:
    """Where a ladder has left the way from the prior, or a part of it."""
    said, hottest = [], float(check_result(tree, "exchange")["beta"].values[0])
    temperature = 1.0 / hottest if hottest else math.inf
    if tree.attrs["path"] == "reference":
        said = ["The reference was fitted to draws: modes that they had not found are in no figure here."]
    for stage in json.loads(tree.attrs.get("rounds", "[]")):
        if "left_out" in stage:
            said = [
                f"The ladder starts at T = {temperature:.3g}, the hottest that can be sampled: hotter, trajectories "
                "diverge or energies are infinite. Log Z is counted from there; path='reference' counts all of it."
            ]
    return said


def exchange_sentences(tree: xr.DataTree) -> list[str]:
    """What exchange did, in plain sentences."""
    trips, pairs = round_trips(tree), exchange(tree)
    sentences = [
        *_why_this_path(tree),
        _why_replicas(tree, pairs),
        f"log Z from {trips['log_z_forward']:.2f} ± {trips['log_z_forward_error']:.2f} (forward) to "
        f"{trips['log_z_backward']:.2f} ± {trips['log_z_backward_error']:.2f} (backward)."
        if np.isfinite(trips["log_z_forward"])
        else "Some replicas have no finite energy: there is no log Z.",
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
