"""Benchmarks that measure ratios; each module is a command: python -m benchmarks.NAME."""
