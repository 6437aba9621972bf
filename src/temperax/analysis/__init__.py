"""Analysis: what results say, of convergence, thermodynamics, phase transitions and networks.

Reads results, and runs samplers where a quantity needs draws of its own; pictures and commands call it.
"""
