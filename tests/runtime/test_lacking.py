"""What counts in float64 elsewhere, on devices without it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytest

from gradlet import Tensor, jit, nn
from gradlet.base import dtypes
from gradlet.engine import realize
from gradlet.ir.node import Node, topological
from gradlet.nn import optim
from gradlet.runtime.device import Executable, finest_float, register
from gradlet.runtime.numpy_device import NumpyDevice
from tests.adapters import adapter, limited
from tests.helpers import floats


class Narrow(NumpyDevice):
    """NumPy without float64."""

    name = "narrow"
    lacks = (dtypes.float64,)

    def compile(self, sinks: Sequence[Node], params: Sequence[Node]) -> Executable:
        if any(n.dtype in self.lacks for n in topological(sinks)):
            raise TypeError("no float64 here")
        return super().compile(sinks, params)


register("narrow", Narrow, "NumPy without float64")


@pytest.fixture(params=["narrow", "webgpu"])
def narrow(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A device without float64: one of our own, and an adapter as if it had no features."""
    if request.param == "webgpu":
        monkeypatch.setattr(adapter(), "target", limited(features="").target)
    realize.clear_programs()
    yield request.param
    realize.clear_programs()


def weights(device: str, make: Callable[[list[Tensor]], optim.Optimizer]) -> list[np.ndarray]:
    """Of a linear layer after each of some steps, of which the first are not recorded."""
    w = Tensor(floats(5, 4), device=device)
    b = Tensor(floats(4, seed=1), device=device)
    opt = make([w, b])
    opt.lr = 0.1
    x = Tensor(floats(6, 5, seed=2), device=device, requires_grad=False)
    found = []

    def step(x: Tensor) -> None:
        ((x @ w + b) ** 2).mean().backward()
        opt.step()
        opt.zero_grad()

    recorded = jit(step)
    for number in range(7):
        (step if number < 2 else recorded)(x)
        opt.param_groups[0]["lr"] *= 0.9  # which a recorded step reads
        found += [w.numpy(), b.numpy()]
    opt.load_state_dict(opt.state_dict())
    step(x)
    return [*found, w.numpy(), b.numpy()]


OPTIMIZERS: dict[str, Callable[[list[Tensor]], optim.Optimizer]] = {
    "Adadelta": optim.Adadelta,
    "Adagrad": optim.Adagrad,
    "Adam": lambda p: optim.Adam(p, betas=(0.0, 0.999), amsgrad=True),
    "AdamW": optim.AdamW,
    "Adamax": optim.Adamax,
    "LAMB": optim.LAMB,
    "LARS": optim.LARS,
    "Lion": optim.Lion,
    "Muon": lambda p: optim.Muon(p[:1]),
    "NAdam": optim.NAdam,
    "RAdam": optim.RAdam,
    "RMSprop": lambda p: optim.RMSprop(p, momentum=0.9, centered=True),
    "SGD": lambda p: optim.SGD(p, momentum=0.9, nesterov=True),
}


def test_every_optimiser_is_here() -> None:
    classes = [getattr(optim, name) for name in optim.__all__]
    known = {c.__name__ for c in classes if isinstance(c, type) and issubclass(c, optim.Optimizer)}
    assert known - {"Optimizer"} == set(OPTIMIZERS)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimisers_take_the_same_steps(narrow: str, name: str) -> None:
    ours, theirs = (weights(device, OPTIMIZERS[name]) for device in (narrow, "cpu"))
    for got, expected in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


def test_schedules_change_betas_too(narrow: str) -> None:
    found = []
    for device in (narrow, "cpu"):
        w = Tensor(floats(5), device=device)
        opt = optim.Adam([w], lr=0.1)
        cycle = optim.OneCycleLR(opt, max_lr=0.1, total_steps=8)
        for _ in range(8):
            (w * w).sum().backward()
            opt.step()
            opt.zero_grad()
            cycle.step()
        found.append(w.numpy())
    np.testing.assert_allclose(found[0], found[1], rtol=1e-4)


@pytest.mark.parametrize("order", [1.0, 2.0, 3.0, np.inf])
@pytest.mark.parametrize("size", [1.0, 1e30, 0.0])
def test_norms_do_not_overflow(narrow: str, order: float, size: float) -> None:
    array = floats(40) * np.float32(size)
    tensors = [Tensor(part, device=narrow) for part in np.split(array, 4)]
    got = nn.utils.get_total_norm(tensors, order).numpy()
    expected = np.linalg.norm(array.astype(np.float64), order)
    np.testing.assert_allclose(got, expected, rtol=1e-6)
    assert np.isnan(nn.utils.get_total_norm([Tensor([np.nan], device=narrow)], order).item())


def test_lines_are_those_of_other_devices(narrow: str) -> None:
    for make in (
        lambda device: Tensor.linspace(-1, 7.3, 1001, device=device),
        lambda device: Tensor.arange(0.1, 9, 0.3, dtype="float16", device=device),
        lambda device: Tensor.arange(7, device=device),
    ):
        ours, theirs = make(narrow), make("cpu")
        assert ours.dtype is theirs.dtype
        assert np.array_equal(ours.numpy(), theirs.numpy())


@pytest.mark.parametrize("replacement", [True, False])
def test_weights_decide_on_draws(narrow: str, replacement: bool) -> None:
    drawn = Tensor([[0.0, 3.0, 1.0]] * 2000, device=narrow).multinomial(1, replacement)
    counts = np.bincount(drawn.numpy().ravel(), minlength=3)
    assert counts[0] == 0 and 0.72 < counts[1] / 2000 < 0.78


def test_what_asks_for_float64_is_refused(narrow: str) -> None:
    assert finest_float(narrow) is dtypes.float32 and finest_float("cpu") is dtypes.float64
    x = Tensor(np.ones(3), dtype="float64", device=narrow)
    assert x.tolist() == [1.0, 1.0, 1.0]
    with pytest.raises(TypeError, match="no float64"):
        (x + 1).numpy()
