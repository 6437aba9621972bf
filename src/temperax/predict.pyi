"""`temperax.predict`, by the name that users know."""

from temperax.analysis.predict import *
