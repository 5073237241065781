"""From a kernel to the instructions that renderers translate, for any compiled device."""

from __future__ import annotations

from gradlet.base import settings
from gradlet.base.target import Target
from gradlet.ir.kernel import Kernel
from gradlet.lower.choose import DEFAULT, Tiles, lower
from gradlet.lower.decompose import decompose
from gradlet.lower.invocations import require_small_indices
from gradlet.lower.linear import LinearProgram
from gradlet.lower.linearize import linearize
from gradlet.lower.verify import verify_linear, verify_loops


def linear_program(kernel: Kernel, target: Target, tiles: Tiles = DEFAULT) -> LinearProgram:
    """The kernel's loops chosen, transformed and written out as instructions."""
    body = lower(kernel, target, tiles)
    body = decompose(body, alone=target.workgroup > 0, scales=target.scales)
    program = linearize(body, kernel.params)
    if settings.verify():
        verify_loops(body)
        verify_linear(program)
    if target.workgroup:
        require_small_indices(body)
    return program
