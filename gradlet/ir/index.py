"""The index language: which element a kernel touches, and where that element exists.

Every function here returns a simplified canonical form, so that equal expressions are, wherever
these rules can tell, the same node. Division rounds down and remainders are never negative.
Kernels rely on the rules stated at `floordiv`, `mod` and `add`.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import gcd, prod

from gradlet.base import dtypes
from gradlet.ir import ops
from gradlet.ir.bounds import (
    Terms,
    affine,
    bounds,
    coefficient,
    evaluate,
    form,
    ordered,
    remember_form,
    sort_key,
    span,
    variables,
)
from gradlet.ir.node import Node, node, topological, with_sources

__all__ = [
    "FALSE", "TRUE", "add", "affine", "and_", "bounds", "coefficient", "const", "eq", "evaluate",
    "floordiv", "ge", "given", "gt", "le", "loop", "lt", "mod", "mul", "ne", "not_", "or_",
    "ravel", "rebuild", "replace", "scale", "simplify", "sub", "unravel", "variables",
]  # fmt: skip

TRUE = node(ops.CONST, (), True, dtypes.bool_, ())
FALSE = node(ops.CONST, (), False, dtypes.bool_, ())


def const(value: int) -> Node:
    """The number `value`."""
    return node(ops.CONST, (), int(value), dtypes.index, ())


def loop(name: str | int, size: int) -> Node:
    """A counter that runs over 0, 1, ..., size - 1; the constant 0 if that is all it does."""
    return const(0) if size == 1 else node(ops.RANGE, (), (name, size), dtypes.index, ())


# Sums


def add(*terms: Node | int) -> Node:
    """The sum of `terms`: like atoms merged, `a * (x // a) + x % a` joined to `x`."""
    coefficients: dict[Node, int] = {}
    constant = 0
    for term in terms:
        if isinstance(term, int):
            constant += term
            continue
        parts, offset = form(term)
        constant += offset
        for atom, factor in parts:
            coefficients[atom] = coefficients.get(atom, 0) + factor
    return _sum(coefficients, constant)


def scale(x: Node | int, factor: int) -> Node:
    """`x * factor` for a number `factor`."""
    if isinstance(x, int):
        return const(x * factor)
    if factor == 1:
        return x
    terms, constant = form(x)
    return _assemble(_times(terms, factor), constant * factor)


def sub(a: Node | int, b: Node | int) -> Node:
    """`a - b`."""
    return add(a, -b if isinstance(b, int) else scale(b, -1))


def mul(a: Node | int, b: Node | int) -> Node:
    """`a * b`; the product of two that both vary is an atom."""
    if isinstance(a, int):
        return scale(b, a)
    if isinstance(b, int):
        return scale(a, b)
    if a.op is ops.CONST:
        return scale(b, a.arg)
    if b.op is ops.CONST:
        return scale(a, b.arg)
    first, second = sorted((a, b), key=sort_key)
    return node(ops.MUL, (first, second), None, dtypes.index, ())


def _times(terms: Terms, factor: int) -> Terms:
    return tuple((atom, c * factor) for atom, c in terms) if factor else ()


def _sum(coefficients: dict[Node, int], constant: int) -> Node:
    if len(coefficients) > 1:
        joined = _join_remainder(coefficients)
        while joined is not None:
            terms, offset = form(joined)
            constant += offset
            for atom, factor in terms:
                coefficients[atom] = coefficients.get(atom, 0) + factor
            joined = _join_remainder(coefficients)
    return _assemble(ordered(coefficients), constant)


def _assemble(terms: Terms, constant: int) -> Node:
    """The canonical node of terms that are already in order and cannot be joined."""
    if not terms:
        return const(constant)
    total: Node | None = None
    for atom, factor in terms:
        term = atom
        if factor != 1:
            term = node(ops.MUL, (atom, const(factor)), None, dtypes.index, ())
        if total is None:
            total = term
        else:
            total = node(ops.ADD, (total, term), None, dtypes.index, ())
    assert total is not None
    if constant:
        total = node(ops.ADD, (total, const(constant)), None, dtypes.index, ())
    if total is not terms[0][0]:
        remember_form(total, terms, constant)
    return total


def _join_remainder(coefficients: dict[Node, int]) -> Node | None:
    """Takes a remainder and its quotient out of `coefficients`; returns what they add up to.

    k*a*(x//a) + k*(x%a) is k*x, and k*a*((w + x//a) % b) + k*(x%a) is k*((a*w + x) % (a*b)).
    """
    for low, k in coefficients.items():
        if low.op is not ops.MOD or not k:
            continue
        x, a = low.src[0], low.src[1].arg
        if k * a not in coefficients.values():
            continue
        quotient = floordiv(x, a)
        if coefficients.get(quotient) == k * a:
            del coefficients[low], coefficients[quotient]
            return scale(x, k)
        for high, factor in coefficients.items():
            if factor == k * a and high.op is ops.MOD:
                inner, b = high.src[0], high.src[1].arg
                if (quotient, 1) in form(inner)[0]:
                    del coefficients[low], coefficients[high]
                    whole = add(scale(sub(inner, quotient), a), x)
                    return scale(mod(whole, a * b), k)
    return None


# Quotients and remainders


def floordiv(x: Node | int, n: int) -> Node:
    """`x // n`, rounded down, for n >= 1.

    (a*n*i + r) // n is a*i + r // n, and r // n is a number where the bounds of r allow but one;
    (g*x + r) // (g*n) is x // n where r stays inside one multiple of g; (y + x // a) // n is
    (a*y + x) // (a*n); and (x % (a*n)) // n is (x // n) % a.
    """
    if n < 1:
        raise ValueError(f"floordiv: the divisor of an index must be positive, not {n}")
    if isinstance(x, int):
        return const(x // n)
    if n == 1:
        return x
    whole, terms, constant = _split(x, n)
    quotient = _divide(terms, constant % n, n)
    offset = constant // n
    return add(_assemble(whole, offset), quotient) if whole or offset else quotient


def mod(x: Node | int, n: int) -> Node:
    """`x % n`, in [0, n), for n >= 1.

    Multiples of n vanish; x % n is x where its bounds allow; (g*x + r) % (g*n) is
    g*(x % n) + r where 0 <= r < g; and (x % (a*n)) % n is x % n.
    """
    if n < 1:
        raise ValueError(f"mod: the divisor of an index must be positive, not {n}")
    if isinstance(x, int):
        return const(x % n)
    if n == 1:
        return const(0)
    _, terms, constant = _split(x, n)
    constant %= n
    low, high = span(terms, constant)
    if low // n == high // n:
        return _assemble(terms, constant - low // n * n)
    for atom, c in terms:
        if atom.op is ops.MOD and c * atom.src[1].arg % n == 0:
            others = tuple(term for term in terms if term[0] is not atom)
            return mod(add(_assemble(others, constant), scale(atom.src[0], c)), n)
    step = _common_step(terms, constant, n)
    if step is not None:
        g, upper, lower, bucket = step
        return add(scale(mod(upper, n // g), g), _assemble(lower, constant - g * bucket))
    return node(ops.MOD, (_assemble(terms, constant), const(n)), None, dtypes.index, ())


def _split(x: Node, n: int) -> tuple[Terms, Terms, int]:
    """x as n * whole + rest + constant, where the coefficients of rest are smaller than n.

    A coefficient and its remainder have one sign, so that bounds lose nothing.
    """
    terms, constant = form(x)
    if all(-n < c < n for _, c in terms):
        return (), terms, constant
    whole = []
    rest = []
    for atom, c in terms:
        quotient = c // n if c > 0 else -(-c // n)
        if quotient:
            whole.append((atom, quotient))
        if c != quotient * n:
            rest.append((atom, c - quotient * n))
    return tuple(whole), tuple(rest), constant


def _divide(terms: Terms, constant: int, n: int) -> Node:
    """The quotient by n of what `_split` leaves over."""
    low, high = span(terms, constant)
    if low // n == high // n:
        return const(low // n)
    step = _common_step(terms, constant, n)
    if step is not None:
        g, upper, _, _ = step
        return floordiv(upper, n // g)
    for atom, c in terms:
        if atom.op is ops.FLOORDIV and c == 1:
            a = atom.src[1].arg
            others = tuple(term for term in terms if term[0] is not atom)
            return floordiv(add(scale(_assemble(others, constant), a), atom.src[0]), a * n)
    if len(terms) == 1 and not constant:
        atom, c = terms[0]
        if c == 1 and atom.op is ops.MOD and atom.src[1].arg % n == 0:
            return mod(floordiv(atom.src[0], n), atom.src[1].arg // n)
    return node(ops.FLOORDIV, (_assemble(terms, constant), const(n)), None, dtypes.index, ())


def _common_step(terms: Terms, constant: int, n: int) -> tuple[int, Node, Terms, int] | None:
    """A divisor g of n such that the terms g does not divide stay inside one multiple of g.

    Returns (g, upper, lower, bucket): the sum is g * upper plus lower + constant - g * bucket,
    and the latter is in [0, g).
    """
    divisors = {gcd(c, n) for _, c in terms}
    for g in sorted(divisors, reverse=True):
        if g == 1:
            return None
        lower = tuple(term for term in terms if term[1] % g)
        low, high = span(lower, constant)
        if low // g == high // g:
            upper = tuple((atom, c // g) for atom, c in terms if c % g == 0)
            return g, _sum(dict(upper), low // g), lower, low // g
    return None


# Conditions


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
        return _at_most(_times(terms, -1), -wanted)
    return node(ops.EQ, (_assemble(terms, 0), const(wanted)), None, dtypes.bool_, ())


def ne(a: Node | int, b: Node | int) -> Node:
    """`a != b`."""
    return not_(eq(a, b))


def _at_most(terms: Terms, limit: int) -> Node:
    """The sum of `terms` <= limit, as `sum <= number` or `number <= sum`."""
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
    if terms[0][1] > 0:
        sides = (_assemble(terms, 0), const(limit))
    else:
        sides = (const(-limit), _assemble(_times(terms, -1), 0))
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
        interval = _interval(part)
        if interval is None:
            kept[part] = None
        elif not _narrow(intervals, *interval):
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


def _narrow(intervals: dict[Node, tuple[int, int]], x: Node, low: int, high: int) -> bool:
    """Notes that low <= x <= high; False if that contradicts what was noted before."""
    known_low, known_high = intervals.get(x, (low, high))
    intervals[x] = (max(low, known_low), min(high, known_high))
    return intervals[x][0] <= intervals[x][1]


def _interval(condition: Node) -> tuple[Node, int, int] | None:
    """(x, low, high) if `condition` says just low <= x <= high for an index expression x."""
    if condition.op not in (ops.LE, ops.EQ) or condition.src[0].dtype is not dtypes.index:
        return None
    left, right = condition.src
    if left.op is ops.CONST:
        return right, left.arg, bounds(right)[1]
    low = right.arg if condition.op is ops.EQ else bounds(left)[0]
    return left, low, right.arg


# Whole expressions


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
    if op is ops.CHECKED and src[0].dtype is dtypes.index:
        low, high = bounds(src[0])
        return src[0] if 0 <= low and high < current.arg else with_sources(current, src)
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
    targets = replacements.keys()
    replaced: dict[Node, Node] = dict(replacements)
    affected = topological([x], lambda n: () if targets.isdisjoint(variables(n)) else n.src)
    for current in affected:
        if current not in replaced:
            src = tuple(replaced.get(source, source) for source in current.src)
            replaced[current] = current if src == current.src else rebuild(current, src)
    return replaced[x]


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
    for part in _flatten(ops.AND, (condition,)):
        interval = _interval(part)
        if interval is not None and not _narrow(intervals, *interval):
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
    terms = []
    stride = 1
    for index, size in zip(reversed(indices), reversed(shape), strict=True):
        terms.append(scale(index, stride))
        stride *= size
    return add(*terms)
