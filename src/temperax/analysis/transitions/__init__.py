"""Phase transitions: peaks of the heat capacity, what kind of transition each is, and how it grows with the size.

At a *crossover* the energy changes fast but has one hump at every β.  At *coexistence* (a first-order transition, as
far as a finite system has one) the energy has two humps at one β, two phases with a free-energy barrier between them
(Lee & Kosterlitz 1990).  A run that has *not equilibrated* can look like either, so it is told apart first: its
ladders disagree, or its energies drift.  Whether a peak is a transition at all, and of which order, only several sizes
of the same system say: `finite_size`.
"""

from temperax.analysis.transitions.finite_size import finite_size
from temperax.analysis.transitions.humps import energy_histogram
from temperax.analysis.transitions.hysteresis import hysteresis
from temperax.analysis.transitions.peaks import peaks, report

__all__ = ["energy_histogram", "finite_size", "hysteresis", "peaks", "report"]
