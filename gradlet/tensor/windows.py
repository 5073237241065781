"""Windows that slide over the last axes of a node, for convolution and pooling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from gradlet.ir import build
from gradlet.ir.node import Node
from gradlet.tensor.core import Shape
from gradlet.tensor.movement import pad_node

Extents = int | Sequence[int]  # one number for all axes, or one each
Sides = tuple[tuple[int, int], ...]

_NUMBER_OF = {1: "an int", 2: "an int or a pair of them", 3: "an int or three of them"}
_IMAGES = {1: "(N, C, L)", 2: "(N, C, H, W)", 3: "(N, C, D, H, W)"}


class Geometry(NamedTuple):
    """How windows lie, one number an axis.

    Attributes:
        sides: (before, after) of what is padded.
        out: how many windows there are.
    """

    kernel: Shape
    stride: Shape
    dilation: Shape
    sides: Sides
    out: Shape


def extents_argument(value: Extents, axes: int, name: str, least: int = 1) -> Shape:
    """One number for all of `axes` axes, or one each."""
    given = (value,) * axes if isinstance(value, int) else tuple(value)
    if len(given) == 1:
        given = given * axes
    if len(given) != axes or not all(isinstance(n, int) and n >= least for n in given):
        raise ValueError(f"{name} must be {_NUMBER_OF[axes]} of at least {least}, not {value!r}")
    return given


def sides_argument(padding: Extents, axes: int) -> Sides:
    """(before, after) of each axis, from n, one number an axis, or two.

    Two an axis begin with the last axis, as in (left, right, top, bottom).
    """
    given = (padding,) * axes if isinstance(padding, int) else tuple(padding)
    if len(given) == 1:
        given = given * axes
    if len(given) == axes:
        given = tuple(n for width in reversed(given) for n in (width, width))
    if len(given) != 2 * axes or not all(isinstance(n, int) and n >= 0 for n in given):
        two = "(left, right)" if axes == 1 else "(left, right, top, bottom)"
        raise ValueError(
            f"padding must be {_NUMBER_OF[axes]}, or two an axis beginning with the last as in "
            f"{two}, of at least 0, not {padding!r}"
        )
    return tuple((given[i], given[i + 1]) for i in range(0, 2 * axes, 2))[::-1]


def geometry(
    image: Shape,
    kernel_size: Extents,
    stride: Extents | None,
    dilation: Extents,
    padding: Extents | str,
    operation: str,
    ceil_mode: bool = False,
) -> Geometry:
    """How windows lie in an image, checked.

    Args:
        image: the extents over which windows slide.
        stride: the size of the window if None.
        padding: what `sides_argument` takes, or "valid", or "same" for as many windows as pixels.
        ceil_mode: whether a last window may reach beyond the padded image.
    """
    axes = len(image)
    kernel = extents_argument(kernel_size, axes, "kernel_size")
    step = kernel if stride is None else extents_argument(stride, axes, "stride")
    spread = extents_argument(dilation, axes, "dilation")
    sides = _named_sides(padding, kernel, step, spread, operation)
    out = []
    for extent, size, each, gap, side in zip(image, kernel, step, spread, sides, strict=True):
        room = extent + sum(side) - (size - 1) * gap - 1
        if room < 0 and not (ceil_mode and room + each > 0):
            raise ValueError(
                f"{operation}: a {kernel} window with dilation {spread} does not fit an image "
                f"of {image} with padding {sides}"
            )
        count = room // each + 1
        # A window more, if it begins in the image or in what is padded before it.
        if ceil_mode and room % each and count * each < extent + side[0]:
            count += 1
        out.append(count)
    return Geometry(kernel, step, spread, sides, tuple(out))


def _named_sides(
    padding: Extents | str, kernel: Shape, stride: Shape, dilation: Shape, operation: str
) -> Sides:
    if padding == "valid":
        return ((0, 0),) * len(kernel)
    if padding != "same":
        if isinstance(padding, str):
            raise ValueError(f"{operation}: padding is 'same', 'valid' or numbers, not {padding!r}")
        return sides_argument(padding, len(kernel))
    if max(stride) > 1:
        raise ValueError(f"{operation}: padding='same' needs stride 1, not {stride}")
    reach = [gap * (size - 1) for gap, size in zip(dilation, kernel, strict=True)]
    return tuple((n // 2, n - n // 2) for n in reach)


def padded_windows(x: Node, how: Geometry, filler: bool | int | float = 0) -> Node:
    """(..., H, W) to (..., OH, OW, KH, KW), for any number of axes.

    Args:
        filler: what is read outside the image.
    """
    lead = x.ndim - len(how.kernel)
    widths = [(0, 0)] * lead
    for axis, (before, after) in enumerate(how.sides):
        reach = (how.kernel[axis] - 1) * how.dilation[axis] + 1
        over = (how.out[axis] - 1) * how.stride[axis] + reach
        over -= x.shape[lead + axis] + before + after
        widths.append((before, after + max(over, 0)))
    x = pad_node(x, widths, filler)
    for axis, (size, step, gap) in enumerate(
        zip(how.kernel, how.stride, how.dilation, strict=True), lead
    ):
        x = _windows(x, axis, size, step, gap)
    return x


def batched(image: Shape, axes: int, operation: str) -> bool:
    """Whether an image has a batch axis in front; ValueError if it has too few axes or many."""
    if len(image) not in (axes + 1, axes + 2):
        raise ValueError(
            f"{operation}: needs images {_IMAGES[axes]}, or the same without N, not shape {image}"
        )
    return len(image) == axes + 2


def _windows(x: Node, axis: int, size: int, stride: int, dilation: int) -> Node:
    """`build.window`, written as a reshape where windows do not overlap."""
    extent = x.shape[axis]
    if size > 1 and (stride != size or dilation != 1):
        return build.window(x, axis, size, stride, dilation)
    if size == 1:
        kept = _along(x, axis, extent, stride)
        return build.reshape(kept, (*kept.shape, 1))
    count = extent // size
    whole = _along(x, axis, count * size, 1)
    shape = (*x.shape[:axis], count, size, *x.shape[axis + 1 :])
    order = [a for a in range(len(shape)) if a != axis + 1]
    return build.permute(build.reshape(whole, shape), (*order, axis + 1))


def _along(x: Node, axis: int, stop: int, step: int) -> Node:
    spans = tuple((0, stop, step) if a == axis else (0, n, 1) for a, n in enumerate(x.shape))
    return build.slice_(x, spans)
