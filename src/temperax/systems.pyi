"""`temperax.systems`, by the name that users know."""

from temperax.samplers.systems import *
