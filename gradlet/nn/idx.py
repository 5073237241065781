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

import numpy as np

UINT8 = 0x08


class DamagedFileError(ValueError):
    """A file does not hold what its name or header promises."""


def read_idx(path: Path) -> np.ndarray:
    """The array of bytes in an IDX file, which may be packed by gzip.

    Returns:
        A uint8 array with the shape that the file states.

    Raises:
        DamagedFileError: not an IDX file of bytes, or cut short, or too long.
    """
    content = _unpacked(path)
    if len(content) < 4 or content[:2] != b"\0\0":
        raise damaged(path, "it does not begin as an IDX file does")
    kind, axes = content[2], content[3]
    if kind != UINT8:
        raise damaged(path, f"its elements have type {kind:#04x}, and only bytes (0x08) are read")
    header = 4 + 4 * axes
    if len(content) < header:
        raise damaged(path, f"its header of {header} bytes is cut off after {len(content)}")
    shape = struct.unpack(f">{axes}I", content[4:header])
    held, promised = len(content) - header, math.prod(shape)
    if held != promised:
        raise damaged(path, f"its header promises {promised} bytes of {shape}, it holds {held}")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape).copy()


def _unpacked(path: Path) -> bytes:
    content = path.read_bytes()
    if content[:2] != b"\x1f\x8b":
        return content
    try:
        return gzip.decompress(content)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise damaged(path, f"gzip cannot unpack it ({error})") from error


def damaged(path: Path, why: str) -> DamagedFileError:
    """The error to raise for a file of a data set, with what to do about it."""
    return DamagedFileError(
        f"{path} is damaged: {why}. Delete it and run again to have it fetched anew, or put a "
        "good copy in its place."
    )
