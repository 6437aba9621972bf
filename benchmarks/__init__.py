"""Measurements of temperax: each ``python -m benchmarks.<name> [--quick] [--json FILE]`` prints a table."""
