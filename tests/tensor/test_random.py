"""The generator's known answers, its moments, and that seeds repeat."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from gradlet import Tensor, dtypes, jit
from gradlet.engine import realize
from gradlet.engine.trace import JitError
from gradlet.ir import build
from gradlet.tensor.random import threefry2x32

MASK = 0xFFFFFFFF
FLOATS = ["float16", "bfloat16", "float32", "float64"]


@pytest.mark.parametrize(
    ("key", "counter", "answer"),
    [
        ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
        ((MASK, MASK), (MASK, MASK), (0x1CB996FC, 0xBB002BE7)),
        ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
    ],
)
def test_known_answers(key: Any, counter: Any, answer: Any) -> None:
    """The vectors of the authors' own Random123 library."""
    device = Tensor([0]).device
    words = [build.const(word, dtypes.uint32, (1,)) for word in (*key, *counter)]
    made = threefry2x32((words[0], words[1]), (words[2], words[3]))
    assert tuple(Tensor.from_node(node, device).item() for node in made) == answer


@pytest.mark.parametrize("dtype", FLOATS)
def test_uniform(dtype: str) -> None:
    Tensor.manual_seed(0)
    x = Tensor.rand(200, 500, dtype=dtype)
    assert x.dtype.name == dtype
    values = x.numpy().astype(np.float64)
    assert values.min() >= 0 and values.max() < 1
    assert abs(values.mean() - 0.5) < 5e-3
    assert abs(values.var() - 1 / 12) < 2e-3


def test_normal() -> None:
    Tensor.manual_seed(1)
    x = Tensor.normal(100000, mean=2.0, std=3.0).numpy()
    assert np.isfinite(x).all()
    centered = (x - x.mean()) / x.std()
    assert abs(x.mean() - 2) < 0.05 and abs(x.std() - 3) < 0.05
    assert abs((centered**3).mean()) < 0.05 and abs((centered**4).mean() - 3) < 0.1


def test_integers() -> None:
    Tensor.manual_seed(2)
    x = Tensor.randint(10000, low=-3, high=5)
    assert x.dtype is dtypes.int64
    counts = np.bincount(x.numpy() + 3)
    assert len(counts) == 8 and counts.min() > 1000
    assert Tensor.randint(0, 9, (2, 3)).shape == (2, 3)
    assert Tensor.randint(4, high=2**40).numpy().max() > 2**32
    with pytest.raises(ValueError, match="no integer"):
        Tensor.randint(3, low=5, high=5)
    with pytest.raises(ValueError, match="does not fit int8"):
        Tensor.randint(3, high=1000, dtype="int8")


def test_seeds_repeat_in_whatever_order_values_are_read() -> None:
    Tensor.manual_seed(7)
    a, b = Tensor.rand(5), Tensor.randn(5)
    first = a.tolist(), b.tolist()
    Tensor.manual_seed(7)
    a, b = Tensor.rand(5), Tensor.randn(5)
    late = b.tolist()
    assert (a.tolist(), late) == first
    assert Tensor.rand(5).tolist() != first[0]
    Tensor.manual_seed(8)
    assert Tensor.rand(5).tolist() != first[0]


def test_one_program_serves_all_draws() -> None:
    Tensor.rand(6).realize()
    before = len(realize._programs)
    Tensor.manual_seed(3)
    for _ in range(3):
        Tensor.rand(6).realize()
    assert len(realize._programs) == before


def test_a_value_once_drawn_stays() -> None:
    x = Tensor.rand(4)
    y = x + 1
    np.testing.assert_array_equal(y.numpy() - 1, (x + 1).numpy() - 1)
    np.testing.assert_array_equal(x.numpy(), x.numpy())


def test_initialisers() -> None:
    shape = (40, 30, 3)
    bounds = {
        "kaiming_uniform": np.sqrt(3 * 2 / (1 + 0.01**2) / 90),
        "glorot_uniform": np.sqrt(6 / 130),
        "scaled_uniform": 3600**-0.5,
    }
    for name, bound in bounds.items():
        values = getattr(Tensor, name)(*shape).numpy()
        assert 0.99 * bound < np.abs(values).max() <= bound * (1 + 1e-6)
    normal = Tensor.kaiming_normal(*shape).numpy()
    assert abs(normal.std() - np.sqrt(2 / 90)) < 0.01


def test_permutation_and_likes() -> None:
    assert sorted(Tensor.randperm(100).tolist()) == list(range(100))
    like = Tensor.ones(2, 3, dtype="float64")
    assert like.rand_like().dtype is dtypes.float64
    assert like.randn_like().shape == (2, 3)
    with pytest.raises(TypeError, match="draws floats"):
        Tensor.rand(3, dtype="int64")


def test_the_state_of_the_generator() -> None:
    Tensor.manual_seed(3)
    assert Tensor.get_rng_state() == (3, 0)
    Tensor.rand(2).realize()
    state = Tensor.get_rng_state()
    assert state == (3, 1)
    expected = [Tensor.rand(2).tolist(), Tensor.randn(2).tolist()]
    Tensor.manual_seed(9)
    Tensor.set_rng_state(state)
    assert [Tensor.rand(2).tolist(), Tensor.randn(2).tolist()] == expected
    for wrong in ((-1, 0), (2**64, 0), (1, -1)):
        with pytest.raises(ValueError, match="is no state that get_rng_state"):
            Tensor.set_rng_state(wrong)
    assert Tensor.get_rng_state() == (3, 3)


def test_the_generator_is_not_asked_while_a_step_is_recorded() -> None:
    for function in (Tensor.get_rng_state, lambda: Tensor.set_rng_state((1, 1))):
        with pytest.raises(JitError, match="rng_state"):
            jit(lambda x, f=function: (x, f())[0])(Tensor([1.0]))


@pytest.mark.parametrize("device", ["numpy", "torch:cpu"])
def test_the_same_numbers_on_every_device(device: str) -> None:
    def drawn(where: str) -> list[np.ndarray]:
        Tensor.manual_seed(5)
        return [
            Tensor.randint(1001, low=-70000, high=70000, device=where).numpy(),
            Tensor.randperm(257, device=where).numpy(),
            *(Tensor.rand(1001, dtype=d, device=where).numpy() for d in FLOATS),
            *(Tensor.randn(1001, dtype=d, device=where).numpy() for d in FLOATS),
        ]

    here, there = drawn("cpu"), drawn(device)
    exact = 2 + len(FLOATS)  # whole numbers, and multiples of a power of two
    for a, b in zip(here[:exact], there[:exact], strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(here[exact:], there[exact:], strict=True):
        eps = float(ml_dtypes.finfo(a.dtype).eps)
        a, b = a.astype(np.float64), b.astype(np.float64)
        np.testing.assert_allclose(a, b, rtol=max(4 * eps, 5e-7), atol=5e-7)
