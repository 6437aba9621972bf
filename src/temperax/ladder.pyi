"""`temperax.ladder`, by the name that users know."""

from temperax.engine.ladder import *
