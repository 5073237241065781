"""Whether this thread records a step instead of computing it; `gradlet/jit` asks for that.

While it does, whatever would compute a value waits for the end of the step, and whatever needs a
value at once is refused with the line that wants it. In a step that is recorded, and in a function
that a transformation such as `grad` looks into, other functions with `jit` run as without it.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from gradlet.runtime.buffer import Buffer

_PACKAGE = str(Path(__file__).resolve().parent.parent)


class _Local(threading.local):
    """What a thread is at."""

    trace: Trace | None = None
    inlines = False


_local = _Local()


class JitError(RuntimeError):
    """A function does what a recorded step could not repeat."""


class VmapError(RuntimeError):
    """A function does what cannot be done for all examples at once."""


class Trace:
    """What is noted while a step is recorded.

    Attributes:
        drawn: the buffers that seed random numbers, in the order in which they were drawn.
        rehearsal: whether the step will not run, and so draws no numbers that another would get.
    """

    def __init__(self, rehearsal: bool = False) -> None:
        self.drawn: list[Buffer] = []
        self.rehearsal = rehearsal


def current() -> Trace | None:
    """What this thread records, if it does."""
    return _local.trace


@contextlib.contextmanager
def recording(rehearsal: bool = False) -> Iterator[Trace]:
    """While it lasts, this thread computes nothing and notes what it would."""
    assert current() is None, "a step is being recorded already"
    _local.trace = Trace(rehearsal)
    try:
        with _inlining():
            yield _local.trace
    finally:
        _local.trace = None


def inlines() -> bool:
    """Whether functions with `jit` are parts of what this thread records or looks into."""
    return _local.inlines


@contextlib.contextmanager
def _inlining() -> Iterator[None]:
    before = inlines()
    _local.inlines = True
    try:
        yield
    finally:
        _local.inlines = before


def look_into(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """What a function returns, as a graph of its operations even where those have `jit`."""
    with _inlining():
        return function(*args, **kwargs)


def refuse(reason: str) -> None:
    """Raises if this thread records a step.

    Raises:
        JitError: says why, and the line outside gradlet that is to blame.
    """
    if current() is not None:
        raise JitError(f"jit: {reason}\n  at {_blamed_line()}")


def no_value(shape: tuple[int, ...]) -> VmapError:
    """What to raise where the value of one example is wanted, and there are many."""
    return VmapError(
        f"vmap: a value of shape {shape} is needed of a tensor that stands for every example at "
        "once. Inside the function .item(), .numpy(), print and `if` cannot be used: choose with "
        "where(). Outside of it, such a tensor must have been returned."
        f"\n  at {_blamed_line()}"
    )


def _blamed_line() -> str:
    """File and line of the innermost caller that is no part of gradlet."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"
