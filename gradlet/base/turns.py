"""How long a thread may keep Python's lock while others wait for it."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator

_SECONDS = 5e-4

_lock = threading.Lock()
_wanted = 0  # how many blocks of `short_turns` are under way
_usual = 0.0  # what is to be again when there are none


@contextlib.contextmanager
def short_turns() -> Iterator[None]:
    """While it lasts, threads that come back from native code get their turn soon.

    A thread that compiles calls native code a dozen times, and behind each call it waits until the
    thread that writes the next program lets go of the lock, by default for 5 ms.
    """
    global _wanted, _usual
    with _lock:
        if not _wanted:
            _usual = sys.getswitchinterval()
            sys.setswitchinterval(min(_usual, _SECONDS))
        _wanted += 1
    try:
        yield
    finally:
        with _lock:
            _wanted -= 1
            if not _wanted:
                sys.setswitchinterval(_usual)
