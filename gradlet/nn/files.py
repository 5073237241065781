"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # Windows, where what killed processes leave stays
    fcntl = None

# What Python's reader of zip archives raises, in the middle of a file, for one that is damaged:
# OSError for places before its start, RuntimeError for entries that are encrypted.
DAMAGED_ZIP = (ValueError, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, OSError)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place if the block ends well.

    Whatever cuts the block short, Ctrl-C and a full disk included, leaves `path` as it was and
    nothing beside it. A process that is killed leaves a file ending in `.partial`, which goes when
    `path` is next replaced.

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with replacing(Path(folder) / "note") as temporary:
    ...         _ = temporary.write_text("whole")
    ...     print((Path(folder) / "note").read_text())
    whole
    """
    _remove_left(path)
    lock, temporary = _begun(path)
    try:
        yield temporary
        temporary.chmod(0o666 & ~_umask())  # mkstemp's files are for their owner alone
        _settle(temporary)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    finally:
        if lock is not None:
            os.close(lock)
    with contextlib.suppress(OSError):  # a folder cannot be opened on Windows
        _settle(path.parent)


def _begun(path: Path) -> tuple[int | None, Path]:
    """A handle that locks a new file beside `path` until it is closed, be it by a crash."""
    while True:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f"{path.name}.", suffix=".partial")
        if fcntl is None:
            os.close(handle)  # an open file cannot be renamed there
            return None, Path(name)
        with contextlib.suppress(OSError):  # some file systems know no locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        if os.fstat(handle).st_nlink:
            return handle, Path(name)
        os.close(handle)  # taken for one that was left, before it was locked


def _remove_left(path: Path) -> None:
    """Removes what was to become `path` and whose writer is gone: nobody has it locked."""
    if fcntl is None or not path.parent.is_dir():
        return
    ours = re.compile(re.escape(path.name) + r"\.[a-z0-9_]{8}\.partial")
    with os.scandir(path.parent) as entries:
        left = [
            e.path for e in entries if ours.fullmatch(e.name) and e.is_file(follow_symlinks=False)
        ]
    for name in left:
        with contextlib.suppress(OSError):
            handle = os.open(name, os.O_RDWR)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.unlink(name)
            finally:
                os.close(handle)


def _settle(path: Path) -> None:
    """Waits until a file, or the names in a folder, would outlast a power failure."""
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _umask() -> int:
    """The permissions that new files do not get; there is no way to ask but to set it."""
    current = os.umask(0o077)
    os.umask(current)
    return current
