"""What a target lacks, in terms of what it has: exp and log as polynomials, half floats as float.

Coefficients are those of the Cephes library (Moshier, expf.c and logf.c); results are within
2 ulp over the whole float32 range, denormals, infinities and nan included.
"""

from __future__ import annotations

from dataclasses import replace

from gradlet.base import dtypes
from gradlet.base.dtypes import DType
from gradlet.ir import build, index, ops
from gradlet.ir.build import add, binary, bitcast, cast, const, full_like, mul, sub, where
from gradlet.ir.node import Node, node
from gradlet.lower.loops import Body, map_assigns
from gradlet.lower.transforms import rewrite_expression

_EXP = (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1)
_LOG = (
    7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1,
    -1.6668057665e-1, 2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1,
)  # fmt: skip
_LN2_HIGH, _LN2_LOW = 0.693359375, -2.12194440e-4  # together ln 2; the first times n is exact
_SMALLEST_NORMAL = 2.0**-126
_ROUNDING, _ROUNDING_BITS = 12582912.0, 0x4B400000  # 1.5 * 2 ** 23 and its bits


def decompose(body: Body) -> Body:
    """The tree with every value in ops that the renderers have."""
    return map_assigns(body, lambda a: (replace(a, value=rewrite_expression(a.value, _rule)),))


def _rule(current: Node, src: tuple[Node, ...]) -> Node:
    op = current.op
    if op.elementwise and any(_is_half(s.dtype) for s in src) and op is not ops.BITCAST:
        return _half(current, src)
    if op is ops.CAST and _is_half(current.dtype):
        return _to_half(src[0], current.dtype)
    if op is ops.EXP and current.dtype is dtypes.float32:
        return exp(src[0])
    if op is ops.LOG and current.dtype is dtypes.float32:
        return log(src[0])
    return index.rebuild(current, src)


def _is_half(dtype: DType) -> bool:
    return dtype in (dtypes.float16, dtypes.bfloat16)


def _to_half(x: Node, dtype: DType) -> Node:
    """A cast to 16 bits, by way of float32."""
    if x.dtype is dtypes.float64 and dtype is dtypes.float16:
        return cast(x, dtype)
    return x if x.dtype is dtype else cast(cast(x, dtypes.float32), dtype)


def _half(current: Node, src: tuple[Node, ...]) -> Node:
    """An operation on 16-bit floats, computed in float32 and rounded once."""
    wide = tuple(cast(s, dtypes.float32) if _is_half(s.dtype) else s for s in src)
    if current.op is ops.CAST:
        return (
            cast(wide[0], current.dtype)
            if not _is_half(current.dtype)
            else _to_half(wide[0], current.dtype)
        )
    dtype = dtypes.float32 if _is_half(current.dtype) else current.dtype
    widened = _rule(node(current.op, wide, current.arg, dtype, ()), wide)
    return cast(widened, current.dtype) if _is_half(current.dtype) else widened


def _c(value: float) -> Node:
    return const(value, dtypes.float32)


def _i(value: int) -> Node:
    return const(value, dtypes.int32)


def _polynomial(x: Node, coefficients: tuple[float, ...]) -> Node:
    total = _c(coefficients[0])
    for coefficient in coefficients[1:]:
        total = add(mul(total, x), _c(coefficient))
    return total


def _power_of_two(n: Node) -> Node:
    """2 to the n for int32 n in [-126, 127], by writing the exponent's bits."""
    return bitcast(binary(ops.SHL, add(n, _i(127)), _i(23)), dtypes.float32)


def exp(x: Node) -> Node:
    """e to the x: x = n ln 2 + r with |r| <= ln 2 / 2, a polynomial in r, times 2 to the n."""
    bounded = binary(ops.MINIMUM, binary(ops.MAXIMUM, x, _c(-104.0)), _c(89.0))
    # Adding 1.5 * 2 ** 23 rounds to a whole number, which then stands in the lowest bits.
    shifted = add(mul(bounded, _c(1.4426950408889634)), _c(_ROUNDING))
    n = sub(shifted, _c(_ROUNDING))
    whole = sub(bitcast(shifted, dtypes.int32), _i(_ROUNDING_BITS))
    r = sub(sub(bounded, mul(n, _c(_LN2_HIGH))), mul(n, _c(_LN2_LOW)))
    tail = add(mul(_polynomial(r, _EXP), r), _c(5.0000001201e-1))
    p = add(add(mul(mul(tail, r), r), r), _c(1.0))
    half = binary(ops.SHR, whole, _i(1))  # in two steps, since 2 ** 128 and 2 ** -149 overflow
    return mul(mul(p, _power_of_two(half)), _power_of_two(sub(whole, half)))


def log(x: Node) -> Node:
    """ln x: x = 2 ** e * m with m near 1, a polynomial in m - 1, plus e ln 2."""
    tiny = binary(ops.LT, x, _c(_SMALLEST_NORMAL))
    scaled = where(tiny, mul(x, _c(2.0**23)), x)
    bits = bitcast(scaled, dtypes.int32)
    exponent = sub(binary(ops.SHR, bits, _i(23)), where(tiny, _i(127 + 23), _i(127)))
    mantissa = binary(ops.OR, binary(ops.AND, bits, _i(0x7FFFFF)), _i(0x3F800000))
    m = bitcast(mantissa, dtypes.float32)
    large = binary(ops.LT, _c(1.4142135623730951), m)
    f = sub(where(large, mul(m, _c(0.5)), m), _c(1.0))
    e = cast(where(large, add(exponent, _i(1)), exponent), dtypes.float32)
    square = mul(f, f)
    p = mul(mul(_polynomial(f, _LOG), f), square)
    y = add(add(p, mul(e, _c(_LN2_LOW))), mul(square, _c(-0.5)))
    result = add(add(f, y), mul(e, _c(_LN2_HIGH)))
    infinite = binary(ops.EQ, x, _c(float("inf")))
    result = where(infinite, x, result)
    result = where(binary(ops.EQ, x, full_like(x, 0.0)), _c(float("-inf")), result)
    valid = binary(ops.LE, full_like(x, 0.0), x)
    return where(valid, result, build.const(float("nan"), dtypes.float32))
