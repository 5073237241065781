"""From a graph that names real buffers to a program that can run again on others.

Two training steps build the same graph over different buffers. `capture` numbers the nodes of a
graph and describes it without its buffers; that description is the key under which the compiled
program of the first step is found by all later ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from gradlet.engine import trace
from gradlet.ir import build, ops
from gradlet.ir.node import Node, node
from gradlet.runtime.buffer import Buffer

# Ops of nodes whose value may be another one's, or nobody's.
_MAY_STAND_FOR = frozenset((ops.BUFFER, ops.PARAM, *ops.IDENTITIES))


@dataclass
class Capture:
    """A graph with its buffers set apart.

    Attributes:
        order: its nodes, each after its sources, identities left out.
        position: where in `order` each node stands; identities and pending buffers stand
            where what they stand for does.
        leaves: the nodes of the filled buffers that it reads, in order of first use.
        entries: `order`, described without naming a buffer.
        differentiable: whether it is for gradients.
        remembers: whether a value in it is known.

    For gradients, to which every buffer is a leaf, identities and pending buffers stand where they
    are, and all buffers are among the leaves.
    """

    order: list[Node]
    position: dict[Node, int]
    leaves: list[Node]
    entries: list[tuple]
    differentiable: bool
    remembers: bool = False

    @property
    def buffers(self) -> list[Buffer]:
        """What it reads."""
        return [leaf.arg for leaf in self.leaves]

    def key(self, sinks: Iterable[Node]) -> tuple:
        """Equal for graphs that one program can compute."""
        return (*self.entries, tuple(self.position[sink] for sink in sinks))

    def canonical(self, sinks: Iterable[Node]) -> tuple[list[Node], list[Node]]:
        """(sinks, params) of the same graph over PARAM nodes in place of buffers, without calls.

        In place of a CALL among the sinks come all of its results.
        """
        made: list[Any] = []  # nodes, and for a CALL a list of them
        params: list[Node] = []
        for current, entry in zip(self.order, self.entries, strict=True):
            if entry[0] is ops.PARAM:
                params.append(build.param(len(params), current.dtype, current.shape))
                made.append(params[-1])
                continue
            src = tuple([made[i] for i in entry[4:]])
            if entry[0] is ops.APPLY:
                template = current.arg if self.differentiable else current.arg.of_values
                made += template.copied(src)
            elif entry[0] is ops.CALL:
                made.append(current.arg.inlined(src))
            elif entry[0] is ops.RESULT:
                made.append(src[0][current.arg])
            else:
                made.append(node(current.op, src, current.arg, current.dtype, current.shape))
        results: list[Node] = []
        for sink in sinks:
            found = made[self.position[sink]]
            results += found if sink.op is ops.CALL else (found,)
        return results, params

    def flat(self, sinks: Sequence[Node]) -> Capture:
        """The same graph without calls, in which `sinks` stand where their values do."""
        if not any(entry[0].kind == "call" for entry in self.entries):
            return self
        made, _ = self.canonical(sinks)
        found = capture(made)
        leaves: list[Node] = []
        entries: list[tuple] = []
        for op, arg, *rest in found.entries:
            entries.append((op, len(leaves) if op is ops.PARAM else arg, *rest))
            if op is ops.PARAM:
                leaves.append(self.leaves[arg])
        position = {sink: found.position[m] for sink, m in zip(sinks, made, strict=True)}
        return Capture(found.order, position, leaves, entries, self.differentiable)


def stand_in(current: Node, device: object, memos: bool = True) -> Node | None:
    """The node whose value `current`, no BUFFER, has without computing it, or None for itself.

    Args:
        device: None for gradients, to which each node is its own.

    Raises:
        VmapError: it stands for many values, as what `vmap` gives to a function does.
    """
    if device is None:
        return None
    memo = current.realized
    if memos and memo is not None and memo.arg.device is device:
        return memo
    if current.op in ops.IDENTITIES:
        return current.src[0]
    if current.op is ops.PARAM:
        raise trace.no_value(current.shape)
    return None


def capture(roots: Iterable[Node], device: object = None, memos: bool = True) -> Capture:
    """Walks the graph under `roots` once, stopping at whatever `device` already holds.

    Args:
        device: None stops at every buffer, filled or not, and passes by nothing.
        memos: False stops at filled buffers alone, not at nodes whose value is remembered.
    """
    taken = Capture([], {}, [], [], differentiable=device is None)
    position, order, entries, leaves = taken.position, taken.order, taken.entries, taken.leaves
    place = position.__getitem__
    stack: list[Any] = list(roots)  # nodes, and (node,) where its sources are done
    stack.reverse()
    push, pop = stack.append, stack.pop
    while stack:
        current = pop()
        if current.__class__ is tuple:
            (current,) = current
            entry = (current.op, current.arg, current.dtype, current.shape)
            entries.append((*entry, *map(place, current.src)))
            position[current] = len(order)
            order.append(current)
            continue
        if current in position:
            continue
        op = current.op
        if op in _MAY_STAND_FOR or current.realized is not None:
            if op is ops.BUFFER:
                other = None if device is None else current.arg.pending
            else:
                other = stand_in(current, device, memos)
            if other in position:
                position[current] = position[other]
                continue
            if other is not None:
                push(current)
                push(other)
                continue
            if op is ops.BUFFER:
                entries.append((ops.PARAM, len(leaves), current.dtype, current.shape))
                leaves.append(current)
                position[current] = len(order)
                order.append(current)
                continue
            if current.realized is not None and op is not ops.CONST:
                taken.remembers = True
        push((current,))
        stack.extend(current.src[::-1])
    return taken
