"""The index language: which element a kernel touches, and where that element exists.

Integer arithmetic is `arithmetic.py`'s, facts about it are `bounds.py`'s, and where an element
exists is for `conditions.py` to say; this file has what is done to whole expressions, and the
names of all. Every function returns a simplified canonical form, so that equal expressions are,
wherever the rules can tell, the same node.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import prod

from gradlet.base import dtypes
from gradlet.base.remembered import remembered
from gradlet.ir import ops
from gradlet.ir.arithmetic import add, const, floordiv, loop, minimum, mod, mul, scale, sub, total
from gradlet.ir.bounds import (
    affine,
    bounds,
    coefficient,
    evaluate,
    form,
    is_sum,
    sort_key,
    variables,
)
from gradlet.ir.conditions import (
    FALSE,
    TRUE,
    and_,
    bounds_given,
    conjuncts,
    eq,
    ge,
    gt,
    interval_of,
    le,
    lt,
    narrow,
    ne,
    not_,
    or_,
    upper_limit,
)
from gradlet.ir.node import Node, topological, with_sources

# fmt: off
__all__ = [
    "FALSE", "TRUE", "Replacing", "add", "affine", "and_", "bounds", "bounds_given", "coefficient",
    "conjuncts", "const", "eq", "evaluate", "floordiv", "ge", "given", "gt", "interval_of", "le",
    "loop", "lt", "minimum", "mod", "mul", "ne", "not_", "or_", "ravel", "rebuild", "replace",
    "scale", "simplify", "sub", "unravel", "upper_limit", "variables",
]
# fmt: on


@remembered
def rebuild(current: Node, src: tuple[Node, ...]) -> Node:
    """The operation of `current` on other sources, simplified if it is index arithmetic."""
    op = current.op
    if not src or current.shape:
        return with_sources(current, src)
    if current.dtype is dtypes.index:
        return _rebuild_index(current, src)
    if op in _COMPARISONS and src[0].dtype is dtypes.index:
        return _COMPARISONS[op](*src)
    if op is ops.AND and current.dtype is dtypes.bool_:
        return and_(*src)
    if op is ops.OR and current.dtype is dtypes.bool_:
        return or_(*src)
    if op is ops.XOR and src[1] is TRUE:
        return not_(src[0])
    if op is ops.WHERE and src[0].op is ops.CONST:
        return src[1] if src[0].arg else src[2]
    if op is ops.FOLD_RANGES:
        return _rebuild_fold(current, src)
    return with_sources(current, src)


_COMPARISONS = {ops.LT: lt, ops.LE: le, ops.EQ: eq}


def _rebuild_index(current: Node, src: tuple[Node, ...]) -> Node:
    op = current.op
    if op is ops.ADD:
        return add(*src)
    if op is ops.SUB:
        return sub(*src)
    if op is ops.NEG:
        return scale(src[0], -1)
    if op is ops.MUL:
        return mul(*src)
    if op in (ops.FLOORDIV, ops.MOD) and src[1].op is ops.CONST and src[1].arg > 0:
        return floordiv(src[0], src[1].arg) if op is ops.FLOORDIV else mod(src[0], src[1].arg)
    if op is ops.MINIMUM and src[1].op is ops.CONST:
        return minimum(src[0], src[1].arg)
    if op is ops.CHECKED and src[0].dtype is dtypes.index:
        low, high = bounds(src[0])
        return src[0] if low >= 0 and high < current.arg else with_sources(current, src)
    if op is ops.CAST:
        return _to_index(current, src[0])
    if op is ops.WHERE and src[0].op is ops.CONST:
        return src[1] if src[0].arg else src[2]
    return with_sources(current, src)


def _to_index(current: Node, x: Node) -> Node:
    """A cast to `index`, which undoes a cast from it and is nothing to a number."""
    if x.dtype is dtypes.index:
        return x
    if x.op is ops.CAST and x.dtype is dtypes.int64 and x.src[0].dtype is dtypes.index:
        return x.src[0]
    if x.op is ops.CONST and not x.dtype.is_float:
        return const(x.arg)
    return with_sources(current, (x,))


def _rebuild_fold(current: Node, src: tuple[Node, ...]) -> Node:
    """A FOLD_RANGES over the loops that its replaced loops are made of."""
    value, *folded = src
    ranges: list[Node] = []
    for x in folded:
        ranges.extend(sorted(variables(x), key=sort_key))
    before = prod(x.arg[1] for x in current.src[1:] if x.op is ops.RANGE)
    if len(set(ranges)) != len(ranges) or prod(x.arg[1] for x in ranges) != before:
        raise ValueError(f"FOLD_RANGES over {current.src[1:]} cannot run over {folded} instead")
    return with_sources(current, (value, *ranges)) if ranges else value


def replace(x: Node, replacements: dict[Node, Node]) -> Node:
    """`x`, any expression of a kernel, with loop counters standing as other expressions.

    A FOLD_RANGES over a replaced loop folds over the loops of what replaces it; ValueError if
    those do not make the same number of steps.
    """
    return Replacing(replacements)(x)


class Replacing:
    """`replace` for many expressions, whose common parts are replaced once."""

    def __init__(self, replacements: dict[Node, Node]) -> None:
        self.targets = frozenset(replacements)
        self.replaced = dict(replacements)

    def __call__(self, x: Node) -> Node:
        replaced = self.replaced
        found = replaced.get(x)
        if found is not None:
            return found
        if self.targets.isdisjoint(variables(x)):
            return x
        if is_sum(x):
            found = replaced[x] = self._sum(x)
            return found
        for current in topological([x], self._waiting):
            if current not in replaced:
                if is_sum(current):
                    replaced[current] = self._sum(current)
                    continue
                src = tuple([replaced.get(source, source) for source in current.src])
                replaced[current] = current if src == current.src else rebuild(current, src)
        return replaced[x]

    def _waiting(self, x: Node) -> Iterable[Node]:
        """The sources of `x` that may have to be replaced before it."""
        if x in self.replaced or self.targets.isdisjoint(variables(x)) or is_sum(x):
            return ()
        return x.src

    def _sum(self, x: Node) -> Node:
        """A sum or a multiple, from its terms at once."""
        terms, constant = form(x)
        coefficients: dict[Node, int] = {}
        for atom, factor in terms:
            parts, offset = form(self(atom))
            constant += factor * offset
            for part, times in parts:
                coefficients[part] = coefficients.get(part, 0) + factor * times
        return total(coefficients, constant)


def simplify(x: Node) -> Node:
    """`x`, any expression of a kernel, with all its index arithmetic in canonical form."""
    simplified: dict[Node, Node] = {}
    for current in topological([x]):
        src = tuple(simplified[source] for source in current.src)
        simplified[current] = rebuild(current, src)
    return simplified[x]


def given(condition: Node, x: Node) -> Node:
    """`x` simplified for where `condition` holds; elsewhere the result means nothing.

    Each part `low <= e <= high` that holds one loop counter linearly with coefficient 1 or -1
    is used: that counter is written in terms of a new one for `e`, and back again.
    """
    intervals: dict[Node, tuple[int, int]] = {}
    for part in conjuncts(condition):
        interval = interval_of(part)
        if interval is not None and not narrow(intervals, *interval):
            return x
    for e, (low, high) in intervals.items():
        if not variables(e).isdisjoint(variables(x)):
            x = _within(e, low, high, x)
    return x


def _within(e: Node, low: int, high: int, x: Node) -> Node:
    for var, c in form(e)[0]:
        if var.op is ops.RANGE and abs(c) == 1 and coefficient(e, var) == c:
            counter = loop("given", high - low + 1)
            others = sub(e, scale(var, c))
            tightened = replace(x, {var: scale(sub(add(counter, low), others), c)})
            return replace(tightened, {counter: sub(e, low)})
    return x


def unravel(flat: Node | int, shape: Sequence[int]) -> tuple[Node, ...]:
    """The index along each axis of `shape` of the element at row-major position `flat`."""
    indices = []
    stride = 1
    for axis, size in reversed(list(enumerate(shape))):
        index = floordiv(flat, stride)
        indices.append(mod(index, max(size, 1)) if axis else index)
        stride *= max(size, 1)
    return tuple(reversed(indices))


def ravel(indices: Sequence[Node | int], shape: Sequence[int]) -> Node:
    """The row-major position in `shape` of the element at `indices`."""
    return _ravel(tuple(indices), tuple(shape))


@remembered
def _ravel(indices: tuple[Node | int, ...], shape: tuple[int, ...]) -> Node:
    coefficients: dict[Node, int] = {}
    constant = 0
    stride = 1
    for index, size in zip(reversed(indices), reversed(shape), strict=True):
        if isinstance(index, int):
            constant += stride * index
        else:
            terms, offset = form(index)
            constant += stride * offset
            for atom, factor in terms:
                coefficients[atom] = coefficients.get(atom, 0) + stride * factor
        stride *= size
    return total(coefficients, constant)
