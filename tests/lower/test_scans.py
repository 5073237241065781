"""Scans in blocks, in strips and in lanes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from textwrap import dedent

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradlet import Tensor
from gradlet.ir import index
from gradlet.lower import transforms
from gradlet.lower.choose import lower
from gradlet.lower.loops import ScheduleError, loops, show, split_phases
from gradlet.lower.nest import loops_of, scan_of
from gradlet.lower.scans import split_scan
from gradlet.lower.verify import verify_loops
from tests.graphs import TARGET, leaf, plan
from tests.lower.interpreter import outputs
from tests.lower.test_choose import check, whole

EXTENT = st.integers(1, 9)


def test_the_plain_loops_of_a_scan() -> None:
    (step,) = plan(whole(4, 5).cumsum(0)).steps
    (nest,) = step.kernel.nests
    assert (
        show(loops_of(nest))
        == dedent(
            """
        for i1 in 5:
          carry[] = 0
          for i0 in 4:
            carry[] += p1[i0, i1]
            p0[i0, i1] = carry[]
        """
        ).strip()
    )


def test_scan_in_lanes() -> None:
    (step,) = plan(whole(8).cumsum(0)).steps
    (nest,) = step.kernel.nests
    before = loops_of(nest)
    body, _, inner = transforms.split(before, nest.ranges[0], 4)
    body = transforms.scan_in_lanes(body, inner)
    assert (
        show(body)
        == dedent(
            """
        carry[] = 0
        for i0o in 2:
          for i0i in vector 4:
            carry_prefix[i0i] = prefix_add(p1[(i0i + (i0o * 4))], i0i)
            p0[(i0i + (i0o * 4))] = (carry[] + carry_prefix[i0i])
          carry[] += carry_prefix[3]
        """
        ).strip()
    )
    np.testing.assert_array_equal(outputs(step.kernel, body), outputs(step.kernel, before))
    with pytest.raises(ScheduleError, match="i0o holds more than a scan"):
        transforms.scan_in_lanes(body, index.loop("i0o", 2))
    (step,) = plan(whole(8) + 1).steps
    (nest,) = step.kernel.nests
    with pytest.raises(ScheduleError, match="holds more than a scan"):
        transforms.scan_in_lanes(loops_of(nest), nest.ranges[0])


@pytest.mark.parametrize("length", [5, 16, 37, 9000])
def test_scans_of_what_is_the_same_everywhere(length: int) -> None:
    """What does not depend on the lane is scanned in all lanes nevertheless."""
    one = Tensor([2.0]).expand(length)
    assert one.cumsum(0).tolist() == [2.0 * n for n in range(1, length + 1)]
    x = Tensor.ones(length)
    x.cumsum(0).sum().backward()
    assert x.grad is not None and x.grad.tolist() == list(range(length, 0, -1))


@pytest.mark.parametrize("size", [20, 23, 300])
def test_scans_of_what_is_equal_in_all_lanes(size: int) -> None:
    np.testing.assert_array_equal(Tensor.ones(size).cumsum().numpy(), np.arange(1, size + 1))
    rows = np.arange(1.0, size + 1)
    wide = Tensor(rows).reshape(size, 1).expand(size, 32)
    np.testing.assert_array_equal(wide.cumsum(1).numpy(), np.outer(rows, np.arange(1, 33)))
    steps = wide.reshape(size * 32).cumsum().numpy()
    np.testing.assert_array_equal(steps, np.repeat(rows, 32).cumsum())


@given(EXTENT, EXTENT, EXTENT, st.integers(0, 2), st.sampled_from(["cumsum", "cumprod"]))
@settings(max_examples=60)
def test_scans(a: int, b: int, c: int, axis: int, name: str) -> None:
    x = whole(a, b, c) * whole(c)
    for step in plan(getattr(x, name)(axis), x.cummax(axis)[0], x.flip(axis).cumsum(axis)).steps:
        check(step.kernel)


@pytest.mark.parametrize(
    "result",
    [
        lambda: whole(40_001).cumsum(0),
        lambda: whole(40_001).cummin(0)[0],
        lambda: whole(2, 20_000).cummax(1)[0],
        lambda: whole(9001, 4).cumsum(0),
        lambda: whole(130, 290).cumsum(0),
    ],
)
def test_large_scans(result: Callable[[], Tensor]) -> None:
    for step in plan(result()).steps:
        check(step.kernel)


@given(st.integers(2, 700), st.integers(1, 3))
@settings(max_examples=20)
def test_blocks_compute_the_same(length: int, rows: int) -> None:
    (step,) = plan(whole(rows, 256 + length).cumsum(1)).steps
    (nest,) = step.kernel.nests
    scan = scan_of(nest)
    assert scan is not None
    pieces = tuple(s for piece in split_scan(nest, scan) for s in loops_of(piece))
    np.testing.assert_array_equal(
        outputs(step.kernel, pieces), outputs(step.kernel, loops_of(nest)), err_msg=show(pieces)
    )


@pytest.mark.parametrize(("threads", "vector_bytes"), [(1, 64), (1, 32), (2, 32)])
@pytest.mark.parametrize("columns", [300, 5000, 9000])
def test_carries_are_not_shared_by_threads(threads: int, vector_bytes: int, columns: int) -> None:
    """A strip that stands alone begins its carries outside the loop over its rows."""
    target = replace(TARGET, threads=threads, vector_bytes=vector_bytes)
    (step,) = plan(leaf(50, columns).cumsum(0)).steps
    for phase in split_phases(lower(step.kernel, target)):
        verify_loops(phase)


def test_every_large_scan_is_spread_over_threads() -> None:
    scans: tuple[Tensor, ...] = (
        leaf(1 << 20).cumsum(0),
        leaf(2, 1 << 18).cumsum(1),
        leaf(4096, 4096).cumsum(0),
        leaf(4096, 4096).cumsum(1),
        leaf(100_000, 3).cumsum(0),
    )
    for result in scans:
        (step,) = plan(result).steps
        assert next(loops(lower(step.kernel, TARGET))).kind == "parallel"
