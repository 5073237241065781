"""Choices among a few elements each, made part by part: the largest of a window and its gradient.

PyTorch is slow where some operands have a few elements along the last axes and others repeat there:
its innermost loop is then over those few. Here the loop over them is the outermost, and each part
is a plain operation on large arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from itertools import product
from math import prod
from typing import Any

import torch

from gradlet.base import dtypes
from gradlet.ir import ops
from gradlet.ir.node import Node, topological
from gradlet.runtime.pytorch.arrays import carrier
from gradlet.runtime.pytorch.patterns import Plan
from gradlet.runtime.pytorch.table import FEW, MANY, TORCH

Shape = tuple[int, ...]
Part = tuple[Any, ...]

_BITS = {2: torch.int16, 4: torch.int32, 8: torch.int64}


def by_parts(n: Node) -> Plan | None:
    """A plan that computes `n` part by part, if it is a choice of that kind."""
    if n.op is ops.REDUCE:
        return _place(n)
    return _picked(n) if n.op in (ops.WHERE, ops.RESHAPE) else None


def _place(n: Node) -> Plan | None:
    """The first or last place where a condition holds: an extreme of `where(condition, ...)`."""
    op, axes = n.arg
    choice = n.src[0]
    if choice.op is not ops.WHERE or op not in (ops.MINIMUM, ops.MAXIMUM):
        return None
    parts = _parts(choice.shape, axes)
    condition, *places = choice.src
    if not condition.op.elementwise or not _pays(n.size, parts) or n.dtype is not dtypes.int64:
        return None
    if not all(map(_is_constant, places)):
        return None
    place, last = map(_constant, places)
    numbers, nowhere = [_number(place[part]) for part in parts], _number(last)
    if nowhere is None or None in numbers:
        return None
    # Products do without a branch for each element, and are done on bytes where those hold them.
    shifts = [number - nowhere for number in numbers if number is not None]
    narrow = all(-128 <= shift < 128 for shift in shifts)
    kind = torch.int8 if narrow else torch.int64
    choose = torch.minimum if op is ops.MINIMUM else torch.maximum
    leaves, evaluate = _tree(condition)

    def extreme(*values: torch.Tensor) -> torch.Tensor:
        holds = (evaluate([x[part] for x in values]).to(kind) for part in parts)
        shifted = reduce(choose, (h * shift for h, shift in zip(holds, shifts, strict=True)))
        return shifted.long() + nowhere

    return Plan(extreme, leaves)


def _constant(n: Node) -> torch.Tensor:
    """The value of a node that reads no parameter, as a view of the few numbers that it has."""
    values: dict[Node, torch.Tensor] = {}
    for current in topological([n]):
        given = [values[source] for source in current.src]
        if not (current.op.elementwise or current.op is ops.EXPAND):
            given = [x.expand(s.shape) for x, s in zip(given, current.src, strict=True)]
        values[current] = TORCH[current.op](current)(*given or [torch.device("cpu")])
    return values[n].expand(n.shape)


def _number(x: torch.Tensor) -> int | None:
    """The one number that all elements are, or None."""
    varies = any(step for step, extent in zip(x.stride(), x.shape, strict=True) if extent > 1)
    return None if varies else int(x.flatten()[0])


def _picked(n: Node) -> Plan | None:
    """A choice among values that repeat along the last axes, whose elements may move afterwards."""
    choice, moves = n, list[Node]()
    while choice.op in (ops.RESHAPE, ops.PERMUTE):
        moves.append(choice)
        choice = choice.src[0]
    if choice.op is not ops.WHERE:
        return None
    leaves, evaluate = _tree(choice)
    varied = [leaf for leaf in leaves if not _is_constant(leaf)]
    first = max((_first_repeated(leaf) for leaf in varied), default=choice.ndim)
    parts = _parts(choice.shape, range(first, choice.ndim))
    if not parts or not _pays(choice.size // len(parts), parts):
        return None
    try:
        _undone(torch.empty(n.shape, device="meta"), moves)
    except RuntimeError:  # the elements do not stand as in a view
        return None
    dtype = carrier(n.dtype)

    def choose(*values: torch.Tensor) -> torch.Tensor:
        result = torch.empty(n.shape, dtype=dtype, device=values[0].device)
        places = _undone(result, moves)
        for part in parts:
            places[part] = evaluate([x[part] for x in values])
        return result

    return Plan(choose, leaves)


def _pays(size: int, parts: Sequence[Part]) -> bool:
    """Whether parts of that size are worth an operation each."""
    return 1 < len(parts) <= FEW and size >= MANY


def _parts(shape: Shape, axes: Sequence[int]) -> list[Part]:
    """An index for each position along `axes`, which takes all of the others."""
    if prod(shape[axis] for axis in axes) > FEW:
        return []
    extents = [range(n) if axis in axes else (slice(None),) for axis, n in enumerate(shape)]
    return list(product(*extents))


def _tree(choice: Node) -> tuple[tuple[Node, ...], Callable[[list[torch.Tensor]], torch.Tensor]]:
    """What a choice and its condition are computed of, and the function that does."""

    def inner(n: Node) -> tuple[Node, ...]:
        return n.src if n is choice or (n.op.elementwise and n.dtype is dtypes.bool_) else ()

    order = topological([choice], inner)
    steps = [(n, _masked if _or_zero(n) else TORCH[n.op](n)) for n in order if inner(n)]
    leaves = tuple(n for n in order if not inner(n))

    def evaluate(values: list[torch.Tensor]) -> torch.Tensor:
        found = dict(zip(leaves, values, strict=True))
        for n, function in steps:
            found[n] = function(*(found[source] for source in n.src))
        return found[choice]

    return leaves, evaluate


def _or_zero(n: Node) -> bool:
    """Whether a node is `where(condition, x, 0)` for floats, with no sign before the zero."""
    zero = n.src[-1]
    return n.op is ops.WHERE and n.dtype.is_float and zero.is_const and zero.arg == (0.0).hex()


def _masked(condition: torch.Tensor, x: torch.Tensor, zero: torch.Tensor) -> torch.Tensor:
    """`where(condition, x, 0)` on bits: without a branch for each element."""
    bits = x.view(_BITS[x.itemsize])
    return (bits & -condition.to(bits.dtype)).view(x.dtype)


def _undone(x: torch.Tensor, moves: Sequence[Node]) -> torch.Tensor:
    """A view of what movements have made, as it was before; RuntimeError if there is none."""
    for move in moves:
        if move.op is ops.RESHAPE:
            x = x.view(move.src[0].shape)
        else:
            x = x.permute([move.arg.index(axis) for axis in range(x.ndim)])
    return x


def _first_repeated(leaf: Node) -> int:
    """From which axis on an operand repeats one element."""
    first = leaf.ndim
    if leaf.op is ops.EXPAND:
        source = (1,) * (leaf.ndim - leaf.src[0].ndim) + leaf.src[0].shape
        while first and source[first - 1] == 1:
            first -= 1
    return first


def _is_constant(leaf: Node, most: int = 20) -> bool:
    """Whether no parameter is read by the few nodes that compute this."""
    waiting = [leaf]
    for current in waiting:
        if len(waiting) > most or current.op in (ops.PARAM, ops.BUFFER):
            return False
        waiting += current.src
    return True
