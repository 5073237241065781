"""What a target lacks, in terms of what it has: functions as polynomials, half floats as float."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from gradlet.base import dtypes
from gradlet.base.dtypes import DType
from gradlet.ir import index, ops
from gradlet.ir.build import binary, bitcast, cast, div, full_like, mul
from gradlet.ir.node import Node, Rewriting, node
from gradlet.ir.ops import Op
from gradlet.lower import float8, power, transcendental, trigonometry
from gradlet.lower.floats import (
    bits_of,
    choose,
    equal,
    less,
    magnitude,
    masked,
    plus,
    scale_at_once,
)
from gradlet.lower.loops import Assign, Body, map_assigns

Function = Callable[..., Node]

_FUNCTIONS: dict[Op, Function] = {
    ops.EXP: transcendental.exp,
    ops.EXP2: transcendental.exp2,
    ops.LOG: transcendental.log,
    ops.LOG2: transcendental.log2,
    ops.SIN: trigonometry.sin,
    ops.COS: trigonometry.cos,
    ops.TANH: transcendental.tanh,
    ops.ERF: transcendental.erf,
    ops.POW: power.pow_,
}


_ALONE: dict[Op, Function] = {
    ops.SIN: partial(trigonometry.sin, alone=True),
    ops.COS: partial(trigonometry.cos, alone=True),
    ops.POW: partial(power.pow_, alone=True),
}

_SCALING: dict[Op, Function] = {
    ops.EXP: partial(transcendental.exp, scale=scale_at_once),
    ops.EXP2: partial(transcendental.exp2, scale=scale_at_once),
}


def decompose(body: Body, alone: bool = False, scales: bool = False) -> Body:
    """The tree with every value in ops that the renderers have.

    Args:
        alone: there is neither float64 nor a C library.
        scales: there is LDEXP.
    """
    functions = _FUNCTIONS | (_ALONE if alone else {}) | (_SCALING if scales else {})
    rewritten = Rewriting(partial(_rule, functions))

    def change(a: Assign) -> Body:
        at = tuple([rewritten(i) for i in a.at])
        return (Assign(a.target, at, rewritten(a.value), a.accumulate),)

    return map_assigns(body, change)


def _rule(functions: dict[Op, Function], current: Node, src: tuple[Node, ...]) -> Node:
    op = current.op
    if op is ops.CAST and (src[0].dtype.is_storage or current.dtype.is_storage):
        return _by_float32(src[0], current.dtype)
    if op.elementwise and any(_is_half(s.dtype) for s in src) and op is not ops.BITCAST:
        return _half(functions, current, src)
    if op is ops.CAST and _is_half(current.dtype):
        return _to_half(src[0], current.dtype)
    if op is ops.DIV and current.arg == "reciprocal":
        return mul(src[0], div(full_like(src[1], 1), src[1]))
    if op is ops.NEG and not current.dtype.is_float:
        return binary(ops.SUB, full_like(src[0], 0), src[0])
    if op is ops.ABS and current.dtype.kind in ("uint", "bool"):
        return src[0]
    if op is ops.SHL or op is ops.SHR:
        return _shift(op, *src)
    if op in functions:
        return functions[op](*src)
    return index.rebuild(current, src)


def _shift(op: Op, x: Node, count: Node) -> Node:
    """A shift by fewer bits than there are, which is all that processors agree on."""
    bits = x.dtype.bits
    if count.is_const and 0 <= count.value < bits:
        return binary(op, x, count)
    signed = op is ops.SHR and not x.dtype.is_unsigned
    past = binary(op, x, full_like(x, bits - 1)) if signed else full_like(x, 0)
    legal = binary(
        ops.AND,
        binary(ops.LE, full_like(count, 0), count),
        binary(ops.LT, count, full_like(count, bits)),
    )
    return choose(legal, binary(op, x, choose(legal, count, full_like(count, 0))), past)


def _by_float32(x: Node, dtype: DType) -> Node:
    """A cast from or to 8 bits."""
    wide = float8.widen(x) if x.dtype.is_storage else cast(x, dtypes.float32)
    if dtype.is_storage:
        return float8.narrow(wide, dtype)
    return _to_half(wide, dtype) if _is_half(dtype) else cast(wide, dtype)


def _is_half(dtype: DType) -> bool:
    return dtype in (dtypes.float16, dtypes.bfloat16)


def _to_half(x: Node, dtype: DType) -> Node:
    """A cast to 16 bits, by way of float32."""
    if x.dtype is dtypes.float64 and dtype is dtypes.float16:
        return cast(_to_odd(x), dtype)
    return x if x.dtype is dtype else cast(cast(x, dtypes.float32), dtype)


def _to_odd(x: Node) -> Node:
    """The float32 that is `x`, or that of its two neighbours whose last bit is 1.

    Rounded once more, to fewer bits, that is what `x` rounds to (Boldo & Melquiond 2008).
    """
    near = cast(x, dtypes.float32)
    back = cast(near, dtypes.float64)
    bits = bits_of(near)
    beyond = less(magnitude(x), magnitude(back))
    other = choose(beyond, plus(bits, -1), plus(bits, 1))
    inexact = binary(ops.OR, less(back, x), less(x, back))
    even = equal(masked(bits, 1), 0)
    return bitcast(choose(binary(ops.AND, inexact, even), other, bits), dtypes.float32)


def _half(functions: dict[Op, Function], current: Node, src: tuple[Node, ...]) -> Node:
    """An operation on 16-bit floats, computed in float32 and rounded once."""
    wide = tuple(cast(s, dtypes.float32) if _is_half(s.dtype) else s for s in src)
    if current.op is ops.CAST:
        return (
            cast(wide[0], current.dtype)
            if not _is_half(current.dtype)
            else _to_half(wide[0], current.dtype)
        )
    dtype = dtypes.float32 if _is_half(current.dtype) else current.dtype
    widened = _rule(functions, node(current.op, wide, current.arg, dtype, ()), wide)
    return cast(widened, current.dtype) if _is_half(current.dtype) else widened
