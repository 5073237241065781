"""x to the y of float32 and float64 in elementwise ops, with all special cases of C's pow.

x**y is 2**(y log2 |x|), and that exponent must be known to more digits than the type has: float32
goes by way of float64, where there is such a type, and otherwise sums of two numbers are carried,
products of whose first are exact (the method of FDLIBM's e_pow.c, 1993). Coefficients are minimax
fits made for gradlet.
"""

from __future__ import annotations

import math

from gradlet.base import dtypes
from gradlet.ir import ops
from gradlet.ir.build import add, binary, bitcast, cast, div, full_like, mul, sub, unary, where
from gradlet.ir.node import Node
from gradlet.lower.floats import (
    bits_of,
    choose,
    clamp,
    equal,
    head,
    less,
    magnitude,
    masked,
    nearest_whole,
    plus,
    polynomial,
    shifted_left,
    split,
    times,
)
from gradlet.lower.transcendental import power_of_two

_LOG2 = (  # log2(1 + f) / f for float32, to 2**-38
    1.442695040886558, -0.7213475203270583, 0.48089834881220156, -0.36067379324084725,
    0.2885387949122251, -0.24044642718994202, 0.2061071465708894, -0.18043691796120875,
    0.16021642955753623, -0.14249664395224973, 0.13027577209171437, -0.1346386476997302,
    0.13251838859719892, -0.06973312589815725,
)  # fmt: skip
_EXP2 = (  # 2**r for float32, to 2**-34
    0.9999999999616141, 0.6931471807287141, 0.2402265119877796, 0.05550410352853351,
    0.00961802717016503, 0.0013333922836760996, 0.0001546931805464274, 1.5201905617864376e-05,
)  # fmt: skip
_LOG = (  # (3 atanh(s) / s - 3 - z) / z**2, a function of z = s**2, to 2**-73
    0.5999999999999996, 0.4285714285716795, 0.3333333332623364, 0.2727272831437355,
    0.23076834688702647, 0.20004500233427322, 0.17511732729728088, 0.17987682824203335,
)  # fmt: skip
# 2 / (3 ln 2), for each type a head of it and what that leaves.
_SCALE = 0.9617966939259756
_SCALE_PARTS = {
    dtypes.float32: (0.961669921875, 0.00012677205097561394),
    dtypes.float64: (0.961796760559082, -6.663310642634338e-08),
}
_LARGEST_POWER = {dtypes.float32: 200.0, dtypes.float64: 1100.0}  # of 2, and more than there is


def pow_(x: Node, y: Node, alone: bool = False) -> Node:
    """x to the y; `alone` without float64 where x is none.

    An exponent beyond 2**66 only says whether the result is 0, 1 or inf.
    """
    base = magnitude(x)
    bounded = clamp(y, -(2.0**66), 2.0**66)
    power = _power_in_parts if alone or x.dtype is dtypes.float64 else _power_float32
    return _special(x, base, y, power(base, bounded))


def _power_float32(base: Node, y: Node) -> Node:
    """base**y for positive finite base, in float64."""
    m, e = split(base)
    f = cast(plus(m, -1.0), dtypes.float64)
    logarithm = add(mul(f, polynomial(f, _LOG2)), cast(e, dtypes.float64))
    exponent = clamp(mul(cast(y, dtypes.float64), logarithm), -200.0, 200.0)
    n, whole = nearest_whole(exponent)
    scaled = add(bits_of(polynomial(sub(exponent, n), _EXP2)), shifted_left(whole, 52))
    return cast(bitcast(scaled, dtypes.float64), dtypes.float32)


def _power_in_parts(base: Node, y: Node) -> Node:
    """base**y for positive finite base: y (high + low) with log2 base = high + low."""
    high, low = _log2_in_parts(base)
    y_head = head(y)
    rest = add(mul(sub(y, y_head), high), mul(y, low))
    leading = mul(y_head, high)
    largest = _LARGEST_POWER[y.dtype]
    n, whole = nearest_whole(clamp(add(leading, rest), -largest, largest))
    r = clamp(add(sub(leading, n), rest), -1.0, 1.0)  # outside only if the result is 0 or inf
    return power_of_two(r, whole)


def _log2_in_parts(base: Node) -> tuple[Node, Node]:
    """log2 of a positive finite number as a head and the rest, of a float64 to some 65 bits.

    ln m = 2 s (1 + z/3 + z**2 R(z) / 3) for s = f / (2 + f), z = s**2 and f = m - 1. Wherever a
    head is taken the rest is computed from the exact product of heads.
    """
    m, e = split(base)
    f = plus(m, -1.0)
    below = plus(m, 1.0)
    s = div(f, below)
    s_head = head(s)
    below_head = head(below)
    below_tail = sub(m, plus(below_head, -1.0))
    s_tail = div(sub(sub(f, mul(s_head, below_head)), mul(s_head, below_tail)), below)
    z = mul(s, s)
    z_head = mul(s_head, s_head)
    r = add(mul(mul(z, z), polynomial(z, _LOG)), mul(s_tail, add(s_head, s)))
    t_head = head(add(plus(z_head, 3.0), r))
    t_tail = sub(r, sub(plus(t_head, -3.0), z_head))
    product = mul(s_head, t_head)
    product_tail = add(mul(s_tail, t_head), mul(t_tail, s))
    p_head = head(add(product, product_tail))
    p_tail = sub(product_tail, sub(p_head, product))
    scale_head, scale_tail = _SCALE_PARTS[base.dtype]
    scaled = times(p_head, scale_head)
    scaled_tail = add(times(p_head, scale_tail), times(p_tail, _SCALE))
    high = head(add(add(scaled, scaled_tail), e))
    return high, sub(scaled_tail, sub(sub(high, e), scaled))


def _special(x: Node, base: Node, y: Node, power: Node) -> Node:
    """The cases that C names, from what |x|**y is for positive finite x and bounded y."""
    zero, falls = equal(base, 0.0), less(y, 0.0)
    outside = choose(binary(ops.EQ, zero, falls), math.inf, full_like(x, 0.0))
    extreme = binary(ops.OR, zero, equal(base, math.inf))
    result = where(extreme, outside, power)
    whole = equal(unary(ops.FLOOR, y), y)
    half = times(y, 0.5)
    odd = binary(ops.AND, whole, less(unary(ops.FLOOR, half), half))
    bits = bits_of(result)
    signed = binary(ops.XOR, bits, masked(bits_of(x), bits.dtype.min))
    result = where(odd, bitcast(signed, x.dtype), result)
    positive = binary(ops.LE, full_like(x, 0.0), x)
    real = binary(ops.OR, binary(ops.OR, positive, whole), extreme)
    known = binary(ops.AND, equal(x, x), equal(y, y))
    result = where(binary(ops.AND, real, known), result, full_like(x, math.nan))
    always = binary(ops.OR, equal(y, 0.0), equal(x, 1.0))
    return choose(always, 1.0, result)
