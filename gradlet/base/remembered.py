"""Results that are remembered while a program is made.

Making kernels asks the same questions of the same expressions again and again. What is remembered
keeps expressions alive, so it is forgotten when the program is there.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeVar, cast

_MOST = 1 << 14  # results of one function

_Function = TypeVar("_Function", bound=Callable[..., Any])
_forget: list[Callable[[], None]] = []


def remembered(function: _Function) -> _Function:
    """The function, which computes what it returns once for equal arguments, all hashable."""
    found = lru_cache(_MOST)(function)
    _forget.append(found.cache_clear)
    return cast(_Function, found)


def forget() -> None:
    """Lets go of all that is remembered."""
    for clear in _forget:
        clear()
