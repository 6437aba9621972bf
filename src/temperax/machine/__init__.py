"""The machine: devices, processes, progress bars and compiled programs.

Calls nothing but `temperax.errors`; every floor may call it.
"""
