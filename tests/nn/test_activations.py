"""Activation layers against PyTorch's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from gradlet import Tensor, nn
from gradlet.nn import activations
from tests.helpers import floats
from tests.nn.comparison import check_layer

CASES: list[tuple[str, tuple[Any, ...]]] = [
    ("ReLU", ()), ("ReLU6", ()), ("LeakyReLU", (0.2,)), ("ELU", (1.5,)), ("CELU", (1.5,)),
    ("SELU", ()), ("GELU", ()), ("GELU", ("tanh",)), ("SiLU", ()), ("Mish", ()),
    ("Softplus", (2.0, 1.0)), ("Softsign", ()), ("Sigmoid", ()), ("LogSigmoid", ()), ("Tanh", ()),
    ("Tanhshrink", ()), ("Hardtanh", (-0.5, 0.7)), ("Hardswish", ()), ("Hardsigmoid", ()),
    ("Hardshrink", (0.7,)), ("Softshrink", (0.7,)), ("Threshold", (0.3, 9.0)), ("GLU", (1,)),
    ("Softmax", (0,)), ("LogSoftmax", (1,)), ("Softmin", (-2,)), ("Softmax2d", ()), ("PReLU", ()),
    ("PReLU", (4, 0.1)),
]  # fmt: skip
DROPOUTS = ["Dropout1d", "Dropout2d", "Dropout3d"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
def test_layers(case: Any) -> None:
    name, options = case
    ours, theirs = getattr(nn, name)(*options), getattr(torch.nn, name)(*options)
    if name == "PReLU":
        assert ours.weight.tolist() == theirs.weight.tolist()
    check_layer(ours, theirs, floats(2, 4, 3, 5, low=-8, high=8))
    assert repr(ours).startswith(f"{name}(")


def test_every_layer_is_tried() -> None:
    assert {case[0] for case in CASES} | set(DROPOUTS) == set(activations.__all__)


def test_nothing_is_done_in_place() -> None:
    x = Tensor([-1.0, 2.0])
    assert nn.ReLU(inplace=True)(x).tolist() == [0, 2] and x.tolist() == [-1, 2]
    assert nn.ELU(1.0, True)(x).shape == (2,)


def test_softmax_wants_an_axis() -> None:
    with pytest.raises(TypeError, match="dim"):
        nn.Softmax()


def test_prelu_is_trained() -> None:
    assert len(nn.state.get_parameters([nn.PReLU(), nn.ReLU()])) == 1


@pytest.mark.parametrize(("name", "axes"), [*zip(DROPOUTS, (1, 2, 3), strict=True)])
def test_dropout(name: str, axes: int) -> None:
    layer = getattr(nn, name)(0.25)
    x = Tensor(np.ones((30, 40, *(2,) * axes), np.float32))
    assert layer(x) is x
    with Tensor.train():
        channels = layer(x).numpy().reshape(1200, -1)
    assert set(np.unique(channels)) == {np.float32(0), np.float32(1 / 0.75)}
    assert (channels == channels[:, :1]).all() and 200 < (channels[:, 0] == 0).sum() < 400
    with pytest.raises(ValueError, match="probability"):
        getattr(nn, name)(-0.1)
