"""Loop trees run one statement at a time, in Python, to say what a transform may not change."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from gradlet.ir import ops
from gradlet.ir.kernel import Kernel
from gradlet.ir.node import Node
from gradlet.lower.loops import Assign, Body, Loop

RULES: dict[ops.Op, Callable[..., Any]] = {
    ops.NEG: operator.neg,
    ops.ADD: operator.add,
    ops.SUB: operator.sub,
    ops.MUL: operator.mul,
    ops.FLOORDIV: operator.floordiv,
    ops.MOD: operator.mod,
    ops.MAXIMUM: max,
    ops.MINIMUM: min,
    ops.EQ: operator.eq,
    ops.LT: operator.lt,
    ops.LE: operator.le,
    ops.AND: operator.and_,
    ops.OR: operator.or_,
    ops.XOR: operator.xor,
    ops.WHERE: lambda condition, a, b: a if condition else b,
    ops.CAST: lambda x: x,
}


class Interpreter:
    """The arrays and counters of a running kernel of whole numbers.

    Args:
        arrays: what the PARAM nodes stand for; written in place.
    """

    def __init__(self, arrays: Mapping[Node, np.ndarray]) -> None:
        self.arrays = {(x, None): array for x, array in arrays.items()}
        self.counters: dict[Node, int] = {}
        self.lanes: Node | None = None
        self.invocation: int | None = None

    def run(self, body: Body) -> None:
        for statement in body:
            if isinstance(statement, Assign):
                self.assign(statement)
            elif statement.kind == "vector":
                self.vector(statement)
            else:
                for i in range(statement.size):
                    self.counters[statement.counter] = i
                    if statement.kind == "invocation":
                        self.invocation = i
                    self.run(statement.body)
                self.invocation = None if statement.kind == "invocation" else self.invocation
                del self.counters[statement.counter]

    def vector(self, found: Loop) -> None:
        """Each assignment for all lanes before the next; once, if its place is the same for all."""
        self.lanes = found.counter
        for a in found.body:
            assert isinstance(a, Assign)
            spread = any(found.counter in _leaves(i) for i in a.at)
            for lane in range(found.size if spread else 1):
                self.counters[found.counter] = lane
                self.assign(a)
            del self.counters[found.counter]
        self.lanes = None

    def assign(self, a: Assign) -> None:
        array, at = self.array(a.target), tuple(self.value(i) for i in a.at)
        value = self.value(a.value)
        array[at] = value if a.accumulate is None else RULES[a.accumulate](int(array[at]), value)

    def array(self, x: Node) -> np.ndarray:
        """An array, begun as zeros; of a local one each invocation of a workgroup has its own."""
        key = (x, self.invocation if x.op is ops.LOCAL else None)
        if key not in self.arrays:
            self.arrays[key] = np.zeros(x.shape, np.int64)
        return self.arrays[key]

    def value(self, x: Node) -> Any:
        if x.op is ops.CONST:
            return x.value
        if x.op is ops.RANGE:
            return self.counters[x]
        if x.op is ops.LOAD:
            array, valid, *at = x.src
            if not self.value(valid):
                return 0
            place = tuple(self.value(i) for i in at)
            assert all(0 <= i < extent for i, extent in zip(place, array.shape, strict=True))
            return int(self.array(array)[place])
        if x.op in (ops.ACROSS, ops.PREFIX):
            return self.across(x)
        if x.op is ops.SHUFFLE:
            return self.shuffle(x)
        return RULES[x.op](*(self.value(s) for s in x.src))

    def shuffle(self, x: Node) -> Any:
        assert self.lanes is not None
        current, lanes = self.counters[self.lanes], self.lanes.arg[1]
        source, self.counters[self.lanes] = divmod(x.arg[current], lanes)
        value = self.value(x.src[source])
        self.counters[self.lanes] = current
        return value

    def across(self, x: Node) -> Any:
        assert self.lanes is not None
        found = []
        last = self.lanes.arg[1] if x.op is ops.ACROSS else self.counters[self.lanes] + 1
        for lane in range(last):
            self.counters[self.lanes] = lane
            found.append(self.value(x.src[0]))
        fold = {ops.ADD: sum, ops.MUL: math.prod, ops.MAXIMUM: max, ops.MINIMUM: min}
        return fold[x.arg](found)


def _leaves(x: Node) -> set[Node]:
    return {x}.union(*(_leaves(s) for s in x.src))


def outputs(kernel: Kernel, body: Body) -> list[np.ndarray]:
    """What a tree that computes `kernel` writes, from inputs that are always the same."""
    generator = np.random.default_rng(0)
    arrays = {p: generator.integers(-4, 5, p.shape) for p in kernel.params}
    arrays = {p: np.asarray(array, np.int64) for p, array in arrays.items()}
    Interpreter(arrays).run(body)
    return [arrays[p] for p in kernel.params[: kernel.outputs]]
