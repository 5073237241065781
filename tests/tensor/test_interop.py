"""What passes between devices and to other libraries keeps its values, and is shared if asked."""

from __future__ import annotations

import itertools
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch

from gradlet import Tensor, jit
from gradlet.base import dtypes
from gradlet.base.dtypes import DType
from gradlet.engine.trace import JitError

DEVICES = ["cpu", "numpy", "torch:cpu"]
VALUES = {"bool": [True, False], "uint": [0, 3, 200], "int": [-3, 0, 100], "float": [-0.5, 0, 3]}


def values(dtype: DType) -> np.ndarray:
    extremes = [] if dtype.kind == "bool" else [dtype.min, dtype.max]
    return np.array([*VALUES[dtype.kind], *extremes], dtype.numpy)


def aligned(count: int) -> np.ndarray:
    """Zeros whose memory begins where that of kernels must."""
    raw = np.zeros(4 * count + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + 4 * count].view(np.float32)


# Transfers


@pytest.mark.parametrize(("source", "target"), list(itertools.product(DEVICES, DEVICES)))
def test_every_dtype_moves_between_any_two_devices(source: str, target: str) -> None:
    for dtype in dtypes.ALL:
        array = values(dtype)
        moved = Tensor(array, device=source).to(target)
        assert moved.device == target and moved.dtype is dtype
        np.testing.assert_array_equal(moved.numpy(), array)
        sign = np.signbit if dtype.is_float else np.asarray
        np.testing.assert_array_equal(sign(moved.numpy()), sign(array))


@pytest.mark.parametrize("target", DEVICES)
def test_what_moves_is_a_leaf_of_its_own(target: str) -> None:
    x = Tensor([1.0, 2.0], device="torch:cpu")
    moved = (x * 2).to(target)
    if target != "torch:cpu":
        assert moved.is_leaf
    moved += 1
    assert moved.tolist() == [3.0, 5.0]
    assert x.tolist() == [1.0, 2.0]


def test_views_move_too() -> None:
    x = Tensor([[1, 2, 3], [4, 5, 6]], device="torch:cpu").T[::2]
    assert x.to("cpu").tolist() == [[1, 4], [3, 6]]
    assert Tensor.zeros(0, 3, device="cpu").to("torch:cpu").shape == (0, 3)
    assert Tensor(5, device="cpu").to("torch:cpu").item() == 5


# PyTorch


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", dtypes.ALL)
def test_tensors_of_every_dtype_come_and_go(device: str, dtype: DType) -> None:
    given = torch.tensor(VALUES[dtype.kind]).to(getattr(torch, dtype.name))
    made = Tensor.from_torch(given, device=device)
    assert made.dtype is dtype and made.device == device
    back = made.to_torch()
    assert back.dtype is given.dtype
    assert torch.equal(back, given)
    if dtype.kind in ("int", "float"):  # PyTorch adds no unsigned ones
        assert torch.equal((made + made).to_torch(), given + given)


@pytest.mark.parametrize("device", DEVICES)
def test_copies_are_apart(device: str) -> None:
    given = torch.zeros(20)
    made = Tensor.from_torch(given, device=device)
    given += 1
    back = made.to_torch()
    back += 1
    assert made.tolist() == [0.0] * 20


@pytest.mark.parametrize("device", DEVICES)
def test_memory_is_shared_if_asked(device: str) -> None:
    array = aligned(20)
    given = torch.from_numpy(array)
    tensors = [
        Tensor.from_torch(given, device=device, copy=False),
        Tensor.from_numpy(array, device=device, copy=False),
    ]
    back = [t.to_torch(copy=False) for t in tensors]
    seen = [np.from_dlpack(t) for t in tensors]
    array[3] = 7.0
    for t in (*tensors, *back, *seen):
        assert t[3].item() == 7.0
    assert (tensors[0] * 2).sum().item() == 14.0


@pytest.mark.parametrize("device", DEVICES)
def test_shared_memory_outlives_its_first_owner(device: str) -> None:
    made = Tensor.from_numpy(aligned(1000) + 0, device="torch:cpu", copy=False)
    kept = (Tensor.ones(1000, device=device) * 3).to_torch(copy=False)
    others = [Tensor.zeros(1000, device=device).realize() for _ in range(20)]
    assert made.sum().item() == 0 and kept.sum().item() == 3000 and len(others) == 20


def test_what_cannot_be_shared_says_why() -> None:
    grid = torch.zeros(8, 8)
    with pytest.raises(ValueError, match="not contiguous; use copy=True"):
        Tensor.from_torch(grid.T, device="cpu", copy=False)
    with pytest.raises(ValueError, match="multiple of 64 bytes"):
        Tensor.from_numpy(aligned(20)[1:], device="cpu", copy=False)
    fixed = aligned(20)
    fixed.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        Tensor.from_numpy(fixed, device="numpy", copy=False)
    with pytest.raises(ValueError, match="native dtype"):
        Tensor.from_numpy(aligned(20).astype(">f4"), copy=False)
    with pytest.raises(TypeError, match="complex64"):
        Tensor.from_torch(torch.zeros(2, dtype=torch.complex64))
    with pytest.raises(TypeError, match="only floats have gradients"):
        Tensor.from_torch(torch.zeros(2, dtype=torch.int64), requires_grad=True)


def test_views_of_pytorch_are_taken_as_they_are() -> None:
    grid = torch.arange(6.0).reshape(2, 3)
    made = Tensor.from_torch(grid.T, device="torch:cpu", copy=False)
    assert made.tolist() == [[0.0, 3.0], [1.0, 4.0], [2.0, 5.0]]
    assert (made @ made.T).tolist() == (grid.T @ grid).tolist()
    leaf = torch.ones(3, requires_grad=True)
    made = Tensor.from_torch(leaf, device="torch:cpu", copy=False)
    assert not (made * 2).to_torch().requires_grad


def test_leaves_get_gradients() -> None:
    x = Tensor.from_torch(torch.tensor([1.0, 2.0]), requires_grad=True)
    (x * x).sum().backward()
    assert x.grad is not None and x.grad.to_torch().tolist() == [2.0, 4.0]


@pytest.mark.parametrize("ask", [Tensor.to_torch, np.from_dlpack])
def test_a_recorded_step_has_no_values(ask: Any) -> None:
    with pytest.raises(JitError, match="a value is needed"):
        jit(lambda x: ask(x * 2))(Tensor([1.0]))


def test_half_floats_of_numpy() -> None:
    array = np.array([1.5, 2.5], ml_dtypes.bfloat16)
    assert Tensor.from_numpy(array).to_torch().dtype is torch.bfloat16
