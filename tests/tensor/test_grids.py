"""affine_grid and grid_sample against PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from gradlet import Tensor, jit
from tests.helpers import assert_same, check, floats

PADDINGS = ["zeros", "border", "reflection"]
OUTSIDE = [("zeros", False), ("border", True), ("reflection", False), ("reflection", True)]


def compare(x: np.ndarray, grid: np.ndarray, *how: Any, **options: Any) -> None:
    check(
        lambda x, grid: x.grid_sample(grid, *how),
        lambda x, grid: F.grid_sample(x, grid, *how),
        x,
        grid,
        **options,
    )


@pytest.mark.parametrize(("padding_mode", "align_corners"), OUTSIDE)
@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_images(mode: str, padding_mode: str, align_corners: bool) -> None:
    x, grid = floats(2, 3, 4, 5), floats(2, 3, 2, 2, low=-1.7, high=1.7, seed=1)
    compare(x, grid, mode, padding_mode, align_corners)


@pytest.mark.parametrize(("padding_mode", "align_corners"), OUTSIDE)
def test_volumes(padding_mode: str, align_corners: bool) -> None:
    x, grid = floats(1, 2, 3, 4, 5), floats(1, 2, 3, 2, 3, low=-1.7, high=1.7, seed=1)
    compare(x, grid, "bilinear", padding_mode, align_corners)


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("padding_mode", PADDINGS)
@pytest.mark.parametrize("axes", [2, 3])
def test_nearest(axes: int, padding_mode: str, align_corners: bool) -> None:
    shape = (2, 3, 4, 5, 6)[: axes + 2]
    x, grid = floats(*shape), floats(2, *(3,) * axes, axes, low=-1.7, high=1.7)
    how = ("nearest", padding_mode, align_corners)
    check(
        lambda x: x.grid_sample(Tensor(grid).cast(x.dtype), *how),
        lambda x: F.grid_sample(x, torch.from_numpy(grid), *how),
        x,
    )
    points = Tensor(grid)
    Tensor(x).grid_sample(points, *how).sum().backward()
    assert points.grad is None


@pytest.mark.parametrize("padding_mode", PADDINGS)
@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("extent", [1, 4])
def test_points_on_pixels_edges_and_far_away(extent: int, mode: str, padding_mode: str) -> None:
    """Where differences have no limit, gradients still agree.

    Reflected so often that float32 no longer knows the pixel, PyTorch's remainder is not exact.
    """
    far = 1e6 if padding_mode == "reflection" else 1e30
    line = np.array([-1, -0.75, -0.25, 0, 0.25, 0.5, 0.75, 1, 2, -3, 1e6, far], np.float32)
    grid = np.stack([line, line[::-1]], -1)[None, None]
    x = floats(1, 2, extent, 4)
    for align_corners in (False, True):
        how = (mode, padding_mode, align_corners)
        compare(x, grid, *how, finite_difference=False, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("padding_mode", PADDINGS)
@pytest.mark.parametrize("mode", ["bilinear", "nearest", "bicubic"])
def test_points_that_are_no_numbers(mode: str, padding_mode: str, value: float) -> None:
    x, grid = floats(1, 1, 3, 4), np.zeros((1, 1, 5, 2), np.float32)
    grid[..., 0] = value
    known = F.grid_sample(torch.from_numpy(x), torch.from_numpy(grid), mode, padding_mode, False)
    assert_same(Tensor(x).grid_sample(Tensor(grid), mode, padding_mode), known, 1e-5, 1e-5)


def test_what_lies_outside_does_not_count() -> None:
    x = np.full((1, 1, 2, 2), np.inf, np.float32)
    grid = np.full((1, 1, 1, 2), 9.0, np.float32)
    assert Tensor(x).grid_sample(Tensor(grid)).item() == 0.0


def test_half_floats_and_nothing() -> None:
    x, grid = floats(1, 2, 4, 5), floats(1, 3, 3, 2, low=-1, high=1)
    half = Tensor(x).half().grid_sample(Tensor(grid).half())
    known = F.grid_sample(
        torch.from_numpy(x).half().float(),
        torch.from_numpy(grid).half().float(),
        align_corners=False,
    )
    assert_same(half, known.half(), 2e-3, 2e-3)
    assert Tensor.ones(0, 2, 4, 5).grid_sample(Tensor.ones(0, 3, 3, 2)).shape == (0, 2, 3, 3)
    assert Tensor.ones(1, 2, 4, 5).grid_sample(Tensor.ones(1, 0, 3, 2)).shape == (1, 2, 0, 3)


@pytest.mark.filterwarnings("ignore:Since version 1.3.0")
@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("size", [(2, 3, 4, 5), (2, 1, 1, 3), (1, 2, 3, 1, 4)])
def test_affine_grid(size: tuple[int, ...], align_corners: bool) -> None:
    axes = len(size) - 2
    check(
        lambda m: m.affine_grid(size, align_corners),
        lambda m: F.affine_grid(m, size, align_corners),
        floats(size[0], axes, axes + 1),
    )


def test_a_map_learns_inside_jit() -> None:
    """A spatial transformer: the same map, another one each step, and its gradient."""
    x = Tensor(floats(1, 1, 5, 5))

    @jit
    def step(theta: Tensor) -> Tensor:
        theta.grad = None
        x.grid_sample(theta.affine_grid((1, 1, 4, 4))).square().sum().backward()
        assert theta.grad is not None
        return theta.grad.realize()

    for seed in range(4):
        given = floats(1, 2, 3, low=-0.5, high=0.5, seed=seed)
        theirs = torch.tensor(given, requires_grad=True)
        image = torch.from_numpy(x.numpy())
        points = F.affine_grid(theirs, [1, 1, 4, 4], align_corners=False)
        F.grid_sample(image, points, align_corners=False).square().sum().backward()
        assert theirs.grad is not None
        assert_same(step(Tensor(given)), theirs.grad, 1e-4, 1e-4)


X, GRID = Tensor.ones(1, 2, 3, 3), Tensor.ones(1, 2, 2, 2)


@pytest.mark.parametrize(
    ("action", "kind", "words"),
    [
        (lambda: X.grid_sample(GRID, "linear"), ValueError, "mode is one of"),
        (lambda: X.grid_sample(GRID, padding_mode="wrap"), ValueError, "padding_mode"),
        (lambda: X.grid_sample(Tensor.ones(2, 2, 2, 2)), ValueError, "do not fit"),
        (lambda: X.grid_sample(Tensor.ones(1, 2, 2, 3)), ValueError, "do not fit"),
        (lambda: X[0].grid_sample(GRID[0]), ValueError, "do not fit"),
        (lambda: Tensor.ones(1, 2, 0, 3).grid_sample(GRID), ValueError, "at least one pixel"),
        (
            lambda: X.unsqueeze(2).grid_sample(Tensor.ones(1, 2, 2, 2, 3), "bicubic"),
            ValueError,
            "alone",
        ),
        (lambda: X.grid_sample(GRID.double()), TypeError, "float32 and a grid of float64"),
        (lambda: X.long().grid_sample(GRID.long()), TypeError, "floats of one dtype"),
        (lambda: Tensor.ones(1, 2, 3).affine_grid((2, 1, 3, 3)), ValueError, "do not fit size"),
        (lambda: Tensor.ones(1, 2, 3).affine_grid((1, 1, 0, 3)), ValueError, "do not fit size"),
        (lambda: Tensor.ones(1, 2, 3).long().affine_grid((1, 1, 3, 3)), TypeError, "needs floats"),
    ],
)
def test_errors(action: Any, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words):
        action()
