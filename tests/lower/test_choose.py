"""Whatever loops are chosen for a kernel, they compute what the plainest loops compute."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradlet import Tensor
from gradlet.base.target import Target
from gradlet.ir.kernel import Kernel, Nest
from gradlet.lower import partial_sums
from gradlet.lower.choose import lower
from gradlet.lower.collapse import collapse
from gradlet.lower.loops import loops, show
from gradlet.lower.nest import loops_of_kernel
from gradlet.lower.verify import verify_loops
from tests.graphs import TARGET, leaf, plan
from tests.lower.interpreter import outputs

# Two lanes and few registers: small arrays already meet every kind of remainder.
SMALL = replace(TARGET, vector_bytes=8, vector_registers=12, l1_bytes=256, l2_bytes=2048)
TARGETS = [SMALL, replace(SMALL, vector_bytes=16, vector_registers=32)]


def whole(*shape: int) -> Tensor:
    return leaf(*shape, dtype=np.int64)


def check(kernel: Kernel, targets: Sequence[Target] = TARGETS) -> None:
    """All chosen trees against the plain one."""
    expected = outputs(kernel, loops_of_kernel(kernel))
    for target in targets:
        body = lower(kernel, target)
        verify_loops(body)
        for a, b in zip(outputs(kernel, body), expected, strict=True):
            np.testing.assert_array_equal(a, b, err_msg=show(body))


EXTENT = st.integers(1, 9)


@given(EXTENT, EXTENT, EXTENT, st.booleans(), st.booleans())
@settings(max_examples=40)
def test_matrix_products(m: int, k: int, n: int, turned: bool, bias: bool) -> None:
    a = whole(k, m).transpose(0, 1) if turned else whole(m, k)
    result = a @ whole(k, n)
    for step in plan(result + whole(n) if bias else result).steps:
        check(step.kernel)


@given(EXTENT, EXTENT, EXTENT, st.sampled_from([0, 1, 2, (0, 2), (0, 1), (1, 2), (0, 1, 2)]))
@settings(max_examples=60)
def test_reductions(a: int, b: int, c: int, axes: int | tuple[int, ...]) -> None:
    x = whole(a, b, c) * whole(c)
    for step in plan(x.sum(axes), x.max(axes) - 1).steps:
        check(step.kernel)


@given(EXTENT, EXTENT, st.sampled_from([(0, 1), (1, 0)]), st.integers(0, 2), st.booleans())
@settings(max_examples=40)
def test_maps(a: int, b: int, order: tuple[int, int], padding: int, flip: bool) -> None:
    x = whole(a, b).permute(*order).pad(((padding, 1), (0, padding)))
    x = x.flip(1) if flip else x
    for step in plan(x * 3 - whole(x.shape[1]), x.reshape(-1) + 1).steps:
        check(step.kernel)


@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("stride", [1, 2])
def test_convolutions(padding: int, stride: int) -> None:
    result = whole(2, 2, 5, 6).conv2d(whole(3, 2, 3, 3), stride=stride, padding=padding)
    for step in plan(result).steps:
        check(step.kernel)


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("size", [1, 2, 3])
def test_transposed_convolutions(stride: int, size: int) -> None:
    result = whole(2, 2, 4, 3).conv_transpose2d(whole(2, 3, size, size), stride=stride)
    for step in plan(result).steps:
        check(step.kernel)


def test_long_sums_of_products_in_blocks() -> None:
    (step,) = plan(whole(5, 150) @ whole(150, 7) + whole(7)).steps
    text = show(lower(step.kernel, SMALL))
    assert "sums[" in text and "+= acc[" in text
    check(step.kernel)


@pytest.mark.parametrize("padding", [0, 1])
def test_filters_as_large_as_images(padding: int) -> None:
    """As in the gradient of a convolution's weight; each block pads its images for itself."""
    images, filters = whole(12, 1, 6, 7).transpose(0, 1), whole(12, 3, 5, 6).transpose(0, 1)
    (step,) = plan(images.conv2d(filters, padding=padding)).steps
    target = replace(TARGETS[1], l2_bytes=16384, threads=1)
    before, blocks = show(lower(step.kernel, target)).split("for r3b in 2:")
    assert "padded" not in before and ("padded" in blocks) == (padding > 0)
    check(step.kernel, [target, replace(target, threads=2)])


def test_few_results_of_long_sums_are_shared_among_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(partial_sums, "_LONG_SUM", 60)
    (step,) = plan(whole(3, 60) @ whole(60, 2) + whole(2)).steps
    text = show(lower(step.kernel, TARGET))
    assert "for r2g in parallel 15:" in text and "parts[r2g" in text
    check(step.kernel)


def test_results_that_fit_into_the_cache_are_summed_by_each_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(partial_sums, "_LONG_SUM", 64)
    monkeypatch.setattr(partial_sums, "_FEW_RESULTS", 1)
    (step,) = plan(whole(20, 64) @ whole(64, 30)).steps
    (nest,) = step.kernel.nests
    assert isinstance(nest, Nest)
    first, _ = partial_sums.split_sum(nest, TARGET) or ()
    assert first.ranges[0].arg == ("r2g", 4 * TARGET.threads)
    check(step.kernel)
    (nest,) = plan(whole(20, 68) @ whole(68, 30)).steps[0].kernel.nests
    assert isinstance(nest, Nest)
    first, _ = partial_sums.split_sum(nest, TARGET) or ()
    assert first.ranges[0].arg == ("r2g", 2 * TARGET.threads)
    (nest,) = plan(whole(20, 66) @ whole(66, 30)).steps[0].kernel.nests
    assert isinstance(nest, Nest)
    assert partial_sums.split_sum(nest, TARGET) is None  # 66 terms make no such pieces


def test_neighbouring_loops_become_one() -> None:
    (step,) = plan(whole(4, 5) + whole(4, 5)).steps
    (nest,) = step.kernel.nests
    assert [c.arg[1] for c in collapse(nest).ranges] == [20]
    (step,) = plan(whole(4, 5) + whole(5)).steps
    (nest,) = step.kernel.nests
    assert [c.arg[1] for c in collapse(nest).ranges] == [4, 5]


def test_much_work_is_spread_over_threads_and_little_is_not() -> None:
    for size, kind in ((2000, "parallel"), (20, "serial")):
        (step,) = plan(leaf(size, 30) + leaf(30)).steps
        assert next(loops(lower(step.kernel, TARGET))).kind == kind


def test_an_array_without_elements_takes_no_loops() -> None:
    assert plan(leaf(0, 4) + 1.0).steps == ()
    (step,) = plan(leaf(0, 4).sum(0)).steps
    assert "for i0 in vector 4" in show(lower(step.kernel, TARGET))
