"""Compares gradlet with other frameworks: `python -m bench steps`, `kernels` or `mnist`."""
