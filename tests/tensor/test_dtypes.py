"""Element types: 8-bit floats, the default type, casts between all, and sums of half floats."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from gradlet import Tensor, dtypes, jit, nn
from gradlet.base.dtypes import DType
from gradlet.nn.state import safe_load, safe_save

F8 = pytest.mark.parametrize("dtype", dtypes.STORAGE, ids=lambda d: d.name)
HALF = pytest.mark.parametrize("dtype", [dtypes.float16, dtypes.bfloat16], ids=lambda d: d.name)


def codes(dtype: DType) -> np.ndarray:
    """All 256 values."""
    return np.arange(256, dtype=np.uint8).view(dtype.numpy)


def rounded(x: np.ndarray, dtype: DType) -> np.ndarray:
    """NumPy's cast, or that of ml_dtypes."""
    with np.errstate(all="ignore"):
        return x.astype(dtype.numpy)


@np.errstate(all="ignore")
def sweep(dtype: DType) -> np.ndarray:
    """float32: random bits, all sizes, ties between 8-bit floats and their neighbours."""
    generator = np.random.default_rng(0)
    bits = generator.integers(0, 2**32, 1 << 18, dtype=np.uint32).view(np.float32)
    sizes = generator.normal(size=1 << 16) * 10.0 ** generator.uniform(-8, 6, 1 << 16)
    values = codes(dtype).astype(np.float32)
    values = np.sort(values[np.isfinite(values)])
    ties = (values[1:] + values[:-1]) / 2
    ends = np.array([math.nan, -math.nan, math.inf, 464, 480, 61440, 65536, 1e-45, -0.0])
    near = [np.nextafter(x, np.float32(to)) for x in (ties, ends) for to in (-1e9, 1e9)]
    parts = [bits, sizes, values, ties, ends, *near]
    return np.concatenate([part.astype(np.float32) for part in parts])


# 8-bit floats


@F8
def test_a_sweep_of_float32_to_8_bits(dtype: DType) -> None:
    x = sweep(dtype)
    got = Tensor(x).cast(dtype).numpy()
    np.testing.assert_array_equal(got.view(np.uint8), rounded(x, dtype).view(np.uint8))
    with np.errstate(invalid="ignore"):
        doubles = np.concatenate([x.astype(np.float64) * (1 + 1e-12), [1e300, -1e-300]])
    got = Tensor(doubles).cast(dtype).numpy()
    np.testing.assert_array_equal(got.view(np.uint8), rounded(doubles, dtype).view(np.uint8))


@F8
def test_what_is_too_large(dtype: DType) -> None:
    largest = Tensor([464.0, 465.0, -1e9, math.inf]).cast(dtypes.float8_e4m3fn).tolist()
    np.testing.assert_array_equal(largest, [448, math.nan, math.nan, math.nan])
    largest = Tensor([61439.0, 61440.0, -1e9, math.inf]).cast(dtypes.float8_e5m2).tolist()
    assert largest == [57344, math.inf, -math.inf, math.inf]


@F8
def test_all_values_to_every_type_and_back(dtype: DType) -> None:
    x = codes(dtype)
    wide = x.astype(np.float32)
    reference = torch.arange(256, dtype=torch.uint8).view(getattr(torch, dtype.name))
    np.testing.assert_array_equal(Tensor(x).float().numpy(), reference.float().numpy())
    targets = (*dtypes.ALL, *dtypes.STORAGE)
    for target, got in zip(targets, [Tensor(x).cast(t) for t in targets], strict=True):
        if target.is_float:
            expected = rounded(x, target)
            number = wide == wide
            np.testing.assert_array_equal(np.signbit(got.numpy())[number], np.signbit(wide)[number])
        elif target.is_int:
            kept = [
                0 if v != v else int(min(max(v, target.min), target.max)) for v in wide.tolist()
            ]
            expected = np.array(kept, target.numpy)
        else:
            expected = wide.astype(bool)
        np.testing.assert_array_equal(got.numpy().astype(np.float64), expected.astype(np.float64))
        if target.is_float:
            again = Tensor(expected).cast(dtype).numpy()
            np.testing.assert_array_equal(again.view(np.uint8), rounded(expected, dtype).view("u1"))


@F8
@pytest.mark.parametrize("source", dtypes.ALL, ids=lambda d: d.name)
def test_every_type_to_8_bits(dtype: DType, source: DType) -> None:
    if source.itemsize <= 2:
        every = np.arange(1 << 8 * source.itemsize)
        x = every.astype(f"u{source.itemsize}").view(source.numpy) if source.bits > 1 else every < 9
    else:
        x = np.random.default_rng(0).normal(size=5000) * 10.0 ** np.arange(5000 % 7, 7).mean()
        x = np.abs(x).astype(source.numpy)
    got = Tensor(x).cast(dtype).numpy()
    np.testing.assert_array_equal(got.view(np.uint8), rounded(x, dtype).view(np.uint8))


@F8
def test_what_moves_8_bits(dtype: DType) -> None:
    x = codes(dtype).reshape(16, 16)
    t = Tensor(x)
    assert t.dtype is dtype and t.element_size() == 1 and t.nbytes() == 256
    for got, expected in (
        (t.T[3:, ::2], x.T[3:, ::2]),
        (t[Tensor([3, 0, 3])], x[[3, 0, 3]]),
        (t.cat(t.flip(1), dim=1), np.concatenate([x, x[:, ::-1]], 1)),
        (Tensor([[True], [False]]).where(t[0], t[1]), x[:2]),
        (t[:1].expand(3, 16).contiguous(), np.repeat(x[:1], 3, 0)),
        (t.bitcast("uint8").bitcast(dtype), x),
        (pickle.loads(pickle.dumps(t)), x),
        (jit(lambda t: t.T)(t), x.T),
    ):
        assert got.dtype is dtype
        np.testing.assert_array_equal(got.numpy().view(np.uint8), expected.view(np.uint8))
    filled = Tensor.full((2,), 0.3, dtype=dtype)
    assert filled.tolist() == [np.float32(0.3).astype(dtype.numpy).item()] * 2
    assert Tensor([1.5, 2.0], dtype=dtype).tolist() == [1.5, 2.0]
    assert "1.5" in repr(Tensor(1.5, dtype=dtype)) and Tensor(1.5, dtype=dtype).item() == 1.5


REFUSED: dict[str, Callable[[Tensor], Any]] = {
    "add": lambda x: x + x,
    "a number": lambda x: x * 2.0,
    "float32": lambda x: x + x.float(),
    "integers": lambda x: x + x.int(),
    "neg": lambda x: -x,
    "equal": lambda x: x == x,
    "less": lambda x: x < 1,
    "matmul": lambda x: x @ x,
    "sum": lambda x: x.sum(),
    "mean": lambda x: x.mean(),
    "max": lambda x: x.max(),
    "cumsum": lambda x: x.cumsum(0),
    "exp": lambda x: x.exp(),
    "sinh": lambda x: x.sinh(),
    "softmax": lambda x: x.softmax(),
    "logcumsumexp": lambda x: x.logcumsumexp(0),
    "relu": lambda x: x.relu(),
    "+=": lambda x: x.__iadd__(1),
    "rand": lambda x: Tensor.rand(2, dtype=x.dtype),
}


@pytest.mark.parametrize("name", REFUSED)
def test_arithmetic_is_refused(name: str) -> None:
    x = Tensor([[1.0, 2.0], [3.0, 4.0]], dtype="fp8e5m2")
    with pytest.raises(TypeError, match=r"float8_e5m2.*cast"):
        REFUSED[name](x)
    assert x.tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize("dtype", [*dtypes.ALL, *dtypes.STORAGE], ids=str)
def test_dtypes_of_pytorch_are_taken(dtype: dtypes.DType) -> None:
    theirs = getattr(torch, dtype.name)
    assert dtypes.as_dtype(theirs) is dtypes.as_dtype(str(theirs)) is dtype
    assert Tensor.zeros(2, dtype=theirs).dtype is Tensor([1.0]).to(theirs).dtype is dtype


@pytest.mark.parametrize("wrong", [torch.complex64, "torch.complex64", 3.5, torch])
def test_what_is_no_dtype(wrong: Any) -> None:
    with pytest.raises(TypeError, match="known dtypes are bool, int8"):
        Tensor.zeros(2, dtype=wrong)


def test_names_of_8_bit_floats() -> None:
    assert dtypes.fp8e4m3 is dtypes.as_dtype("fp8e4m3") is dtypes.float8_e4m3fn
    assert dtypes.fp8e5m2 is dtypes.as_dtype("float8_e5m2") is dtypes.float8_e5m2
    assert Tensor([1.0]).to("float8_e4m3fn").dtype is dtypes.float8_e4m3fn
    assert Tensor([1.0]).to("double").dtype is dtypes.float64
    with pytest.raises(TypeError, match="float8_e4m3fn"):
        Tensor([1.0]).cast("float8")


@F8
def test_files_of_8_bit_floats(dtype: DType, tmp_path: Path) -> None:
    x, name = codes(dtype), str(tmp_path / "x.safetensors")
    safe_save({"x": Tensor(x)}, name)
    assert safe_load(name)["x"].dtype is dtype
    np.testing.assert_array_equal(safe_load(name)["x"].numpy().view("u1"), x.view("u1"))
    theirs = safetensors.torch.load_file(name)["x"]
    assert theirs.dtype is getattr(torch, dtype.name)
    assert theirs.view(torch.uint8).tolist() == list(range(256))
    safetensors.torch.save_file({"x": theirs}, name)
    np.testing.assert_array_equal(safe_load(name)["x"].numpy().view("u1"), x.view("u1"))


def test_gradients_pass_through_8_bits() -> None:
    x, reference = Tensor([0.3, 1.7]), torch.tensor([0.3, 1.7], requires_grad=True)
    (x.cast("float8_e4m3fn").float() * Tensor([2.0, 0.3])).sum().backward()
    (reference.to(torch.float8_e4m3fn).float() * torch.tensor([2.0, 0.3])).sum().backward()
    assert x.grad is not None and reference.grad is not None
    assert x.grad.tolist() == reference.grad.tolist()
    stored = Tensor([1.0, 2.0], dtype="float8_e5m2")  # wants none, for it is not said that it does
    for _ in range(2):
        (stored.float() * x).sum().backward()
    assert stored.grad is None
    stored.requires_grad_()
    (stored.float() * 3).sum().backward()
    assert stored.grad is not None and stored.grad.tolist() == [3, 3]


# The default type


@pytest.fixture
def as_before() -> Iterator[None]:
    yield
    Tensor.default_dtype = "float32"
    torch.set_default_dtype(torch.float32)


DEFAULTED: list[tuple[Callable[[], Any], Callable[[], Any]]] = [
    (lambda: Tensor([1.0]), lambda: torch.tensor([1.0])),
    (lambda: Tensor(2.5), lambda: torch.tensor(2.5)),
    (lambda: Tensor([1]), lambda: torch.tensor([1])),
    (lambda: Tensor([]), lambda: torch.tensor([])),
    (lambda: Tensor(np.float32([1])), lambda: torch.tensor(np.float32([1]))),
    (lambda: Tensor([1]) + 0.5, lambda: torch.tensor([1]) + 0.5),
    (lambda: Tensor([True]) * 0.5, lambda: torch.tensor([True]) * 0.5),
    (lambda: Tensor([1]) / 2, lambda: torch.tensor([1]) / 2),
    (lambda: Tensor([1]).exp(), lambda: torch.tensor([1]).exp()),
    (lambda: Tensor([1]).sinh(), lambda: torch.tensor([1]).sinh()),
    (lambda: Tensor([1]).atan2(Tensor([2])), lambda: torch.tensor([1]).atan2(torch.tensor([2]))),
    (lambda: Tensor([True]).where(1.0, 0.0), lambda: torch.where(torch.tensor([True]), 1.0, 0.0)),
    (lambda: Tensor.full((2,), 1.5), lambda: torch.full((2,), 1.5)),
    (lambda: Tensor.zeros(2), lambda: torch.zeros(2)),
    (lambda: Tensor.ones(2), lambda: torch.ones(2)),
    (lambda: Tensor.eye(2), lambda: torch.eye(2)),
    (lambda: Tensor.linspace(0, 1, 3), lambda: torch.linspace(0, 1, 3)),
    (lambda: Tensor.arange(0.0, 3.0), lambda: torch.arange(0.0, 3.0)),
    (lambda: Tensor.arange(3), lambda: torch.arange(3)),
    (lambda: Tensor.rand(2), lambda: torch.rand(2)),
    (lambda: Tensor.randn(2), lambda: torch.randn(2)),
    (lambda: nn.Linear(2, 3).weight, lambda: torch.nn.Linear(2, 3).weight),
    (lambda: nn.BatchNorm2d(2).running_var, lambda: torch.nn.BatchNorm2d(2).running_var),
]


@pytest.mark.parametrize("name", ["float32", "float64", "float16", "bfloat16"])
@pytest.mark.usefixtures("as_before")
def test_what_has_the_default_type(name: str) -> None:
    Tensor.default_dtype = name
    torch.set_default_dtype(getattr(torch, name))
    assert Tensor.default_dtype is dtypes.as_dtype(float) is dtypes.as_dtype(name)
    for number, (ours, theirs) in enumerate(DEFAULTED):
        assert ours().dtype.name == str(theirs().dtype).removeprefix("torch."), number
    assert Tensor.uniform(2, dtype="float64").dtype is dtypes.float64
    assert Tensor([0.1]).item() == np.array(0.1, dtypes.as_dtype(name).numpy).item()


@pytest.mark.usefixtures("as_before")
def test_a_step_is_recorded_for_each_default_type() -> None:
    step = jit(lambda n: n / 3 + 0.1)
    for name in ("float32", "float64", "float32", "float64"):
        with Tensor.with_default_dtype(name):
            exact = Tensor([1]).cast(name) / 3 + 0.1
            assert step(Tensor([1])).tolist() == exact.tolist()
    assert Tensor.default_dtype is dtypes.float32


def test_what_cannot_be_the_default_type() -> None:
    for wrong in ("int32", dtypes.bool_, "float8_e5m2", int):
        with pytest.raises(TypeError, match="cannot be the type of Python's floats"):
            Tensor.default_dtype = wrong
    with pytest.raises(TypeError, match="unknown dtype"):
        Tensor.default_dtype = "float17"
    assert Tensor.default_dtype is dtypes.float32


@pytest.mark.usefixtures("as_before")
def test_the_name_that_tinygrad_has(monkeypatch: pytest.MonkeyPatch) -> None:
    assert dtypes.default_float is dtypes.float32
    monkeypatch.setattr(dtypes, "default_float", dtypes.float64)
    assert Tensor.default_dtype is Tensor([1.0]).dtype is dtypes.float64
    monkeypatch.setattr(dtypes, "default_float", dtypes.int32)
    with pytest.raises(TypeError, match="cannot be the type of Python's floats"):
        Tensor([1]) + 0.5


# Casts


@pytest.mark.parametrize("source", dtypes.ALL, ids=lambda d: d.name)
def test_casts_are_numpys(source: DType) -> None:
    """Integers wrap, floats round, overflow to inf, and lose their fraction."""
    generator = np.random.default_rng(0)
    if source.is_int:
        x = generator.integers(source.min, source.max, 200, source.numpy, endpoint=True)
        x[:5] = source.min, source.max, 0, 1, source.max - 1
    elif source.is_float:
        x = rounded(generator.normal(size=400) * 10.0 ** generator.uniform(-9, 12, 400), source)
        x[:6] = 0.0, -0.0, math.inf, -math.inf, math.nan, 1.0
    else:
        x = np.array([True, False])
    for target, got in [(t, Tensor(x).cast(t)) for t in dtypes.ALL]:
        if source.is_float and target.is_int:
            wide = x.astype(np.float64)
            inside = (wide > target.min - 1) & (wide < target.max + 1.0)
            expected = rounded(x[inside], target)
            np.testing.assert_array_equal(got.numpy()[inside], expected)
            beyond = np.where(wide > 0, target.max, np.where(wide < 0, target.min, 0))[~inside]
            np.testing.assert_array_equal(got.numpy()[~inside], beyond.astype(target.numpy))
            continue
        expected = rounded(x, target)
        name = f"{source.name} to {target.name}"
        assert got.dtype is target, name
        values = got.numpy().astype(np.float64) if target.is_float else got.numpy()
        np.testing.assert_array_equal(values, expected.astype(values.dtype), err_msg=name)
        if target.is_float:
            number = values == values
            np.testing.assert_array_equal(np.signbit(values)[number], np.signbit(expected)[number])


# Sums of half floats

LONG = 5000
SUMS: dict[str, Callable[[Any], Any]] = {
    "sum": lambda x: x.sum(0),
    "mean": lambda x: x.mean(0),
    "cumsum": lambda x: x.cumsum(0),
    "prod": lambda x: x.prod(0),
    "matmul": lambda x: x.T @ x,
    "softmax": lambda x: x.softmax(0),
    "logsumexp": lambda x: x.logsumexp(0),
    "max": lambda x: x.max(0) if isinstance(x, Tensor) else x.amax(0),
    "var": lambda x: x.var(0),
}


@HALF
@pytest.mark.parametrize("name", SUMS)
def test_half_floats_add_up_in_float32(dtype: DType, name: str) -> None:
    x = np.random.default_rng(0).uniform(0, 1, (LONG, 3)).astype(dtype.numpy)
    if name == "prod":
        x = np.where(np.arange(LONG * 3) % 2 < 1, 1.25, 0.8).reshape(LONG, 3).astype(dtype.numpy)
    got = SUMS[name](Tensor(x))
    assert got.dtype is dtype
    exact = SUMS[name](torch.from_numpy(x.astype(np.float64))).numpy()
    precision = 2.0**-10 if dtype is dtypes.float16 else 2.0**-7
    np.testing.assert_allclose(got.numpy().astype(np.float64), exact, rtol=0.51 * precision)


GRADIENTS: dict[str, Callable[[Any, Any], Any]] = {
    "of what is repeated": lambda x, many: x + many,
    "of a product": lambda x, many: x * many,
    "of rows taken": lambda x, many: x.reshape(1, 4)[(many[:, 0] * 0).long()],
    "of a running sum": lambda x, many: (x + many * 0).cumsum(0) * (1 / LONG),
    "of a matrix": lambda x, many: many @ x.reshape(4, 1),
    "of a running maximum": lambda x, many: (x + many * 0).cummax(0)[0],
}


@HALF
@pytest.mark.parametrize("name", GRADIENTS)
def test_gradients_of_half_floats_add_up_in_float32(dtype: DType, name: str) -> None:
    many = np.ones((LONG, 4), dtype.numpy)
    x = Tensor(np.ones(4, dtype.numpy))
    GRADIENTS[name](x, Tensor(many, requires_grad=False)).sum().backward()
    exact = torch.ones(4, dtype=torch.float64, requires_grad=True)
    GRADIENTS[name](exact, torch.from_numpy(many.astype(np.float64))).sum().backward()
    assert x.grad is not None and exact.grad is not None and x.grad.dtype is dtype
    precision = 2.0**-10 if dtype is dtypes.float16 else 2.0**-7
    np.testing.assert_allclose(x.grad.float().numpy(), exact.grad.numpy(), rtol=2 * precision)


@HALF
def test_extremes_of_half_floats(dtype: DType) -> None:
    x = np.array([[0.5, -2.0, 3.0], [math.nan, 1.0, -0.0], [math.inf, 7.0, 1.0]])
    x = rounded(x, dtype)
    wide = x.astype(np.float32)
    np.testing.assert_array_equal(Tensor(x).max(1).float().numpy(), wide.max(1))
    np.testing.assert_array_equal(Tensor(x).min(1).float().numpy(), wide.min(1))
    running = Tensor(x).cummax(1)[0].float().numpy()
    np.testing.assert_array_equal(running, np.maximum.accumulate(wide, 1))


def test_float64_is_rounded_to_float16_once() -> None:
    """At the borders between neighbours, and beside them by less than float32 can tell."""
    halves = np.arange(0x7C00, dtype=np.uint16).view(np.float16).astype(np.float64)
    borders = (halves[:-1] + halves[1:]) / 2
    beside = [borders * (1 + 1e-10), borders * (1 - 1e-10), np.nextafter(borders, np.inf)]
    edges = np.array([0.0, np.inf, np.nan, 65519.99999, 65520.0, 1e300, 5e-324, 1e-45])
    values = np.concatenate([halves, borders, *beside, edges])
    values = np.concatenate([values, -values])
    with np.errstate(over="ignore"):
        expected = values.astype(np.float16)
    found = Tensor(values, requires_grad=False).half().numpy()
    np.testing.assert_array_equal(found.view(np.uint16) & 0x7FFF, expected.view(np.uint16) & 0x7FFF)
    np.testing.assert_array_equal(np.signbit(found), np.signbit(expected))
