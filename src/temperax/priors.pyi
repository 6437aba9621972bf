"""`temperax.priors`, by the name that users know."""

from temperax.energies.priors import *
