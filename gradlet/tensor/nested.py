"""Tensors in nested lists, tuples, dicts and dataclasses: taken out, and put back."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

from gradlet.engine.trace import JitError
from gradlet.tensor.core import Core

PLAIN = (type(None), bool, int, float, complex, str, bytes, np.generic, np.dtype)

Form = tuple  # hashable: what a value is apart from the tensors in it


class Same:
    """A Python value as part of a form: equal to what has the same type and the same value.

    Plain values are compared as such, with 0.0 apart from -0.0 and nan equal to nan; others are
    the same only if they are one object.
    """

    __slots__ = ("value", "_key")

    def __init__(self, value: Any) -> None:
        self.value = value
        self._key = plain_key(value) if isinstance(value, PLAIN) else id(value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)


def plain_key(value: Any) -> tuple:
    """Equal for plain values that no function can tell apart."""
    return (type(value), repr(value) if isinstance(value, (float, complex, np.generic)) else value)


def flatten(value: Any, tensors: list[Core], objects: list[Any], operation: str = "jit") -> Form:
    """The form of a value; its tensors and other objects are added to the lists in order.

    Args:
        operation: how messages call who asks.

    Raises:
        JitError: a NumPy array, whose elements would be taken for constants; a TypeError if it is
            not jit that asks.
    """

    def inner(values: Any) -> tuple:
        return tuple(flatten(v, tensors, objects, operation) for v in values)

    if isinstance(value, Core):
        tensors.append(value)
        return ("tensor",)
    if isinstance(value, PLAIN):
        return ("value", Same(value))
    if isinstance(value, list | tuple):
        return ("sequence", type(value), inner(value))
    if isinstance(value, dict):
        return ("dict", type(value), tuple(map(Same, value)), inner(value.values()))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = tuple(f.name for f in dataclasses.fields(value))
        return ("dataclass", type(value), names, inner(getattr(value, n) for n in names))
    if isinstance(value, np.ndarray):
        error: type[Exception] = JitError if operation == "jit" else TypeError
        raise error(
            f"{operation}: an argument or a result is a NumPy array of shape {value.shape}; pass "
            "Tensor(array), since only the elements of tensors can differ from call to call"
        )
    objects.append(value)
    return ("value", Same(value))


def rebuild(form: Form, tensors: Iterator[Core]) -> Any:
    """A new value of that form, with other tensors in it."""
    kind, *rest = form
    if kind == "tensor":
        return next(tensors)
    if kind == "value":
        return rest[0].value
    cls, *rest = rest
    made = [rebuild(part, tensors) for part in rest[-1]]
    if kind == "sequence":
        return cls(*made) if hasattr(cls, "_fields") else cls(made)
    if kind == "dict":
        return cls(zip((key.value for key in rest[0]), made, strict=True))
    return cls(**dict(zip(rest[0], made, strict=True)))
