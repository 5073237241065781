"""Random NumPy indexing expressions read the same elements from a Tensor."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gradlet import JitError, Tensor, jit
from tests.helpers import check, floats, integers

SHAPES = hnp.array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=5)


@st.composite
def expressions(draw: st.DrawFn) -> tuple[tuple[int, ...], Any]:
    shape = draw(SHAPES)
    if draw(st.booleans()):
        return shape, draw(mixtures(shape))
    basic = hnp.basic_indices(shape, allow_newaxis=True, allow_ellipsis=True)
    if draw(st.booleans()):
        return shape, draw(basic)
    picked = draw(hnp.integer_array_indices(shape, result_shape=hnp.array_shapes(max_dims=2)))
    return shape, tuple(picked[: draw(st.integers(1, len(picked)))])


@st.composite
def mixtures(draw: st.DrawFn, shape: tuple[int, ...]) -> tuple[Any, ...]:
    """An int, slice, array of positions or mask for each axis, with None and ... among them."""
    count = draw(st.integers(0, 3))  # of True in a mask, and the last extent of arrays
    key: list[Any] = []
    axis = 0
    while axis < len(shape):
        extent = shape[axis]
        key += [None] * draw(st.integers(0, 1))
        kind = draw(st.sampled_from(["int", "slice", "array", "mask", "dots"]))
        if kind == "int":
            key.append(draw(st.integers(-extent, extent - 1)))
        elif kind == "array":
            form = draw(st.sampled_from([(), (1,), (count,), (2, 1), (2, count)]))
            key.append(draw(hnp.arrays(np.int64, form, elements=st.integers(-extent, extent - 1))))
        elif kind == "mask":
            covered = shape[axis : axis + draw(st.integers(1, 2))]
            mask = np.zeros(np.prod(covered), bool)
            mask[draw(st.permutations(range(mask.size)))[: count if count <= mask.size else 1]] = (
                True
            )
            key.append(mask.reshape(covered))
            axis += len(covered) - 1
        elif kind == "slice" or Ellipsis in [
            part for part in key if not isinstance(part, np.ndarray)
        ]:
            key.append(draw(st.slices(extent)))
        else:
            key.append(Ellipsis)
            axis += draw(st.integers(-1, len(shape) - axis - 1))
        axis += 1
    return tuple(key)


@settings(max_examples=100)
@given(expressions())
@example(((2, 3, 4), (slice(None), np.array([0, 1, 1]), ..., 1)))  # ... stands for no axis
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


MASK = np.arange(20).reshape(4, 5) % 3 == 0
FIRST, SECOND = np.array([2, 0, 2]), np.array([[1], [0]])
MASKED: list[Any] = [
    MASK,
    MASK[:, 0],
    (slice(None), np.array([True, False, True, True, False])),
    (..., MASK[0]),
    (MASK[:, 0], None, slice(1, 4)),
    (MASK[:, 0], np.array([1, 3])),
    [True, False, True, False],
    np.zeros((4, 5), bool),
]
PLACES: list[Any] = [
    *MASKED,
    FIRST,
    (slice(None), FIRST),
    (FIRST, slice(None, None, -2)),
    (SECOND, FIRST),
    (FIRST, None),
    (slice(3, 0, -1), np.array([-1, 4, 0])),
    np.zeros(0, np.int64),
]


@pytest.mark.parametrize("key", MASKED, ids=str)
def test_masks_read_what_numpy_reads(key: Any) -> None:
    x = floats(4, 5)
    assert np.array_equal(Tensor(x)[key].numpy(), x[key])
    if isinstance(key, np.ndarray):
        assert np.array_equal(Tensor(x)[Tensor(key)].numpy(), x[key])
        check(lambda x, m: x[m] * 2, None, x, key)


@pytest.mark.parametrize("key", PLACES, ids=str)
def test_writes_what_numpy_writes(key: Any) -> None:
    expected = floats(4, 5)
    target = Tensor(expected)
    for value in (np.float32(np.nan), floats(*expected[key].shape, seed=1)):
        expected[key] = value
        target[key] = value
        np.testing.assert_array_equal(target.numpy(), expected)


@settings(max_examples=100)
@given(expressions(), st.booleans())
def test_writes_at_any_expression(case: tuple[tuple[int, ...], Any], whole: bool) -> None:
    shape, where = case
    expected = np.arange(np.prod(shape), dtype=np.int64).reshape(shape)
    target = Tensor(expected, device="numpy")
    chosen = np.shape(expected[where])
    value = -np.arange(np.prod(chosen, dtype=int)).reshape(chosen) - 1 if whole else np.int64(-1)
    expected[where] = value
    target[where] = Tensor(value, device="numpy")
    np.testing.assert_array_equal(target.numpy(), expected)


def test_what_is_written_at_indices_has_gradients() -> None:
    x, value = Tensor([1.0, 2.0, 3.0, 4.0]), Tensor([10.0, 20.0, 30.0])
    y = x * 2
    y[np.array([1, 3, 1])] = value * 3
    assert y.tolist() == [2, 90, 6, 60]
    (y * Tensor([1.0, 10.0, 100.0, 1000.0])).sum().backward()
    assert x.grad is not None and x.grad.tolist() == [2, 0, 200, 0]
    assert value.grad is not None and value.grad.tolist() == [0, 3000, 30]


def test_places_out_of_range_raise() -> None:
    target = Tensor([1.0, 2.0])
    target[np.array([2])] = 1.0
    with pytest.raises(IndexError):
        target.numpy()
    with pytest.raises(ValueError, match="setitem"):
        Tensor([1.0, 2.0])[np.array([0, 1])] = [1.0, 2.0, 3.0]
    for equal in (Tensor.zeros(3), Tensor([1.0]).expand(3)):
        assert equal[Tensor([2, -3])].shape == (2,)
        with pytest.raises(IndexError, match="index 7"):
            equal[Tensor([7])].numpy()
    for empty in (Tensor.zeros(0), Tensor.ones(2, 3, 4)[:0].reshape(0)):
        with pytest.raises(IndexError, match="without elements"):
            empty[Tensor([0])]


def test_a_recorded_step_writes_at_indices_and_refuses_masks() -> None:
    @jit
    def put(x: Tensor, index: Tensor) -> Tensor:
        y = x * 2
        y[index] = 7.0
        return y

    x = Tensor([1.0, 2.0, 3.0], requires_grad=False)
    assert put(x, Tensor([0])).tolist() == [7, 4, 6]
    assert put(x, Tensor([2])).tolist() == [2, 4, 7]
    with pytest.raises(JitError, match="values of the mask"):
        jit(lambda x: x[x > 1])(x)


def test_padding_of_what_nothing_was_taken_from() -> None:
    nothing = Tensor(np.zeros(0, np.float32))[Tensor(np.zeros(0, np.int64))]
    assert nothing.pad((1, 1)).tolist() == [0.0, 0.0]
