"""What programs raise for values that they meet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gradlet.ir import ops
from gradlet.ir.node import Node, topological

Indexed = Sequence[tuple[str, tuple[int, ...], int]]


def indexed_axes(sinks: Sequence[Node]) -> Indexed:
    """(op, shape, axis) for every axis that a gather or scatter of the graph indexes."""
    return [
        (current.op.name.lower(), current.src[0].shape, axis)
        for current in topological(sinks)
        if current.op in (ops.GATHER, ops.SCATTER)
        for axis in range(len(current.src) - (1 if current.op is ops.GATHER else 2))
    ]


def index_error(bad: int, size: int, indexed: Indexed) -> IndexError:
    """Names what may have met the bad index: everything that indexes an axis of `size`.

    Args:
        indexed: (op, shape, axis) of each index that the program checks.
    """
    places = dict.fromkeys(
        f"{op} on axis {axis} of shape {shape}"
        for op, shape, axis in indexed
        if shape[axis] == size
    )
    return IndexError(
        f"{' or '.join(places)}: index {bad} is out of range for an axis of size {size}; "
        f"indices, labels and tokens must lie in [0, {size}), in indexing in [-{size}, {size})"
    )


class InterruptedLate(BaseException):
    """A program was interrupted, by Ctrl-C perhaps, when it had changed arrays and was done.

    Attributes:
        results: what it would have returned; to be used before the interruption goes on.
    """

    def __init__(self, results: list[Any]) -> None:
        super().__init__()
        self.results = results
