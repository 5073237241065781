"""The parts that functions of floats are made of: the bits of a format, polynomials, clamps.

All of it is branch-free and exact where it says so, with or without fused multiply-adds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gradlet.base import dtypes
from gradlet.base.dtypes import DType
from gradlet.ir import ops
from gradlet.ir.build import add, binary, bitcast, full_like, mul, sub, unary, where
from gradlet.ir.node import Node, node


@dataclass(frozen=True)
class Format:
    """How a float type writes its numbers.

    Attributes:
        dtype: the type.
        word: the signed integers of its width.
        fraction: stored bits of the significand.
        bias: what the stored exponent exceeds the exponent by.
    """

    dtype: DType
    word: DType
    fraction: int
    bias: int

    @property
    def rounder(self) -> float:
        """Adding it leaves a whole number, to the nearest, in the lowest bits of the sum."""
        return 1.5 * 2.0**self.fraction

    @property
    def rounder_bits(self) -> int:
        return (self.bias + self.fraction << self.fraction) + (1 << self.fraction - 1)

    @property
    def least_power(self) -> int:
        """The least n for which a float next to 2**n does not round to 0."""
        return -self.bias - self.fraction

    @property
    def smallest_normal(self) -> float:
        return 2.0 ** (1 - self.bias)


FLOAT32 = Format(dtypes.float32, dtypes.int32, 23, 127)
FLOAT64 = Format(dtypes.float64, dtypes.int64, 52, 1023)
FORMATS = {f.dtype: f for f in (FLOAT32, FLOAT64)}


def less(a: Node, b: Node | float) -> Node:
    """a < b; a number stands for itself in the type of `a`."""
    return binary(ops.LT, a, b if isinstance(b, Node) else full_like(a, b))


def equal(a: Node, b: Node | float) -> Node:
    """a == b."""
    return binary(ops.EQ, a, b if isinstance(b, Node) else full_like(a, b))


def plus(x: Node, number: float) -> Node:
    return add(x, full_like(x, number))


def times(x: Node, number: float) -> Node:
    return mul(x, full_like(x, number))


def shifted_left(x: Node, bits: int) -> Node:
    return binary(ops.SHL, x, full_like(x, bits))


def shifted_right(x: Node, bits: int) -> Node:
    return binary(ops.SHR, x, full_like(x, bits))


def masked(x: Node, mask: int) -> Node:
    return binary(ops.AND, x, full_like(x, mask))


def choose(condition: Node, a: Node | float, b: Node) -> Node:
    """`a`, a node or a number, where `condition`, else `b`."""
    return where(condition, a if isinstance(a, Node) else full_like(b, a), b)


def magnitude(x: Node) -> Node:
    return unary(ops.ABS, x)


def polynomial(x: Node, coefficients: Sequence[float]) -> Node:
    """c0 + c1 x + c2 x**2 + ... by Horner's rule."""
    total = full_like(x, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        total = plus(mul(total, x), coefficient)
    return total


def clamp(x: Node, low: float, high: float) -> Node:
    """x kept in [low, high]; nan stays nan."""
    return bounded_above(choose(less(x, low), low, x), high)


def bounded_above(x: Node, high: float) -> Node:
    """The smaller of x and a number; nan stays nan."""
    return choose(less(full_like(x, high), x), high, x)


def with_sign_of(x: Node, size: Node) -> Node:
    """`size`, which is not below 0, with the sign of x."""
    word = FORMATS[x.dtype].word
    sign = masked(bits_of(x), word.min)
    return bitcast(binary(ops.OR, bits_of(size), sign), x.dtype)


def bits_of(x: Node) -> Node:
    return bitcast(x, FORMATS[x.dtype].word)


def nearest_whole(x: Node, factor: float = 1.0) -> tuple[Node, Node]:
    """The whole number n nearest to x * factor, and an integer that ends in n's lowest bits.

    |n| must be below 2**22 in float32 and 2**51 in float64. The integer exceeds n by a multiple of
    a power of two so high that `two_to` and `scale` do not see it.
    """
    f = FORMATS[x.dtype]
    shifted = plus(x if factor == 1.0 else times(x, factor), f.rounder)
    return plus(shifted, -f.rounder), bits_of(shifted)


def scale(x: Node, n: Node) -> Node:
    """x * 2**n, rounded once, for x in [2**-1/2, 2**1/2] and n from `nearest_whole`.

    It takes two factors, since neither 2**128 nor 2**-149 is a normal float32. What rounds to 0 is
    made of a 0, for processors take a hundred cycles to find that a product is as small as that.
    """
    f = FORMATS[x.dtype]
    x = choose(less(n, f.rounder_bits + f.least_power), times(x, 0.0), x)  # nan stays nan
    half = shifted_right(n, 1)
    return mul(mul(x, two_to(half, x.dtype)), two_to(sub(n, half), x.dtype))


def scale_at_once(x: Node, n: Node) -> Node:
    """The same by an instruction, which knows at once that any x times 2**-2**20 is 0."""
    f = FORMATS[x.dtype]
    n = plus(n, -f.rounder_bits)
    n = choose(less(n, f.least_power), -(2**20), n)
    return node(ops.LDEXP, (x, n), None, x.dtype, x.shape)


def two_to(n: Node, dtype: DType) -> Node:
    """2**n for an integer n in [1 - bias, bias], by writing the exponent's bits."""
    f = FORMATS[dtype]
    return bitcast(shifted_left(plus(n, f.bias), f.fraction), dtype)


def split(x: Node) -> tuple[Node, Node]:
    """(m, e) with x = m * 2**e and m in [sqrt(1/2), sqrt(2)), for positive finite x."""
    f = FORMATS[x.dtype]
    tiny = less(x, f.smallest_normal)
    lifted = 2.0**f.fraction
    bits = bits_of(choose(tiny, times(x, lifted), x))
    start = _ROOT_HALF[f.dtype]
    e = shifted_right(plus(bits, -start), f.fraction)
    m = bitcast(sub(bits, shifted_left(e, f.fraction)), f.dtype)
    offset = choose(tiny, f.rounder + f.fraction, full_like(x, f.rounder))
    return m, sub(bitcast(plus(e, f.rounder_bits), f.dtype), offset)


_ROOT_HALF = {dtypes.float32: 0x3F3504F3, dtypes.float64: 0x3FE6A09E667F3BCD}


def head(x: Node) -> Node:
    """The leading half of a float's bits: products of two heads are exact.

    What is left, x - head(x), may be computed with or without rounding x first: it is then
    only nearer to the truth.
    """
    return bitcast(masked(bits_of(x), -(1 << _TAIL[x.dtype])), x.dtype)


_TAIL = {dtypes.float32: 12, dtypes.float64: 32}
