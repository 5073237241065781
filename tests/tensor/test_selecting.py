"""Elements at places, where a mask is True, and repeated by counts, against PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from gradlet import JitError, Tensor, jit, vmap
from tests.helpers import check, floats, integers

X = floats(3, 5, 2)
PLACES = np.array([[3, -1, 0], [3, 29, -29]])
MASK = X > 0.5
LINE = Tensor([1.0, 2.0, 3.0], requires_grad=False)


def test_take_and_put() -> None:
    check(lambda x, i: x.take(i) * 2, None, X, PLACES)
    check(lambda x, i: x.take(i), None, X, PLACES[:, :0])
    check(lambda x, i: x.take(i), None, np.asarray(np.float32(3)), np.array([0, -1]))
    check(lambda x, i, s: x.put(i, s), None, X, PLACES[:, 2:], floats(2, seed=1))
    check(lambda x, i, s: x.put(i, s, accumulate=True), None, X, PLACES, floats(3, 2, seed=1))
    assert Tensor([1, 2]).put([0, 0], Tensor([5, 6])).tolist() == [6, 2]


@pytest.mark.parametrize("accumulate", [False, True])
def test_index_put(accumulate: bool) -> None:
    rows, columns = np.array([[2, 0], [1, -3]]), np.array([[4], [0]])
    check(lambda x, i, j, v: x.index_put((i, j), v, accumulate), None,
          X, rows, columns, floats(2, seed=1))  # fmt: skip
    check(lambda x, m, v: x.index_put((m,), v, accumulate), None, X, MASK, floats(1, seed=1))
    repeated = np.array([1, 1, 0])
    if accumulate:  # or else PyTorch leaves open which of equals stays
        check(lambda x, i, v: x.index_put((i,), v, True), None, X, repeated, floats(3, 5, 2))
    assert Tensor([1, 2]).index_put([[0]], 5, accumulate).tolist() == [6 if accumulate else 5, 2]
    with pytest.raises(ValueError, match="put: source must hold 1 elements of int64"):
        Tensor([1, 2]).index_put([[0]], Tensor([1.5]), accumulate)


@pytest.mark.parametrize(
    ("dim", "shape"), [(0, (2, 1, 2)), (1, (3, 7, 2)), (-1, (1, 5, 4)), (None, (2, 2))]
)
def test_take_along_dim(dim: int | None, shape: tuple[int, ...]) -> None:
    index = integers(*shape, low=0, high=2)
    check(lambda x, i: x.take_along_dim(i, dim) * 2, None, X, index)
    if dim != 0:
        check(lambda x, i: x[:1].take_along_dim(i, dim), None, X, index[:2])


@pytest.mark.parametrize("mask", [MASK, MASK[0, 0], MASK[:, :1], MASK & False, MASK | True])
def test_masked_select(mask: np.ndarray) -> None:
    check(lambda x, m: x.masked_select(m) * 2, None, X, mask)
    count = int(np.broadcast_to(mask, X.shape).sum())

    def theirs(x: torch.Tensor, m: torch.Tensor, size: int) -> torch.Tensor:
        found = torch.cat([x.masked_select(m), torch.full((size,), 9.0)])
        return found[:size] if size <= count else found[: count + size - count]

    for size in {0, count // 2, count, count + 3}:
        check(
            lambda x, m, n=size: x.masked_select(m, size=n, fill_value=9),
            lambda x, m, n=size: theirs(x, m, n),
            X, mask, finite_difference=False,
        )  # fmt: skip


def test_masks_of_scalars_and_of_nothing() -> None:
    check(lambda x, m: x.masked_select(m) * 2, None, np.asarray(np.float32(3)), np.asarray(True))
    check(lambda x, m: x.masked_select(m) * 2, None, X[:0], MASK[:0])
    assert Tensor.ones(0).masked_select(Tensor([], dtype="bool"), size=2).tolist() == [0, 0]
    assert Tensor(3.0).masked_select(Tensor(False), size=2, fill_value=1).tolist() == [1, 1]


def test_masked_scatter() -> None:
    check(lambda x, m, s: x.masked_scatter(m, s), None, X, MASK, floats(6, 5, seed=1))
    check(lambda x, m, s: x.masked_scatter(m, s), None, X[0, 0], MASK, floats(2, 15, seed=1))
    check(lambda x, m, s: x.masked_scatter(m, s), None, X, MASK & False, floats(1))
    check(lambda x, m, s: x.masked_scatter(m, s), None, X[:0], MASK[:0], floats(1))
    assert Tensor([1.0]).masked_scatter([False], Tensor.ones(0)).tolist() == [1.0]


@pytest.mark.parametrize("shape", [(), (0,), (7,), (3, 4), (2, 0, 3), (2, 3, 2)])
def test_nonzero(shape: tuple[int, ...]) -> None:
    x = np.asarray(integers(*shape, low=-1, high=2)).astype(np.float32)
    x[x == -1] = np.nan
    expected = torch.from_numpy(x).nonzero()
    count = len(expected)
    check(lambda x: x.nonzero(), None, x, grad=False)
    check(lambda x: x.argwhere(), None, x, grad=False)
    for size in (0, count, count + 2):
        padded = torch.nonzero_static(torch.from_numpy(x), size=size)
        check(lambda x, n=size: x.nonzero(n, -1), lambda _, e=padded: e, x, grad=False)
    if shape:
        places = Tensor(x).nonzero(as_tuple=True)
        assert [p.tolist() for p in places] == [p.tolist() for p in np.nonzero(x)]
        assert np.array_equal(Tensor(x)[places].numpy(), x[np.nonzero(x)], equal_nan=True)


@pytest.mark.parametrize("dim", [None, 0, -1])
@pytest.mark.parametrize("as_list", [False, True])
def test_repeats_by_counts(dim: int | None, as_list: bool) -> None:
    extent = X.size if dim is None else X.shape[dim]
    for counts in (integers(extent, low=0, high=4), np.array([3]), np.zeros(extent, np.int32)):
        total = int(np.broadcast_to(counts, extent).sum())
        given = counts.tolist() if as_list else None
        for size in (None, total):
            check(
                lambda x, c, g=given, n=size: x.repeat_interleave(g or c, dim, output_size=n),
                lambda x, c: x.repeat_interleave(c, dim),
                X, counts, finite_difference=False,
            )  # fmt: skip
    for count in (0, 1, 3):
        check(lambda x, n=count: x.repeat_interleave(n, dim) * 2, None, X, finite_difference=False)
    check(lambda x, c: x.repeat_interleave(c) * 2, None, np.asarray(np.float32(3)), np.asarray(2))
    check(lambda x, c: x.repeat_interleave(c, output_size=0), None, X[:0], np.zeros(0, int))


def test_recorded_steps_with_known_sizes() -> None:
    select = jit(lambda x, m: x.masked_select(m, size=2, fill_value=-1))
    assert select(LINE, LINE != 2).tolist() == [1, 3]
    assert select(LINE, LINE > 2).tolist() == [3, -1]
    rows = jit(lambda x: x.nonzero(2))
    assert rows(LINE - 1).tolist() == [[1], [2]]
    assert rows(LINE // 3).tolist() == [[2], [0]]
    repeat = jit(lambda x, n: x.repeat_interleave(n, output_size=4))
    assert repeat(LINE, Tensor([2, 0, 2])).tolist() == [1, 1, 3, 3]
    assert repeat(LINE, Tensor([0, 4, 0])).tolist() == [2, 2, 2, 2]
    assert jit(lambda x: x.masked_select([[True], [False]]))(LINE).tolist() == [1, 2, 3]
    assert jit(lambda x: x.repeat_interleave([0, 1, 2]))(LINE).tolist() == [2, 3, 3]
    for counts in ([2, 0, 1], [2, 0, 3], [3, -1, 2]):
        with pytest.raises(IndexError):
            repeat(LINE, Tensor(counts)).numpy()


def test_examples_at_once() -> None:
    x, counts = Tensor([[1, 0, 2], [0, 0, 3]]), Tensor([[1, 3, 0], [4, 0, 0]])
    assert vmap(lambda x: x.masked_select(x > 0, size=2))(x).tolist() == [[1, 2], [3, 0]]
    assert vmap(lambda x: x.nonzero(1))(x).tolist() == [[[0]], [[2]]]
    repeat = vmap(lambda x, n: x.repeat_interleave(n, output_size=4))
    assert repeat(x, counts).tolist() == [[1, 0, 0, 0], [0, 0, 0, 0]]


@pytest.mark.parametrize(
    ("action", "words"),
    [
        (lambda x: x.masked_select(x > 1), r"masked_select\(..., size=n\)"),
        (lambda x: x.nonzero(), r"nonzero\(..., size=n\)"),
        (lambda x: x.repeat_interleave(x.long()), r"repeat_interleave\(..., output_size=n\)"),
    ],
)
def test_a_recorded_step_refuses_shapes_that_depend_on_values(action: Any, words: str) -> None:
    with pytest.raises(JitError, match=words):
        jit(action)(LINE)


@pytest.mark.parametrize(
    ("action", "error", "words"),
    [
        (lambda x: x.take([30]).numpy(), IndexError, "30"),
        (lambda x: x.take([0.5]), IndexError, "integers"),
        (lambda x: x[:0].take([0]), IndexError, "without elements"),
        (lambda x: x.put([30], x[0, 0, :1]).numpy(), IndexError, "30"),
        (lambda x: x.put([3], x), ValueError, "put: source must hold 1 elements"),
        (lambda x: x.put([3], Tensor([1])), ValueError, "not int64"),
        (lambda x: x.take_along_dim([0], 1), ValueError, "as many axes"),
        (lambda x: x.take_along_dim([[[5]]], 1).numpy(), IndexError, "5"),
        (lambda x: x.take_along_dim([[[0]] * 4] * 2, 1), ValueError, "do not broadcast"),
        (lambda x: x.masked_select(x), TypeError, "masked_select: the mask must be a bool"),
        (lambda x: x.masked_select(x[:2] > 0), ValueError, "do not broadcast"),
        (lambda x: x.masked_select(x > 0, size=-1), ValueError, "negative"),
        (lambda x: x.masked_scatter(x > -9, x[0]).numpy(), IndexError, "11"),
        (lambda x: x.masked_scatter(x > 0, x.long()), ValueError, "source must be float32"),
        (lambda x: x.masked_scatter(x, x), TypeError, "the mask must be a bool tensor"),
        (lambda x: x.nonzero(-1), ValueError, "negative"),
        (lambda x: x.repeat_interleave(-1), ValueError, "negative"),
        (lambda x: x.repeat_interleave(2, 0, output_size=5), ValueError, "add up to 6"),
        (lambda x: x.repeat_interleave([1, 2], 0), ValueError, "for an axis of 3"),
        (lambda x: x.repeat_interleave([1, -2, 3], 0), ValueError, "-2 is negative"),
        (lambda x: x.repeat_interleave(Tensor([1, -2, 3]), 0), ValueError, "-2 is negative"),
        (lambda x: x.repeat_interleave([1.0, 2.0, 3.0], 0), TypeError, "not float32"),
        (lambda x: x.repeat_interleave("2", 0), TypeError, "must be integers"),
        (lambda x: x.repeat_interleave([1, 2, 3], 0, output_size=5), ValueError, "add up to 6"),
    ],
)  # fmt: skip
def test_errors(action: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        action(Tensor(X))
