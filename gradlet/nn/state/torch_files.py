"""PyTorch's files, read without PyTorch: the zip archives of today, and the older streams.

Both hold a pickle, which says how tensors lie in their storages, and the bytes of the storages.
"""

from __future__ import annotations

import io
import math
import struct
import sys
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gradlet.base import dtypes
from gradlet.base.dtypes import DType
from gradlet.nn.files import DAMAGED_ZIP
from gradlet.nn.state.mapped import MappedFile, Region, lazy_tensor
from gradlet.nn.state.pickles import PLAIN, Makers, RefusedPickleError, read_pickle
from gradlet.tensor.tensor import Tensor

ZIP_MAGIC = b"PK\x03\x04"
# How a stream begins: a pickle of this number.
STREAM_MAGIC = b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"

STORAGES = {
    "Float": dtypes.float32,
    "Double": dtypes.float64,
    "Half": dtypes.float16,
    "BFloat16": dtypes.bfloat16,
    "Long": dtypes.int64,
    "Int": dtypes.int32,
    "Short": dtypes.int16,
    "Char": dtypes.int8,
    "Byte": dtypes.uint8,
    "Bool": dtypes.bool_,
}


@dataclass(frozen=True)
class _StorageKind:
    """What a class such as `torch.FloatStorage` says of a storage."""

    dtype: DType


_VALUES: dict[str, Any] = {
    "torch.storage.UntypedStorage": _StorageKind(dtypes.uint8),
    **{f"torch.{name}Storage": _StorageKind(dtype) for name, dtype in STORAGES.items()},
    **{f"torch.cuda.{name}Storage": _StorageKind(dtype) for name, dtype in STORAGES.items()},
    **{f"torch.{dtype.name}": dtype for dtype in (*dtypes.ALL, *dtypes.STORAGE)},
}


def torch_load(path: str | Path, device: str | None = None) -> Any:
    """What `torch.save` has written to a file (`.pt`, `.pth`): tensors in dicts and lists.

    No code in the file is run: it may hold tensors, numbers, strings and their collections, and
    is refused otherwise. Parameters have requires_grad=True. Elements are read when they are
    first used.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, of another format, or holds more than data.
    """
    source = Path(path)
    file = MappedFile(source)
    try:
        if file.bytes[: len(ZIP_MAGIC)] == ZIP_MAGIC:
            return _read_archive(file, device)
        if STREAM_MAGIC in file.bytes[:16]:
            return _read_stream(file, device)
        if file.bytes[257:262] == b"ustar":
            raise ValueError("it is a tar archive, which PyTorch wrote before version 0.1.10")
        raise ValueError("it does not begin as PyTorch's files do")
    except RefusedPickleError as error:
        raise ValueError(
            f"torch_load: {source} is refused: {error}. Save tensors alone: "
            "torch.save(model.state_dict(), path)."
        ) from error
    except (*DAMAGED_ZIP, struct.error) as error:
        raise ValueError(
            f"torch_load: {source} ({len(file)} bytes) cannot be read: {error}. Copy or download "
            "it again, or save it anew with PyTorch."
        ) from error


# Tensors in storages


@dataclass
class _Storage:
    """Bytes of a file that tensors lie in. In a stream their place is known last."""

    dtype: DType
    count: int
    start: int = -1

    @property
    def nbytes(self) -> int:
        return self.count * self.dtype.itemsize


class _Rebuilder:
    """Makes the tensors of one file from what its pickle says of them."""

    def __init__(self, file: MappedFile, swapped: bool, device: str | None) -> None:
        self.file, self.swapped, self.device = file, swapped, device
        self.storages: dict[str, _Storage] = {}
        self.makers: Makers = {
            **PLAIN,
            "torch._utils._rebuild_tensor": self.tensor,
            "torch._utils._rebuild_tensor_v2": self.tensor,
            "torch._utils._rebuild_tensor_v3": self.tensor_of_dtype,
            "torch._utils._rebuild_parameter": self.parameter,
            "torch.Size": lambda extents=(): tuple(extents),
            "torch.device": lambda *parts: ":".join(map(_text, parts)),
        }

    def read(self, stream: Any) -> Any:
        """What the pickle at the place of `stream` describes."""
        return read_pickle(stream, self.makers, _VALUES, self.storage)

    def storage(self, identity: Any) -> _Storage:
        """The storage that a persistent id stands for."""
        what, kind, key, _, count, *view = identity
        if what != "storage" or not isinstance(kind, _StorageKind) or view not in ([], [None]):
            raise RefusedPickleError("the pickle in it refers to something else than a storage")
        if not isinstance(key, str) or not _whole(count):
            raise TypeError("a storage without a key or a size")
        wanted = _Storage(kind.dtype, count)
        found = self.storages.setdefault(key, wanted)
        if found.nbytes != wanted.nbytes:
            raise ValueError(f"storage {key} has two sizes")
        return found

    def tensor(
        self,
        storage: Any,
        offset: Any,
        shape: Any,
        strides: Any,
        requires_grad: bool = False,
        hooks: Any = None,
        metadata: Any = None,
        dtype: DType | None = None,
    ) -> Tensor:
        """A tensor that lies in `storage` from `offset` on, in elements of `dtype`."""
        if not isinstance(storage, _Storage):
            raise TypeError("a tensor without a storage")
        if metadata is not None and metadata != {}:
            raise ValueError("a tensor that is conjugated, or negated, when it is read")
        element = dtype or storage.dtype
        count = storage.nbytes // element.itemsize
        packed, steps = _checked_layout(offset, shape, strides, count)

        def read() -> np.ndarray:
            start = storage.start + offset * element.itemsize
            left = max(count - offset, 0)
            return Region(self.file, start, left, element, packed, steps, self.swapped).read()

        made = lazy_tensor(element, packed, read, self.device)
        if packed != tuple(shape):
            made = made.expand(*shape)
        return made.requires_grad_() if requires_grad is True and element.is_float else made

    def tensor_of_dtype(
        self,
        storage: Any,
        offset: Any,
        shape: Any,
        strides: Any,
        requires_grad: Any,
        hooks: Any,
        dtype: Any,
        metadata: Any = None,
    ) -> Tensor:
        if not isinstance(dtype, DType):
            raise TypeError("a tensor without a dtype")
        return self.tensor(storage, offset, shape, strides, requires_grad, hooks, metadata, dtype)

    def parameter(self, data: Any, requires_grad: Any, hooks: Any) -> Tensor:
        if not isinstance(data, Tensor):
            raise TypeError("a parameter without a tensor")
        return data.requires_grad_(requires_grad is True)


def _text(part: Any) -> str:
    if not isinstance(part, str | int):
        raise TypeError("a device that has no name")
    return str(part)


def _whole(number: Any) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and number >= 0


def _checked_layout(
    offset: Any, shape: Any, strides: Any, count: int
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Shape and strides of the elements that are stored, where an expanded axis has one.

    Raises:
        ValueError: they do not lie in a storage of `count` elements, or overlap in it.
    """
    if not (isinstance(shape, tuple) and isinstance(strides, tuple) and len(shape) == len(strides)):
        raise TypeError("a tensor without a shape and strides")
    if not all(_whole(number) for number in (offset, *shape, *strides)) or len(shape) > 64:
        raise ValueError("a tensor whose shape, strides and offset are no whole numbers")
    axes = list(zip(shape, strides, strict=True))
    packed = tuple(1 if step == 0 and size else size for size, step in axes)
    steps = tuple(step if size > 1 else 0 for size, step in axes)
    elements = math.prod(packed)
    last = offset + sum((size - 1) * step for size, step in axes)
    if elements and (last >= count or elements > count):
        raise ValueError(
            f"a tensor of shape {shape} with strides {strides} from {offset} on does not fit its "
            f"storage of {count} elements"
        )
    if math.prod(max(size, 1) for size in shape) >= 2**60:
        raise ValueError(f"a tensor of shape {shape}")
    return packed, steps


# Archives


def _read_archive(file: MappedFile, device: str | None) -> Any:
    with zipfile.ZipFile(file.path) as archive:
        entries = {entry.filename: entry for entry in archive.infolist()}
        folder = _top_folder(entries)
        if sum(entry.file_size for entry in entries.values()) > len(file):
            raise ValueError(
                "its entries promise more than the file holds. PyTorch writes them uncompressed"
            )
        pickled = archive.read(f"{folder}data.pkl")
        order: str = sys.byteorder
        if f"{folder}byteorder" in entries:
            order = archive.read(f"{folder}byteorder").decode("ascii", "replace")
    if order not in ("little", "big"):
        raise ValueError(f"it has the byte order {order[:10]!r}")
    builder = _Rebuilder(file, order != sys.byteorder, device)
    found = builder.read(io.BytesIO(pickled))
    for key, storage in builder.storages.items():
        entry = entries.get(f"{folder}data/{key}")
        if entry is None:
            raise ValueError(f"storage {key} is missing")
        storage.start = _checked_start(file, entry, storage.nbytes)
    return found


def _top_folder(names: Iterable[str]) -> str:
    """The folder in which everything is, with its slash."""
    folders = [name.removesuffix("data.pkl") for name in names if name.endswith("/data.pkl")]
    if len(folders) != 1:
        raise ValueError("it is a zip archive, but none that torch.save has written")
    if f"{folders[0]}constants.pkl" in names:
        raise ValueError(
            "it is a TorchScript program and not tensors alone; save the state_dict() of what "
            "torch.jit.load gives"
        )
    return folders[0]


def _checked_start(file: MappedFile, entry: zipfile.ZipInfo, nbytes: int) -> int:
    """Where the bytes of an entry lie in the file; they are there, and unharmed."""
    name_length, extra_length = struct.unpack_from("<HH", file.bytes, entry.header_offset + 26)
    start = entry.header_offset + 30 + name_length + extra_length
    if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1:
        raise ValueError(f"{entry.filename} is compressed or encrypted, as PyTorch never does")
    if entry.file_size != nbytes or start + nbytes > len(file):
        raise ValueError(f"{entry.filename} holds {entry.file_size} bytes instead of {nbytes}")
    with memoryview(file.bytes) as content, content[start : start + nbytes] as stored:
        if zlib.crc32(stored) != entry.CRC:
            raise ValueError(f"{entry.filename} has a wrong checksum")
    return start


# Streams


def _read_stream(file: MappedFile, device: str | None) -> Any:
    """Four pickles and a list of keys, then for each key a number of elements, and these."""
    stream = file.bytes
    stream.seek(0)
    read_pickle(stream, {})
    protocol = read_pickle(stream, {})
    system = read_pickle(stream, {})
    if protocol != 1001 or not isinstance(system, dict) or "little_endian" not in system:
        raise ValueError("it is of a version that is not known")
    order = "little" if system["little_endian"] else "big"
    builder = _Rebuilder(file, order != sys.byteorder, device)
    found = builder.read(stream)
    keys = read_pickle(stream, {})
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise ValueError("it has no list of its storages")
    if sorted(keys) != sorted(builder.storages):
        raise ValueError("its storages are not those that its tensors need")
    at = stream.tell()
    for key in keys:
        storage = builder.storages[key]
        (count,) = struct.unpack_from("<q" if order == "little" else ">q", stream, at)
        storage.start = at + 8
        at = storage.start + storage.nbytes
        if count != storage.count or at > len(file):
            raise ValueError(f"storage {key} is cut short or has another size than promised")
    return found
