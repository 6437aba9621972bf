"""`temperax.numpyro`, by the name that users know."""

from temperax.samplers.numpyro_kernels import *
