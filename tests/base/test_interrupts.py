"""Ctrl-C while objects die."""

from __future__ import annotations

import subprocess
import sys
import textwrap

ARRIVES = """
    import weakref
    import gradlet

    class Thing:
        pass

    lost = []

    def interrupted(reference):
        lost.append(reference)
        raise KeyboardInterrupt

    thing = Thing()
    reference = weakref.ref(thing, interrupted)
    try:
        del thing
        for _ in range(100_000_000):
            pass
    except KeyboardInterrupt:
        print("arrived", len(lost))
"""
FORGOTTEN = """
    from gradlet.base import dtypes
    from gradlet.ir import build, node

    def stop(reference):
        raise KeyboardInterrupt

    x = build.const(12345.0, dtypes.float32)
    count = node.interned_count()
    node._forget.__code__ = stop.__code__
    try:
        del x
        for _ in range(100_000_000):
            pass
    except KeyboardInterrupt:
        print("arrived", node.interned_count() - count)
"""


def printed(program: str) -> str:
    heeds = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    command = [sys.executable, "-c", heeds + textwrap.dedent(program)]
    made = subprocess.run(command, capture_output=True, text=True)
    return made.stdout + made.stderr


def test_an_interrupt_in_a_weak_references_callback_arrives() -> None:
    assert printed(ARRIVES) == "arrived 1\n"


def test_what_an_interrupted_callback_has_left_is_done() -> None:
    assert printed(FORGOTTEN) == "arrived -1\n"
