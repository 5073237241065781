"""A graph as a list of functions of PyTorch, in the order in which they are called."""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Callable, Container, Mapping, Sequence, Set
from typing import NamedTuple

import torch

from gradlet.base import settings
from gradlet.ir import ops
from gradlet.ir.node import Node, topological
from gradlet.runtime.pytorch.integers import ByNumpy, Function
from gradlet.runtime.pytorch.parts import by_parts
from gradlet.runtime.pytorch.patterns import Plan, match
from gradlet.runtime.pytorch.table import TORCH

Shape = tuple[int, ...]

# Functions that can write their result over another array, and others that give one of their own.
_OVERWRITES = {
    ops.NEG, ops.EXP, ops.LOG, ops.SIN, ops.COS, ops.TANH, ops.ERF, ops.SQRT,
    ops.ADD, ops.SUB, ops.MUL, ops.DIV, ops.WHERE,
}  # fmt: skip
_OWN = {*_OVERWRITES, ops.EQ, ops.LT, ops.LE, ops.MAXIMUM, ops.MINIMUM, ops.POW, ops.REDUCE}
_SOON = 16  # steps that memory waits to be used again
_OFTEN = 3  # calls after which a program may be worth compiling


class _Step(NamedTuple):
    """A call.

    Attributes:
        sources: places of what it reads.
        result: the place of its result.
        out: the place of an array that nobody reads any more, which the result is written over.
        dead: places that are read no more.
    """

    function: Function
    sources: tuple[int, ...]
    result: int
    out: int | None
    dead: list[int]


class TorchProgram:
    """A graph made ready to run on one of PyTorch's devices."""

    def __init__(self, sinks: Sequence[Node], params: Sequence[Node], device: torch.device) -> None:
        given = dict.fromkeys(params)
        plans: dict[Node, Plan] = {}
        readers = count_readers(sinks, given)

        def sources(n: Node) -> tuple[Node, ...]:
            if n in given:
                return ()
            if n not in plans:
                plans[n] = _plan(n, readers)
            return plans[n].sources

        order = [n for n in topological(sinks, sources) if n not in given]
        place = {n: i for i, n in enumerate([*params, *order])}
        last_reader = {source: n for n in order for source in plans[n].sources}
        kept = {*params, *sinks, *(n for n in order if n.is_const)}
        idle = _idle_after(order, plans, kept)
        shapes: dict[Node, Shape] = {param: param.shape for param in params}
        self.constants: list[torch.Tensor | None] = []
        self.steps: list[_Step] = []
        released: dict[Node, _Step] = {}
        spare: dict[tuple, list[tuple[Node, int]]] = {}
        for current in order:
            for source in idle[current]:
                kind = (shapes[source], source.dtype)
                spare.setdefault(kind, []).append((source, len(self.steps)))
            function, read, broadcasts, overwrites = plans[current]
            shapes[current] = _shape(current, plans[current], shapes)
            self.constants.append(function(device) if current.is_const else None)
            if current.is_const:
                continue
            if not current.src:
                function = _placed(function, device)
            elif not broadcasts:
                missing = [None if shapes[s] == s.shape else s.shape for s in read]
                function = _expanding(function, missing)
            dead = [s for s in dict.fromkeys(read) if last_reader[s] is current and s not in kept]
            step = _Step(
                function, tuple(place[s] for s in read), place[current], None,
                [place[s] for s in dead],
            )  # fmt: skip
            released |= dict.fromkeys(dead, step)
            # To write over an array that nobody reads any more is faster than to ask for memory.
            waiting = spare.get((shapes[current], current.dtype)) if overwrites else None
            if waiting and waiting[-1][1] >= len(self.steps) - _SOON:
                over, _ = waiting.pop()
                released[over].dead.remove(place[over])
                step = step._replace(out=place[over])
            self.steps.append(step)
        self.sinks = [(place[sink], sink.shape) for sink in sinks]
        self.can_compile = not any(isinstance(plans[n].function, ByNumpy) for n in order)
        self.run: Callable[..., list[torch.Tensor]] = self._interpret
        self.calls = 0

    def __call__(self, memories: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Tensors for the sinks; raises IndexError where a gather or scatter index is out."""
        self.calls += 1
        if self.calls == _OFTEN and self.can_compile and settings.torch_compile():
            self.run = importlib.import_module("gradlet.runtime.pytorch.compiled").compiled(
                self.run
            )
        return [_owned(x) for x in self.run(*memories)]

    def _interpret(self, *memories: torch.Tensor) -> list[torch.Tensor]:
        """The sinks, some of which may be views."""
        values: list = [*memories, *self.constants]
        for function, sources, result, out, dead in self.steps:
            given = [values[source] for source in sources]
            if out is None:
                values[result] = function(*given)
            else:
                values[result] = function(*given, out=values[out])
                values[out] = None
            for position in dead:
                values[position] = None
        return [values[position].expand(shape) for position, shape in self.sinks]


def _idle_after(
    order: Sequence[Node], plans: Mapping[Node, Plan], kept: Set[Node]
) -> dict[Node, list[Node]]:
    """For each node the arrays it may be written over: they are read no more after it.

    An array of which there are views may be written over one step after the last of these is read,
    for elements that are still to be read may stand elsewhere in a view.
    """
    when = {n: 2 * i for i, n in enumerate(order)}  # odd numbers: between two nodes
    last = dict.fromkeys(kept, 2 * len(order))
    for n in reversed(order):
        end = when[n] if _gives_own(n, plans[n]) else last[n] | 1
        for source in plans[n].sources:
            last[source] = max(last.get(source, 0), end)
    idle: dict[Node, list[Node]] = {n: [] for n in order}
    for n in order:
        after = (last[n] + 1) // 2
        if after < len(order) and _gives_own(n, plans[n]):
            idle[order[after]].append(n)
    return idle


def _plan(n: Node, readers: Mapping[Node, int]) -> Plan:
    row = Plan(TORCH[n.op](n), n.src, _broadcasts(n), n.op in _OVERWRITES)
    return match(n, readers) or by_parts(n) or row


def count_readers(sinks: Sequence[Node], given: Container[Node]) -> Counter[Node]:
    """How many nodes read each; the caller, who gets the sinks, counts as more than one."""
    order = topological(sinks, lambda n: () if n in given else n.src)
    readers = Counter(s for n in order if n not in given for s in dict.fromkeys(n.src))
    readers.update(dict.fromkeys(sinks, 2))
    return readers


def _gives_own(n: Node, plan: Plan) -> bool:
    """Whether what a node computes is an array of its own and no view of what it reads."""
    is_row = plan.broadcasts or plan.sources == n.src
    return n.op in _OWN or not is_row


def _broadcasts(n: Node) -> bool:
    """Whether the function of a node may be given tensors that only broadcast to its shape."""
    return n.op.elementwise or n.op is ops.EXPAND or n.op in ops.IDENTITIES


def _shape(n: Node, plan: Plan, shapes: dict[Node, Shape]) -> Shape:
    """The shape that the value of a node has, which broadcasts to the shape of the node."""
    if n.is_const:
        return ()
    if not plan.broadcasts:
        return n.shape
    return tuple(torch.broadcast_shapes(*(shapes[source] for source in plan.sources)))


def _placed(function: Function, device: torch.device) -> Function:
    return lambda: function(device)


def _expanding(function: Function, shapes: Sequence[Shape | None]) -> Function:
    """A function that is given tensors of their full shapes."""
    if not any(shape is not None for shape in shapes):
        return function
    return lambda *tensors, **out: function(
        *(x if n is None else x.expand(n) for x, n in zip(tensors, shapes, strict=True)), **out
    )


def _owned(x: torch.Tensor) -> torch.Tensor:
    """`x` in memory that holds little else: a view keeps all of what it is a part of alive."""
    if x.untyped_storage().nbytes() <= x.numel() * x.itemsize:
        return x
    return x.clone(memory_format=torch.contiguous_format)
