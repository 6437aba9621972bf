"""The engine: C chains × R replicas, explored by kernels at their temperatures and exchanged between them.

Calls `energies` and `machine`; samplers run it, and nobody else does.
"""
