"""Functions whose inner values are computed again for the backward pass instead of being kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from gradlet.engine.trace import look_into
from gradlet.grad.vjp import GradientError, pull_back
from gradlet.ir import build, ops
from gradlet.ir.node import Node, topological, with_sources
from gradlet.tensor.core import Core
from gradlet.tensor.hooks import Hooks
from gradlet.tensor.nested import flatten, rebuild
from gradlet.tensor.random import changing_draws
from gradlet.transforms.custom import with_gradient


def checkpoint(
    function: Callable[..., Any], *args: Any, use_reentrant: bool | None = None, **kwargs: Any
) -> Any:
    """`function(*args, **kwargs)`, with less memory and more work (Chen et al. 2016).

    The backward pass makes what it needs of the function's values again from the tensors in its
    arguments, once the gradient of the result is known. Random numbers are the same again. Tensors
    that the function reaches by itself, such as weights, get gradients too, but what is made of
    those alone is kept. The function runs once; `use_reentrant` makes no difference.

    Raises:
        GradientError: the function writes into an argument.

    >>> from gradlet import Tensor, checkpoint
    >>> x = Tensor([1.0, 2.0])
    >>> loss = checkpoint(lambda x: x.exp().exp().log(), x).sum().backward()
    >>> loss.item() == x.exp().sum().item(), x.grad.allclose(x.exp())
    (True, True)
    """
    if not Core.grad_enabled:
        return function(*args, **kwargs)
    given: list[Core] = []
    form = flatten((args, kwargs), given, [], "checkpoint")
    sources = [t.node for t in given]
    hidden = [build.apart(source) for source in sources]

    def hide(block: Node) -> Node:
        sources.append(block)
        hidden.append(build.apart(block))
        return hidden[-1]

    cells = [
        type(t).from_node(n, t.device, t.requires_grad) for t, n in zip(given, hidden, strict=True)
    ]
    inner_args, inner_kwargs = rebuild(form, iter(cells))
    with changing_draws(hide):
        result = look_into(function, *inner_args, **inner_kwargs)
    for cell, node in zip(cells, hidden, strict=False):
        if cell.node is not node and not isinstance(cell.node.arg, Hooks):
            raise GradientError(
                f"checkpoint: the function writes into an argument, of shape {cell.shape}; write "
                "y = x + 1 in place of x += 1"
            )
    outputs: list[Core] = []
    result_form = flatten(result, outputs, [], "checkpoint")
    nodes = [t.node for t in outputs if t.dtype.is_float]
    reached = _reached(nodes, hidden)
    pull = _Again(nodes, hidden, reached)
    return rebuild(result_form, iter(with_gradient(outputs, (*sources, *reached), pull)))


class _Again:
    """Computes a graph again, and gives the gradients of the nodes that it begins with.

    Args:
        hidden: the nodes that stand for its arguments, which are held back until the gradient is
            there: otherwise equal values would be found to be known, and kept.
        reached: the other nodes that it begins with.
    """

    def __init__(self, outputs: list[Node], hidden: list[Node], reached: list[Node]) -> None:
        self.outputs, self.hidden, self.reached = outputs, hidden, reached

    def __call__(self, cotangents: list[Node], sources: tuple[Node, ...]) -> list[Node | None]:
        count = len(self.hidden)
        starts = [build.library("again", (), x, *cotangents) for x in sources[:count]]
        starts += [build.apart(x) for x in sources[count:]]
        made = dict(zip((*self.hidden, *self.reached), starts, strict=True))
        for current in topological(self.outputs, lambda n: () if n in made else n.src):
            if current not in made:
                made[current] = with_sources(current, tuple(made[s] for s in current.src))
        return pull_back([made[output] for output in self.outputs], cotangents, starts)


def _reached(outputs: Sequence[Node], hidden: Sequence[Node]) -> list[Node]:
    """What a graph is made from besides `hidden`: the last nodes that do not depend on them."""
    ends = set(hidden)
    order = topological(outputs, lambda n: () if n in ends else n.src)
    inside = set(hidden)
    for current in order:
        if any(source in inside for source in current.src):
            inside.add(current)
    found = {s: None for n in order if n in inside and n not in ends for s in n.src}
    found |= dict.fromkeys(outputs)
    return [n for n in found if n not in inside and n.op not in (ops.CONST, ops.IOTA)]
