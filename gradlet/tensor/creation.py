"""Tensors made from nothing but a shape. Each call makes a new leaf."""

from __future__ import annotations

import math
from typing import Any, Self

import numpy as np

from gradlet.base import dtypes
from gradlet.base.dtypes import DType
from gradlet.base.settings import device_name
from gradlet.ir import build
from gradlet.ir.node import Node
from gradlet.runtime.buffer import from_numpy
from gradlet.runtime.device import finest_float, get_device
from gradlet.tensor.core import (
    Scalar,
    Shape,
    check_extents,
    scalar_node,
    shape_argument,
)
from gradlet.tensor.grids import Grids


class Creation(Grids):
    """Constructors by shape. All take `dtype`, `device` and `requires_grad`.

    What has no dtype of its own has `Tensor.default_dtype` if none is given.
    """

    __slots__ = ()

    @classmethod
    def full(
        cls,
        shape: Any,
        fill_value: Scalar,
        *,
        dtype: Any = None,
        device: str | None = None,
        requires_grad: bool | None = None,
    ) -> Self:
        """`fill_value` in every element; its own kind decides the dtype if none is given.

        >>> from gradlet import Tensor
        >>> Tensor.full((2,), 7).tolist()
        [7, 7]
        """
        wanted = dtypes.scalar_dtype(fill_value) if dtype is None else dtypes.as_dtype(dtype)
        extents = check_extents(shape_argument([shape]) if _nested(shape) else (shape,), "full")
        made = scalar_node(fill_value, wanted, extents, "full")
        return cls._leaf(made, device, requires_grad)

    @classmethod
    def zeros(cls, *shape: Any, dtype: Any = None, **kwargs: Any) -> Self:
        """0 in every element."""
        return cls.full(shape_argument(shape), 0, dtype=float_dtype(dtype), **kwargs)

    @classmethod
    def ones(cls, *shape: Any, dtype: Any = None, **kwargs: Any) -> Self:
        """1 in every element."""
        return cls.full(shape_argument(shape), 1, dtype=float_dtype(dtype), **kwargs)

    @classmethod
    def empty(cls, *shape: Any, **kwargs: Any) -> Self:
        """`zeros`, under the name that promises nothing about the values."""
        return cls.zeros(*shape, **kwargs)

    @classmethod
    def arange(
        cls,
        start: Scalar,
        stop: Scalar | None = None,
        step: Scalar = 1,
        *,
        end: Scalar | None = None,
        dtype: Any = None,
        device: str | None = None,
        requires_grad: bool | None = None,
    ) -> Self:
        """start, start + step, ... below stop: int64 if all are ints, else floats.

        `end` is PyTorch's name of `stop`.

        >>> from gradlet import Tensor
        >>> Tensor.arange(2, 8, 3).tolist()
        [2, 5]
        """
        if end is not None:
            stop = end
        if stop is None:
            start, stop = 0, start
        if step == 0:
            raise ValueError("arange: step cannot be 0")
        whole = all(isinstance(number, int) for number in (start, stop, step))
        natural = dtypes.int64 if whole else dtypes.current_float()
        wanted = natural if dtype is None else dtypes.as_dtype(dtype)
        if whole:
            length = len(range(int(start), int(stop), int(step)))
        else:
            length = max(math.ceil((stop - start) / step), 0)
        if whole:
            line = build.cast(_ramp(length, start, step, natural), wanted)
            return cls._leaf(line, device, requires_grad)
        return cls._line(length, start, step, wanted, device, requires_grad)

    @classmethod
    def linspace(
        cls, start: Scalar, stop: Scalar, steps: int, *, dtype: Any = None, **kwargs: Any
    ) -> Self:
        """`steps` evenly spaced numbers from start to stop, both included."""
        if steps < 1:
            raise ValueError(f"linspace: at least 1 step, not {steps}")
        step = (stop - start) / max(steps - 1, 1)
        return cls._line(steps, start, step, float_dtype(dtype), **kwargs)

    @classmethod
    def _line(
        cls,
        length: int,
        start: Scalar,
        step: Scalar,
        dtype: DType,
        device: str | None = None,
        requires_grad: bool | None = None,
    ) -> Self:
        """Evenly spaced floats, worked out in float64: by NumPy for devices that lack that."""
        home = get_device(device or device_name())
        if finest_float(home.name) is dtypes.float64:
            line = _ramp(length, start, step, dtypes.float64)
            return cls._leaf(build.cast(line, dtype), device, requires_grad)
        array = np.arange(length, dtype=np.float64) * step + start
        made = from_numpy(array.astype(dtype.numpy), dtype, home)
        return cls.from_node(made, home.name, requires_grad)

    @classmethod
    def eye(cls, n: int, m: int | None = None, *, dtype: Any = None, **kwargs: Any) -> Self:
        """(n, m) with 1 on the diagonal and 0 elsewhere; m is n if not given."""
        shape = check_extents((n, n if m is None else m), "eye")
        ones = cls.from_node(build.const(1, float_dtype(dtype), shape), "")
        return cls._leaf(ones.tril().triu().node, **kwargs)

    def full_like(self, fill_value: Scalar, **kwargs: Any) -> Self:
        """`full` with the shape, dtype and device of `self`."""
        return self.full(self.shape, fill_value, **self._like(kwargs))

    def zeros_like(self, **kwargs: Any) -> Self:
        """`zeros` with the shape, dtype and device of `self`."""
        return self.full_like(0, **kwargs)

    def ones_like(self, **kwargs: Any) -> Self:
        """`ones` with the shape, dtype and device of `self`."""
        return self.full_like(1, **kwargs)

    def _like(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        return {"dtype": self.dtype, "device": self.device, **kwargs}


def float_dtype(dtype: Any) -> DType:
    """The dtype asked for, or the default one for None."""
    return dtypes.current_float() if dtype is None else dtypes.as_dtype(dtype)


def _nested(shape: Any) -> bool:
    return isinstance(shape, (tuple, list))


def _ramp(length: int, start: Scalar, step: Scalar, dtype: DType) -> Node:
    shape: Shape = (length,)
    line = build.cast(build.iota(length), dtype)
    scaled = build.mul(line, build.const(step, dtype, shape))
    return build.add(scaled, build.const(start, dtype, shape))
