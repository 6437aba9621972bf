"""What to do about what was found: where several causes look alike in a number, draws tell which of them it is."""

import json
from collections.abc import Callable

import numpy as np
import pandas as pd
import xarray as xr
from scipy.stats import rankdata

from temperax.analysis.diagnostics.draws import columns, judges_parameters, kept_draws, tempered_stats
from temperax.results.reading import posterior_temperature

#: From so many divergent draws on, it is looked for where they gather.
SOME = 5
#: They do where their mean rank is so many standard deviations of all ranks from the others'.
GATHERED = 0.6
#: Tails are heavy where their ESS is less than this part of the bulk's.
HEAVY = 0.3


def of_differing(tree: xr.DataTree, row: pd.Series) -> str:
    """Why chains differ in the worst parameter."""
    if row["separation"] > 1:  # chains wander about different means
        return "its chains sit in separate modes: exchange replicas (parallel_tempering)"
    slow = "its chains are slow, as where parameters are correlated: "
    return slow + ("kernel='nuts', or run longer" if tree.attrs.get("kernel") == "HMC" else "run longer")


def of_diverging(tree: xr.DataTree, row: pd.Series) -> str | None:
    """Why trajectories diverge, where it can be told."""
    temperature = float(row.name)
    nan, tried = json.loads(tree.attrs.get("nan_nearby", "[0, 0]"))
    if nan:
        return f"{nan} of {tried} points near draws have an energy that is NaN, which counts as infinite: mend it there"
    hot = temperature > 1.001 * posterior_temperature(tree)
    own = not tree.attrs.get("task")
    if "exchange" in tree.children and tree.attrs["path"] == "likelihood" and hot and own:
        return "the way from a wide prior leads through funnels: path='reference', or narrow the prior"
    where = _where_they_gather(tree, temperature) if judges_parameters(tree) else None
    return where and f"they gather where {where}, as in a funnel: reparametrise (non-centred, say)"


def _where_they_gather(tree: xr.DataTree, temperature: float) -> str | None:
    """The parameter by whose values divergent draws are told from the others best."""
    draws = kept_draws(tree)
    near = np.flatnonzero(np.isclose(draws["temperature"].values, temperature))
    diverging = tempered_stats(tree)["diverging"].sel(temperature=temperature).transpose("chain", "draw").values
    if not len(near) or diverging.sum() < SOME or diverging.all():
        return None
    values = columns(draws.isel(temperature=int(near[0])), ("chain", "draw"))
    # By ranks, since in a funnel the others have no width that says anything.
    ranks = {name: (rankdata(v).reshape(v.shape) / v.size - 0.5) * 12**0.5 for name, v in values.items()}
    apart = {name: rank[diverging].mean() - rank[~diverging].mean() for name, rank in ranks.items()}
    name = max(apart, key=lambda name: abs(apart[name]))
    if abs(apart[name]) < GATHERED:
        return None
    return f"{name} is {'large' if apart[name] > 0 else 'small'}"


def of_tails(tree: xr.DataTree, row: pd.Series) -> str | None:
    """Why the tails have few effective draws."""
    heavy = row["ess_tail_min"] < HEAVY * row["ess_parameter_min"]
    return "tails are heavy: reparametrise, or give priors with lighter ones" if heavy else None


#: By the column of `summary` that is worst: a function of the result and the worst temperature's row.
REMEDIES: dict[str, Callable[[xr.DataTree, pd.Series], str | None]] = {
    "rhat_parameter_max": of_differing,
    "divergences": of_diverging,
    "ess_tail_min": of_tails,
}
