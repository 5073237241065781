"""Backward passes through graphs of one form, which differ in nothing but their buffers.

The gradients are built once for a form, as a function of the buffers; so are the values that a pass
uses up. A step of training then calls both: see `ir/functions.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gradlet.engine import trace
from gradlet.engine.program import Capture
from gradlet.grad.vjp import grad
from gradlet.ir import build, ops
from gradlet.ir.functions import Function, known
from gradlet.ir.node import Node
from gradlet.ir.ops import Op
from gradlet.tensor.core import Core
from gradlet.tensor.leaves import carriers

# Gradients through these follow from more than the form of a graph.
_OTHERWISE = frozenset((ops.CUSTOM, ops.CONSUMED))


@dataclass(eq=False)
class Form:
    """What all passes of a form have in common.

    Attributes:
        gradients: the graphs of all gradients, over PARAM nodes.
        results: for each leaf which of its results it gets, or None.
        reach: where in the order of nodes those are that lead to trained leaves.
    """

    gradients: list[Node]
    results: list[int | None]
    reach: frozenset[int]


class Pass:
    """A backward pass from `root`, the last node of a graph of which nothing is remembered.

    Args:
        shown: where in the graph nodes stand whose values will be asked for.

    Attributes:
        reach: as of `Form`.
        gradients: d(root)/d(leaf) for each leaf, or None where the root does not depend on it.
        values: by place those of the nodes shown that are within reach, without the graph that
            leads to them.
    """

    def __init__(
        self, graph: Capture, root: Node, leaves: Sequence[Core], shown: Iterable[int]
    ) -> None:
        places = [graph.position[leaf.node] for leaf in leaves]
        trained = [place for leaf, place in zip(leaves, places, strict=True) if leaf.requires_grad]
        key = (graph.key([root]), *places, None, *trained)
        form: Form = known(key, lambda: _form(graph, root, places, trained))
        self.reach = form.reach
        chosen = sorted(form.reach.intersection(shown))

        def together() -> Function:
            values, _ = graph.canonical([graph.order[place] for place in chosen])
            return Function([*form.gradients, *values])

        made = known((form, *chosen), together)(graph.leaves)
        self.gradients = [None if i is None else made[i] for i in form.results]
        self.values = dict(zip(chosen, made[len(form.gradients) :], strict=True))


def repeats(graph: Capture, kinds: set[Op], leaves: Sequence[Core]) -> bool:
    """Whether a pass depends on nothing but the form of a graph, with ops of these kinds."""
    if trace.current() is not None or trace.inlines():
        return False  # done once, and looked into
    if any(leaf.hooks is not None for leaf in leaves):
        return False
    return not graph.remembers and kinds.isdisjoint(_OTHERWISE)


def _form(graph: Capture, root: Node, places: Sequence[int], trained: Sequence[int]) -> Form:
    (same,), params = graph.canonical([root])
    found = grad(same, build.full_like(same, 1), [params[graph.entries[p][1]] for p in places])
    results = [g for g in found if g is not None]
    reach = carriers(graph.order, {graph.order[place] for place in trained}) if trained else set()
    return Form(
        results,
        [None if g is None else results.index(g) for g in found],
        frozenset(graph.position[n] for n in {*reach, root}),
    )
