"""One-line checks of an operation against PyTorch, on the device named by GRADLET_DEVICE."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from gradlet import Tensor

Function = Callable[..., Any]


def check(
    ours: Function,
    theirs: Function | None = None,
    *arrays: np.ndarray,
    atol: float = 1e-5,
    rtol: float = 1e-5,
    grad: bool = True,
    finite_difference: bool = True,
) -> None:
    """Compares value, dtype and gradient of one function in gradlet and in PyTorch.

    The gradient is also held against a finite difference, in float64 along a random direction,
    which finds mistakes that both might share.

    Args:
        ours: the function of gradlet tensors.
        theirs: the same of torch tensors; `ours` itself if None.
        arrays: the arguments; float arguments get gradients.
    """
    theirs = theirs or ours
    mine = [Tensor(a) for a in arrays]
    reference = [torch.from_numpy(a.copy()) for a in arrays]
    for tensor in reference:
        tensor.requires_grad_(grad and tensor.is_floating_point())
    got, expected = ours(*mine), theirs(*reference)
    assert_same(got, expected, atol, rtol)
    if not (grad and expected.requires_grad):
        return
    weight = np.random.default_rng(0).normal(size=got.shape).astype(got.dtype.numpy)
    got.backward(gradient=Tensor(weight))
    expected.backward(torch.from_numpy(weight))
    for tensor, known in zip(mine, reference, strict=True):
        if known.grad is not None:
            assert tensor.grad is not None, "PyTorch has a gradient here, gradlet has none"
            assert_same(tensor.grad, known.grad, 10 * atol, 10 * rtol)
    if finite_difference and all(np.isfinite(a).all() for a in arrays):
        check_direction(ours, list(arrays))


def assert_same(got: Tensor, expected: torch.Tensor, atol: float, rtol: float) -> None:
    """Shape, dtype and values agree."""
    assert got.shape == tuple(expected.shape)
    assert got.dtype.name == str(expected.dtype).removeprefix("torch.")
    values = expected.detach().numpy()
    np.testing.assert_allclose(got.numpy(), values, rtol=rtol, atol=atol, equal_nan=True)


def check_direction(function: Function, arrays: list[np.ndarray], step: float = 1e-6) -> None:
    """The gradient along a random direction against a central difference, in float64."""
    generator = np.random.default_rng(1)
    floats = [a.dtype.kind == "f" for a in arrays]
    base = [a.astype(np.float64) if f else a for a, f in zip(arrays, floats, strict=True)]
    direction = [generator.normal(size=a.shape) for a in base]

    def loss(amount: float) -> tuple[Tensor, list[Tensor]]:
        moved = [
            Tensor(a + amount * d if f else a)
            for a, d, f in zip(base, direction, floats, strict=True)
        ]
        result = function(*moved)
        weight = np.random.default_rng(2).normal(size=result.shape)
        return (result * Tensor(weight)).sum(), moved

    at, leaves = loss(0.0)
    at.backward()
    slope = sum(
        float((leaf.grad.numpy() * d).sum())
        for leaf, d in zip(leaves, direction, strict=True)
        if leaf.grad is not None
    )
    difference = (loss(step)[0].item() - loss(-step)[0].item()) / (2 * step)
    np.testing.assert_allclose(slope, difference, rtol=2e-4, atol=2e-5)


def floats(*shape: int, low: float = -3.0, high: float = 3.0, seed: int = 0) -> np.ndarray:
    """Random float32 of a shape."""
    generator = np.random.default_rng(seed)
    return generator.uniform(low, high, shape).astype(np.float32)


def integers(*shape: int, low: int = -9, high: int = 10, seed: int = 0) -> np.ndarray:
    """Random int64 of a shape."""
    return np.random.default_rng(seed).integers(low, high, shape)
