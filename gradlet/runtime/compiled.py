"""What a compiled device does for the engine: load kernels, and run programs of them.

The CPU's programs are more than this: they are kept on disk, and run without Python in between.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from gradlet.base.target import Target
from gradlet.ir import host
from gradlet.ir.node import Node
from gradlet.lower.linear import LinearProgram
from gradlet.runtime import observe
from gradlet.runtime.device import Device, Executable
from gradlet.runtime.errors import Indexed


@dataclass(frozen=True)
class Step:
    """A kernel that a program runs.

    Attributes:
        kernel: as `Compiled.load` gave it, or the HOST node of a library's function.
        arrays: for each of its params and scratch arrays the place among the program's arrays.
    """

    kernel: Any
    arrays: Mapping[Node, int]


@dataclass(frozen=True)
class Assembly:
    """A program. Its arrays are the params, the outputs, and blocks for all others, in turn.

    Attributes:
        steps: what runs, in order.
        params: how many params it takes.
        outputs: bytes of each array that it makes and fills.
        blocks: bytes of each array that is needed only while it runs.
        sinks: for each result its place among params and outputs.
        indexed: (op, shape, axis) of each index that its kernels check, for messages.
    """

    steps: tuple[Step, ...]
    params: int
    outputs: tuple[int, ...]
    blocks: tuple[int, ...]
    sinks: tuple[int, ...]
    indexed: Indexed


@runtime_checkable
class Compiled(Device, Protocol):
    """A device that gets kernels which the stages before it have made for its `target`."""

    target: Target
    language: str
    """Of the text that kernels become, as `explain` calls it."""

    def bytes_of(self, array: Node) -> int:
        """What an array takes in the device's memory."""
        ...

    def load(self, program: LinearProgram) -> Any:
        """A kernel, rendered and ready to run; `text` is what it was rendered to."""
        ...

    def program(self, assembly: Assembly) -> Executable:
        """Loaded kernels made ready to run as one program."""
        ...


def call_library(device: Device, step: Step, arrays: Sequence[Any]) -> np.ndarray:
    """What the library's function of a step makes of a program's arrays: its first array."""
    library: Node = step.kernel
    with observe.span(f"library: {library.arg[0]}"):
        sources = [device.to_numpy(arrays[step.arrays[x]], x.dtype, x.shape) for x in library.src]
        return host.call(library.arg, sources).astype(library.dtype.numpy)
