"""From a kernel to the instructions that renderers translate, for any compiled device."""

from __future__ import annotations

from collections.abc import Sequence

from gradlet.base import settings
from gradlet.base.target import Target
from gradlet.ir import ops
from gradlet.ir.kernel import Kernel
from gradlet.ir.node import Node, topological
from gradlet.lower.choose import DEFAULT, Tiles, lower
from gradlet.lower.decompose import decompose
from gradlet.lower.invocations import require_small_indices
from gradlet.lower.linear import LinearProgram, linearize
from gradlet.lower.verify import verify_linear, verify_loops


def linear_program(kernel: Kernel, target: Target, tiles: Tiles = DEFAULT) -> LinearProgram:
    """The kernel's loops chosen, transformed and written out as instructions."""
    body = decompose(lower(kernel, target, tiles), alone=target.workgroup > 0)
    program = linearize(body, kernel.params)
    if settings.verify():
        verify_loops(body)
        verify_linear(program)
    if target.workgroup:
        require_small_indices(body)
    return program


def indexed_axes(sinks: Sequence[Node]) -> list[tuple[str, tuple[int, ...], int]]:
    """(op, shape, axis) for every axis that a gather or scatter of the graph indexes."""
    return [
        (current.op.name.lower(), current.src[0].shape, axis)
        for current in topological(sinks)
        if current.op in (ops.GATHER, ops.SCATTER)
        for axis in range(len(current.src) - (1 if current.op is ops.GATHER else 2))
    ]
