"""`temperax.optimise`, by the name that users know."""

from temperax.samplers.optimise import *
