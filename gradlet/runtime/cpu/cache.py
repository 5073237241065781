"""Object code on disk, so that a kernel is compiled once for a machine and not once a run.

A file holds a header and the object code. Nothing is returned from a file whose checksum, which
covers the key too, does not match: a damaged, cut or foreign file is deleted and compiled again.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import struct
import warnings
from pathlib import Path

from gradlet.base.target import Target

MAGIC = b"gradlet\0"
FORMAT = 1
HEADER = struct.Struct("<8sI32sQ")  # magic, format, checksum of key and payload, payload's bytes

# To be raised when the compiler turns the same text into other code than before.
COMPILER_VERSION = 2

PUTS_BETWEEN_EVICTIONS = 256


class ObjectCache:
    """A folder of object code, shared by any number of threads and processes.

    Args:
        folder: where files go; made when first written to.
        limit_bytes: when the folder holds more than this, the least recently used files go.
        setting: what a user changes to choose another folder, for messages.
    """

    def __init__(
        self, folder: Path, limit_bytes: int = 512 << 20, setting: str = "GRADLET_CACHE"
    ) -> None:
        self.folder = folder
        self.limit_bytes = limit_bytes
        self.setting = setting
        self._puts = 0
        self._writable = True

    def get(self, key: str) -> bytes | None:
        """The object code stored under `key`, or None."""
        path = self._path(key)
        try:
            content = path.read_bytes()
        except OSError:
            return None
        payload = _unpack(key, content)
        with contextlib.suppress(OSError):
            if payload is None:
                path.unlink()
            else:
                os.utime(path)  # so that eviction sees that it was used
        return payload

    def put(self, key: str, data: bytes) -> None:
        """Store object code under `key`. If that fails, a warning says so, once."""
        if not self._writable:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            _write_atomically(self._path(key), _pack(key, data))
        except OSError as error:
            self._writable = False
            warnings.warn(
                f"compiled kernels cannot be kept in {self.folder} ({error.strerror or error}), "
                f"so every run compiles them again; set {self.setting} to a folder that can be "
                "written to",
                RuntimeWarning,
                stacklevel=2,
            )
            return
        if self._puts % PUTS_BETWEEN_EVICTIONS == 0:
            self.evict()
        self._puts += 1

    def evict(self) -> None:
        """Delete the least recently used files until the rest fit into `limit_bytes`."""
        files = self.files()
        excess = sum(size for _, size, _ in files) - self.limit_bytes
        for _, size, path in files:
            if excess <= 0:
                break
            with contextlib.suppress(OSError):
                os.unlink(path)
            excess -= size

    def files(self) -> list[tuple[float, int, str]]:
        """(time of last use, bytes, path) of every file, the least recently used first."""
        files = []
        with contextlib.suppress(OSError), os.scandir(self.folder) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    if entry.name.endswith((".kernel", ".partial")):
                        status = entry.stat()
                        files.append((status.st_mtime, status.st_size, entry.path))
        return sorted(files)

    def clear(self) -> None:
        """Delete every file. Whoever uses one at the moment has read it already."""
        for _, _, path in self.files():
            with contextlib.suppress(FileNotFoundError):  # another process was faster
                os.unlink(path)

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.kernel"


def cache_key(llvm_ir: str, target: Target) -> str:
    """A name for what the compiler makes of `llvm_ir` on `target`.

    Of the target only what LLVM is told counts: everything else has shaped the text already.
    """
    parts = (_versions(), target.cpu, target.features, llvm_ir)
    digest = hashlib.sha256()
    for part in parts:
        encoded = part.encode()
        digest.update(struct.pack("<Q", len(encoded)))
        digest.update(encoded)
    return digest.hexdigest()


@functools.cache
def _versions() -> str:
    import llvmlite
    import llvmlite.binding as llvm

    triple = llvm.get_process_triple()
    return f"{COMPILER_VERSION} {llvmlite.__version__} {llvm.llvm_version_info} {triple}"


def _checksum(key: str, payload: bytes) -> bytes:
    return hashlib.sha256(key.encode() + b"\0" + payload).digest()


def _pack(key: str, payload: bytes) -> bytes:
    return HEADER.pack(MAGIC, FORMAT, _checksum(key, payload), len(payload)) + payload


def _unpack(key: str, content: bytes) -> bytes | None:
    """The payload of a file's content, or None if anything about it is not as it was written."""
    if len(content) < HEADER.size:
        return None
    magic, version, checksum, length = HEADER.unpack_from(content)
    payload = content[HEADER.size :]
    if magic != MAGIC or version != FORMAT or length != len(payload):
        return None
    if checksum != _checksum(key, payload):
        return None
    return payload


def _write_atomically(path: Path, content: bytes) -> None:
    """Make a file appear with all of its content or not at all."""
    temporary = path.with_name(f"{os.urandom(16).hex()}.partial")
    try:
        with open(temporary, "xb", opener=_for_the_owner) as file:
            file.write(content)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def _for_the_owner(path: str, flags: int) -> int:
    """Opens a file that nobody else may read or write."""
    return os.open(path, flags, 0o600)
