"""The operators by name, remainders, shifts and logic against PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from gradlet import Tensor, dtypes
from tests.helpers import check, floats, integers

EDGES = np.array([0.0, -0.0, 1.0, -1.0, 2.5, -7.5, np.inf, -np.inf, np.nan, 1e-40], np.float32)
NAMES = ["add", "sub", "mul", "div", "floor_divide", "remainder", "fmod", "maximum", "minimum",
         "eq", "ne", "lt", "le", "gt", "ge"]  # fmt: skip
BITS = ["bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_left_shift", "bitwise_right_shift"]


@pytest.mark.parametrize("name", [*NAMES, *BITS])
def test_names_of_integers(name: str) -> None:
    a, b = integers(5, 7), integers(7, low=1, seed=1)
    check(lambda a, b: getattr(a, name)(b), None, a, b)
    if name not in ("maximum", "minimum"):  # of which PyTorch wants tensors
        check(lambda a: getattr(a, name)(3), None, a)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "floor_divide"])
def test_names_of_floats(name: str) -> None:
    check(lambda a, b: getattr(a, name)(b), None, floats(4, 1), floats(3, low=0.5, seed=1))


@pytest.mark.parametrize("mode", [None, "floor", "trunc"])
def test_division_modes(mode: Any) -> None:
    check(lambda a, b: a.div(b, rounding_mode=mode), None, integers(30), integers(30, low=1))
    check(lambda a, b: a.div(-b, rounding_mode=mode), None, integers(30), integers(30, low=1))
    check(lambda a, b: a.div(b, rounding_mode=mode), None, floats(30), floats(30, seed=1),
          grad=False)  # fmt: skip


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_floor_division_by_infinity(kind: Any) -> None:
    a = np.array([1, -1, 3, -3, 0, 5, np.inf], kind)[:, None]
    check(lambda a, b: a // b, None, a, np.array([np.inf, -np.inf, 2], kind), grad=False, atol=0)


def test_alpha() -> None:
    check(lambda a, b: a.add(b, alpha=2) - a.sub(b, alpha=-0.5), None, floats(3), floats(3, seed=1))


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_fmod_edges(kind: Any) -> None:
    a, b = EDGES.astype(kind)[:, None], EDGES.astype(kind)[None, :]
    check(lambda a, b: a.fmod(b), None, a, b, grad=False)
    got = (1 / Tensor(EDGES[:6].astype(kind)).fmod(1)).numpy()
    np.testing.assert_array_equal(got, (1 / torch.from_numpy(EDGES[:6].astype(kind)).fmod(1)))


def test_fmod_is_exact_and_has_gradients() -> None:
    a = np.array([-1e-20, 1e20, 5.3, -5.3, 5.3], np.float32)
    b = np.array([1.0, 3.0, 2.0, 2.0, -2.0], np.float32)
    check(lambda a, b: a.fmod(b), None, a, b, finite_difference=False, atol=0)


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int32, np.int64])
def test_shifts_past_the_end(kind: Any) -> None:
    x = np.array([1, 3, 100, np.iinfo(kind).max, np.iinfo(kind).min], kind)[:, None]
    counts = np.array([0, 1, 7, 31, 63, 100], kind)
    check(lambda x, n: x << n, None, x, counts)
    check(lambda x, n: x >> n, None, x, counts)
    check(lambda n: (1 << n) + (100 >> n), None, counts[:3])


@pytest.mark.parametrize("kind", [np.int8, np.int64, np.uint8])
def test_power_of_integers(kind: Any) -> None:
    low = 0 if kind is np.uint8 else -4
    base, exponent = np.arange(low, 6).astype(kind)[:, None], np.arange(low, 9).astype(kind)
    check(lambda a, b: a**b, None, base, exponent)
    check(lambda b: 3**b, None, exponent)


def test_power_of_integers_wraps() -> None:
    check(lambda a, b: a**b, None, np.array([3, 2, -3, 7]), np.array([2**40 + 1, 64, 63, 2**62]))


@pytest.mark.parametrize("name", ["logical_and", "logical_or", "logical_xor"])
def test_logic(name: str) -> None:
    check(lambda a, b: getattr(a, name)(b), None, EDGES[:, None], integers(3, low=0, high=2))
    check(lambda a, b: getattr(a, name)(b), None, integers(4, low=0, high=2), np.array([True]))
    assert getattr(Tensor([0.0, 2.0]), name)(True).dtype is dtypes.bool_


@pytest.mark.parametrize(
    ("action", "error", "words"),
    [
        (lambda x: x.add("1"), TypeError, "add: takes a tensor.*str"),
        (lambda x: x.fmod(None), TypeError, "fmod: takes a tensor"),
        (lambda x: x.logical_and("1"), TypeError, "logical_and"),
        (lambda x: x.div(2, rounding_mode="up"), ValueError, "rounding_mode"),
        (lambda x: x.bool() << x.bool(), TypeError, "integers, not on bool"),
        (lambda x: x.bool() ** x.bool(), TypeError, "pow"),
        (lambda x: x.int().fmod(0), ZeroDivisionError, "fmod"),
        (lambda x: x.fmod(Tensor([1.0, 2.0])), ValueError, "fmod: shapes"),
    ],
)
def test_errors(action: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        action(Tensor([1.0, 2.0, 0.0]))
