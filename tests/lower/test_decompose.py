"""Half floats in terms of float32."""

from __future__ import annotations

import numpy as np
import pytest

from gradlet import Tensor


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_floats_are_computed_in_float32_and_rounded_once(dtype: str) -> None:
    x = np.random.default_rng(2).uniform(-4, 4, 1000).astype(np.float32)
    half = Tensor(x, device="cpu").cast(dtype)
    wide = half.numpy().astype(np.float32)
    got = (half * half).numpy().astype(np.float32)
    want = Tensor(wide * wide, device="numpy").cast(dtype).numpy().astype(np.float32)
    np.testing.assert_array_equal(got, want)
