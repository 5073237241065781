"""A reader of IDX files, the format in which MNIST and its likes are handed out.

A file is two zero bytes, a byte for the element type, a byte for the number of axes, the extent of
each axis as a big-endian 32-bit integer, and then the elements in row-major order.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np

UINT8 = 0x08
PACKED_AT_MOST = 1100  # bytes that gzip makes of one: 1032, and some for small files


class DamagedFileError(ValueError):
    """A file does not hold what its name or header promises."""


def read_idx(path: Path) -> np.ndarray:
    """The array of bytes in an IDX file, which may be packed by gzip.

    Returns:
        A uint8 array with the shape that the file states.

    Raises:
        DamagedFileError: not an IDX file of bytes, or cut short, or too long.
    """
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    try:
        with gzip.open(path) if packed else path.open("rb") as file:
            return _array(path, file)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise damaged(path, f"gzip cannot unpack it ({error})") from error


def _array(path: Path, file: Any) -> np.ndarray:
    """The array in an open file, of which no more is unpacked than the header promises."""
    start = file.read(4)
    if len(start) < 4 or start[:2] != b"\0\0":
        raise damaged(path, "it does not begin as an IDX file does")
    kind, axes = start[2], start[3]
    if kind != UINT8:
        raise damaged(path, f"its elements have type {kind:#04x}, and only bytes (0x08) are read")
    extents = file.read(4 * axes)
    if len(extents) < 4 * axes:
        header, held = 4 + 4 * axes, 4 + len(extents)
        raise damaged(path, f"its header of {header} bytes is cut off after {held}")
    shape = struct.unpack(f">{axes}I", extents)
    promised = math.prod(shape)
    content = file.read(min(promised, PACKED_AT_MOST * path.stat().st_size) + 1)
    if len(content) != promised:
        found = "more" if len(content) > promised else str(len(content))
        raise damaged(path, f"its header promises {promised} bytes of {shape}, it holds {found}")
    try:
        return np.frombuffer(content, np.uint8).reshape(shape).copy()
    except ValueError as error:
        raise damaged(path, f"there is no array of shape {shape}") from error


def damaged(path: Path, why: str) -> DamagedFileError:
    """The error to raise for a file of a data set, with what to do about it."""
    return DamagedFileError(
        f"{path} is damaged: {why}. Delete it and run again to have it fetched anew, or put a "
        "good copy in its place."
    )
