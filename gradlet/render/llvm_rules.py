"""The table of op -> LLVM instruction, one function for each kind of op."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from gradlet.base import dtypes
from gradlet.base.dtypes import DType
from gradlet.ir import ops
from gradlet.lower.linear import Instruction, Value
from gradlet.render.llvm_types import literal, scalar_type, suffix_of, type_of

_FLOAT_BINARY = {ops.ADD: "fadd contract", ops.SUB: "fsub contract", ops.MUL: "fmul contract",
                 ops.DIV: "fdiv"}  # fmt: skip
_INT_BINARY = {ops.ADD: "add", ops.SUB: "sub", ops.MUL: "mul", ops.AND: "and", ops.OR: "or",
               ops.XOR: "xor"}  # fmt: skip
BOOL_BINARY = {ops.ADD: "or", ops.MUL: "and", ops.AND: "and", ops.OR: "or", ops.XOR: "xor",
                ops.MAXIMUM: "or", ops.MINIMUM: "and"}  # fmt: skip
_FLOAT_COMPARE = {ops.EQ: "oeq", ops.LT: "olt", ops.LE: "ole"}
_INT_COMPARE = {ops.EQ: "eq", ops.LT: "lt", ops.LE: "le"}
_INTRINSIC = {ops.SQRT: "sqrt", ops.FLOOR: "floor", ops.MAXIMUM: "maximum", ops.MINIMUM: "minimum",
              ops.SIN: "sin", ops.COS: "cos"}  # fmt: skip


class Writer(Protocol):
    """What a rule writes to: the text of a function."""

    def put(self, text: str) -> str:
        """One instruction; returns the name of its result."""
        ...

    def call(self, result: str, function: str, *arguments: tuple[str, str], flags: str = "") -> str:
        """A call of a function that is declared on first use."""
        ...

    def put_seldom(self, condition: str, text: str, kind: str, otherwise: str) -> str:
        """One instruction that is reached only if `condition`, which is seldom."""
        ...


# The table: op -> function(writer, operand names, operand dtype, result, instruction) -> name

Rule = Callable[[Writer, list[str], DType, Value, Instruction], str]


def _zero(result: Value) -> str:
    return "zeroinitializer" if result.lanes else literal(0, result.dtype)


def _splat(value: float, dtype: DType, lanes: int) -> str:
    text = literal(value, dtype)
    return f"splat ({scalar_type(dtype)} {text})" if lanes else text


def _binary(f: Writer, names: list[str], dtype: DType, result: Value, i: Instruction) -> str:
    table = _FLOAT_BINARY if dtype.is_float else _INT_BINARY
    if dtype is dtypes.bool_:
        table = BOOL_BINARY
    return f.put(f"{table[i.op]} {type_of(dtype, result.lanes)} {names[0]}, {names[1]}")


def _compare(f: Writer, names: list[str], dtype: DType, result: Value, i: Instruction) -> str:
    kind = type_of(dtype, result.lanes)
    if dtype.is_float:
        return f.put(f"fcmp {_FLOAT_COMPARE[i.op]} {kind} {names[0]}, {names[1]}")
    word = _INT_COMPARE[i.op]
    if word != "eq":
        word = ("s" if dtype.kind == "int" else "u") + word
    return f.put(f"icmp {word} {kind} {names[0]}, {names[1]}")


def _negate(f: Writer, names: list[str], dtype: DType, result: Value, i: Instruction) -> str:
    return f.put(f"fneg {type_of(dtype, result.lanes)} {names[0]}")


def _absolute(f: Writer, names: list[str], dtype: DType, result: Value, i: Instruction) -> str:
    kind, suffix = type_of(dtype, result.lanes), suffix_of(dtype, result.lanes)
    if dtype.is_float:
        return f.call(kind, f"llvm.fabs.{suffix}", (kind, names[0]))
    return f.call(kind, f"llvm.abs.{suffix}", (kind, names[0]), ("i1", "false"))


def _intrinsic(f: Writer, names: list[str], dtype: DType, result: Value, i: Instruction) -> str:
    kind, suffix = type_of(dtype, result.lanes), suffix_of(dtype, result.lanes)
    if dtype.is_float:
        # Which of 0.0 and -0.0 is larger is left open: to decide it would double the work.
        flags = "nsz " if i.op in (ops.MAXIMUM, ops.MINIMUM) else ""
        function = f"llvm.{_INTRINSIC[i.op]}.{suffix}"
        return f.call(kind, function, *((kind, n) for n in names), flags=flags)
    if dtype is dtypes.bool_:
        return _binary(f, names, dtype, result, i)
    word = ("s" if dtype.kind == "int" else "u") + ("max" if i.op is ops.MAXIMUM else "min")
    return f.call(kind, f"llvm.{word}.{suffix}", *((kind, n) for n in names))


def _shift(f: Writer, names: list[str], dtype: DType, result: Value, i: Instruction) -> str:
    word = "shl" if i.op is ops.SHL else ("ashr" if dtype.kind == "int" else "lshr")
    return f.put(f"{word} {type_of(dtype, result.lanes)} {names[0]}, {names[1]}")


def _divide(f: Writer, names: list[str], dtype: DType, result: Value, i: Instruction) -> str:
    """FLOORDIV and MOD: of floats through fmod, of integers with division by zero giving 0."""
    if dtype.is_float:
        return _float_remainder(f, names, dtype, result)
    kind, flags = type_of(dtype, result.lanes), type_of(dtypes.bool_, result.lanes)
    wants_quotient = i.op is ops.FLOORDIV
    if i.arg:  # an index known not to be negative, by a positive constant
        return f.put(f"{'udiv' if wants_quotient else 'urem'} {kind} {names[0]}, {names[1]}")
    zero, one = _zero(result), _splat(1, dtype, result.lanes)
    by_zero = f.put(f"icmp eq {kind} {names[1]}, {zero}")
    divisor = f.put(f"select {flags} {by_zero}, {kind} {one}, {kind} {names[1]}")
    if dtype.kind != "int":
        word = "udiv" if wants_quotient else "urem"
        value = f.put(f"{word} {kind} {names[0]}, {divisor}")
        return f.put(f"select {flags} {by_zero}, {kind} {zero}, {kind} {value}")
    minus = _splat(-1, dtype, result.lanes)
    by_minus = f.put(f"icmp eq {kind} {divisor}, {minus}")  # MIN / -1 would trap
    safe = f.put(f"select {flags} {by_minus}, {kind} {one}, {kind} {divisor}")
    remainder = f.put(f"srem {kind} {names[0]}, {safe}")
    differs = f.put(f"xor {kind} {remainder}, {safe}")
    opposite = f.put(f"icmp slt {kind} {differs}, {zero}")
    inexact = f.put(f"icmp ne {kind} {remainder}, {zero}")
    adjust = f.put(f"and {flags} {opposite}, {inexact}")
    if wants_quotient:
        quotient = f.put(f"sdiv {kind} {names[0]}, {safe}")
        lowered = f.put(f"sub {kind} {quotient}, {one}")
        value = f.put(f"select {flags} {adjust}, {kind} {lowered}, {kind} {quotient}")
        negated = f.put(f"sub {kind} {zero}, {names[0]}")
        value = f.put(f"select {flags} {by_minus}, {kind} {negated}, {kind} {value}")
    else:
        raised = f.put(f"add {kind} {remainder}, {safe}")
        value = f.put(f"select {flags} {adjust}, {kind} {raised}, {kind} {remainder}")
    return f.put(f"select {flags} {by_zero}, {kind} {zero}, {kind} {value}")


def _float_remainder(f: Writer, names: list[str], dtype: DType, result: Value) -> str:
    kind, flags = type_of(dtype, result.lanes), type_of(dtypes.bool_, result.lanes)
    suffix = suffix_of(dtype, result.lanes)
    zero = _zero(result)
    remainder = f.put(f"frem {kind} {names[0]}, {names[1]}")
    low = f.put(f"fcmp olt {kind} {remainder}, {zero}")
    low_divisor = f.put(f"fcmp olt {kind} {names[1]}, {zero}")
    differs = f.put(f"xor {flags} {low}, {low_divisor}")
    nonzero = f.put(f"fcmp one {kind} {remainder}, {zero}")
    adjust = f.put(f"and {flags} {differs}, {nonzero}")
    raised = f.put(f"fadd {kind} {remainder}, {names[1]}")
    value = f.put(f"select {flags} {adjust}, {kind} {raised}, {kind} {remainder}")
    signed_zero = f.call(kind, f"llvm.copysign.{suffix}", (kind, zero), (kind, names[1]))
    is_zero = f.put(f"fcmp oeq {kind} {value}, {zero}")
    return f.put(f"select {flags} {is_zero}, {kind} {signed_zero}, {kind} {value}")


def _scale(f: Writer, names: list[str], dtype: DType, result: Value, i: Instruction) -> str:
    """x * 2**n by one instruction, where the target says that there is one."""
    kind, power = type_of(result.dtype, result.lanes), type_of(dtype, result.lanes)
    suffix = f"{suffix_of(result.dtype, result.lanes)}.{suffix_of(dtype, result.lanes)}"
    return f.call(kind, f"llvm.ldexp.{suffix}", (kind, names[0]), (power, names[1]))


def _where(f: Writer, names: list[str], dtype: DType, result: Value, i: Instruction) -> str:
    flags, kind = type_of(dtypes.bool_, result.lanes), type_of(result.dtype, result.lanes)
    select = f"select {flags} {names[0]}, {kind} {names[1]}, {kind} {names[2]}"
    if i.arg != "seldom":
        return f.put(select)
    some = names[0]
    if result.lanes:
        some = f.call("i1", f"llvm.vector.reduce.or.v{result.lanes}i1", (flags, names[0]))
    return f.put_seldom(some, select, kind, names[2])


def _bitcast(f: Writer, names: list[str], dtype: DType, result: Value, i: Instruction) -> str:
    before, after = type_of(dtype, result.lanes), type_of(result.dtype, result.lanes)
    return names[0] if before == after else f.put(f"bitcast {before} {names[0]} to {after}")


def _cast(f: Writer, names: list[str], dtype: DType, result: Value, i: Instruction) -> str:
    """Conversions; floats saturate into integers and nan gives 0."""
    wanted, lanes = result.dtype, result.lanes
    if dtype is dtypes.bfloat16:
        widened = Value(0, dtypes.float32, lanes)
        names, dtype = [_widen_bfloat(f, names[0], lanes)], dtypes.float32
        if wanted is dtypes.float32:
            return names[0]
        assert widened.dtype is dtype
    if wanted is dtypes.bfloat16:
        return _narrow_bfloat(f, names[0], lanes)
    before, after = type_of(dtype, lanes), type_of(wanted, lanes)
    if wanted is dtypes.bool_:
        word = "fcmp une" if dtype.is_float else "icmp ne"
        return f.put(f"{word} {before} {names[0]}, zeroinitializer")
    if dtype.is_float and wanted.is_float:
        word = "fpext" if wanted.bits > dtype.bits else "fptrunc"
    elif dtype.is_float:
        return _float_to_int(f, names[0], dtype, wanted, lanes)
    elif wanted.is_float:
        word = "sitofp" if dtype.kind == "int" else "uitofp"
    elif before == after:
        return names[0]
    elif wanted.bits < dtype.bits:
        word = "trunc"
    else:
        word = "sext" if dtype.kind == "int" else "zext"
    return f.put(f"{word} {before} {names[0]} to {after}")


def _float_to_int(f: Writer, name: str, dtype: DType, wanted: DType, lanes: int) -> str:
    """What does not fit becomes 0 before the conversion, and the nearest integer behind it.

    LLVM's own saturating conversion takes vectors apart.
    """
    if dtype is dtypes.float16:  # does not hold the bounds of most integers
        name = f.put(f"fpext {type_of(dtype, lanes)} {name} to {type_of(dtypes.float32, lanes)}")
        dtype = dtypes.float32
    before, after = type_of(dtype, lanes), type_of(wanted, lanes)
    flags, signed = type_of(dtypes.bool_, lanes), wanted.kind == "int"
    low, beyond = (_splat(float(bound), dtype, lanes) for bound in (wanted.min, wanted.max + 1))
    above = f.put(f"fcmp oge {before} {name}, {low}")
    below = f.put(f"fcmp olt {before} {name}, {beyond}")
    inside = f.put(f"and {flags} {above}, {below}")
    safe = f.put(f"select {flags} {inside}, {before} {name}, {before} {_splat(0, dtype, lanes)}")
    value = f.put(f"fpto{'s' if signed else 'u'}i {before} {safe} to {after}")
    for limit, test in ((wanted.min, f"olt {before} {name}, {low}"),
                        (wanted.max, f"oge {before} {name}, {beyond}"))[not signed :]:  # fmt: skip
        out = f.put(f"fcmp {test}")
        value = f.put(
            f"select {flags} {out}, {after} {_splat(limit, wanted, lanes)}, {after} {value}"
        )
    return value


def _widen_bfloat(f: Writer, name: str, lanes: int) -> str:
    """bfloat16 is the upper half of a float32."""
    word, half = type_of(dtypes.int32, lanes), type_of(dtypes.int16, lanes)
    bits = f.put(f"zext {half} {name} to {word}")
    high = f.put(f"shl {word} {bits}, {_splat(16, dtypes.int32, lanes)}")
    return f.put(f"bitcast {word} {high} to {type_of(dtypes.float32, lanes)}")


def _narrow_bfloat(f: Writer, name: str, lanes: int) -> str:
    """Rounds to the nearest, ties to even; nan stays nan."""
    word, half = type_of(dtypes.int32, lanes), type_of(dtypes.int16, lanes)
    real, flags = type_of(dtypes.float32, lanes), type_of(dtypes.bool_, lanes)
    bits = f.put(f"bitcast {real} {name} to {word}")
    shift = _splat(16, dtypes.int32, lanes)
    high = f.put(f"lshr {word} {bits}, {shift}")
    odd = f.put(f"and {word} {high}, {_splat(1, dtypes.int32, lanes)}")
    raised = f.put(f"add {word} {bits}, {_splat(0x7FFF, dtypes.int32, lanes)}")
    rounded = f.put(f"add {word} {raised}, {odd}")
    short = f.put(f"lshr {word} {rounded}, {shift}")
    is_nan = f.put(f"fcmp uno {real} {name}, {name}")
    quiet = f.put(f"or {word} {high}, {_splat(0x40, dtypes.int32, lanes)}")
    chosen = f.put(f"select {flags} {is_nan}, {word} {quiet}, {word} {short}")
    return f.put(f"trunc {word} {chosen} to {half}")


RULES: dict[ops.Op, Rule] = {
    **dict.fromkeys((ops.ADD, ops.SUB, ops.MUL, ops.DIV, ops.AND, ops.OR, ops.XOR), _binary),
    **dict.fromkeys((ops.EQ, ops.LT, ops.LE), _compare),
    **dict.fromkeys(_INTRINSIC, _intrinsic),
    **dict.fromkeys((ops.SHL, ops.SHR), _shift),
    **dict.fromkeys((ops.FLOORDIV, ops.MOD), _divide),
    ops.NEG: _negate,
    ops.ABS: _absolute,
    ops.WHERE: _where,
    ops.LDEXP: _scale,
    ops.CAST: _cast,
    ops.BITCAST: _bitcast,
}
