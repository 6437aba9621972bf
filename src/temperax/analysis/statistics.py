"""ArviZ's statistics under its own names: R-hat, effective sample sizes, standard errors, LOO.

The one room that imports `arviz_stats`, when the first of them is asked for: that takes longer than to import temperax.
"""

from collections.abc import Callable
from typing import Any

import numpy as np


def __getattr__(name: str) -> Any:
    import arviz_stats

    return getattr(arviz_stats, name)


def rhat(draws: Any) -> Any:
    """R-hat of datasets; infinite or NaN, without a warning, where chains stand still."""
    return _silently(__getattr__("rhat"), draws)


def ess(draws: Any, **options: Any) -> Any:
    """ESS of datasets, likewise."""
    return _silently(__getattr__("ess"), draws, **options)


def mcse(draws: Any) -> Any:
    """Standard errors of datasets, likewise."""
    return _silently(__getattr__("mcse"), draws)


def _silently(statistic: Callable, draws: Any, **options: Any) -> Any:
    with np.errstate(divide="ignore", invalid="ignore"):
        return statistic(draws, **options)
