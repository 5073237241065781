"""Data sets: rows of arrays, parts of others, several in a row, random parts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradlet import Tensor
from gradlet.nn import data
from gradlet.nn.data import ConcatDataset, Subset, TensorDataset, random_split


def test_rows_of_arrays_and_tensors() -> None:
    data = TensorDataset(Tensor([[1.0, 2.0], [3.0, 4.0]]), np.array([5, 6]), [True, False])
    assert len(data) == 2
    x, y, flag = data[-1]
    assert x.tolist() == [3.0, 4.0] and y == 6 and not flag
    x, y, flag = data.get_batch(np.array([1, 0, 1]))
    assert x.dtype == np.float32 and y.tolist() == [6, 5, 6] and flag.tolist() == [0, 1, 0]


@pytest.mark.parametrize("arrays", [(), ([1, 2], [1]), (np.float32(1),)])
def test_rows_that_do_not_fit(arrays: Any) -> None:
    with pytest.raises(ValueError, match="needs arrays of one length"):
        TensorDataset(*arrays)


def test_a_subset() -> None:
    part = Subset("abcde", [4, 0, -1, 0])
    assert len(part) == 4 and [part[i] for i in range(4)] == ["e", "a", "e", "a"]
    assert [Subset(part, [1, 2])[i] for i in range(2)] == ["a", "e"]
    with pytest.raises(IndexError, match="index 5 is out of range for 5 elements"):
        Subset("abcde", [1, 5])
    with pytest.raises(IndexError, match="index -6 is out of range"):
        Subset("abcde", [-6])


@given(st.lists(st.lists(st.integers(), max_size=4), max_size=4))
def test_several_in_a_row(parts: list[list[int]]) -> None:
    joined = ConcatDataset(parts)
    expected = [value for part in parts for value in part]
    assert len(joined) == len(expected)
    assert [joined[i] for i in range(len(expected))] == expected
    assert [joined[-i - 1] for i in range(len(expected))] == expected[::-1]
    for wrong in (len(expected), -len(expected) - 1):
        with pytest.raises(IndexError, match="out of range"):
            joined[wrong]


@pytest.mark.parametrize(
    ("lengths", "expected"),
    [([7, 3], [7, 3]), ([10], [10]), ([0, 10], [0, 10]), ([0.5, 0.25, 0.25], [6, 2, 2]),
     ([0.34, 0.33, 0.33], [4, 3, 3]), ([1.0], [10])],
)  # fmt: skip
def test_random_parts(lengths: list[Any], expected: list[int]) -> None:
    parts = random_split(range(10), lengths, seed=1)
    assert [len(part) for part in parts] == expected
    values = [part[i] for part in parts for i in range(len(part))]
    assert sorted(values) == list(range(10)) and values != list(range(10))
    again = random_split(range(10), lengths, seed=1)
    assert values == [part[i] for part in again for i in range(len(part))]


def test_manual_seed_fixes_random_parts() -> None:
    orders = []
    for seed in (3, 3, 4):
        Tensor.manual_seed(seed)
        orders.append(random_split(range(10), [10])[0].indices.tolist())
    assert orders[0] == orders[1] != orders[2]


@pytest.mark.parametrize("lengths", [[5, 4], [11, -1], [0.5, 0.4], [5, 0.5], []])
def test_parts_that_are_no_whole(lengths: list[Any]) -> None:
    with pytest.raises(ValueError, match="neither lengths that sum to 10 nor shares"):
        random_split(range(10), lengths)


def test_what_is_known_of_images() -> None:
    for source in (data.MNIST, data.FASHION):
        assert isinstance(source, data.Source) and len(source.checksums) == len(data.FILES)
    assert data.CLASSES == 10 and data.DATASETS["mnist"] is data.mnist
