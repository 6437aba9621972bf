"""`temperax.kernels`, by the name that users know."""

from temperax.engine.kernels import *
