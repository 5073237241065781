"""The leaves of graphs: which tensors gradients reach, and through which nodes."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any

from gradlet.engine.realize import live
from gradlet.grad.vjp import GradientError
from gradlet.ir import ops
from gradlet.ir.node import Node, topological
from gradlet.runtime.buffer import Holder
from gradlet.tensor.core import Core


def _wants_gradient(leaf: Any) -> bool:
    """True unless it says no; for an 8-bit float, which is for storage, if it says yes."""
    wish = getattr(leaf, "requires_grad", None)
    return bool(wish) if leaf.node.dtype.is_storage else wish is not False


# What trained leaves held before they were written to.
_overwritten: weakref.WeakSet[Node] = weakref.WeakSet()


def note_overwritten(leaf: Core) -> None:
    """Says that a tensor is about to hold something else."""
    if leaf.requires_grad and leaf.node.op is ops.BUFFER:
        _overwritten.add(leaf.node)


def refuse_overwritten(order: list[Node], leaves: list[Core]) -> None:
    """Raises if a gradient would go to what a trained leaf no longer holds."""
    if not _overwritten:
        return
    gone = {n for n in order if n.op is ops.BUFFER and n in _overwritten}
    gone -= {leaf.node for leaf in leaves}  # a recording that failed has put it back
    if gone and order[-1] in carriers(order, gone):
        shapes = ", ".join(sorted({str(n.shape) for n in gone}))
        raise GradientError(
            f"backward: this was computed from a tensor of shape {shapes} with requires_grad=True "
            "that has been written to since, by an optimiser's step perhaps. Call backward() "
            "before that, or compute it again."
        )


def leaves_in(order: Iterable[Node], alive: Iterable[Holder] | None = None) -> list[Any]:
    """Live tensors that are float leaves of a graph and want a gradient, in the graph's order.

    Args:
        alive: the live tensors, if they are known.
    """
    place = {n: i for i, n in enumerate(order) if n.op is ops.BUFFER and n.dtype.is_float}
    cells = live() if alive is None else alive
    leaves = [cell for cell in cells if cell.node in place and _wants_gradient(cell)]
    return sorted(leaves, key=lambda leaf: place[leaf.node])


def carriers(order: list[Node], sources: set[Node]) -> set[Node]:
    """The nodes through which a gradient flows to any of `sources`."""
    found = set(sources)
    for current in order:
        if current.op is ops.DETACH or not current.dtype.is_float:
            continue
        if any(source in found for source in current.src):
            found.add(current)
    return found


def has_history(made: Node) -> bool:
    """Whether a gradient could flow through `made`, a result of operations, to a live leaf."""
    return made.op is not ops.BUFFER and reaches_a_leaf(made)


def reaches_a_leaf(made: Node, other_than: Node | None = None) -> bool:
    """Whether a gradient could flow through `made` to a live leaf."""
    order = topological([made])
    leaves = {leaf.node for leaf in leaves_in(order) if leaf.node is not other_than}
    # What a transformation gives to a function, and custom gradients, lead to leaves of others.
    leaves |= {n for n in order if n.op in (ops.PARAM, ops.CUSTOM) and n.dtype.is_float}
    return bool(leaves) and made in carriers(order, leaves)


def reaches_a_trained_leaf(made: Node) -> bool:
    """Whether a gradient could flow through operations to a live leaf with requires_grad=True."""
    if made.op is ops.BUFFER:
        return False
    order = topological([made])
    return made in carriers(order, {leaf.node for leaf in leaves_in(order) if leaf.requires_grad})
