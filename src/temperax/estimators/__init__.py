"""Tempered posteriors as estimators of scikit-learn, and presets for those who do not want to choose.

Calls samplers and predictions; nothing of the library calls it.
"""
