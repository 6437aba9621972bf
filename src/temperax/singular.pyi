"""`temperax.singular`, by the name that users know."""

from temperax.analysis.learning_coefficient import *
