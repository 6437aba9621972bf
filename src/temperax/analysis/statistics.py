"""ArviZ's statistics under its own names: R-hat, effective sample sizes, standard errors, LOO.

The one room that imports `arviz_stats`, when the first of them is asked for: that takes longer than to import temperax.
"""

from typing import Any


def __getattr__(name: str) -> Any:
    import arviz_stats

    return getattr(arviz_stats, name)
