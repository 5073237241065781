"""Movement, joining and indexing against PyTorch and NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from gradlet import Tensor
from tests.helpers import check, floats

X = floats(3, 4, 5)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (lambda x: x.reshape(4, -1), None),
        (lambda x: x.view((5, 12)), None),
        (lambda x: x.permute(2, 0, -2), lambda x: x.permute(2, 0, 1)),
        (lambda x: x.transpose(0, 2), None),
        (lambda x: x[0].T, None),
        (lambda x: x.flatten(1), None),
        (lambda x: x.unflatten(1, (2, -1)), None),
        (lambda x: x[:, :1].squeeze(1).unsqueeze(-1), None),
        (lambda x: x.flip(0, 2), lambda x: x.flip((0, 2))),
        (lambda x: x[:1].expand(6, -1, 5), None),
        (lambda x: x.pad((1, 2, 0, 3)), lambda x: F.pad(x, (1, 2, 0, 3))),
        (lambda x: x.pad((1, -2), value=7.0), lambda x: F.pad(x, (1, -2), value=7.0)),
        (lambda x: x.pad((None, (1, 0), (0, 2))), lambda x: F.pad(x, (0, 2, 1, 0))),
        (lambda x: x.shrink(((1, 3), None, (0, 2))), lambda x: x[1:3, :, :2]),
        (lambda x: x.split(2, 1)[1], None),
        (lambda x: x.split([1, 3], 1)[1], None),
        (lambda x: x.chunk(3, 2)[2], None),
        (lambda x: x.repeat(2, 1, 3), None),
        (lambda x: x.tile(2, 3), None),
        (lambda x: x.movedim(0, -1), None),
        (lambda x: x.tril(1), None),
        (lambda x: x.triu(-1), None),
        (lambda x: x[1], None),
        (lambda x: x[-1, ..., 2], None),
        (lambda x: x[:, None, 1:3], None),
        (lambda x: x[::2, 1::2, 4:0], None),
        (lambda x: x[..., None], None),
    ],
)
def test_movement(ours: Any, theirs: Any) -> None:
    check(ours, theirs, X)


@pytest.mark.parametrize("count", [1, 2, 3, 7])
@pytest.mark.parametrize("dim", [0, 1, -1])
def test_cat_and_stack(count: int, dim: int) -> None:
    parts = [floats(2, 3, 2, seed=i) for i in range(count)]
    check(
        lambda *x: Tensor.cat(list(x), dim=dim) * 2,
        lambda *x: torch.cat(x, dim) * 2,
        *parts,
    )
    check(
        lambda *x: x[0].stack(*x[1:], dim=dim) * 2,
        lambda *x: torch.stack(x, dim) * 2,
        *parts,
    )


def test_cat_keeps_every_bit() -> None:
    odd = np.array([-0.0, np.nan, np.inf, -np.inf, 1e-45], np.float32)
    got = Tensor(odd).cat(Tensor(odd), Tensor([], dtype="float32"), Tensor(-odd)).numpy()
    assert got.tobytes() == np.concatenate([odd, odd, -odd]).tobytes()


A, B = np.array([0, 2, -1]), np.array([[1], [0]])
KEYS: list[Any] = [
    A,
    (slice(None), A),
    (A, slice(1, 3)),
    (slice(None), A, A),
    (A, slice(None), A),
    (0, slice(None), A),
    (slice(None), 0, A),
    (B, A),
    (None, A),
    (A, None, A),
    (..., A),
    (slice(None, None, -1), slice(3, 0, -2), A),
    (slice(None, None, -2),),
    (slice(-1, -4, -1), slice(10, None), None, -1),
    ([0, 1], [2, 3]),
    np.array(1),
    np.zeros((0,), np.int64),
    (),
    ...,
]


@pytest.mark.parametrize("key", KEYS, ids=str)
def test_indexing_as_numpy_does(key: Any) -> None:
    np.testing.assert_array_equal(Tensor(X)[key].numpy(), X[key])


def test_index_tensors_have_gradients() -> None:
    index = np.array([[0, 2], [2, -1]])
    check(lambda x, i: x[:, i], lambda x, i: x[:, i], X, index)
    check(lambda x, i: x[i, i], lambda x, i: x[i, i], X, index)
    check(
        lambda x, i: x.gather(1, i),
        lambda x, i: x.gather(1, i),
        X[0],
        np.array([[0, 4, 1], [2, 2, 0]]),
    )


@pytest.mark.parametrize(
    "key", [0, (slice(None), 1), (slice(None, None, -2), slice(1, 3)), (..., slice(0, 4, 3))],
    ids=str,
)  # fmt: skip
def test_writing(key: Any) -> None:
    expected = X.copy()
    expected[key] = 7.5
    target = Tensor(X)
    target[key] = 7.5
    np.testing.assert_array_equal(target.numpy(), expected)
    value = floats(*expected[key].shape, seed=5)
    expected[key] = value
    target[key] = Tensor(value)
    np.testing.assert_array_equal(target.numpy(), expected)


def test_writing_keeps_gradients_of_what_is_written() -> None:
    weight = Tensor([1.0, 2.0])
    out = Tensor.zeros(4)
    out[1:3] = weight * 3
    (out * Tensor([1.0, 10.0, 100.0, 1000.0])).sum().backward()
    assert weight.grad is not None
    assert weight.grad.tolist() == [30, 300]


def test_one_hot() -> None:
    assert Tensor([[1], [0]]).one_hot(2).tolist() == [[[0, 1]], [[1, 0]]]


@pytest.mark.parametrize("kind", [np.float32, np.int64, np.uint8, np.bool_, np.float16])
@pytest.mark.parametrize("count", [1, 2, 3, 5, 16, 17, 33, 1000])
def test_every_few_elements(count: int, kind: Any) -> None:
    """Lanes that lie a few elements apart, up to the last element of the array."""
    for step in (2, 3, 4, 5):
        x = (floats(count * step) * 9).astype(kind)
        for start in range(step):
            assert np.array_equal(Tensor(x)[start::step].numpy(), x[start::step])
        assert np.array_equal(Tensor(x)[::-1].numpy(), x[::-1])
        assert np.array_equal(Tensor(x)[::-step].numpy(), x[::-step])
        assert np.array_equal(
            Tensor(x).reshape(-1, step).max(1).numpy(), x.reshape(-1, step).max(1)
        )


@pytest.mark.parametrize(
    ("action", "error", "words"),
    [
        (lambda x: x.reshape(7, -1), ValueError, r"reshape: a tensor of shape \(3, 4, 5\)"),
        (lambda x: x.reshape(-1, -1), ValueError, "reshape"),
        (lambda x: x.permute(0, 1), ValueError, "permute"),
        (lambda x: x.permute(0, 0, 1), ValueError, "twice"),
        (lambda x: x.expand(2, 4, 5), ValueError, "expand"),
        (lambda x: x.transpose(0, 3), IndexError, "axis 3 is out of range"),
        (lambda x: x.cat(x[0]), ValueError, "cat: shapes"),
        (lambda x: x.stack(x[:1]), ValueError, "stack: shapes"),
        (lambda x: x.pad((1, 2, 3)), ValueError, "pad"),
        (lambda x: x[3], IndexError, "index 3 is out of range for axis 0"),
        (lambda x: x[0, 0, 0, 0], IndexError, "4 indices"),
        (lambda x: x[..., ...], IndexError, "Ellipsis"),
        (lambda x: x[::0], ValueError, "step"),
        (lambda x: x[Tensor([True, False])], IndexError, "a mask of shape"),
        (lambda x: x[Tensor([0.5])], IndexError, "must hold integers"),
        (lambda x: x["a"], TypeError, "cannot index with 'a'"),
        (lambda x: x[Tensor([3])].numpy(), IndexError, "3"),
        (lambda x: x[Tensor([-4])].numpy(), IndexError, "-"),
        (lambda x: Tensor([3]).one_hot(3).numpy(), IndexError, "3"),
        (lambda x: x.split([1, 1], 0), ValueError, "do not add up"),
        (lambda x: x.__setitem__(0, Tensor([1.0, 2.0])), ValueError, "setitem"),
    ],
)
def test_errors(action: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        action(Tensor(X))


def test_joining_as_pytorch_does() -> None:
    """The axis behind a list, and nothing of what has the shape (0,)."""
    x, nothing = floats(2, 3), np.zeros(0, np.float32)
    for name in ("cat", "stack"):
        join, known = getattr(Tensor, name), getattr(torch, name)
        check(lambda x, j=join: j([x, x], 1), lambda x, k=known: k([x, x], 1), x)
    for parts in ([nothing, x, x], [nothing, nothing]):
        check(lambda *p: Tensor.cat(list(p)), lambda *p: torch.cat(p), *parts, grad=False)
    assert [part.shape for part in Tensor(x)[:0].chunk(2)] == [(0, 3), (0, 3)]


def test_view_of_a_dtype() -> None:
    x = Tensor([1.0, -2.0], requires_grad=False)
    bits = x.view("int32")
    assert bits.tolist() == np.float32([1, -2]).view(np.int32).tolist()
    bits[0] = 0
    assert x.tolist() == [0.0, -2.0]
    with pytest.raises(ValueError, match="differ in width"):
        x.view(np.float64)


def test_pytorchs_names_of_arguments() -> None:
    x = floats(3, 4)
    check(lambda x: x.view(size=(4, 3)), None, x)
    check(lambda x: x.reshape(shape=(2, -1)), None, x)
    check(lambda x: x.permute(dims=(1, 0)).flip(dims=(0,)), None, x)
    check(lambda x: x.tile(dims=(2, 1)) * x[:1].expand(size=(6, 4)), None, x)
