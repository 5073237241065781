"""`jit`: a recorded step gives what the function gives, or says why it cannot."""

from __future__ import annotations

import gc
import threading
import warnings
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from gradlet import GradientError, JitError, Tensor, jit, nn


def fixed(*values: Any) -> Tensor:
    return Tensor(list(values), requires_grad=False)


def noted(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, which counts in NOTES how often Python runs it."""

    def call(*args: Any, **kwargs: Any) -> Any:
        _note()
        return function(*args, **kwargs)

    return call


class _Notes:
    not_state = ("count",)

    def __init__(self) -> None:
        self.count = 0


NOTES = _Notes()


def _note() -> None:
    NOTES.count += 1


@pytest.fixture(autouse=True)
def _start() -> None:
    NOTES.count = 0


# Arguments and results


def test_python_runs_once_for_each_kind_of_arguments() -> None:
    step = jit(noted(lambda x: x * 2 + 1))
    for n in range(5):
        assert step(fixed(1.0, n)).tolist() == [3.0, 2 * n + 1]
    assert NOTES.count == 1
    assert step(fixed(1.0, 2.0, 3.0)).tolist() == [3.0, 5.0, 7.0]  # another shape
    assert step(fixed(1, 2)).tolist() == [3, 5]  # another dtype
    assert NOTES.count == 3


def test_results_of_two_calls_are_two_tensors() -> None:
    step = jit(lambda x: (x + 1, x * 2))
    first, second = step(fixed(1.0)), step(fixed(5.0))
    assert [t.item() for t in (*first, *second)] == [2.0, 2.0, 6.0, 10.0]
    kept = first[0]
    kept += 10
    assert [t.item() for t in step(fixed(1.0))] == [2.0, 2.0] and kept.item() == 12.0


@pytest.mark.parametrize("scale", [2, 0.5, True])
def test_python_arguments_are_part_of_the_kind(scale: Any) -> None:
    step = jit(lambda x, scale, *, shift=0.0: x * scale + shift)
    x = fixed(3.0)
    assert step(x, scale).item() == 3.0 * scale
    assert step(x, scale, shift=1.5).item() == 3.0 * scale + 1.5
    assert step(x, scale).item() == 3.0 * scale


def test_zeros_of_either_sign_are_not_the_same_argument() -> None:
    step = jit(lambda x, y: x * y)
    assert np.signbit(step(fixed(1.0), -0.0).numpy()).all()
    assert not np.signbit(step(fixed(1.0), 0.0).numpy()).any()


def test_slices_are_arguments_by_their_values() -> None:
    step = jit(lambda x: x.sum())
    x = Tensor(np.arange(12.0, dtype=np.float32), requires_grad=False)
    assert [step(x[i : i + 3]).item() for i in (0, 3, 6)] == [3.0, 12.0, 21.0]
    pick = jit(lambda x, i: x[i])
    assert [pick(x, i).item() for i in range(4)] == [0.0, 1.0, 2.0, 3.0]


def test_one_tensor_may_be_passed_twice() -> None:
    step = jit(lambda a, b: a * 10 + b)
    x, y = fixed(1.0), fixed(2.0)
    assert [step(x, x).item(), step(x, y).item(), step(y, x).item()] == [11.0, 12.0, 21.0]
    assert step(y, y).item() == 22.0


def test_an_argument_may_be_what_the_function_reaches_by_itself() -> None:
    w = fixed(1.0)

    @jit
    def step(x: Tensor) -> Tensor:
        w.assign(w + x)
        return x * 10

    assert step(fixed(2.0)).item() == 20.0
    assert [step(w).item(), step(w).item()] == [60.0, 120.0]
    assert step(fixed(1.0)).item() == 10.0 and w.item() == 13.0


@dataclass
class Pair:
    left: Tensor
    right: dict[str, Any]


def test_arguments_and_results_may_be_nested() -> None:
    @jit
    def step(given: Pair, more: list[Any]) -> dict[str, Any]:
        total = given.left + given.right["x"] + more[0][1]
        return {"all": [total, (total * 2,)], "pair": Pair(total, {"n": 3}), "none": None}

    for n in range(3):
        found = step(Pair(fixed(1.0), {"x": fixed(n)}), [(None, fixed(10.0))])
        assert found["all"][0].item() == 11.0 + n
        assert found["all"][1][0].item() == 22.0 + 2 * n
        assert isinstance(found["pair"], Pair) and found["pair"].right == {"n": 3}
        assert found["none"] is None


def test_arguments_that_are_returned_or_written_are_the_callers() -> None:
    @jit
    def step(x: Tensor, y: Tensor) -> Tensor:
        x += y
        return x

    x = fixed(1.0)
    assert [step(x, fixed(n)) is x for n in (1.0, 2.0, 3.0)] == [True] * 3
    assert x.item() == 7.0


def test_gradients_reach_arguments() -> None:
    step = jit(lambda x: (x * x).sum().backward())
    for n in (1.0, 2.0, 3.0):
        x = Tensor([n, 2 * n])
        step(x)
        assert x.grad.tolist() == [2 * n, 4 * n]
        step(x)
        assert x.grad.tolist() == [4 * n, 8 * n]


def test_numpy_arguments_are_refused() -> None:
    with pytest.raises(JitError, match=r"NumPy array of shape \(3,\).*Tensor"):
        jit(lambda x: x)(np.ones(3))


# State


class Scaler:
    def __init__(self, scale: float) -> None:
        self.scale = scale
        self.total = fixed(0.0)

    @jit
    def add(self, x: Tensor) -> Tensor:
        self.total = self.total + x * self.scale
        return self.total


def test_methods_have_recordings_for_each_object() -> None:
    a, b = Scaler(1.0), Scaler(10.0)
    assert [m.add(fixed(1.0)).item() for m in (a, b, a, b, a)] == [1.0, 10.0, 2.0, 20.0, 3.0]


def test_objects_can_die() -> None:
    scaler = Scaler(1.0)
    for _ in range(3):
        scaler.add(fixed(1.0))
    reference = weakref.ref(scaler)
    del scaler
    gc.collect()
    assert reference() is None


def test_python_values_that_change_are_noticed() -> None:
    scaler = Scaler(1.0)
    assert [scaler.add(fixed(1.0)).item() for _ in range(3)] == [1.0, 2.0, 3.0]
    scaler.scale = 5.0
    assert [scaler.add(fixed(1.0)).item() for _ in range(2)] == [8.0, 13.0]


FACTOR = 2.0


def test_variables_of_outer_functions_and_modules_are_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    offset = 1.0

    @jit
    def step(x: Tensor) -> Tensor:
        return x * FACTOR + offset

    assert [step(fixed(3.0)).item() for _ in range(2)] == [7.0, 7.0]
    offset = 2.0
    assert step(fixed(3.0)).item() == 8.0
    monkeypatch.setitem(globals(), "FACTOR", 10.0)
    assert step(fixed(3.0)).item() == 32.0


class Box:
    """Numbers under names."""

    def __init__(self) -> None:
        self.first = {"a": 1.0, "b": 2.0}
        self.second = {"c": 3.0}

    def read(self, x: Tensor) -> Tensor:
        parts = [f"{k}{v}" for d in (self.first, self.second) for k, v in d.items()]
        return x * sum(ord(c) for c in "".join(parts)) + 1000 * len(self.first)


def test_names_that_change_are_noticed() -> None:
    box, x = Box(), fixed(1.0)
    step = jit(box.read)

    def check() -> None:
        for _ in range(3):
            assert step(x).item() == box.read(x).item()

    check()
    box.first["z"] = box.first.pop("b")  # the same values in the same order
    check()
    box.second = {"z": box.first.pop("z"), **box.second}
    check()
    box.first["z"], moved = box.second.pop("z"), box.second.pop("c")
    check()
    box.second["c"] = moved
    check()


def test_variables_of_outer_functions_may_be_empty_for_a_while() -> None:
    factor = 2.0
    other = 1.0

    def fill(value: float | None) -> None:
        nonlocal other
        if value is None:
            del other
        else:
            other = value

    @jit
    def step(x: Tensor) -> Tensor:
        try:
            return x * factor * other
        except NameError:
            return x * factor

    x = fixed(1.0)
    for value, expected in ((3.0, 6.0), (None, 2.0), (5.0, 10.0), (None, 2.0)):
        fill(value)
        assert [step(x).item() for _ in range(3)] == [expected] * 3


def test_code_that_exec_runs_is_watched_as_any_other() -> None:
    code = """
from gradlet import Tensor, jit
class Model:
    def __init__(self):
        self.w = Tensor([2.0], requires_grad=False)
model = Model()
step = jit(lambda x: x * model.w)
found = [step(Tensor([3.0], requires_grad=False)).item()]
model.w = Tensor([5.0], requires_grad=False)
found.append(step(Tensor([3.0], requires_grad=False)).item())
"""
    names: dict[str, Any] = {}
    exec(compile(code, "some code", "exec"), names)
    assert names["found"] == [6.0, 15.0]


def test_parameters_that_are_rebound_outside_are_noticed() -> None:
    model = nn.Linear(2, 1, bias=False)
    step = jit(lambda x: model(x).sum())
    x = fixed(1.0, 2.0)
    for values in ([1.0, 1.0], [2.0, 3.0], [0.0, -1.0]):
        model.weight = Tensor([values])
        assert step(x).item() == values[0] + 2 * values[1]
    model.weight.assign(Tensor([[7.0, 0.0]]))
    assert step(x).item() == 7.0
    model.weight = Tensor([[1, 2]])  # another dtype
    assert step(x).item() == 5.0


def test_two_tensors_with_one_value_stay_apart() -> None:
    a = fixed(1.0)
    b = a.detach().clone()
    step = jit(lambda: a * 10 + b)
    assert [step().item() for _ in range(2)] == [11.0, 11.0]
    a.assign(fixed(2.0))
    assert step().item() == 21.0


def test_values_known_outside_are_computed_anew() -> None:
    w = fixed(1.0, 2.0)
    double = w * 2
    assert double.tolist() == [2.0, 4.0]
    step = jit(lambda: (w * 2).sum())
    assert step().item() == 6.0
    w.assign(fixed(5.0, 5.0))
    assert step().item() == 20.0


def test_tensors_of_other_containers_are_state_too() -> None:
    from collections import deque

    hidden = deque([fixed(1.0)])

    @jit
    def step() -> Tensor:
        hidden[0].assign(hidden[0] * 2)
        return hidden[0] + 0

    assert [step().item() for _ in range(4)] == [2.0, 4.0, 8.0, 16.0]
    assert hidden[0].item() == 16.0


@pytest.mark.parametrize("make", [
    lambda params: nn.optim.SGD(params, lr=0.1, momentum=0.9),
    lambda params: nn.optim.Adam(params, lr=0.05),
    lambda params: nn.optim.AdamW(params, lr=0.05),
])  # fmt: skip
def test_training_is_the_same_with_and_without(make: Callable[..., Any]) -> None:
    plain, recorded = trained(make, lambda step: step), trained(make, jit)
    assert NOTES.count < 12  # eight without, at most three recordings with it
    np.testing.assert_allclose(recorded[0], plain[0], rtol=1e-6)
    for a, b in zip(plain[1], recorded[1], strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-5, atol=1e-7)


def trained(
    make: Callable[..., Any], wrap: Callable[..., Any]
) -> tuple[list[float], list[np.ndarray]]:
    """The losses of some steps, and the state after them."""
    Tensor.manual_seed(5)
    model = [nn.Linear(3, 8), nn.BatchNorm(8), nn.Linear(8, 1)]
    opt = make(model)

    def step(x: Tensor, y: Tensor) -> Tensor:
        opt.zero_grad()
        hidden = model[1](model[0](x)).relu().dropout(0.25)
        loss = ((model[2](hidden) - y) ** 2).mean()
        loss.backward()
        opt.step()
        return loss

    wrapped, losses = wrap(noted(step)), []
    with Tensor.train():
        for n in range(8):
            x = Tensor.randn(6, 3, requires_grad=False)
            if n == 5:
                opt.lr = 0.01
            losses.append(wrapped(x, x.sum(1, keepdim=True)).item())
    return losses, [t.numpy() for t in nn.state.get_state_dict(model).values()]


def test_random_numbers_go_on() -> None:
    draw = jit(lambda: Tensor.rand(4))
    Tensor.manual_seed(3)
    eager = [Tensor.rand(4).tolist() for _ in range(3)]
    Tensor.manual_seed(3)
    assert [draw().tolist() for _ in range(3)] == eager


def test_the_training_switch_is_part_of_the_kind() -> None:
    step = jit(lambda x: x.dropout(0.5))
    x = Tensor(np.ones(1000, np.float32), requires_grad=False)
    assert step(x).sum().item() == 1000.0
    with Tensor.train():
        assert step(x).min().item() == 0.0
    assert step(x).sum().item() == 1000.0


def test_frozen_parameters_are_noticed() -> None:
    w, v = Tensor([1.0], requires_grad=True), Tensor([1.0], requires_grad=True)
    step = jit(lambda: (w * v * 3).sum().backward())
    for frozen in (False, False, True, True):
        v.requires_grad = not frozen
        w.grad = v.grad = None
        step()
        assert w.grad.item() == 3.0 and (v.grad is None) == frozen


def test_several_functions_share_parameters() -> None:
    model = nn.Linear(2, 1)
    opt = nn.optim.SGD([model], lr=0.1)

    @jit
    def train(x: Tensor) -> Tensor:
        opt.zero_grad()
        loss = (model(x) ** 2).sum()
        loss.backward()
        opt.step()
        return loss

    evaluate = jit(lambda x: (model(x) ** 2).sum())
    x = fixed(1.0, 2.0)
    for _ in range(4):
        before = evaluate(x).item()
        assert train(x).item() == pytest.approx(before, rel=1e-6)
        assert evaluate(x).item() < before


def test_old_values_are_not_kept() -> None:
    w = Tensor(np.zeros(1000, np.float32), requires_grad=True)
    opt = nn.optim.Adam([w], lr=0.1)

    @jit
    def step(x: Tensor) -> None:
        opt.zero_grad()
        ((w - x) ** 2).sum().backward()
        opt.step()

    x = fixed(*range(1000))
    for _ in range(3):  # with a gradient before, from the second on
        step(x)
    gc.collect()
    state = (w, opt.state[0]["exp_avg"], opt.state[0]["exp_avg_sq"], w.grad)
    old = [weakref.ref(t.node.arg.memory) for t in state]
    del state
    step(x)
    gc.collect()
    assert [reference() for reference in old] == [None] * 4


def test_a_function_within_another_is_part_of_it() -> None:
    inner = jit(lambda x: x * 2)
    outer = jit(lambda x: inner(x) + inner(x + 1))
    assert [outer(fixed(n)).item() for n in (1.0, 2.0)] == [6.0, 10.0]


def test_a_function_within_another_may_be_called_by_itself() -> None:
    w = fixed(1.0)
    inner = jit(noted(lambda x: x * w))
    outer = jit(lambda x: inner(x) + 1)
    for n in (1.0, 2.0, 3.0):
        assert outer(fixed(n)).item() == n + 1 and inner(fixed(n)).item() == n
    assert NOTES.count == 2  # once in each
    w.assign(fixed(5.0))
    assert outer(fixed(1.0)).item() == 6.0


class Gate:
    shift = 0.0

    @property
    def scale(self) -> float:
        return FACTOR

    @jit
    def once(self, x: Tensor) -> Tensor:
        return x * self.scale + self.shift

    @jit
    def twice(self, x: Tensor) -> Tensor:
        return self.once(x) * 2


def test_what_methods_and_properties_use_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate()
    assert [gate.twice(fixed(1.0)).item() for _ in range(2)] == [4.0, 4.0]
    monkeypatch.setitem(globals(), "FACTOR", 3.0)
    assert gate.twice(fixed(1.0)).item() == 6.0
    monkeypatch.setattr(Gate, "shift", 0.5)
    assert gate.twice(fixed(1.0)).item() == 7.0


def test_results_have_no_history() -> None:
    w = Tensor([2.0], requires_grad=True)
    loss = jit(lambda x: (w * x).sum())(fixed(3.0))
    with pytest.raises(GradientError):
        loss.backward()


# What is refused


@pytest.mark.parametrize("look", [
    lambda x: x.item(), lambda x: x.tolist(), lambda x: x.numpy(), lambda x: float(x),
    lambda x: bool(x > 0), lambda x: str(x), lambda x: Tensor.randperm(3),
])  # fmt: skip
def test_values_are_refused_with_the_line(look: Callable[[Tensor], Any]) -> None:
    w = fixed(1.0)

    def step(x: Tensor) -> Tensor:
        w.assign(w + x)
        look(w.sum())
        return w

    with pytest.raises(JitError, match=r"test_jit\.py:\d+"):
        jit(step)(fixed(1.0))
    assert w.item() == 1.0


def test_python_values_that_the_function_changes_are_refused() -> None:
    class Model:
        def __init__(self) -> None:
            self.steps, self.w, self.seen = 0, fixed(1.0), []

        def count(self, x: Tensor) -> Tensor:
            self.w.assign(self.w + x)
            self.steps += 1
            return self.w + 0

        def keep(self, x: Tensor) -> None:
            self.w.assign(self.w + x)
            self.seen.append(5)

    model = Model()
    with pytest.raises(JitError, match=r"'steps' of a .*Model another value"):
        jit(model.count)(fixed(1.0))
    with pytest.raises(JitError, match="of a list of 0 another value"):
        jit(model.keep)(fixed(1.0))
    assert (model.steps, model.w.item(), model.seen) == (0, 1.0, [])


def test_tensors_made_of_changing_data_are_refused() -> None:
    batch = np.zeros(3, np.float32)
    step = jit(lambda: Tensor(batch, requires_grad=False).sum())
    assert step().item() == 0.0
    batch += 1
    with pytest.raises(JitError, match="other data in each call"):
        step()


def test_tensors_made_of_constant_data_are_not() -> None:
    step = jit(noted(lambda x: x * Tensor([1.0, 2.0], requires_grad=False)))
    assert [step(fixed(n, n)).tolist() for n in (1.0, 2.0, 3.0)] == [[1, 2], [2, 4], [3, 6]]
    assert NOTES.count == 2


def test_gradients_into_graphs_from_outside_are_refused() -> None:
    w = Tensor([2.0], requires_grad=True)
    with pytest.raises(JitError, match="argument 0, whose graph was built outside"):
        jit(lambda x: (x * x).sum().backward())(w * 3)
    assert w.grad is None


def test_tensors_that_are_kept_where_nobody_looks_are_refused() -> None:
    from collections import deque

    kept: Any = deque(maxlen=1)

    @jit
    def step(x: Tensor) -> Tensor:
        kept.append(x + 1)
        return x * 2

    with pytest.raises(JitError, match=r"keeps a tensor of shape \(1,\) where jit does not look"):
        step(fixed(1.0))


def test_exceptions_leave_all_as_it_was() -> None:
    model = nn.Linear(2, 1)
    opt = nn.optim.SGD([model], lr=0.1)

    def step(x: Tensor, fail: bool) -> Tensor:
        opt.zero_grad()
        loss = model(x).sum()
        loss.backward()
        opt.step()
        if fail:
            raise ZeroDivisionError
        return loss

    before, x = model.weight.numpy(), fixed(1.0, 2.0)
    with pytest.raises(ZeroDivisionError):
        jit(step)(x, True)
    np.testing.assert_array_equal(model.weight.numpy(), before)
    assert model.weight.grad is None
    jit(step)(x, False)
    assert (model.weight.numpy() != before).all()


def test_indices_out_of_range_leave_all_as_it_was() -> None:
    w, total = fixed(1.0, 2.0, 3.0), fixed(0.0)

    @jit
    def step(i: Tensor) -> None:
        total.assign(total + w[i].sum())

    step(fixed(1, 2))
    with pytest.raises(IndexError, match="index 3 is out of range"):
        step(fixed(1, 3))
    assert total.item() == 5.0
    step(fixed(0, 0))
    assert total.item() == 7.0


def test_a_step_that_is_recorded_over_and_over_says_so() -> None:
    scaler = Scaler(0.0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for n in range(10):
            scaler.scale = float(n)
            assert scaler.add(fixed(1.0)).item() == sum(range(n + 1))
    assert any("'scale' of a Scaler is different each time" in str(w.message) for w in caught)


def test_threads_take_turns() -> None:
    total = fixed(0.0)

    @jit
    def step(x: Tensor) -> None:
        total.assign(total + x)

    def work() -> None:
        for _ in range(50):
            step(fixed(1.0))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert total.item() == 200.0


def test_while_one_thread_records_others_compute() -> None:
    inside, done = threading.Event(), threading.Event()

    def step(x: Tensor) -> Tensor:
        inside.set()
        assert done.wait(30)
        return x + 1

    results: list[float] = []
    worker = threading.Thread(target=lambda: results.append(jit(step)(fixed(1.0)).item()))
    worker.start()
    assert inside.wait(30)
    assert (fixed(1.0) * 5).item() == 5.0
    done.set()
    worker.join()
    assert results == [2.0]


def test_the_numpy_device_works_as_well() -> None:
    w = Tensor([1.0], device="numpy", requires_grad=False)

    @jit
    def step(x: Tensor) -> Tensor:
        w.assign(w + x)
        return w * 2

    x = Tensor([3.0], device="numpy", requires_grad=False)
    assert [step(x).item() for _ in range(3)] == [8.0, 14.0, 20.0]


def test_decorated_functions_are_looked_through() -> None:
    w = Tensor([1.0], requires_grad=False)

    @jit
    @Tensor.train()
    def step(x: Tensor) -> Tensor:
        assert Tensor.training
        return w.assign(w + x) * 1

    assert [step(Tensor([1.0])).item() for _ in range(4)] == [2.0, 3.0, 4.0, 5.0]


def test_only_global_variables_count_and_not_attributes_of_the_same_name() -> None:
    source = """
def add(x):
    return [(x + SIZE).size() and (x * SIZE) for _ in range(SIZE)]
"""
    names: dict[str, object] = {"SIZE": 2, "size": 0}
    exec(source, names)
    calls = []
    recorded = jit(names["add"])  # type: ignore[arg-type]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for n in range(12):
            names["size"] = n
            calls.append(recorded(Tensor([1.0, 2.0]))[1].tolist())
    assert calls == [[2.0, 4.0]] * 12


def test_what_is_recorded_is_no_part_of_a_model() -> None:
    class Model:
        def __init__(self) -> None:
            self.w = Tensor([2.0])
            self.run = jit(lambda x: x * self.w)

    model = Model()
    assert [model.run(Tensor([1.0])).item() for _ in range(3)] == [2.0] * 3
    assert list(nn.state.get_state_dict(model)) == ["w"]
