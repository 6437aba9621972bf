"""`temperax.modules`, by the name that users know."""

from temperax.energies.doors.modules import *
