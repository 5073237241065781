"""nn.functional over space takes PyTorch's arguments in PyTorch's order, given by place here."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as theirs

from gradlet import Tensor
from gradlet.nn import functional as ours
from gradlet.nn.functional import pooling, spatial
from tests.helpers import check, floats

L, HW, DHW = floats(2, 4, 9), floats(2, 4, 7, 8), floats(1, 4, 5, 4, 6)
BIAS = floats(6, seed=1)
CONV = (BIAS, 2, 1, 2, 2)  # bias, stride, padding, dilation, groups
TRANSPOSED = (BIAS, 2, 1, 1, 2, 3)  # bias, stride, padding, output_padding, groups, dilation
MAX = (3, 2, 1, 1, True, False)
UNPOOL = (2, 2, 0)
PLACES = np.array([[[1, 2, 6], [0, 3, 4]]])
CALLS: list[tuple[Any, ...]] = [
    ("conv1d", L, floats(6, 2, 3), *CONV), ("conv2d", HW, floats(6, 2, 3, 2), *CONV),
    ("conv3d", DHW, floats(6, 2, 2, 1, 3), *CONV), ("conv1d", L, floats(6, 4, 2), None, 1, "same"),
    ("conv2d", HW, floats(6, 4, 3, 3), None, 1, "valid"),
    ("conv_transpose1d", L, floats(4, 3, 3), *TRANSPOSED),
    ("conv_transpose2d", HW, floats(4, 3, 3, 2), *TRANSPOSED),
    ("conv_transpose3d", DHW, floats(4, 3, 2, 1, 3), *TRANSPOSED),
    ("unfold", HW, (2, 3), 2, (1, 0), (2, 1)),
    ("fold", floats(2, 24, 6), (5, 6), (2, 3), 2, (0, 1), (1, 2)),
    ("max_pool1d", L, *MAX), ("max_pool2d", HW, *MAX), ("max_pool3d", DHW, *MAX),
    ("max_unpool1d", floats(1, 2, 3), PLACES, *UNPOOL, (7,)),
    ("max_unpool2d", floats(1, 2, 3), PLACES, *UNPOOL, (5, 5)),
    ("max_unpool3d", floats(1, 1, 2, 3), PLACES[None], *UNPOOL, (3, 4, 5)),
    ("adaptive_max_pool1d", L, 4), ("adaptive_max_pool2d", HW, (3, None)),
    ("adaptive_max_pool3d", DHW, (2, 4, 1)),
    ("avg_pool1d", L, 3, 2, 1, True, False), ("avg_pool2d", HW, (3, 2), 2, 1, True, False, 5),
    ("avg_pool3d", DHW, 2, 3, 1, True, False, 5),
    ("adaptive_avg_pool1d", L, 4), ("adaptive_avg_pool2d", HW, (3, None)),
    ("adaptive_avg_pool3d", DHW, (2, 4, 1)),
    ("lp_pool1d", L, 2.0, 3, 2, True), ("lp_pool2d", HW, 2.0, (3, 2), 2, True),
    ("lp_pool3d", DHW, 2.0, 2, 3, True),
    ("interpolate", L, 5, None, "linear", True), ("interpolate", HW, None, 1.6, "nearest", None, 1),
    ("upsample", HW, None, 2, "bilinear", True), ("upsample", HW, (3, 5)),
    ("channel_shuffle", HW, 2),
    ("pixel_shuffle", HW, 2), ("pixel_unshuffle", floats(1, 2, 6, 3), 3),
    ("pad", L, (1, 2, 0, 3), "constant", 4.0), ("pad", L, (1, -2)),
    ("pad", HW, (1, 2, 0, 1), "circular"),
    ("affine_grid", floats(2, 2, 3), (2, 1, 3, 4), True),
    ("grid_sample", HW, floats(2, 3, 2, 2), "bilinear", "reflection", True),
    ("grid_sample", HW, floats(2, 3, 2, 2), "bicubic", "border", False),
]  # fmt: skip


@pytest.mark.filterwarnings("ignore:.*align_corners|.*upsample|.*padding='same'")
@pytest.mark.parametrize("call", CALLS, ids=lambda call: call[0])
def test_against_torch(call: tuple[Any, ...]) -> None:
    name, *arguments = call

    def called(space: Any, tensors: tuple[Any, ...]) -> Any:
        given = iter(tensors)
        each = [next(given) if isinstance(a, np.ndarray) else a for a in arguments]
        return getattr(space, name)(*each)

    check(
        lambda *tensors: called(ours, tensors),
        lambda *tensors: called(theirs, tensors),
        *(a for a in arguments if isinstance(a, np.ndarray)),
        atol=5e-5,
        finite_difference=False,
    )


def test_every_function_is_called() -> None:
    assert {call[0] for call in CALLS} == {*pooling.__all__, *spatial.__all__}


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("kind", ["max_pool", "adaptive_max_pool"])
def test_places(kind: str, axes: int) -> None:
    x, name = (L, HW, DHW)[axes - 1], f"{kind}{axes}d"
    got = getattr(ours, name)(Tensor(x), 3, return_indices=True)
    known = getattr(theirs, name)(torch.from_numpy(x), 3, return_indices=True)
    for mine, other in zip(got, known, strict=True):
        assert mine.tolist() == other.tolist()


def test_no_antialias() -> None:
    with pytest.raises(NotImplementedError, match="mode='area'"):
        ours.interpolate(Tensor(HW), 3, mode="bilinear", antialias=True)


@pytest.mark.parametrize(
    ("axes", "shape", "channels"),
    [
        (1, (40, 30, 2), (40, 30, 1)),
        (1, (900, 2), (900, 1)),
        (2, (40, 30, 2, 3), (40, 30, 1, 1)),
        (2, (40, 30, 2), (40, 30, 1)),
        (3, (40, 30, 2, 1, 2), (40, 30, 1, 1, 1)),
        (3, (900, 2, 1, 2), (900, 1, 1, 1)),
    ],
)
def test_dropout_of_channels(axes: int, shape: Any, channels: Any) -> None:
    x = np.abs(floats(*shape)) + 1
    function = getattr(ours, f"dropout{axes}d")
    given = Tensor(x)
    assert function(given, 0.25) is given
    with Tensor.train():
        y = function(given, 0.25)
        y.sum().backward()
        assert np.isfinite(function(Tensor(np.full(shape, np.inf)), 1.0).numpy()).all()
    kept = y.numpy() != 0
    np.testing.assert_allclose(y.numpy(), np.where(kept, x / 0.75, 0), rtol=1e-6)
    axis = tuple(a for a, extent in enumerate(channels) if extent == 1)
    np.testing.assert_array_equal(kept.any(axis), kept.all(axis))
    assert 0.65 < kept.mean() < 0.85
    assert given.grad is not None
    np.testing.assert_allclose(given.grad.numpy(), np.where(kept, 1 / 0.75, 0), rtol=1e-6)


def test_dropout_errors() -> None:
    with pytest.raises(ValueError, match="needs 2 or 3 axes"):
        ours.dropout1d(Tensor.ones(3))
    with pytest.raises(ValueError, match="probability"):
        ours.dropout2d(Tensor.ones(1, 2, 3, 3), 1.5)
