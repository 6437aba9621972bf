"""`temperax.datasets`, by the name that users know."""

from temperax.energies.datasets import *
