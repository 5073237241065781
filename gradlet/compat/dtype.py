"""tinygrad's `dtypes`: gradlet's element types, with the names and groups that tinygrad has."""

from __future__ import annotations

from typing import Any

import ml_dtypes

from gradlet.base import dtypes as own
from gradlet.base.dtypes import ALL, STORAGE, DType, as_dtype, promote

__all__ = ["ConstType", "DType", "DTypeLike", "dtypes", "least_upper_dtype", "to_dtype"]

ConstType = bool | int | float
DTypeLike = str | DType

_SHORT = {
    "char": own.int8, "short": own.int16, "uchar": own.uint8, "ushort": own.uint16,
    "uint": own.uint32, "ulong": own.uint64,
}  # fmt: skip


class DTypes:
    """The element types by name, groups of them, and the type of Python's floats.

    >>> dtypes.half, dtypes.is_unsigned(dtypes.uchar), dtypes.default_float
    (dtypes.float16, True, dtypes.float32)
    """

    fp8s = STORAGE
    floats = tuple(d for d in (*STORAGE, *ALL) if d.is_float)
    uints = tuple(d for d in ALL if d.kind == "uint")
    sints = tuple(d for d in ALL if d.kind == "int")
    ints = uints + sints
    all = (own.bool_, *ints, *floats)
    default_int = own.int64

    def __getattr__(self, name: str) -> DType:
        found = _SHORT.get(name) or getattr(own, name, None)
        if not isinstance(found, DType):
            raise AttributeError(
                f"gradlet has no dtypes.{name}; there are {', '.join(d.name for d in self.all)}"
            )
        return found

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "default_float":
            own.set_default_float(value)
        elif name != "default_int" or as_dtype(value) is not own.int64:
            raise AttributeError(f"dtypes.{name} cannot be {value!r}; Python's ints are int64")

    @property
    def default_float(self) -> DType:
        """The type of Python's floats; can be set."""
        return own.default_float()

    def is_float(self, dtype: DType) -> bool:
        """Whether it is one of the floats."""
        return dtype.is_float

    def is_int(self, dtype: DType) -> bool:
        """Whether it is one of the integers."""
        return dtype.is_int

    def is_unsigned(self, dtype: DType) -> bool:
        """Whether it is one of the unsigned integers."""
        return dtype.is_unsigned

    def is_bool(self, dtype: DType) -> bool:
        """Whether it is bool."""
        return dtype is own.bool_

    def from_py(self, value: Any) -> DType:
        """The type that a Python number gets, or numbers in a list."""
        if isinstance(value, (list, tuple)):
            return promote_all([self.from_py(v) for v in value]) if value else self.default_float
        return as_dtype(type(value))

    def min(self, dtype: DType) -> Any:
        """The smallest value."""
        return dtype.min

    def max(self, dtype: DType) -> Any:
        """The largest value."""
        return dtype.max

    def finfo(self, dtype: DType) -> tuple[int, int]:
        """How many bits of a float are its exponent, and how many its fraction."""
        fraction = int(ml_dtypes.finfo(dtype.numpy).nmant)
        return (dtype.bits - 1 - fraction, fraction)


def promote_all(given: Any) -> DType:
    """The type in which all of these meet."""
    first, *others = given
    for other in others:
        first = promote(first, other)
    return first


def least_upper_dtype(*given: DType) -> DType:
    """The type in which all of these meet."""
    return promote_all(given)


to_dtype = as_dtype
dtypes = DTypes()
