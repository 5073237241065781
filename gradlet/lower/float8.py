"""Conversions of 8-bit floats, which are stored and not computed with, to and from float32.

e4m3fn has 4 bits of exponent and 3 of fraction, no infinity, and nan where all of them are set;
e5m2 is the upper half of a float16 (Micikevicius et al. 2022). What is too large becomes nan in
the one and infinity in the other, as in ml_dtypes.
"""

from __future__ import annotations

from dataclasses import dataclass

from gradlet.base import dtypes
from gradlet.base.dtypes import DType
from gradlet.ir import ops
from gradlet.ir.build import add, binary, bitcast, cast, full_like, sub
from gradlet.ir.node import Node
from gradlet.lower.floats import (
    FLOAT32,
    choose,
    equal,
    less,
    masked,
    plus,
    shifted_left,
    shifted_right,
    times,
)


@dataclass(frozen=True)
class Format8:
    """How an 8-bit type writes its numbers, without the sign.

    Attributes:
        fraction, bias: as of `floats.Format`.
        beyond: the code of what is too large.
        nan: the code of nan, and the lowest such code where there are several.
    """

    fraction: int
    bias: int
    beyond: int
    nan: int
    lowest_nan: int


_FORMATS = {
    dtypes.float8_e4m3fn: Format8(3, 7, 0x7F, 0x7F, 0x7F),
    dtypes.float8_e5m2: Format8(2, 15, 0x7C, 0x7E, 0x7D),
}


def widen(x: Node) -> Node:
    """An 8-bit float as float32, exactly."""
    f = _FORMATS[x.dtype]
    code = cast(bitcast(x, dtypes.uint8), dtypes.int32)
    size = masked(code, 0x7F)
    shift = FLOAT32.fraction - f.fraction
    small = bitcast(shifted_left(size, shift), dtypes.float32)
    value = times(small, 2.0 ** (FLOAT32.bias - f.bias))
    if f.beyond < f.lowest_nan:
        value = choose(equal(size, f.beyond), float("inf"), value)
    value = choose(less(full_like(size, f.lowest_nan - 1), size), float("nan"), value)
    sign = shifted_left(masked(code, 0x80), 24)
    bits = binary(ops.OR, masked(bitcast(value, dtypes.int32), dtypes.int32.max), sign)
    return bitcast(bits, dtypes.float32)


def narrow(x: Node, dtype: DType) -> Node:
    """A float32 rounded to the nearest 8-bit float, ties to even."""
    f = _FORMATS[dtype]
    bits = bitcast(x, dtypes.int32)
    size = masked(bits, dtypes.int32.max)
    one = 1 << FLOAT32.fraction
    exponent = plus(shifted_right(size, FLOAT32.fraction), f.bias - FLOAT32.bias)
    normal = binary(ops.MAXIMUM, exponent, full_like(exponent, 1))
    # Below the smallest normal number, fewer bits of the significand are left.
    lost = plus(sub(normal, exponent), FLOAT32.fraction - f.fraction)
    lost = binary(ops.MINIMUM, lost, full_like(lost, FLOAT32.fraction + 2))
    significand = plus(masked(size, one - 1), one)
    odd = masked(binary(ops.SHR, significand, lost), 1)
    half = plus(binary(ops.SHL, full_like(lost, 1), plus(lost, -1)), -1)
    rounded = binary(ops.SHR, add(add(significand, half), odd), lost)
    code = add(rounded, shifted_left(plus(normal, -1), f.fraction))
    code = choose(less(full_like(code, f.beyond), code), f.beyond, code)
    code = choose(less(full_like(size, _INFINITY), size), f.nan, code)
    sign = masked(shifted_right(bits, 24), 0x80)
    return bitcast(cast(binary(ops.OR, code, sign), dtypes.uint8), dtype)


_INFINITY = 0x7F800000  # the bits of a float32
