"""How LLVM writes element types, vectors of them, and constants."""

from __future__ import annotations

import struct

import numpy as np

from gradlet.base import dtypes
from gradlet.base.dtypes import DType


def scalar_type(dtype: DType, in_memory: bool = False) -> str:
    """LLVM's name of an element type. bfloat16 and 8-bit floats are handled as their bits."""
    if dtype is dtypes.bool_:
        return "i8" if in_memory else "i1"
    if dtype.is_float and not _as_bits(dtype):
        return {16: "half", 32: "float", 64: "double"}[dtype.bits]
    return f"i{dtype.bits}"


def _as_bits(dtype: DType) -> bool:
    return dtype is dtypes.bfloat16 or dtype.is_storage


def type_of(dtype: DType, lanes: int, in_memory: bool = False) -> str:
    name = scalar_type(dtype, in_memory)
    return f"<{lanes} x {name}>" if lanes else name


def literal(value: float, dtype: DType) -> str:
    """A constant, floats by their exact bits."""
    if dtype is dtypes.bool_:
        return "true" if value else "false"
    if not dtype.is_float:
        return str(int(value) - (1 << dtype.bits) if value > dtype.max else int(value))
    if _as_bits(dtype):
        return str(int(np.array(value, dtype.numpy).view(f"i{dtype.itemsize}")))
    if dtype is dtypes.float16:
        return f"0xH{struct.unpack('<H', _pack('<e', value))[0]:04X}"
    if dtype is dtypes.float32:
        value = struct.unpack("<f", _pack("<f", value))[0]
    return f"0x{struct.unpack('<Q', struct.pack('<d', value))[0]:016X}"


def _pack(form: str, value: float) -> bytes:
    try:
        return struct.pack(form, value)
    except OverflowError:  # too large for the type: the infinity of its sign
        return struct.pack(form, float("inf") if value > 0 else float("-inf"))


def mangled(scalar: str) -> str:
    return {"half": "f16", "float": "f32", "double": "f64"}.get(scalar, scalar)


def suffix_of(dtype: DType, lanes: int) -> str:
    return (f"v{lanes}" if lanes else "") + mangled(scalar_type(dtype))
