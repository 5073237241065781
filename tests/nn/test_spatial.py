"""Convolutions, and layers that only reshape, against PyTorch's."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from gradlet import Tensor, nn
from gradlet.nn.state import get_state_dict
from tests.helpers import assert_same, floats
from tests.nn.comparison import check_layer


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize(
    ("name", "arguments", "options", "shape"),
    [
        ("Conv1d", (3, 4, 3), {"padding": 1, "stride": 2}, (2, 3, 9)),
        ("Conv1d", (4, 6, 4), {"padding": "same", "groups": 2, "stride": (1,)}, (2, 4, 9)),
        ("Conv1d", (3, 4, 3), {"padding": "valid", "stride": 2}, (3, 9)),
        ("Conv2d", (2, 4, 3), {}, (2, 2, 6, 5)),
        ("Conv2d", (2, 4, (3, 2)), {"padding": "valid", "stride": (2, 1)}, (2, 2, 6, 5)),
        ("Conv2d", (1, 2, (4, 3)), {"padding": "same", "bias": False}, (1, 1, 6, 5)),
        (
            "Conv2d",
            (4, 6, (3, 2)),
            {"stride": (2, 1), "padding": (1, 2), "dilation": (1, 2), "groups": 2},
            (4, 7, 6),
        ),
        ("Conv3d", (2, 3, (1, 2, 3)), {"bias": False}, (2, 2, 3, 4, 5)),
        ("Conv3d", (2, 3, 2), {"padding": "same"}, (2, 3, 4, 5)),
        ("Conv1d", (3, 4, 3), {"padding": 2, "padding_mode": "reflect", "stride": 2}, (2, 3, 9)),
        ("Conv2d", (2, 3, (4, 3)), {"padding": "same", "padding_mode": "circular"}, (2, 6, 5)),
        ("Conv2d", (2, 3, 3), {"padding": "valid", "padding_mode": "reflect"}, (1, 2, 4, 5)),
        (
            "Conv3d",
            (2, 3, 3),
            {"padding": (0, 1, 2), "padding_mode": "replicate", "dilation": 2},
            (1, 2, 5, 4, 3),
        ),
        ("ConvTranspose1d", (3, 4, 3), {"stride": 2, "output_padding": 1}, (2, 3, 5)),
        ("ConvTranspose2d", (4, 6, 3), {"groups": 2, "padding": 1}, (2, 4, 5, 3)),
        ("ConvTranspose2d", (4, 6, 3), {"stride": 2}, (4, 5, 3)),
        ("ConvTranspose3d", (2, 3, 2), {"bias": False, "dilation": 2}, (2, 2, 3, 2, 2)),
        ("Flatten", (), {}, (2, 3, 4)),
        ("Flatten", (0, 1), {}, (2, 3, 4)),
        ("Unflatten", (1, (3, 2)), {}, (2, 6, 4)),
        ("Identity", (54,), {"unused": 1}, (2, 6)),
    ],
)
def test_layers(name: str, arguments: Any, options: Any, shape: Any) -> None:
    ours = getattr(nn, name)(*arguments, **options)
    theirs = getattr(torch.nn, name)(*arguments, **options)
    for value in get_state_dict(ours).values():
        bound = 1 / math.sqrt(math.prod(ours.weight.shape[1:]))
        assert abs(value.numpy()).max() <= bound
    check_layer(ours, theirs, floats(*shape), atol=1e-4)


@pytest.mark.parametrize("size", [(9, 7), (10, 8), (2, 3, 9, 7)])
def test_the_size_of_what_is_transposed(size: tuple[int, ...]) -> None:
    ours = nn.ConvTranspose2d(4, 3, 3, stride=2, padding=1, output_padding=1)
    theirs = torch.nn.ConvTranspose2d(4, 3, 3, stride=2, padding=1, output_padding=1)
    check_layer(ours, theirs, floats(2, 4, 5, 4))
    x = floats(2, 4, 5, 4)
    known = theirs(torch.from_numpy(x), size)
    assert_same(ours(Tensor(x), size), known, 1e-5, 1e-5)


def test_weights_fill_their_range() -> None:
    weight = nn.ConvTranspose2d(8, 64, 3).weight.numpy()
    assert abs(weight).max() > 0.99 / math.sqrt(64 * 9)


TRANSPOSED = nn.ConvTranspose1d(4, 3, 2, stride=2)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: nn.Conv1d(3, 4, 2, groups=2), "groups=2 must divide"),
        (lambda: nn.ConvTranspose1d(4, 3, 2, groups=2), "groups=2 must divide"),
        (lambda: nn.Conv1d(3, 4, 2, stride=2, padding="same"), "stride 1"),
        (lambda: nn.Conv3d(3, 4, 2, padding="full"), "'valid'"),
        (lambda: nn.Conv3d(3, 4, (2, 2)), "one number or 3"),
        (lambda: nn.Conv3d(3, 4, 2, padding_mode="same"), "padding_mode is one of zeros, reflect"),
        (
            lambda: nn.Conv1d(3, 4, 2, padding=5, padding_mode="reflect")(Tensor.ones(2, 3, 5)),
            "cannot add",
        ),
        (lambda: nn.Conv2d(3, 4, 2, stride=(1, 1, 1), padding="same"), "one number or 2"),
        (lambda: nn.Conv1d(3, 4, 2)(Tensor.ones(2, 2, 5)), r"\(N, 3, L\), or the same without N"),
        (lambda: nn.Conv3d(3, 4, 2)(Tensor.ones(3, 5, 5)), r"Conv3d\(3, 4.*\(N, 3, D, H, W\)"),
        (lambda: TRANSPOSED(Tensor.ones(2, 3, 5)), r"\(N, 4, L\)"),
        (lambda: TRANSPOSED(Tensor.ones(2, 4, 5), (12,)), r"must be \(10,\) or less than a stride"),
        (lambda: TRANSPOSED(Tensor.ones(2, 4, 5), (3, 2, 3, 10)), "less than a stride"),
    ],
)
def test_errors(make: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()
