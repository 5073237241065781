"""What a BUFFER node's `arg` is: a place on a device for one array, filled now or later."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from sys import getrefcount
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from gradlet.base import dtypes
from gradlet.base.dtypes import DType
from gradlet.base.ownership import SOLE, SOLE_AND_LISTED
from gradlet.ir import build
from gradlet.ir.node import Node
from gradlet.ir.ops import BUFFER, CONSUMED, DETACH

if TYPE_CHECKING:
    from gradlet.runtime.device import Device


class Buffer:
    """One array on one device. Its memory is never written again once it is filled, and it gets
    another one only where nobody could tell: see `refill`.

    Attributes:
        device: where it lives.
        node: the BUFFER node that stands for it in graphs.
        memory: the device's own object that holds the elements, or None while pending.
        pending: the graph that will compute it, or None once filled. A pending buffer is a
            leaf for gradients and an ordinary subgraph for the compiler.
    """

    __slots__ = ("device", "dtype", "shape", "memory", "pending", "__weakref__")

    def __init__(
        self,
        device: Device,
        dtype: DType,
        shape: tuple[int, ...],
        memory: Any = None,
        pending: Node | None = None,
    ) -> None:
        self.device = device
        self.dtype = dtype
        self.shape = shape
        self.memory = memory
        self.pending = pending

    def fill(self, memory: Any) -> None:
        """Gives the buffer its elements and lets go of the graph that computed them."""
        self.memory = memory
        self.pending = None

    def numpy(self) -> np.ndarray:
        """A copy of the elements."""
        assert self.memory is not None, "the buffer has not been computed yet"
        return self.device.to_numpy(self.memory, self.dtype, self.shape)

    def __repr__(self) -> str:
        state = "pending" if self.memory is None else "filled"
        return f"Buffer({self.device.name}, {self.dtype.name}{list(self.shape)}, {state})"


class Deferred(Buffer):
    """A buffer whose elements lie in a file or elsewhere until they are first needed.

    Args:
        fetch: gives the elements; they are copied to the device, and `fetch` is let go of.
    """

    __slots__ = ("_fetch", "_memory")

    def __init__(
        self,
        device: Device,
        dtype: DType,
        shape: tuple[int, ...],
        fetch: Callable[[], np.ndarray],
    ) -> None:
        self._fetch: Callable[[], np.ndarray] | None = fetch
        super().__init__(device, dtype, shape)

    @property
    def memory(self) -> Any:
        fetch = self._fetch
        if fetch is not None:
            array = np.ascontiguousarray(fetch()).reshape(self.shape)
            self._memory = self.device.from_numpy(array)
            self._fetch = None
        return self._memory

    @memory.setter
    def memory(self, value: Any) -> None:
        self._memory = value

    def __repr__(self) -> str:
        if self._fetch is None:
            return super().__repr__()
        return f"Deferred({self.device.name}, {self.dtype.name}{list(self.shape)})"


def node_of(buffer: Buffer) -> Node:
    """The BUFFER node of `buffer`: one object however often it is asked for."""
    return build.buffer(buffer, buffer.dtype, buffer.shape)


def refill(shown: Sequence[Node | None], memories: Iterable[Any]) -> list[int]:
    """Gives BUFFER nodes, or what shows one, other elements where nobody could tell.

    Nobody can if the one place that a node was taken from is all that refers to it, besides
    `shown`.

    Returns:
        the positions of those that were left alone.
    """
    left = []
    for position, memory in enumerate(memories):
        node = shown[position]
        if node is not None and getrefcount(node) == SOLE_AND_LISTED:
            buffer = node.arg if node.op is BUFFER else _unshared(node)
            if type(buffer) is Buffer and getrefcount(buffer) == _REFERENCES_OF_NODE:
                buffer.memory = memory
                buffer.pending = None
                continue
        left.append(position)
    return left


def vacate(shown: Node) -> bool:
    """Lets go of what a node shows that only the caller knows, if nobody knows its elements."""
    buffer = _unshared(shown)
    if buffer is None or getrefcount(buffer) != _REFERENCES_OF_NODE:
        return False
    buffer.memory = None
    return True


class _Written(Buffer):
    """A buffer while its memory is written: other threads that ask for it wait."""

    __slots__ = ()

    @property
    def memory(self) -> Any:
        with _writing:
            return _memory_of(self)

    @memory.setter
    def memory(self, value: Any) -> None:
        raise AssertionError("somebody else writes into this buffer's memory")


class _HalfWritten(Buffer):
    """In a forked child, a buffer that a thread of the parent was writing: it lacks the rest.

    It can be filled anew.
    """

    __slots__ = ()

    @property
    def memory(self) -> Any:
        raise RuntimeError(
            f"{self.dtype.name}{list(self.shape)} on {self.device.name} was being written by "
            "another thread when this process was forked, and holds old elements and new ones. "
            "Fork between training steps, or start processes by 'spawn'"
        )

    @memory.setter
    def memory(self, value: Any) -> None:
        whole: Buffer = self
        whole.__class__ = Buffer
        whole.memory = value


_writing = threading.RLock()
_written: list[Buffer] = []  # by the thread that holds the lock
_memory_of: Callable[[Buffer], Any] = vars(Buffer)["memory"].__get__


class Holder(Protocol):
    """Something that shows a node's value to a user: a Tensor."""

    node: Node


@contextlib.contextmanager
def taken(holders: Iterable[Holder]) -> Iterator[list[bool]]:
    """While it lasts, memory of leaves that nobody else refers to may be written.

    Gives for each holder whether it is so of its leaf. Should another thread ask for it, it waits.
    """
    with _writing:
        before = len(_written)
        try:
            yield [_take(holder, _written) for holder in holders]
        finally:
            for buffer in _written[before:]:
                buffer.__class__ = Buffer
            del _written[before:]


def _renew_after_fork() -> None:
    """In a forked child the thread that held the lock, if it was another, does not exist."""
    global _writing
    if _writing.acquire(blocking=False):
        _writing.release()
        return
    _writing = threading.RLock()
    for buffer in _written:
        buffer.__class__ = _HalfWritten
    _written.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_after_fork)


def _take(holder: Holder, taken_ones: list[Buffer]) -> bool:
    """First hides the memory, and then looks who knew of it before."""
    shown = holder.node
    buffer = _unshared(shown)
    if buffer is None:
        return False
    buffer.__class__ = _Written
    memory = _memory_of(buffer)
    alone = (
        memory is not None
        and getrefcount(memory) == getrefcount(shown) == SOLE
        and getrefcount(buffer) == _REFERENCES_OF_NODE
    )
    if alone:
        taken_ones.append(buffer)
    else:
        buffer.__class__ = Buffer
    return alone


def _unshared(shown: Node) -> Buffer | None:
    """The buffer of a node if nothing else leads to its leaf."""
    leaf = shown
    if shown.op is not BUFFER:
        if shown.op is not DETACH and shown.op is not CONSUMED:
            return None
        (leaf,) = shown.src
        if leaf.op is not BUFFER or getrefcount(leaf) != SOLE:
            return None
    if shown.realized is not None or type(leaf.arg) is not Buffer:
        return None
    found: Buffer = leaf.arg
    return found


def _references_of_node() -> int:
    """`getrefcount` of a local variable with a buffer that only its own node refers to."""
    nowhere: Any = None
    leaf = node_of(Buffer(nowhere, dtypes.float32, ()))
    buffer = leaf.arg
    return getrefcount(buffer) if SOLE > 0 else SOLE


_REFERENCES_OF_NODE = _references_of_node()


def from_numpy(array: np.ndarray, dtype: DType, device: Device) -> Node:
    """A BUFFER node that holds a copy of `array`, whose layout is that of `dtype`."""
    memory = device.from_numpy(np.ascontiguousarray(array).reshape(array.shape))
    return node_of(Buffer(device, dtype, array.shape, memory))
