"""From windows back to images: max_unpool; images as columns of windows and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from gradlet.base import dtypes
from gradlet.ir import build
from gradlet.ir.build import along
from gradlet.tensor.adaptive import Adaptive
from gradlet.tensor.core import Shape, product
from gradlet.tensor.indexing import put_at
from gradlet.tensor.windows import (
    Extents,
    batched,
    extents_argument,
    geometry,
    padded_windows,
)


class Unpooling(Adaptive):
    """Inverses of pooling and of cutting images into windows."""

    __slots__ = ()

    # The inverse of max_pool

    def max_unpool1d(
        self,
        indices: Self,
        kernel_size: Extents = 2,
        stride: Extents | None = None,
        dilation: Extents = 1,
        padding: Extents = 0,
        output_size: Sequence[int] | None = None,
    ) -> Self:
        """(..., L) where `max_pool1d` found it; see `max_unpool2d`."""
        options = (kernel_size, stride, dilation, padding, output_size)
        return self._max_unpool(1, indices, *options)

    def max_unpool2d(
        self,
        indices: Self,
        kernel_size: Extents = (2, 2),
        stride: Extents | None = None,
        dilation: Extents = 1,
        padding: Extents = 0,
        output_size: Sequence[int] | None = None,
    ) -> Self:
        """Images that have elements where `max_pool2d` found them, and else zeros.

        Args:
            self: (..., OH, OW).
            indices: places in the flat image, of the same shape. Of several elements for one
                place the last stays, and all get its gradient.
            output_size: the extents of the image, alone or with (N, C) before them, less than a
                stride away from those that the window gives.

        Raises:
            IndexError: an index outside the image, when the result is computed.

        >>> from gradlet import Tensor
        >>> values, places = Tensor([[1, 2], [3, 0]]).max_pool2d(2, return_indices=True)
        >>> values.max_unpool2d(places).tolist()
        [[0, 0], [3, 0]]
        """
        options = (kernel_size, stride, dilation, padding, output_size)
        return self._max_unpool(2, indices, *options)

    def max_unpool3d(
        self,
        indices: Self,
        kernel_size: Extents = 2,
        stride: Extents | None = None,
        dilation: Extents = 1,
        padding: Extents = 0,
        output_size: Sequence[int] | None = None,
    ) -> Self:
        """(..., D, H, W) where `max_pool3d` found it; see `max_unpool2d`."""
        options = (kernel_size, stride, dilation, padding, output_size)
        return self._max_unpool(3, indices, *options)

    def _max_unpool(
        self,
        axes: int,
        indices: Self,
        kernel_size: Extents,
        stride: Extents | None,
        dilation: Extents,
        padding: Extents,
        output_size: Sequence[int] | None,
    ) -> Self:
        operation = f"max_unpool{axes}d"
        place = self._operand(indices, operation)
        if place is None or place.shape != self.shape or self.ndim < axes or not place.dtype.is_int:
            given = indices if place is None else f"{place.dtype.name}{list(place.shape)}"
            raise ValueError(
                f"{operation}: needs values with {axes} axes or more, not shape {self.shape}, and "
                f"integer indices of the same shape, not {given}"
            )
        options = (kernel_size, stride, dilation, padding, output_size)
        image = _unpooled(self.shape[self.ndim - axes :], *options, operation)
        lead = self.shape[: self.ndim - axes]
        flat = (product(lead), product(self.shape[self.ndim - axes :]))
        zeros = build.const(0, self.dtype, (flat[0], product(image)))
        index = build.cast(build.reshape(place, flat), dtypes.int64)
        values = build.reshape(self.node, flat)
        where = (along(0, flat), index)
        put = put_at(zeros, where, build.detach(values))
        made = build.surrogate(put, build.scatter(zeros, where, values))
        return self._result(build.reshape(made, (*lead, *image)))

    # Columns of windows

    def im2col(
        self,
        kernel_size: Extents,
        dilation: Extents = 1,
        padding: Extents = 0,
        stride: Extents = 1,
    ) -> Self:
        """Each window of an image as a column; this is `nn.functional.unfold`.

        Args:
            self: (N, C, H, W), or the same without N.

        Returns:
            (N, C * KH * KW, OH * OW).

        >>> from gradlet import Tensor
        >>> Tensor([[[1, 2, 3]]]).im2col((1, 2)).tolist()
        [[1, 2], [2, 3]]
        """
        if not batched(self.shape, 2, "unfold"):
            return self.unsqueeze(0).im2col(kernel_size, dilation, padding, stride)[0]
        how = geometry(self.shape[2:], kernel_size, stride, dilation, padding, "unfold")
        windows = build.permute(padded_windows(self.node, how), (0, 1, 4, 5, 2, 3))
        batch, channels = self.shape[:2]
        shape = (batch, channels * product(how.kernel), product(how.out))
        return self._result(build.reshape(windows, shape))

    def col2im(
        self,
        output_size: Extents,
        kernel_size: Extents,
        dilation: Extents = 1,
        padding: Extents = 0,
        stride: Extents = 1,
    ) -> Self:
        """The sum of windows, each where `im2col` takes it from; this is `nn.functional.fold`.

        Args:
            self: (N, C * KH * KW, OH * OW), or the same without N.
            output_size: (H, W).

        Returns:
            (N, C, H, W).

        >>> from gradlet import Tensor
        >>> Tensor([[1, 2], [2, 3]]).col2im((1, 3), (1, 2)).tolist()
        [[[1, 4, 3]]]
        """
        if self.ndim == 2:
            return self.unsqueeze(0).col2im(output_size, kernel_size, dilation, padding, stride)[0]
        image = extents_argument(output_size, 2, "output_size")
        how = geometry(image, kernel_size, stride, dilation, padding, "fold")
        size = product(how.kernel)
        if self.ndim != 3 or self.shape[1] % size or self.shape[2] != product(how.out):
            raise ValueError(
                f"fold: shape {self.shape} must be (N, C * {size}, {product(how.out)}), or the "
                f"same without N, for {how.out} windows of {how.kernel} in images of {image}"
            )
        if self.dtype is dtypes.bool_:
            raise TypeError("fold: bools do not add up; cast them to integers first")
        wide = dtypes.float32 if self.dtype.is_float and self.dtype.bits == 16 else self.dtype
        shape = (self.shape[0], self.shape[1] // size, *how.kernel, *how.out)
        x = build.reshape(build.cast(self.node, wide), shape)
        x = build.permute(x, (0, 1, 4, 5, 2, 3))
        spans = [(0, extent, 1) for extent in shape[:2]]
        for axis in (1, 0):
            padded = image[axis] + sum(how.sides[axis])
            x = build.fold(x, 2 + axis, padded, how.stride[axis], how.dilation[axis])
            before = how.sides[axis][0]
            spans.insert(2, (before, before + image[axis], 1))
        return self._result(build.cast(build.slice_(x, tuple(spans)), self.dtype))

    fold = col2im


def _unpooled(
    pooled: Shape,
    kernel_size: Extents,
    stride: Extents | None,
    dilation: Extents,
    padding: Extents,
    output_size: Sequence[int] | None,
    operation: str,
) -> Shape:
    """The extents of the image that windows lay in."""
    axes = len(pooled)
    kernel = extents_argument(kernel_size, axes, "kernel_size")
    step = kernel if stride is None or stride == () else extents_argument(stride, axes, "stride")
    gap = extents_argument(dilation, axes, "dilation")
    side = extents_argument(padding, axes, "padding", 0)
    image = tuple(
        (pooled[i] - 1) * step[i] + gap[i] * (kernel[i] - 1) + 1 - 2 * side[i] for i in range(axes)
    )
    wanted = image if output_size is None else tuple(output_size)
    if len(wanted) == axes + 2:
        wanted = wanted[2:]
    fits = len(wanted) == axes and all(
        abs(wanted[i] - image[i]) < step[i] or output_size is None for i in range(axes)
    )
    if not fits or min(wanted) < 1:
        raise ValueError(
            f"{operation}: windows of {kernel} with stride {step} and padding {side} that give "
            f"{pooled} make images of {image}; {output_size=} is a stride or more away, or empty"
        )
    return wanted
