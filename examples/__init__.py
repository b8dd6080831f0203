"""Complete programs that use tfp_ar; `python -m examples.NAME --help` shows the flags of each."""
