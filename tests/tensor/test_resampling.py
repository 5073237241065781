"""Images of another size, against PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from gradlet import Tensor
from tests.helpers import check, check_direction, floats, integers


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact", "area"])
@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((2, 3, 7), {"size": 3}),
        ((2, 3, 7), {"size": 14}),
        ((2, 3, 5), {"scale_factor": 1.7}),
        ((1, 2, 3, 5), {"scale_factor": (2, 3)}),
        ((1, 2, 3, 5), {"size": (7, 4)}),
        ((1, 2, 3, 4, 5), {"size": (2, 8, 7)}),
    ],
)
def test_nearest_and_area(mode: str, shape: tuple[int, ...], options: dict[str, Any]) -> None:
    check(
        lambda x: x.interpolate(**options, mode=mode),
        lambda x: F.interpolate(x, **options, mode=mode),
        floats(*shape),
    )


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize(
    ("mode", "shape", "options"),
    [
        ("linear", (2, 3, 7), {"size": 3}),
        ("linear", (2, 3, 7), {"size": 1}),
        ("linear", (2, 3, 1), {"size": 4}),
        ("linear", (2, 3, 5), {"scale_factor": 1.7}),
        ("linear", (2, 3, 5), {"scale_factor": 1.1}),
        ("linear", (2, 3, 5), {"scale_factor": 1.7, "recompute_scale_factor": True}),
        ("bilinear", (1, 2, 3, 5), {"scale_factor": 2}),
        ("bilinear", (1, 2, 7, 5), {"size": (3, 8)}),
        ("bicubic", (1, 2, 7, 5), {"size": (3, 8)}),
        ("bicubic", (1, 2, 2, 5), {"scale_factor": (2.5, 0.7)}),
        ("trilinear", (1, 2, 2, 3, 4), {"size": (3, 2, 7)}),
    ],
)
def test_blends(mode: str, shape: Any, options: dict[str, Any], align_corners: bool) -> None:
    how = {**options, "mode": mode, "align_corners": align_corners}
    check(
        lambda x: x.interpolate(**how),
        lambda x: F.interpolate(x, **how),
        floats(*shape),
        atol=5e-5,
    )


def test_a_cubic_factor_that_is_rounded_to_1() -> None:
    """PyTorch takes the factor as it is for values, and as 1 for gradients."""
    how: dict[str, Any] = {"scale_factor": 1.1, "mode": "bicubic"}
    x = floats(1, 2, 3, 5)
    check(lambda x: x.interpolate(**how), lambda x: F.interpolate(x, **how), x, grad=False)
    check_direction(lambda x: x.interpolate(**how), [x])


@pytest.mark.parametrize("extent", [3, 41, 64])
@pytest.mark.parametrize("count", [5, 82, 123, 64, 2])
def test_nearest_places(extent: int, count: int) -> None:
    x = np.arange(extent, dtype=np.float32).reshape(1, 1, extent)
    got = Tensor(x).interpolate(count).numpy()
    np.testing.assert_array_equal(got, F.interpolate(torch.from_numpy(x), count).numpy())


@pytest.mark.parametrize("shape", [(2, 8, 3, 5), (12, 1, 2)])
def test_pixel_shuffle(shape: tuple[int, ...]) -> None:
    x = floats(*shape)
    check(lambda x: x.pixel_shuffle(2), lambda x: F.pixel_shuffle(x, 2), x)
    assert (Tensor(x).pixel_shuffle(2).pixel_unshuffle(2) == Tensor(x)).all().item()


def test_pixel_unshuffle() -> None:
    x = floats(2, 3, 6, 9)
    check(lambda x: x.pixel_unshuffle(3), lambda x: F.pixel_unshuffle(x, 3), x)


@pytest.mark.parametrize("shape", [(2, 6, 3, 2), (0, 6, 3), (1, 6, 5)])
def test_channel_shuffle(shape: tuple[int, ...]) -> None:
    check(lambda x: x.channel_shuffle(3), lambda x: F.channel_shuffle(x, 3), floats(*shape))


def test_half_floats_and_integers() -> None:
    x = floats(1, 2, 5)
    assert Tensor(x).half().interpolate(7, mode="linear").dtype.name == "float16"
    whole = integers(1, 2, 5)
    assert Tensor(whole).interpolate(10).tolist() == np.repeat(whole, 2, -1).tolist()
    with pytest.raises(TypeError, match="needs floats"):
        Tensor(whole).interpolate(7, mode="linear")


IMAGE = Tensor.ones(1, 2, 4)


@pytest.mark.parametrize(
    ("action", "words"),
    [
        (lambda: IMAGE.interpolate(), "not both"),
        (lambda: IMAGE.interpolate(2, 2.0), "not both"),
        (lambda: IMAGE.interpolate((2, 2)), "one positive number or 1"),
        (lambda: IMAGE.interpolate(scale_factor=0.1), "leaves nothing"),
        (lambda: IMAGE.interpolate(2, mode="bilinear"), "does not fit shape"),
        (lambda: IMAGE.interpolate(2, mode="smooth"), "does not fit shape"),
        (lambda: IMAGE.interpolate(2, align_corners=True), "not for mode='nearest'"),
        (lambda: Tensor.ones(3, 2, 2).pixel_shuffle(2), "must be"),
        (lambda: Tensor.ones(3, 2, 3).pixel_unshuffle(2), "must be"),
        (lambda: Tensor.ones(2, 3, 2).channel_shuffle(2), "must be"),
        (lambda: Tensor.ones(2, 4).channel_shuffle(2), "must be"),
    ],
)
def test_errors(action: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        action()
