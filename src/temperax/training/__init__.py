"""Training: the T = 0 end, where optax goes down and from where samplers start.

Calls `engine` and `energies`; the samplers call it.
"""
