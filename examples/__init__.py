"""Complete programs that use tfp_ar; each runs as `python -m examples.NAME --help`."""
