"""Operations whose graphs follow from the forms of their arguments: built once, and then copied.

Building a graph by methods takes several microseconds a node: dtypes are promoted, shapes are
broadcast, arguments are checked. For shapes and dtypes that an operation has had before all of that
comes out the same. What it built then, on stand-ins, is a template: see `ir/templates.py`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any, TypeVar

from gradlet.base import dtypes
from gradlet.engine import trace
from gradlet.ir import build, ops
from gradlet.ir.functions import known
from gradlet.ir.node import Node, topological
from gradlet.ir.templates import Template
from gradlet.tensor import sharing
from gradlet.tensor.core import Core, gradients

Function = TypeVar("Function", bound=Callable[..., Any])

_PLAIN = frozenset((int, float, bool, str, type(None)))
_NO_NAMES: Mapping[str, str] = {}
_NO_TEMPLATE = Template("nothing", [], [])


def by_form(function: Function, names: Mapping[str, str] = _NO_NAMES) -> Function:
    """Has an operation build its graph once for arguments of a form.

    What it returns, one tensor or several, must follow from shapes and dtypes of tensors, from the
    values of other arguments, and from what is switched for all tensors. Nothing is copied where
    that is an argument or a view of one, where memory is read that is none of an argument's, as
    that of random numbers, and where arguments are of another kind.

    Args:
        names: other names of arguments, and the own ones of these.
    """

    @functools.wraps(function)
    def operation(self: Core, *args: Any, **kwargs: Any) -> Any:
        nodes = [self.node]
        key = [function, self.device, self.training, dtypes.current_float()]
        key += (self.node.dtype, self.node.shape)
        if names and kwargs:
            kwargs = {names.get(name, name): value for name, value in kwargs.items()}
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
        template, alone = known(tuple(key), lambda: _template(function, (self, *args), kwargs))
        if template is _NO_TEMPLATE:
            return function(self, *args, **kwargs)
        if alone and not trace.inlines():
            return self._result(template.applied(nodes))
        results = [self._result(made) for made in template.copied(nodes)]
        return results[0] if alone else tuple(results)

    return operation  # type: ignore[return-value]


def _template(
    function: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]
) -> tuple[Template, bool]:
    """The template of an operation, and whether it returns one tensor and not a tuple of them."""
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
        returned = trace.look_into(function, *given, **named)
    alone = not isinstance(returned, tuple)
    results = (returned,) if alone else returned
    made = [result.node for result in results]
    if any(_shows_any(result, stand_ins) for result in results) or _reads_memory(made):
        return _NO_TEMPLATE, alone
    name = function.__name__.strip("_")
    return Template(name, [cell.node for cell in stand_ins], made), alone


def _shows_any(result: Core, others: Sequence[Core]) -> bool:
    """Whether it is one of some tensors, or shows their elements."""
    source = sharing.source(result)
    return any(result is other or source is other for other in others)


def _reads_memory(made: Sequence[Node]) -> bool:
    return any(current.op is ops.BUFFER for current in topological(made))
