"""Fourier transforms against PyTorch, which has them as complex numbers."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from gradlet import Tensor
from tests.helpers import check, floats


def paired(function: Any) -> Any:
    """PyTorch's function of complex numbers, on pairs."""
    return lambda x: torch.view_as_real(function(torch.view_as_complex(x)))


@pytest.mark.parametrize("norm", [None, "ortho", "forward"])
@pytest.mark.parametrize("n", [None, 3, 9])
def test_complex(n: int | None, norm: str | None) -> None:
    x = floats(3, 5, 2)
    for dim in (-1, 0):
        check(
            lambda x, d=dim: x.fft(n, d, norm),
            paired(lambda z, d=dim: torch.fft.fft(z, n, d, norm)),
            x,
        )
        check(
            lambda x, d=dim: x.ifft(n, d, norm),
            paired(lambda z, d=dim: torch.fft.ifft(z, n, d, norm)),
            x,
        )


@pytest.mark.parametrize("norm", [None, "ortho", "forward"])
@pytest.mark.parametrize("n", [None, 1, 4, 9])
def test_real(n: int | None, norm: str | None) -> None:
    for length in (5, 6):
        x = floats(2, length)
        check(
            lambda x: x.rfft(n, norm=norm),
            lambda x: torch.view_as_real(torch.fft.rfft(x, n, norm=norm)),
            x,
        )
    z = floats(2, 4, 2)
    check(
        lambda x: x.irfft(n, norm=norm),
        lambda x: torch.fft.irfft(torch.view_as_complex(x), n, norm=norm),
        z,
    )


def test_two_axes() -> None:
    x = floats(2, 3, 4, 2)
    check(lambda x: x.fft2(), paired(torch.fft.fft2), x)
    check(lambda x: x.ifft2((2, 5)), paired(lambda z: torch.fft.ifft2(z, (2, 5))), x)


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match="use rfft"):
        Tensor(floats(4, 3)).fft()
    with pytest.raises(ValueError, match="norm is one of"):
        Tensor(floats(4)).rfft(norm="other")
    with pytest.raises(ValueError, match="at least 1"):
        Tensor(floats(4)).rfft(0)
    with pytest.raises(TypeError, match="needs float32"):
        Tensor([1, 2]).rfft()
