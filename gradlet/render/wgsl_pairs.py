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
    ops.NEG: "sub_pair(vec2<u32>(), {0})", ops.ABS: "abs_{kind}({0})", ops.AND: "{0} & {1}",
    ops.OR: "{0} | {1}", ops.XOR: "{0} ^ {1}", ops.EQ: "all({0} == {1})",
    ops.LT: "less_{kind}({0}, {1})", ops.LE: "!less_{kind}({1}, {0})",
    ops.MAXIMUM: "select({0}, {1}, less_{kind}({0}, {1}))",
    ops.MINIMUM: "select({1}, {0}, less_{kind}({0}, {1}))",
    ops.FLOORDIV: "floordiv_{kind}({0}, {1})", ops.MOD: "mod_{kind}({0}, {1})",
    ops.SHL: "select(vec2<u32>(), shl_pair({0}, {1}.x & 63u), {1}.y == 0u && {1}.x < 64u)",
    ops.SHR: "shr_{kind}({0}, select(64u, {1}.x, {1}.y == 0u && {1}.x < 64u))",
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


# Those that others call stand behind them.
HELPERS = {
    "index_of_i64": """fn index_of_i64(a: vec2<u32>) -> i32 {
  let low = bitcast<i32>(a.x);
  if (a.y == bitcast<u32>(low >> 31u)) { return low; }
  return select(2147483647, i32(-2147483648), bitcast<i32>(a.y) < 0);
}""",
    "index_of_u64": """fn index_of_u64(a: vec2<u32>) -> i32 {
  return select(2147483647, i32(a.x), a.y == 0u && a.x < 0x80000000u);
}""",
    "pair_of_i32": """fn pair_of_i32(x: i32) -> vec2<u32> {
  return vec2<u32>(bitcast<u32>(x), bitcast<u32>(x >> 31u));
}""",
    "i64_of_f32": """fn i64_of_f32(x: f32) -> vec2<u32> {
  if (x >= 0x1p63f) { return vec2<u32>(0xffffffffu, 0x7fffffffu); }
  if (x <= -0x1p63f) { return vec2<u32>(0u, 0x80000000u); }
  let size = u64_of_f32(abs(x));
  if (x < 0.0) { return sub_pair(vec2<u32>(), size); }
  return size;
}""",
    "u64_of_f32": """fn u64_of_f32(x: f32) -> vec2<u32> {
  if (!is_number_f32(x) || x < 1.0) { return vec2<u32>(); }
  if (x >= 0x1p64f) { return vec2<u32>(0xffffffffu, 0xffffffffu); }
  let high = u32(x * 0x1p-32f);
  return vec2<u32>(u32(x - f32(high) * 0x1p32f), high);
}""",
    "f32_of_i64": """fn f32_of_i64(a: vec2<u32>) -> f32 {
  let size = f32_of_u64(abs_i64(a));
  return select(size, -size, bitcast<i32>(a.y) < 0);
}""",
    "f32_of_u64": """fn f32_of_u64(a: vec2<u32>) -> f32 {
  if (a.y == 0u) { return f32(a.x); }
  let bits = 32u - countLeadingZeros(a.y);
  let lost = any(shl_pair(a, 64u - bits) != vec2<u32>());
  return f32(shr_u64(a, bits).x | u32(lost)) * bitcast<f32>((bits + 127u) << 23u);
}""",
    "mod_i64": """fn mod_i64(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
  if (all(b == vec2<u32>())) { return b; }
  return sub_pair(a, mul_pair(b, floordiv_i64(a, b)));
}""",
    "floordiv_i64": """fn floordiv_i64(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
  let found = divided(abs_i64(a), abs_i64(b));
  if (bitcast<i32>(a.y ^ b.y) >= 0) { return found.xy; }
  let rest = u32(any(found.zw != vec2<u32>()) && any(b != vec2<u32>()));
  return sub_pair(sub_pair(vec2<u32>(), found.xy), vec2<u32>(rest, 0u));
}""",
    "mod_u64": """fn mod_u64(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
  return select(divided(a, b).zw, b, all(b == vec2<u32>()));
}""",
    "floordiv_u64": """fn floordiv_u64(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
  return divided(a, b).xy;
}""",
    "divided": """fn divided(a: vec2<u32>, b: vec2<u32>) -> vec4<u32> {
  var quotient = vec2<u32>();
  var rest = vec2<u32>();
  if (all(b == vec2<u32>())) { return vec4<u32>(); }
  for (var n = 0; n < 64; n++) {
    let place = 63u - u32(n);
    let beyond = rest.y >> 31u;
    rest = shl_pair(rest, 1u) | vec2<u32>(shr_u64(a, place).x & 1u, 0u);
    if (beyond == 1u || !less_u64(rest, b)) {
      rest = sub_pair(rest, b);
      quotient |= shl_pair(vec2<u32>(1u, 0u), place);
    }
  }
  return vec4<u32>(quotient, rest);
}""",
    "abs_u64": "fn abs_u64(a: vec2<u32>) -> vec2<u32> { return a; }",
    "abs_i64": """fn abs_i64(a: vec2<u32>) -> vec2<u32> {
  if (bitcast<i32>(a.y) < 0) { return sub_pair(vec2<u32>(), a); }
  return a;
}""",
    "less_i64": """fn less_i64(a: vec2<u32>, b: vec2<u32>) -> bool {
  return bitcast<i32>(a.y) < bitcast<i32>(b.y) || (a.y == b.y && a.x < b.x);
}""",
    "less_u64": """fn less_u64(a: vec2<u32>, b: vec2<u32>) -> bool {
  return a.y < b.y || (a.y == b.y && a.x < b.x);
}""",
    "shl_pair": """fn shl_pair(a: vec2<u32>, count: u32) -> vec2<u32> {
  if (count == 0u) { return a; }
  if (count >= 32u) { return vec2<u32>(0u, a.x << (count - 32u)); }
  return vec2<u32>(a.x << count, (a.y << count) | (a.x >> (32u - count)));
}""",
    "shr_u64": """fn shr_u64(a: vec2<u32>, count: u32) -> vec2<u32> {
  if (count == 0u) { return a; }
  if (count >= 64u) { return vec2<u32>(); }
  if (count >= 32u) { return vec2<u32>(a.y >> (count - 32u), 0u); }
  return vec2<u32>((a.x >> count) | (a.y << (32u - count)), a.y >> count);
}""",
    "shr_i64": """fn shr_i64(a: vec2<u32>, count: u32) -> vec2<u32> {
  let high = bitcast<i32>(a.y);
  let fill = bitcast<u32>(high >> 31u);
  if (count == 0u) { return a; }
  if (count >= 64u) { return vec2<u32>(fill, fill); }
  if (count >= 32u) { return vec2<u32>(bitcast<u32>(high >> (count - 32u)), fill); }
  return vec2<u32>((a.x >> count) | (a.y << (32u - count)), bitcast<u32>(high >> count));
}""",
    "mul_pair": """fn mul_pair(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
  let p = a.x & 0xffffu;
  let q = a.x >> 16u;
  let r = b.x & 0xffffu;
  let s = b.x >> 16u;
  let middle = ((p * r) >> 16u) + ((p * s) & 0xffffu) + ((q * r) & 0xffffu);
  let high = q * s + ((p * s) >> 16u) + ((q * r) >> 16u) + (middle >> 16u);
  return vec2<u32>(a.x * b.x, high + a.x * b.y + a.y * b.x);
}""",
    "add_pair": """fn add_pair(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
  let low = a.x + b.x;
  return vec2<u32>(low, a.y + b.y + u32(low < a.x));
}""",
    "sub_pair": """fn sub_pair(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
  return vec2<u32>(a.x - b.x, a.y - b.y - u32(a.x < b.x));
}""",
}
