"""Addresses in LLVM's text, with as few instructions as there can be."""

from __future__ import annotations

from collections.abc import Callable

from gradlet.base import dtypes
from gradlet.ir import ops
from gradlet.ir.node import Node
from gradlet.lower.linear import Value
from gradlet.render.llvm_types import scalar_type, type_of


class Places:
    """The addresses of elements, in one function.

    An element that is a number of elements behind another is reached from there. LLVM finds that
    out as well, but takes its time.

    Args:
        put: writes an instruction and returns the name of its result.

    Attributes:
        pointer: the name of the address of each array's first element.
        begin: lines for the beginning of the function.
        apart: for an index that is another and a number, by its name, the names of both.
        here: what this block has computed.
    """

    def __init__(self, put: Callable[[str], str]) -> None:
        self.put = put
        self.pointer: dict[Node, str] = {}
        self.begin: list[str] = []
        self.apart: dict[str, tuple[str, str]] = {}
        self.here: dict[tuple[Node, str], str] = {}
        self.fixed: dict[tuple[Node, str], str] = {}

    def declare(self, array: Node, name: str) -> None:
        """Makes room for a local array, under this name."""
        element = scalar_type(array.dtype, in_memory=True)
        self.pointer[array] = name
        self.begin.append(f"  {name} = alloca [{max(1, array.size)} x {element}], align 64")

    def note_sum(self, name: str, terms: list[str]) -> None:
        """Says that the index `name` is the sum of two others."""
        if not terms[1].startswith("%"):
            self.apart[name] = (terms[0], terms[1])

    def place(self, array: Node, address: Value, index: str) -> str:
        """The name of the address of an element, or of a vector of elements."""
        if address.lanes:
            return self.step(array, self.pointer[array], index, address.lanes)
        if index == "0":
            return self.pointer[array]
        if array.op is ops.LOCAL and not index.startswith("%"):
            return self.fixed_place(array, index)
        base, number = self.apart.get(index, (index, ""))
        start = self.here.get((array, base))
        if start is None:
            start = self.here[array, base] = self.step(array, self.pointer[array], base)
        return self.step(array, start, number) if number else start

    def fixed_place(self, array: Node, index: str) -> str:
        """An element of a local array that is the same one whenever it is asked for."""
        name = self.fixed.get((array, index))
        if name is None:
            name = self.fixed[array, index] = f"{self.pointer[array]}.{index}"
            element = scalar_type(array.dtype, in_memory=True)
            step = f"getelementptr {element}, ptr {self.pointer[array]}, i64 {index}"
            self.begin.append(f"  {name} = {step}")
        return name

    def step(self, array: Node, start: str, index: str, lanes: int = 0) -> str:
        element = scalar_type(array.dtype, in_memory=True)
        kind = type_of(dtypes.index, lanes)
        return self.put(f"getelementptr {element}, ptr {start}, {kind} {index}")
