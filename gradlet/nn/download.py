"""Files from the network: from the first mirror that answers, checked, and whole or not at all."""

from __future__ import annotations

import hashlib
import http.client
import sys
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from gradlet.nn.files import replacing

CHUNK = 1 << 16
SECONDS_OF_SILENCE = 15


class DownloadError(OSError):
    """No mirror gave the file that was asked for."""


def fetch(urls: Sequence[str], path: Path, sha256: str) -> None:
    """Downloads the file that each of `urls` offers to `path`, showing a bar on a terminal.

    Raises:
        DownloadError: no mirror answers with a file that has this checksum; names the last reason.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    reason = "no mirror is known"
    for url in urls:
        try:
            with replacing(path) as temporary:
                _receive(url, temporary, sha256)
            return
        except (OSError, ValueError, http.client.HTTPException) as error:
            reason = f"{url}: {error}"
    raise DownloadError(reason)


def _receive(url: str, path: Path, sha256: str) -> None:
    digest = hashlib.sha256()
    with urllib.request.urlopen(url, timeout=SECONDS_OF_SILENCE) as answer, path.open("wb") as file:
        total = int(answer.headers.get("Content-Length") or 0)
        _copy(answer, file, digest, total, url.rsplit("/", 1)[-1])
    if digest.hexdigest() != sha256:
        raise DownloadError("what came does not have the right checksum")


def _copy(answer: BinaryIO, file: BinaryIO, digest: hashlib._Hash, total: int, name: str) -> None:
    done = 0
    try:
        while chunk := answer.read(CHUNK):
            file.write(chunk)
            digest.update(chunk)
            done += len(chunk)
            _show(name, done, total)
    finally:
        if done and sys.stderr.isatty():
            print(file=sys.stderr)


def _show(name: str, done: int, total: int) -> None:
    """One line that grows: name, bar, megabytes."""
    if not sys.stderr.isatty():
        return
    filled = 30 * done // max(total, done)
    size = f"{done / 1e6:.1f} of {total / 1e6:.1f} MB" if total else f"{done / 1e6:.1f} MB"
    bar = "#" * filled + "." * (30 - filled) if total else "..."
    print(f"\r{name} [{bar}] {size}", end="", file=sys.stderr, flush=True)
