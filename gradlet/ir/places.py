"""Whether an access to an array can leave it."""

from __future__ import annotations

import random
from itertools import product

from gradlet.base import dtypes
from gradlet.ir import index, ops
from gradlet.ir.node import Node, topological

_CORNERS = 8  # counters of which all combinations of first and last value are tried
_TRIES = 64


def misplaced(array: Node, at: tuple[Node, ...], valid: Node = index.TRUE) -> str | None:
    """What is wrong with the access `array[at]` where `valid` holds, or None.

    Where the bounds of an index leave the axis, values of the counters are tried, since bounds
    may be wider than what is reached: what is reported does happen.
    """
    if len(at) != array.ndim:
        return f"{len(at)} indices for {array.ndim} axes"
    for axis, (i, extent) in enumerate(zip(at, array.shape, strict=True)):
        if i.dtype is not dtypes.index:
            return f"index {axis} is {i.dtype.name}, not index"
        low, high = index.bounds(i)
        if low >= 0 and high < extent:
            continue
        found = _reached(i, extent, valid)
        if found is not None:
            return f"index {axis} reaches {found} in an axis of {extent}"
    return None


def _reached(i: Node, extent: int, valid: Node) -> int | None:
    """A value that `i` takes outside [0, extent) where `valid` holds, if one is found."""
    opaque = (ops.RANGE, ops.CHECKED)
    atoms = [
        x for x in topological([i, valid], lambda n: () if n.op in opaque else n.src)
        if x.op in opaque
    ]  # fmt: skip
    ends = [index.bounds(atom) for atom in atoms]
    generator = random.Random(0)
    tried = list(product(*ends)) if len(atoms) <= _CORNERS else []
    tried += [tuple(generator.randint(*end) for end in ends) for _ in range(_TRIES)]
    for values in tried:
        known = dict(zip(atoms, values, strict=True))
        try:
            place = index.evaluate(i, known)
            outside = not 0 <= place < extent
            if outside and index.evaluate(valid, known):
                return int(place)
        except KeyError:  # it depends on numbers that are known only when the kernel runs
            return None
    return None
