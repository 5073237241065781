"""Padding in all modes against PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from gradlet import Tensor, jit
from gradlet.nn import functional
from tests.helpers import check, floats, integers

X = floats(2, 3, 4, 5)
NUMPY_MODES = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}


@pytest.mark.parametrize("mode", NUMPY_MODES)
@pytest.mark.parametrize(
    "padding", [(1, 2), (4, 0), (-1, 2), (1, -2), (-1, -3), (1, 2, 3, 0), (0, 1, 2, 1, 1, 2)]
)
def test_modes(mode: str, padding: tuple[int, ...]) -> None:
    check(
        lambda x: x.pad(padding, mode) * 2,
        lambda x: F.pad(x, padding, mode) * 2,
        X if len(padding) > 2 else X[0], finite_difference=len(padding) == 2,
    )  # fmt: skip


@pytest.mark.parametrize("mode", NUMPY_MODES)
def test_any_axes_and_dtypes(mode: str) -> None:
    """More and fewer axes than PyTorch's form has: those of NumPy."""
    for shape, widths in [
        ((3,), ((2, 1),)),
        ((2, 1, 3, 2, 2), ((1, 0), (0, 0), (2, 2), (0, 1), (1, 1))),
    ]:
        x = integers(*shape)
        got = Tensor(x).pad([pair if any(pair) else None for pair in widths], mode)
        assert np.array_equal(got.numpy(), np.pad(x, widths, mode=NUMPY_MODES[mode]))
    check(lambda x: x.pad((1, 1), mode), lambda x: F.pad(x, (1, 1), mode), X[0, :0])
    assert Tensor(X > 0).pad((1, 0), mode).numpy().dtype == np.bool_


@settings(max_examples=60)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=3), st.data())
def test_random_widths(shape: list[int], data: st.DataObject) -> None:
    x = integers(*shape)
    mode = data.draw(st.sampled_from(list(NUMPY_MODES)))
    most = [n - 1 if mode == "reflect" else n for n in shape]
    widths = [(data.draw(st.integers(0, n)), data.draw(st.integers(0, n))) for n in most]
    got = Tensor(x, device="numpy").pad(widths, mode)
    assert np.array_equal(got.numpy(), np.pad(x, widths, mode=NUMPY_MODES[mode]))


def test_constants() -> None:
    check(lambda x: x.pad((1, 2, 0, 3, 1, 0, 2, 2), value=7.0),
          lambda x: F.pad(x, (1, 2, 0, 3, 1, 0, 2, 2), value=7.0), X)  # fmt: skip
    check(lambda x: x.pad((-1, 2, 1, -4), value=np.nan),
          lambda x: F.pad(x, (-1, 2, 1, -4), value=np.nan), X, finite_difference=False)  # fmt: skip
    check(lambda x: x.pad((1, 0), value=1.5), lambda x: F.pad(x, (1, 0), value=1.5), integers(3))
    assert np.signbit(Tensor([1.0]).pad((1, 1), value=-0.0).numpy()).tolist() == [True, False, True]
    assert Tensor([True]).pad((0, 1), value=True).tolist() == [True, True]
    assert Tensor.zeros(0).pad((1, 1), value=2).tolist() == [2, 2]


def test_the_function() -> None:
    for options in ({}, {"value": 2.0}, {"mode": "reflect"}, {"mode": "circular", "value": 0}):
        check(
            lambda x, o=options: functional.pad(x, (1, 2), **o),
            lambda x, o=options: F.pad(x, (1, 2), **o),
            X[0],
        )
    assert functional.pad(Tensor([1.0]), (1, 0), "constant", 3.0).tolist() == [3, 1]


def test_a_recorded_step_pads() -> None:
    step = jit(lambda x: x.pad((1, 1), "circular").pad((0, 1), "reflect").sum())
    assert step(Tensor([1.0, 2.0, 3.0])).item() == 13
    assert step(Tensor([3.0, 2.0, 1.0])).item() == 11


@pytest.mark.parametrize(
    ("action", "words"),
    [
        (lambda x: x.pad((5, 0), "reflect"), "at most 4 at each end"),
        (lambda x: x.pad((0, 6), "circular"), "at most 5 at each end"),
        (lambda x: x.pad((-2, 4), "circular"), "at most 3 at each end"),
        (lambda x: x[..., :0].pad((1, 0), "replicate"), r"axis 3 of shape \(2, 3, 4, 0\)"),
        (lambda x: x.pad((-3, -3), "replicate"), "cuts more"),
        (lambda x: x.pad((-6, 2)), "cuts more"),
        (lambda x: x.pad((1, 1), "edge"), "mode is one of"),
        (lambda x: x.pad((1, 1), "reflect", 1.0), "takes no value"),
        (lambda x: x.pad((1, 2, 3)), "fits no tensor with 4 axes"),
        (lambda x: x.pad((1,) * 10), "fits no tensor with 4 axes"),
        (lambda x: x.pad(((1, 2), None)), "fits no tensor with 4 axes"),
    ],
)  # fmt: skip
def test_errors(action: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        action(Tensor(X))
