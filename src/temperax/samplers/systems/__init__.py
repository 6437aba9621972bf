"""Systems of statistical physics: Ising, Potts, Hopfield, XY and φ⁴, which have exact answers, and heat baths.

Each is an `Energy`: its prior is a reference measure that is drawn exactly, its data energy the physical energy
(k_B = 1, so that βE is in nats), and ``parallel_tempering`` on the likelihood path leads from T = inf to any T.
Couplings are data of the energy: changing one compiles nothing.
"""

from temperax.samplers.systems.baths import ColourBath, HeatBath, heat_bath
from temperax.samplers.systems.lattices import hopfield, ising, phi4, potts, xy
from temperax.samplers.systems.observables import angles, magnetisation, order, overlap, vorticity
from temperax.samplers.systems.spins import Colour, Spin

__all__ = [
    "Colour",
    "ColourBath",
    "HeatBath",
    "Spin",
    "angles",
    "heat_bath",
    "hopfield",
    "ising",
    "magnetisation",
    "order",
    "overlap",
    "phi4",
    "potts",
    "vorticity",
    "xy",
]
