"""How many arrays a kernel may touch, which graphics processors limit."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from gradlet.ir import ops
from gradlet.ir.node import Node

_LEAST_BYTES = 4  # that an element takes on such a processor


@dataclass(frozen=True)
class Limit:
    """A kernel is given its arrays in pieces.

    Attributes:
        arrays: how many pieces it may be given; 0 for any number.
        piece_bytes: the most that one piece holds.
    """

    arrays: int = 0
    piece_bytes: int = 1 << 62

    def allows(self, touched: Iterable[Node]) -> bool:
        """Whether one kernel may touch all of `touched`."""
        if not self.arrays:
            return True
        return sum(self._pieces(n) for n in set(touched)) <= self.arrays

    def _pieces(self, array: Node) -> int:
        if array.op in (ops.CONST, ops.IOTA):
            return 0
        held = array.size * max(_LEAST_BYTES, array.dtype.itemsize)
        return max(1, -(-held // self.piece_bytes))


NO_LIMIT = Limit()
