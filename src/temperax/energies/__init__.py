"""Energies: data, networks, likelihoods and priors as functions of one flat position.

Calls `machine`; every floor below may call it, and users by `temperax.Energy`.
"""
