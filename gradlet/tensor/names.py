"""Facts, dtypes and new tensors under the names that PyTorch, NumPy and tinygrad have for them."""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from gradlet.base import dtypes
from gradlet.tensor.core import Scalar, product, shape_argument
from gradlet.tensor.creation import float_dtype
from gradlet.tensor.layouts import Layouts


class Names(Layouts):
    """Names. Nothing here computes what the layers before it do not."""

    __slots__ = ()

    # Facts

    ndimension = Layouts.dim
    nelement = Layouts.numel

    @property
    def itemsize(self) -> int:
        """Bytes that one element takes."""
        return self.element_size()

    def is_same_size(self, other: Self) -> bool:
        """Whether both have the same shape."""
        return self.shape == other.shape

    def is_signed(self) -> bool:
        """Whether the dtype has numbers below 0."""
        return not (self.dtype.is_unsigned or self.dtype is dtypes.bool_)

    def is_complex(self) -> bool:
        """False: no dtype here is complex."""
        return False

    # Dtypes

    astype = Layouts.cast

    def type(self, dtype: Any) -> Self:
        """As `dtype`; see `cast`."""
        return self.cast(dtype)

    def type_as(self, other: Self) -> Self:
        """As the dtype of `other`."""
        return self.cast(other.dtype)

    def byte(self) -> Self:
        """As uint8."""
        return self.cast(dtypes.uint8)

    def char(self) -> Self:
        """As int8."""
        return self.cast(dtypes.int8)

    # New tensors with the dtype and device of this one

    def new_tensor(self, data: Any, **kwargs: Any) -> Self:
        """A tensor of `data`; its dtype and device are those of `self` unless given.

        >>> from gradlet import Tensor
        >>> Tensor([1.5]).half().new_tensor([1, 2]).dtype
        dtypes.float16
        """
        make: Any = self.__class__
        return make(data, **self._like(kwargs))

    def new_full(self, size: Any, fill_value: Scalar, **kwargs: Any) -> Self:
        """`full`; dtype and device are those of `self` unless given."""
        return self.full(size, fill_value, **self._like(kwargs))

    def new_zeros(self, *size: Any, **kwargs: Any) -> Self:
        """`zeros`; dtype and device are those of `self` unless given."""
        return self.new_full(shape_argument(size), 0, **kwargs)

    def new_ones(self, *size: Any, **kwargs: Any) -> Self:
        """`ones`; dtype and device are those of `self` unless given."""
        return self.new_full(shape_argument(size), 1, **kwargs)

    def new_empty(self, *size: Any, **kwargs: Any) -> Self:
        """`empty`; dtype and device are those of `self` unless given."""
        return self.new_zeros(*size, **kwargs)

    def empty_like(self, **kwargs: Any) -> Self:
        """`empty` with the shape, dtype and device of `self`."""
        return self.zeros_like(**kwargs)

    def randint_like(self, low: int, high: int | None = None, **kwargs: Any) -> Self:
        """`randint` from [low, high), or [0, low), with the shape, dtype and device of `self`."""
        low, high = (0, low) if high is None else (low, high)
        options = self._like(kwargs)
        wanted = dtypes.as_dtype(options.pop("dtype"))
        drawn = self.randint(self.shape, low=low, high=high, device=options.pop("device"))
        return self._leaf(drawn.cast(wanted).node, drawn.device, **options)

    # New tensors by themselves

    @classmethod
    def logspace(
        cls, start: Scalar, end: Scalar, steps: int, base: float = 10.0, *, dtype: Any = None,
        **kwargs: Any,
    ) -> Self:  # fmt: skip
        """`steps` numbers base**start to base**end whose exponents are evenly spaced.

        >>> from gradlet import Tensor
        >>> Tensor.logspace(0, 2, 3).tolist()
        [1.0, 10.0, 100.0]
        """
        exponents = np.linspace(start, end, steps)
        make: Any = cls
        return make(np.power(float(base), exponents), dtype=float_dtype(dtype), **kwargs)

    @classmethod
    def tril_indices(cls, row: int, col: int, offset: int = 0, **kwargs: Any) -> Self:
        """(2, count): rows and columns of the elements on and below a diagonal (int64)."""
        make: Any = cls
        return make(np.stack(np.tril_indices(row, offset, col)), **kwargs)

    @classmethod
    def triu_indices(cls, row: int, col: int, offset: int = 0, **kwargs: Any) -> Self:
        """(2, count): rows and columns of the elements on and above a diagonal (int64)."""
        make: Any = cls
        return make(np.stack(np.triu_indices(row, offset, col)), **kwargs)

    # Where elements stand, and which they are

    def nonzero_static(self, *, size: int, fill_value: int = -1) -> Self:
        """`nonzero` of `size` rows."""
        return self.nonzero(size, fill_value)

    def isin(
        self, test_elements: Any, *, assume_unique: bool = False, invert: bool = False
    ) -> Self:
        """True where an element equals one of `test_elements`; elsewhere if `invert`.

        >>> from gradlet import Tensor
        >>> Tensor([[1, 2], [3, 4]]).isin(Tensor([2, 3])).tolist()
        [[False, True], [True, False]]
        """
        found = self._result(self._values(test_elements, "isin")).ravel()
        result = self.unsqueeze(-1).eq(found).any(-1)
        return result.logical_not() if invert else result

    def unique_consecutive(
        self, return_inverse: bool = False, return_counts: bool = False, dim: int | None = None
    ) -> Any:
        """The elements that differ from the one before, or slices along `dim`; computes at once.

        Returns:
            the elements; with them, if asked for, which of them each element of `self` is, and
            how often each stands in a row (int64).

        >>> from gradlet import Tensor
        >>> Tensor([1, 1, 2, 1]).unique_consecutive().tolist()
        [1, 2, 1]
        """
        array = self._known("unique_consecutive")
        if dim is None:
            array = array.reshape(-1)
        axis = 0 if dim is None else self._axis(dim, "unique_consecutive")
        rows = np.moveaxis(array, axis, 0)
        flat = rows.reshape(len(rows), product(rows.shape[1:]))
        new = np.ones(len(rows), bool)
        new[1:] = (flat[1:] != flat[:-1]).any(1)
        inverse = np.cumsum(new) - 1
        places = np.flatnonzero(new)
        parts = [np.compress(new, array, axis)]
        parts += [inverse.reshape(self.shape) if dim is None else inverse] if return_inverse else []
        parts += [np.diff(places, append=len(rows))] if return_counts else []
        made = tuple(self._given(part) for part in parts)
        return made if len(made) > 1 else made[0]

    # Sums

    def trapezoid(self, x: Any = None, *, dx: Any = 1, dim: int = -1) -> Self:
        """The integral along `dim` of what is linear between the elements, `dx` or `x` apart.

        Args:
            x: where the elements stand: the shape of `self`, or its extent along `dim`.

        >>> from gradlet import Tensor
        >>> Tensor([1.0, 3.0, 5.0]).trapezoid().item()
        6.0
        """
        if not self.ndim:
            raise ValueError("trapezoid: a scalar has no axis to integrate along")
        axis = self._axis(dim, "trapezoid")
        y = self.movedim(axis, -1)
        width = dx
        if x is not None:
            place = self._result(self._values(x, "trapezoid"))
            width = (place if place.ndim == 1 else place.movedim(axis, -1)).diff()
        return ((y[..., 1:] + y[..., :-1]) * width).sum(-1) / 2

    def contiguous_backward(self) -> Self:
        """The tensor itself: gradients here are laid out as the compiler thinks best."""
        return self
