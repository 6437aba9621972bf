"""The report in plain sentences: what was judged, how chains started and moved, what exchange did."""

import json
import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
import xarray as xr

from temperax.analysis.diagnostics.draws import judges_parameters, tempered_stats, too_few
from temperax.analysis.diagnostics.equilibrium import in_words
from temperax.analysis.diagnostics.failures import faults, frozen
from temperax.analysis.diagnostics.journeys import exchange, is_ladder, round_trips
from temperax.analysis.diagnostics.sides import sides, started_from_both
from temperax.analysis.diagnostics.temperatures import Functions, warmup_share
from temperax.analysis.diagnostics.verdicts import Judged, by_temperature, judged, lines_of
from temperax.engine import ladder as ladders
from temperax.errors import check_result
from temperax.results.reading import posterior_temperature
from temperax.samplers.tuner import MOST_REPLICAS


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
    known = judged(tree, functions)
    lines = lines_of(tree, known)
    print("\n".join(introduction(tree, functions)))
    print(f"{'check':<34}{'worst value':>12}  {'at T':>8}  verdict  what to do")
    for line in lines.itertuples():
        temperature = f"{line.temperature:>8.3g}" if np.isfinite(line.temperature) else f"{'':>8}"
        print(f"{line.check:<34}{line.value:>12.4g}  {temperature}  {line.verdict:<7}  {line.advice}".rstrip())
    for sentence in [*at_temperatures(tree, known.table), *remarks(tree)]:
        print(sentence)
    if is_ladder(tree):
        print("\n" + "\n".join(exchange_sentences(tree, known)))
    if "smc" in tree.children:
        print(smc_sentence(tree))
    if "compilation" in tree.attrs:
        compiled, whole = float(tree.attrs["compilation"]), sum(json.loads(tree.attrs["timings"]).values())
        print(f"Compilation took {compiled:.1f} s of {whole:.1f} s.")
    return lines


def introduction(tree: xr.DataTree, functions: Functions | None = None) -> list[str]:
    """What is said before the verdicts: what was judged, and how the draws were made."""
    warmup = f"Before the first draw came {warmup_share(tree):.0%} of all gradients."
    made = " ".join(filter(None, [_start_sentence(tree), _kernel_sentence(tree), warmup]))
    return [_what_was_judged(tree, functions), made]


def at_temperatures(tree: xr.DataTree, table: pd.DataFrame) -> list[str]:
    """Which temperatures can be used, and what of the others cannot; nothing where all are alike or few draws judged.

    Parameters
    ----------
    tree
        The result.
    table
        Of what it was `judged` by.
    """
    if too_few(tree):
        return []
    each = by_temperature(table)
    groups = each.groupby((each["verdict"] != each["verdict"].shift()).cumsum())
    said = []
    for _, group in groups:
        hot, cold = group.index[0], group.index[-1]
        place = f"T = {hot:.3g}" + (f" to {cold:.3g}" if len(group) > 1 else "")
        verdict = group["verdict"].iloc[0]
        why = "" if verdict in ("good", "unknown") else f" ({'; '.join(group['checks'].iloc[-1][:2])})"
        said.append(f"{place} {verdict}{why}")
    return [f"By temperature: {', '.join(said)}."] if len(said) > 1 else []


def remarks(tree: xr.DataTree) -> list[str]:
    """What is said of chains after the verdicts: those that never move or have no finite energy, and the two sides."""
    said = []
    for row in frozen(tree).itertuples():
        lost = row.acceptance > 0.5
        why = " though its steps are accepted: they are lost in rounding, jax_enable_x64 has more digits."
        remedy = why if lost else ": start it elsewhere, or shorten its steps."
        said.append(f"Chain {row.chain} at T = {row.temperature:.3g} never moves{remedy}")
    for row in faults(tree).itertuples():
        said.append(
            f"Chain {row.chain} at T = {row.temperature:.3g} has no finite energy in {row.draws} draws from number "
            f"{row.first} on: look at {row.parameter}."
        )
    if started_from_both(tree):
        said.append(_sides_sentence(tree))
    return said


def _what_was_judged(tree: xr.DataTree, functions: Functions | None) -> str:
    """Of what the R-hat and the ESS are."""
    count = len(tempered_stats(tree)["temperature"])
    temperatures = f"{count} temperatures" if count > 1 else "one temperature"
    if (target := posterior_temperature(tree)) != 1.0:
        temperatures += f" (the posterior group is of T = {target:.4g})"
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
    if "steps" not in started:
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
    if started["start"] == "both":
        return f"{count} chains, half from networks trained to the end, half from networks stopped early ({taken})."
    if started["start"] == "trained":
        return f"{count} chains, each from a network trained to the end of a schedule ({taken})."
    return f"{count} chains, each from an optimum of its own ({taken}, stopped by {reasons})."


def _sides_sentence(tree: xr.DataTree) -> str:
    """Where chains from both sides stand at the coldest temperature, and how fast they approach."""
    row = sides(tree).iloc[-1]
    way = "nearer" if row.approach >= 0 else "further"
    return (
        f"At T = {row.name:.3g} the data energy is {row.below:.1f} in chains from below and {row.above:.1f} in those "
        f"from above, {abs(row.approach):.1f} nats {way} than over the first half."
    )


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
    of_hmc = "a network" if tree.attrs.get("task") else "a ladder"
    fits = of_hmc if tree.attrs["kernel"] == "HMC" else "an energy of one's own"
    moves = " and the scales of its units were drawn in between" if "moves" in tree.attrs else ""
    return f"{tree.attrs['kernel']} moved them" + (f", which fits {fits}" if chosen else "") + f"{moves}."


def smc_sentence(tree: xr.DataTree) -> str:
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
    best = math.ceil(2 * barrier) + 1
    # The rounds' barrier, by which they were chosen, and the draws' differ by chance.
    fit = "for which they are right" if 0.75 * best <= count <= 1.33 * best else f"for which some {best} are best"
    seen = f"barrier {barrier:.1f}, {fit}; worst rejection {worst:.2f}"
    if arguments["num_replicas"] == "auto" and arguments["ladder"] is None:
        return f"auto chose {count} replicas{_cost_of_the_cap(pairs['rejection'])}: {seen}."
    return f"{count} replicas were given: {seen}."


def _cost_of_the_cap(rejection: pd.Series) -> str:
    """What it costs that "auto" takes no more replicas, by the round trips that the index process predicts."""
    count, barrier = len(rejection) + 1, float(rejection.sum())
    best = math.ceil(2 * barrier) + 1
    if count < MOST_REPLICAS or best <= count:
        return ""
    now, then = (
        1 / ladders.barrier(ladders.linear(len(pairs) + 1), pairs).round_trip_rate()
        for pairs in (rejection.values, np.full(best - 1, barrier / (best - 1)))
    )
    return f" (capped at {MOST_REPLICAS}: round trips take {now:.0f} scans at best, {then:.0f} with {best} replicas)"


def _why_this_path(tree: xr.DataTree) -> list[str]:
    """Where a ladder has left the way from the prior, or a part of it."""
    said, hottest = [], float(check_result(tree, "exchange")["beta"].values[0])
    temperature = 1.0 / hottest if hottest else math.inf
    if tree.attrs["path"] == "reference":
        said = ["The reference was fitted to draws: modes that they had not found are in no figure here."]
    for stage in json.loads(tree.attrs.get("rounds", "[]")):
        if "hottest" in stage:
            said.append(_why_hottest(stage["hottest"], dict(stage["tried"])))
        if "left_out" in stage:
            said = [
                f"The ladder starts at T = {temperature:.3g}, the hottest that can be sampled: hotter, trajectories "
                "diverge or energies are infinite. Log Z is counted from there; path='reference' counts all of it."
            ]
    return said


def _why_hottest(hottest: float, scans: Mapping[float, float]) -> str:
    """Why a ladder begins where it does."""
    colder = max((t for t in scans if t < hottest), default=None)
    below = f", and after {scans[colder]:.0f} at T = {colder:.3g}" if colder else ""
    return f"auto begins at T = {hottest:.3g}, where chains forget their mode after {scans[hottest]:.0f} scans{below}."


def _log_z_sentence(trips: Mapping[str, float], pairs: pd.DataFrame, doubted: bool) -> str:
    """Log Z from both sides, and between which temperatures it is."""
    if not np.isfinite(trips["log_z_forward"]):
        return "Some replicas have no finite energy: there is no log Z."
    with np.errstate(divide="ignore"):
        hottest, coldest = 1.0 / pairs["beta_hot"].values[0], 1.0 / pairs["beta_cold"].values[-1]
    doubt = ", not equilibrated," if doubted else ""
    return (
        f"log Z(T = {coldest:.3g}) - log Z(T = {hottest:.3g}){doubt} is from {trips['log_z_forward']:.2f} ± "
        f"{trips['log_z_forward_error']:.2f} (forward) to {trips['log_z_backward']:.2f} ± "
        f"{trips['log_z_backward_error']:.2f} (backward)."
    )


def exchange_sentences(tree: xr.DataTree, known: Judged) -> list[str]:
    """What exchange did, in plain sentences."""
    trips, pairs = round_trips(tree), exchange(tree)
    reasons = known.unsettled
    sentences = [*_why_this_path(tree), _why_replicas(tree, pairs), _log_z_sentence(trips, pairs, bool(len(reasons)))]
    sentences += [f"{said[0].upper()}{said[1:]}." for said in in_words(reasons)]
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
