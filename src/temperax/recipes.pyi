"""`temperax.recipes`, by the name that users know."""

from temperax.estimators.recipes import *
