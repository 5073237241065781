"""Reductions in blocks, in strips and in lanes: the same sums, from any number of threads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from textwrap import dedent

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradlet import Tensor
from gradlet.ir import ops
from gradlet.ir.kernel import Nest
from gradlet.ir.node import Node, topological
from gradlet.lower.choose import lower
from gradlet.lower.loops import Assign, Body, loops, show
from gradlet.lower.nest import loops_of
from gradlet.lower.reductions import Blocks, split_reduction
from tests.graphs import TARGET, leaf, plan
from tests.lower.interpreter import outputs
from tests.lower.test_choose import check, whole


def reduction(result: Tensor) -> tuple[Nest, Node]:
    (step,) = plan(result).steps
    (nest,) = step.kernel.nests
    (fold,) = [x for x in topological([nest.stores[0].value]) if x.op is ops.FOLD_RANGES]
    return nest, fold


def plain(nests: list[tuple[str, Nest]]) -> Body:
    return tuple(statement for _, nest in nests for statement in loops_of(nest))


def test_split_reduction() -> None:
    nest, fold = reduction(whole(4, 100).sum(1))
    body = plain(split_reduction(nest, fold, Blocks(fold.src[1], 3, 10, 3)))
    assert (
        show(body)
        == dedent(
            """
        for i0 in 4:
          for r1b in 3:
            for r1l in 3:
              acc0[] = 0
              for r1s in 10:
                acc0[] += p1[i0, (((r1b * 30) + r1l) + (r1s * 3))]
              part[i0, r1b, r1l] = acc0[]
        for i0 in 4:
          acc0[] = 0
          for r1t in 10:
            acc0[] += p1[i0, (r1t + 90)]
          rest[i0] = acc0[]
        for i0 in 4:
          acc0[] = 0
          for r1b in 3:
            for r1l in 3:
              acc0[] += part[i0, r1b, r1l]
          p0[i0] = (acc0[] + rest[i0])
        """
        ).strip()
    )


@given(st.integers(1, 5), st.integers(1, 6), st.integers(1, 4), st.sampled_from([0, 1]))
@settings(max_examples=40)
def test_blocks_compute_the_same(count: int, length: int, lanes: int, axis: int) -> None:
    for extent in (count * length * lanes, count * length * lanes + 3):
        shape = (extent, 3) if axis == 0 else (3, extent)
        for result in (whole(*shape).sum(axis), whole(*shape).max(axis) * 2):
            (step,) = plan(result).steps
            (nest,) = step.kernel.nests
            folds = [x for x in topological([nest.stores[0].value]) if x.op is ops.FOLD_RANGES]
            if not folds:
                continue
            (fold,) = folds
            split = plain(split_reduction(nest, fold, Blocks(fold.src[1], count, length, lanes)))
            (a,) = outputs(step.kernel, split)
            (b,) = outputs(step.kernel, loops_of(nest))
            np.testing.assert_array_equal(a, b, err_msg=show(split))


@pytest.mark.parametrize(
    "result",
    [
        lambda: whole(40_001).sum(),
        lambda: whole(2, 17_001).max(1) - 1,
        lambda: whole(9001, 3).sum(0),
        lambda: whole(9001, 3).sum(1),
        lambda: whole(400, 61).sum(0),
        lambda: whole(130, 290).min(0),
        lambda: whole(3, 130, 50).sum(1),
        lambda: whole(8, 7, 300).sum((0, 2)),
        lambda: (whole(300, 70) * whole(300, 1)).sum(0),
        lambda: whole(300, 130)[:, :100].sum(),
        lambda: whole(7, 2, 5, 9)[..., :7].sum((0, 2, 3)),
        lambda: whole(7, 2, 5, 5)[..., :3].sum((0, 2, 3)),
    ],
)
def test_large_reductions(result: Callable[[], Tensor]) -> None:
    for step in plan(result()).steps:
        check(step.kernel)


def test_every_large_reduction_is_spread_over_threads() -> None:
    for result in (
        leaf(1 << 20).sum(),
        leaf(2, 1 << 18).max(1),
        leaf(4096, 4096).sum(0),
        leaf(100_000, 3).sum(0),
        leaf(64, 10, 4096).sum((0, 2)),
        leaf(16, 100_000).sum(0),
    ):
        (step,) = plan(result).steps
        assert next(loops(lower(step.kernel, TARGET))).kind == "parallel"


def test_blocks_do_not_depend_on_the_number_of_threads() -> None:
    (step,) = plan(leaf(1 << 20).sum()).steps
    trees = {show(lower(step.kernel, replace(TARGET, threads=n))) for n in (1, 2, 64)}
    assert len(trees) == 1


def test_dear_elements_are_summed_a_vector_at_a_time() -> None:
    (step,) = plan(leaf(8, 1000).exp().sum(0)).steps
    text = show(lower(step.kernel, TARGET))
    assert "unroll" not in text and "exp(" in text and "in vector 16" in text


@pytest.mark.parametrize("width", [28, 13])
def test_lanes_of_all_rows_are_put_together_once(width: int) -> None:
    (step,) = plan(leaf(32, 16, 20, 40)[..., :width].sum((0, 2, 3))).steps
    lines = show(lower(step.kernel, TARGET)).splitlines()
    (rows,) = [n for n, line in enumerate(lines) if line.endswith("in 20:")]
    adding = [n for n, line in enumerate(lines) if "+= p1" in line]
    together = [n for n, line in enumerate(lines) if "across_add" in line]
    assert rows < min(adding) and max(adding) < min(together)
    assert len(adding) == len(together) == (2 if width == 28 else 1)


def test_rows_of_a_large_array_are_fetched_ahead_where_one_lies_behind_the_other() -> None:
    def fetching(result: Tensor) -> bool:
        (step,) = plan(result).steps
        return any(loop.ahead for loop in loops(lower(step.kernel, TARGET)))

    x = leaf(768)
    assert fetching(leaf(3072, 768) @ x)
    assert not fetching(leaf(300, 768) @ x)  # a core's own cache holds it
    assert not fetching(leaf(768, 4, 768).sum((0, 2)))  # other rows lie between


def test_the_elements_of_a_small_window_are_reduced_without_a_loop() -> None:
    (step,) = plan(leaf(8, 16, 28, 28).max_pool2d(2)).steps
    found = {x.size for x in loops(lower(step.kernel, TARGET)) if x.kind == "unroll"}
    assert found == {2}


def test_wide_accumulators_are_as_many_as_registers_hold() -> None:
    """14 of 64 bits are two vectors, of 8 and of 6, and not one of 14, which LLVM takes apart."""
    largest, places = leaf(8, 16, 28, 28).max_pool2d(2, return_indices=True)
    body = lower(plan(largest, places).steps[-1].kernel, TARGET)
    wide = [
        x.size
        for x in loops(body)
        if x.kind == "vector"
        for a in x.body
        if isinstance(a, Assign) and a.target.dtype.itemsize == 8 and a.accumulate is not None
    ]
    assert wide and set(wide) == {8, 6}
