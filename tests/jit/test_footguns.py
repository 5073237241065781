"""What other recorders of steps get wrong in silence: here the numbers are those without `jit`."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gradlet import JitError, Tensor, jit, nn


def fixed(*values: float, device: str | None = None) -> Tensor:
    return Tensor(list(values), device=device, requires_grad=False)


# Arguments


def test_an_argument_on_another_device_is_another_kind() -> None:
    step = jit(lambda x: x * 2 + 1)
    for device in ("cpu", "numpy", "cpu", "numpy"):
        found = step(fixed(1.0, 3.0, device=device))
        assert found.device == device and found.tolist() == [3.0, 7.0]


def test_slices_as_arguments() -> None:
    step = jit(lambda x, part: x[part].sum())
    x = fixed(*range(8))
    for part in (slice(0, 3), slice(3, 6), slice(0, 3), slice(None, None, 2), slice(-2, None)):
        assert step(x, part).item() == x.numpy()[part].sum()


def test_a_place_that_moves_is_written_where_it_is() -> None:
    kept = Tensor.zeros(2, 6, requires_grad=False)

    @jit
    def write(x: Tensor, place: int) -> Tensor:
        kept[:, place : place + 2] = x
        return kept.sum(0)

    expected = np.zeros((2, 6), np.float32)
    for place in (0, 2, 4, 1, 2):
        expected[:, place : place + 2] = place + 1
        x = Tensor.full((2, 2), place + 1.0, requires_grad=False)
        assert write(x, place).tolist() == expected.sum(0).tolist()
    assert kept.tolist() == expected.tolist()


def test_keywords_and_defaults_are_arguments_as_any() -> None:
    step = jit(lambda a, b=None, *, c=1: a * 10 + (0 if b is None else b) * c)
    x, y = fixed(1.0), fixed(2.0)
    for _ in range(2):
        assert step(x, y).item() == step(b=y, a=x).item() == 12.0
        assert step(y, x).item() == step(a=y, b=x).item() == 21.0
        assert step(x).item() == 10.0
        assert step(x, c=3, b=y).item() == 16.0


def test_arguments_that_are_views_or_not_computed_yet() -> None:
    step = jit(lambda x: x * 2)
    table = Tensor(np.arange(6.0, dtype=np.float32).reshape(2, 3), requires_grad=False)
    pending = table[0] + 1
    for x in (table[0], table[1], table.T[1], pending, fixed(5.0).expand(3), table.flip(1)[0]):
        assert step(x).tolist() == (x.numpy() * 2).tolist()


def test_a_tensor_passed_twice_and_written_once() -> None:
    def step(a: Tensor, b: Tensor) -> Tensor:
        a += 1
        return a * 10 + b

    def calls(run: Callable[[Tensor, Tensor], Tensor]) -> list[float]:
        x, y = fixed(1.0), fixed(5.0)
        found = [run(*pair).item() for pair in ((x, y), (x, x), (y, x), (x, y), (y, y))]
        return [*found, x.item(), y.item()]

    assert calls(jit(step)) == calls(step)


def test_whether_an_argument_wants_a_gradient_is_part_of_its_kind() -> None:
    w = Tensor([3.0])
    step = jit(lambda x: (x * w).sum().backward())
    for wanted in (True, False, True):
        x = Tensor([2.0], requires_grad=wanted)
        step(x)
        assert (x.grad is not None) == wanted
        assert x.grad is None or x.grad.item() == 3.0
    assert w.grad is not None and w.grad.item() == 6.0


# Results


def test_results_that_are_kept_keep_their_values() -> None:
    total = fixed(0.0)

    @jit
    def step(x: Tensor) -> dict[str, Tensor]:
        total.assign(total + x)
        return {"total": total + 0, "itself": total, "twice": x * 2}

    found = [step(fixed(float(n))) for n in range(20)]
    assert [r["twice"].item() for r in found] == [2.0 * n for n in range(20)]
    assert [r["total"].item() for r in found] == [n * (n + 1) / 2 for n in range(20)]
    assert len({id(r["twice"]) for r in found}) == 20
    assert total.item() == 190.0


# State


def test_gradients_add_up_over_calls() -> None:
    w = Tensor([2.0, 3.0])
    step = jit(lambda x: (w * x).sum().backward())
    for n in range(1, 5):
        step(fixed(1.0, 10.0))
        assert w.grad is not None and w.grad.tolist() == [n, 10.0 * n]
    w.grad = None
    step(fixed(1.0, 1.0))
    assert w.grad.tolist() == [1.0, 1.0]


def test_random_numbers_of_recorded_and_other_calls_are_one_row() -> None:
    def draws(draw: Callable[[], Tensor]) -> list[float]:
        Tensor.manual_seed(7)
        found: list[float] = []
        for _ in range(4):
            found += [*draw().tolist(), *Tensor.rand(2).tolist()]
        return found

    plain = draws(lambda: Tensor.rand(3))
    assert draws(jit(lambda: Tensor.rand(3))) == plain
    assert len(set(plain)) == len(plain)


def test_running_statistics_move_once_a_call() -> None:
    def statistics(wrap: Callable[[Any], Any]) -> list[Any]:
        norm = nn.BatchNorm1d(2)
        run = wrap(lambda x: norm(x).sum())
        for n in range(5):
            with Tensor.train(n != 3):
                run(Tensor([[n, 1.0], [2.0 * n, -1.0]], requires_grad=False))
        assert norm.running_mean is not None and norm.running_var is not None
        assert norm.num_batches_tracked is not None
        return [t.tolist() for t in (norm.running_mean, norm.running_var, norm.num_batches_tracked)]

    plain, recorded = statistics(lambda f: f), statistics(jit)
    assert recorded[2] == plain[2] == 4
    np.testing.assert_allclose(recorded[0], plain[0], rtol=1e-6)
    np.testing.assert_allclose(recorded[1], plain[1], rtol=1e-6)


def test_threads_record_and_run_functions_of_their_own_at_once() -> None:
    def train(rate: float) -> list[float]:
        w = Tensor([[1.0, -2.0, 3.0]])
        opt = nn.optim.SGD([w], lr=rate, momentum=0.9)

        @jit
        def step(x: Tensor) -> Tensor:
            opt.zero_grad()
            loss = ((w * x).sum(1) - x.shape[0]).square().mean()
            loss.backward()
            opt.step()
            return loss

        sizes = [2, 3, 2, 3, 2, 3]
        return [step(Tensor.full((n, 3), n / 4, requires_grad=False)).item() for n in sizes]

    rates = [0.01 * n for n in range(1, 5)]
    expected = [train(rate) for rate in rates]
    found: dict[float, list[float]] = {}
    begin = threading.Barrier(len(rates))

    def work(rate: float) -> None:
        begin.wait(30)
        found[rate] = train(rate)

    threads = [threading.Thread(target=work, args=(rate,)) for rate in rates]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[rate] for rate in rates] == expected


# What is refused, and what goes wrong


def test_a_value_wanted_inside_is_refused_with_its_very_line() -> None:
    def step(x: Tensor) -> Tensor:
        y = x * 2
        if y.sum().item() > 0:  # two lines below `def`
            return y
        return x

    line = step.__code__.co_firstlineno + 2
    with pytest.raises(JitError, match=rf"test_footguns\.py:{line}\b"):
        jit(step)(fixed(1.0))


def test_an_error_in_a_later_recording_leaves_all_as_it_was() -> None:
    model = [nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 1)]
    opt = nn.optim.Adam(model, lr=0.1)

    @jit
    def step(x: Tensor) -> Tensor:
        opt.zero_grad()
        loss = model[2](model[1](model[0](x)).dropout(0.5)).square().sum()
        loss.backward()
        opt.step()
        if x.shape[0] == 5:
            raise ZeroDivisionError
        return loss

    def state() -> list[Any]:
        tensors = nn.state.get_state_dict([model, opt.state_dict()]).values()
        grads = [p.grad.tolist() for p in nn.state.get_parameters(model) if p.grad is not None]
        return [*(t.tolist() for t in tensors), grads]

    with Tensor.train():
        step(Tensor.rand(4, 2, requires_grad=False))
        step(Tensor.rand(4, 2, requires_grad=False))
        before = state()
        bad, good = (Tensor.rand(n, 2, requires_grad=False) for n in (5, 4))
        with pytest.raises(ZeroDivisionError):
            step(bad)
        assert state() == before
        assert np.isfinite(step(good).item())
        assert state() != before
