"""Element types, and the rules by which two of them meet.

A `DType` is one immutable object per element type, so `is` compares them. Promotion follows
PyTorch: categories are ordered bool < integer < float; within a category the wider type wins;
a Python scalar is weak: it never widens a tensor of its own or a higher category.
The 8-bit floats are for storage: they meet no other type, and nothing is computed in them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np


@dataclass(frozen=True, eq=False)
class DType:
    """One element type.

    Attributes:
        name: the name users see, such as `float32`.
        kind: `bool`, `int`, `uint` or `float`.
        bits: width of the value in bits (a bool is stored in 8).
        numpy: the NumPy dtype with the same layout.
        is_storage: whether it can be moved and cast, and not computed with.
    """

    name: str
    kind: str
    bits: int
    numpy: np.dtype
    is_storage: bool = False

    @property
    def itemsize(self) -> int:
        """Bytes that one element takes in memory."""
        return max(self.bits // 8, 1)

    @property
    def is_float(self) -> bool:
        return self.kind == "float"

    @property
    def is_int(self) -> bool:
        """True for signed and unsigned integers, not for bool."""
        return self.kind in ("int", "uint")

    @property
    def is_unsigned(self) -> bool:
        return self.kind == "uint"

    @property
    def min(self) -> Any:
        """The smallest value: -inf for floats, False for bool."""
        if self.kind == "float":
            return float("-inf")
        if self.kind == "int":
            return -(1 << (self.bits - 1))
        return False if self.kind == "bool" else 0

    @property
    def max(self) -> Any:
        """The largest value: inf for floats, True for bool."""
        if self.kind == "float":
            return float("inf")
        if self.kind == "int":
            return (1 << (self.bits - 1)) - 1
        return True if self.kind == "bool" else (1 << self.bits) - 1

    @property
    def largest(self) -> Any:
        """The largest value that is finite."""
        if not self.is_float:
            return self.max
        return float(ml_dtypes.finfo(self.numpy).max)

    def __repr__(self) -> str:
        return f"dtypes.{self.name}"

    def __reduce__(self) -> Any:
        return (from_name, (self.name,))


bool_ = DType("bool", "bool", 1, np.dtype(np.bool_))
int8 = DType("int8", "int", 8, np.dtype(np.int8))
int16 = DType("int16", "int", 16, np.dtype(np.int16))
int32 = DType("int32", "int", 32, np.dtype(np.int32))
int64 = DType("int64", "int", 64, np.dtype(np.int64))
uint8 = DType("uint8", "uint", 8, np.dtype(np.uint8))
uint16 = DType("uint16", "uint", 16, np.dtype(np.uint16))
uint32 = DType("uint32", "uint", 32, np.dtype(np.uint32))
uint64 = DType("uint64", "uint", 64, np.dtype(np.uint64))
float8_e4m3fn = DType("float8_e4m3fn", "float", 8, np.dtype(ml_dtypes.float8_e4m3fn), True)
float8_e5m2 = DType("float8_e5m2", "float", 8, np.dtype(ml_dtypes.float8_e5m2), True)
float16 = DType("float16", "float", 16, np.dtype(np.float16))
bfloat16 = DType("bfloat16", "float", 16, np.dtype(ml_dtypes.bfloat16))
float32 = DType("float32", "float", 32, np.dtype(np.float32))
float64 = DType("float64", "float", 64, np.dtype(np.float64))

# The type of loop counters and addresses inside kernels; users never see it.
index = DType("index", "int", 64, np.dtype(np.int64))

ALL = (
    bool_, int8, int16, int32, int64, uint8, uint16, uint32, uint64,
    float16, bfloat16, float32, float64,
)  # fmt: skip

STORAGE = (float8_e4m3fn, float8_e5m2)

_BY_NAME = {d.name: d for d in (*ALL, *STORAGE, index)}
_BY_NUMPY = {d.numpy: d for d in (*ALL, *STORAGE)}
_KNOWN = ", ".join(d.name for d in (*ALL, *STORAGE))
_ALIASES = {
    "float": float32, "half": float16, "double": float64, "int": int32, "long": int64,
    "fp8e4m3": float8_e4m3fn, "fp8e5m2": float8_e5m2,
}  # fmt: skip
default_float: Any = float32  # scripts for tinygrad set it; see `Tensor.default_dtype`
_CATEGORY = {"bool": 0, "uint": 1, "int": 1, "float": 2}


def from_name(name: str) -> DType:
    """The type called `name`, or `torch.name`; raises TypeError that lists the known names."""
    plain = name.removeprefix("torch.")
    found = _BY_NAME.get(plain) or _ALIASES.get(plain)
    if found is None:
        raise TypeError(f"unknown dtype {name!r}; known dtypes are {_KNOWN}")
    return found


def __getattr__(name: str) -> DType:
    """`dtypes.float`, `dtypes.bool`, ...: the names that would hide Python's own in here."""
    if name == "bool":
        return bool_
    if name in _ALIASES:
        return _ALIASES[name]
    raise AttributeError(f"there is no dtype {name!r} among gradlet's")


def current_float() -> DType:
    """The type of Python's floats, and of what is created without saying which.

    Raises:
        TypeError: `default_float` has been set to what is no float that can be computed with.
    """
    return _default(default_float)


def set_default_float(value: Any) -> None:
    """Has another type be the default; TypeError as of `current_float`."""
    global default_float
    default_float = _default(as_dtype(value))


def _default(value: Any) -> DType:
    if not isinstance(value, DType) or not value.is_float or value.is_storage:
        raise TypeError(
            f"default_dtype: {value!r} cannot be the type of Python's floats; choose one of "
            "float16, bfloat16, float32 and float64"
        )
    return value


def as_dtype(value: Any) -> DType:
    """Accepts a DType, a name, a dtype of NumPy or PyTorch, or Python's bool, int and float.

    Raises:
        TypeError: it is none of these, or none of ours; lists the known names.
    """
    if isinstance(value, DType):
        return value
    if isinstance(value, str):
        return from_name(value)
    if value is bool:
        return bool_
    if value is int:
        return int64
    if value is float:
        return current_float()
    if type(value).__module__ == "torch":
        return from_name(str(value))
    return from_numpy(value)


def from_numpy(value: Any) -> DType:
    """The type with the layout of a NumPy dtype (byte order is the caller's concern)."""
    try:
        dtype = np.dtype(value).newbyteorder("=")
    except (TypeError, ValueError):
        raise TypeError(f"{value!r} is no dtype; known dtypes are {_KNOWN}") from None
    if dtype not in _BY_NUMPY:
        raise TypeError(f"no gradlet dtype holds NumPy's {dtype}; convert to one of {_KNOWN}")
    return _BY_NUMPY[dtype]


def check_arithmetic(dtype: DType, operation: str) -> None:
    """Raises a TypeError if nothing is computed in `dtype`."""
    if dtype.is_storage:
        raise TypeError(
            f"{operation.lower()}: {dtype.name} is for storage, and nothing is computed in it; "
            "cast to another float first, as in x.float()"
        )


def category(dtype: DType) -> int:
    """0 for bool, 1 for integers, 2 for floats: promotion never leads to a lower one."""
    return _CATEGORY[dtype.kind]


def promote(a: DType, b: DType) -> DType:
    """The type in which `a` and `b` meet, as `torch.promote_types` has it.

    >>> promote(int64, float16)
    dtypes.float16
    >>> promote(uint8, int8)
    dtypes.int16
    """
    if a is b:
        return a
    if a.is_storage or b.is_storage:
        raise TypeError(
            f"{a.name} and {b.name} have no common dtype: 8-bit floats are for storage; cast to "
            "another float first, as in x.float()"
        )
    if _CATEGORY[a.kind] != _CATEGORY[b.kind]:
        return a if _CATEGORY[a.kind] > _CATEGORY[b.kind] else b
    if a.kind == "float":
        if a.bits == b.bits:  # float16 with bfloat16
            return float32
        return a if a.bits > b.bits else b
    if a.kind == b.kind:
        return a if a.bits > b.bits else b
    signed, unsigned = (a, b) if a.kind == "int" else (b, a)
    if unsigned.bits < signed.bits:
        return signed
    if unsigned.bits == 64:
        raise TypeError("int and uint64 have no common integer dtype; cast one of them first")
    return from_name(f"int{unsigned.bits * 2}")


def scalar_dtype(value: bool | int | float) -> DType:
    """The type that a Python scalar has when it stands alone."""
    if isinstance(value, (bool, np.bool_)):
        return bool_
    if isinstance(value, (int, np.integer)):
        return int64
    return current_float()


def weak_promote(dtype: DType, value: bool | int | float) -> DType:
    """The type in which a tensor of `dtype` meets a Python scalar: the scalar is weak."""
    weak = scalar_dtype(value)
    if _CATEGORY[weak.kind] <= _CATEGORY[dtype.kind]:
        return dtype
    return weak
