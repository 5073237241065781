"""`vmap` against doing every example by itself, and against PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from gradlet import Tensor, VmapError, jit, nn
from gradlet.transforms import grad, vmap
from tests.helpers import assert_same, floats

CASES: dict[str, Callable[..., Any]] = {
    "elementwise": lambda x: (x * 2 + 1).relu().exp() / 3,
    "softmax": lambda x: x.softmax(-1),
    "transposed": lambda x: x.permute(1, 0).reshape(-1),
    "sliced": lambda x: x[1:, ::2].flip(0),
    "indexed": lambda x: x[[1, 0, 1]],
    "padded": lambda x: x.pad((1, 2)),
    "expanded": lambda x: x.unsqueeze(0).expand(2, 3, 4) + x[:, :1],
    "matmul": lambda x: x @ x.transpose(0, 1),
    "running": lambda x: x.cumsum(1) + x.cumprod(0) + x.cummax(1)[0],
    "reduced": lambda x: x.sum(0) + x.max(0) + x.prod(0) + x.min(),
    "sorted": lambda x: x.argmax(1) + x.argmin(1),
    "pooled": lambda x: x.reshape(1, 1, 3, 4).max_pool2d((2, 2), stride=1),
    "constant": lambda x: Tensor([1.0, 2.0]),
    "detached": lambda x: x.detach() * 2,
    "in place": lambda x: _in_place(x),
    "created": lambda x: Tensor.full((2,), 3.0) * x[0, :2],
}


def _in_place(x: Tensor) -> Tensor:
    with Tensor.no_grad():
        y = x * 2
        y += x
    return y


def by_hand(f: Callable[..., Any], *columns: Any) -> np.ndarray:
    return np.stack([f(*row).numpy() for row in zip(*columns, strict=True)])


@pytest.mark.parametrize("name", CASES)
def test_every_example_by_itself(name: str) -> None:
    x = Tensor(floats(5, 3, 4))
    got = vmap(CASES[name])(x).numpy()
    np.testing.assert_allclose(got, by_hand(CASES[name], x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["softmax", "indexed", "matmul", "running", "pooled", "reduced"])
def test_gradients_of_every_example(name: str) -> None:
    f = grad(lambda x: (CASES[name](x) * 1.5).square().sum())
    x = Tensor(floats(4, 3, 4))
    np.testing.assert_allclose(vmap(f)(x).numpy(), by_hand(f, x), rtol=1e-4, atol=1e-4)


def test_indices_that_differ_or_do_not() -> None:
    table, rows = Tensor(floats(6, 2)), Tensor(np.array([[0, 5], [3, 3], [1, 0]]))
    tables = Tensor(floats(3, 6, 2))
    pick = lambda t, i: t[i]  # noqa: E731
    got = vmap(pick, in_dims=(None, 0))(table, rows)
    np.testing.assert_array_equal(got.numpy(), table.numpy()[rows.numpy()])
    np.testing.assert_array_equal(vmap(pick)(tables, rows).numpy(), by_hand(pick, tables, rows))
    got = vmap(pick, in_dims=(0, None))(tables, rows[0])
    np.testing.assert_array_equal(got.numpy(), tables.numpy()[:, [0, 5]])
    f = grad(lambda t, i: (t[i] * t[i]).sum())
    np.testing.assert_allclose(vmap(f)(tables, rows).numpy(), by_hand(f, tables, rows), rtol=1e-5)
    got = vmap(f, in_dims=(None, 0))(table, rows)
    expected = by_hand(f, [table] * 3, rows)
    np.testing.assert_allclose(got.numpy(), expected, rtol=1e-5)


def test_a_small_index_dtype_and_many_examples() -> None:
    tables, rows = Tensor(floats(300, 4)), Tensor(np.arange(300).astype(np.uint8)[:, None] % 4)
    got = vmap(lambda t, i: t[i])(tables, rows)
    expected = np.take_along_axis(tables.numpy(), rows.numpy().astype(np.int64), 1)
    np.testing.assert_array_equal(got.numpy(), expected)


@pytest.mark.parametrize("in_dims", [0, 1, -1, (1, None), (None, 0), (0, 1)])
@pytest.mark.parametrize("out_dims", [0, 1, -1])
def test_axes(in_dims: Any, out_dims: int) -> None:
    f = lambda a, b: a.unsqueeze(1) * b.unsqueeze(0) - a.sum()  # noqa: E731
    arrays = floats(4, 4), floats(4, 4, seed=1)
    got = vmap(f, in_dims, out_dims)(*map(Tensor, arrays))
    expected = torch.func.vmap(f, in_dims, out_dims)(*map(torch.from_numpy, arrays))
    assert_same(got, expected, 1e-6, 1e-6)


def test_maps_of_maps() -> None:
    f = lambda x, y: (x * y).sum()  # noqa: E731
    a, b = Tensor(floats(3, 5)), Tensor(floats(4, 5))
    table = vmap(vmap(f, in_dims=(None, 0)), in_dims=(0, None))(a, b)
    np.testing.assert_allclose(table.numpy(), a.numpy() @ b.numpy().T, rtol=1e-5)


def test_nested_arguments_and_results() -> None:
    f = lambda p, x: {"y": p["w"] * x, "w": p["w"], "n": 7}  # noqa: E731
    p, x = {"w": Tensor([2.0]), "b": [Tensor(floats(3))]}, Tensor([[1.0], [3.0], [5.0]])
    got = vmap(f, ({"w": None, "b": [0]}, 0), {"y": 0, "w": None, "n": None})(p, x)
    assert got["y"].tolist() == [[2.0], [6.0], [10.0]]
    assert got["w"].tolist() == [2.0] and got["n"] == 7


def test_a_layer_inside() -> None:
    layer = nn.Linear(4, 2)
    x = Tensor(floats(5, 4))
    np.testing.assert_allclose(vmap(layer)(x).numpy(), layer(x).numpy(), rtol=1e-5, atol=1e-6)
    vmap(lambda row: layer(row).sum())(x).sum().backward()
    assert layer.weight.grad is not None
    expected = np.broadcast_to(x.numpy().sum(0), (2, 4))
    np.testing.assert_allclose(layer.weight.grad.numpy(), expected, rtol=1e-5)


def test_no_examples_and_one() -> None:
    assert vmap(lambda x: x * 2)(Tensor(np.zeros((0, 3), np.float32))).shape == (0, 3)
    assert vmap(lambda x: x.sum())(Tensor([[1.0, 2.0]])).tolist() == [3.0]


# Random numbers


def test_random_numbers_must_be_asked_for() -> None:
    with pytest.raises(VmapError, match='randomness="different"'):
        vmap(lambda x: x + x.rand_like())(Tensor([1.0, 2.0]))
    with pytest.raises(ValueError, match="randomness is one of"):
        vmap(lambda x: x, randomness="maybe")


def test_the_same_random_numbers() -> None:
    got = vmap(lambda x: x * 0 + Tensor.rand(4), randomness="same")(Tensor(floats(3, 4))).numpy()
    assert (got == got[0]).all() and len(set(got[0])) == 4


@pytest.mark.parametrize("wrapped", [lambda f: f, jit])
def test_different_random_numbers(wrapped: Any) -> None:
    f = wrapped(vmap(lambda x: x * 0 + Tensor.rand(50), randomness="different"))
    x = Tensor(floats(40, 50))
    first, second = f(x).numpy(), f(x).numpy()
    assert len(np.unique(np.concatenate([first, second]))) > 3990
    assert abs(first.mean() - 0.5) < 0.03
    nested = vmap(vmap(lambda y: y * 0 + Tensor.rand(1)[0], randomness="different"),
                  randomness="different")(x).numpy()  # fmt: skip
    assert len(np.unique(nested)) > 1990


# What cannot be done


@pytest.mark.parametrize(
    "needs",
    [
        lambda x: x * x.sum().item(),
        lambda x: x if x.sum() > 0 else -x,
        lambda x: Tensor(x.numpy()),
        lambda x: print(x),
        lambda x: x.realize(),
        lambda x: x.sum().backward(),
    ],
)
def test_values_cannot_be_looked_at(needs: Any) -> None:
    with pytest.raises(VmapError, match="vmap: "):
        vmap(needs)(Tensor([[1.0], [2.0]]))


def test_what_escapes_cannot_be_read() -> None:
    kept = []
    vmap(lambda x: kept.append(x * 2) or x)(Tensor([1.0, 2.0]))
    with pytest.raises(VmapError, match="must have been returned"):
        kept[0].numpy()


@pytest.mark.parametrize(
    ("action", "error", "words"),
    [
        (lambda x: vmap(lambda a, b: a)(x, x[:1]), ValueError, "number of examples.*2 in.*1 in"),
        (lambda x: vmap(lambda a: a, None)(x), ValueError, "none at all"),
        (lambda x: vmap(lambda a: a)(x[0]), ValueError, "no examples; give None"),
        (lambda x: vmap(lambda a: a, (0, 0))(x), ValueError, "2 entries for 1"),
        (lambda x: vmap(lambda a: a, 3)(x), IndexError, "axis 3"),
        (lambda x: vmap(lambda a: a, ("a",))(x), TypeError, "an int or None"),
        (lambda x: vmap(lambda a: a, 0, None)(x), ValueError, "out_dims is None"),
        (lambda x: vmap(lambda a: (a, a), 0, (0,))(x), ValueError, "1 entries for 2"),
    ],
)
def test_errors(action: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        action(Tensor([1.0, 2.0]))


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.sort(0)[0],
        lambda x: x.topk(2, 1)[0],
        lambda x: x.inverse(),
        lambda x: x.det(),
        lambda x: x.solve(x.T @ x),
        lambda x: (x @ x.T).eigh()[0],
        lambda x: x.rfft(),
        lambda x: x.logcumsumexp(0),
    ],
)
def test_what_libraries_compute(function: Callable[[Tensor], Tensor]) -> None:
    x = Tensor(np.random.default_rng(0).normal(size=(4, 3, 3)).astype(np.float32))
    expected = Tensor.stack([function(x[i]) for i in range(4)])
    np.testing.assert_allclose(vmap(function)(x).numpy(), expected.numpy(), rtol=2e-4, atol=2e-5)


def test_lists_one_at_a_time_are_refused() -> None:
    with pytest.raises(NotImplementedError, match="vmap: searchsorted"):
        vmap(lambda x: Tensor([1.0, 2.0]).searchsorted(x))(Tensor.ones(3, 2))
