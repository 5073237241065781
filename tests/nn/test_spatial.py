"""Layers over space against PyTorch's."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from gradlet import Tensor, nn
from gradlet.nn.state import get_state_dict
from tests.helpers import floats


@pytest.mark.parametrize(
    ("name", "arguments", "options", "shape"),
    [
        ("Conv1d", (3, 4, 3), {"padding": 1, "stride": 2}, (2, 3, 9)),
        ("Conv1d", (4, 6, 3), {"padding": "same", "groups": 2}, (2, 4, 9)),
        ("Conv3d", (2, 3, (1, 2, 3)), {"bias": False}, (2, 2, 3, 4, 5)),
        ("ConvTranspose1d", (3, 4, 3), {"stride": 2, "output_padding": 1}, (2, 3, 5)),
        ("ConvTranspose2d", (4, 6, 3), {"groups": 2, "padding": 1}, (2, 4, 5, 3)),
        ("ConvTranspose3d", (2, 3, 2), {"bias": False, "dilation": 2}, (2, 2, 3, 2, 2)),
        ("MaxPool1d", (3,), {"stride": 2, "padding": 1}, (2, 3, 9)),
        ("MaxPool2d", (2,), {"ceil_mode": True}, (2, 3, 5, 5)),
        ("MaxPool3d", (2,), {"dilation": 2}, (2, 3, 5, 5, 4)),
        ("AvgPool1d", (3,), {"stride": 2, "padding": 1}, (2, 3, 9)),
        ("AvgPool2d", (3,), {"padding": 1, "count_include_pad": False}, (2, 3, 5, 5)),
        ("AvgPool3d", (2,), {"ceil_mode": True}, (2, 3, 5, 4, 3)),
        ("Flatten", (), {}, (2, 3, 4)),
        ("Flatten", (0, 1), {}, (2, 3, 4)),
        ("Unflatten", (1, (3, 2)), {}, (2, 6, 4)),
        ("Identity", (54,), {"unused": 1}, (2, 6)),
    ],
)
def test_layers(name: str, arguments: Any, options: Any, shape: Any) -> None:
    ours = getattr(nn, name)(*arguments, **options)
    theirs = getattr(torch.nn, name)(*arguments, **options)
    state = get_state_dict(ours)
    assert {k: v.shape for k, v in state.items()} == {
        k: tuple(v.shape) for k, v in theirs.state_dict().items()
    }
    for key, value in state.items():
        known = theirs.state_dict()[key]
        weight = theirs.state_dict()["weight"]
        assert abs(value.numpy()).max() <= 1 / math.sqrt(math.prod(weight.shape[1:]))
        value.assign(Tensor(known.numpy()))
    x = floats(*shape)
    np.testing.assert_allclose(
        ours(Tensor(x)).numpy(), theirs(torch.from_numpy(x)).detach().numpy(), atol=1e-4
    )


def test_weights_fill_their_range() -> None:
    weight = nn.ConvTranspose2d(8, 64, 3).weight.numpy()
    assert abs(weight).max() > 0.99 / math.sqrt(64 * 9)


def test_places_of_the_largest() -> None:
    x = floats(1, 6)
    _, places = nn.MaxPool1d(2, return_indices=True)(Tensor(x))
    assert places.tolist() == (x.reshape(3, 2).argmax(1) + [0, 2, 4]).reshape(1, 3).tolist()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: nn.Conv1d(3, 4, 2, groups=2), "groups=2 must divide"),
        (lambda: nn.ConvTranspose1d(4, 3, 2, groups=2), "groups=2 must divide"),
        (lambda: nn.Conv1d(3, 4, 2, stride=2, padding="same"), "stride 1"),
        (lambda: nn.Conv3d(3, 4, 2, padding="full"), "'valid'"),
        (lambda: nn.Conv3d(3, 4, (2, 2)), "one number or 3"),
        (lambda: nn.Conv1d(3, 4, 2)(Tensor.ones(2, 2, 5)), "2 channels"),
    ],
)
def test_errors(make: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()
