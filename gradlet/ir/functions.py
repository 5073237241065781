"""Functions: graphs that are written once and called wherever the same would be built again.

The gradients of a loss and an optimiser's move of a parameter are the same graphs in each step of
training, over other buffers. A CALL node stands for all results of such a graph, and a RESULT node
for one of them, so that a step makes a few nodes in place of hundreds. `inlined` puts the graph in
their place when a program is compiled, and nothing behind that knows of calls.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from gradlet.base import dtypes
from gradlet.ir import ops
from gradlet.ir.node import Node, node, rewrite, with_sources


class Function:
    """A graph over PARAM nodes.

    Args:
        results: the graphs of what it returns, over PARAMs of which number `i` stands for the
            argument `i`.
    """

    __slots__ = ("results",)

    def __init__(self, results: Sequence[Node]) -> None:
        self.results = list(results)

    def call(self, arguments: Sequence[Node]) -> Node:
        """The CALL node that stands for all results."""
        return node(ops.CALL, tuple(arguments), self, dtypes.float32, ())

    def __call__(self, arguments: Sequence[Node]) -> list[Node]:
        """A RESULT node for each result, through which no gradient flows."""
        call = (self.call(arguments),)
        return [
            node(ops.RESULT, call, place, result.dtype, result.shape)
            for place, result in enumerate(self.results)
        ]

    def inlined(self, arguments: Sequence[Node]) -> list[Node]:
        """The graphs that the RESULT nodes stand for, without identities."""

        def rule(current: Node, src: tuple[Node, ...]) -> Node:
            if current.op is ops.PARAM:
                return arguments[current.arg]
            return src[0] if current.op in ops.IDENTITIES else with_sources(current, src)

        return rewrite(self.results, rule)


def inlined(result: Node) -> Node:
    """The graph that a RESULT node stands for."""
    (call,) = result.src
    graphs: list[Node] = call.arg.inlined(call.src)
    return graphs[result.arg]


_known: dict[tuple, Any] = {}
_MOST = 4096


def known(key: tuple, make: Callable[[], Any]) -> Any:
    """What `make` gave when it was last called for this key."""
    found = _known.get(key)
    if found is None:
        if len(_known) >= _MOST:
            _known.clear()
        found = _known[key] = make()
    return found


def forget() -> None:
    """Forgets every function, as tests of cold starts want."""
    _known.clear()
