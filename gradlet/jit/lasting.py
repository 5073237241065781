"""Tensors and nodes that are used again, with other values, instead of being made anew."""

from __future__ import annotations

from collections.abc import Sequence
from sys import getrefcount
from typing import Any

from gradlet.base.ownership import SOLE
from gradlet.ir.node import Node
from gradlet.jit.parts import GRADIENT, SHOWN, VARIABLE, Target, Variable
from gradlet.runtime.buffer import refill, vacate
from gradlet.tensor.core import Core

_OTHERS = 2  # references to a variable's tensor besides its place: the variable, the glance
_KEPT_CALLS = 3


class Lasting:
    """The targets of a recording that may be what they were before, with other values.

    Args:
        targets: some of the recording's, with their numbers.

    Attributes:
        written: the variables that get a value.
        following: the fresh targets that may be what they come after, that variable, and
            whether it is its gradient.
        numbers, results, ops: of all these targets, the written ones first, their numbers, their
            results, and the ops of the nodes that show them.
    """

    def __init__(self, targets: list[tuple[int, Target]], variables: list[Variable]) -> None:
        written = [(n, t) for n, t in targets if t.kind == VARIABLE and t.result is not None]
        following = [(n, t, t.successor) for n, t in targets if t.successor is not None]
        both = [*written, *((n, t) for n, t, _ in following)]
        self.written = [variables[target.number] for _, target in written]
        self.following = [(t, variables[n], kind == GRADIENT) for _, t, (kind, n) in following]
        self.numbers = [number for number, _ in both]
        self.results = [target.result for _, target in both if target.result is not None]
        self.ops = [SHOWN[target.history] for _, target in both]

    def renewed(self, results: Sequence[Any]) -> dict[int, Core]:
        """The tensors of targets that are the same as before with other values, by number.

        They are where nobody could tell the difference.
        """
        tensors: list[Core | None] = [variable.tensor for variable in self.written]
        for target, variable, is_gradient in self.following:
            tensor = variable.tensor.grad if is_gradient else variable.tensor
            count = SOLE if is_gradient else SOLE + _OTHERS
            if tensor is not None and getrefcount(tensor) == count:
                tensors.append(tensor if target.fits(tensor) else None)
            else:
                tensors.append(None)
        nodes = [None if tensor is None else tensor.node for tensor in tensors]
        if [None if node is None else node.op for node in nodes] != self.ops:
            pairs = zip(nodes, self.ops, strict=True)
            nodes = [node if node is not None and node.op is op else None for node, op in pairs]
        left = refill(nodes, [results[result] for result in self.results])
        made = dict(zip(self.numbers, tensors, strict=True))
        for position in left:
            del made[self.numbers[position]]
        return made  # type: ignore[return-value]  # there is no node where there is no tensor


class Spares:
    """Nodes that showed a small result of earlier calls, for when nobody else holds them any more.

    Making nodes takes longer than a small program runs.
    """

    def __init__(self) -> None:
        self._nodes: list[Node] = []

    def vacant(self) -> Node | None:
        """One without elements. It lets go of those of all that nobody else holds."""
        found = None
        for shown in self._nodes:
            if getrefcount(shown) == SOLE and vacate(shown):
                found = shown
        return found

    def keep(self, shown: Node) -> None:
        """Remembers one node more, for some calls."""
        self._nodes = [*self._nodes[1 - _KEPT_CALLS :], shown]
