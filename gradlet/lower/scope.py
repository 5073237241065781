"""What a loop holds while it is written out: its instructions, and the values known in it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from gradlet.base.remembered import remembered
from gradlet.ir import index, ops
from gradlet.ir.node import Node
from gradlet.lower.linear import Instruction, Value

Fixed = tuple[tuple[int, ...], tuple[int, ...]]


@dataclass
class Scope:
    """One loop, as far as it is written.

    Attributes:
        known: what is known as long as it lasts.
        momentary: what is known until something that it was read from changes.
        dependent: for what may change the values that depend on it: by the axes along which they
            are at a fixed place of it, if they are, and by that place.
        vectors: the loads of whole vectors, and how many lanes they have.
    """

    instructions: list[Instruction] = field(default_factory=list)
    known: list[Node] = field(default_factory=list)
    momentary: dict[Node, Value] = field(default_factory=dict)
    dependent: dict[Node, dict[tuple[int, ...], dict[tuple[int, ...], list[Node]]]] = field(
        default_factory=dict
    )
    broadcasts: dict[tuple[Value, int], Value] = field(default_factory=dict)
    vectors: dict[Node, int] = field(default_factory=dict)

    def remember(self, x: Node, value: Value, until: Iterable[Node]) -> None:
        """Notes a value that holds until one of these arrays is written."""
        self.momentary[x] = value
        for changing in until:
            axes, numbers = _place_of(x, changing)
            places = self.dependent.setdefault(changing, {}).setdefault(axes, {})
            places.setdefault(numbers, []).append(x)

    def forget(self, changing: Node | None = None) -> None:
        """Drops the values that hold until an array is written, or all such values."""
        if changing is None:
            self.momentary.clear()
        else:
            for places in self.dependent.pop(changing, {}).values():
                self._drop(places)

    def overwrite(self, array: Node, at: tuple[Node, ...]) -> None:
        """Drops the values that a write to one place of an array may change.

        Those stay that are at another fixed place along the same axes.
        """
        written, numbers = _fixed(at)
        for axes, places in self.dependent.get(array, {}).items():
            if axes and axes == written:
                self._drop({numbers: places.pop(numbers, [])})
            else:
                self._drop(places)
                places.clear()

    def _drop(self, places: dict[tuple[int, ...], list[Node]]) -> None:
        for values in places.values():
            for x in values:
                self.momentary.pop(x, None)


@remembered
def _place_of(x: Node, array: Node) -> Fixed:
    """Where a load is in its array, if all its indices are numbers and counters."""
    if x.op is not ops.LOAD or x.src[0] is not array or x.src[1] is not index.TRUE:
        return (), ()
    place = x.src[2:]
    plain = all(i.op is ops.CONST or i.op is ops.RANGE for i in place)
    return _fixed(place) if plain else ((), ())


@remembered
def _fixed(at: tuple[Node, ...]) -> Fixed:
    """The axes along which a place is a number, and those numbers."""
    axes = tuple(axis for axis, i in enumerate(at) if i.op is ops.CONST)
    return axes, tuple(at[axis].arg for axis in axes)
