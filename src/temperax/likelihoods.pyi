"""`temperax.likelihoods`, by the name that users know."""

from temperax.energies.likelihoods import *
