"""Samplers: what a user runs, from arguments to a result, with progress, saving and stopping.

Calls all floors above; analyses and commands call it.
"""
