"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

# What Python's reader of zip archives raises, in the middle of a file, for one that is damaged:
# OSError for places before its start, RuntimeError for entries that are encrypted.
DAMAGED_ZIP = (ValueError, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, OSError)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place if the block ends well.

    Whatever cuts the block short, Ctrl-C and a full disk included, leaves `path` as it was and
    nothing beside it. A process that is killed may leave a file ending in `.partial`.

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with replacing(Path(folder) / "note") as temporary:
    ...         _ = temporary.write_text("whole")
    ...     print((Path(folder) / "note").read_text())
    whole
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f"{path.name}.", suffix=".partial")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o666 & ~_umask())  # mkstemp's files are for their owner alone
        _settle(temporary)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    with contextlib.suppress(OSError):  # a folder cannot be opened on Windows
        _settle(path.parent)


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
