"""The field's tables: published data × splits × methods, beside published figures.

``python -m benchmarks.uci benchmarks/uci/configs/quick.toml``
"""
