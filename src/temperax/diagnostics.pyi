"""`temperax.diagnostics`, by the name that users know."""

from temperax.analysis.diagnostics import *
