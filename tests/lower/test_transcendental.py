"""Functions of floats on the CPU, against a wider type over all exponents."""

from __future__ import annotations

import math
import platform
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from gradlet import Tensor
from gradlet.runtime.device import get_device

FUNCTIONS = ["exp", "exp2", "log", "log2", "sin", "cos", "tanh", "erf"]
STRIDE = 1009  # every so many bit patterns of float32
SPECIAL = [
    0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 1e-45, -1e-45, 1e-40, 2.0**-126, 2.0**-149,
    3.4028235e38, -3.4028235e38, 88.72283, 88.72284, -87.33654, -103.97, -103.98, -104.5, 89.5,
    128.0, 127.99999, -126.0, -149.0, -149.5, -150.0, -151.0, 1e4, -1e4, 1e30, 0.70710677,
    0.7071068, 1.4142135, 1.4142137, 9.01, 9.2, 3.92, 3.94, 1600.0, 1600.1, 5e-324, 1e-310,
    1e300, -1e300, 709.78, 709.79, -745.13, -745.14, 1024.0, 1023.5, -1074.0, -1075.5,
]  # fmt: skip


def ulps(got: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """How many steps of got's type lie between two arrays; denormals, 0 and inf count too."""
    with np.errstate(over="ignore", invalid="ignore"):
        rounded = truth.astype(got.dtype)
        same = (got == rounded) | (np.isnan(got) & np.isnan(rounded))
        largest = np.finfo(got.dtype).max
        step = np.spacing(np.minimum(np.abs(rounded), largest / 2)).astype(truth.dtype)
        away = np.abs(got.astype(truth.dtype) - truth) / step
    return np.where(same, 0.0, np.where(np.isnan(away), np.inf, away)).astype(np.float64)


def truth_of(name: str, x: np.ndarray) -> np.ndarray:
    """The function in float64 for float32, and in long double for float64 where NumPy has it."""
    with np.errstate(all="ignore"):
        if name == "erf":
            return np.vectorize(math.erf, otypes=[np.float64])(x)
        wide = x.astype(np.float64 if x.dtype == np.float32 else np.longdouble)
        return np.asarray(getattr(np, name)(wide))


def check(name: str, x: np.ndarray, limit: float = 4) -> None:
    got, truth = getattr(Tensor(x, device="cpu"), name)().numpy(), truth_of(name, x)
    away = ulps(got, truth)
    worst = int(np.argmax(away))
    assert away[worst] <= limit, f"{name}({x[worst]!r}) gives {got[worst]!r}, not {truth[worst]!r}"
    zero = truth == 0
    if name not in ("exp", "exp2"):
        np.testing.assert_array_equal(np.signbit(got[zero]), np.signbit(truth[zero]))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_float32_at_all_exponents(name: str) -> None:
    first = int(np.random.default_rng(0).integers(STRIDE))
    stride = STRIDE if name != "erf" else 5 * STRIDE  # Python's erf takes its time
    bits = np.arange(first, 2**32, stride, dtype=np.uint64).astype(np.uint32)
    check(name, np.concatenate([bits.view(np.float32), _special(np.float32)]))


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_numbers_of_everyday_size(name: str, dtype: Any) -> None:
    random = np.random.default_rng(1)
    ranges = [random.uniform(-w, w, 60_000) for w in (1, 10, 105, 750, 2000)]
    near_one = 1 + random.normal(0, 1, 60_000) * 2.0 ** -random.uniform(1, 24, 60_000)
    check(name, np.concatenate([*ranges, near_one]).astype(dtype))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_float64_at_all_exponents(name: str) -> None:
    bits = np.random.default_rng(2).integers(0, 2**64, 200_000, np.uint64)
    check(name, np.concatenate([bits.view(np.float64), _special(np.float64)]))


def _special(dtype: Any) -> np.ndarray:
    with np.errstate(over="ignore"):
        return np.array(SPECIAL).astype(dtype)


@pytest.mark.parametrize("name", ["tanh", "erf"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_functions_that_end_at_one_never_pass_it(name: str, dtype: Any) -> None:
    x = np.linspace(0, 25, 400_001).astype(dtype)
    y = getattr(Tensor(np.concatenate([x, -x]), device="cpu"), name)().numpy()
    assert np.abs(y).max() == 1 and y[400_000] == 1 and y[-1] == -1


def test_powers_of_two_are_exact() -> None:
    n = np.arange(-149, 128).astype(np.float32)
    powers = Tensor(n, device="cpu").exp2()
    np.testing.assert_array_equal(powers.numpy(), 2.0 ** n.astype(np.float64))
    np.testing.assert_array_equal(powers.log2().numpy(), n)


@pytest.mark.parametrize("x", [1e38, 16367173.0 * 2.0**72, 710.0, 1e22, -3.4e38])
def test_sine_of_huge_numbers(x: float) -> None:
    value = np.array([x], np.float32)
    check("sin", value)
    check("cos", value)
    check("sin", value.astype(np.float64))


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="names x86 processors")
@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_without_fused_multiply_add(name: str, dtype: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    cpu: Any = get_device("cpu")
    old = replace(
        cpu.target, cpu="x86-64", features="", vector_bytes=16, vector_registers=16, scales=False
    )
    monkeypatch.setattr(cpu, "target", old)
    x = np.random.default_rng(5).uniform(-1500, 1500, 70_001)  # a size that no other test has
    x[::2] = np.random.default_rng(6).uniform(-10, 10, 35_001)
    check(name, x.astype(dtype))


# Composed functions

COMPOSED: dict[str, Any] = {
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "silu": lambda x: x / (1 + np.exp(-x)),
    "softplus": lambda x: np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))),
    "logsigmoid": lambda x: np.minimum(x, 0) - np.log1p(np.exp(-np.abs(x))),
    "log1p": np.log1p,
    "expm1": np.expm1,
    "log10": np.log10,
    "tan": np.tan,
}


@pytest.mark.parametrize("name", COMPOSED)
def test_composed_functions(name: str) -> None:
    random = np.random.default_rng(3)
    small = 2.0 ** random.uniform(-60, 3, 50_000)
    x = np.concatenate([random.uniform(-80, 80, 200_000), small, -small]).astype(np.float32)
    with np.errstate(all="ignore"):
        truth = COMPOSED[name](x.astype(np.float64))
    got = getattr(Tensor(x, device="cpu"), name)().numpy()
    away = ulps(got, truth)
    worst = int(np.argmax(away))
    assert away[worst] <= 4, f"{name}({x[worst]!r}) gives {got[worst]!r}, not {truth[worst]!r}"


def test_gelu_keeps_its_digits_where_it_is_nearly_zero() -> None:
    x = np.random.default_rng(4).uniform(-9, 9, 100_000).astype(np.float32)
    wide = x.astype(np.float64)
    truth = wide / (1 + np.exp(-math.sqrt(8 / math.pi) * (wide + 0.044715 * wide**3)))
    got = Tensor(x, device="cpu").gelu().numpy()
    np.testing.assert_allclose(got, truth, rtol=2e-5, atol=0)
    np.testing.assert_allclose(got[x > -1], truth[x > -1], rtol=5e-7, atol=0)
