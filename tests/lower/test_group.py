"""Groups become loops over tiles that compute what their plainest loops compute."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradlet import Tensor
from gradlet.base import dtypes
from gradlet.base.target import Target
from gradlet.ir import build, index, ops
from gradlet.ir.kernel import Group, Kernel, Nest, Store, load
from gradlet.ir.node import Node, node
from gradlet.lower.choose import lower
from gradlet.lower.group import tile_rows
from gradlet.lower.loops import Loop, show
from gradlet.lower.verify import verify_loops
from tests.graphs import GRAPHS, TARGET, attend, leaf, plan
from tests.lower.test_choose import check, whole


def kernels(*tensors: Tensor) -> list[Kernel]:
    """The kernels of a graph that have groups; there must be one."""
    found = [step.kernel for step in plan(*tensors).steps]
    grouped = [kernel for kernel in found if isinstance(kernel.nests[-1], Group)]
    assert grouped
    return grouped


def shares(x: Tensor) -> Tensor:
    """Softmax in whole numbers: shaped like it, though no shares of anything."""
    shifted = x - x.max(-1, keepdim=True)
    return shifted * 3 - shifted.sum(-1, keepdim=True)


@given(st.integers(2, 20), st.integers(2, 19))
@settings(max_examples=40)
def test_rows(rows: int, extent: int) -> None:
    for kernel in kernels(shares(whole(rows, extent))):
        check(kernel)


@given(st.integers(1, 3), st.integers(2, 9), st.integers(2, 9))
@settings(max_examples=20)
def test_rows_of_several_axes(batch: int, rows: int, extent: int) -> None:
    for kernel in kernels(shares(whole(batch, rows, extent))):
        check(kernel)


@given(st.integers(1, 2), st.integers(8, 20), st.integers(8, 20), st.integers(1, 2))
@settings(max_examples=30)
def test_products_of_rows(heads: int, queries: int, keys: int, depth: int) -> None:
    q, k, v = whole(heads, queries, depth), whole(heads, keys, depth), whole(heads, keys, depth)
    for kernel in kernels(shares(q @ k.transpose(1, 2)) @ v):
        check(kernel)


@given(st.integers(2, 3), st.integers(8, 17), st.integers(8, 17), st.integers(1, 2))
@settings(max_examples=30)
def test_sums_over_rows(heads: int, queries: int, keys: int, depth: int) -> None:
    q, k, up = whole(heads, queries, depth), whole(heads, keys, depth), whole(heads, queries, depth)
    weights = shares(q @ k.transpose(1, 2))
    for kernel in kernels(weights.transpose(1, 2) @ up, weights @ whole(heads, keys, depth)):
        check(kernel)


def group_of(kernel: Kernel) -> Group:
    group = kernel.nests[-1]
    assert isinstance(group, Group)
    return group


def rows_in_tile(tensor: Tensor, target: Target = TARGET) -> int:
    (kernel,) = kernels(tensor)
    return tile_rows(group_of(kernel), target)


def test_long_rows_are_worked_on_one_by_one_and_short_ones_together() -> None:
    assert rows_in_tile(leaf(64, 4096).softmax(1)) == 1
    assert rows_in_tile(leaf(6400, 10).softmax(1)) > 16


def test_rows_that_lie_across_memory_are_worked_on_in_vectors() -> None:
    kernel = columns(leaf(3, 8, 8, 128, 32))
    assert tile_rows(group_of(kernel), TARGET) == 2 * TARGET.lanes(4)
    few = columns(leaf(1, 8, 2, 1024, 32))
    assert tile_rows(group_of(few), TARGET) == 1, "else most threads have nothing to do"


def test_columns_are_summed() -> None:
    check(columns(whole(2, 2, 8, 40, 32)))


def columns(x: Tensor) -> Kernel:
    """A kernel of rows that lie across what they read."""
    rows = x.permute(1, 3, 0, 2, 4).reshape(x.shape[1] * x.shape[3], -1)
    total = rows.sum(0)
    (kernel,) = kernels(total * 2 + leaf(rows.shape[1]), total * total)
    return kernel


def test_products_get_tiles_that_fit_into_the_cache() -> None:
    x = attend(*(leaf(16, 1024, 16) for _ in range(3)))
    assert rows_in_tile(x) == 64
    assert rows_in_tile(x, replace(TARGET, l2_bytes=1 << 18)) == 32


def test_heads_are_no_rows_of_a_product() -> None:
    """None of the products of each head grows with the number of heads."""
    head, i, j, r = (index.loop(name, 16) for name in "hijr")
    out, a, b = (build.param(n, dtypes.float32, (16, 16, 16)) for n in range(3))

    def rows(first: tuple[Node, ...]) -> int:
        product = build.mul(load(a, first), load(b, (head, j, r)))
        total = node(ops.FOLD_RANGES, (product, r), ops.ADD, dtypes.float32, ())
        nest = Nest((i, j), (Store(out, (head, i, j), total),))
        return tile_rows(Group((head,), (nest,)), replace(TARGET, threads=1))

    assert rows((head, i, r)) == 1
    assert rows((i, i, r)) > 1


def test_what_all_rows_of_a_head_share_is_turned_once() -> None:
    """By the thread that has the head; or before all rows, where threads share heads."""
    (kernel,) = kernels(*GRAPHS["attention"]())
    (head,) = lower(kernel, TARGET)
    assert isinstance(head, Loop)
    *turned, tiles = head.body
    assert "shuffle" in show(tuple(turned)) and "shuffle" not in show((tiles,))
    assert "panel0[" in show((tiles,)) and isinstance(tiles, Loop) and tiles.size == 2
    turned = [*lower(kernel, replace(TARGET, threads=4))]
    tiles = turned.pop()
    assert "shuffle" in show(tuple(turned)) and "shuffle" not in show((tiles,))
    assert "panel0[" in show((tiles,)) and isinstance(tiles, Loop) and tiles.size == 32


def test_weights_of_products_are_packed_once_for_all_rows() -> None:
    x = leaf(1024, 256)
    normal = x.layernorm(-1)
    hidden = (normal @ leaf(1024, 256).transpose(0, 1)).gelu()
    (kernel,) = kernels(normal, hidden, x + hidden @ leaf(256, 1024).transpose(0, 1))
    *packing, rows = (show((phase,)) for phase in lower(kernel, TARGET))
    assert len(packing) == 2
    assert not any(line.lstrip().startswith("panel") for line in rows.splitlines())


def test_tiles_that_add_up_run_one_after_the_other() -> None:
    """Threads share heads among them, never the rows of one head."""
    kernel = kernels(*GRAPHS["attention_gradients"]())[-1]
    *_, rows = lower(kernel, TARGET)
    assert isinstance(rows, Loop) and rows.kind == "parallel" and rows.size == 16
    tiles = rows.body[-1]
    assert isinstance(tiles, Loop) and tiles.size == 2


@pytest.mark.parametrize("shape", [(3, 1), (1, 5), (0, 5), (5, 0)])
def test_rows_without_much_in_them(shape: tuple[int, int]) -> None:
    made = plan(leaf(*shape).softmax(1) if shape[1] else leaf(*shape).log_softmax(1))
    for step in made.steps:
        verify_loops(lower(step.kernel, TARGET))


def test_threads_do_not_change_results() -> None:
    """Every row is computed by the same instructions, whoever computes it."""
    x = np.random.default_rng(0).standard_normal((2, 8, 150, 16), np.float32)
    runs = []
    for _ in range(3):
        q = Tensor(x, device="cpu")
        result = attend(q, q * 2.0, q + 1.0)
        (result * result.sum()).sum().backward()
        assert q.grad is not None
        runs.append((result.numpy().tobytes(), q.grad.numpy().tobytes()))
    assert len(set(runs)) == 1
