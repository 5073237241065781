"""Images sampled at the points of a grid (Jaderberg et al. 2015)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple, Self

from gradlet.base import dtypes
from gradlet.base.dtypes import DType
from gradlet.ir import build, ops
from gradlet.ir.build import along
from gradlet.ir.node import Node
from gradlet.tensor.resampling import Resampling, keys_far, keys_near

_MODES = ("bilinear", "nearest", "bicubic")
_PADDINGS = ("zeros", "border", "reflection")


class Grids(Resampling):
    """Grids of points, and images at these points."""

    __slots__ = ()

    def affine_grid(self, size: Sequence[int], align_corners: bool | None = None) -> Self:
        """The points for `grid_sample` that affine maps send the pixels of images to.

        Args:
            self: maps (N, 2, 3), or (N, 3, 4) for volumes.
            size: (N, C, H, W), or (N, C, D, H, W).
            align_corners: as for `grid_sample`.

        Returns:
            (N, H, W, 2), or (N, D, H, W, 3): x, then y, then z.

        >>> from gradlet import Tensor
        >>> same = Tensor([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]])
        >>> same.affine_grid((1, 1, 1, 2), align_corners=False).tolist()
        [[[[-0.5, 0.0], [0.5, 0.0]]]]
        """
        axes = len(size) - 2
        if axes not in (2, 3) or min(size) < 1 or self.shape != (size[0], axes, axes + 1):
            raise ValueError(
                f"affine_grid: maps of shape {self.shape} do not fit size {tuple(size)}; images "
                "(N, C, H, W) have maps (N, 2, 3), and (N, C, D, H, W) have (N, 3, 4)"
            )
        if not self.dtype.is_float:
            raise TypeError(f"affine_grid: needs floats, not {self.dtype.name}; call .float()")
        if self.dtype.bits == 16:
            return self.cast(dtypes.float32).affine_grid(size, align_corners).cast(self.dtype)
        columns = self.reshape(size[0], *(1,) * axes, axes, axes + 1)
        points = columns[..., axes]
        for place, extent in enumerate(reversed(size[2:])):
            line = self._result(_centres(extent, bool(align_corners), self.dtype))
            points = points + columns[..., place] * line.reshape(-1, *(1,) * (place + 1))
        return points.expand(size[0], *size[2:], axes)

    def grid_sample(
        self,
        grid: Self,
        mode: str = "bilinear",
        padding_mode: str = "zeros",
        align_corners: bool | None = None,
    ) -> Self:
        """The elements of images at points between their pixels.

        Args:
            self: (N, C, H, W), or (N, C, D, H, W).
            grid: (N, OH, OW, 2), or (N, OD, OH, OW, 3), of the same dtype: x, then y, then z, from
                -1 at the left, top and front to 1 at the other end.
            mode: `bilinear`, of volumes too; `nearest`, which gives the grid no gradient; or, of
                images alone, `bicubic` (Keys 1981).
            padding_mode: what is outside: `zeros`, the nearest pixel of the `border`, or the
                image once more by `reflection`.
            align_corners: whether -1 and 1 are the centres of the outer pixels or their edges.

        Returns:
            (N, C, OH, OW), or (N, C, OD, OH, OW).

        >>> from gradlet import Tensor
        >>> Tensor([[[[1.0, 3.0]]]]).grid_sample(Tensor([[[[0.0, 0.0]]]])).tolist()
        [[[[2.0]]]]
        """
        self._check_grid(grid, mode, padding_mode)
        options = (mode, padding_mode, bool(align_corners))
        if self.dtype.bits == 16:
            wide = self.cast(dtypes.float32), grid.cast(dtypes.float32)
            return wide[0].grid_sample(wide[1], *options).cast(self.dtype)
        axes = self.ndim - 2
        each = [
            _taps(grid[..., axes - 1 - axis], self.shape[2 + axis], *options)
            for axis in range(axes)
        ]
        pixels = build.permute(self.node, (0, *range(2, self.ndim), 1))  # (N, H, W, C)
        batch = along(0, grid.shape[:-1])
        total: Any = None
        for taps in itertools.product(*each):
            places = tuple(tap.place.node for tap in taps)
            taken = self._result(build.gather(pixels, (batch, *places)))
            for tap in taps:
                if padding_mode == "zeros":  # lest a weight meets an infinity that is no part of it
                    taken = tap.inside.unsqueeze(-1).where(taken, 0.0)
            for tap in taps:
                taken = taken if tap.weight is None else taken * tap.weight.unsqueeze(-1)
            total = taken if total is None else total + taken
        made: Self = total
        return made.movedim(-1, 1)

    def _check_grid(self, grid: Self, mode: str, padding_mode: str) -> None:
        axes = self.ndim - 2
        if mode not in _MODES or padding_mode not in _PADDINGS:
            raise ValueError(
                f"grid_sample: mode is one of {', '.join(_MODES)}, not {mode!r}, and padding_mode "
                f"one of {', '.join(_PADDINGS)}, not {padding_mode!r}"
            )
        fits = axes in (2, 3) and grid.ndim == self.ndim and grid.shape[-1] == axes
        if not fits or grid.shape[0] != self.shape[0] or not all(self.shape[2:]):
            raise ValueError(
                f"grid_sample: shapes {self.shape} and {grid.shape} do not fit: images "
                "(N, C, H, W) need grids (N, OH, OW, 2), and (N, C, D, H, W) need "
                "(N, OD, OH, OW, 3), and at least one pixel"
            )
        if mode == "bicubic" and axes == 3:
            raise ValueError("grid_sample: mode='bicubic' is for images (N, C, H, W) alone")
        self._operand(grid, "grid_sample")  # which asks for one device
        if not self.dtype.is_float or grid.dtype is not self.dtype:
            raise TypeError(
                f"grid_sample: images of {self.dtype.name} and a grid of {grid.dtype.name}; both "
                "must be floats of one dtype"
            )


class _Tap(NamedTuple):
    """One of the pixels, along one axis, that points are made of.

    Attributes:
        place: int64, within the image.
        inside: whether it really lies there.
        weight: None for 1.
    """

    place: Any
    inside: Any
    weight: Any


def _centres(extent: int, align_corners: bool, dtype: DType) -> Node:
    """Where pixels lie between -1 and 1."""
    position = build.cast(build.iota(extent), dtype)
    doubled = build.mul(position, build.full_like(position, 2))
    centred = build.sub(doubled, build.full_like(position, extent - 1))
    whole = max(extent - 1, 1) if align_corners else extent
    return build.div(centred, build.full_like(position, whole))


def _taps(grid: Any, extent: int, mode: str, padding_mode: str, align_corners: bool) -> list[_Tap]:
    """The pixels along one axis for each point, and how much of each."""
    if align_corners:
        source = (grid + 1.0) * ((extent - 1) / 2)
    else:
        source = (grid + 1.0) * (extent / 2) - 0.5

    def padded(place: Any) -> Any:
        if padding_mode == "reflection":
            place = _reflected(place, extent, align_corners)
        return place if padding_mode == "zeros" else _clipped(place, extent)

    def tap(place: Any, weight: Any = None) -> _Tap:
        inside = (place >= 0) & (place <= extent - 1)
        return _Tap(_clipped(place, extent).cast(dtypes.int64), inside, weight)

    if mode == "nearest":
        return [tap(padded(source).round())]
    if mode == "bilinear":
        source = padded(source)
        below = source.floor()
        part = source - below
        return [tap(below, 1.0 - part), tap(below + 1.0, part)]
    below = source.floor()
    part = (source - below).node
    rest = build.sub(build.full_like(part, 1.0), part)
    weights = [keys_far(part), keys_near(part), keys_near(rest), keys_far(rest)]
    places = [padded(below + float(step)) for step in (-1, 0, 1, 2)]
    return [tap(p, grid._result(w)) for p, w in zip(places, weights, strict=True)]


def _clipped(place: Any, extent: int) -> Any:
    """Places kept within an axis, with nan at its start; at the ends gradients are 0."""
    above = (place > 0).where(place, 0.0)
    return (above < extent - 1).where(above, float(extent - 1))


def _reflected(place: Any, extent: int, align_corners: bool) -> Any:
    """Places folded back at the centres of the outer pixels, or at their edges."""
    low = 0.0 if align_corners else -0.5
    span = extent - 1.0 if align_corners else float(extent)
    if not span:
        return place.full_like(0.0)
    distance = place - low
    distance = (distance < 0).where(-distance, distance)
    round_trip = build.full_like(distance.node, 2 * span)
    distance = place._result(build.binary(ops.MOD, distance.node, round_trip))
    return (distance > span).where(2 * span - distance, distance) + low
