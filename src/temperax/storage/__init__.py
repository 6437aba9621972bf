"""The disk: checkpoints, draws and run directories, for arrays and datasets of any origin.

Calls `errors` alone; the samplers write through it.
"""
