"""Measured ratios; every module here is a command: python -m benchmarks.NAME."""
