"""Keeps pytest from importing the programs, and counters from counting in other tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gradlet.runtime import observe

collect_ignore = ["programs"]  # which are for `test_programs.py` to run


def pytest_collection_finish() -> None:
    """Importing the counters, as collecting their tests does, has them count."""
    observe.recorder = None


@pytest.fixture(autouse=True)
def counting() -> Iterator[None]:
    from gradlet.compat.counters import GlobalCounters

    observe.recorder = GlobalCounters
    yield
    observe.recorder = None
