"""Sections on whether a run has converged and on what moved in it; None where a result has nothing for one."""

import numpy as np
import pandas as pd
import xarray as xr

from temperax.analysis import diagnostics, statistics
from temperax.analysis.diagnostics.draws import columns, judges_parameters
from temperax.analysis.diagnostics.journeys import is_ladder
from temperax.analysis.diagnostics.sentences import exchange_sentences, introduction, remarks, smc_sentence
from temperax.analysis.diagnostics.temperatures import Functions
from temperax.analysis.diagnostics.verdicts import Judged
from temperax.errors import check_result
from temperax.pages.parts import Picture, Pictures, Section, Table, Text, spread, temperature_text
from temperax.plots import ladders, runs
from temperax.plots.inline import as_svg
from temperax.results.reading import posterior_temperature

#: Parameters that a table names, the worst first.
MOST_PARAMETERS = 40
#: Draws that a picture of a series shows, evenly spaced.
MOST_DRAWS = 1000
#: Verdicts from the worst.
LEVELS = ("bad", "fair", "unknown", "good")
#: How checks begin that can tell one mode from another: of predictions, and of parameters and functions of them.
_OF_CHAINS = ("R-hat of f", "R-hat, ")


def verdict(lines: pd.DataFrame) -> tuple[str, str]:
    """The worst of the verdicts, and all of them in a sentence that begins with what matters most.

    Parameters
    ----------
    lines
        As `diagnostics.verdicts` returns them.
    """
    count = lines["verdict"].value_counts()
    level = next(level for level in LEVELS if count.get(level, 0))
    these = lines[lines["verdict"] == level]
    first = these.iloc[0]
    place = f" at {temperature_text(first['temperature'])}" if np.isfinite(first["temperature"]) else ""
    seen = f"{first['check']} is {first['value']:.4g}{place}"
    of = f"{len(these)} of {len(lines)} checks {'is' if len(these) == 1 else 'are'}"
    if level == "good" and not lines["check"].str.startswith(_OF_CHAINS).any():
        said = f"Nothing speaks against the draws, but all {len(lines)} checks, which are good, are of the energy alone"
        return "unknown", f"{said}, which cannot tell one mode from another: hold rows out, or give functions."
    if level == "good":
        return level, f"The chains have converged: all {len(lines)} checks are good."
    if level == "unknown":
        return level, f"Nothing speaks against the draws, but {of} beyond telling: {first['advice']}."
    use = "Do not use these draws yet" if level == "bad" else "Use these draws with care"
    return level, f"{use}: {of} {level}. First of all, {seen}: {first['advice']}."


def of_optima(tree: xr.DataTree) -> tuple[str, str]:
    """What there is to say of a result of optima, which has no draws to judge."""
    energy = -check_result(tree, "sample_stats")["lp"].values.ravel()
    if tree.attrs.get("function") == "anneal" and (temperature := posterior_temperature(tree)) > 0:
        said = f"{len(energy)} ends of annealed chains at {temperature_text(temperature)}, neither draws nor optima"
        return "unknown", f"{said}: the lowest energy is {energy.min():.5g} nats. polish=True goes on to T = 0."
    many = f"{len(energy)} optima" if len(energy) > 1 else "One optimum"
    lowest = f"{'the lowest has' if len(energy) > 1 else 'with'} an energy of {energy.min():.5g} nats"
    return "unknown", f"{many}, and no draws: {lowest}. How sure its predictions are, only sampling tells."


def checks(tree: xr.DataTree, lines: pd.DataFrame | None, functions: Functions | None) -> Section | None:
    """The verdicts, and the numbers behind them at every temperature."""
    if lines is None:
        return None
    table = lines.rename(columns={"value": "worst value", "temperature": "at T", "advice": "what to do"})
    table["verdict"] = table["verdict"].astype(object)
    numbers = diagnostics.summary(tree, functions).reset_index()
    blocks = [
        Text(introduction(tree, functions)),
        Table("Every check at its worst temperature", table),
        Text(remarks(tree)),
        Table(f"The numbers behind them at {_temperatures(len(numbers))}", numbers, folded=True),
    ]
    return Section("Diagnostics", blocks)


def _temperatures(count: int) -> str:
    return f"{count} temperatures" if count > 1 else "one temperature"


def exchange(tree: xr.DataTree, known: Judged | None) -> Section | None:
    """Swaps, journeys and flow of a ladder."""
    if known is None or not is_ladder(tree):
        return None
    pairs, share, trips = diagnostics.exchange(tree), diagnostics.flow(tree), diagnostics.round_trips(tree)
    chains = f"{tree['exchange'].sizes['chain']} ladders of {len(pairs) + 1} rungs"
    travelled = (
        f"{chains} made {trips['round_trips']:.0f} round trips from the hot end to the cold one and back, "
        f"{trips['efficiency']:.0%} of what their swaps would allow if every scan forgot the one before."
    )
    drawn = few(tree, "draw", MOST_DRAWS)
    walls = int((pairs["wall"] != "").sum())
    pictures = [
        Picture(
            as_svg(
                ladders.swap_rates(tree),
                "swaps",
                f"Bars: rejection of {len(pairs)} pairs of neighbouring rungs, {spread(pairs['rejection'])}, of which "
                f"{walls} are walls. Line: cumulative barrier, which reaches {trips['barrier']:.2f}.",
            ),
            "How often each pair refuses to swap (bars; red is a wall), and their sum (line). Equal bars are best.",
        ),
        Picture(
            as_svg(
                ladders.index_process(drawn),
                "journeys",
                "Three lines: the rungs that three replicas of the first ladder visit from draw to draw.",
            ),
            "Where three replicas of the first ladder were. They should cross from top to bottom and back many times.",
        ),
        Picture(
            as_svg(
                ladders.flow(tree),
                "flow",
                f"Share of the replicas at each rung that came last from the hot end, {spread(share)}, beside a "
                "straight line from 1 to 0.",
            ),
            "Of the replicas at a rung, how many came from the hot end. A sudden fall is where they turn back.",
        ),
    ]
    table = pairs.drop(columns="local_barrier").replace({"wall": {"": "none"}})
    blocks = [
        Text([travelled, *exchange_sentences(tree, known)]),
        Pictures(pictures),
        Table("Every pair of rungs, hottest first", table, folded=True),
    ]
    return Section("Ladder", blocks)


def particles(tree: xr.DataTree) -> Section | None:
    """What became of the particles of sequential Monte Carlo."""
    if "smc" not in tree.children:
        return None
    steps = tree["smc"].to_dataset().mean("chain").to_dataframe().reset_index()
    sizes = steps["effective_size"]
    alt = (
        f"Over {len(steps) - 1} steps of temperature, the effective size of a population is {spread(sizes)}; families "
        f"fall from {steps['families'].iloc[0]:.0f} to {steps['families'].iloc[-1]:.0f}."
    )
    picture = Picture(
        as_svg(runs.particles(tree), "particles", alt),
        "What the particles of a population are worth at every step, and how many of the first have descendants.",
    )
    table = Table("Every step, the mean of the populations", steps, folded=True)
    return Section("Particles", [Text([smc_sentence(tree)]), Pictures([picture]), table])


def annealing(tree: xr.DataTree) -> Section | None:
    """The way of annealed chains."""
    if "annealing" not in tree.children:
        return None
    way = tree["annealing"].to_dataset()
    ends = way["final_energy"].isel(step=-1).values
    alt = (
        f"Mean path energy of {way.sizes['chain']} chains over {way.sizes['step']} temperatures; at the end it is "
        f"{spread(ends)} nats."
    )
    picture = Picture(as_svg(runs.annealing(tree), "annealing", alt), "The energy of every chain along the schedule.")
    return Section("Annealing", [Pictures([picture])])


def energies(tree: xr.DataTree) -> Section | None:
    """Energies of the draws, in time and by temperature."""
    stats = tree["sample_stats"].to_dataset()
    pictures = []
    if stats.sizes["draw"] > 1:
        lp = stats["lp"].transpose("chain", "draw").values
        means = lp.mean(axis=1)
        alt = (
            f"Log density of {len(lp)} chains over {lp.shape[1]} draws: their means are {spread(means)} nats, the "
            f"standard deviation within a chain is {np.sqrt(lp.var(axis=1).mean()):.3g}."
        )
        picture = as_svg(runs.trace(few(tree, "draw", MOST_DRAWS)), "trace", alt)
        pictures.append(Picture(picture, "The chains should look alike, and their beginning like their end."))
    if "tempered_stats" in tree.children and stats.sizes["draw"] > 1:
        tempered = tree["tempered_stats"].to_dataset()
        mean = tempered["data_energy"].mean(("chain", "draw")).values
        finite = np.isfinite(tempered["temperature"].values)
        several = 1 < len(mean)
        if tempered["data_energy"].max() > tempered["data_energy"].min():
            where = f"at {len(mean)} temperatures, from the hottest to the coldest" if several else "of the draws"
            alt = f"Data energy {where}: its mean is {spread(mean[finite])} nats."
            drawn = runs.mean_energy(tree) if len(mean) > 5 else runs.energies(tree)
            caption = "Mean data energy by temperature, with two standard errors."
            caption = caption if len(mean) > 5 else "How the data energy is distributed; neighbours should overlap."
            pictures.append(Picture(as_svg(drawn, "energies", alt), caption if several else "Its distribution."))
    return Section("Energies", [Pictures(pictures)]) if pictures else None


def parameters(tree: xr.DataTree) -> Section | None:
    """Mean, spread, R-hat and ESS of the parameters that have a meaning of their own: not a network's weights."""
    posterior = tree["posterior"].to_dataset()
    if posterior.sizes["draw"] < 4:
        return None
    if not judges_parameters(tree):
        posterior = posterior[[name for name in posterior if str(name).startswith("noise_")]]
    if not posterior.data_vars:
        return None
    posterior, over = posterior.astype(float), ("chain", "draw")  # sums in half precision lose what they add
    found = {
        "mean": posterior.mean(over),
        "sd": posterior.std(over),
        "5 %": posterior.quantile(0.05, over),
        "95 %": posterior.quantile(0.95, over),
        "R-hat": statistics.rhat(posterior),
        "ESS": statistics.ess(posterior),
    }
    table = pd.DataFrame({name: columns(values) for name, values in found.items()}).rename_axis("parameter")
    count = len(table)
    if count > MOST_PARAMETERS:
        table = table.sort_values("R-hat", ascending=False, na_position="first").head(MOST_PARAMETERS)
    which = f"{len(table)} of {count} parameters, the largest R-hat first" if count > len(table) else "Every parameter"
    return Section("Parameters", [Table(f"{which}, at the target temperature", table.reset_index())])


def few(tree: xr.DataTree, dim: str, most: int) -> xr.DataTree:
    """A result with some of its draws or rows, evenly spaced, for pictures."""

    def thinned(group: xr.Dataset) -> xr.Dataset:
        if group.sizes.get(dim, 0) <= most:
            return group
        return group.isel({dim: np.linspace(0, group.sizes[dim] - 1, most).round().astype(int)})

    found = xr.DataTree.from_dict({name: thinned(child.to_dataset()) for name, child in tree.children.items()})
    found.attrs = tree.attrs
    return found
