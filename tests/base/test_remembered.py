"""What is remembered is computed once, until it is forgotten."""

from __future__ import annotations

from gradlet.base.remembered import forget, remembered


def test_equal_arguments_are_asked_about_once() -> None:
    asked = []

    @remembered
    def square(x: int) -> int:
        asked.append(x)
        return x * x

    assert [square(3), square(4), square(3)] == [9, 16, 9]
    assert asked == [3, 4]
    forget()
    assert square(3) == 9
    assert asked == [3, 4, 3]
