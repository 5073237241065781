"""Averages of weights against PyTorch's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.optim import swa_utils

from gradlet import Tensor, jit, nn, profile


def model() -> Any:
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm(4), nn.Linear(4, 2))


def torch_model() -> torch.nn.Sequential:
    parts = torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 2)
    return torch.nn.Sequential(*parts)


def values(of: Any, seed: int) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    return {
        name: generator.normal(size=tuple(t.shape)).astype(np.float32)
        if "tracked" not in name
        else np.int64(seed)
        for name, t in nn.state.get_state_dict(of).items()
    }


def set_both(mine: Any, theirs: Any, seed: int) -> None:
    new = values(mine, seed)
    nn.state.load_state_dict(mine, new)
    for name, value in theirs.state_dict().items():
        value.copy_(torch.tensor(new[name]))


def assert_same(mine: Any, theirs: Any) -> None:
    known = theirs.state_dict()
    assert set(mine.state_dict()) == set(known)
    for name, value in mine.state_dict().items():
        np.testing.assert_allclose(value.numpy(), known[name].numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("use_buffers", [False, True])
@pytest.mark.parametrize("decay", [None, 0.9])
def test_averages_agree_with_pytorch(decay: float | None, use_buffers: bool) -> None:
    mine, theirs = model(), torch_model()
    if use_buffers:  # PyTorch would average this integer, and round it
        mine[1].num_batches_tracked = theirs[1].num_batches_tracked = None
    if decay is None:
        average, rule = nn.optim.AveragedModel(mine, use_buffers=use_buffers), None
    else:
        average = nn.optim.EMA(mine, decay, use_buffers)
        rule = swa_utils.get_ema_avg_fn(decay)
    known = swa_utils.AveragedModel(theirs, avg_fn=rule, use_buffers=use_buffers)
    for seed in range(5):
        set_both(mine, theirs, seed)
        average.update_parameters(mine), known.update_parameters(theirs)
        assert_same(average, known)
    x = np.random.default_rng(9).normal(size=(5, 3)).astype(np.float32)
    known.eval()
    np.testing.assert_allclose(
        average(Tensor(x)).numpy(), known(torch.tensor(x)).detach(), rtol=1e-3, atol=1e-5
    )


def test_a_state_goes_on() -> None:
    mine, theirs = model(), torch_model()
    known = swa_utils.AveragedModel(theirs)
    first = nn.optim.AveragedModel(mine)
    for seed in range(3):
        set_both(mine, theirs, seed)
        first.update_parameters(mine), known.update_parameters(theirs)
    for state in (first.state_dict(), {k: v.numpy() for k, v in known.state_dict().items()}):
        second = nn.optim.AveragedModel(model())
        second.load_state_dict(state)
        assert_same(second, known)
    set_both(mine, theirs, 7)
    second.update_parameters(mine), known.update_parameters(theirs)
    assert_same(second, known)
    before = second.module[0].weight.tolist()
    with pytest.raises(ValueError, match="n_averaged"):
        second.load_state_dict(nn.state.get_state_dict(mine, "module"))
    assert second.module[0].weight.tolist() == before


def test_swapping() -> None:
    layer = nn.Linear(2, 1)
    ema = nn.optim.EMA(layer, decay=0.5)
    ema.update()
    old = layer.weight.numpy()
    layer.weight.assign(layer.weight + 2)
    ema.update()
    new, mean = layer.weight.numpy(), ema.module.weight.numpy()
    np.testing.assert_allclose(mean, old + 1, rtol=1e-6)
    with pytest.raises(KeyError), ema.swapped():
        assert (layer.weight.numpy() == mean).all()
        raise KeyError
    assert (layer.weight.numpy() == new).all() and (ema.module.weight.numpy() == mean).all()
    ema.copy_to()
    assert (layer.weight.numpy() == mean).all()
    assert layer.weight.requires_grad is not False
    other = nn.Linear(2, 1)
    ema.copy_to(other)
    assert (other.weight.numpy() == mean).all()


def test_shared_weights_stay_shared() -> None:
    layer = nn.Linear(2, 2)
    tied = {"a": layer, "b": layer}
    ema = nn.optim.EMA(tied, decay=0.5)
    assert ema.module["a"] is ema.module["b"]
    start = layer.weight.numpy()
    for _ in range(2):
        ema.update()
        layer.weight.assign(layer.weight + 2)
    np.testing.assert_allclose(ema.module["a"].weight.numpy(), start + 1, rtol=1e-6)


def test_half_precision_is_averaged_in_float32() -> None:
    w = [Tensor([1.0], dtype="float16")]
    mean = nn.optim.AveragedModel(w)
    for value in (60000.0, 50016.0, 40000.0):  # whose sum float16 does not have
        w[0].assign(Tensor([value], dtype="float16"))
        mean.update_parameters(w)
    assert mean.module[0].dtype.name == "float16" and mean.module[0].tolist() == [50016.0]


def test_an_update_is_part_of_a_recorded_step_and_compiles_once() -> None:
    results = []
    for wrap in (jit, lambda step: step):
        Tensor.manual_seed(0)
        layer = nn.Linear(3, 2)
        opt, ema = nn.optim.Adam([layer], lr=0.1), nn.optim.EMA(layer, 0.9)

        def step(x: Tensor, layer: Any = layer, opt: Any = opt, ema: Any = ema) -> None:
            opt.zero_grad()
            (layer(x) ** 2).sum().backward()
            opt.step()
            ema.update()

        wrapped = wrap(step)
        for n in range(6):
            with profile() as seen:
                wrapped(Tensor.ones(2, 3, requires_grad=False))
            assert n < 3 or seen.counters["programs compiled"] == 0
        results.append(ema.module.weight.numpy())
        assert ema.n_averaged.item() == 6
    np.testing.assert_allclose(*results, rtol=1e-5)


def test_what_goes_wrong() -> None:
    with pytest.raises(ValueError, match=r"decay must be in \[0, 1\], not 2"):
        nn.optim.EMA(nn.Linear(2, 1), 2)
    ema = nn.optim.EMA(nn.Linear(2, 1))
    with pytest.raises(ValueError, match="averages: weight"):
        ema.update_parameters(nn.Linear(3, 1))


def test_swa_is_the_mean_of_what_was_seen() -> None:
    average = nn.optim.get_swa_avg_fn()
    mean = Tensor([1.0, 2.0])
    for count, seen in enumerate(([3.0, 4.0], [8.0, 0.0]), 1):
        mean = average(mean, Tensor(seen), Tensor(count))
    np.testing.assert_allclose(mean.numpy(), [4.0, 2.0], rtol=1e-6)
