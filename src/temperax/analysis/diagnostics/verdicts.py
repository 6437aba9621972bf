"""The report: for each check the worst temperature, good, fair or bad, and what to do."""

import json
from typing import NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from temperax.analysis.diagnostics.draws import of_particles, of_spins, scans_of_a_draw, tempered_stats, too_few
from temperax.analysis.diagnostics.equilibrium import equilibrium
from temperax.analysis.diagnostics.failures import frozen
from temperax.analysis.diagnostics.journeys import WALL, exchange, is_ladder, round_trips
from temperax.analysis.diagnostics.remedies import REMEDIES
from temperax.analysis.diagnostics.sides import sides, started_from_both
from temperax.analysis.diagnostics.temperatures import Functions, summary


class Judged(NamedTuple):
    """What a result is judged by.

    Attributes
    ----------
    table
        What the checks look at, by temperature.
    unsettled
        What speaks against the equilibrium of a ladder, as `equilibrium` returns it; empty of anything else.
    """

    table: pd.DataFrame
    unsettled: pd.DataFrame


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
_MORE_WARMUP = "raise num_warmup"
#: What advice to chains becomes where replicas are exchanged already, after rounds of adaptation.
_OF_LADDERS = {_EXCHANGE: "find what keeps replicas from travelling", _MORE_WARMUP: "raise num_draws"}
_MORE_DRAWS = "too few independent draws: raise num_draws or num_chains"
#: And what it becomes of particles, which are moved by a few scans at every temperature.
_OF_PARTICLES = {
    _MORE_DRAWS: "too few independent particles: raise num_particles or scans",
    "run longer": "raise scans",
}

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
        "R-hat of the data energy", "most", 1.01, 1.05, f"energies still drift or chains differ: {_MORE_WARMUP}"
    ),
    "ess_energy": Check("ESS of the data energy", "least", 400, 100, _MORE_DRAWS),
    "z": Check(
        "configurational temperature, |z|",
        "most",
        3,
        4,
        f"draws are not at the temperature asked for: {_MORE_WARMUP}, check the gradient",
    ),
    "acceptance": Check(
        "acceptance rate", "least", 0.6, 0.4, f"steps are too long: {_MORE_WARMUP}, or the kernel's target_acceptance"
    ),
    "divergences": Check(
        "divergences",
        "most",
        0,
        5,
        "trajectories blow up: kernel=tx.HMC(target_acceptance=0.95) or tx.NUTS(…), or reparametrise",
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

#: Of chains that started from both sides.
SIDES = Check(
    "energies from both sides, deviations apart",
    "most",
    0.5,
    1.0,
    "chains from below and above have not met: run longer, sample hotter, or take a smaller network",
)

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
    return lines_of(tree, judged(tree, functions))


def lines_of(tree: xr.DataTree, known: Judged) -> pd.DataFrame:
    """`verdicts` of what was `judged`."""
    found, exchanged, table = [], is_ladder(tree), known.table
    others = _OF_LADDERS if exchanged else _OF_PARTICLES if of_particles(tree) else {}
    for column, check in CHECKS.items():
        if column in table:
            values = table[column].dropna()
            where = (values.idxmax() if check.side == "most" else values.idxmin()) if len(values) else np.nan
            value = float(values[where]) if len(values) else np.nan
            if column == "rhat_parameter_max" and len(values):
                check = check._replace(title=f"R-hat, worst ({table['worst_parameter'][where]})")
            if column in REMEDIES and len(values) and check.verdict(value) != "good":
                check = check._replace(advice=REMEDIES[column](tree, table.loc[where]) or check.advice)
            for said, instead in others.items():
                check = check._replace(advice=check.advice.replace(said, instead))
            found.append((check, value, where))
    if started_from_both(tree):
        apart = sides(tree)["apart"]
        found.append((SIDES, float(apart.max()), apart.idxmax()))
    if "energy_bias" in tree.attrs:
        found.append((BIAS, *_bias(tree)))
    if exchanged:
        found += [(LADDER_CHECKS[name], *value) for name, value in _ladder_values(tree).items()]
    few, lines = too_few(tree), []
    untold = f"cannot be told: use at least 4 chains and 100 {'particles' if of_particles(tree) else 'draws'}"
    if few:
        untold = f"{tempered_stats(tree).sizes['draw']} draws of a chain tell nothing yet: go on to 100 at least"
        untold += " (num_particles)" if of_particles(tree) else ""
    for check, value, temperature in found:
        verdict = "unknown" if np.isnan(value) else check.verdict(value)
        if check is LADDER_CHECKS["gap"] and verdict == "good" and len(known.unsettled):
            # A bracket that has closed on a wrong value is the worst kind of error.
            check, verdict = check._replace(advice="not equilibrated: see below"), "bad"
        verdict = "unknown" if few else verdict
        advice = {"good": "", "unknown": untold}.get(verdict, check.advice)
        lines.append((check.title, value, temperature, verdict, advice))
    return pd.DataFrame(lines, columns=["check", "value", "temperature", "verdict", "advice"])


def judged(tree: xr.DataTree, functions: Functions | None = None) -> Judged:
    """What a result is judged by, computed once."""
    table = summary(tree, functions).drop(columns=_undefined(tree))
    stuck = frozen(tree)["temperature"].value_counts()
    table["frozen"] = stuck.reindex(table.index, fill_value=0)
    for column in set(CHECKS) & set(table):
        table[column] = table[column].abs()
        if column.startswith("rhat"):  # of a chain that stands still it is no number, and surely not 1
            table[column] = table[column].where(table[column].notna() | (table["frozen"] == 0), np.inf)
    told = is_ladder(tree) and np.isfinite(round_trips(tree)["log_z_forward"])
    return Judged(table, equilibrium(tree) if told else pd.DataFrame())


def by_temperature(table: pd.DataFrame) -> pd.DataFrame:
    """The worst verdict of each temperature of a table of `judged`, hottest first, and which checks it is of."""
    rows: list[tuple[str, list[str]]] = []
    for temperature in table.index:
        values = table.loc[temperature].reindex(CHECKS).dropna()
        given = {
            CHECKS[str(column)].title: CHECKS[str(column)].verdict(float(value)) for column, value in values.items()
        }
        worst = next(verdict for verdict in ("bad", "fair", "good") if verdict in given.values())
        rhats = table.loc[temperature].filter(regex="^rhat")
        if worst == "good" and len(rhats) and rhats.isna().all():  # whether chains agree is what counts most
            rows.append(("unknown", []))
            continue
        rows.append((worst, [title for title, verdict in given.items() if verdict == worst]))
    return pd.DataFrame(rows, pd.Index(table.index, name="temperature"), ["verdict", "checks"])


def _undefined(tree: xr.DataTree) -> list[str]:
    """Columns of `summary` that no number of draws would fill.

    Spins feel no force, only momenta make a BFMI, of one scan after the other (which particles are not), and a model
    without data has no data energy.
    """
    stats = tempered_stats(tree)
    energy, data, lp = stats["energy"], stats["data_energy"], stats["lp"]
    forceless, spins = bool(stats["virial"].isnull().all()), of_spins(tree)
    fine = tree.attrs.get("precision") == "float64"  # whose steps nobody reaches
    still = bool((energy.max(("chain", "draw")) == energy.min(("chain", "draw"))).all()) or scans_of_a_draw(tree) > 1
    still |= of_particles(tree)
    flat = bool((data.max() == data.min()) & (lp.max() > lp.min()))
    undefined = {("z",): forceless, ("digits",): spins or fine, ("bfmi",): still, ("rhat_energy", "ess_energy"): flat}
    return [name for names, missing in undefined.items() if missing for name in names]


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
