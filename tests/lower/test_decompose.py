"""exp and log as polynomials, against double precision over the whole float32 range."""

from __future__ import annotations

import numpy as np
import pytest

from gradlet import Tensor

SPECIAL = np.array(
    [0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 1e-45, -1e-45, 1e-40, 2.0**-126, 2.0**-149,
     3.4028235e38, -3.4028235e38, 88.72283, 88.72284, -87.33654, -103.97, -103.98, -104.5, 89.5,
     1e4, -1e4, 1e30, 0.70710677, 0.7071068, 1.4142135, 1.4142137],
    np.float32,
)  # fmt: skip


def ulps(got: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """How many steps between float32 neighbours lie between two arrays; denormals count too."""
    with np.errstate(over="ignore", invalid="ignore"):
        rounded = truth.astype(np.float32)
    same = (got == rounded) | (np.isnan(got) & np.isnan(rounded))
    with np.errstate(invalid="ignore"):
        step = np.spacing(np.minimum(np.abs(rounded), np.float32(3e38))).astype(np.float64)
        away = np.abs(got.astype(np.float64) - truth) / step
    return np.where(same, 0.0, np.where(np.isnan(away), np.inf, away))


def everywhere(count: int = 500_000) -> np.ndarray:
    """Random bit patterns, which reach every exponent, and the special values."""
    bits = np.random.default_rng(0).integers(0, 2**32, count, np.uint32)
    return np.concatenate([bits.view(np.float32), SPECIAL])


@pytest.mark.parametrize("name", ["exp", "log"])
def test_within_four_ulp_of_the_truth(name: str) -> None:
    near = np.random.default_rng(1).uniform(-105, 90, 500_000).astype(np.float32)
    x = np.concatenate([everywhere(), near if name == "exp" else np.exp(near.clip(max=88))])
    with np.errstate(all="ignore"):
        truth = getattr(np, name)(x.astype(np.float64))
    got = getattr(Tensor(x, device="cpu"), name)().numpy()
    away = ulps(got, truth)
    worst = int(np.argmax(away))
    assert away[worst] <= 4, f"{name}({x[worst]!r}) gives {got[worst]!r}, not {truth[worst]!r}"


def test_log_keeps_the_values_at_the_edges() -> None:
    x = np.array([0.0, -0.0, np.inf, -1.0, -np.inf, np.nan, 1.0], np.float32)
    got = Tensor(x, device="cpu").log().numpy()
    np.testing.assert_array_equal(got, [-np.inf, -np.inf, np.inf, np.nan, np.nan, np.nan, 0.0])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_floats_are_computed_in_float32_and_rounded_once(dtype: str) -> None:
    x = np.random.default_rng(2).uniform(-4, 4, 1000).astype(np.float32)
    half = Tensor(x, device="cpu").cast(dtype)
    wide = half.numpy().astype(np.float32)
    got = (half * half).numpy().astype(np.float32)
    want = Tensor(wide * wide, device="numpy").cast(dtype).numpy().astype(np.float32)
    np.testing.assert_array_equal(got, want)
