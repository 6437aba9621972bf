"""`temperax.thermodynamics`, by the name that users know."""

from temperax.analysis.thermodynamics import *
