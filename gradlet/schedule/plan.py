"""What the scheduler makes of a graph: an order of kernels over a table of buffers."""

from __future__ import annotations

from dataclasses import dataclass

from gradlet.ir.kernel import Kernel
from gradlet.ir.node import Node


@dataclass(frozen=True)
class Step:
    """One kernel and the program's buffers that stand for its params."""

    kernel: Kernel
    buffers: tuple[int, ...]

    @property
    def written(self) -> tuple[int, ...]:
        """The buffers that it writes."""
        return self.buffers[: self.kernel.outputs]

    @property
    def read(self) -> tuple[int, ...]:
        """The buffers that it reads."""
        return self.buffers[self.kernel.outputs :]


@dataclass(frozen=True)
class Schedule:
    """A program: steps over a table of buffers.

    Attributes:
        steps: in the order they run.
        buffers: a node for each buffer that states its dtype and shape; the program's own
            params come first.
        params: how many there are of those.
        sinks: for each sink of the program its buffer.
    """

    steps: tuple[Step, ...]
    buffers: tuple[Node, ...]
    params: int
    sinks: tuple[int, ...]
