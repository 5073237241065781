"""Tensors whose elements stay in a file until something computes with them."""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gradlet.base import dtypes
from gradlet.base.dtypes import DType
from gradlet.base.settings import device_name
from gradlet.runtime.buffer import Deferred, node_of
from gradlet.runtime.device import get_device
from gradlet.tensor.tensor import Tensor


class MappedFile:
    """The bytes of a file, of which only those that are looked at are read.

    Replacing the file leaves these bytes as they are; writing into it is noticed.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is empty.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        with path.open("rb") as file:
            self._found = os.fstat(file.fileno())
            if not self._found.st_size:
                raise ValueError(f"{path} is empty: copy, download or save it again")
            self.bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def __len__(self) -> int:
        return self._found.st_size

    def array(self, start: int, count: int, dtype: DType) -> np.ndarray:
        """`count` elements from byte `start` on, as a view of the file.

        Raises:
            ValueError: the file has been written into since it was opened.
        """
        self._check_unchanged()
        return np.frombuffer(self.bytes, dtype.numpy, count, start)

    def _check_unchanged(self) -> None:
        """Reading past the new end of a file would end the process; other changes mix values."""
        changed = self.bytes.size() != len(self)
        try:
            now = os.stat(self.path)
        except OSError:  # moved or deleted: what is mapped stays
            now = self._found
        if now.st_ino == self._found.st_ino:
            changed |= now.st_size != len(self) or now.st_mtime_ns != self._found.st_mtime_ns
        if changed:
            raise ValueError(
                f"{self.path} was written into after its tensors were loaded and before they were "
                "used, so their values are lost: load it again. (gradlet reads a tensor when it is "
                "first used, and saves by replacing a file.)"
            )


@dataclass(frozen=True)
class Region:
    """Where the elements of a tensor lie in a file.

    Attributes:
        start: byte at which the first lies.
        count: elements from there on.
        strides: from an element to the next along each axis, in elements; row-major if None.
        swapped: the bytes of an element are in the other order than this machine's.
    """

    file: MappedFile
    start: int
    count: int
    dtype: DType
    shape: tuple[int, ...]
    strides: tuple[int, ...] | None = None
    swapped: bool = False

    def read(self) -> np.ndarray:
        """The elements, as a view of the file where that is possible."""
        flat = self.file.array(self.start, self.count, self.dtype)
        if self.strides is None:
            found = flat.reshape(self.shape)
        else:
            size = self.dtype.itemsize
            plain = flat.view(f"u{size}")  # NumPy cannot stride over 8-bit floats
            steps = tuple(step * size for step in self.strides)
            found = np.lib.stride_tricks.as_strided(plain, self.shape, steps).view(flat.dtype)
        if self.swapped:
            found = _swapped(np.ascontiguousarray(found))
        if self.dtype is dtypes.bool_:
            found = found.view(np.uint8) != 0  # any other byte would be neither True nor False
        return found.reshape(self.shape)


def _swapped(array: np.ndarray) -> np.ndarray:
    plain = array.view(f"u{array.itemsize}")  # bfloat16 has no byte order of its own
    return plain.byteswap().view(array.dtype)


def lazy_tensor(
    dtype: DType, shape: tuple[int, ...], read: Callable[[], np.ndarray], device: str | None
) -> Tensor:
    """A tensor that gets its elements from `read` when it is first used."""
    home = get_device(device or device_name())
    return Tensor.from_node(node_of(Deferred(home, dtype, shape, read)), home.name)
