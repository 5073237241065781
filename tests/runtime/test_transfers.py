"""What goes from any device to any other, and what is the same on all of them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from gradlet import Tensor, jit, nn
from gradlet.base import dtypes
from tests.adapters import adapter
from tests.helpers import floats

DEVICES = ["cpu", "numpy", "torch:cpu", "webgpu"]


@pytest.fixture(params=DEVICES)
def here(request: pytest.FixtureRequest) -> str:
    return available(request.param)


@pytest.fixture(params=DEVICES)
def there(request: pytest.FixtureRequest) -> str:
    return available(request.param)


def available(device: str) -> str:
    if device == "webgpu":
        adapter()  # or this test is skipped
    return device


def test_tensors_of_all_dtypes_arrive(here: str, there: str) -> None:
    for dtype in dtypes.ALL:
        x = Tensor([[0, 1, 2], [3, 4, 5]], device=here).cast(dtype).realize()
        moved = x.to(there)
        assert (moved.device, moved.dtype) == (there, dtype)
        assert moved.numpy().tobytes() == x.numpy().tobytes()
        assert moved.cast("int32").sum().item() == (1 if dtype is dtypes.bool_ else 3) * 5


def test_models_are_moved_and_trained(here: str, there: str) -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm(4), nn.Linear(4, 2))
    nn.state.to(model, here)
    x = floats(5, 3)
    before = model(Tensor(x, device=here)).numpy()
    nn.state.to(model, there)
    opt = nn.optim.SGD([model], lr=0.1)

    @jit
    def step(x: Tensor) -> Tensor:
        y = model(x)
        (y * y).sum().backward()
        opt.step()
        opt.zero_grad()
        return y

    first, *others = [step(Tensor(x, device=there, requires_grad=False)) for _ in range(3)]
    assert first.device == there
    np.testing.assert_allclose(first.numpy(), before, rtol=1e-5, atol=1e-6)
    assert (others[-1] ** 2).sum().item() < (first**2).sum().item()


@pytest.mark.parametrize(
    "draw",
    [
        lambda **where: Tensor.rand(50, **where),
        lambda **where: Tensor.randint(50, high=99, **where),
        lambda **where: Tensor.randperm(20, **where),
        lambda **where: Tensor.rand(50, dtype="float16", **where),
    ],
)
def test_random_numbers_are_the_same(there: str, draw: Callable[..., Tensor]) -> None:
    found = []
    for device in ("cpu", there):
        Tensor.manual_seed(5)
        found.append(draw(device=device).numpy().tobytes())
    assert found[0] == found[1]


def test_normal_numbers_are_the_same_but_for_rounding(there: str) -> None:
    found = []
    for device in ("cpu", there):
        Tensor.manual_seed(5)
        found.append(Tensor.randn(1000, device=device).numpy())
    np.testing.assert_allclose(found[0], found[1], atol=1e-5)
