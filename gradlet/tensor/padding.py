"""Elements put around axes: a number, or what the tensor itself has there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

from gradlet.tensor.movement import Movement, pad_node

_MODES = ("constant", "reflect", "replicate", "circular")


class Padding(Movement):
    """Padding."""

    __slots__ = ()

    def pad(self, padding: Sequence[Any], mode: str = "constant", value: Any = 0) -> Self:
        """Adds elements around axes; negative widths cut instead.

        Args:
            padding: either PyTorch's flat form, (before, after) of the last axis, then of the
                one before it, ...; or for each axis a pair (before, after) or None.
            mode: "constant" adds `value`; "replicate" the element at the end; "reflect" those
                beside it, going back; "circular" those from the other end.

        >>> from gradlet import Tensor
        >>> x = Tensor([1, 2, 3])
        >>> x.pad((1, 2)).tolist(), x.pad((1, 2), "reflect").tolist()
        ([0, 1, 2, 3, 0, 0], [2, 1, 2, 3, 2, 1])
        """
        if mode not in _MODES:
            raise ValueError(f"pad: mode is one of {_MODES}, not {mode!r}")
        widths = _pad_widths(tuple(padding), self.ndim)
        if mode == "constant":
            added = tuple((max(before, 0), max(after, 0)) for before, after in widths)
            return self._result(pad_node(self._cut(widths).node, added, value))
        if value:
            raise ValueError(f"pad: mode {mode!r} takes no value, and this is {value}")
        # A reflection shows what is cut off at the other end; going round does not.
        x = self._cut(widths) if mode == "circular" else self
        for axis, (before, after) in enumerate(widths):
            x = x._padded(axis, max(before, 0), max(after, 0), mode)
        x = x if mode == "circular" else x._cut(widths)
        return x._own() if x.share is not None or x is self else x

    def _cut(self, widths: Sequence[tuple[int, int]]) -> Self:
        """Without as many elements at the ends of each axis as its widths are below zero."""
        bounds = [
            (max(-before, 0), extent - max(-after, 0))
            for (before, after), extent in zip(widths, self.shape, strict=True)
        ]
        if any(start > stop for start, stop in bounds):
            raise ValueError(f"pad: {tuple(widths)} cuts more than shape {self.shape} has")
        return self.shrink(bounds)

    def _padded(self, axis: int, before: int, after: int, mode: str) -> Self:
        """One axis with elements of its own before and after it."""
        if not before and not after:
            return self
        extent = self.shape[axis]
        most = {"reflect": extent - 1, "circular": extent}.get(mode, before + after)
        if not extent or max(before, after) > most:
            raise ValueError(
                f"pad: mode {mode!r} cannot add ({before}, {after}) elements to axis {axis} of "
                f"shape {self.shape}" + (f"; at most {most} at each end" if extent else "")
            )
        if mode == "reflect":
            first = self._part(axis, 1, before + 1).flip(axis)
            last = self._part(axis, extent - 1 - after, extent - 1).flip(axis)
        elif mode == "circular":
            first, last = self._part(axis, extent - before, extent), self._part(axis, 0, after)
        else:
            head, tail = self.shape[:axis], self.shape[axis + 1 :]
            first = self._part(axis, 0, 1).expand(*head, before, *tail)
            last = self._part(axis, extent - 1, extent).expand(*head, after, *tail)
        return first.cat(self, last, dim=axis)


def _pad_widths(padding: tuple[Any, ...], ndim: int) -> list[tuple[int, int]]:
    """For each axis (before, after), from either form that `pad` accepts."""
    flat = all(isinstance(width, int) for width in padding)
    if flat and len(padding) % 2 == 0 and len(padding) <= 2 * ndim:
        pairs = [(padding[i], padding[i + 1]) for i in range(0, len(padding), 2)]
        return [(0, 0)] * (ndim - len(pairs)) + pairs[::-1]
    if flat or len(padding) != ndim:
        raise ValueError(
            f"pad: {padding} fits no tensor with {ndim} axes; give (before, after) of the last "
            "axis, then of the one before it, or a pair for each axis"
        )
    return [tuple(pair) if pair is not None else (0, 0) for pair in padding]
