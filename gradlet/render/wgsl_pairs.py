"""64-bit integers as pairs of words, lower one first, for adapters that have none of their own."""

from __future__ import annotations

from gradlet.base import dtypes
from gradlet.base.dtypes import DType
from gradlet.ir import ops
from gradlet.lower.linear import Instruction
from gradlet.render.wgsl_rules import narrowed, type_of, widened, wrapped

PAIR = "vec2<u32>"
_FORMS = {
    ops.ADD: "add_pair({0}, {1})", ops.SUB: "sub_pair({0}, {1})", ops.MUL: "mul_pair({0}, {1})",
    ops.ABS: "abs_{kind}({0})", ops.AND: "{0} & {1}",
    ops.OR: "{0} | {1}", ops.XOR: "{0} ^ {1}", ops.EQ: "all({0} == {1})",
    ops.LT: "less_{kind}({0}, {1})", ops.LE: "!less_{kind}({1}, {0})",
    ops.MAXIMUM: "select({0}, {1}, less_{kind}({0}, {1}))",
    ops.MINIMUM: "select({1}, {0}, less_{kind}({0}, {1}))",
    ops.FLOORDIV: "floordiv_{kind}({0}, {1})", ops.MOD: "mod_{kind}({0}, {1})",
    ops.SHL: "shl_pair({0}, {1}.x)", ops.SHR: "shr_{kind}({0}, {1}.x)",
    ops.WHERE: "select({2}, {1}, {0})", ops.BITCAST: "{0}",
}  # fmt: skip


def is_pair(dtype: DType) -> bool:
    return dtype in (dtypes.int64, dtypes.uint64)


def literal(value: int) -> str:
    return f"{PAIR}({value & 0xFFFFFFFF}u, {value >> 32 & 0xFFFFFFFF}u)"


def text_of(i: Instruction, names: list[str], dtype: DType) -> str:
    """An instruction on pairs, or from or to them; `dtype` is that of its operands."""
    assert i.result is not None
    if i.op is ops.CAST:
        return _cast(names[0], dtype, i.result.dtype)
    return _FORMS[i.op].format(*names, kind=type_of(dtype))


def _cast(name: str, dtype: DType, wanted: DType) -> str:
    if is_pair(wanted):
        return _to_pair(name, dtype, type_of(wanted))
    if wanted is dtypes.bool_:
        return f"any({name} != {PAIR}())"
    if wanted.is_float:
        text = f"f32_of_{type_of(dtype)}({name})"
        return text if wanted is dtypes.float32 else narrowed(text, wanted)
    if wanted is dtypes.index:
        return f"index_of_{type_of(dtype)}({name})"
    return wrapped(f"{type_of(wanted)}({name}.x)", wanted)


def _to_pair(name: str, dtype: DType, kind: str) -> str:
    if is_pair(dtype):
        return name
    if dtype is dtypes.bool_ or (type_of(dtype) == "u32" and dtype.is_int):
        return f"{PAIR}(u32({name}), 0u)"
    if dtype.is_float:
        wide = name if dtype is dtypes.float32 else widened(name, dtype)
        return f"{kind}_of_f32({wide})"
    return f"pair_of_i32({name})"
