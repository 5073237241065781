"""Sums, quotients and remainders of index expressions, in canonical form.

Division rounds down and remainders are never negative. Kernels rely on the rules stated at
`add`, `floordiv` and `mod`.
"""

from __future__ import annotations

from functools import lru_cache
from math import isqrt

from gradlet.base import dtypes
from gradlet.base.remembered import remembered
from gradlet.ir import ops
from gradlet.ir.bounds import Terms, form, ordered, remember_form, sort_key, span
from gradlet.ir.node import Node, node


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
    return total(coefficients, constant)


@remembered
def scale(x: Node | int, factor: int) -> Node:
    """`x * factor` for a number `factor`."""
    if isinstance(x, int):
        return const(x * factor)
    if factor == 1:
        return x
    terms, constant = form(x)
    return assemble(times(terms, factor), constant * factor)


def sub(a: Node | int, b: Node | int) -> Node:
    """`a - b`."""
    return add(a, -b if isinstance(b, int) else scale(b, -1))


@remembered
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


def times(terms: Terms, factor: int) -> Terms:
    return tuple((atom, c * factor) for atom, c in terms) if factor else ()


def total(coefficients: dict[Node, int], constant: int) -> Node:
    """The canonical node of a sum: of multiples of atoms, and a constant."""
    return _total(tuple(coefficients.items()), constant)


@remembered
def _total(terms: Terms, constant: int) -> Node:
    coefficients = dict(terms)
    if len(coefficients) > 1:
        joined = _join_remainder(coefficients)
        while joined is not None:
            parts, offset = form(joined)
            constant += offset
            for atom, factor in parts:
                coefficients[atom] = coefficients.get(atom, 0) + factor
            joined = _join_remainder(coefficients)
    return assemble(ordered(coefficients), constant)


@remembered
def assemble(terms: Terms, constant: int) -> Node:
    """The canonical node of terms that are already in order and cannot be joined."""
    if not terms:
        return const(constant)
    made: Node | None = None
    for atom, factor in terms:
        term = atom
        if factor != 1:
            term = node(ops.MUL, (atom, const(factor)), None, dtypes.index, ())
        if made is None:
            made = term
        else:
            made = node(ops.ADD, (made, term), None, dtypes.index, ())
    assert made is not None
    if constant:
        made = node(ops.ADD, (made, const(constant)), None, dtypes.index, ())
    if made is not terms[0][0]:
        remember_form(made, terms, constant)
    return made


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


@remembered
def minimum(x: Node, limit: int) -> Node:
    """The smaller of `x` and a number."""
    terms, constant = form(x)
    low, high = span(terms, constant)
    if high <= limit:
        return x
    if low >= limit:
        return const(limit)
    return node(ops.MINIMUM, (x, const(limit)), None, dtypes.index, ())


# Quotients and remainders


@remembered
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
    terms, constant = form(x)
    whole, terms = split(terms, n)
    quotient = _divide(terms, constant % n, n)
    offset = constant // n
    return add(assemble(whole, offset), quotient) if whole or offset else quotient


@remembered
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
    terms, constant = form(x)
    _, terms = split(terms, n)
    constant %= n
    low, high = span(terms, constant)
    if low // n == high // n:
        return assemble(terms, constant - low // n * n)
    for atom, c in terms:
        if atom.op is ops.MOD and c * atom.src[1].arg % n == 0:
            others = tuple(term for term in terms if term[0] is not atom)
            return mod(add(assemble(others, constant), scale(atom.src[0], c)), n)
    step = _common_step(terms, constant, n)
    if step is not None:
        g, upper, lower, bucket = step
        return add(scale(mod(upper, n // g), g), assemble(lower, constant - g * bucket))
    return node(ops.MOD, (assemble(terms, constant), const(n)), None, dtypes.index, ())


def split(terms: Terms, n: int) -> tuple[Terms, Terms]:
    """The terms as n * whole + rest, where the coefficients of rest are smaller than n.

    A coefficient and its remainder have one sign, so that bounds lose nothing.
    """
    if all(-n < c < n for _, c in terms):
        return (), terms
    whole = []
    rest = []
    for atom, c in terms:
        quotient = c // n if c > 0 else -(-c // n)
        if quotient:
            whole.append((atom, quotient))
        if c != quotient * n:
            rest.append((atom, c - quotient * n))
    return tuple(whole), tuple(rest)


def _divide(terms: Terms, constant: int, n: int) -> Node:
    """The quotient by n of what `split` leaves over."""
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
            return floordiv(add(scale(assemble(others, constant), a), atom.src[0]), a * n)
    if len(terms) == 1 and not constant:
        atom, c = terms[0]
        if c == 1 and atom.op is ops.MOD and atom.src[1].arg % n == 0:
            return mod(floordiv(atom.src[0], n), atom.src[1].arg // n)
    return node(ops.FLOORDIV, (assemble(terms, constant), const(n)), None, dtypes.index, ())


def _common_step(terms: Terms, constant: int, n: int) -> tuple[int, Node, Terms, int] | None:
    """A divisor g of n such that what g leaves of the terms stays inside one multiple of g.

    Returns (g, upper, lower, bucket): the sum is g * upper plus lower + constant - g * bucket,
    and the latter is in [0, g).
    """
    largest = max(abs(c) for _, c in terms)
    if largest == 1:
        return None
    for g in _divisors(n):
        if g > largest:
            continue
        upper, lower = split(terms, g)
        low, high = span(lower, constant)
        if low // g == high // g:
            return g, total(dict(upper), low // g), lower, low // g
    return None


@lru_cache(maxsize=4096)
def _divisors(n: int) -> tuple[int, ...]:
    """The divisors of n but 1 and n, the largest first."""
    small = [d for d in range(2, isqrt(n) + 1) if n % d == 0]
    return tuple(sorted({*small, *(n // d for d in small)}, reverse=True))
