"""Memory that is used again instead of being given back.

Fresh memory from the system is slow: every page of it faults at first touch. A training loop asks
for the same sizes at every step, so a freed block waits in a list of its size for the next caller.
"""

from __future__ import annotations

import ctypes
import math
import os
import threading
from array import array
from collections import deque
from collections.abc import Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from gradlet.base.ownership import all_unshared

ALIGNMENT = 64
HUGE_PAGE = 2 << 20  # a large block begins with one, and so is made of whole ones
DEFAULT_FREE_LIMIT = 1 << 30


class Storage(NamedTuple):
    """A piece of memory that the pool owns."""

    address: int
    capacity: int
    owner: npt.NDArray[np.uint8]


class Block:
    """Memory for one buffer.

    Attributes:
        address: of the first byte, a multiple of 64.
        nbytes: how many bytes were asked for.
        is_ours: whether nobody has the memory who does not have the block.
    """

    __slots__ = ("__weakref__", "address", "nbytes")
    is_ours = True

    def __init__(self, address: int, nbytes: int) -> None:
        self.address = address
        self.nbytes = nbytes

    def view(self, dtype: npt.DTypeLike, shape: tuple[int, ...]) -> npt.NDArray[Any]:
        """An array over this memory, without a copy. The array keeps the block alive."""
        dtype = np.dtype(dtype)
        count = math.prod(shape)
        if count * dtype.itemsize > self.nbytes:
            raise ValueError(
                f"an array of shape {shape} and dtype {dtype} needs {count * dtype.itemsize} "
                f"bytes; this block has {self.nbytes}"
            )
        # NumPy reads __array_interface__ and makes the block the base of the array.
        raw = np.asarray(self)
        return np.ndarray(shape, dtype, buffer=raw)

    @property
    def __array_interface__(self) -> dict[str, Any]:
        return {
            "version": 3,
            "data": (self.address, False),
            "shape": (self.nbytes,),
            "typestr": "|u1",
        }


class OwnBlock(Block):
    """A block that goes back to its pool when nothing refers to it any more."""

    __slots__ = ("_pool", "_storage")

    def __init__(self, pool: Pool, storage: Storage, nbytes: int) -> None:
        super().__init__(storage.address, nbytes)
        self._pool = pool
        self._storage = storage

    def __del__(self) -> None:
        self._pool.give_back(self._storage)


class Piece(Block):
    """A part of a block, which it keeps alive."""

    __slots__ = ("_whole",)

    def __init__(self, whole: Block, offset: int, nbytes: int) -> None:
        super().__init__(whole.address + offset, nbytes)
        self._whole = whole


class Borrowed(Block):
    """The memory of an array from elsewhere, which it keeps alive."""

    __slots__ = ("_array",)
    is_ours = False

    def __init__(self, array: npt.NDArray[Any]) -> None:
        super().__init__(array.ctypes.data, array.nbytes)
        self._array = array


class Pool:
    """Blocks by size class. Threads may share it.

    Args:
        free_limit: bytes that may wait for reuse; beyond it the largest go back to the system.
    """

    def __init__(self, free_limit: int = DEFAULT_FREE_LIMIT) -> None:
        self.free_limit = free_limit
        self.in_use_bytes = 0
        self.peak_bytes = 0
        self.free_bytes = 0
        self._free: dict[int, list[Storage]] = {}
        # A block can die at any moment, even inside `allocate` when Python collects garbage
        # there. So a dying block never waits for the lock: it leaves its storage here.
        self._returned: deque[Storage] = deque()
        self._lock = threading.Lock()

    def allocate(self, nbytes: int) -> Block:
        """A block of at least `nbytes` bytes with arbitrary content.

        Raises:
            MemoryError: the system has no such memory, even after giving back what is free.
        """
        capacity = size_class(nbytes)
        with self._lock:
            if self._returned:
                self._collect()
            waiting = self._free.get(capacity)
            if waiting:
                storage = waiting.pop()
                self.free_bytes -= capacity
            else:
                storage = self._fresh(capacity, nbytes)
            self.in_use_bytes += capacity
            if self.in_use_bytes > self.peak_bytes:
                self.peak_bytes = self.in_use_bytes
        return OwnBlock(self, storage, nbytes)

    def give_back(self, storage: Storage) -> None:
        """Take the storage of a block that died."""
        self._returned.append(storage)
        if self._lock.acquire(blocking=False):
            try:
                self._collect()
            finally:
                self._lock.release()

    def release_free(self) -> None:
        """Give everything that waits for reuse back to the system."""
        with self._lock:
            self._collect()
            self._shrink(to=0)

    def reset_peak(self) -> None:
        """Let `peak_bytes` start again from what is in use now."""
        with self._lock:
            self._collect()
            self.peak_bytes = self.in_use_bytes

    def _collect(self) -> None:
        """Sort what came back into the lists. The caller holds the lock."""
        while self._returned:
            storage = self._returned.popleft()
            self._free.setdefault(storage.capacity, []).append(storage)
            self.in_use_bytes -= storage.capacity
            self.free_bytes += storage.capacity
        if self.free_bytes > self.free_limit:
            self._shrink(to=self.free_limit)

    def _shrink(self, to: int) -> None:
        """Drop free storage, largest first, until `to` bytes remain."""
        for capacity in sorted(self._free, reverse=True):
            waiting = self._free[capacity]
            while waiting and self.free_bytes > to:
                waiting.pop()
                self.free_bytes -= capacity
            if not waiting:
                del self._free[capacity]

    def _fresh(self, capacity: int, nbytes: int) -> Storage:
        """New memory from the system. NumPy asks for huge pages, from 4 MiB on."""
        alignment = HUGE_PAGE if capacity >= 2 * HUGE_PAGE else ALIGNMENT
        try:
            owner = np.empty(capacity + alignment, np.uint8)
        except MemoryError:
            self._shrink(to=0)
            try:
                owner = np.empty(capacity + alignment, np.uint8)
            except MemoryError:
                raise MemoryError(
                    f"no memory for {nbytes} bytes ({nbytes / 2**30:.2f} GiB); "
                    f"{self.in_use_bytes} bytes are in use"
                ) from None
        start = owner.ctypes.data
        return Storage(start + -start % alignment, capacity, owner)


def size_class(nbytes: int) -> int:
    """`nbytes` rounded up so that similar sizes share blocks: by at most an eighth, or to 64."""
    if nbytes < 0:
        raise ValueError(f"cannot allocate {nbytes} bytes")
    if nbytes <= 8 * ALIGNMENT:
        return _whole_lines(nbytes)
    step = 1 << ((nbytes - 1).bit_length() - 4)
    return nbytes + -nbytes % step


def default_free_limit() -> int:
    """A gibibyte, or a quarter of the machine's memory if that is more."""
    try:
        physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return DEFAULT_FREE_LIMIT
    return max(DEFAULT_FREE_LIMIT, physical // 4)


pool = Pool(default_free_limit())


def allocate(nbytes: int) -> Block:
    """A block of `nbytes` bytes from the process's pool, with arbitrary content."""
    return pool.allocate(nbytes)


SMALL = 256  # bytes of a block that may be part of another
_SHARED = 4096  # bytes of a block that has parts
_KEPT_CALLS = 3  # how many calls' parts a program keeps


def groups(sizes: Sequence[int]) -> list[list[int]]:
    """Which blocks of given sizes are best allocated together, by their positions.

    Small ones are, up to a page of them: whoever keeps one of them alone keeps no more than that.
    """
    made: list[list[int]] = []
    room = 0
    for position, nbytes in enumerate(sizes):
        if nbytes > SMALL:
            made.insert(0, [position])
        elif room >= _whole_lines(nbytes):
            made[-1].append(position)
            room -= _whole_lines(nbytes)
        else:
            made.append([position])
            room = _SHARED - _whole_lines(nbytes)
    return made


class Pieces:
    """Blocks of given sizes that are parts of one.

    Making many small objects takes longer than a small program runs. So those of the calls before
    are given again when nobody else holds any of them.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        self._sizes = sizes
        self._offsets = [0, *accumulate(_whole_lines(nbytes) for nbytes in sizes)]
        self._known: deque[tuple[Sequence[Block], array]] = deque(maxlen=_KEPT_CALLS)

    def allocate(self) -> tuple[list[Block], array]:
        """A block for each size, and their addresses."""
        for position, known in enumerate(self._known):
            if all_unshared(known[0]):
                del self._known[position]
                self._known.append(known)  # those given last are held for longest
                return [*known[0]], known[1]
        whole = pool.allocate(self._offsets[-1])
        blocks: list[Block] = [
            Piece(whole, at, nbytes) for at, nbytes in zip(self._offsets, self._sizes, strict=False)
        ]
        addresses = array("q", [block.address for block in blocks])
        self._known.append(([*blocks], addresses))
        return blocks, addresses


def _whole_lines(nbytes: int) -> int:
    return max(ALIGNMENT, nbytes + -nbytes % ALIGNMENT)


def from_numpy(array: npt.NDArray[Any]) -> Block:
    """A block that holds a copy of `array`'s elements in row-major order."""
    block = pool.allocate(array.nbytes)
    block.view(array.dtype, array.shape)[...] = array
    return block


def copy(block: Block) -> Block:
    """A block of its own with the same content."""
    made = pool.allocate(block.nbytes)
    ctypes.memmove(made.address, block.address, block.nbytes)
    return made


def share(array: npt.NDArray[Any]) -> Block:
    """A block that is the memory of `array`.

    Raises:
        ValueError: kernels cannot work in it.
    """
    if array.ctypes.data % ALIGNMENT:
        raise ValueError(f"its memory does not begin at a multiple of {ALIGNMENT} bytes")
    return Borrowed(array)


def _renew_lock_after_fork() -> None:
    """In a forked child the thread that held the lock, if any, does not exist."""
    pool._lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock_after_fork)
