"""Turns are short while somebody wants them to be, and as they were afterwards."""

from __future__ import annotations

import sys

import pytest

from gradlet.base.turns import short_turns


def test_turns_are_short_until_the_last_who_wants_it_is_done() -> None:
    before = sys.getswitchinterval()
    first, second = short_turns(), short_turns()
    first.__enter__()
    second.__enter__()
    assert sys.getswitchinterval() < before
    first.__exit__(None, None, None)
    assert sys.getswitchinterval() < before
    second.__exit__(None, None, None)
    assert sys.getswitchinterval() == pytest.approx(before)


def test_an_error_ends_it_too() -> None:
    before = sys.getswitchinterval()
    with pytest.raises(KeyError), short_turns():
        raise KeyError
    assert sys.getswitchinterval() == pytest.approx(before)
