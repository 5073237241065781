"""The table of op -> WGSL expression, of {0}, {1}, {2} and the operands' {kind}."""

from __future__ import annotations

import math

import numpy as np

from gradlet.base import dtypes
from gradlet.base.dtypes import DType
from gradlet.ir import ops
from gradlet.lower.linear import Instruction

_HALVES = (dtypes.float16, dtypes.bfloat16)
_IN_BITS = (*_HALVES, *dtypes.STORAGE)  # floats that are kept as what they look like
_FORMS = {
    ops.ADD: "{0} + {1}", ops.SUB: "{0} - {1}", ops.MUL: "{0} * {1}", ops.DIV: "{0} / {1}",
    ops.AND: "{0} & {1}", ops.OR: "{0} | {1}", ops.XOR: "{0} ^ {1}", ops.EQ: "{0} == {1}",
    ops.LT: "{0} < {1}", ops.LE: "{0} <= {1}", ops.SHL: "{0} << u32({1})",
    ops.SHR: "{0} >> u32({1})", ops.MAXIMUM: "max_{kind}({0}, {1})",
    ops.MINIMUM: "min_{kind}({0}, {1})", ops.FLOORDIV: "floordiv_{kind}({0}, {1})",
    ops.MOD: "mod_{kind}({0}, {1})", ops.NEG: "-{0}", ops.ABS: "abs({0})", ops.SQRT: "sqrt({0})",
    ops.FLOOR: "floor({0})", ops.WHERE: "select({2}, {1}, {0})",
}  # fmt: skip
_OF_INDICES = _FORMS | {ops.FLOORDIV: "{0} / {1}", ops.MOD: "{0} % {1}"}  # that are not negative
_OF_BOOLS = {ops.ADD: "{0} | {1}", ops.MUL: "{0} & {1}", ops.AND: "{0} & {1}",
             ops.OR: "{0} | {1}", ops.XOR: "{0} != {1}", ops.MAXIMUM: "{0} | {1}",
             ops.MINIMUM: "{0} & {1}", ops.EQ: "{0} == {1}", ops.LT: "!{0} & {1}",
             ops.LE: "!{0} | {1}", ops.WHERE: "select({2}, {1}, {0})"}  # fmt: skip


def type_of(dtype: DType) -> str:
    """What a value is in registers."""
    if dtype is dtypes.bool_:
        return "bool"
    if dtype in _IN_BITS:
        return "u32"
    if dtype is dtypes.index:
        return "i32"
    kind = {"int": "i", "uint": "u", "float": "f"}[dtype.kind]
    return f"{kind}{max(32, dtype.bits)}"


def literal(value: float, dtype: DType) -> str:
    """A constant.

    Some are made while the shader runs: inf and nan, which WGSL cannot say, the float 0, which
    compilers know too much about, and 64-bit integers, with which Mesa 22 miscompares. These take
    another word than divisions do for their zero: where both took one, it miscompared again.
    """
    if dtype is dtypes.bool_:
        return "true" if value else "false"
    if dtype.is_float:
        return _float_literal(value, dtype)
    kind = type_of(dtype)
    number = int(value)
    if kind.endswith("32"):
        return f"{kind}({number})"
    text = f"{number}l{kind[0]}" if number != -(1 << 63) else "bitcast<i64>(0x8000000000000000lu)"
    return f"({text} ^ {kind}(nothing.y))"


def _float_literal(value: float, dtype: DType) -> str:
    with np.errstate(over="ignore"):
        number = np.array(value, dtype.numpy)
    if dtype in _IN_BITS:
        return f"{number.view(f'u{dtype.itemsize}')}u"
    word = {4: np.uint32, 8: np.uint64}[dtype.itemsize]
    plain = abs(number) >= np.finfo(dtype.numpy).smallest_normal
    if not (plain and math.isfinite(number)):
        suffix = "u" if dtype.itemsize == 4 else "lu"
        kind = type_of(dtype)
        return f"bitcast<{kind}>({number.view(word)}{suffix} | u{dtype.bits}(nothing.x))"
    return f"{float(number)!r}{'f' if dtype.itemsize == 4 else 'lf'}"


def wrapped(text: str, dtype: DType) -> str:
    """The lowest bits of a value that takes more than its dtype has."""
    if dtype is dtypes.bool_ or dtype.bits >= 32:
        return text
    if dtype.kind == "int":
        return f"(({text}) << {32 - dtype.bits}u) >> {32 - dtype.bits}u"
    return f"({text}) & {(1 << dtype.bits) - 1}u"


def exact(text: str, dtype: DType) -> str:
    """A float that no compiler may look behind.

    Shader compilers take (a + b) - b for a, x - x for 0 and x * 0 for 0. They do not where the
    bits of a number pass through words of data that happen to be 0.
    """
    return f"exact_{type_of(dtype)}({text})"


def text_of(i: Instruction, names: list[str], dtype: DType) -> str:
    """An instruction; `dtype` is that of its operands."""
    assert i.result is not None
    wanted = i.result.dtype
    if i.op is ops.CAST:
        return _cast(names[0], dtype, wanted)
    if i.op is ops.BITCAST:
        text = f"bitcast<{type_of(wanted)}>({names[0]})"
        return (
            f"{text} & {(1 << wanted.bits) - 1}u" if wanted in _IN_BITS else wrapped(text, wanted)
        )
    if i.op is ops.EQ and dtype.is_float and names[0] == names[1]:
        return f"is_number_{type_of(dtype)}({names[0]})"
    if i.op is ops.WHERE and dtype.is_float and dtype not in _IN_BITS:
        names[1] = exact(names[1], dtype)  # lest it be taken for a minimum or maximum
    forms = _OF_BOOLS if dtype is dtypes.bool_ else _OF_INDICES if i.arg is True else _FORMS
    return wrapped(forms[i.op].format(*names, kind=type_of(dtype)), wanted)


def widened(name: str, dtype: DType) -> str:
    if dtype is dtypes.bfloat16:
        return f"bitcast<f32>({name} << 16u)"
    return f"unpack2x16float({name}).x"


def narrowed(text: str, dtype: DType) -> str:
    return f"{'to_bfloat' if dtype is dtypes.bfloat16 else 'to_half'}({text})"


def _cast(name: str, dtype: DType, wanted: DType) -> str:
    """Conversions; floats saturate into integers and nan gives 0."""
    if dtype in _HALVES:
        name, dtype = widened(name, dtype), dtypes.float32
    if wanted is dtypes.bool_:
        return f"!({name} == {literal(0, dtype)})"
    if dtype is dtypes.bool_:
        return f"select({literal(0, wanted)}, {literal(1, wanted)}, {name})"
    if wanted in _HALVES:
        return narrowed(f"f32({name})", wanted)
    kind = type_of(wanted)
    if wanted.is_float or type_of(dtype) == kind:
        return wrapped(f"{kind}({name})", wanted)
    if dtype.is_float:
        return _float_to_int(name, dtype, wanted)
    if wanted is dtypes.index:  # what 32 bits do not hold is out of range of any array
        bounds = [literal(b, dtype) for b in (max(dtype.min, dtypes.int32.min), dtypes.int32.max)]
        return f"i32(clamp({name}, {bounds[0]}, {bounds[1]}))"
    if kind.endswith("64") and kind[0] != type_of(dtype)[0]:  # whether the sign is extended
        name = f"{type_of(dtype)[0]}64({name})"  # depends on the source
    return wrapped(f"{kind}({name})", wanted)


def _float_to_int(name: str, dtype: DType, wanted: DType) -> str:
    low, beyond = (literal(float(bound), dtype) for bound in (wanted.min, wanted.max + 1))
    text = f"select({type_of(wanted)}({name}), {literal(wanted.max, wanted)}, {name} >= {beyond})"
    text = f"select({text}, {literal(wanted.min, wanted)}, {name} < {low})"
    return f"select({literal(0, wanted)}, {text}, is_number_{type_of(dtype)}({name}))"
