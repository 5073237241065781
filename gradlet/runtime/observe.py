"""Where what happens is told to whoever wants to know: `gradlet.profile()`, while it lasts."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Protocol


class Recorder(Protocol):
    """What is told of what happens, from any thread; times are `time.perf_counter_ns()`."""

    def ran(self, program: object, begin: int, end: int) -> None:
        """A program has run."""
        ...

    def spent(self, what: str, begin: int, end: int) -> None:
        """The calling thread has been busy with something else."""
        ...

    def counted(self, what: str, times: int) -> None:
        """Something has happened that often."""
        ...


recorder: Recorder | None = None


def count(what: str, times: int = 1) -> None:
    """Tells that something has happened."""
    told = recorder  # once, since another thread may set it
    if told is not None and times:
        told.counted(what, times)


@contextlib.contextmanager
def span(what: str) -> Iterator[None]:
    """Tells how long its body has taken."""
    begin = time.perf_counter_ns()
    try:
        yield
    finally:
        told = recorder
        if told is not None:
            told.spent(what, begin, time.perf_counter_ns())
