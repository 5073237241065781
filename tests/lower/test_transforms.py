"""Each transform: what it makes of a tree, what it refuses, and that results stay the same."""

from __future__ import annotations

from textwrap import dedent

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradlet.base import dtypes
from gradlet.ir import build, index, ops
from gradlet.ir.kernel import Kernel, load
from gradlet.ir.node import Node, node
from gradlet.ir.ops import Op
from gradlet.lower import transforms
from gradlet.lower.loops import Assign, Body, ScheduleError, loop, loops, show
from gradlet.lower.verify import verify_loops
from tests.lower.interpreter import outputs

OUT = build.param(0, dtypes.int64, (4, 10))
A = build.param(1, dtypes.int64, (4, 10))
B = build.param(2, dtypes.int64, (10, 10))
ROW = build.param(0, dtypes.int64, (4,))
H, J, K = index.loop("i", 4), index.loop("j", 10), index.loop("k", 10)
ACC = node(ops.LOCAL, (), "acc", dtypes.int64, ())
ZERO = build.const(0, dtypes.int64)

MAP: Body = loop(H, loop(J, (Assign(OUT, (H, J), build.mul(load(A, (H, J)), load(B, (J, J)))),)))
PRODUCT: Body = loop(
    H,
    loop(
        J,
        (
            Assign(ACC, (), ZERO),
            *loop(K, (Assign(ACC, (), build.mul(load(A, (H, K)), load(B, (K, J))), ops.ADD),)),
            Assign(OUT, (H, J), load(ACC, ())),
        ),
    ),
)
SUMS: Body = loop(
    H,
    (
        Assign(ACC, (), ZERO),
        *loop(K, (Assign(ACC, (), load(A, (H, K)), ops.ADD),)),
        Assign(ROW, (H,), load(ACC, ())),
    ),
)


def same(before: Body, after: Body, out: Node = OUT) -> None:
    verify_loops(after)
    kernel = Kernel((), (out, A, B), 1)
    (a,), (b,) = outputs(kernel, after), outputs(kernel, before)
    np.testing.assert_array_equal(a, b, err_msg=show(after))


def shows(body: Body, text: str) -> None:
    assert show(body) == dedent(text).strip()


def test_split() -> None:
    body, outer, inner = transforms.split(loop(J, (Assign(B, (J, J), load(B, (J, J))),)), J, 3)
    assert (outer.arg, inner.arg) == (("jo", 3), ("ji", 3))
    shows(
        body,
        """
        for jo in 3:
          for ji in 3:
            p2[(ji + (jo * 3)), (ji + (jo * 3))] = p2[(ji + (jo * 3)), (ji + (jo * 3))]
        p2[9, 9] = p2[9, 9]
        """,
    )


def test_fuse() -> None:
    body, fused = transforms.fuse(MAP, H, J)
    assert fused.arg == ("ij", 40)
    shows(
        body,
        """
        for ij in 40:
          p0[(ij // 10), (ij % 10)] = (p1[(ij // 10), (ij % 10)] * p2[(ij % 10), (ij % 10)])
        """,
    )
    same(MAP, body)


def test_reorder() -> None:
    body = transforms.reorder(MAP, (J, H))
    shows(
        body,
        """
        for j in 10:
          for i in 4:
            p0[i, j] = (p1[i, j] * p2[j, j])
        """,
    )
    same(MAP, body)


def test_mark_and_distribute() -> None:
    body = transforms.distribute(transforms.mark(PRODUCT, J, "vector", check=False), J)
    shows(
        body,
        """
        for i in 4:
          for j in vector 10:
            acc[j] = 0
          for k in 10:
            for j in vector 10:
              acc[j] += (p1[i, k] * p2[k, j])
          for j in vector 10:
            p0[i, j] = acc[j]
        """,
    )
    same(PRODUCT, body)


def test_distribute_into_a_value_from_before_the_loop() -> None:
    body, _, inner = transforms.split(SUMS, K, 5)
    body = transforms.distribute(body, inner)
    same(SUMS, body, ROW)
    assert "acc[] += p1[i, (ki + (ko * 5))]" in show(body)


def test_blocks_of_a_plain_axis_may_run_at_once() -> None:
    chosen = node(ops.CHECKED, (load(A, (H, H)),), 10, dtypes.index, ())
    for width, apart in ((5, True), (6, False)):
        inner, outer = index.loop("k", width), index.loop("j", 2)
        place = index.add(index.scale(outer, 5), inner)
        body = loop(outer, loop(inner, (Assign(B, (chosen, place), ZERO, ops.ADD),)))
        if apart:
            assert next(loops(transforms.mark(body, outer, "parallel"))).kind == "parallel"
        else:
            with pytest.raises(ScheduleError, match="may meet in one place"):
                transforms.mark(body, outer, "parallel")


@pytest.mark.parametrize(("op", "apart"), [(ops.PRIVATE, True), (ops.SCRATCH, False)])
def test_threads_may_scatter_into_arrays_of_their_own(op: Op, apart: bool) -> None:
    own = node(op, (), "own", dtypes.int64, (10,))
    chosen = node(ops.CHECKED, (load(A, (H, K)),), 10, dtypes.index, ())
    body = loop(
        H,
        (
            *loop(J, (Assign(own, (J,), ZERO),)),
            *loop(K, (Assign(own, (chosen,), load(A, (H, K)), ops.ADD),)),
            *loop(J, (Assign(OUT, (H, J), load(own, (J,))),)),
        ),
    )
    if apart:
        assert next(loops(transforms.mark(body, H, "parallel"))).kind == "parallel"
        with pytest.raises(ScheduleError, match="may meet in one place"):
            transforms.mark(body, K, "vector")
    else:
        with pytest.raises(ScheduleError, match="write to one place"):
            transforms.mark(body, H, "parallel")


def test_privatize() -> None:
    body, _, inner = transforms.split(SUMS, K, 5)
    body = transforms.privatize(body, inner, ACC)
    shows(
        body,
        """
        for i in 4:
          acc[] = 0
          for ki in vector 5:
            acc_part[ki] = 0
          for ko in 2:
            for ki in vector 5:
              acc_part[ki] += p1[i, (ki + (ko * 5))]
          for ki in vector 5:
            acc[] += across_add(acc_part[ki])
          p0[i] = acc[]
        """,
    )
    same(SUMS, body, ROW)


def test_stage() -> None:
    fill, body, array = transforms.stage(PRODUCT, load(B, (K, J)), (J, K), "packed")
    assert array.shape == (10, 10)
    assert show(fill).splitlines()[-1].strip() == "packed[j, k] = p2[k, j]"
    assert "packed[j, k]" in show(body) and "p2" not in show(body)
    same(PRODUCT, (*fill, *body))


def test_what_cannot_be_done_is_refused() -> None:
    with pytest.raises(ScheduleError, match="cannot split"):
        transforms.split(MAP, J, 11)
    with pytest.raises(ScheduleError, match="no loop over k"):
        transforms.split(MAP, K, 2)
    with pytest.raises(ScheduleError, match="is not all that stands in"):
        transforms.fuse(PRODUCT, J, K)
    with pytest.raises(ScheduleError, match="perfectly nested"):
        transforms.reorder(PRODUCT, (K, J))
    with pytest.raises(ScheduleError, match="not innermost"):
        transforms.mark(PRODUCT, J, "vector")
    with pytest.raises(ScheduleError, match="write to one place"):
        transforms.mark(PRODUCT, K, "parallel")
    with pytest.raises(ScheduleError, match="varies with i"):
        transforms.stage(PRODUCT, load(A, (H, K)), (K,), "packed")
    scattered = loop(J, (Assign(B, (index.const(0), index.const(0)), ZERO, ops.ADD),))
    with pytest.raises(ScheduleError, match="write to one place"):
        transforms.mark(scattered, J, "parallel")


SIZES = st.integers(1, 4), st.integers(1, 10), st.integers(1, 10)


@given(*SIZES, st.permutations([0, 1, 2, 3]), st.booleans())
def test_tiles_compute_the_same(
    rows: int, columns: int, depth: int, order: list[int], unroll: bool
) -> None:
    body, io, ii = transforms.split(MAP, H, rows)
    same(MAP, body)
    if 4 % rows == 0 and 10 % columns == 0:
        body, jo, ji = transforms.split(body, J, columns)
        counters = (io, ii, jo, ji)
        body = transforms.reorder(body, tuple(counters[n] for n in order))
        same(MAP, body)
    body, _, ki = transforms.split(PRODUCT, K, depth)
    body = transforms.mark(body, ki, "unroll") if unroll else body
    body, _, ji = transforms.split(body, J, columns)
    same(PRODUCT, body)
    same(PRODUCT, transforms.distribute(body, ji))


@given(st.integers(2, 10))
def test_partial_results_compute_the_same(width: int) -> None:
    body, _, inner = transforms.split(SUMS, K, width)
    same(SUMS, transforms.privatize(body, inner, ACC), ROW)
