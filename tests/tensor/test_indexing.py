"""Random NumPy indexing expressions read the same elements from a Tensor."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gradlet import Tensor
from tests.helpers import check, floats, integers

SHAPES = hnp.array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=5)


@st.composite
def expressions(draw: st.DrawFn) -> tuple[tuple[int, ...], Any]:
    shape = draw(SHAPES)
    basic = hnp.basic_indices(shape, allow_newaxis=True, allow_ellipsis=True)
    if draw(st.booleans()):
        return shape, draw(basic)
    picked = draw(hnp.integer_array_indices(shape, result_shape=hnp.array_shapes(max_dims=2)))
    return shape, tuple(picked[: draw(st.integers(1, len(picked)))])


@settings(max_examples=60)
@given(expressions())
def test_reads_what_numpy_reads(case: tuple[tuple[int, ...], Any]) -> None:
    shape, where = case
    array = np.arange(np.prod(shape), dtype=np.int64).reshape(shape)
    expected = array[where]
    found = Tensor(array)[where].numpy()
    assert found.shape == np.shape(expected)
    np.testing.assert_array_equal(found, expected)


@settings(max_examples=20)
@given(expressions())
def test_gradients_count_how_often_an_element_is_read(case: tuple[tuple[int, ...], Any]) -> None:
    shape, where = case
    x = Tensor(np.ones(shape, np.float32))
    x[where].sum().backward()
    reads = np.zeros(shape, np.float32)
    np.add.at(reads, where, 1)
    assert x.grad is not None
    np.testing.assert_array_equal(x.grad.numpy(), reads)


@pytest.mark.parametrize("width", [1, 5, 100, 768])
def test_gradients_of_large_tables(width: int) -> None:
    """Rows that are taken several times, in blocks of columns that threads share."""
    table, rows = floats(500, width), integers(300, low=-500, high=500)
    check(lambda x: x[rows] * 2, None, table, finite_difference=False)
    check(lambda x: x.T[:, rows], None, table, finite_difference=False)
