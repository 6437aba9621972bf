"""ArviZ's statistics under its own names: R-hat, effective sample sizes, standard errors, LOO.

The one room that imports `arviz_stats`, when the first of them is asked for: that takes longer than to import temperax.
"""

from collections.abc import Callable
from typing import Any

import numpy as np


def __getattr__(name: str) -> Any:
    import arviz_stats

    return getattr(arviz_stats, name)


#: Chains of fewer draws than `SHORT` are gathered into `SUPERCHAINS` where they are `MANY` or more.
MANY, SHORT, SUPERCHAINS = 16, 100, 4


def rhat(draws: Any) -> Any:
    """R-hat of datasets; infinite or NaN, without a warning, where chains stand still.

    Many short chains differ by their few draws however well they mix: theirs is the nested R-hat (Margossian et al.
    2024), of superchains of chains whose first draws are near one another, so that it sees whatever is remembered of
    these.  Superchains are of one size, for which up to three chains count twice.
    """
    count = draws.sizes["chain"]
    if count < MANY or draws.sizes["draw"] >= SHORT:
        return _silently(__getattr__("rhat"), draws)
    names = np.repeat(np.arange(SUPERCHAINS), -(-count // SUPERCHAINS)).tolist()
    every = np.linspace(0, count - 1, len(names)).round().astype(int)  # none left out, whichever differs from the rest
    gathered = draws.map(_from_near_starts).isel(chain=every)
    return _silently(__getattr__("rhat_nested"), gathered, superchain_ids=names)


def _from_near_starts(draws: Any) -> Any:
    """The draws after the first one, chains in the order of the first one's values, number by number."""
    values = draws.transpose("chain", "draw", ...)
    order = np.argsort(values.values[:, :1], axis=0)
    return values.copy(data=np.take_along_axis(values.values, order, axis=0)).isel(draw=slice(1, None))


def ess(draws: Any, **options: Any) -> Any:
    """ESS of datasets, likewise."""
    return _silently(__getattr__("ess"), draws, **options)


def mcse(draws: Any) -> Any:
    """Standard errors of datasets, likewise."""
    return _silently(__getattr__("mcse"), draws)


def _silently(statistic: Callable, draws: Any, **options: Any) -> Any:
    with np.errstate(divide="ignore", invalid="ignore"):
        return statistic(draws, **options)
