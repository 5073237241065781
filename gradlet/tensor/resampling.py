"""Images of another size: interpolation, pixel shuffling."""

from __future__ import annotations

from collections.abc import Sequence
from math import floor
from typing import Self

import numpy as np

from gradlet.base import dtypes
from gradlet.base.dtypes import DType
from gradlet.ir import build, ops
from gradlet.ir.node import Node
from gradlet.tensor.adaptive import spread, take
from gradlet.tensor.unpooling import Unpooling

_NEAREST = ("nearest", "nearest-exact")
_AXES_OF = {"linear": (1,), "bilinear": (2,), "bicubic": (2,), "trilinear": (3,)}
_MODES = (*_NEAREST, "area", *_AXES_OF)
_BICUBIC = -0.75  # Keys' parameter (1981), the one that PyTorch takes


class Resampling(Unpooling):
    """Resampling along the last axes."""

    __slots__ = ()

    # Interpolation

    def interpolate(
        self,
        size: int | Sequence[int] | None = None,
        scale_factor: float | Sequence[float] | None = None,
        mode: str = "nearest",
        align_corners: bool | None = None,
        recompute_scale_factor: bool | None = None,
    ) -> Self:
        """Images of another size.

        Args:
            self: (N, C, L), (N, C, H, W) or (N, C, D, H, W).
            size: the new extents, one number or one an axis; or else
            scale_factor: how many times the old ones they are, rounded down.
            mode: `nearest`, `nearest-exact` or `area` of any; `linear` of (N, C, L), `bilinear` and
                `bicubic` of (N, C, H, W), `trilinear` of (N, C, D, H, W).
            align_corners: whether the centres of the outer pixels, and not their edges, stay where
                they are. Not for the first three modes.
            recompute_scale_factor: whether to take the factor anew from the rounded size.

        >>> from gradlet import Tensor
        >>> Tensor([[[1.0, 3.0]]]).interpolate(4, mode="linear").tolist()
        [[[1.0, 1.5, 2.5, 3.0]]]
        """
        axes = self.ndim - 2
        if mode not in _MODES or not 1 <= axes <= 3 or axes not in _AXES_OF.get(mode, (1, 2, 3)):
            raise ValueError(
                f"interpolate: mode={mode!r} does not fit shape {self.shape}; modes are "
                f"{', '.join(_MODES)}, of images (N, C, L), (N, C, H, W) or (N, C, D, H, W)"
            )
        if mode not in _AXES_OF and align_corners is not None:
            raise ValueError(f"interpolate: align_corners is not for mode={mode!r}")
        image = self.shape[2:]
        if not all(image):
            raise ValueError(f"interpolate: shape {self.shape} has no pixels")
        sizes, ratios = _sizes(image, size, scale_factor, bool(recompute_scale_factor))
        if mode == "area":
            return self._adaptive_mean(axes, sizes)
        if mode in _AXES_OF and not self.dtype.is_float:
            raise TypeError(
                f"interpolate: mode={mode!r} needs floats, not {self.dtype.name}; call .float()"
            )
        half = self.dtype.is_float and self.dtype.bits == 16
        x = build.cast(self.node, dtypes.float32) if half else self.node
        for axis, (count, ratio) in enumerate(zip(sizes, ratios, strict=True), 2):
            if mode in _NEAREST:
                x = _nearest(x, axis, count, ratio, mode == "nearest-exact")
            else:
                x = _blended(x, axis, count, ratio, mode == "bicubic", bool(align_corners))
        return self._result(build.cast(x, self.dtype))

    # Pixels and channels

    def pixel_shuffle(self, upscale_factor: int) -> Self:
        """(..., C * r * r, H, W) to (..., C, H * r, W * r) (Shi et al. 2016)."""
        r = upscale_factor
        if self.ndim < 3 or r < 1 or self.shape[-3] % (r * r):
            raise ValueError(
                f"pixel_shuffle: shape {self.shape} must be (..., C * {r} * {r}, H, W)"
            )
        *lead, channels, height, width = self.shape
        parts = self.reshape(*lead, channels // (r * r), r, r, height, width)
        n = len(lead)
        order = (*range(n + 1), n + 3, n + 1, n + 4, n + 2)
        return parts.permute(order).reshape(*lead, channels // (r * r), height * r, width * r)

    def pixel_unshuffle(self, downscale_factor: int) -> Self:
        """(..., C, H * r, W * r) to (..., C * r * r, H, W): the inverse of `pixel_shuffle`."""
        r = downscale_factor
        if self.ndim < 3 or r < 1 or self.shape[-1] % r or self.shape[-2] % r:
            raise ValueError(
                f"pixel_unshuffle: shape {self.shape} must be (..., C, H * {r}, W * {r})"
            )
        *lead, channels, height, width = self.shape
        parts = self.reshape(*lead, channels, height // r, r, width // r, r)
        n = len(lead)
        order = (*range(n + 1), n + 2, n + 4, n + 1, n + 3)
        return parts.permute(order).reshape(*lead, channels * r * r, height // r, width // r)

    def channel_shuffle(self, groups: int) -> Self:
        """(N, C, ...) with channel j of group i as channel i of group j (Zhang et al. 2017).

        >>> from gradlet import Tensor
        >>> Tensor([[0, 1, 2, 3]]).unsqueeze(2).channel_shuffle(2).flatten().tolist()
        [0, 2, 1, 3]
        """
        if self.ndim < 3 or groups < 1 or self.shape[1] % groups:
            raise ValueError(
                f"channel_shuffle: shape {self.shape} must be (N, C, ...) with a C that {groups=} "
                "divides"
            )
        batch, channels, *image = self.shape
        parts = self.reshape(batch, groups, channels // groups, *image)
        return parts.transpose(1, 2).reshape(self.shape)


# Interpolation along one axis


def _sizes(
    image: Sequence[int],
    size: int | Sequence[int] | None,
    scale_factor: float | Sequence[float] | None,
    recompute: bool,
) -> tuple[list[int], list[float | None]]:
    """The new extents, and how many old pixels a new one is as far as a factor was given."""
    given = size if size is not None else scale_factor
    if given is None or (size is not None and scale_factor is not None):
        raise ValueError("interpolate: give size or scale_factor, and not both")
    numbers = [given] * len(image) if isinstance(given, (int, float)) else list(given)
    if len(numbers) != len(image) or any(n <= 0 for n in numbers):
        raise ValueError(
            f"interpolate: an image of {tuple(image)} needs one positive number or {len(image)}, "
            f"not {given!r}"
        )
    if size is not None:
        if recompute:
            raise ValueError("interpolate: recompute_scale_factor goes with scale_factor")
        return [int(n) for n in numbers], [None] * len(image)
    sizes = [floor(extent * n) for extent, n in zip(image, numbers, strict=True)]
    if not all(sizes):
        raise ValueError(f"interpolate: {scale_factor=} leaves nothing of an image of {image}")
    return sizes, [None if recompute else 1 / n for n in numbers]


def _nearest(x: Node, axis: int, count: int, ratio: float | None, exact: bool) -> Node:
    extent = x.shape[axis]
    scale = extent / count if ratio is None else ratio
    kind = dtypes.float64 if x.dtype is dtypes.float64 else dtypes.float32
    offset = 0.5 if exact else 0.0
    if count % extent == 0 and _repeats(extent, count, scale, offset, kind):
        times = count // extent
        line = (*x.shape[: axis + 1], 1, *x.shape[axis + 1 :])
        wide = (*x.shape[: axis + 1], times, *x.shape[axis + 1 :])
        repeated = build.expand(build.reshape(x, line), wide)
        return build.reshape(repeated, (*x.shape[:axis], count, *x.shape[axis + 1 :]))
    position = build.cast(build.iota(count), kind)
    position = build.add(position, build.full_like(position, offset))
    place = build.unary(ops.FLOOR, build.mul(position, build.full_like(position, scale)))
    return take(x, axis, _clamped(build.cast(place, dtypes.int64), extent))


def _repeats(extent: int, count: int, scale: float, offset: float, kind: DType) -> bool:
    """Whether each element is taken equally often, which rounding may prevent, as in PyTorch."""
    position = np.arange(count).astype(kind.numpy) + kind.numpy.type(offset)
    places = np.floor(position * kind.numpy.type(scale))
    return bool((np.minimum(places, extent - 1) == np.arange(count) // (count // extent)).all())


def _clamped(place: Node, extent: int) -> Node:
    least = build.binary(ops.MAXIMUM, place, build.full_like(place, 0))
    return build.binary(ops.MINIMUM, least, build.full_like(place, extent - 1))


def _blended(
    x: Node, axis: int, count: int, ratio: float | None, cubic: bool, align_corners: bool
) -> Node:
    """Each new pixel from the 2 or 4 old ones around it (Keys 1981 where `cubic`)."""
    extent = x.shape[axis]
    position = build.cast(build.iota(count), x.dtype)

    def number(value: float) -> Node:
        return build.full_like(position, value)

    if align_corners:
        scale = (extent - 1) / (count - 1) if count > 1 else 0.0
        source = build.mul(position, number(scale))
    else:
        scale = extent / count
        # As in PyTorch, a factor that is rounded down to 1 moves nothing, unless it is cubic.
        if ratio is not None and (cubic or count != extent):
            scale = ratio
        centre = build.mul(build.add(position, number(0.5)), number(scale))
        source = build.sub(centre, number(0.5))
        if not cubic:
            source = build.binary(ops.MAXIMUM, source, number(0.0))
    below = build.unary(ops.FLOOR, source)
    part = build.sub(source, below)
    first = build.cast(below, dtypes.int64)
    rest = build.sub(number(1.0), part)
    if cubic:
        weights = [keys_far(part), keys_near(part), keys_near(rest), keys_far(rest)]
    else:
        weights = [rest, part]
    result: Node | None = None
    for step, weight in enumerate(weights, -1 if cubic else 0):
        place = _clamped(build.add(first, build.full_like(first, step)), extent)
        taken = take(x, axis, place)
        term = build.mul(taken, spread(weight, axis, taken.shape))
        result = term if result is None else build.add(result, term)
    assert result is not None
    return result


def keys_near(t: Node) -> Node:
    """Keys' kernel at a distance `t` of at most 1: ((a + 2) t - (a + 3)) t t + 1."""
    line = build.sub(
        build.mul(t, build.full_like(t, _BICUBIC + 2)), build.full_like(t, _BICUBIC + 3)
    )
    return build.add(build.mul(build.mul(line, t), t), build.full_like(t, 1.0))


def keys_far(t: Node) -> Node:
    """Keys' kernel at a distance 1 + `t`: a t (1 - t)**2, which loses no digits near its zeros."""
    rest = build.sub(build.full_like(t, 1.0), t)
    return build.mul(build.mul(build.mul(rest, rest), t), build.full_like(t, _BICUBIC))
