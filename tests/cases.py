"""Cases of every run of the tests, and those of the slow ones."""

import pytest


def some(quick, slow):
    """The cases of `quick`, and those of `slow` with the mark: single values, or tuples of a case's values."""
    rare = (case if isinstance(case, tuple) else (case,) for case in slow)
    return [*quick, *(pytest.param(*case, marks=pytest.mark.slow) for case in rare)]
