"""Layers for images of another size, for pixels and channels, and for windows as columns."""

from __future__ import annotations

from collections.abc import Sequence

from gradlet.nn import functional
from gradlet.nn.stateless import Stateless
from gradlet.tensor.windows import Extents

__all__ = [
    "ChannelShuffle", "Fold", "PixelShuffle", "PixelUnshuffle", "Unfold", "Upsample",
    "UpsamplingBilinear2d", "UpsamplingNearest2d",
]  # fmt: skip

Size = int | Sequence[int] | None
Factor = float | Sequence[float] | None


class Upsample(Stateless):
    """Images (N, C, ...) of another size, also a smaller one: `nn.functional.interpolate`.

    >>> from gradlet import Tensor
    >>> Upsample(scale_factor=2, mode="bilinear")(Tensor.ones(2, 3, 4, 5)).shape
    (2, 3, 8, 10)
    """

    function = functional.interpolate

    def __init__(
        self,
        size: Size = None,
        scale_factor: Factor = None,
        mode: str = "nearest",
        align_corners: bool | None = None,
        recompute_scale_factor: bool | None = None,
    ) -> None:
        super().__init__(
            size=size,
            scale_factor=scale_factor,
            mode=mode,
            align_corners=align_corners,
            recompute_scale_factor=recompute_scale_factor,
        )


class UpsamplingNearest2d(Upsample):
    """`Upsample` with the mode `nearest`."""

    def __init__(self, size: Size = None, scale_factor: Factor = None) -> None:
        super().__init__(size, scale_factor)


class UpsamplingBilinear2d(Upsample):
    """`Upsample` with the mode `bilinear`, the corners of images kept where they are."""

    def __init__(self, size: Size = None, scale_factor: Factor = None) -> None:
        super().__init__(size, scale_factor, "bilinear", align_corners=True)


class PixelShuffle(Stateless):
    """(..., C * r * r, H, W) to (..., C, H * r, W * r).

    >>> from gradlet import Tensor
    >>> PixelShuffle(2)(Tensor.ones(1, 8, 3, 3)).shape
    (1, 2, 6, 6)
    """

    function = functional.pixel_shuffle

    def __init__(self, upscale_factor: int) -> None:
        super().__init__(upscale_factor=upscale_factor)


class PixelUnshuffle(Stateless):
    """(..., C, H * r, W * r) to (..., C * r * r, H, W)."""

    function = functional.pixel_unshuffle

    def __init__(self, downscale_factor: int) -> None:
        super().__init__(downscale_factor=downscale_factor)


class ChannelShuffle(Stateless):
    """(N, C, ...) with channel j of group i as channel i of group j."""

    function = functional.channel_shuffle

    def __init__(self, groups: int) -> None:
        super().__init__(groups=groups)


class Unfold(Stateless):
    """Each window of images (N, C, H, W) as a column: (N, C * KH * KW, number of windows).

    >>> from gradlet import Tensor
    >>> Unfold((2, 3))(Tensor.ones(1, 2, 4, 5)).shape
    (1, 12, 9)
    """

    function = functional.unfold

    def __init__(
        self,
        kernel_size: Extents,
        dilation: Extents = 1,
        padding: Extents = 0,
        stride: Extents = 1,
    ) -> None:
        super().__init__(kernel_size=kernel_size, dilation=dilation, padding=padding, stride=stride)


class Fold(Stateless):
    """The sum of windows, each where `Unfold` takes it from: images of `output_size`."""

    function = functional.fold

    def __init__(
        self,
        output_size: Extents,
        kernel_size: Extents,
        dilation: Extents = 1,
        padding: Extents = 0,
        stride: Extents = 1,
    ) -> None:
        super().__init__(
            output_size=output_size,
            kernel_size=kernel_size,
            dilation=dilation,
            padding=padding,
            stride=stride,
        )
