"""What goes wrong with gradients."""

from __future__ import annotations


class GradientError(RuntimeError):
    """A gradient was asked for that cannot be had."""
