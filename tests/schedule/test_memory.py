"""The arena: nothing that lives at the same time shares a byte, and space is used again."""

from __future__ import annotations

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from gradlet.schedule.memory import ALIGNMENT, lifetimes, place, share
from tests.graphs import leaf, plan

REQUEST = st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(1, 999)).map(
    lambda r: (min(r[:2]), max(r[:2]), r[2])
)


@given(st.lists(REQUEST, max_size=12))
def test_arrays_that_live_at_once_do_not_overlap(requests: list[tuple[int, int, int]]) -> None:
    offsets, arena = place(requests)
    placed = list(zip(requests, offsets, strict=True))
    for (first, last, size), at in placed:
        assert at % ALIGNMENT == 0 and at + size <= arena
        assert first <= last
    for ((a1, a2, size_a), a), ((b1, b2, size_b), b) in combinations(placed, 2):
        if a1 <= b2 and b1 <= a2:
            assert a + size_a <= b or b + size_b <= a


@given(st.lists(REQUEST, max_size=12))
def test_arrays_that_live_at_once_have_blocks_of_their_own(
    requests: list[tuple[int, int, int]],
) -> None:
    chosen, sizes = share(requests)
    assert all(sizes[b] >= size for b, (_, _, size) in zip(chosen, requests, strict=True))
    for ((a1, a2, _), a), ((b1, b2, _), b) in combinations(zip(requests, chosen, strict=True), 2):
        assert a != b or a2 < b1 or b2 < a1


def test_space_is_used_again() -> None:
    chain = [(step, step + 1, 640) for step in range(20)]
    assert place(chain)[1] == 2 * 640
    assert place([]) == ([], 0)
    assert share(chain)[1] == [640, 640] and share([]) == ([], [])


def test_lifetimes_reach_from_the_first_touch_to_the_last() -> None:
    x = leaf(8, 30)
    shifted = x - x.max(0)  # columns, which are not worked on one by one
    schedule = plan(shifted.exp() / shifted.exp().sum(0))
    lives = lifetimes(schedule)
    assert set(lives.values()) == {(0, 2), (1, 2)}  # the maxima, the sums
    assert not set(lives) & {0, *schedule.sinks}
