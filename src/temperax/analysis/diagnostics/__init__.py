"""Diagnostics: has it converged, in the space of functions, and can each number be believed?

Weight space has permutation and sign symmetries, so R-hat there says little; the question is asked of f(x*) on held-out
inputs and of the energy, per temperature, over independent chains.  The statistics are ArviZ's.
"""

from temperax.analysis.diagnostics.equilibrium import equilibrium
from temperax.analysis.diagnostics.failures import digits, faults, frozen
from temperax.analysis.diagnostics.journeys import exchange, flow, memory, round_trips
from temperax.analysis.diagnostics.sentences import report
from temperax.analysis.diagnostics.sides import sides
from temperax.analysis.diagnostics.temperatures import (
    configurational_temperature,
    energies,
    function_space,
    parameter_space,
    summary,
    warmup_share,
)
from temperax.analysis.diagnostics.verdicts import verdicts
from temperax.analysis.leave_one_out import loo

__all__ = [
    "configurational_temperature",
    "digits",
    "energies",
    "equilibrium",
    "exchange",
    "faults",
    "flow",
    "frozen",
    "function_space",
    "loo",
    "memory",
    "parameter_space",
    "report",
    "round_trips",
    "sides",
    "summary",
    "verdicts",
    "warmup_share",
]
