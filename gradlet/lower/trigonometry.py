"""sin and cos of float32 and float64 in elementwise ops.

The argument less the nearest multiple n of pi/2 leaves r in [-pi/4, pi/4]; a polynomial gives sin r
or cos r, and n says which and with what sign (Cody & Waite 1980). pi/2 is written as a sum of
parts so short that n times each is exact. Where |x| is too large for that, x * 2/pi is formed in
pieces instead, from as many digits of 2/pi as matter (Payne & Hanek 1983). Such numbers are rare:
the renderer skips that computation where no lane needs it.
"""

from __future__ import annotations

import math

from gradlet.base import dtypes
from gradlet.ir import ops
from gradlet.ir.build import add, binary, bitcast, cast, full_like, mul, sub, unary
from gradlet.ir.node import Node, node
from gradlet.lower.circle import reduce_in_integers
from gradlet.lower.floats import (
    FLOAT32,
    FORMATS,
    bits_of,
    choose,
    equal,
    less,
    magnitude,
    masked,
    nearest_whole,
    plus,
    polynomial,
    shifted_left,
    times,
)

# pi/2 in parts of 14 and of 33 bits, to be multiplied by n < 2**10 and by n < 2**20, which the
# limits of |x| ensure. All are positive, to keep the sign of -0.0.
_HALF_PI = {
    dtypes.float32: (
        1.5706787109375, 0.00011761486530303955, 9.920313459588215e-10, 6.223372171896613e-14,
    ),
    dtypes.float64: (
        1.5707963267341256, 6.077100506303966e-11, 2.0222662487111665e-21, 8.4784276603689e-32,
    ),
}  # fmt: skip
_LIMIT = {dtypes.float32: 1600.0, dtypes.float64: 1.6e6}
# 2/pi: five pieces of 29 bits, whose product with a float32 is exact in float64, and the rest.
_TWO_OVER_PI = tuple(
    float.fromhex(digits)
    for digits in (
        "0x1.45f306dp-1", "0x1.9391054p-30", "0x1.4fe13abp-59", "0x1.d1f534dp-88",
        "0x1.b81b6c5p-117", "0x1.5993c439041fep-148",
    )
)  # fmt: skip
# Minimax fits in z = r**2 of sin(r) / r and cos(r) on [-pi/4, pi/4].
_SINE = {
    dtypes.float32: (1.0, -0.16666653752326965, 0.008332106284797192, -0.00019507836259435862),
    dtypes.float64: (
        1.0, -0.1666666666666663, 0.00833333333332184, -0.00019841269829358409,
        2.75573135384286e-06, -2.505073436575191e-08, 1.589543113777429e-10,
    ),
}  # fmt: skip
_COSINE = {
    dtypes.float32: (
        1.0, -0.5, 0.041666653007268906, -0.0013887608656659722, 2.4461520297336392e-05,
    ),
    dtypes.float64: (
        1.0, -0.5, 0.04166666666666659, -0.0013888888888866457, 2.4801587282539665e-05,
        -2.755731195157163e-07, 2.0875362034685148e-09, -1.1339762196909168e-11,
    ),
}  # fmt: skip


def sin(x: Node, alone: bool = False) -> Node:
    """The sine of x radians; `alone` without float64 and the C library."""
    return _sine(x, 0, alone)


def cos(x: Node, alone: bool = False) -> Node:
    """The cosine of x radians: the sine a quarter turn further on."""
    return _sine(x, 1, alone)


def _sine(x: Node, further: int, alone: bool) -> Node:
    """sin(x + further * pi/2)."""
    n, quarters = nearest_whole(x, 2 / math.pi)
    r = x
    for part in _HALF_PI[x.dtype]:
        r = sub(r, times(n, part))
    usual = _of_reduced(r, plus(quarters, further) if further else quarters)
    if alone or x.dtype is dtypes.float32:
        r, quarters = reduce_in_integers(x) if alone else _reduce_large(x)
        large = _of_reduced(r, plus(quarters, further) if further else quarters)
    else:
        large = unary(ops.COS if further else ops.SIN, x)  # as the C library has it
    is_large = less(full_like(x, _LIMIT[x.dtype]), magnitude(x))
    return node(ops.WHERE, (is_large, large, usual), "seldom", x.dtype, x.shape)


def _of_reduced(r: Node, quarters: Node) -> Node:
    """sin(r + quarters * pi/2) for r in [-pi/4, pi/4]."""
    z = mul(r, r)
    sine = mul(r, polynomial(z, _SINE[r.dtype]))
    cosine = polynomial(z, _COSINE[r.dtype])
    value = choose(equal(masked(quarters, 1), 0), sine, cosine)
    word = FORMATS[r.dtype].word
    sign = masked(shifted_left(quarters, word.bits - 2), word.min)
    return bitcast(binary(ops.XOR, bits_of(value), sign), r.dtype)


def _reduce_large(x: Node) -> tuple[Node, Node]:
    """(r, quarters) of any finite float32; nan for inf.

    A piece of x * 2/pi that is a multiple of 4 leaves nothing; at most two pieces leave large
    fractions, and these add up without rounding.
    """
    wide = cast(x, dtypes.float64)
    total = full_like(wide, 0.0)
    for digits in _TWO_OVER_PI[:-1]:
        turns = times(wide, digits / 4)
        total = add(total, sub(turns, unary(ops.FLOOR, plus(turns, 0.5))))
    total = add(total, times(wide, _TWO_OVER_PI[-1] / 4))
    quarters = times(total, 4.0)
    n = unary(ops.FLOOR, plus(quarters, 0.5))
    r = cast(times(sub(quarters, n), math.pi / 2), dtypes.float32)
    whole = bits_of(plus(cast(n, dtypes.float32), FLOAT32.rounder))
    return r, whole
