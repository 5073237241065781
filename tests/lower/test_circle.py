"""Remainders by pi/2 in integers, as NumPy computes them, against its sine and cosine."""

from __future__ import annotations

import numpy as np
import pytest

from gradlet.base import dtypes
from gradlet.ir import build
from gradlet.lower.circle import reduce_in_integers
from gradlet.runtime.numpy_device import NumpyDevice


def reduced(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    param = build.param(0, dtypes.from_numpy(x.dtype), x.shape)
    r, quarters = reduce_in_integers(param)
    found, turns = NumpyDevice().compile([r, quarters], [param])([x])
    assert found.dtype == x.dtype
    return found.astype(np.float64), turns & 3


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_all_exponents(dtype: type) -> None:
    generator = np.random.default_rng(0)
    largest = np.log2(np.finfo(dtype).max)
    x = np.exp2(generator.uniform(0, largest, 20_000)).astype(dtype)
    x *= generator.choice([-1, 1], x.size).astype(dtype)
    r, turns = reduced(x)
    assert (np.abs(r) <= np.pi / 4 + 1e-7).all()
    rotated = np.stack([np.sin(r), np.cos(r), -np.sin(r), -np.cos(r)])
    sine = rotated[turns, np.arange(x.size)]
    cosine = rotated[(turns + 1) & 3, np.arange(x.size)]
    tolerance = 4 * np.finfo(dtype).eps
    np.testing.assert_allclose(sine, np.sin(x.astype(np.float64)), rtol=tolerance)
    np.testing.assert_allclose(cosine, np.cos(x.astype(np.float64)), rtol=tolerance)


def test_infinity_has_no_remainder() -> None:
    r, _ = reduced(np.array([np.inf, -np.inf, np.nan, 1.0], np.float32))
    assert np.isnan(r).tolist() == [True, True, True, False]
