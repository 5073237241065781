"""Half floats in terms of float32."""

from __future__ import annotations

import numpy as np
import pytest

from gradlet import Tensor
from gradlet.base import dtypes

INTEGERS = [d for d in dtypes.ALL if d.is_int]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_floats_are_computed_in_float32_and_rounded_once(dtype: str) -> None:
    x = np.random.default_rng(2).uniform(-4, 4, 1000).astype(np.float32)
    half = Tensor(x, device="cpu").cast(dtype)
    wide = half.numpy().astype(np.float32)
    got = (half * half).numpy().astype(np.float32)
    want = Tensor(wide * wide, device="numpy").cast(dtype).numpy().astype(np.float32)
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("dtype", INTEGERS, ids=lambda d: d.name)
def test_shifts_past_the_last_bit(dtype: dtypes.DType) -> None:
    bits = dtype.bits
    counts = [0, 1, bits - 1, bits, bits + 1, 100, dtype.max]
    counts += [-1, dtype.min] if dtype.min else []
    values = np.array([dtype.min, dtype.max, 1, dtype.max // 3], dtype.numpy)[:, None]
    many = np.array(counts, dtype.numpy)
    for shift in (lambda x, n: x << n, lambda x, n: x >> n):
        made, known = (
            shift(Tensor(values, device=d), Tensor(many, device=d)) for d in ("cpu", "numpy")
        )
        np.testing.assert_array_equal(made.numpy(), known.numpy())
        for count in counts[:6]:
            made, known = (shift(Tensor(values, device=d), count) for d in ("cpu", "numpy"))
            np.testing.assert_array_equal(made.numpy(), known.numpy())
