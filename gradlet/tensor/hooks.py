"""Functions that are called with a gradient on its way, and may put another in its place.

Hooks of a leaf belong to the tensor, which keeps them when it is written. Those of a result belong
to a node of its own, on the way of all that is computed from the tensor: they act as well when the
tensor itself is gone. What was computed from the tensor before that node was there leads past it,
so `backward` looks at the tensors that are still alive, and calls their hooks with the whole.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, Self

from gradlet.grad.vjp import GradientError
from gradlet.ir import build, ops
from gradlet.ir.node import Node, topological
from gradlet.runtime.buffer import Holder
from gradlet.tensor.core import Core
from gradlet.tensor.values import Values

_numbers = itertools.count()


class Hooks:
    """The hooks of one tensor; of a result also the rule of its own node.

    Attributes:
        functions: called with the gradient, in order.
        after: called with the leaf when its `grad` is up to date.
        retains: whether the tensor, which is no leaf, keeps its gradient.
    """

    def __init__(self, cell: Core) -> None:
        self.made_by, self.device = type(cell), cell.device
        self.functions: dict[int, Callable[[Any], Any]] = {}
        self.after: dict[int, Callable[[Any], Any]] = {}
        self.retains = False

    def __call__(self, g: Node, n: Node) -> tuple[Node]:
        return (self.replaced(g),)

    def replaced(self, g: Node) -> Node:
        """What the functions make of a gradient."""
        for function in list(self.functions.values()):
            given = function(self.made_by.from_node(g, self.device))
            if given is None:
                continue
            if not isinstance(given, Core) or (given.shape, given.dtype) != (g.shape, g.dtype):
                raise GradientError(
                    "register_hook: a hook returns None, or a tensor in place of the gradient, "
                    f"{g.dtype.name}{list(g.shape)}; this one returned {_described(given)}"
                )
            g = given.node
        return g

    @property
    def key(self) -> tuple:
        """Equal for hooks that do the same."""
        return tuple(self.functions.values()), tuple(self.after.values())


class Handle:
    """What a hook can be removed by."""

    def __init__(self, among: dict[int, Callable[[Any], Any]], function: Any) -> None:
        if not callable(function):
            raise TypeError(f"a hook is a function of the gradient, not {function!r}")
        self.among, self.number = among, next(_numbers)
        among[self.number] = function

    def remove(self) -> None:
        """Has the hook called no more; a second time does nothing."""
        self.among.pop(self.number, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()


class Hooked(Values):
    """Hooks, and gradients of results."""

    __slots__ = ()

    def register_hook(self, hook: Callable[[Self], Self | None]) -> Handle:
        """Calls `hook` with d(loss)/d(self) in each backward pass; what it returns replaces that.

        It returns None, or a tensor of the same shape and dtype. Of a leaf it gets what one
        backward() adds to `.grad`, summed over all uses.

        Returns:
            a handle, whose remove() ends it.

        Raises:
            GradientError: no gradient can reach `self`.

        >>> from gradlet import Tensor
        >>> x = Tensor([1.0, 2.0]); y = x * x
        >>> handle = y.register_hook(lambda g: g * 10)
        >>> loss = y.sum().backward(); x.grad.tolist()
        [20.0, 40.0]
        """
        return Handle(self._own_hooks("register_hook").functions, hook)

    def register_post_accumulate_grad_hook(self, hook: Callable[[Self], None]) -> Handle:
        """Calls `hook` with this leaf whenever backward() has added to its `.grad`."""
        if not self.is_leaf:
            raise GradientError(
                "register_post_accumulate_grad_hook: only leaves accumulate gradients, and this "
                f"tensor of shape {self.shape} is a result; use register_hook"
            )
        return Handle(self._own_hooks("register_post_accumulate_grad_hook").after, hook)

    def retain_grad(self) -> None:
        """Has backward() keep the gradient of this result in `.grad`, as it does for leaves.

        After a write such as `y += 1` that is the gradient of what `y` holds then.

        >>> from gradlet import Tensor
        >>> x = Tensor([1.0, 2.0]); y = x * x; y.retain_grad()
        >>> loss = (y * 3).sum().backward(); y.grad.tolist()
        [3.0, 3.0]
        """
        hooks = self._own_hooks("retain_grad")
        hooks.retains = not self.is_leaf

    @property
    def retains_grad(self) -> bool:
        """Whether this is a result whose gradient backward() keeps."""
        return isinstance(self.node.arg, Hooks) and self.node.arg.retains

    def _retain_like(self, before: Node) -> None:
        """After a write: a result that kept its gradient keeps that of its new value."""
        retained = isinstance(before.arg, Hooks) and before.arg.retains
        if retained and not self.is_leaf and _differentiable(self.node):
            self.retain_grad()

    def _own_hooks(self, operation: str) -> Hooks:
        if not self.dtype.is_float or self.requires_grad is False or not _differentiable(self.node):
            raise GradientError(
                f"{operation}: no gradient reaches this {self.dtype.name} tensor of shape "
                f"{self.shape}, since it is no float, is detached or has requires_grad=False"
            )
        if isinstance(self.node.arg, Hooks):
            return self.node.arg
        if not self.is_leaf:
            hooks = Hooks(self)
            self.node = build.custom(self.node, (self.node,), hooks)
            return hooks
        if self.hooks is None:
            self.hooks = Hooks(self)
        return self.hooks


def _differentiable(made: Node) -> bool:
    def sources(n: Node) -> Sequence[Node]:
        return () if n.op is ops.DETACH or not n.dtype.is_float else n.src

    ends = (ops.BUFFER, ops.PARAM, ops.CUSTOM)
    return any(n.op in ends and n.dtype.is_float for n in topological([made], sources))


def _described(value: Any) -> str:
    if isinstance(value, Core):
        return f"{value.dtype.name}{list(value.shape)}"
    return repr(value)


class Watch:
    """The live tensors with hooks of their own among the nodes of a graph.

    Equal expressions are one node. If several tensors with hooks show it, each gets what comes
    through its own; one alone gets all of it, whether it was used before it had hooks or since.

    Attributes:
        at: the hooks that are to be called with the whole gradient of a node.
        place: for the own node of a tensor, the node whose gradient it gets.
        retaining: the tensors that keep theirs.
    """

    def __init__(self, inside: Collection[Node], alive: Iterable[Holder]) -> None:
        groups: dict[Node, dict[Node, Core]] = {}
        for cell in alive:
            own = cell.node
            if isinstance(own.arg, Hooks) and own.src[0] in inside:
                groups.setdefault(own.src[0], {})[own] = cell  # type: ignore[assignment]
        self.at: dict[Node, list[Hooks]] = {}
        self.place: dict[Node, Node] = {}
        self.retaining: list[Core] = []
        for value, cells in groups.items():
            reached = {own: cell for own, cell in cells.items() if own in inside}
            for own, cell in (reached or cells).items():
                self.place[own] = own if len(reached) > 1 else value
                self.at.setdefault(self.place[own], []).append(own.arg)
                if own.arg.retains:
                    self.retaining.append(cell)

    def passed(self, current: Node, g: Node) -> Node:
        """What stands in place of the gradient of a node."""
        for hooks in self.at.get(current, ()):
            g = hooks.replaced(g)
        return g
