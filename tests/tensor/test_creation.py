"""What tensors can be made of, and how they turn back into numbers."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from gradlet import Tensor, dtypes


@pytest.mark.parametrize(
    ("data", "dtype", "shape"),
    [
        (1, "int64", ()),
        (1.0, "float32", ()),
        (True, "bool", ()),
        ([1, 2.5], "float32", (2,)),
        ([[1], [2]], "int64", (2, 1)),
        ([], "float32", (0,)),
        ([[], []], "float32", (2, 0)),
        ([True, 2], "int64", (2,)),
        (range(3), "int64", (3,)),
        (np.float64(1), "float64", ()),
        (np.ones(2), "float64", (2,)),
        ([np.ones(2), np.ones(2)], "float64", (2, 2)),
        (np.zeros((2, 0), np.int8), "int8", (2, 0)),
        (np.ones(2, ml_dtypes.bfloat16), "bfloat16", (2,)),
        (np.ones(2, ">f4"), "float32", (2,)),
        (np.arange(6).reshape(2, 3).T[::-1], "int64", (3, 2)),
    ],
)
def test_data(data: Any, dtype: str, shape: tuple[int, ...]) -> None:
    made = Tensor(data)
    assert (made.dtype.name, made.shape) == (dtype, shape)
    np.testing.assert_array_equal(made.numpy(), np.array(data))


def test_tensors_as_data() -> None:
    x = Tensor([1.0, 2.0])
    copied = Tensor(x)
    x.assign(x + 1)
    assert copied.tolist() == [1, 2]
    assert Tensor([x, x]).shape == (2, 2)
    assert Tensor([x.sum(), 1]).tolist() == [5, 1]


def test_data_is_copied() -> None:
    array = np.ones(3, np.float32)
    x = Tensor(array)
    array[0] = 5
    assert x.tolist() == [1, 1, 1]
    x.numpy()[0] = 7
    assert x.tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("data", "dtype", "error", "words"),
    [
        ([[1], [2, 3]], None, ValueError, "rectangular"),
        ("text", None, TypeError, "str"),
        ([None], None, TypeError, "NoneType"),
        ([1j], None, TypeError, "complex"),
        ([300], "uint8", OverflowError, "300"),
        ([2**70], None, TypeError, "int"),
        (2**70, None, OverflowError, "64 bits"),
        ([1], "int7", TypeError, "int7"),
    ],
)
def test_bad_data(data: Any, dtype: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        Tensor(data, dtype=dtype)


def test_by_shape() -> None:
    assert Tensor.zeros(2, 3).tolist() == [[0] * 3] * 2
    assert Tensor.ones((2,), dtype="int8").dtype is dtypes.int8
    assert Tensor.arange(1, end=5, step=2).tolist() == [1, 3]
    assert Tensor([1.5]).to(Tensor([1], device="numpy")).device == "numpy"
    assert Tensor([1.5]).to(Tensor([1])).dtype is dtypes.int64
    assert Tensor.empty(2, 0, dtype="int8").dtype is dtypes.int8
    assert Tensor.empty(2, 3).shape == Tensor.empty((2, 3)).shape == (2, 3)
    assert Tensor.full(3, 2.5).tolist() == [2.5] * 3
    assert Tensor.full((), True).item() is True
    assert Tensor.eye(2, 3).tolist() == [[1, 0, 0], [0, 1, 0]]
    assert Tensor.eye(2).dtype is dtypes.float32
    assert Tensor.zeros_like(Tensor([1])).dtype is dtypes.int64
    half = Tensor([[1.5, 2.5]], dtype="float16")
    for made, value in ((half.ones_like(), 1), (half.full_like(3), 3)):
        assert made.dtype is half.dtype and made.tolist() == [[value, value]]
    np.testing.assert_allclose(Tensor.linspace(0, 1, 5).numpy(), np.linspace(0, 1, 5))
    with pytest.raises(ValueError, match="negative"):
        Tensor.zeros(-1)
    with pytest.raises(TypeError, match="ints"):
        Tensor.zeros(1.5)


@pytest.mark.parametrize("bounds", [(5,), (2, 9), (2, 9, 3), (9, 2, -2), (0, 1, 0.3), (3, 3)])
def test_arange(bounds: Any) -> None:
    got = Tensor.arange(*bounds)
    expected = np.arange(*bounds)
    assert got.dtype.name == ("int64" if expected.dtype.kind == "i" else "float32")
    np.testing.assert_allclose(got.numpy(), expected, rtol=1e-6)


def test_reading() -> None:
    x = Tensor([[1.5, 2.0]])
    assert repr(x).startswith("Tensor([[1.5, 2. ]], shape=(1, 2), dtype=float32, device=")
    assert np.asarray(x, dtype=np.float64).dtype == np.float64
    assert (len(x), [row.tolist() for row in x]) == (1, [[1.5, 2.0]])
    assert (float(Tensor(2.5)), int(Tensor(2)), [0, 1, 2][Tensor(1)]) == (2.5, 2, 1)
    assert f"{Tensor(2.5):.2f}" == "2.50"
    assert bool(Tensor([True])) and not Tensor(0.0)
    assert 2.0 in x and 3.0 not in x
    assert (x.numel(), x.nbytes(), x.size(1)) == (2, 8, 2)
    with pytest.raises(ValueError, match="item: a tensor of shape"):
        x.item()
    with pytest.raises(ValueError, match="ambiguous"):
        bool(x)
    with pytest.raises(TypeError, match="index"):
        [0][Tensor(0.0)]
    with pytest.raises(TypeError, match="no axes"):
        len(Tensor(1))


def test_copies() -> None:
    x = Tensor([1.0, 2.0], requires_grad=True)
    for twin in (copy.deepcopy(x), pickle.loads(pickle.dumps(x))):
        assert twin is not x and twin.requires_grad
        assert twin.tolist() == [1, 2] and twin.dtype is x.dtype


def test_unknown_device() -> None:
    with pytest.raises(ValueError, match=r"unknown device 'warp'.*numpy"):
        Tensor([1.0], device="warp")
    with pytest.raises(TypeError, match=r"names a device, and 3 does not.*Tensor.zeros"):
        Tensor(2, 3)  # type: ignore[arg-type]
    for other in ("float32", np.float32):
        with pytest.raises(TypeError, match="write dtype="):
            Tensor([1.0], other)  # type: ignore[arg-type]


def test_other_names_of_dtypes() -> None:
    names = {"bool": "bool", "half": "float16", "float": "float32", "int": "int32"}
    for name, meaning in names.items():
        assert getattr(dtypes, name).name == meaning
        assert Tensor([1], dtype=name).dtype.name == meaning
    with pytest.raises(AttributeError, match="no dtype 'quad'"):
        _ = dtypes.quad


def test_moving() -> None:
    x = Tensor([1.5], device="numpy")
    assert x.to("numpy") is x
    assert x.to(dtypes.float64).dtype is dtypes.float64
    assert x.to("float16").dtype is dtypes.float16
    assert x.to(device="numpy", dtype="int32").tolist() == [1]
