"""Random draws by probabilities and weights: what is drawn how often, and what never."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from gradlet import Tensor, jit, vmap
from tests.helpers import floats

COUNT = 20_000


def shares(drawn: Tensor, count: int) -> np.ndarray:
    """How often each of `count` positions was drawn, of all."""
    return np.bincount(drawn.numpy().ravel(), minlength=count) / drawn.numel()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float64"])
def test_bernoulli(dtype: str) -> None:
    chance = np.repeat([0.0, 0.25, 0.75, 1.0], COUNT).reshape(4, COUNT)
    drawn = Tensor(chance, dtype=dtype).bernoulli()
    assert drawn.dtype.name == dtype and set(np.unique(drawn.float().numpy())) == {0, 1}
    means = drawn.float().mean(1).numpy()
    assert means[0] == 0 and means[3] == 1
    np.testing.assert_allclose(means[1:3], [0.25, 0.75], atol=0.015)


def test_bernoulli_of_another_probability() -> None:
    x = Tensor.zeros(COUNT)
    assert abs(x.bernoulli(0.3).mean().item() - 0.3) < 0.015
    assert x.bernoulli(Tensor([1.0])).mean().item() == 1
    assert x.bernoulli_(Tensor([0.5])).mean().item() == pytest.approx(0.5, abs=0.015)
    assert not np.array_equal(x.bernoulli(0.5).numpy(), x.bernoulli(0.5).numpy())


def test_no_probability_gives_nan() -> None:
    drawn = Tensor([-0.1, 1.1, math.nan, 1.0]).bernoulli().tolist()
    assert [math.isnan(x) for x in drawn] == [True, True, True, False]
    with pytest.raises(TypeError, match="bernoulli: a probability is a float, not int64"):
        Tensor([1]).bernoulli()


@pytest.mark.parametrize("dtype", ["float32", "float16", "float64"])
def test_multinomial_with_replacement(dtype: str) -> None:
    weights = np.array([[0, 1, 3, 0], [2, 0, 0, 2]])
    drawn = Tensor(weights, dtype=dtype).multinomial(COUNT, replacement=True)
    assert drawn.shape == (2, COUNT) and drawn.dtype.name == "int64"
    for row, weight in zip(drawn, weights, strict=True):
        found = shares(row, 4)
        assert (found[weight == 0] == 0).all()
        np.testing.assert_allclose(found, weight / weight.sum(), atol=0.015)


def test_multinomial_without_replacement() -> None:
    weights = np.tile(np.array([1.0, 0.0, 2.0, 5.0], np.float32), (COUNT, 1))
    drawn = Tensor(weights).multinomial(3).numpy()
    assert (np.sort(drawn, 1) == [0, 2, 3]).all()
    first = np.bincount(drawn[:, 0], minlength=4) / COUNT
    np.testing.assert_allclose(first, [1 / 8, 0, 2 / 8, 5 / 8], atol=0.015)
    second = drawn[drawn[:, 0] == 3, 1]
    np.testing.assert_allclose((second == 2).mean(), 2 / 3, atol=0.02)


@pytest.mark.parametrize(
    ("weights", "count", "replacement"),
    [
        ([1.0, -1.0], 1, True), ([1.0, math.nan], 1, False), ([math.inf, 1.0], 1, True),
        ([0.0, 0.0], 1, True), ([1.0, 0.0], 2, False),
    ],
)  # fmt: skip
def test_impossible_weights(weights: Any, count: int, replacement: bool) -> None:
    drawn = Tensor(weights).multinomial(count, replacement)
    with pytest.raises(IndexError):
        drawn.realize()


def test_impossible_counts() -> None:
    for x in (Tensor([1]), Tensor(1.0), Tensor.ones(1, 1, 1), Tensor.ones(2, 0)):
        with pytest.raises(ValueError, match="multinomial: takes float weights"):
            x.multinomial(1)
    with pytest.raises(ValueError, match="multinomial: cannot draw 3 of 2"):
        Tensor.ones(2).multinomial(3)
    with pytest.raises(ValueError, match="multinomial: cannot draw 0 of 2"):
        Tensor.ones(2).multinomial(0, replacement=True)


def test_recorded_draws_change() -> None:
    @jit
    def step(x: Tensor) -> tuple[Tensor, Tensor]:
        return x.bernoulli(), x.multinomial(64, replacement=True)

    x = Tensor(np.full(64, 0.5, np.float32))
    found = [[made.tolist() for made in step(x)] for _ in range(4)]
    assert all(a != b for a, b in zip(found[0], found[3], strict=True))
    Tensor.manual_seed(3)
    again = [made.tolist() for made in step(x)]
    Tensor.manual_seed(3)
    assert [made.tolist() for made in step(x)] == again
    assert vmap(lambda p: p.bernoulli(), randomness="different")(Tensor.ones(3, 2)).shape == (3, 2)


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_fillings(dtype: str) -> None:
    def drawn(name: str, *arguments: float) -> np.ndarray:
        x = Tensor.zeros(COUNT, dtype=dtype, requires_grad=False)
        assert getattr(x, name)(*arguments) is x and x.dtype.name == dtype
        return x.double().numpy()

    close = {"rtol": 0.03, "atol": 0.03}
    x = drawn("exponential_", 2.0)
    assert (x > 0).all()
    np.testing.assert_allclose([x.mean(), x.std()], [0.5, 0.5], **close)
    x = drawn("geometric_", 0.25)
    assert (x >= 1).all() and (x == np.floor(x)).all()
    np.testing.assert_allclose([(x == 1).mean(), x.mean()], [0.25, 4.0], **close)
    x = drawn("cauchy_", 1.0, 2.0)
    np.testing.assert_allclose(np.quantile(x, [0.25, 0.5, 0.75]), [-1, 1, 3], atol=0.12)
    x = drawn("log_normal_", 0.5, 0.25)
    np.testing.assert_allclose([np.log(x).mean(), np.log(x).std()], [0.5, 0.25], **close)


def test_fillings_never_reach_the_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    for share in (0.0, 1 - 2.0**-24):
        drawn = Tensor([share], requires_grad=False)
        monkeypatch.setattr(Tensor, "uniform", lambda *_, drawn=drawn, **__: drawn)
        x = Tensor([0.0], requires_grad=False)
        assert 0 < x.exponential_().item() < math.inf
        assert 1 <= x.geometric_(0.5).item() < math.inf
        assert math.isfinite(x.cauchy_().item())


def test_random_whole_numbers() -> None:
    x = Tensor(floats(COUNT))
    assert set(x.random_(3).tolist()) == {0, 1, 2}
    assert set(x.random_(-1, 2).tolist()) == {-1, 0, 1}
    for dtype, limit in [("float32", 2**24), ("bfloat16", 2**8), ("int8", 2**7), ("bool", 2)]:
        drawn = Tensor.zeros(COUNT, dtype=dtype, requires_grad=False).random_().double().numpy()
        assert (drawn >= 0).all() and 0.9 * limit < drawn.max() + 1 <= limit + 1
        np.testing.assert_allclose(drawn.mean(), (limit - 1) / 2, rtol=0.05)
    assert Tensor([0, 0]).random_().shape == (2,)


def test_impossible_fillings() -> None:
    x = Tensor.zeros(3)
    with pytest.raises(ValueError, match="exponential_: the rate is above 0"):
        x.exponential_(0)
    with pytest.raises(ValueError, match=r"geometric_: a probability is in \(0, 1\)"):
        x.geometric_(1)
    with pytest.raises(ValueError, match="randint: no integer"):
        x.random_(2, 2)
