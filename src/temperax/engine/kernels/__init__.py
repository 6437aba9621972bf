"""Transition kernels, one a file: one transition of one replica at one inverse temperature.

A kernel is a pytree of its numbers (so that changing one compiles nothing) with a ``step``.  What adapts lives in
`Tuning`, not in the kernel; what a step reports lives in `Info`.  This is the one room that imports NumPyro's
transitions.
"""

from temperax.engine.kernels.choice import KernelLike, as_kernel, most_steps
from temperax.engine.kernels.elsewhere import FromBlackJAX, FromNumPyro
from temperax.engine.kernels.explorer import Explorer
from temperax.engine.kernels.hmc import HMC
from temperax.engine.kernels.kernel import Info, Kernel, Tuning
from temperax.engine.kernels.microcanonical import MAMS, MCLMC
from temperax.engine.kernels.nuts import NUTS
from temperax.engine.kernels.rescaling import Alternating, Rescaling

__all__ = [
    "HMC",
    "MAMS",
    "MCLMC",
    "NUTS",
    "Alternating",
    "Explorer",
    "FromBlackJAX",
    "FromNumPyro",
    "Info",
    "Kernel",
    "KernelLike",
    "Rescaling",
    "Tuning",
    "as_kernel",
    "most_steps",
]
