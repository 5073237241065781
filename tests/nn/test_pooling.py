"""Layers that pool, resize, pad and cut images into windows, against PyTorch's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from gradlet import Tensor, nn
from gradlet.nn import padding, pooling, resampling
from tests.helpers import floats
from tests.nn.comparison import check_layer

L, HW, DHW = floats(2, 4, 9), floats(2, 4, 6, 7), floats(1, 4, 4, 5, 6)
PLACES = np.array([[[1, 2, 6], [0, 3, 4]]])
POOLED = floats(1, 2, 3)
CASES: list[tuple[str, tuple[Any, ...], dict[str, Any], tuple[np.ndarray, ...]]] = [
    ("MaxPool1d", (3, 2, 1), {}, (L,)),
    ("MaxPool2d", (2,), {"ceil_mode": True}, (HW,)),
    ("MaxPool3d", (2, 1, 1, 2), {}, (DHW,)),
    ("MaxUnpool1d", (2,), {}, (POOLED, np.minimum(PLACES, 5))),
    ("MaxUnpool2d", (2, 3), {"padding": 0}, (POOLED, PLACES)),
    ("MaxUnpool3d", ((1, 2, 2),), {}, (POOLED[None], PLACES[None])),
    ("AdaptiveMaxPool1d", (4,), {}, (L,)),
    ("AdaptiveMaxPool2d", ((None, 3),), {}, (HW,)),
    ("AdaptiveMaxPool3d", (2,), {}, (DHW,)),
    ("AvgPool1d", (3, 2, 1), {"count_include_pad": False}, (L,)),
    ("AvgPool2d", (3,), {"padding": 1, "ceil_mode": True}, (HW,)),
    ("AvgPool3d", (2, 1), {"divisor_override": 3}, (DHW,)),
    ("AdaptiveAvgPool1d", (4,), {}, (L,)),
    ("AdaptiveAvgPool2d", (1,), {}, (HW,)),
    ("AdaptiveAvgPool3d", ((2, 3, None),), {}, (DHW,)),
    ("LPPool1d", (2, 3), {"ceil_mode": True}, (L,)),
    ("LPPool2d", (2, (2, 3), 1), {}, (HW,)),
    ("LPPool3d", (2, 2), {}, (DHW,)),
    ("Upsample", (5,), {"mode": "linear"}, (L,)),
    ("Upsample", (None, 1.5), {"mode": "bicubic", "recompute_scale_factor": True}, (HW,)),
    ("UpsamplingNearest2d", (), {"scale_factor": 2}, (HW,)),
    ("UpsamplingBilinear2d", ((4, 9),), {}, (HW,)),
    ("PixelShuffle", (2,), {}, (HW,)),
    ("PixelUnshuffle", (3,), {}, (floats(2, 6, 9),)),
    ("ChannelShuffle", (2,), {}, (HW,)),
    ("Unfold", (2, (1, 2)), {"padding": 1, "stride": 2}, (HW,)),
    ("Fold", (4, (2, 3)), {"padding": (0, 1)}, (floats(2, 12, 12),)),
    ("ConstantPad1d", (2, 3.5), {}, (L,)),
    ("ConstantPad2d", ((1, 0, -1, 2), -1.0), {}, (HW,)),
    ("ConstantPad3d", ((1, 0, 2, 3, 0, 1), 4.0), {}, (DHW,)),
    ("ZeroPad1d", ((1, 2),), {}, (L[0],)),
    ("ZeroPad2d", (1,), {}, (HW,)),
    ("ZeroPad3d", (1,), {}, (DHW,)),
    ("ReflectionPad1d", (3,), {}, (L,)),
    ("ReflectionPad2d", ((1, 0, 2, 3),), {}, (HW,)),
    ("ReflectionPad3d", ((1, 0, 2, 3, 0, 1),), {}, (DHW,)),
    ("ReplicationPad1d", ((9, 2),), {}, (L[0],)),
    ("ReplicationPad2d", (2,), {}, (HW,)),
    ("ReplicationPad3d", ((1, 0, 2, 3, 0, 1),), {}, (DHW,)),
    ("CircularPad1d", ((9, 2),), {}, (L,)),
    ("CircularPad2d", ((1, 0, 2, 3),), {}, (HW,)),
    ("CircularPad3d", (2,), {}, (DHW,)),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
def test_layers(case: Any) -> None:
    name, arguments, options, arrays = case
    ours = getattr(nn, name)(*arguments, **options)
    check_layer(ours, getattr(torch.nn, name)(*arguments, **options), *arrays)
    assert repr(ours).startswith(f"{name}(")


def test_every_layer_is_tried() -> None:
    known = {*pooling.__all__, *resampling.__all__, *padding.__all__}
    assert {case[0] for case in CASES} == known


@pytest.mark.parametrize("kind", ["MaxPool", "AdaptiveMaxPool"])
def test_there_and_back(kind: str) -> None:
    for axes, x in enumerate((L, HW, DHW), 1):
        name = f"{kind}{axes}d"
        values, places = getattr(nn, name)(2, return_indices=True)(Tensor(x))
        known = getattr(torch.nn, name)(2, return_indices=True)(torch.from_numpy(x))
        assert places.tolist() == known[1].tolist()
        if kind == "MaxPool":
            back = getattr(nn, f"MaxUnpool{axes}d")(2)(values, places, output_size=x.shape)
            back_known = getattr(torch.nn, f"MaxUnpool{axes}d")(2)(*known, output_size=x.shape)
            np.testing.assert_array_equal(back.numpy(), back_known.numpy())


def test_options_are_attributes() -> None:
    layer = nn.MaxPool2d(2)
    layer.kernel_size, layer.note = 3, "no option"
    assert layer(Tensor(HW)).shape == (2, 4, 2, 2)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: nn.ZeroPad2d((1, 2)), "one number or 4"),
        (lambda: nn.ConstantPad1d((1, 2, 3), 0.0), "one number or 2"),
        (lambda: nn.ReflectionPad1d(9)(Tensor(L)), "cannot add"),
        (lambda: nn.MaxPool2d(9)(Tensor(HW)), "does not fit"),
        (lambda: nn.Upsample()(Tensor(HW)), "not both"),
    ],
)
def test_errors(make: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()
