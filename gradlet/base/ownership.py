"""Whether only one place refers to an object, as CPython's reference counts tell.

What nobody else can see may be used again instead of being made anew. Without such counts, as in
other Pythons and in a CPython without its global lock, nothing ever counts as owned alone.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from sys import getrefcount
from typing import Any

_NEVER = -1


def _has_exact_counts() -> bool:
    locked = getattr(sys, "_is_gil_enabled", lambda: True)
    return sys.implementation.name == "cpython" and locked()


def _count_of_local() -> int:
    place = [object()]
    local = place[0]
    return getrefcount(local) if _has_exact_counts() else _NEVER


def _count_in_list() -> int:
    return next(map(getrefcount, [object()])) if _has_exact_counts() else _NEVER


#: `getrefcount(x)` where x is a local variable, and one place besides refers to the object.
SOLE = _count_of_local()
#: The same where a list refers to it as well.
SOLE_AND_LISTED = SOLE + 1 if SOLE > 0 else _NEVER
_SOLE_IN_LIST = _count_in_list()


def all_unshared(things: Sequence[Any]) -> bool:
    """Whether nothing but this list or tuple refers to any of its elements."""
    return {*map(getrefcount, things)} <= {_SOLE_IN_LIST}
