"""`vmap`: a function of one example becomes a function of many.

The function runs once, on tensors that have an example's shape and stand for all of them. The
graph that it builds is then rewritten, op by op, with an axis for the examples.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any

from gradlet.engine.trace import VmapError, look_into
from gradlet.grad.batch import Batch, placeholder
from gradlet.ir import build, ops
from gradlet.ir.node import Node
from gradlet.tensor.core import Core, normal_axis
from gradlet.tensor.nested import flatten, rebuild
from gradlet.tensor.random import changing_draws, threefry2x32

Dims = Any
_RANDOMNESS = ("error", "same", "different")


def vmap(
    f: Callable[..., Any],
    in_dims: Dims = 0,
    out_dims: Dims = 0,
    randomness: str = "error",
) -> Callable[..., Any]:
    """A function that does for every example along an axis what `f` does for one.

    Arguments and results may be nested lists, dicts and dataclasses of tensors.

    Args:
        in_dims: the axis of the examples in each argument, or None for what all of them share:
            one for all arguments, or a tuple with one an argument, each of which may be nested as
            the argument is.
        out_dims: where the axis stands in each result; None for what all examples share.
        randomness: whether random numbers in `f` are `same` or `different` for each example, or
            an `error`.

    Raises:
        VmapError: `f` needs a value of an example, as `.item()` and `if x > 0` do.
        ValueError: arguments differ in how many examples they have, or have none.

    >>> from gradlet import Tensor, vmap
    >>> dot = lambda a, b: (a * b).sum()
    >>> vmap(dot, in_dims=(0, None))(Tensor([[1.0, 2.0], [3.0, 4.0]]), Tensor([10.0, 1.0])).tolist()
    [12.0, 34.0]
    """
    if randomness not in _RANDOMNESS:
        raise ValueError(f"vmap: randomness is one of {_RANDOMNESS}, not {randomness!r}")

    @functools.partial(functools.update_wrapper, wrapped=f)
    def mapped(*args: Any, **kwargs: Any) -> Any:
        return _Mapping(args, kwargs, in_dims).result(f, out_dims, randomness)

    return mapped


class _Mapping:
    """One call: what stands for all examples, and for what."""

    def __init__(self, args: tuple, kwargs: dict, in_dims: Dims) -> None:
        tensors: list[Any] = []
        self.form = flatten((args, kwargs), tensors, [], "vmap")
        dims = tuple(in_dims) if isinstance(in_dims, tuple | list) else (in_dims,) * len(args)
        if len(dims) != len(args):
            raise ValueError(f"vmap: in_dims has {len(dims)} entries for {len(args)} arguments")
        axes = [*_spread(dims, args, "in_dims"), *_spread(0, kwargs, "in_dims")]
        self.mapped: dict[Node, Node] = {}
        self.count = _count(tensors, axes)
        self.cells = [self.cell(*pair) for pair in zip(tensors, axes, strict=True)]

    def cell(self, tensor: Any, axis: int | None) -> Core:
        """What the function gets for a tensor."""
        if axis is None:
            return tensor
        front = _moved(tensor.node, normal_axis(axis, tensor.ndim, "vmap"), 0)
        one = placeholder(front.dtype, front.shape[1:])
        self.mapped[one] = front
        return type(tensor).from_node(one, tensor.device)

    def result(self, f: Callable[..., Any], out_dims: Dims, randomness: str) -> Any:
        args, kwargs = rebuild(self.form, iter(self.cells))
        with changing_draws(functools.partial(self.drawn, randomness)):
            value = look_into(f, *args, **kwargs)
        tensors: list[Any] = []
        form = flatten(value, tensors, [], "vmap")
        axes = list(_spread(out_dims, value, "out_dims"))
        batch = Batch(self.mapped, self.count, pending)
        made = batch([tensor.node for tensor in tensors])
        cells = []
        for tensor, node, axis in zip(tensors, made, axes, strict=True):
            if axis is None and node is not None:
                raise ValueError(
                    f"vmap: out_dims is None for a result of shape {tensor.shape} that differs "
                    "from example to example; give the place of their axis"
                )
            if axis is None:
                cells.append(tensor)
                continue
            place = normal_axis(axis, tensor.ndim + 1, "vmap")
            front = node if node is not None else batch.repeated(tensor.node)
            cells.append(tensor._result(_moved(front, 0, place)))
        return rebuild(form, iter(cells))

    def drawn(self, randomness: str, block: Node) -> Node:
        """What to draw from in place of `block`: (key 0, key 1, call)."""
        if randomness == "error":
            raise VmapError(
                "vmap: the function draws random numbers. Say whether every example gets its own, "
                'with vmap(f, randomness="different"), or all the same, with randomness="same".'
            )
        if randomness == "same":
            return block
        one = placeholder(block.dtype, block.shape)
        self.mapped[one] = _blocks(block, self.count)
        return one


def _blocks(block: Node, count: int) -> Node:
    """(count, 3): blocks with keys of their own, and the same call."""

    def entry(i: int) -> Node:
        return build.expand(build.slice_(block, ((i, i + 1, 1),)), (count,))

    example = build.iota(count, block.dtype)
    keys = threefry2x32((entry(0), entry(1)), (example, entry(2)))
    made = build.const(0, block.dtype, (count, 3))
    for place, column in enumerate((*keys, entry(2))):
        width = ((0, 0, 0), (place, 2 - place, 0))
        made = build.add(made, build.pad(build.reshape(column, (count, 1)), width))
    return made


def pending(buffer: Node) -> Node | None:
    """The graph that will fill a BUFFER, or None if it is filled."""
    return buffer.arg.pending if buffer.op is ops.BUFFER else None


def _moved(x: Node, axis: int, place: int) -> Node:
    """`x` with one of its axes in another place."""
    order = [a for a in range(x.ndim) if a != axis]
    order.insert(place, axis)
    return build.permute(x, tuple(order))


def _count(tensors: list[Any], axes: list[int | None]) -> int:
    counts: dict[int, tuple] = {}
    for tensor, axis in zip(tensors, axes, strict=True):
        if axis is None:
            continue
        if not tensor.ndim:
            raise ValueError(
                "vmap: a tensor without axes has no examples; give None for it in in_dims"
            )
        counts.setdefault(tensor.shape[normal_axis(axis, tensor.ndim, "vmap")], tensor.shape)
    if len(counts) != 1:
        found = ", ".join(f"{n} in {shape}" for n, shape in counts.items()) or "none at all"
        raise ValueError(
            f"vmap: all arguments must have the same number of examples, and there are {found}; "
            "see in_dims"
        )
    return next(iter(counts))


def _spread(dims: Dims, value: Any, name: str) -> Iterator[int | None]:
    """The axis for each tensor in a value, in the order of `flatten`."""
    if isinstance(value, Core):
        if dims is not None and (not isinstance(dims, int) or isinstance(dims, bool)):
            raise TypeError(f"vmap: {name} has {dims!r} where an int or None is wanted")
        yield dims
        return
    parts = _parts(value)
    inner = [dims] * len(parts) if dims is None or isinstance(dims, int) else _parts(dims)
    if parts and len(inner) != len(parts):
        raise ValueError(f"vmap: {name} has {len(inner)} entries for {len(parts)}")
    if isinstance(value, dict) and isinstance(dims, dict):
        if set(dims) != set(value):
            raise ValueError(f"vmap: {name} has keys {list(dims)} for {list(value)}")
        inner = [dims[key] for key in value]
    for part, own in zip(parts, inner, strict=False):
        yield from _spread(own, part, name)


def _parts(value: Any) -> list[Any]:
    """What `flatten` looks into."""
    if isinstance(value, list | tuple):
        return list(value)
    if isinstance(value, dict):
        return list(value.values())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [getattr(value, field.name) for field in dataclasses.fields(value)]
    return []
