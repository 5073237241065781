"""From a lazy tensor to numbers: realize, numpy, item, repr."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Self

import numpy as np

from gradlet.engine import realize as engine
from gradlet.engine import trace
from gradlet.ir import build, ops
from gradlet.ir.node import KeyedReference, Node
from gradlet.runtime.buffer import Buffer, node_of
from gradlet.runtime.device import get_device
from gradlet.tensor.core import Core
from gradlet.tensor.draws import Draws

# What the last backward() left to compute: its gradients, and the values whose graph it used
# up. They run with whatever is realized next, so that forward and backward pass run once, and a
# loss that someone keeps holds its number alone. By id, for `==` of tensors is elementwise.
_unsettled: dict[int, KeyedReference] = {}


def _forget(reference: Any) -> None:
    _unsettled.pop(reference.key, None)


def compute_with_next(tensor: Core) -> None:
    """Has the value of `tensor` computed together with whatever is realized next."""
    reference = KeyedReference(tensor, _forget)
    reference.key = id(tensor)
    _unsettled[reference.key] = reference


def _taken_up() -> list[Core]:
    """What is to be computed now, which is forgotten: should that fail, the next starts afresh."""
    waiting = [tensor for r in list(_unsettled.values()) if (tensor := r()) is not None]
    _unsettled.clear()
    return waiting


class Values(Draws):
    """Reading what a tensor holds."""

    __slots__ = ()

    def realize(self, *others: Self) -> Self:
        """Computes this tensor, and others, now rather than when they are first looked at."""
        realize_all((self, *others))
        return self

    def numpy(self) -> np.ndarray:
        """A copy of the elements as a NumPy array.

        >>> from gradlet import Tensor
        >>> (Tensor([1, 2]) * 2).numpy()
        array([2, 4])
        """
        known = _held(self.node)
        if known is None:
            realize_all((self,))
            known = engine.value_of(self.node, get_device(self.device))
        return known.numpy()

    def item(self) -> bool | int | float:
        """The one element as a Python number."""
        if self.numel() != 1:
            raise ValueError(
                f"item: a tensor of shape {self.shape} has {self.numel()} elements, not 1; use "
                ".tolist() or .numpy()"
            )
        return self.numpy().item()

    def equal(self, other: Self) -> bool:
        """Whether both have the same shape and elements; no nan is equal to another."""
        return self.shape == other.shape and bool((self == other).all().item())

    def allclose(
        self, other: Self, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False
    ) -> bool:
        """Whether all elements are close, as `isclose` has it.

        >>> from gradlet import Tensor
        >>> Tensor([1.0]).allclose(Tensor([1.000001]))
        True
        """
        return bool(self.isclose(other, rtol, atol, equal_nan).all().item())

    def tolist(self) -> Any:
        """The elements as nested lists of Python numbers; one number for a scalar."""
        return self.numpy().tolist()

    def tobytes(self) -> bytes:
        """A copy of the elements as bytes, row by row."""
        return self.numpy().tobytes()

    def is_nonzero(self) -> bool:
        """Whether the one element is not zero."""
        return bool(self)

    def data(self) -> memoryview:
        """A copy of the elements as a memoryview."""
        return self.numpy().data

    def __len__(self) -> int:
        if not self.ndim:
            raise TypeError("len() of a scalar tensor; it has no axes")
        return self.shape[0]

    def __iter__(self) -> Iterator[Self]:
        if not self.ndim:
            raise TypeError("a scalar tensor has no axis to iterate over; use .item()")
        return (self[i] for i in range(self.shape[0]))

    def __contains__(self, value: Any) -> bool:
        found: Any = self == value
        if not isinstance(found, Values):
            raise TypeError(f"in: a tensor holds numbers, and {value!r} is none, nor a tensor")
        return bool(found.any())

    def __bool__(self) -> bool:
        if self.numel() != 1:
            raise ValueError(
                f"bool() of a tensor of shape {self.shape} is ambiguous; use .any() or .all()"
            )
        return bool(self.item())

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __round__(self, ndigits: int = 0) -> Self:
        return self.round(ndigits)

    def __index__(self) -> int:
        if self.dtype.is_float:
            raise TypeError(f"a {self.dtype.name} tensor cannot be used as an index")
        return int(self.item())

    def __repr__(self) -> str:
        text = np.array2string(self.numpy(), separator=", ", prefix="Tensor(")
        facts = f"shape={self.shape}, dtype={self.dtype.name}, device={self.device}"
        return f"Tensor({text}, {facts})"

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if spec or not self.ndim else repr(self)

    def __reduce__(self) -> Any:
        facts = (self.device, self.dtype, self.requires_grad)
        return (type(self), (self.numpy(), *facts))


def _held(shown: Node) -> Buffer | None:
    """The buffer that a node stands for, if it is filled and nothing else is to be done."""
    leaf = shown.src[0] if shown.op in ops.IDENTITIES else shown
    if leaf.op is not ops.BUFFER or _unsettled or trace.current() is not None:
        return None
    buffer: Buffer = leaf.arg
    return None if buffer.memory is None else buffer


def realize_all(
    tensors: Sequence[Core], calls: Sequence[Node] = (), device: str | None = None
) -> list[Any]:
    """Computes tensors together, one program for each device.

    Args:
        calls: CALL nodes on `device`, all results of which are computed as well.

    Returns:
        the memory of each result of the calls.
    """
    if trace.current() is not None:  # a recorded step computes all of it at its end
        return []
    together = [*tensors, *_taken_up()]
    by_device: dict[str, list[Node]] = {} if device is None else {device: []}
    for tensor in together:
        by_device.setdefault(tensor.device, []).append(tensor.node)
    memories: list[Any] = []
    for name, nodes in by_device.items():
        memories += engine.realize(nodes, get_device(name), calls if name == device else ())
    for tensor in together:
        _let_go(tensor)
    return memories


def _let_go(tensor: Core) -> None:
    """Forgets the graph of a computed tensor where no gradient will ask for it."""
    current = tensor.node
    if current.op is ops.BUFFER:
        return
    if current.op is ops.CONSUMED:
        stored = _stored(current, tensor.device)
        before = None if current.arg is None else current.arg()
        if before is not None and before.realized is None:
            before.realized = stored
        tensor.node = build.consumed(stored)
    elif not current.dtype.is_float:
        tensor.node = _stored(current, tensor.device)


def _stored(current: Node, device: str) -> Node:
    found: Buffer = engine.value_of(current, get_device(device))
    return node_of(found)
