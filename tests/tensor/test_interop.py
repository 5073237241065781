"""What passes between devices, to other libraries and into copies keeps its values.

It is shared if that is asked for.
"""

from __future__ import annotations

import copy
import itertools
import math
import operator
import pickle
from typing import Any

import matplotlib.figure
import ml_dtypes
import numpy as np
import pandas as pd
import PIL.Image
import pytest
import sklearn.linear_model
import torch

from gradlet import GradientError, Tensor, jit, nn
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


@pytest.mark.parametrize("device", DEVICES)
def test_dlpack_brings_and_takes_without_a_copy(device: str) -> None:
    array = aligned(20)
    made = Tensor.from_dlpack(torch.from_numpy(array), device=device, copy=False)
    out = torch.from_dlpack(made)
    array[3] = 7.0
    assert made[3].item() == out[3].item() == 7.0
    apart = Tensor.from_dlpack(array, device=device)
    array[3] = 8.0
    assert apart[3].item() == 7.0


def test_dlpack_of_dtypes_that_numpy_lacks() -> None:
    out = torch.from_dlpack(Tensor([1.5, -2.0]).bfloat16())
    assert out.dtype is torch.bfloat16 and out.tolist() == [1.5, -2.0]
    with pytest.raises(ValueError, match="give a bfloat16 tensor of PyTorch to from_torch"):
        Tensor.from_dlpack(out, device="cpu")
    assert Tensor.from_dlpack(out, device="torch:cpu").dtype is dtypes.bfloat16
    fixed = aligned(20)
    fixed.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        Tensor.from_dlpack(fixed, device="cpu", copy=False)


WRITES = {
    "operator": lambda x: x.__iadd__(1),
    "method": lambda x: x.mul_(3.0),
    "index": lambda x: x.__setitem__(slice(2, 5), 9.0),
    "view": lambda x: x.reshape(4, 5)[1].fill_(9.0),
    "assign": lambda x: x.assign(x * 0),
    "jit": jit(lambda x: x.assign(x * 0)),
    "optimiser": lambda x: train(x),
}


def train(x: Tensor) -> None:
    optimiser = nn.optim.SGD([x], lr=0.1)
    (x * x).sum().backward()
    optimiser.step()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("write", WRITES)
def test_what_was_given_away_does_not_see_later_writes(device: str, write: str) -> None:
    x = (Tensor.ones(20, device=device) * 2).realize()
    given = [x.to_torch(copy=False), np.from_dlpack(x), torch.from_dlpack(x), np.asarray(x)]
    pickled, copied = pickle.dumps(x), copy.deepcopy(x)
    for _ in range(3):
        WRITES[write](x)
        x.realize()
    del x
    others = [(Tensor.ones(20, device=device) * 5).realize() for _ in range(8)]
    assert len(others) == 8
    for kept in (*given, pickle.loads(pickled), copied):
        assert kept.tolist() == [2.0] * 20


# Arrays


@pytest.mark.parametrize("device", ["cpu", "numpy"])
@pytest.mark.parametrize("dtype", [*dtypes.ALL, *dtypes.STORAGE])
def test_a_tensor_is_an_array(device: str, dtype: DType) -> None:
    x = Tensor(values(dtype), device=device)
    for array in (np.asarray(x), np.asarray(x.reshape(-1, 1))[:, 0], x.__array__()):
        assert array.dtype == dtype.numpy and array.tobytes() == values(dtype).tobytes()
    assert np.array(x).flags.writeable and not np.asarray(x).flags.writeable
    assert np.shares_memory(np.asarray(x), x.__array__(copy=False))
    assert not np.shares_memory(np.asarray(x), x.__array__(copy=True))
    assert x.tobytes() == values(dtype).tobytes()


def test_arrays_of_other_dtypes_are_copies() -> None:
    x = Tensor([1.0, 2.0], device="cpu")
    assert np.asarray(x, np.float64).dtype == np.float64
    with pytest.raises(ValueError, match="float32 does not become float64"):
        x.__array__(np.float64, copy=False)
    assert np.asarray(x.to("torch:cpu").expand(3, 2)).tolist() == [[1.0, 2.0]] * 3
    for shape in ((), (0, 3), (1, 1)):
        assert np.asarray(Tensor.zeros(*shape)).shape == shape
    assert np.asarray(Tensor([[1, 2], [3, 4]]).T[::-1]).tolist() == [[2, 4], [1, 3]]


@pytest.mark.parametrize(
    "operation",
    [operator.add, operator.sub, operator.mul, operator.truediv, operator.pow, operator.floordiv]
    + [operator.mod, operator.matmul, operator.lt, operator.eq],
)
def test_an_operator_with_an_array_gives_a_tensor(operation: Any) -> None:
    a, b = np.array([1.5, 2.0, 5.0], np.float32), np.array([2.0, 2.0, -3.0], np.float32)
    with np.errstate(all="ignore"):
        expected = operation(a, b)
    for got in (operation(a, Tensor(b)), operation(Tensor(a), b)):
        assert isinstance(got, Tensor)
        np.testing.assert_allclose(got.numpy(), expected, rtol=1e-6)


def test_numpy_functions_take_tensors_and_give_arrays() -> None:
    a = np.array([[1.0, 2.0], [3.0, 4.0]], np.float32)
    x = Tensor(a)
    functions: list[Any] = [
        np.sin, np.sum, np.mean, np.max, np.size, np.transpose, np.cumsum, np.zeros_like,
        np.linalg.inv, lambda x: np.stack([x, x]), lambda x: np.concatenate((x, x), axis=1),
        lambda x: np.where(x > 2, x, 0), lambda x: np.add(x, a), lambda x: np.add(a, x),
        lambda x: np.mean(a=x, axis=0), lambda x: np.einsum("ij,jk", x, x), np.array, np.asarray,
    ]  # fmt: skip
    for function in functions:
        got, expected = function(x), function(a)
        assert not isinstance(got, Tensor)
        np.testing.assert_array_equal(got, expected)
        assert np.asarray(got).dtype == np.asarray(expected).dtype
    np.testing.assert_array_equal(np.array([x, x]), np.array([a, a]))
    with pytest.raises(TypeError, match="ArrayType"):
        np.add(a, a, out=x)
    with pytest.raises(JitError, match="a value is needed"):
        jit(lambda x: np.sum(x * 2))(x)
    facts = jit(lambda x: x * np.shape(x)[0] + np.ndim(x) + np.size(x, 1))
    assert facts(x).tolist() == (a * 2 + 4).tolist()


def test_pandas() -> None:
    x = Tensor([[1.0, 2.0], [3.0, 4.0]])
    frame = pd.DataFrame(x, columns=["a", "b"])
    assert frame["b"].tolist() == [2.0, 4.0] and frame["a"].dtype == np.float32
    assert pd.DataFrame({"n": Tensor([1, 2])})["n"].dtype == np.int64
    fixed, series = pd.Series(x[0]), pd.Series(x[0], copy=True)
    with pytest.raises(ValueError, match="read-only"):
        fixed[0] = 9.0
    series[0] = 9.0
    frame.loc[0, "a"] = 9.0
    assert x.tolist() == [[1.0, 2.0], [3.0, 4.0]]
    assert Tensor(series.to_numpy()).tolist() == [9.0, 2.0]


def test_pillow() -> None:
    pixels = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
    for shown in (pixels, pixels[:, :, 0], pixels[:, ::-1]):
        image = PIL.Image.fromarray(Tensor(shown))
        np.testing.assert_array_equal(np.asarray(image), shown)
        assert Tensor(image).tolist() == shown.tolist()


def test_matplotlib() -> None:
    axes = matplotlib.figure.Figure().subplots(1, 2)
    x = Tensor([1.0, 2.0, 4.0])
    (line,) = axes[0].plot(x, x * x)
    assert line.get_xydata().tolist() == [[1.0, 1.0], [2.0, 4.0], [4.0, 16.0]]
    shown = axes[1].imshow(Tensor([[1.0, 2.0], [3.0, 4.0]]))
    assert shown.get_array().tolist() == [[1.0, 2.0], [3.0, 4.0]]


def test_scikit_learn() -> None:
    x = Tensor([[0.0], [1.0], [2.0]])
    fitted = sklearn.linear_model.LinearRegression().fit(x, x[:, 0] * 2 + 1)
    np.testing.assert_allclose(fitted.predict(Tensor([[3.0]])), [7.0], rtol=1e-5)


# Numbers and sequences


def test_a_scalar_is_a_number() -> None:
    x, known = Tensor(2.5), torch.tensor(2.5)
    shown: Any = "{:.3f} {}".format
    assert shown(x, x) == shown(known, known) == "2.500 2.5"
    for function in (int, float, complex, bool, math.sqrt, math.floor, math.ceil):
        assert function(x) == function(known)
    assert f"{Tensor(3):03d}" == "003" and f"{Tensor([1])}".startswith("Tensor(")
    assert round(x).item() == 2.0 and round(Tensor([1.26]), 1).tolist() == [np.float32(1.3)]
    with pytest.raises(ValueError, match="3 elements"):
        f"{Tensor([1.0, 2.0, 3.0]):.3f}"


def test_a_tensor_is_a_sequence() -> None:
    x = Tensor([1.0, 2.0, 3.0])
    assert len(x) == 3 and [v.item() for v in x] == [1.0, 2.0, 3.0]
    assert [v.item() for v in reversed(x)] == [3.0, 2.0, 1.0]
    assert 2.0 in x and 9.0 not in x and Tensor(3.0) in x
    assert max(x).item() == 3.0 and sum(x).item() == 6.0 and "abc"[Tensor(1)] == "b"
    for other in ("a", None):
        with pytest.raises(TypeError, match="in: a tensor holds numbers"):
            _ = other in x


def test_tensors_are_keys_by_identity() -> None:
    x, twin = Tensor([1.0, 2.0]), Tensor([1.0, 2.0])
    assert {x: 1, twin: 2}[x] == 1 and hash(x) != hash(twin)
    assert (x == twin).tolist() == [True, True]
    assert (x == None) is False and (x != "a") is True  # noqa: E711


# Copies


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("make", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_copies_are_alike_and_apart(device: str, make: Any) -> None:
    for dtype in (*dtypes.ALL, *(dtypes.STORAGE if device != "torch:cpu" else ())):
        x = Tensor(values(dtype), device=device, requires_grad=False)
        made = make(x)
        assert made.dtype is dtype and made.device == device and made.requires_grad is False
        assert made.is_leaf and made.tobytes() == x.tobytes()
        made.zero_()
        assert x.tobytes() == values(dtype).tobytes()
    trained = Tensor([1.0], requires_grad=True)
    pair = make({"a": trained, "b": trained, "c": (trained * 2).detach()})
    assert pair["a"] is pair["b"] and pair["a"].requires_grad and pair["c"].tolist() == [2.0]


def test_a_copied_model_trains_apart() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm(3), nn.Linear(3, 1))
    optimiser = nn.optim.Adam([model], lr=0.1)
    before = [p.tolist() for p in nn.state.get_parameters(model)]
    twin, twins = copy.deepcopy((model, optimiser))
    x = Tensor([[1.0, 2.0], [3.0, -4.0]], requires_grad=False)
    with Tensor.train():
        (twin(x) ** 2).sum().backward()
        twins.step()
    assert [p.tolist() for p in nn.state.get_parameters(model)] == before
    assert all(p.grad is None for p in optimiser.params)
    with Tensor.train():
        (model(x) ** 2).sum().backward()
        optimiser.step()
    for p, q in zip(nn.state.get_parameters(model), nn.state.get_parameters(twin), strict=True):
        assert p.tolist() == q.tolist() != []


def test_a_deep_copy_keeps_gradients_and_views() -> None:
    x = Tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    (x * x).sum().backward()
    row = x.detach()[1]
    copied = copy.deepcopy([row, x, x.detach()])
    assert copied[1].grad.tolist() == [[2.0, 4.0], [6.0, 8.0]] and copied[1].grad is not x.grad
    copied[0].zero_()
    assert copied[1].tolist() == copied[2].tolist() == [[1.0, 2.0], [0.0, 0.0]]
    assert x.tolist() == [[1.0, 2.0], [3.0, 4.0]]
    whole = copy.deepcopy(row)
    row.fill_(5.0)
    assert whole.tolist() == [3.0, 4.0]


def test_a_deep_copy_that_would_lose_a_gradient_is_refused() -> None:
    x = Tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises(GradientError, match=r"copy its \.detach"):
        copy.deepcopy(x * 2)
    assert copy.deepcopy((x * 2).detach()).tolist() == [2.0, 4.0]
    assert copy.deepcopy(Tensor([1.0]) * 2).tolist() == [2.0]


def test_a_shallow_copy_shares_elements() -> None:
    x = Tensor([1.0, 2.0, 3.0])
    same, view = copy.copy(x), x[1:]
    known = torch.tensor([1.0, 2.0, 3.0])
    twin = copy.copy(known)
    for a, b in ((x, same), (known, twin)):
        a[0] = 5.0
        b[1] = 6.0
        assert a.tolist() == b.tolist() == [5.0, 6.0, 3.0]
    view.zero_()
    assert x.tolist() == same.tolist() == [5.0, 0.0, 0.0]
