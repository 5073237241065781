"""Functions of libraries in the middle of programs, on the CPU device."""

from __future__ import annotations

import numpy as np
import pytest

from gradlet import Tensor, explain, jit, profile
from gradlet.engine.compile import compile_program
from gradlet.ir import build
from gradlet.runtime.device import get_device
from gradlet.schedule.verify import verify_schedule
from tests.graphs import leaf, plan
from tests.helpers import floats


def on(device: str, x: np.ndarray) -> np.ndarray:
    """Calls between kernels, one that reads a view and one that reads a constant."""
    a = Tensor(x, device=device)
    places = (a * 2 - 1).transpose(0, 1).argsort(1)
    again = (places.float() + a.sum(0, keepdim=True).transpose(0, 1)).sort(0).values
    ones = Tensor.ones(3, 3, device=device) * 1.0
    solved = (Tensor.eye(3, device=device) * 2).solve(ones)
    return (
        again.exp().sum() + solved.sum() + Tensor.full((4,), 2.0, device=device).argsort().sum()
    ).numpy()


def test_in_the_middle_of_a_program() -> None:
    x = floats(5, 4, low=-1, high=1)
    np.testing.assert_allclose(on("cpu", x), on("numpy", x), rtol=1e-5)


def test_schedules_are_legal() -> None:
    x = leaf(6, 5)
    shifted = (x + 1.0).transpose(0, 1)
    both = shifted.qr().Q
    made = plan(both * 2.0, shifted.argsort() + 1, Tensor.full((4,), 1.0, device="numpy").argsort())
    verify_schedule(made)
    assert sum(step.kernel.library is not None for step in made.steps) == 3


def test_a_source_that_stands_twice() -> None:
    a = Tensor(floats(3, 3) + 4 * np.eye(3, dtype=np.float32), device="cpu")
    np.testing.assert_allclose(a.solve(a).numpy(), np.eye(3), atol=1e-5)
    (step,) = plan(leaf(3, 3).solve(leaf(3, 3))).steps
    verify_schedule(plan((leaf(3, 3) + 1.0).solve(leaf(3, 3))))
    assert step.kernel.library is not None and not step.kernel.nests


def test_intermediate_arrays_survive_the_call() -> None:
    x = Tensor(floats(64, 64), device="cpu")
    before = (x * 3).sum(1, keepdim=True)
    order = (x * before).argsort(1)
    result = (order.float() * before).sum(1)
    a = floats(64, 64)
    total = (a * 3).sum(1, keepdims=True)
    expected = (np.argsort(a * total, 1, kind="stable") * total).sum(1)
    np.testing.assert_allclose(result.numpy(), expected, rtol=1e-4)


def test_an_error_leaves_all_as_it_was() -> None:
    x = Tensor(np.zeros((2, 2), np.float32), device="cpu")
    y = x * 2
    for _ in range(2):
        with pytest.raises(np.linalg.LinAlgError, match="Singular"):
            (y.inv() + 1).numpy()
    assert y.tolist() == [[0.0, 0.0], [0.0, 0.0]]


def test_a_bad_index_is_reported_before_the_call() -> None:
    x = Tensor(floats(3, 3), device="cpu")
    rows = x[Tensor([0, 1, 7], device="cpu")]
    with pytest.raises(IndexError, match="index 7 is out of range"):
        (rows * 0).inv().numpy()


def test_inside_jit() -> None:
    step = jit(lambda x: (x * 2).sort().values.cumsum(0) + 1)
    for seed in range(3):
        a = floats(7, seed=seed)
        got = step(Tensor(a, device="cpu")).numpy()
        np.testing.assert_allclose(got, np.sort(a * 2).cumsum() + 1, rtol=1e-5, atol=1e-5)


def test_what_needs_values_is_refused_inside_jit() -> None:
    with pytest.raises(
        RuntimeError, match=r"unique without size= needs values.*\n  at .*test_library"
    ):
        jit(lambda x: x.unique())(Tensor([1, 2]))


def test_explain_and_profile_name_it(capsys: pytest.CaptureFixture[str]) -> None:
    x = Tensor(floats(4, 5), device="cpu")
    explain((x * 2).argsort(0) + 1)
    printed = capsys.readouterr().out
    assert "by NumPy: argsort(p1, 0, False)" in printed
    assert "argsort by NumPy" in printed
    with profile() as seen:
        ((x * 3).argsort(1) + 1).realize()
    assert seen.counters["programs run"] == 1
    assert "library: argsort" in {event["name"] for event in seen._events()}


def test_programs_of_kernels_alone_are_one_table() -> None:
    x = build.param(0, leaf(4).dtype, (4,))
    program = compile_program(get_device("cpu"), [build.neg(x)], [x])
    assert [call for _, call in program.parts] == [None]  # type: ignore[attr-defined]
