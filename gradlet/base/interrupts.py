"""Ctrl-C that arrives while an object dies is not lost.

Python ignores what is raised while it tells weak references that their object is gone, as happens
to each node of each graph. A KeyboardInterrupt among that would be printed and forgotten, and the
loop would go on; here it is asked for once more.
"""

from __future__ import annotations

import _thread
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

_mend: list[Callable[[], None]] = []


def keep_interrupts(mend: Callable[[], None]) -> None:
    """From now on no KeyboardInterrupt is ignored.

    Args:
        mend: does what an interrupted function may have left undone.
    """
    if not _mend:
        sys.unraisablehook = _ask_again(sys.unraisablehook)
    _mend.append(mend)


def _ask_again(others: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def hook(unraisable: Any) -> Any:
        lost = unraisable.exc_type is KeyboardInterrupt
        if not lost or threading.current_thread() is not threading.main_thread():
            return others(unraisable)
        for mend in _mend:
            mend()
        _thread.start_new_thread(_interrupt_soon, ())
        return None

    return hook


def _interrupt_soon() -> None:
    time.sleep(0.001)  # when the main thread has left the hook, where all is ignored as well
    _thread.interrupt_main()
