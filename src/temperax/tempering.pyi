"""`temperax.tempering`, by the name that users know."""

from temperax.engine.tempering import *
