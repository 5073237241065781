"""Kernels that do whole rows give PyTorch's numbers, whatever the rows are like."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from gradlet import Tensor
from gradlet.lower import linear, linearize
from gradlet.lower.choose import lower
from gradlet.lower.decompose import decompose
from tests.graphs import TARGET, attend, plan
from tests.helpers import check, floats, integers

EXTENTS = [1, 2, 10, 67, 4096]


def rms(x: Any) -> Any:
    return x * ((x * x).mean(-1) + 1e-5).rsqrt().reshape(-1, 1)


ROWS: dict[str, tuple[Callable, Callable]] = {
    "softmax": (lambda x: x.softmax(-1), lambda x: x.softmax(-1)),
    "log_softmax": (lambda x: x.log_softmax(-1), lambda x: x.log_softmax(-1)),
    "logsumexp": (lambda x: x.logsumexp(-1), lambda x: x.logsumexp(-1)),
    "layernorm": (lambda x: x.layernorm(-1), lambda x: F.layer_norm(x, x.shape[-1:])),
    "rmsnorm": (rms, rms),
    "variance": (lambda x: x.var(-1, correction=0), lambda x: x.var(-1, correction=0)),
}


@pytest.mark.parametrize("extent", EXTENTS)
@pytest.mark.parametrize("name", ROWS)
def test_rows(name: str, extent: int) -> None:
    ours, theirs = ROWS[name]
    check(ours, theirs, floats(19, extent), atol=2e-5, finite_difference=False)


@pytest.mark.parametrize("classes", EXTENTS)
def test_cross_entropy(classes: int) -> None:
    labels = integers(40, low=0, high=classes)
    labels[3] = -100
    ours = lambda x, y: x.cross_entropy(y)  # noqa: E731
    check(ours, F.cross_entropy, floats(40, classes), labels, finite_difference=False)


@pytest.mark.parametrize("shape", [(0, 5), (3, 0), (0, 0), (2, 0, 5)])
def test_no_rows_and_empty_rows(shape: tuple[int, ...]) -> None:
    x = np.zeros(shape, np.float32)
    check(lambda x: x.softmax(0), None, x, finite_difference=False)
    if shape[-1]:
        check(lambda x: x.log_softmax(-1), None, x, finite_difference=False)


def test_more_rows_than_one_tile_and_a_rest() -> None:
    check(lambda x: x.softmax(-1), None, floats(1003, 3), finite_difference=False)
    check(lambda x: x.softmax(-1), None, floats(7, 11, 13, 5), finite_difference=False)


@pytest.mark.parametrize("odd", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("extent", [3, 40, 1200])
def test_rows_with_odd_values_are_as_in_pytorch_and_others_unharmed(
    odd: float, extent: int
) -> None:
    x = floats(20, extent)
    x[3, 1] = odd
    x[4, :] = odd
    x[19, extent - 1] = odd
    for name in ("softmax", "log_softmax", "layernorm"):
        ours, theirs = ROWS[name]
        got, expected = ours(Tensor(x)).numpy(), theirs(torch.from_numpy(x)).numpy()
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5, err_msg=name)


SHAPES = [
    (1, 1, 16, 16, 2), (2, 3, 40, 40, 4), (2, 8, 130, 130, 8), (1, 2, 67, 131, 5),
    (4, 4, 1, 64, 8), (3, 5, 64, 17, 3), (16, 1, 7, 150, 4),
]  # fmt: skip


def theirs(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    return F.scaled_dot_product_attention(q, k, v)


def pulled(attention: Callable) -> Callable:
    """Attention after which every gradient waits for all of its result."""

    def whole(*qkv: Any) -> Any:
        result = attention(*qkv)
        return result * result.sum()

    return whole


@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_attention(shape: tuple[int, int, int, int, int], waits: bool) -> None:
    batch, heads, queries, keys, depth = shape
    arrays = [
        floats(batch, heads, extent, depth, low=-1, high=1, seed=seed)
        for seed, extent in enumerate((queries, keys, keys))
    ]
    ours, reference = (pulled(attend), pulled(theirs)) if waits else (attend, theirs)
    check(ours, reference, *arrays, atol=2e-4, rtol=2e-4, finite_difference=False)


@pytest.mark.parametrize("length", [40, 130])
def test_causal_attention(length: int) -> None:
    mask = np.tril(np.ones((length, length), bool))

    def ours(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        scores = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5
        return Tensor(mask).where(scores, -np.inf).softmax(-1) @ v

    def reference(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)

    arrays = [floats(2, 4, length, 8, low=-1, high=1, seed=seed) for seed in range(3)]
    check(ours, reference, *arrays, atol=2e-5, finite_difference=False)


@pytest.mark.parametrize("waits", [False, True])
def test_attention_with_a_mask_and_dropout(waits: bool) -> None:
    """Both passes draw the same numbers, which the oracle draws too."""
    mask = floats(2, 4, 256, 256, seed=4)

    def run(device: str) -> list[np.ndarray]:
        Tensor.manual_seed(3)
        q, k, v = (
            Tensor(floats(2, 4, 256, 32, low=-1, high=1, seed=seed), device=device)
            for seed in range(3)
        )
        scores = q @ k.transpose(-2, -1) + Tensor(mask, device=device)
        with Tensor.train():
            result = scores.softmax(-1).dropout(0.25) @ v
        (result * (result.sum() if waits else 1.0)).sum().backward()
        assert q.grad is not None and k.grad is not None and v.grad is not None
        return [x.numpy() for x in (result, q.grad, k.grad, v.grad)]

    for got, expected in zip(run("cpu"), run("numpy"), strict=True):
        largest = float(np.abs(expected).max())
        np.testing.assert_allclose(got, expected, rtol=0, atol=2e-6 * largest)


def test_a_fully_masked_row_is_nan_as_in_pytorch() -> None:
    mask = np.ones((2, 4, 32, 32), bool)
    mask[:, :, 5] = False
    q, k, v = (floats(2, 4, 32, 4, seed=seed) for seed in range(3))
    scores = Tensor(q) @ Tensor(k).transpose(-2, -1)
    got = (Tensor(mask).where(scores, -np.inf).softmax(-1) @ Tensor(v)).numpy()
    assert np.isnan(got[:, :, 5]).all() and not np.isnan(np.delete(got, 5, 2)).any()


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_floats(dtype: type) -> None:
    x = floats(30, 50).astype(dtype)
    tolerance = 2e-3 if dtype is np.float16 else 1e-12
    check(lambda x: x.softmax(-1), None, x, atol=tolerance, rtol=tolerance, finite_difference=False)


def test_large_results_are_written_past_the_caches(monkeypatch: pytest.MonkeyPatch) -> None:
    """As results of many megabytes are, which are too large for a test."""
    monkeypatch.setattr(linearize, "_STREAMED", 1 << 10)
    data = np.random.default_rng(0).standard_normal((613, 256)).astype(np.float32)
    x = Tensor(data, requires_grad=False)
    doubled, shares, sums = x * 2, x.softmax(-1), x.cumsum(-1)
    made = plan(doubled, shares, sums)
    streamed = 0
    for step in made.steps:
        program = linearize.linearize(decompose(lower(step.kernel, TARGET)), step.kernel.params)
        written = [i for phase in program.phases for i in phase.instructions]
        streamed += len({i.arg for i in written if i.op is linear.STREAM})
    assert streamed == 3
    total = (doubled + 1).sum(0)  # reads what other threads have just written
    doubled.realize(shares, sums, total)
    powers = np.exp(data - data.max(1, keepdims=True))
    np.testing.assert_array_equal(doubled.numpy(), data * 2)
    np.testing.assert_allclose(shares.numpy(), powers / powers.sum(1, keepdims=True), rtol=1e-5)
    np.testing.assert_allclose(sums.numpy(), data.cumsum(1), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(total.numpy(), (data * 2 + 1).sum(0), rtol=1e-3, atol=1e-2)
