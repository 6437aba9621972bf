"""Log Z between the ends of a ladder: stepping stones from both sides, MBAR, thermodynamic integration.

Units are nats; U is the *path energy* of the ladder (see `ensemble`).
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from temperax.analysis.ensemble import Ensemble, Source, ensemble, log_mean_exp


class SteppingStone(NamedTuple):
    """Log Z(coldest) - log Z(hottest), from both sides, in nats.

    ``forward`` averages over the hotter draws of each pair and is too low in expectation, ``backward`` over the colder
    ones and is too high: they bracket log Z, and their distance says how far to trust them.

    See Also
    --------
    temperax.thermodynamics.stepping_stone

    Examples
    --------
    >>> tx.thermodynamics.SteppingStone._fields
    ('forward', 'forward_error', 'backward', 'backward_error')
    """

    forward: float
    forward_error: float
    backward: float
    backward_error: float


class Evidence(NamedTuple):
    """Log Z(coldest) - log Z(hottest) by four methods, in nats; ``mbar`` is the one to report.

    See Also
    --------
    temperax.thermodynamics.log_evidence

    Examples
    --------
    >>> tx.thermodynamics.Evidence._fields[:6]
    ('forward', 'forward_error', 'backward', 'backward_error', 'mbar', 'mbar_error')
    """

    forward: float
    forward_error: float
    backward: float
    backward_error: float
    mbar: float
    mbar_error: float
    integration: float
    integration_error: float


def stepping_stone(source: Source) -> SteppingStone:
    """Log Z from both sides of every pair of neighbours.

    Forward Σ log⟨exp(-Δβ U)⟩ over the hotter draws of each pair, backward -Σ log⟨exp(+Δβ U)⟩ over the colder ones
    (Xie, Lewis, Fan, Kuo & Chen 2011); errors by the delta method, with the ESS of what a scan adds to all pairs.

    Parameters
    ----------
    source
        As in `curves`.

    See Also
    --------
    temperax.thermodynamics.log_evidence

    Examples
    --------
    >>> bounds = tx.thermodynamics.stepping_stone(ladder)
    >>> abs(bounds.backward - bounds.forward) < 2
    True
    """
    found = ensemble(source)
    steps = np.diff(found.betas)
    up, up_error = _sum_of_log_means(found, -steps * found.energies[..., :-1])
    down, down_error = _sum_of_log_means(found, steps * found.energies[..., 1:])
    return SteppingStone(up, up_error, -down, down_error)


def _sum_of_log_means(found: Ensemble, exponents: Float[np.ndarray, "chain draw pair"]) -> tuple[float, float]:
    """Σ log⟨exp⟩ over the pairs, and its error from what each scan adds to it.

    A scan is of all pairs together: what is wrong with it on one rung is so on the next, and their errors do not
    average out.
    """
    logs = log_mean_exp(exponents)
    influence = np.exp(exponents - logs).sum(axis=-1)
    return float(logs.sum()), found.error(influence.reshape(-1))


def log_evidence(source: Source) -> Evidence:
    """Log Z between the ends of a ladder by four methods: on a path from β = 0 to 1, the log evidence.

    Stepping stones from both sides, MBAR, and thermodynamic integration of the rungs' mean energies by the trapezoid
    rule with its variance correction (Friel, Hurn & Wyse 2014), whose error includes what the correction was.  It
    begins with a stepping stone at β = 0, where a mean energy need not exist.

    Parameters
    ----------
    source
        As in `curves`.

    See Also
    --------
    temperax.thermodynamics.doubts, temperax.thermodynamics.compare_evidence, temperax.smc

    Examples
    --------
    >>> found = tx.thermodynamics.log_evidence(ladder)
    >>> abs(found.mbar - found.forward) < 1  # nats
    True
    """
    found = ensemble(source)
    end = found.at(float(found.betas[-1]))
    return Evidence(*stepping_stone(found), end["log_z"], end["log_z_error"], *_integrate(found))


def _integrate(found: Ensemble) -> tuple[float, float]:
    """-∫⟨U⟩dβ, with its sampling error and the size of the rule's correction in quadrature."""
    first = int(found.betas[0] == 0)
    betas, energies = found.betas[first:], found.energies[..., first:]
    begin, begin_error = _sum_of_log_means(found, -betas[0] * found.energies[..., :1]) if first else (0.0, 0.0)
    steps = np.diff(betas)
    mean, variance = energies.mean(axis=(0, 1)), energies.var(axis=(0, 1))
    correction = float(np.sum(steps**2 / 12 * np.diff(variance)))
    widths = np.concatenate([steps, [0.0]]) / 2 + np.concatenate([[0.0], steps]) / 2
    series = (energies - mean) @ widths
    error = found.error(series.reshape(-1))
    return begin - float(widths @ mean) - correction, float(np.sqrt(error**2 + begin_error**2 + correction**2))
