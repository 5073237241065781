"""Normalisation against PyTorch's with the same weights."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from gradlet import Tensor, jit, nn
from tests.helpers import floats


@pytest.fixture(autouse=True)
def evaluation() -> Iterator[None]:
    """Tests choose themselves whether they train."""
    with Tensor.train(False):
        yield


# name, arguments, options, shape of x
CASES = {
    "layernorm": ("LayerNorm", (6,), {}, (3, 4, 6)),
    "layernorm of two axes": ("LayerNorm", ((4, 6),), {}, (3, 4, 6)),
    "layernorm not affine": ("LayerNorm", (6,), {"elementwise_affine": False}, (3, 6)),
    "layernorm without bias": ("LayerNorm", (6,), {"bias": False}, (3, 6)),
    "layernorm of one": ("LayerNorm", (1,), {}, (3, 1)),
    "rmsnorm": ("RMSNorm", (6,), {}, (3, 4, 6)),
    "rmsnorm of two axes": ("RMSNorm", ((4, 6),), {"eps": 0.1}, (3, 4, 6)),
    "rmsnorm not affine": ("RMSNorm", (6,), {"elementwise_affine": False}, (3, 6)),
    "groupnorm": ("GroupNorm", (2, 6), {}, (3, 6, 5)),
    "groupnorm of rows": ("GroupNorm", (2, 6), {"eps": 0.1}, (3, 6)),
    "groupnorm of all": ("GroupNorm", (1, 3), {}, (2, 3, 2, 2)),
    "groupnorm not affine": ("GroupNorm", (3, 3), {"affine": False}, (2, 3, 2, 2, 2)),
    "groupnorm of nothing": ("GroupNorm", (2, 4), {}, (0, 4, 3)),
    "batchnorm1d": ("BatchNorm1d", (3,), {}, (4, 3)),
    "batchnorm1d of sequences": ("BatchNorm1d", (3,), {"eps": 0.1}, (4, 3, 5)),
    "batchnorm1d not affine": ("BatchNorm1d", (3,), {"affine": False, "momentum": 0.3}, (4, 3, 5)),
    "batchnorm1d of all batches": ("BatchNorm1d", (3,), {"momentum": None}, (4, 3)),
    "batchnorm2d": ("BatchNorm2d", (3,), {}, (4, 3, 2, 5)),
    "batchnorm2d untracked": ("BatchNorm2d", (3,), {"track_running_stats": False}, (4, 3, 2, 5)),
    "batchnorm3d": ("BatchNorm3d", (2,), {}, (2, 2, 2, 3, 2)),
    "instancenorm1d": ("InstanceNorm1d", (3,), {}, (2, 3, 5)),
    "instancenorm1d without N": ("InstanceNorm1d", (3,), {"affine": True}, (3, 5)),
    "instancenorm1d tracked": ("InstanceNorm1d", (3,), {"track_running_stats": True}, (3, 5)),
    "instancenorm2d": ("InstanceNorm2d", (3,), {"affine": True, "eps": 0.1}, (2, 3, 2, 2)),
    "instancenorm2d tracked": (
        "InstanceNorm2d", (3,), {"affine": True, "track_running_stats": True}, (2, 3, 2, 2),
    ),
    "instancenorm2d not moving": (
        "InstanceNorm2d", (3,), {"track_running_stats": True, "momentum": None}, (2, 3, 2, 2),
    ),
    "instancenorm3d": ("InstanceNorm3d", (2,), {}, (2, 2, 2, 1, 2)),
}  # fmt: skip


def pair(name: str) -> tuple[Any, Any, tuple[int, ...]]:
    """A layer, PyTorch's, and the shape of what they take."""
    kind, args, options, shape = CASES[name]
    return getattr(nn, kind)(*args, **options), getattr(torch.nn, kind)(*args, **options), shape


@pytest.mark.parametrize("name", CASES)
def test_values_gradients_and_statistics(name: str) -> None:
    """Two steps of training, in which running statistics move, and one of evaluation."""
    layer, reference, shape = pair(name)
    ours = nn.state.get_state_dict(layer)
    assert list(ours) == list(reference.state_dict())
    for number, parameter in enumerate(reference.parameters()):
        parameter.data = torch.tensor(floats(*parameter.shape, seed=number))
    nn.state.load_state_dict(layer, reference.state_dict())
    for number, training in enumerate((True, True, False)):
        reference.train(training)
        reference.zero_grad()
        for parameter in nn.state.get_parameters(layer):
            parameter.grad = None
        array, direction = floats(*shape, seed=number), floats(*shape, seed=9)
        x, tx = Tensor(array), torch.tensor(array, requires_grad=True)
        expected = reference(tx)
        (expected * torch.tensor(direction)).sum().backward()
        with Tensor.train(training):
            y = layer(x)
            (y * Tensor(direction)).sum().backward()
        np.testing.assert_allclose(y.numpy(), expected.detach().numpy(), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(x.grad.numpy(), tx.grad.numpy(), rtol=1e-3, atol=5e-5)
        for key, known in reference.state_dict(keep_vars=True).items():
            np.testing.assert_allclose(ours[key].numpy(), known.detach().numpy(), rtol=1e-5)
            assert ours[key].dtype.name == str(known.dtype).removeprefix("torch.")
            if known.grad is not None:
                given = ours[key].grad.numpy()
                np.testing.assert_allclose(given, known.grad.numpy(), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["layernorm", "rmsnorm", "groupnorm", "batchnorm1d"])
def test_half_floats_do_not_overflow_in_squares(name: str) -> None:
    layer, reference, shape = pair(name)
    array = (floats(*shape) * 1000).astype(np.float16)
    with Tensor.train():
        y = layer(Tensor(array))
    expected = reference(torch.tensor(array).float()).detach().numpy()
    assert y.dtype.name == "float16"
    np.testing.assert_allclose(y.numpy(), expected, atol=2e-3)


def test_eps_of_rmsnorm() -> None:
    for dtype, tiny in (("float16", 1e-3), ("float32", 1e-4), ("float64", 1e-8)):
        x = np.full(4, tiny, dtype)
        expected = torch.nn.functional.rms_norm(torch.tensor(x), (4,)).numpy()
        got = nn.RMSNorm(4, elementwise_affine=False)(Tensor(x))
        assert got.dtype.name == dtype
        np.testing.assert_allclose(got.numpy(), expected, rtol=1e-3)


def test_mean_over_all_batches_in_jit() -> None:
    layer = nn.BatchNorm1d(2, momentum=None)

    @jit
    def step(x: Tensor) -> Tensor:
        return layer(x)

    arrays = [floats(4, 2, seed=i) for i in range(4)]
    with Tensor.train():
        for array in arrays:
            step(Tensor(array)).numpy()
    assert layer.running_mean is not None
    wanted = np.mean([array.mean(0) for array in arrays], axis=0)
    np.testing.assert_allclose(layer.running_mean.numpy(), wanted, rtol=1e-5, atol=1e-6)


def test_running_statistics_do_not_grow_a_chain() -> None:
    """Whatever is computed next computes them too, and afterwards they are plain elements."""
    layer = nn.BatchNorm2d(2)
    with Tensor.train():
        for _ in range(3):
            layer(Tensor(floats(4, 2, 3, 3))).numpy()
            for running in (layer.running_mean, layer.running_var, layer.num_batches_tracked):
                assert running is not None and running.node.arg.pending is None
    assert layer.num_batches_tracked is not None and layer.num_batches_tracked.item() == 3


def test_batchnorm_variance_far_from_zero() -> None:
    """Two passes: a mean of 10,000 does not swallow a spread of 1."""
    x = floats(64, 1, 8, 8) + np.float32(10_000)
    with Tensor.train():
        y = nn.BatchNorm2d(1)(Tensor(x)).numpy()
    exact = (x.astype(np.float64) - x.mean(dtype=np.float64)) / x.std(dtype=np.float64)
    np.testing.assert_allclose(y, exact, atol=5e-3)


def test_batchnorm_does_not_train_on_one_value() -> None:
    with Tensor.train(), pytest.raises(ValueError, match="more than one value a channel"):
        nn.BatchNorm(2)(Tensor(floats(1, 2)))


@pytest.mark.parametrize(
    ("layer", "shape", "wanted"),
    [
        (nn.BatchNorm1d(2), (4,), r"BatchNorm1d\(2\).*\(4,\).*\(N, 2\) or \(N, 2, L\)"),
        (nn.BatchNorm1d(2), (4, 2, 3, 3), r"BatchNorm1d\(2\).*\(N, 2\) or \(N, 2, L\)"),
        (nn.BatchNorm2d(2), (4, 2), r"BatchNorm2d\(2\).*\(4, 2\).*\(N, 2, H, W\)"),
        (nn.BatchNorm3d(2), (4, 2, 3, 3), r"BatchNorm3d\(2\).*\(N, 2, D, H, W\)"),
        (nn.BatchNorm(2), (4, 3), r"BatchNorm\(2\).*\(N, 2, ...\)"),
        (nn.InstanceNorm1d(3), (2, 5), r"InstanceNorm1d\(3\).*\(N, 3, L\) or \(3, L\)"),
        (nn.InstanceNorm2d(3), (2, 4, 5, 5), r"\(N, 3, H, W\) or \(3, H, W\)"),
        (nn.InstanceNorm2d(3), (1, 2, 3, 5, 5), "InstanceNorm2d"),
        (nn.InstanceNorm2d(3), (2, 3, 1, 1), "more than one value a channel"),
        (nn.GroupNorm(2, 4), (4,), r"GroupNorm\(2, 4\).*\(N, 4, ...\)"),
        (nn.LayerNorm((3, 4)), (4, 3), r"LayerNorm\(\(3, 4\)\).*\(..., 3, 4\)"),
        (nn.RMSNorm(3), (4,), r"RMSNorm\(\(3,\)\).*\(..., 3\)"),
    ],
)
def test_a_wrong_shape_names_the_layer(layer: Any, shape: tuple[int, ...], wanted: str) -> None:
    with pytest.raises(ValueError, match=wanted):
        layer(Tensor.zeros(shape))


def test_groups_divide_channels() -> None:
    with pytest.raises(ValueError, match="num_groups=2 must divide num_channels=3"):
        nn.GroupNorm(2, 3)
