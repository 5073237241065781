"""Conditions on index expressions: where an element exists.

Those on one expression are merged to one interval of it, so that equal conditions are, wherever
the rules can tell, the same node.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import gcd

from gradlet.base import dtypes
from gradlet.ir import ops
from gradlet.ir.arithmetic import add, assemble, const, split, sub, times, total
from gradlet.ir.bounds import Terms, bounds, form, sort_key, span
from gradlet.ir.node import Node, node

TRUE = node(ops.CONST, (), True, dtypes.bool_, ())
FALSE = node(ops.CONST, (), False, dtypes.bool_, ())


def le(a: Node | int, b: Node | int) -> Node:
    """`a <= b`."""
    terms, constant = form(sub(a, b))
    return _at_most(terms, -constant)


def lt(a: Node | int, b: Node | int) -> Node:
    """`a < b`."""
    terms, constant = form(sub(a, b))
    return _at_most(terms, -constant - 1)


def ge(a: Node | int, b: Node | int) -> Node:
    """`a >= b`."""
    return le(b, a)


def gt(a: Node | int, b: Node | int) -> Node:
    """`a > b`."""
    return lt(b, a)


def eq(a: Node | int, b: Node | int) -> Node:
    """`a == b`; at the edge of what `a - b` can be it is an inequality."""
    terms, constant = form(sub(a, b))
    if not terms:
        return FALSE if constant else TRUE
    divisor = gcd(*(c for _, c in terms))
    if constant % divisor:
        return FALSE
    if terms[0][1] < 0:
        divisor = -divisor
    terms = tuple((atom, c // divisor) for atom, c in terms)
    wanted = -constant // divisor
    low, high = span(terms, 0)
    if wanted <= low:
        return _at_most(terms, wanted)
    if wanted >= high:
        return _at_most(times(terms, -1), -wanted)
    return node(ops.EQ, (assemble(terms, 0), const(wanted)), None, dtypes.bool_, ())


def ne(a: Node | int, b: Node | int) -> Node:
    """`a != b`."""
    return not_(eq(a, b))


def _at_most(terms: Terms, limit: int) -> Node:
    """The sum of `terms` <= limit, as `sum <= number` or `number <= sum`.

    g*x + r <= limit is x <= limit // g where r makes no difference, as in a split loop's tail.
    """
    if not terms:
        return TRUE if limit >= 0 else FALSE
    divisor = gcd(*(c for _, c in terms))
    if divisor > 1:
        terms = tuple((atom, c // divisor) for atom, c in terms)
        limit //= divisor
    low, high = span(terms, 0)
    if high <= limit:
        return TRUE
    if low > limit:
        return FALSE
    for step in sorted({abs(c) for _, c in terms} - {1}, reverse=True):
        upper, lower = split(terms, step)
        low, high = span(lower, 0)
        if (limit - low) // step == (limit - high) // step:
            return le(total(dict(upper), 0), (limit - low) // step)
    if terms[0][1] > 0:
        sides = (assemble(terms, 0), const(limit))
    else:
        sides = (const(-limit), assemble(times(terms, -1), 0))
    return node(ops.LE, sides, None, dtypes.bool_, ())


def not_(condition: Node) -> Node:
    """The opposite of `condition`."""
    if condition.op is ops.CONST:
        return FALSE if condition.arg else TRUE
    if condition.op is ops.LE and condition.src[0].dtype is dtypes.index:
        return lt(condition.src[1], condition.src[0])
    if condition.op is ops.XOR and condition.src[1] is TRUE:
        return condition.src[0]
    return node(ops.XOR, (condition, TRUE), None, dtypes.bool_, ())


def and_(*conditions: Node) -> Node:
    """Whether all `conditions` hold; those on one expression are merged to one interval."""
    parts = _conjuncts(_flatten(ops.AND, conditions))
    return FALSE if parts is None else _chain(ops.AND, parts, TRUE)


def or_(*conditions: Node) -> Node:
    """Whether any of `conditions` holds."""
    parts = _conjuncts([not_(part) for part in _flatten(ops.OR, conditions)])
    return TRUE if parts is None else _chain(ops.OR, [not_(part) for part in parts], FALSE)


def conjuncts(condition: Node) -> list[Node]:
    """The conditions that all have to hold for `condition` to hold."""
    return _flatten(ops.AND, (condition,))


def _flatten(op: ops.Op, conditions: Sequence[Node]) -> list[Node]:
    parts: list[Node] = []
    stack = list(reversed(conditions))
    while stack:
        condition = stack.pop()
        if condition.op is op:
            stack.extend(reversed(condition.src))
        else:
            parts.append(condition)
    return parts


def _chain(op: ops.Op, parts: list[Node], empty: Node) -> Node:
    if not parts:
        return empty
    first, *rest = sorted(parts, key=sort_key) if len(parts) > 1 else parts
    for part in rest:
        first = node(op, (first, part), None, dtypes.bool_, ())
    return first


def _conjuncts(conditions: list[Node]) -> list[Node] | None:
    """The different conditions that must all hold, or None if they cannot."""
    parts = dict.fromkeys(part for part in conditions if part is not TRUE)
    if FALSE in parts:
        return None
    if len(parts) < 2:
        return list(parts)
    intervals: dict[Node, tuple[int, int]] = {}
    kept: dict[Node, None] = {}
    for part in parts:
        interval = interval_of(part)
        if interval is None:
            kept[part] = None
        elif not narrow(intervals, *interval):
            return None
    for part in parts:
        if part.op is ops.XOR and part.src[1] is TRUE and part.src[0] in parts:
            return None
    if len(kept) + len(intervals) == len(parts):
        return list(parts)
    for x, (low, high) in intervals.items():
        between = (eq(x, low),) if low == high else (le(low, x), le(x, high))
        kept.update((part, None) for part in between if part is not TRUE)
    return list(kept)


def narrow(intervals: dict[Node, tuple[int, int]], x: Node, low: int, high: int) -> bool:
    """Notes that low <= x <= high; False if that contradicts what was noted before."""
    known_low, known_high = intervals.get(x, (low, high))
    intervals[x] = (max(low, known_low), min(high, known_high))
    return intervals[x][0] <= intervals[x][1]


def interval_of(condition: Node) -> tuple[Node, int, int] | None:
    """(x, low, high) if `condition` says just low <= x <= high for an index expression x."""
    if condition.op not in (ops.LE, ops.EQ) or condition.src[0].dtype is not dtypes.index:
        return None
    left, right = condition.src
    if left.op is ops.CONST:
        return right, left.arg, bounds(right)[1]
    low = right.arg if condition.op is ops.EQ else bounds(left)[0]
    return left, low, right.arg


def bounds_given(condition: Node, x: Node) -> tuple[int, int]:
    """Bounds of `x` where `condition`, which is about `x` itself but for a constant, holds."""
    low, high = bounds(x)
    interval = interval_of(condition)
    if interval is not None:
        e, least, most = interval
        if (ahead := sub(x, e)).op is ops.CONST:
            return max(low, least + ahead.arg), min(high, most + ahead.arg)
        if (both := add(x, e)).op is ops.CONST:
            return max(low, both.arg - most), min(high, both.arg - least)
    return low, high


def upper_limit(condition: Node, counter: Node) -> int | None:
    """The n of a condition that says just `counter <= n`, else None."""
    interval = interval_of(condition)
    return interval[2] if interval is not None and interval[:2] == (counter, 0) else None
