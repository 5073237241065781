"""Kernels touch no more arrays than a limit allows."""

from __future__ import annotations

import pytest

from gradlet import Tensor
from gradlet.schedule.limit import Limit
from gradlet.schedule.plan import Schedule
from gradlet.schedule.schedule import schedule
from gradlet.schedule.verify import verify_schedule
from tests.graphs import GRAPHS, graph, leaf


def limited(limit: Limit, *tensors: Tensor) -> Schedule:
    """A legal schedule whose kernels all keep to a limit."""
    made = schedule(*graph(*tensors), cache_bytes=0, limit=limit)
    verify_schedule(made)
    for step in made.steps:
        assert step.kernel.library is not None or limit.allows(step.kernel.params)
    return made


def many(count: int) -> list[Tensor]:
    return [leaf(6, 4) for _ in range(count)]


@pytest.mark.parametrize("name", GRAPHS)
def test_characteristic_graphs(name: str) -> None:
    limited(Limit(6), *GRAPHS[name]())


def test_long_sums_of_arrays_are_taken_apart() -> None:
    total = sum(many(20), leaf(6, 4))
    assert len(schedule(*graph(total), cache_bytes=0).steps) == 1
    assert len(limited(Limit(6), total).steps) == 5
    assert len(limited(Limit(4), total).steps) == 10


def test_epilogues_of_reductions_are_cut() -> None:
    total = leaf(6, 4, 9).sum(2)
    for x in many(9):
        total = total + x * 2.0
    limited(Limit(6), total, total.exp())


def test_concatenations_and_products() -> None:
    limited(Limit(6), Tensor.cat(*many(12)), Tensor.stack(*many(12)).softmax(0))
    limited(Limit(6), (sum(many(7), leaf(6, 4)) @ leaf(4, 5) + sum(many(1), 0.0).sum()).relu())


def test_large_arrays_count_by_their_pieces() -> None:
    limit = Limit(6, piece_bytes=48)  # half of an array
    assert limit.allows(graph(*many(3))[1]) and not limit.allows(graph(*many(4))[1])
    limited(limit, sum(many(7), leaf(6, 4)))
