"""A graph as a list of functions of PyTorch, in the order in which they are called."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from gradlet.ir import ops
from gradlet.ir.node import Node, topological
from gradlet.runtime.pytorch.integers import Function
from gradlet.runtime.pytorch.patterns import Plan, match
from gradlet.runtime.pytorch.table import TORCH

Shape = tuple[int, ...]

# Functions that can write their result over a source.
_OVERWRITES = {
    ops.NEG, ops.ABS, ops.EXP, ops.LOG, ops.SIN, ops.COS, ops.TANH, ops.ERF, ops.SQRT,
    ops.ADD, ops.SUB, ops.MUL, ops.DIV, ops.WHERE,
}  # fmt: skip


class _Step(NamedTuple):
    """A call: places of what it reads, where its result goes, and places that are read no more."""

    function: Function
    sources: tuple[int, ...]
    result: int
    dead: tuple[int, ...]


class TorchProgram:
    """A graph made ready to run on one of PyTorch's devices."""

    def __init__(self, sinks: Sequence[Node], params: Sequence[Node], device: torch.device) -> None:
        given = dict.fromkeys(params)
        plans: dict[Node, Plan] = {}

        def sources(n: Node) -> tuple[Node, ...]:
            if n in given:
                return ()
            if n not in plans:
                plans[n] = match(n) or Plan(TORCH[n.op](n), n.src, _broadcasts(n))
            return plans[n].sources

        order = [n for n in topological(sinks, sources) if n not in given]
        place = {n: i for i, n in enumerate([*params, *order])}
        readers: dict[Node, list[Node]] = {}
        for current in order:
            for source in dict.fromkeys(sources(current)):
                readers.setdefault(source, []).append(current)
        kept = {*params, *sinks, *(n for n in order if n.is_const)}
        shapes: dict[Node, Shape] = {param: param.shape for param in params}
        self.constants: list[torch.Tensor | None] = []
        self.steps: list[_Step] = []
        for current in order:
            function, read, broadcasts = plans[current]
            shapes[current] = _shape(current, plans[current], shapes)
            self.constants.append(function(device) if current.is_const else None)
            if current.is_const:
                continue
            dead = [s for s in dict.fromkeys(read) if readers[s][-1] is current and s not in kept]
            if not current.src:
                function = _placed(function, device)
            elif not broadcasts:
                function = _expanding(function, [_missing(s, shapes) for s in read])
            elif current.op in _OVERWRITES:
                function = _overwriting(function, current, dead, readers, shapes)
            self.steps.append(
                _Step(
                    function,
                    tuple(place[s] for s in read),
                    place[current],
                    tuple(place[s] for s in dead),
                )
            )
        self.sinks = [(place[sink], sink.shape) for sink in sinks]

    def __call__(self, memories: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Tensors for the sinks; raises IndexError where a gather or scatter index is out."""
        values: list = [*memories, *self.constants]
        for function, sources, result, dead in self.steps:
            values[result] = function(*[values[source] for source in sources])
            for position in dead:
                values[position] = None
        return [_owned(values[position].expand(shape)) for position, shape in self.sinks]


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


def _missing(n: Node, shapes: dict[Node, Shape]) -> Shape | None:
    return None if shapes[n] == n.shape else n.shape


def _placed(function: Function, device: torch.device) -> Function:
    return lambda: function(device)


def _expanding(function: Function, shapes: Sequence[Shape | None]) -> Function:
    """A function that is given tensors of their full shapes."""
    if not any(shape is not None for shape in shapes):
        return function
    return lambda *tensors: function(
        *(x if shape is None else x.expand(shape) for x, shape in zip(tensors, shapes, strict=True))
    )


def _overwriting(
    function: Function,
    n: Node,
    dead: Sequence[Node],
    readers: dict[Node, list[Node]],
    shapes: dict[Node, Shape],
) -> Function:
    """The function, if it can, writes over a source that nothing else reads: memory stays warm."""
    for position, source in enumerate(n.src):
        if (
            source in dead
            and source.op in _OVERWRITES  # its value is a tensor of its own
            and len(readers[source]) == 1
            and source.dtype is n.dtype
            and shapes[source] == shapes[n]
        ):
            return lambda *tensors: function(*tensors, out=tensors[position])
    return function


def _owned(x: torch.Tensor) -> torch.Tensor:
    """`x` in memory that holds little else: a view keeps all of what it is a part of alive."""
    if x.untyped_storage().nbytes() <= x.numel() * x.itemsize:
        return x
    return x.clone(memory_format=torch.contiguous_format)
