"""What can be read off an index expression: its affine form, its bounds, the loops it depends on.

An index expression is a scalar node of dtype `index`, built by `index.py`: a sum of terms
`coefficient * atom` and a constant. Atoms are loop counters, quotients, remainders, products and
whatever else yields an index, such as a loaded and checked one. Facts are noted in the node.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from gradlet.base import dtypes
from gradlet.base.remembered import remembered
from gradlet.ir import ops
from gradlet.ir.node import Node, topological

Terms = tuple[tuple[Node, int], ...]
Span = tuple[int, int]

_UNKNOWN: Span = (dtypes.index.min, dtypes.index.max)
_LONGEST_KEY = 160
_NO_VARIABLES: frozenset[Node] = frozenset()


class Facts:
    """What is known of a node. None of it may hold the node alive, which is why atoms and ranges
    are never noted for themselves."""

    __slots__ = ("bounds", "form", "key", "variables")

    def __init__(self) -> None:
        self.form: tuple[Terms, int] | None = None
        self.bounds: Span | None = None
        self.variables: frozenset[Node] | None = None
        self.key: str | None = None


def _facts(x: Node) -> Facts:
    known: Facts | None = x.facts
    if known is None:
        known = x.facts = Facts()
    return known


def form(x: Node) -> tuple[Terms, int]:
    """The terms `(atom, coefficient)` of `x` in canonical order, and its constant."""
    op = x.op
    if op is ops.CONST:
        return (), x.arg
    if op is ops.ADD or (op is ops.MUL and x.src[1].op is ops.CONST):
        facts = _facts(x)
        if facts.form is None:
            facts.form = _collect(x)
        return facts.form
    return ((x, 1),), 0


def is_sum(x: Node) -> bool:
    """Whether `x` is more than one atom, so that its form says something."""
    op = x.op
    if op is not ops.ADD and (op is not ops.MUL or x.src[1].op is not ops.CONST):
        return False
    return x.dtype is dtypes.index and not x.shape


def remember_form(x: Node, terms: Terms, constant: int) -> None:
    """Notes the affine form of a sum or a multiple whose maker already knows it."""
    _facts(x).form = (terms, constant)


def _collect(x: Node) -> tuple[Terms, int]:
    coefficients: dict[Node, int] = {}
    constant = 0
    stack = [(x, 1)]
    while stack:
        current, factor = stack.pop()
        if current.op is ops.ADD:
            stack.extend((source, factor) for source in current.src)
        elif current.op is ops.MUL and current.src[1].op is ops.CONST:
            stack.append((current.src[0], factor * current.src[1].arg))
        elif current.op is ops.CONST:
            constant += factor * current.arg
        else:
            coefficients[current] = coefficients.get(current, 0) + factor
    return ordered(coefficients), constant


def ordered(coefficients: dict[Node, int]) -> Terms:
    """The terms that are not zero, in the canonical order."""
    terms = [term for term in coefficients.items() if term[1]]
    if len(terms) > 1:
        terms.sort(key=lambda term: sort_key(term[0]))
    return tuple(terms)


def affine(x: Node) -> tuple[dict[Node, int], int]:
    """The coefficient of each atom of `x`, and its constant."""
    terms, constant = form(x)
    return dict(terms), constant


@remembered
def coefficient(x: Node, var: Node) -> int | None:
    """How much `x` grows when the loop counter `var` grows by one.

    0 if `x` does not depend on it; None if it does and is not linear in it.
    """
    linear = 0
    for atom, factor in form(x)[0]:
        if atom is var:
            linear = factor
        elif var in variables(atom):
            return None
    return linear


def bounds(x: Node) -> Span:
    """The least and the largest value of an index expression, by interval arithmetic.

    They are reached where `x` is affine in loop counters; else they may be wider than need be.
    """
    facts = _facts(x)
    if facts.bounds is None:
        facts.bounds = _atom_bounds(x) if _is_atom(x) else span(*form(x))
    return facts.bounds


def span(terms: Terms, constant: int) -> Span:
    """The bounds of the sum of `terms` and `constant`."""
    low = high = constant
    for atom, factor in terms:
        smallest, largest = bounds(atom)
        if factor < 0:
            smallest, largest = largest, smallest
        low += factor * smallest
        high += factor * largest
    return low, high


def _is_atom(x: Node) -> bool:
    if x.op is ops.MUL:
        return x.src[1].op is not ops.CONST
    return x.op is not ops.ADD and x.op is not ops.CONST


def _atom_bounds(x: Node) -> Span:
    op = x.op
    if op is ops.RANGE:
        return 0, max(x.arg[1] - 1, 0)
    if op is ops.CHECKED:
        return 0, max(x.arg - 1, 0)
    if op in (ops.FLOORDIV, ops.MOD) and x.src[1].op is ops.CONST and x.src[1].arg > 0:
        low, high = bounds(x.src[0])
        divisor = x.src[1].arg
        if op is ops.FLOORDIV:
            return low // divisor, high // divisor
        same_period = low // divisor == high // divisor
        return (low % divisor, high % divisor) if same_period else (0, divisor - 1)
    if op is ops.MINIMUM:
        (low, high), (least, limit) = bounds(x.src[0]), bounds(x.src[1])
        return min(low, least), min(high, limit)
    if op is ops.MUL:
        corners = [a * b for a in bounds(x.src[0]) for b in bounds(x.src[1])]
        return min(corners), max(corners)
    if op is ops.CAST and not x.src[0].dtype.is_float and x.src[0].dtype is not dtypes.uint64:
        dtype = x.src[0].dtype
        return int(dtype.min), int(dtype.max)
    return _UNKNOWN


def variables(x: Node) -> frozenset[Node]:
    """The RANGEs that occur in `x`, which may be any node."""
    facts = x.facts
    if facts is not None and facts.variables is not None:
        return facts.variables
    found = _known_variables(x)
    if found is not None:
        return found
    for current in topological([x], lambda n: [s for s in n.src if _known_variables(s) is None]):
        sets = [_known_variables(source) or _NO_VARIABLES for source in current.src]
        found = max(sets, key=len)
        joined = found.union(*sets)
        if len(joined) > len(found):
            found = joined
        _facts(current).variables = found
    assert found is not None
    return found


def _known_variables(x: Node) -> frozenset[Node] | None:
    facts = x.facts
    if facts is not None and facts.variables is not None:
        known: frozenset[Node] = facts.variables
        return known
    if x.op is ops.RANGE:
        return frozenset((x,))
    return None if x.src else _NO_VARIABLES


def sort_key(x: Node) -> str:
    """Text that is the same in every run and differs between different nodes.

    It orders terms and conditions, so that equal expressions have equal parts in equal places.
    """
    facts = _facts(x)
    if facts.key is None:
        for current in topological([x], lambda n: () if _facts(n).key is not None else n.src):
            described = _facts(current)
            if described.key is None:
                described.key = _describe(current)
    assert facts.key is not None
    return facts.key


def _describe(x: Node) -> str:
    if x.op is ops.RANGE:
        name, size = x.arg
        return f"{name!r:>6}:{size}"
    if x.op is ops.CONST and x.dtype is dtypes.index:
        return str(x.arg)
    sources = ",".join(_facts(source).key or "" for source in x.src)
    text = f"{x.op}.{x.dtype.name}{list(x.shape) or ''}{'' if x.arg is None else x.arg}({sources})"
    if len(text) <= _LONGEST_KEY:
        return text
    return f"{x.op}#{hashlib.blake2b(text.encode(), digest_size=16).hexdigest()}"


_EVALUATE: dict[ops.Op, Callable[..., Any]] = {
    ops.ADD: lambda a, b: a + b,
    ops.SUB: lambda a, b: a - b,
    ops.NEG: lambda a: -a,
    ops.MUL: lambda a, b: a * b,
    ops.FLOORDIV: lambda a, b: a // b if b else 0,
    ops.MOD: lambda a, b: a % b if b else 0,
    ops.MINIMUM: min,
    ops.LT: lambda a, b: a < b,
    ops.LE: lambda a, b: a <= b,
    ops.EQ: lambda a, b: a == b,
    ops.AND: lambda a, b: a & b,
    ops.OR: lambda a, b: a | b,
    ops.XOR: lambda a, b: a ^ b,
    ops.WHERE: lambda condition, a, b: a if condition else b,
}


def evaluate(x: Node, values: dict[Node, int]) -> int | bool:
    """The value of an index expression or a condition where atoms have the given `values`.

    Raises KeyError where an atom has no value and none can be computed from its sources.
    """
    known: dict[Node, int | bool] = dict(values)
    computed = topological([x], lambda n: n.src if n.op in _EVALUATE and n not in values else ())
    for current in computed:
        if current in known:
            continue
        if current.op is ops.CONST:
            known[current] = current.value
        elif current.op in _EVALUATE:
            known[current] = _EVALUATE[current.op](*(known[source] for source in current.src))
        else:
            raise KeyError(f"no value was given for {current}")
    return known[x]
