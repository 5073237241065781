"""Fourier transforms over pocketfft, through NumPy, with gradients.

There is no complex dtype. A complex number is a pair (real part, imaginary part) along a last axis
of extent 2, as `torch.view_as_real` lays it out: every other operation, the compiler, gradients
and files work on such pairs as they are, and a whole new kind of number would have to pass through
all of them for the sake of six functions. Axes are counted without that last one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from gradlet.base import dtypes
from gradlet.ir import build
from gradlet.ir.node import Node
from gradlet.tensor.core import Shape, normal_axis
from gradlet.tensor.linalg import Linalg

_NORMS = ("backward", "ortho", "forward")


class Fft(Linalg):
    """Fourier transforms. `norm` divides by n in the `backward` or `forward` one, or `ortho`."""

    __slots__ = ()

    def fft(self, n: int | None = None, dim: int = -1, norm: str | None = None) -> Self:
        """The discrete Fourier transform of complex pairs (..., N, 2) along `dim`.

        Args:
            n: cut or fill with zeros to so many first.
        """
        return self._transform(None if n is None else [n], [dim], False, norm, "fft")

    def ifft(self, n: int | None = None, dim: int = -1, norm: str | None = None) -> Self:
        """The inverse of `fft`."""
        return self._transform(None if n is None else [n], [dim], True, norm, "ifft")

    def fft2(
        self,
        s: Sequence[int] | None = None,
        dim: Sequence[int] = (-2, -1),
        norm: str | None = None,
    ) -> Self:
        """The Fourier transform along two axes of complex pairs (..., M, N, 2)."""
        return self._transform(s, dim, False, norm, "fft2")

    def ifft2(
        self,
        s: Sequence[int] | None = None,
        dim: Sequence[int] = (-2, -1),
        norm: str | None = None,
    ) -> Self:
        """The inverse of `fft2`."""
        return self._transform(s, dim, True, norm, "ifft2")

    def rfft(self, n: int | None = None, dim: int = -1, norm: str | None = None) -> Self:
        """The first half of the Fourier transform of real numbers, as pairs.

        (..., N) -> (..., N // 2 + 1, 2); the other half mirrors it.

        >>> from gradlet import Tensor
        >>> Tensor([1.0, 0.0, 0.0]).rfft().tolist()
        [[1.0, 0.0], [1.0, 0.0]]
        """
        x = self._floats("rfft")
        axis = self._axis(dim, "rfft")
        if not self.ndim:
            raise ValueError("rfft: a scalar has no axis to transform")
        x = _fit(x, axis, x.shape[axis] if n is None else n, "rfft")
        return self._result(build.library("rfft", (axis, _norm(norm, "rfft")), x))

    def irfft(self, n: int | None = None, dim: int = -1, norm: str | None = None) -> Self:
        """The `n` real numbers of which pairs are the `rfft`; 2 * (N - 1) if `n` is None."""
        (axis,) = self._pair_axes([dim], "irfft")
        length = 2 * (self.shape[axis] - 1) if n is None else n
        if length < 1:
            raise ValueError(f"irfft: no {length} numbers; pass n >= 1")
        x = _fit(self.node, axis, length // 2 + 1, "irfft")
        return self._result(build.library("irfft", (length, axis, _norm(norm, "irfft")), x))

    def _transform(
        self,
        sizes: Sequence[int] | None,
        dims: Sequence[int],
        inverse: bool,
        norm: str | None,
        operation: str,
    ) -> Self:
        axes = self._pair_axes(dims, operation)
        x = self.node
        wanted = [x.shape[axis] for axis in axes] if sizes is None else sizes
        if len(wanted) != len(axes):
            raise ValueError(f"{operation}: {len(wanted)} sizes for {len(axes)} axes")
        for axis, size in zip(axes, wanted, strict=True):
            x = _fit(x, axis, size, operation)
        return self._result(build.library("fft", (axes, inverse, _norm(norm, operation)), x))

    def _floats(self, operation: str) -> Node:
        if self.dtype not in (dtypes.float32, dtypes.float64):
            raise TypeError(
                f"{operation}: needs float32 or float64, not {self.dtype.name}; call .float() first"
            )
        return self.node

    def _pair_axes(self, dims: Sequence[int], operation: str) -> Shape:
        self._floats(operation)
        if self.ndim < 2 or self.shape[-1] != 2:
            raise ValueError(
                f"{operation}: needs pairs (real part, imaginary part) along a last axis of 2, not "
                f"shape {self.shape}; stack real numbers with zeros, or use rfft"
            )
        axes = tuple(normal_axis(dim, self.ndim - 1, operation) for dim in dims)
        if len(set(axes)) != len(axes):
            raise ValueError(f"{operation}: {tuple(dims)} names an axis twice")
        return axes


def _norm(norm: str | None, operation: str) -> str:
    if norm is not None and norm not in _NORMS:
        raise ValueError(f"{operation}: norm is one of {', '.join(_NORMS)}, not {norm!r}")
    return norm or "backward"


def _fit(x: Node, axis: int, size: int, operation: str) -> Node:
    """`x` cut, or filled with zeros, to `size` along an axis."""
    if size < 1:
        raise ValueError(f"{operation}: cannot transform {size} elements; at least 1 is needed")
    extent = x.shape[axis]
    spans = tuple((0, min(n, size) if a == axis else n, 1) for a, n in enumerate(x.shape))
    missing = max(size - extent, 0)
    widths = tuple((0, missing if a == axis else 0, 0) for a in range(x.ndim))
    return build.pad(build.slice_(x, spans), widths)
