"""Initial values: exact ones against PyTorch, random ones by what is known of them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from gradlet import Tensor, nn
from gradlet.nn import init

EXACT = {
    "constant_": ((3, 2), {"val": 2.5}),
    "ones_": ((3,), {}),
    "zeros_": ((), {}),
    "eye_": ((3, 5), {}),
    "dirac_": ((6, 2, 3), {"groups": 2}),
}


@pytest.mark.parametrize("name", EXACT)
def test_exact_values(name: str) -> None:
    shape, options = EXACT[name]
    got = Tensor.rand(shape)
    assert getattr(init, name)(got, **options) is got
    expected = getattr(torch.nn.init, name)(torch.rand(shape), **options)
    np.testing.assert_array_equal(got.numpy(), expected.numpy())


@pytest.mark.parametrize("shape", [(4, 3, 3), (2, 5, 4, 1), (3, 3, 2, 2, 2)])
def test_dirac_filters(shape: tuple[int, ...]) -> None:
    expected = torch.nn.init.dirac_(torch.zeros(shape))
    np.testing.assert_array_equal(init.dirac_(Tensor.zeros(shape)).numpy(), expected.numpy())


BOUNDED = {
    "uniform_": {"a": -3.0, "b": 2.0},
    "xavier_uniform_": {"gain": 2.0},
    "kaiming_uniform_": {"a": 0.5, "mode": "fan_out"},
    "trunc_normal_": {"mean": 0.5, "a": -1.0, "b": 1.5},
}
NORMAL = {
    "normal_": {"mean": 1.0, "std": 3.0},
    "xavier_normal_": {"gain": 2.0},
    "kaiming_normal_": {"nonlinearity": "relu"},
}


@pytest.mark.parametrize("name", [*BOUNDED, *NORMAL])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_random_values_spread_as_pytorchs(name: str, dtype: str) -> None:
    options: dict[str, Any] = {**BOUNDED, **NORMAL}[name]
    shape = (50, 40, 5)
    Tensor.manual_seed(0)
    got = getattr(init, name)(Tensor.zeros(shape, dtype=dtype), **options).numpy()
    torch.manual_seed(0)
    expected = getattr(torch.nn.init, name)(torch.zeros(shape), **options).numpy()
    spread = expected.std()
    assert got.dtype == dtype and abs(got.mean() - expected.mean()) < spread / 20
    assert abs(got.std() / spread - 1) < 0.03
    if name in BOUNDED:
        for bound in (np.min, np.max):
            assert abs(bound(got) - bound(expected)) < spread / 100


@pytest.mark.parametrize("shape", [(6, 4), (4, 6), (3, 2, 5)])
def test_orthogonal(shape: tuple[int, ...]) -> None:
    matrix = init.orthogonal_(Tensor.zeros(shape), gain=2.0).numpy().reshape(shape[0], -1)
    product = matrix @ matrix.T if shape[0] <= matrix.shape[1] else matrix.T @ matrix
    np.testing.assert_allclose(product, 4 * np.eye(len(product)), atol=1e-5)


def test_sparse() -> None:
    matrix = init.sparse_(Tensor.ones(10, 300), 0.25, std=2.0).numpy()
    assert ((matrix == 0).sum(0) == 3).all()
    assert abs(matrix[matrix != 0].std() - 2) < 0.2
    assert 60 < (matrix[0] == 0).sum() < 120


def test_gains() -> None:
    for name, param in (
        ("linear", None), ("conv2d", None), ("sigmoid", None), ("tanh", None), ("relu", None),
        ("leaky_relu", None), ("leaky_relu", 0.3), ("selu", None),
    ):  # fmt: skip
        expected = torch.nn.init.calculate_gain(name, param)
        assert math.isclose(init.calculate_gain(name, param), expected)


def test_a_parameter_stays_one() -> None:
    layer = nn.Linear(3, 2)
    init.xavier_uniform_(layer.weight)
    (layer(Tensor.ones(1, 3)).sum()).backward()
    assert layer.weight.requires_grad and layer.weight.grad is not None


@pytest.mark.parametrize(
    ("call", "wanted"),
    [
        (lambda: init.xavier_normal_(Tensor.ones(3)), r"xavier_normal_.*\(3,\)"),
        (lambda: init.kaiming_normal_(Tensor.ones(3, 3), mode="fan"), "'fan_in' or 'fan_out'"),
        (lambda: init.calculate_gain("step"), "calculate_gain.*'step'"),
        (lambda: init.kaiming_uniform_(Tensor.ones(3, 0)), "has no elements"),
        (lambda: init.eye_(Tensor.ones(3)), "eye_"),
        (lambda: init.dirac_(Tensor.ones(3, 2)), "dirac_"),
        (lambda: init.orthogonal_(Tensor.ones(3)), "orthogonal_"),
        (lambda: init.sparse_(Tensor.ones(3, 3), 2.0), "sparse_"),
        (lambda: init.trunc_normal_(Tensor.ones(3), a=1.0, b=0.0), "a < b"),
        (lambda: init.trunc_normal_(Tensor.ones(3), a=90.0, b=91.0), "too far"),
    ],
)
def test_what_cannot_be_says_so(call: Any, wanted: str) -> None:
    with pytest.raises(ValueError, match=wanted):
        call()
