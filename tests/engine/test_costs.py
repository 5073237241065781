"""What kernels must do at least, counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from gradlet import Tensor
from gradlet.engine.costs import compulsory_bytes, float_operations
from tests.graphs import gradients, leaf, plan


def costs(*tensors: Tensor) -> tuple[int, int, int]:
    """(operations, bytes read, bytes written) of the only kernel."""
    (step,) = plan(*tensors).steps
    return float_operations(step.kernel), *compulsory_bytes(step.kernel)


def test_a_map_counts_each_operation_and_each_array_once() -> None:
    x = leaf(32, 48)
    assert costs(x.exp() * 2.0 + x) == (3 * 32 * 48, 4 * 32 * 48, 4 * 32 * 48)


def test_what_does_not_vary_with_a_counter_counts_once_for_all_of_it() -> None:
    x, bias = leaf(32, 48), leaf(48)
    assert costs(x * (bias * 2.0))[0] == 32 * 48 + 48


def test_a_product_takes_two_operations_for_each_term() -> None:
    bytes_read = 4 * (37 * 29 + 29 * 53)
    assert costs(leaf(37, 29) @ leaf(29, 53)) == (2 * 37 * 29 * 53, bytes_read, 4 * 37 * 53)


@pytest.mark.parametrize("padding", [0, 1])
def test_a_convolution_takes_two_operations_for_each_tap(padding: int) -> None:
    result = leaf(2, 3, 12, 12).conv2d(leaf(8, 3, 3, 3), padding=padding)
    bytes_read = 4 * (2 * 3 * 12 * 12 + 8 * 3 * 3 * 3)
    assert costs(result) == (2 * result.numel() * 3 * 9, bytes_read, 4 * result.numel())


def test_a_sum_and_a_scan_take_one_operation_for_each_element() -> None:
    assert costs(leaf(40, 100).sum(1)) == (4000, 16000, 160)
    assert costs(leaf(40, 100).cumsum(1)) == (4000, 16000, 16000)


def test_rows_that_stay_in_cache_count_for_each_row() -> None:
    q, k, v = leaf(8, 8, 128, 16), leaf(8, 8, 128, 16), leaf(8, 8, 128, 16)
    scores = 8 * 8 * 128 * 128
    products = 2 * (2 * scores * 16)
    a_row = 2 * 8 * 8 * 128  # the maximum's sign and the total's reciprocal at most
    counted = costs((q @ k.transpose(-2, -1)).softmax(-1) @ v)[0]
    assert products + 5 * scores <= counted <= products + 5 * scores + a_row


def test_moves_whole_numbers_and_comparisons_are_free() -> None:
    assert costs(leaf(8, 12).transpose(0, 1).contiguous())[0] == 0
    assert costs(leaf(40, dtype=np.int64) * 3)[0] == 0


def test_of_a_large_array_only_what_is_used_counts() -> None:
    rows = leaf(30, dtype=np.int64)
    *_, gather = plan(leaf(1000, 24)[rows]).steps
    assert compulsory_bytes(gather.kernel) == (4 * 30 * 24 + 8 * 30, 4 * 30 * 24)
    assert costs(leaf(1000, 24)[:5] * 2.0) == (120, 480, 480)


def test_a_scatter_writes_all_and_adds_its_rows() -> None:
    table = leaf(1000, 24)
    (step, *_) = plan(*gradients(table[leaf(30, dtype=np.int64)] * leaf(30, 24), table)).steps
    assert float_operations(step.kernel) == 30 * 24
    assert compulsory_bytes(step.kernel) == (4 * 30 * 24 + 8 * 30, 4 * 1000 * 24)
