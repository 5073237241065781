"""The gradient of the largest of a window, made part by part.

It goes to the first element of each window that is the largest. PyTorch is slow where arrays have a
few elements along the last axes and others repeat there: its innermost loop is then over those few.
Here the loop over them is the outermost, and each part is a plain operation on large arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise, product
from math import prod
from typing import Any, NamedTuple

import torch

from gradlet.base import dtypes
from gradlet.ir import ops
from gradlet.ir.node import Node, topological
from gradlet.runtime.pytorch.arrays import carrier
from gradlet.runtime.pytorch.patterns import Plan, unequal
from gradlet.runtime.pytorch.table import FEW, MANY, TORCH

Part = tuple[Any, ...]

_BITS = {2: torch.int16, 4: torch.int32, 8: torch.int64}


class _First(NamedTuple):
    """Where a condition holds for the first time among `parts` of it."""

    condition: Node
    parts: list[Part]


def by_parts(n: Node) -> Plan | None:
    """A plan for `where(first, value, 0)`, whose elements may move afterwards."""
    choice, moves = n, list[Node]()
    while choice.op in (ops.RESHAPE, ops.PERMUTE):
        moves.append(choice)
        choice = choice.src[0]
    first = _first(choice) if choice.op is ops.WHERE and _or_zero(choice) else None
    if first is None:
        return None
    try:
        _undone(torch.empty(n.shape, device="meta"), moves)
    except RuntimeError:  # the elements do not stand as in a view
        return None
    leaves, holds = _tree(first.condition)
    dtype, whole = carrier(n.dtype), _BITS[n.dtype.itemsize]

    def choose(value: torch.Tensor, *given: torch.Tensor) -> torch.Tensor:
        result = torch.empty(n.shape, dtype=dtype, device=value.device)
        bits, places = value.view(whole), _undone(result.view(whole), moves)
        taken = torch.zeros((), dtype=torch.bool, device=value.device)
        for part in first.parts:
            hit = holds([x[part] for x in given])
            mask = -(hit > taken).view(torch.int8)  # all bits of a byte, or none
            taken = taken | hit
            if torch.compiler.is_compiling():  # which takes no strided `out`
                places[part] = bits[part] & mask.to(whole)
            else:
                torch.bitwise_and(bits[part], mask.to(whole), out=places[part])
        return result

    return Plan(choose, (choice.src[1], *leaves))


def _first(choice: Node) -> _First | None:
    """What `place == least(where(condition, place, nowhere))` says, if a choice is made by that."""
    equal = choice.src[0]
    if equal.op is not ops.EQ or equal.src[1].op is not ops.EXPAND:
        return None
    place, narrow = equal.src[0], equal.src[1].src[0]
    least = narrow.src[0] if narrow.op is ops.RESHAPE else narrow
    if least.op is not ops.REDUCE or least.arg[0] is not ops.MINIMUM:
        return None
    found, axes = least.src[0], least.arg[1]
    last = tuple(range(choice.ndim - len(axes), choice.ndim))
    if found.op is not ops.WHERE or found.src[1] is not place or axes != last:
        return None
    if narrow.shape != (*least.shape, *(1 for _ in axes)):
        return None
    parts = _parts(choice.shape, axes)
    if not (1 < len(parts) <= FEW and least.size >= MANY and all(map(_is_constant, found.src[1:]))):
        return None
    places, nowhere = map(_constant, found.src[1:])
    numbers = [_number(x) for x in (*(places[part] for part in parts), nowhere)]
    known = [number for number in numbers if number is not None]
    rising = all(a < b for a, b in pairwise(known))
    return _First(found.src[0], parts) if rising and len(known) == len(numbers) else None


def _parts(shape: tuple[int, ...], axes: Sequence[int]) -> list[Part]:
    """An index for each position along `axes`, which takes all of the others."""
    if prod(shape[axis] for axis in axes) > FEW:
        return []
    extents = [range(n) if axis in axes else (slice(None),) for axis, n in enumerate(shape)]
    return list(product(*extents))


def _is_constant(leaf: Node, most: int = 20) -> bool:
    """Whether no parameter is read by the few nodes that compute this."""
    waiting = [leaf]
    for current in waiting:
        if len(waiting) > most or current.op in (ops.PARAM, ops.BUFFER):
            return False
        waiting += current.src
    return True


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


def _tree(condition: Node) -> tuple[tuple[Node, ...], Callable[[list[torch.Tensor]], torch.Tensor]]:
    """What a condition is computed of, and the function that does."""

    plans: dict[Node, Plan] = {}

    def inner(n: Node) -> tuple[Node, ...]:
        if not (n.op.elementwise and n.dtype is dtypes.bool_):
            return ()
        plans[n] = unequal(n) or Plan(TORCH[n.op](n), n.src)
        return plans[n].sources

    order = topological([condition], inner)
    steps = [(n, *plans[n][:2]) for n in order if n in plans]
    leaves = tuple(n for n in order if n not in plans)

    def evaluate(values: list[torch.Tensor]) -> torch.Tensor:
        found = dict(zip(leaves, values, strict=True))
        for n, function, sources in steps:
            found[n] = function(*(found[source] for source in sources))
        return found[condition]

    return leaves, evaluate


def _or_zero(n: Node) -> bool:
    """Whether a node is `where(condition, x, 0)` for floats, with no sign before the zero."""
    zero = n.src[-1]
    return n.dtype.is_float and zero.is_const and zero.arg == (0.0).hex()


def _undone(x: torch.Tensor, moves: Sequence[Node]) -> torch.Tensor:
    """A view of what movements have made, as it was before; RuntimeError if there is none."""
    for move in moves:
        if move.op is ops.RESHAPE:
            x = x.view(move.src[0].shape)
        else:
            x = x.permute([move.arg.index(axis) for axis in range(x.ndim)])
    return x
