"""The arguments of a call, taken apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from gradlet.base import dtypes
from gradlet.tensor.core import Core
from gradlet.tensor.nested import flatten
from gradlet.tensor.tensor import Tensor


class Call(NamedTuple):
    """The arguments of a call.

    Attributes:
        kind: equal for calls that may do the same.
        arguments: the tensors, each once.
        form: of (args, kwargs), and for each tensor in it its place among `arguments`.
        objects: what else may hold tensors.
    """

    kind: tuple
    arguments: Sequence[Core]
    form: tuple
    order: Sequence[int]
    objects: Sequence[Any]


def nested_call(args: tuple, kwargs: dict) -> Call:
    tensors: list[Core] = []
    objects: list[Any] = []
    form = flatten((args, kwargs), tensors, objects)
    place: dict[int, int] = {}
    order = [place.setdefault(id(t), len(place)) for t in tensors]
    arguments = list({id(t): t for t in tensors}.values())
    facts = tuple((t.shape, t.dtype, t.device, t.requires_grad) for t in arguments)
    return Call((form, tuple(order), facts), arguments, form, order, objects)


def plain_kind(args: tuple) -> tuple | None:
    """The kind of a call with nothing but different tensors, or None if it is another one."""
    kind: list[Any] = []
    for argument in args:
        if type(argument) is not Tensor:
            return None
        node = argument.node
        kind += (node.shape, node.dtype, argument.device, argument.requires_grad)
    if len(args) > 1 and len({*map(id, args)}) < len(args):
        return None
    return tuple(kind)


def switches() -> tuple:
    """What is switched for all tensors: a step is recorded for each state of it."""
    return (Tensor.training, Core.grad_enabled, dtypes.current_float())
