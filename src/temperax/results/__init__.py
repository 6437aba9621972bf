"""Results: draws as ArviZ DataTrees, the predictions and scores of those draws, and recipes to run them again.

Calls `engine` and `energies`; samplers write by it, and all that reads results may call it.
"""
