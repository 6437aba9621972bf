"""`temperax.transitions`, by the name that users know."""

from temperax.analysis.transitions import *
