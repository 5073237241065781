"""Templates: graphs of which copies are written down over other sources.

A template is made once from a graph over PARAM nodes. An APPLY node stands for a copy of one with a
single result: a layer or a loss is then one node and not ten, and only gradients and programs,
which look into it, write it out.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from gradlet.ir import build, ops
from gradlet.ir.functions import Function
from gradlet.ir.node import Node, node, topological

# What comes out otherwise for sources that are such nodes themselves: see `build`.
_MERGES = frozenset((ops.RESHAPE, ops.EXPAND, ops.PERMUTE, ops.DETACH))

_FEW = 2  # nodes that are as quickly written out


class Template:
    """How to write down a graph over other sources.

    Args:
        name: what it prints as.
        params: PARAM nodes, numbered from 0, for which the sources will stand.
        results: the roots of the graph.
    """

    def __init__(self, name: str, params: Sequence[Node], results: Sequence[Node]) -> None:
        self.name, self.params, self.results = name, list(params), list(results)
        order = topological([*params, *results])
        varies = set(params)
        for current in order:
            if not varies.isdisjoint(current.src):
                varies.add(current)
        self._constants = [n for n in order if n not in varies]
        place = {n: i for i, n in enumerate([*params, *self._constants])}
        merging = set(params)
        self._steps: list[tuple[Any, ...]] = []
        for current in order:
            if current in place:
                continue
            like = None
            if current.op in _MERGES and current.src[0] in merging:
                like = current
                merging.add(current)
            src = tuple([place[s] for s in current.src])
            place[current] = len(place)
            self._steps.append((current.op, src, current.arg, current.dtype, current.shape, like))
        self._places = [place[r] for r in results]

    def __repr__(self) -> str:
        return self.name

    @functools.cached_property
    def of_values(self) -> Template:
        """The template without identities, which matter to gradients alone."""
        return Template(self.name, self.params, Function(self.results).inlined(self.params))

    def copied(self, sources: Sequence[Node]) -> list[Node]:
        """The results over these sources: the same nodes as if they were built with them."""
        made = [*sources, *self._constants]
        at = made.__getitem__
        for op, src, arg, dtype, shape, like in self._steps:
            if like is None:
                made.append(node(op, tuple(map(at, src)), arg, dtype, shape))
            else:
                made.append(build.rebuild(like, (made[src[0]],)))
        return [made[place] for place in self._places]

    def applied(self, sources: Sequence[Node]) -> Node:
        """The one result over these sources, as a single node where that is shorter."""
        (result,) = self.results
        if len(self._steps) <= _FEW:
            return self.copied(sources)[0]
        return node(ops.APPLY, tuple(sources), self, result.dtype, result.shape)


def written_out(current: Node) -> Node:
    """The graph that an APPLY node stands for; its value is known if the node's is."""
    template: Template = current.arg
    (result,) = template.copied(current.src)
    if result.realized is None:
        result.realized = current.realized
    return result
