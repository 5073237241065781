"""One function for many examples at once: a batching rule an op, and the walk that applies them.

A graph that computes something of one example becomes a graph that computes it of all of them.
Whatever differs from example to example gets an axis in front, one element an example; the rest
stays as it is and is repeated only where both meet. The result is made of the same primitives, so
gradients, fusion and every device come for free.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence

from gradlet.base.dtypes import DType
from gradlet.ir import build, ops
from gradlet.ir.functions import inlined
from gradlet.ir.node import Node, node, topological
from gradlet.ir.ops import Op
from gradlet.ir.templates import written_out

Shape = tuple[int, ...]
Sources = tuple[Node, ...]
Rule = Callable[[Node, Sources, "Batch"], Node]

_names = itertools.count()


def placeholder(dtype: DType, shape: Shape) -> Node:
    """A node that stands for the value of one example, and is equal to no other."""
    return node(ops.PARAM, (), ("example", next(_names)), dtype, shape)


class Batch:
    """A rewriting of graphs of one example to graphs of `count` examples.

    Args:
        mapped: nodes, such as placeholders, and what stands for each: the same with an axis of
            `count` in front.
        pending: the graph that will fill a BUFFER, or None if it is filled already.
    """

    def __init__(
        self, mapped: Mapping[Node, Node], count: int, pending: Callable[[Node], Node | None]
    ) -> None:
        self.made = dict(mapped)
        self.count = count
        self.pending = pending

    def __call__(self, roots: Sequence[Node]) -> list[Node | None]:
        """Each of `roots` with an axis in front, or None where all examples have the same."""
        for current in topological(roots, self._sources):
            sources = self._sources(current)
            if current in self.made or not any(s in self.made for s in sources):
                continue
            if current.op in (ops.BUFFER, ops.RESULT, ops.APPLY):
                self.made[current] = self.made[sources[0]]
            else:
                given = tuple(self.made.get(s) or self.repeated(s) for s in sources)
                self.made[current] = BATCH[current.op](current, given, self)
        return [self.made.get(root) for root in roots]

    def _sources(self, current: Node) -> Sources:
        if current in self.made:
            return ()
        if current.op is ops.BUFFER:
            contents = self.pending(current)
            return () if contents is None else (contents,)
        if current.op is ops.RESULT:
            return (build.detach(inlined(current)),)
        if current.op is ops.APPLY:
            return (written_out(current),)
        return current.src

    def repeated(self, x: Node) -> Node:
        """`x`, which all examples share, once an example."""
        return build.expand(x, (self.count, *x.shape))


def _same(n: Node, src: Sources, batch: Batch) -> Node:
    """An op that does the same whatever the shape."""
    return build.rebuild(n, src)


def _behind(axes: Iterable[int]) -> Shape:
    """Axes behind the new one."""
    return tuple(axis + 1 for axis in axes)


def _reshape(n: Node, src: Sources, batch: Batch) -> Node:
    return build.reshape(src[0], (batch.count, *n.shape))


def _expand(n: Node, src: Sources, batch: Batch) -> Node:
    lead = (1,) * (n.ndim - n.src[0].ndim)
    aligned = build.reshape(src[0], (batch.count, *lead, *n.src[0].shape))
    return build.expand(aligned, (batch.count, *n.shape))


def _permute(n: Node, src: Sources, batch: Batch) -> Node:
    return build.permute(src[0], (0, *_behind(n.arg)))


def _slice(n: Node, src: Sources, batch: Batch) -> Node:
    return build.slice_(src[0], ((0, batch.count, 1), *n.arg))


def _pad(n: Node, src: Sources, batch: Batch) -> Node:
    return build.pad(src[0], ((0, 0, 0), *n.arg))


def _flip(n: Node, src: Sources, batch: Batch) -> Node:
    return build.flip(src[0], _behind(n.arg))


def _window(n: Node, src: Sources, batch: Batch) -> Node:
    axis, *rest = n.arg
    return build.window(src[0], axis + 1, *rest)


def _fold(n: Node, src: Sources, batch: Batch) -> Node:
    axis, *rest = n.arg
    return build.fold(src[0], axis + 1, *rest)


def _reduce(n: Node, src: Sources, batch: Batch) -> Node:
    op, axes = n.arg
    return build.reduce(op, src[0], _behind(axes))


def _scan(n: Node, src: Sources, batch: Batch) -> Node:
    op, axis = n.arg
    return build.scan(op, src[0], axis + 1)


def _example(index: Node) -> Node:
    """For every element of an index the number of its example."""
    return build.along(0, index.shape)


def _gather(n: Node, src: Sources, batch: Batch) -> Node:
    x, *indices = src
    shared = n.src[0]
    if x is batch.repeated(shared):
        return build.gather(shared, tuple(indices))
    return build.gather(x, (_example(indices[0]), *indices))


def _scatter(n: Node, src: Sources, batch: Batch) -> Node:
    x, *indices, updates = src
    return build.scatter(x, (_example(indices[0]), *indices), updates)


class _CustomRule:
    """The gradient rule of a CUSTOM node, for all examples."""

    def __init__(self, n: Node, batch: Batch) -> None:
        self.rule = n.arg
        self.kinds = [(s.dtype, s.shape) for s in n.src]
        self.count, self.pending = batch.count, batch.pending

    def __call__(self, g: Node, n: Node) -> tuple[Node | None, ...]:
        sources = tuple(placeholder(*kind) for kind in self.kinds)
        cotangent = placeholder(*self.kinds[0])
        alone = build.custom(sources[0], sources[1:], self.rule)
        found = self.rule(cotangent, alone)
        mapped = {cotangent: g, **dict(zip(sources, n.src, strict=True))}
        batch = Batch(mapped, self.count, self.pending)
        parts = iter(batch([part for part in found if part is not None]))
        return tuple(
            None if part is None else next(parts) or batch.repeated(part) for part in found
        )


def _custom(n: Node, src: Sources, batch: Batch) -> Node:
    return build.custom(src[0], src[1:], _CustomRule(n, batch))


_ELEMENTWISE: dict[Op, Rule] = {o: _same for o in ops.GRAPH_OPS if o.elementwise}


def _host(n: Node, src: Sources, batch: Batch) -> Node:
    name, parameters = n.arg
    if name in _OF_ONE_LIST:
        raise NotImplementedError(
            f"vmap: {name} takes one list at a time; call it outside, or for each example"
        )
    if name in _AXIS_AT:
        at = _AXIS_AT[name]
        axes = parameters[at]
        moved = axes + 1 if isinstance(axes, int) else _behind(axes)
        parameters = (*parameters[:at], moved, *parameters[at + 1 :])
    return build.library(name, parameters, *src)


# Where functions of libraries have an axis among their parameters. All others but those of one
# list work on the last axes, whatever is in front.
_AXIS_AT = {"argsort": 0, "topk": 1, "logcumsumexp": 0, "fft": 0, "rfft": 0, "irfft": 1}
_OF_ONE_LIST = ("searchsorted", "histogram", "ctc_loss", "ctc_loss_gradient")


# Sources are no rows: what has no sources of its own is the same for all examples.
BATCH: dict[Op, Rule] = {
    **_ELEMENTWISE,
    ops.RESHAPE: _reshape,
    ops.EXPAND: _expand,
    ops.PERMUTE: _permute,
    ops.SLICE: _slice,
    ops.PAD: _pad,
    ops.FLIP: _flip,
    ops.WINDOW: _window,
    ops.FOLD: _fold,
    ops.REDUCE: _reduce,
    ops.SCAN: _scan,
    ops.GATHER: _gather,
    ops.SCATTER: _scatter,
    ops.HOST: _host,
    ops.DETACH: _same,
    ops.SURROGATE: _same,
    ops.CUSTOM: _custom,
    ops.CONSUMED: _same,
}
