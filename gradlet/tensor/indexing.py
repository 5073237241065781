"""`x[...]`: ints, slices, None, Ellipsis, integer tensors and bool masks, as NumPy places them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from gradlet.base import dtypes
from gradlet.engine import trace
from gradlet.engine.realize import value_of
from gradlet.ir import build, ops
from gradlet.ir.build import along
from gradlet.ir.node import Node
from gradlet.runtime.buffer import from_numpy
from gradlet.runtime.device import get_device
from gradlet.tensor import sharing
from gradlet.tensor.core import Core, as_array, broadcast_shape, scalar_node
from gradlet.tensor.reduce import Reduce

Span = tuple[int, int, int]


@dataclass
class Selection:
    """An index taken apart.

    Attributes:
        spans: for each source axis its (start, stop, step) with step > 0.
        flipped: source axes that are then reversed.
        shape: the shape after ints have dropped their axes and None has added some.
        arrays: integer nodes by the axis of `shape` that they index.
        apart: NumPy puts the arrays' axes first if something stands between them.
    """

    spans: list[Span] = field(default_factory=list)
    flipped: list[int] = field(default_factory=list)
    shape: list[int] = field(default_factory=list)
    arrays: dict[int, Node] = field(default_factory=dict)
    apart: bool = False

    def moves(self) -> tuple[sharing.Move, ...]:
        """What leads to all that is chosen but by arrays."""
        return (
            (build.slice_, tuple(self.spans)),
            (build.flip, tuple(self.flipped)),
            (build.reshape, tuple(self.shape)),
        )

    def part(self, x: Node) -> Node:
        """What the moves lead to in `x`."""
        for move, argument in self.moves():
            x = move(x, argument)
        return x


class Indexing(Reduce):
    """Reading and writing at indices."""

    __slots__ = ()

    def __getitem__(self, key: Any) -> Self:
        """The elements at `key`, as NumPy chooses and orders them.

        Raises:
            IndexError: an int out of range, at once; an element of an integer tensor out of
                range, when the result is computed.

        >>> from gradlet import Tensor
        >>> Tensor([[1, 2], [3, 4]])[:, -1].tolist()
        [2, 4]
        """
        chosen = self._select(key)
        if not chosen.arrays:
            return self._view(*chosen.moves())
        return self._result(_take_arrays(chosen.part(self.node), chosen))

    def __setitem__(self, key: Any, value: Any) -> None:
        """Writes `value`, broadcast, at `key`; where an element is chosen twice, the last stays.

        What else shares the elements, such as a slice taken before, shows them as well.
        """
        chosen = self._select(key)
        if isinstance(value, Core) and sharing.same_view(value, self, chosen.moves()):
            return  # the second half of x[key] += y: the first has written already
        source = self._value_node(value)
        if not chosen.arrays:
            source = _fitted(source, tuple(chosen.shape))
        else:
            source = _put_arrays(chosen.part(self.node), source, chosen)
        self._write(overwrite(self.node, source, chosen), "setitem")

    def _value_node(self, value: Any) -> Node:
        """A value to write into `self`, in its dtype."""
        if isinstance(value, (bool, int, float, np.generic)):
            number = value.item() if isinstance(value, np.generic) else value
            return scalar_node(number, self.dtype, (), "setitem")
        found = self._operand(value, "setitem")
        if found is None:
            raise TypeError(f"setitem: cannot write {value!r} into a tensor")
        return build.cast(found, self.dtype)

    # Taking a key apart

    def _select(self, key: Any) -> Selection:
        parts = self._complete_key(key if isinstance(key, tuple) else (key,))
        chosen = Selection()
        axis = 0
        places: list[int] = []  # of ints and arrays, in the key
        for place, part in enumerate(parts):
            if part is None:
                chosen.shape.append(1)
            if part is None or part is Ellipsis:
                continue
            extent = self.shape[axis]
            if isinstance(part, slice):
                chosen.shape.append(_add_slice(chosen, part, axis, extent))
            elif isinstance(part, (int, np.integer)):
                places.append(place)
                start = _checked(int(part), axis, extent)
                chosen.spans.append((start, start + 1, 1))
            else:
                places.append(place)
                chosen.arrays[len(chosen.shape)] = self._index_node(part, extent)
                chosen.spans.append((0, extent, 1))
                chosen.shape.append(extent)
            axis += 1
        chosen.apart = bool(places) and places[-1] - places[0] >= len(places)
        return chosen

    def _complete_key(self, key: tuple[Any, ...]) -> list[Any]:
        """The key with its Ellipsis, or the missing end, written as full slices.

        An Ellipsis for no axes stays, for it stands between the arrays on either side.
        """
        for part in key:
            if isinstance(part, (bool, np.bool_)):
                raise IndexError("indexing: True and False are no indices; use 0 and 1, or None")
        key = self._without_masks(key)
        dots = [place for place, part in enumerate(key) if part is Ellipsis]
        if len(dots) > 1:
            raise IndexError("indexing: an index can contain only one Ellipsis (...)")
        used = sum(part is not None and part is not Ellipsis for part in key)
        if used > self.ndim:
            raise IndexError(
                f"indexing: {used} indices for a tensor with {self.ndim} axes, of shape "
                f"{self.shape}"
            )
        place = dots[0] if dots else len(key)
        rest: list[Any] = [slice(None)] * (self.ndim - used) or [...] * len(dots)
        return [*key[:place], *rest, *key[place + 1 :]]

    def _without_masks(self, key: tuple[Any, ...]) -> tuple[Any, ...]:
        """The key with each bool mask as the positions, on each of its axes, where it is True."""
        plain: list[Any] = []
        for place, part in enumerate(key):
            if not _is_mask(part):
                plain.append(part)
                continue
            mask = self._mask_values(part)
            axis = _axes_used(key[:place])
            if any(before is Ellipsis for before in key[:place]):
                axis = self.ndim - _axes_used(key[place:])
            if mask.shape != self.shape[axis : axis + mask.ndim]:
                raise IndexError(
                    f"indexing: a mask of shape {mask.shape} does not fit a tensor of shape "
                    f"{self.shape} at axis {axis}"
                )
            plain += np.nonzero(mask)
        return tuple(plain)

    def _mask_values(self, mask: Any) -> np.ndarray:
        """The elements of a mask, which decide about the shape of the result."""
        if not isinstance(mask, Core):
            return np.asarray(mask)
        trace.refuse(
            "the shape of x[mask] depends on the values of the mask; use where(), masked_fill() or "
            "x.masked_select(mask, size=n), whose shapes do not"
        )
        return value_of(mask.node, get_device(mask.device)).numpy()

    def _index_node(self, part: Any, extent: int) -> Node:
        """An int64 node of an index tensor, in which -1 means the last element."""
        if isinstance(part, Core):
            found = self._operand(part, "indexing")
            assert found is not None
        elif isinstance(part, (list, tuple, np.ndarray)) or hasattr(part, "__array__"):
            array, dtype = as_array(part, None)
            if not array.size and not isinstance(part, np.ndarray):
                array, dtype = array.astype(np.int64), dtypes.int64
            found = from_numpy(array, dtype, get_device(self.device))
        else:
            raise TypeError(
                f"indexing: cannot index with {part!r}; use ints, slices, None, Ellipsis or "
                "integer tensors"
            )
        if not found.dtype.is_int:
            raise IndexError(
                f"indexing: an index tensor must hold integers, not {found.dtype.name}; "
                "call .long() on it"
            )
        if not extent and found.size:
            raise IndexError("indexing: an axis without elements cannot be indexed with any")
        return wrap_negative(build.cast(found, dtypes.int64), extent)

    # Indexing along one axis

    def gather(self, dim: int, index: Any) -> Self:
        """result[i][j] = self[index[i][j]][j] for dim 0, and so on, as in PyTorch.

        Args:
            index: integers; no larger than `self` along the other axes.
        """
        x = build.reshape(self.node, self.shape or (1,))
        places = self._places(dim, index, "gather")
        shape = index.shape if isinstance(index, Core) else np.shape(index)
        return self._result(build.reshape(build.gather(x, places), shape))

    def _places(self, dim: int, index: Any, operation: str) -> tuple[Node, ...]:
        """For each axis where in it an index along `dim` points; a scalar counts as a vector."""
        axis = self._axis(dim, operation)
        extents = self.shape or (1,)
        position = self._index_node(index, extents[axis])
        position = build.reshape(position, position.shape or (1,))
        fits = position.ndim == len(extents)
        if not fits or any(position.shape[a] > n for a, n in enumerate(extents) if a != axis):
            raise ValueError(
                f"{operation}: an index of shape {position.shape} does not fit a tensor of shape "
                f"{self.shape} along axis {axis}"
            )
        places = [along(a, position.shape) for a in range(position.ndim)]
        places[axis] = position
        return tuple(places)


# Helpers


def wrap_negative(position: Node, extent: int) -> Node:
    """Indices in which -1 means the last of `extent` elements."""
    negative = build.binary(ops.LT, position, build.full_like(position, 0))
    wrapped = build.add(position, build.full_like(position, extent))
    return build.where(negative, wrapped, position)


def _checked(position: int, axis: int, extent: int) -> int:
    if not -extent <= position < extent:
        raise IndexError(
            f"indexing: index {position} is out of range for axis {axis}, which has {extent} "
            "elements"
        )
    return position % extent


def _add_slice(chosen: Selection, part: slice, axis: int, extent: int) -> int:
    """Notes a slice of one axis; returns how many elements it chooses."""
    if part.step == 0:
        raise ValueError("indexing: the step of a slice cannot be 0")
    taken = range(*part.indices(extent))
    if not taken:
        chosen.spans.append((0, 0, 1))
    elif taken.step > 0:
        chosen.spans.append((taken[0], taken[-1] + 1, taken.step))
    else:
        chosen.spans.append((taken[-1], taken[0] + 1, -taken.step))
        chosen.flipped.append(axis)
    return len(taken)


def _take_arrays(x: Node, chosen: Selection) -> Node:
    """Indexes `x` with the selection's arrays and puts their axes where NumPy does."""
    shape = broadcast_shape([i.shape for i in chosen.arrays.values()], "indexing")
    indices = tuple(build.expand(i, shape) for i in chosen.arrays.values())
    indexed = tuple(chosen.arrays)
    rest = tuple(axis for axis in range(x.ndim) if axis not in indexed)
    taken = build.gather(build.permute(x, indexed + rest), indices)
    lead = 0 if chosen.apart else indexed[0]
    new = tuple(range(len(shape)))
    old = tuple(range(len(shape), taken.ndim))
    return build.permute(taken, old[:lead] + new + old[lead:])


def _fitted(value: Node, shape: tuple[int, ...]) -> Node:
    """A value broadcast to the part that it is written to; leading axes of 1 may be too many."""
    while value.ndim > len(shape) and value.shape[0] == 1:
        value = build.reshape(value, value.shape[1:])
    if value.ndim > len(shape) or broadcast_shape((value.shape, shape), "setitem") != shape:
        raise ValueError(
            f"setitem: a value of shape {value.shape} does not fit the chosen part of shape {shape}"
        )
    return build.expand(value, shape)


def _put_arrays(x: Node, value: Node, chosen: Selection) -> Node:
    """`x` with `value`, broadcast, at the selection's arrays."""
    shape = broadcast_shape([i.shape for i in chosen.arrays.values()], "indexing")
    indices = tuple(build.expand(i, shape) for i in chosen.arrays.values())
    indexed = tuple(chosen.arrays)
    order = indexed + tuple(axis for axis in range(x.ndim) if axis not in indexed)
    rest = tuple(x.shape[axis] for axis in order[len(indexed) :])
    lead = 0 if chosen.apart else indexed[0]
    value = _fitted(value, (*rest[:lead], *shape, *rest[lead:]))
    new = tuple(range(lead, lead + len(shape)))
    value = build.permute(value, new + tuple(a for a in range(value.ndim) if a not in new))
    put = put_at(build.permute(x, order), indices, value)
    return build.permute(put, tuple(order.index(axis) for axis in range(x.ndim)))


def put_at(x: Node, indices: tuple[Node, ...], value: Node) -> Node:
    """`x` with x[i0, i1, ...] = value; of several values for one place, the last one."""
    count = indices[0].size
    if not count:
        return x
    extents = x.shape[: len(indices)]
    last = _last_writers(extents, indices)
    flat = build.reshape(value, (count, *x.shape[len(indices) :]))
    one = build.full_like(last, 1)
    here = build.binary(ops.LE, one, last)
    writer = build.where(here, build.sub(last, one), build.full_like(last, 0))
    rows = build.gather(flat, (writer,))
    wide = build.reshape(here, extents + (1,) * (x.ndim - len(extents)))
    return build.where(build.expand(wide, x.shape), rows, x)


def _last_writers(extents: tuple[int, ...], indices: tuple[Node, ...]) -> Node:
    """For each place the number, from 1, of the last index that names it, or 0 if none does.

    The largest number of a place is found bit by bit, from the highest on: a bit is set where an
    index that names the place agrees with the bits so far and has this one.
    """
    shape = indices[0].shape
    count = indices[0].size
    line = build.reshape(build.iota(count), shape)
    number = build.add(line, build.full_like(line, 1))
    nothing = build.const(0, dtypes.int64, extents)
    best = nothing
    for bit in reversed(range(count.bit_length())):
        doubled = build.add(best, best)
        wanted = build.gather(build.add(doubled, build.full_like(best, 1)), indices)
        prefix = build.binary(ops.SHR, number, build.full_like(number, bit))
        agree = build.cast(build.binary(ops.EQ, prefix, wanted), dtypes.int64)
        votes = build.scatter(nothing, indices, agree)
        best = build.add(doubled, build.cast(build.binary(ops.LT, nothing, votes), dtypes.int64))
    return best


def _is_mask(part: Any) -> bool:
    """Whether a part of a key is a bool tensor, array or list."""
    if isinstance(part, Core):
        return part.dtype is dtypes.bool_
    if isinstance(part, (list, np.ndarray)) or hasattr(part, "__array__"):
        return np.asarray(part).dtype == np.bool_
    return False


def _axes_used(key: tuple[Any, ...]) -> int:
    """How many axes the parts of a key take."""
    plain = [part for part in key if part is not None and part is not Ellipsis]
    return sum(_rank(part) if _is_mask(part) else 1 for part in plain)


def _rank(mask: Any) -> int:
    return mask.ndim if isinstance(mask, Core) else np.asarray(mask).ndim


def overwrite(x: Node, value: Node, chosen: Selection) -> Node:
    """`x` with `value` at the selected elements."""
    taken = tuple(len(range(*span)) for span in chosen.spans)
    value = build.flip(build.reshape(value, taken), tuple(chosen.flipped))
    return sharing.overwrite(x, value, chosen.spans)
