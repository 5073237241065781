"""Powers on the CPU: digits against a wider type, and every special case of C's pow."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gradlet import Tensor
from gradlet.base import dtypes
from gradlet.ir import build
from gradlet.lower.power import pow_
from gradlet.runtime.numpy_device import NumpyDevice
from tests.lower.test_transcendental import ulps

WIDER = {np.float32: np.float64, np.float64: np.longdouble}
BITS = {np.float32: np.uint32, np.float64: np.uint64}
LARGEST_EXPONENT = {np.float32: 126, np.float64: 1020}
SPECIAL = [
    0.0, 1.0, 2.0, 3.0, 0.5, 1.5, 5.0, np.inf, 1e-40, 1e38, 2.0**24 - 1, 2.0**24, 2.0**53, 1e300,
    5e-324, 0.99999994, 1.0000001, np.nan,
]  # fmt: skip


def check(x: np.ndarray, y: np.ndarray) -> None:
    got = (Tensor(x, device="cpu") ** Tensor(y, device="cpu")).numpy()
    wide: Any = WIDER[x.dtype.type]
    with np.errstate(all="ignore"):
        truth = np.power(x.astype(wide), y.astype(wide))
    away = ulps(got, truth)
    worst = int(np.argmax(away))
    what = f"{x[worst]!r} ** {y[worst]!r} gives {got[worst]!r}, not {truth[worst]!r}"
    assert away[worst] <= 4, what
    signed = ~np.isnan(truth)
    np.testing.assert_array_equal(np.signbit(got[signed]), np.signbit(truth[signed]))


@pytest.mark.parametrize("dtype", WIDER)
def test_random_bits(dtype: Any) -> None:
    random = np.random.default_rng(0)
    bits = BITS[dtype]
    x, y = (random.integers(0, np.iinfo(bits).max, 100_000, bits).view(dtype) for _ in "xy")
    check(x, y)


@pytest.mark.parametrize("dtype", WIDER)
@pytest.mark.parametrize("nearness", [0, 3, 20])
def test_powers_all_over_the_range(dtype: Any, nearness: int) -> None:
    """Bases of all sizes and near 1, with exponents that take them anywhere."""
    random = np.random.default_rng(nearness)
    most = LARGEST_EXPONENT[dtype]
    logarithm = random.uniform(-most, most, 100_000) * 2.0**-nearness
    x = np.exp2(logarithm / 100 if nearness else logarithm).astype(dtype)
    x = np.where(x == 1, dtype(1.5), x)
    y = (random.uniform(-most, most, 100_000) / np.log2(x.astype(np.float64))).astype(dtype)
    check(x, y)


@pytest.mark.parametrize("dtype", WIDER)
def test_whole_powers_of_negative_bases(dtype: Any) -> None:
    random = np.random.default_rng(1)
    x = -random.uniform(0, 5, 50_000).astype(dtype)
    check(x, random.integers(-60, 60, x.size).astype(dtype))


@pytest.mark.parametrize("dtype", WIDER)
def test_special_cases(dtype: Any) -> None:
    with np.errstate(over="ignore"):
        values = np.array(SPECIAL + [-v for v in SPECIAL]).astype(dtype)
    x, y = np.meshgrid(values, values)
    check(x.ravel(), y.ravel())


def test_float32_without_float64() -> None:
    """As machines that have no float64 compute it; here NumPy does."""
    random = np.random.default_rng(2)
    x = np.exp2(random.uniform(-126, 126, 50_000)).astype(np.float32)
    y = (random.uniform(-126, 126, x.size) / np.log2(x.astype(np.float64))).astype(np.float32)
    params = [build.param(n, dtypes.float32, x.shape) for n in range(2)]
    (got,) = NumpyDevice().compile([pow_(*params, alone=True)], params)([x, y])
    assert ulps(got, np.power(x.astype(np.float64), y)).max() <= 4
