"""The table of op -> WGSL expression."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from gradlet.base import dtypes
from gradlet.base.dtypes import DType
from gradlet.ir import ops
from gradlet.lower.linear import Instruction, Value

_HALVES = (dtypes.float16, dtypes.bfloat16)
_IN_BITS = (*_HALVES, *dtypes.STORAGE)  # floats that are kept as what they look like
_SIGNS = {ops.ADD: "+", ops.SUB: "-", ops.MUL: "*", ops.DIV: "/", ops.AND: "&", ops.OR: "|",
          ops.XOR: "^", ops.EQ: "==", ops.LT: "<", ops.LE: "<="}  # fmt: skip
_OF_BOOLS = {ops.ADD: "{0} | {1}", ops.MUL: "{0} & {1}", ops.AND: "{0} & {1}",
             ops.OR: "{0} | {1}", ops.XOR: "{0} != {1}", ops.MAXIMUM: "{0} | {1}",
             ops.MINIMUM: "{0} & {1}", ops.EQ: "{0} == {1}", ops.LT: "!{0} & {1}",
             ops.LE: "!{0} | {1}"}  # fmt: skip


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


# The table: op -> function(operand names, operand dtype, result, instruction) -> text

Rule = Callable[[list[str], DType, Value, Instruction], str]


def wrapped(text: str, dtype: DType) -> str:
    """The lowest bits of a value that takes more than its dtype has."""
    if not dtype.is_int or dtype.bits >= 32:
        return text
    if dtype.kind == "int":
        return f"(({text}) << {32 - dtype.bits}u) >> {32 - dtype.bits}u"
    return f"({text}) & {dtype.max}u"


def exact(text: str, dtype: DType) -> str:
    """A float that no compiler may look behind.

    Shader compilers take (a + b) - b for a, x - x for 0 and x * 0 for 0. They do not where the
    bits of a number pass through words of data that happen to be 0.
    """
    return f"exact_{type_of(dtype)}({text})"


def _binary(names: list[str], dtype: DType, result: Value, i: Instruction) -> str:
    if dtype is dtypes.bool_:
        return _OF_BOOLS[i.op].format(*names)
    if i.op is ops.EQ and dtype.is_float and names[0] == names[1]:
        return f"is_number_{type_of(dtype)}({names[0]})"
    return wrapped(f"{names[0]} {_SIGNS[i.op]} {names[1]}", result.dtype)


def _extreme(names: list[str], dtype: DType, result: Value, i: Instruction) -> str:
    if dtype is dtypes.bool_:
        return _OF_BOOLS[i.op].format(*names)
    word = "max" if i.op is ops.MAXIMUM else "min"
    suffix = f"_{type_of(dtype)}" if dtype.is_float else ""
    return f"{word}{suffix}({names[0]}, {names[1]})"


def _negate(names: list[str], dtype: DType, result: Value, i: Instruction) -> str:
    text = f"-{names[0]}" if not dtype.is_unsigned else f"{literal(0, dtype)} - {names[0]}"
    return wrapped(text, dtype)


def _absolute(names: list[str], dtype: DType, result: Value, i: Instruction) -> str:
    return names[0] if dtype.kind in ("uint", "bool") else wrapped(f"abs({names[0]})", dtype)


def _call(function: str) -> Rule:
    return lambda names, dtype, result, i: f"{function}({names[0]})"


def _shift(names: list[str], dtype: DType, result: Value, i: Instruction) -> str:
    return wrapped(f"{names[0]} {'<<' if i.op is ops.SHL else '>>'} u32({names[1]})", dtype)


def _divide(names: list[str], dtype: DType, result: Value, i: Instruction) -> str:
    """FLOORDIV and MOD."""
    if i.arg:  # an index known not to be negative, by a positive constant
        return f"{names[0]} {'/' if i.op is ops.FLOORDIV else '%'} {names[1]}"
    word = "floordiv" if i.op is ops.FLOORDIV else "mod"
    return wrapped(f"{word}_{type_of(dtype)}({names[0]}, {names[1]})", dtype)


def _where(names: list[str], dtype: DType, result: Value, i: Instruction) -> str:
    if dtype.is_float and dtype not in _IN_BITS:  # lest it be taken for a minimum or maximum
        return f"select({names[2]}, {exact(names[1], dtype)}, {names[0]})"
    return f"select({names[2]}, {names[1]}, {names[0]})"


def _bitcast(names: list[str], dtype: DType, result: Value, i: Instruction) -> str:
    text = f"bitcast<{type_of(result.dtype)}>({names[0]})"
    if result.dtype in _IN_BITS:
        return f"{text} & {(1 << result.dtype.bits) - 1}u"
    return wrapped(text, result.dtype)


def widened(name: str, dtype: DType) -> str:
    if dtype is dtypes.bfloat16:
        return f"bitcast<f32>({name} << 16u)"
    return f"unpack2x16float({name}).x"


def narrowed(text: str, dtype: DType) -> str:
    return f"{'to_bfloat' if dtype is dtypes.bfloat16 else 'to_half'}({text})"


def _cast(names: list[str], dtype: DType, result: Value, i: Instruction) -> str:
    """Conversions; floats saturate into integers and nan gives 0."""
    wanted, name = result.dtype, names[0]
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


RULES: dict[ops.Op, Rule] = {
    **dict.fromkeys(_SIGNS, _binary),
    **dict.fromkeys((ops.MAXIMUM, ops.MINIMUM), _extreme),
    **dict.fromkeys((ops.SHL, ops.SHR), _shift),
    **dict.fromkeys((ops.FLOORDIV, ops.MOD), _divide),
    ops.NEG: _negate,
    ops.ABS: _absolute,
    ops.SQRT: _call("sqrt"),
    ops.FLOOR: _call("floor"),
    ops.WHERE: _where,
    ops.CAST: _cast,
    ops.BITCAST: _bitcast,
}
