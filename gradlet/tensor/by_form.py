"""Operations whose graphs follow from the forms of their arguments: built once, and then copied.

Building a graph by methods takes several microseconds a node: dtypes are promoted, shapes are
broadcast, arguments are checked. For shapes and dtypes that an operation has had before all of that
comes out the same. What it built then, on stand-ins, is copied, at a microsecond a node.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any, TypeVar

from gradlet.base import dtypes
from gradlet.ir import build, ops
from gradlet.ir.functions import known
from gradlet.ir.node import Node, node, topological
from gradlet.tensor import sharing
from gradlet.tensor.core import Core, gradients

Function = TypeVar("Function", bound=Callable[..., Any])

_PLAIN = frozenset((int, float, bool, str, type(None)))

# What comes out otherwise for sources that are such nodes themselves: see `build`.
_MERGES: dict[ops.Op, Callable[..., Node]] = {
    ops.RESHAPE: lambda x, like: build.reshape(x, like.shape),
    ops.EXPAND: lambda x, like: build.expand(x, like.shape),
    ops.PERMUTE: lambda x, like: build.permute(x, like.arg),
    ops.DETACH: lambda x, like: build.detach(x),
}


def by_form(function: Function) -> Function:
    """Has an operation build its graph once for arguments of a form.

    What it returns, one tensor or several, must follow from shapes and dtypes of tensors, from the
    values of other arguments, and from what is switched for all tensors. Nothing is copied where
    that is an argument or a view of one, where memory is read that is none of an argument's, as
    that of random numbers, and where arguments are of another kind.
    """

    @functools.wraps(function)
    def operation(self: Core, *args: Any, **kwargs: Any) -> Any:
        nodes = [self.node]
        key = [function, self.device, self.training, dtypes.current_float()]
        key += (self.node.dtype, self.node.shape)
        for value in (*args, *chain.from_iterable(kwargs.items())) if kwargs else args:
            if isinstance(value, Core):
                if value.device != self.device:
                    return function(self, *args, **kwargs)
                nodes.append(value.node)
                key += (value.node.dtype, value.node.shape)
            elif type(value) in _PLAIN:
                key.append(repr(value))  # tells 0.0 from -0.0, and 1 from True
            elif type(value) is tuple and all(type(part) is int for part in value):
                key.append(value)
            else:
                return function(self, *args, **kwargs)
        template: Template = known(tuple(key), lambda: Template(function, (self, *args), kwargs))
        if template.results is None:
            return function(self, *args, **kwargs)
        made = template.copied(nodes)
        if template.alone:
            return self._result(made[template.results[0]])
        return tuple([self._result(made[place]) for place in template.results])

    return operation  # type: ignore[return-value]


class Template:
    """The graph of an operation for arguments of a form.

    Attributes:
        results: where its results are among what `copied` gives; None if it is not to be copied.
        alone: whether it returns one tensor, and not a tuple of them.
    """

    def __init__(self, function: Callable[..., Any], args: Sequence[Any], kwargs: Any) -> None:
        stand_ins: list[Core] = []

        def stand_in(value: Any) -> Any:
            if not isinstance(value, Core):
                return value
            param = build.param(len(stand_ins), value.dtype, value.shape)
            stand_ins.append(value.from_node(param, value.device, value.requires_grad))
            return stand_ins[-1]

        given = [stand_in(value) for value in args]
        named = {name: stand_in(value) for name, value in kwargs.items()}
        with gradients(True):
            returned = function(*given, **named)
        self.alone = not isinstance(returned, tuple)
        results = (returned,) if self.alone else returned
        self.results: list[int] | None = None
        if any(_shows_any(result, stand_ins) for result in results):
            return
        order = topological([cell.node for cell in (*stand_ins, *results)])
        if not any(current.op is ops.BUFFER for current in order):
            self._note(order, [cell.node for cell in stand_ins], [r.node for r in results])

    def _note(self, order: list[Node], params: list[Node], results: list[Node]) -> None:
        """Notes how to make the results from arguments in place of the params."""
        varies = set(params)
        for current in order:
            if not varies.isdisjoint(current.src):
                varies.add(current)
        self.constants = [n for n in order if n not in varies]
        place = {n: i for i, n in enumerate([*params, *self.constants])}
        merging = set(params)
        self.steps: list[tuple[Any, ...]] = []
        for current in order:
            if current in place:
                continue
            merges = None
            if current.op in _MERGES and current.src[0] in merging:
                merges = functools.partial(_MERGES[current.op], like=current)
                merging.add(current)
            src = tuple([place[s] for s in current.src])
            place[current] = len(place)
            self.steps.append((current.op, src, current.arg, current.dtype, current.shape, merges))
        self.results = [place[r] for r in results]

    def copied(self, arguments: Sequence[Node]) -> list[Node]:
        """All nodes of the graph over these arguments."""
        made = [*arguments, *self.constants]
        at = made.__getitem__
        for op, src, arg, dtype, shape, merges in self.steps:
            if merges is None:
                made.append(node(op, tuple(map(at, src)), arg, dtype, shape))
            else:
                made.append(merges(made[src[0]]))
        return made


def _shows_any(result: Core, others: Sequence[Core]) -> bool:
    """Whether it is one of some tensors, or shows their elements."""
    source = sharing.source(result)
    return any(result is other or source is other for other in others)
