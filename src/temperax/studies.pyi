"""`temperax.studies`, by the name that users know."""

from temperax.analysis.studies import *
