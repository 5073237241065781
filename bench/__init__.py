"""Compares gradlet with other frameworks: `python -m bench steps`, `python -m bench kernels`."""
