"""Views share their elements, as in NumPy; gradients flow through writes, as in PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gradlet import Tensor, jit
from gradlet.tensor import sharing
from tests.helpers import check, floats

VIEWS: list[Callable[[Any], Any]] = [
    lambda x: x[1],
    lambda x: x[:, 1:],
    lambda x: x[:, 1],
    lambda x: x[:0],
    lambda x: x[None, ..., 2],
    lambda x: x.reshape(2, 6),
    lambda x: x.flatten(),
    lambda x: x.T,
    lambda x: x.permute(1, 0)[1:],
    lambda x: x.unsqueeze(1).squeeze(),
    lambda x: x.view(3, 2, 2)[:, 0].transpose(0, 1),
    lambda x: x.diagonal(),
    lambda x: x.T.diagonal(1),
    lambda x: x[:, 1:].diagonal(-1),
    lambda x: x.view(3, 2, 2)[1:].diagonal(0, 2, 0).diagonal(),
    lambda x: x.unfold(1, 2, 2)[:, 1],
    lambda x: x.split(2, 1)[1],
    lambda x: x.chunk(2)[0],
    lambda x: x.unbind(1)[2],
    lambda x: x.detach()[2],
    lambda x: x.movedim(0, 1).narrow(0, 1, 2),
]
COPIES: list[Callable[[Any], Any]] = [
    lambda x: x.clone(),
    lambda x: x.T.contiguous(),
    lambda x: x.T.reshape(-1),
    lambda x: x[[0, 1]],
    lambda x: x.roll(0, 0),
    lambda x: x.repeat(1, 1),
    lambda x: x + 0,
]


@pytest.mark.parametrize("view", range(len(VIEWS)))
def test_a_view_shares_both_ways(view: int) -> None:
    x, known = Tensor(floats(3, 4)), torch.from_numpy(floats(3, 4))
    mine, theirs = VIEWS[view](x), VIEWS[view](known)
    mine += 1
    theirs += 1
    assert np.array_equal(x.numpy(), known.numpy())
    x *= 3
    known *= 3
    assert np.array_equal(mine.numpy(), theirs.numpy())
    x[1:] = 0.5
    known[1:] = 0.5
    assert np.array_equal(mine.numpy(), theirs.numpy())


@pytest.mark.parametrize("copy", range(len(COPIES)))
def test_a_copy_shares_nothing(copy: int) -> None:
    x = Tensor(floats(3, 4))
    made = COPIES[copy](x)
    before = made.numpy()
    x += 1
    assert np.array_equal(made.numpy(), before)
    made += 1
    assert np.array_equal(x.numpy(), floats(3, 4) + 1)


# Any views of views, and writes into any of them

moves = st.sampled_from(["reshape", "flat", "T", "slice", "int", "flip", "new axis", "add axis",
                         "diagonal"])  # fmt: skip
writes = st.sampled_from(["item", "all", "add", "assign"])
steps = st.lists(
    st.tuples(st.one_of(moves, writes), st.integers(0, 9), st.integers(0, 7)), max_size=10
)


def _diagonal(x: Any) -> Any:
    """The diagonal, which NumPy gives for reading only."""
    made = x.diagonal()
    if isinstance(made, np.ndarray):
        made = made.view()
        made.flags.writeable = True
    return made


def _act(x: Any, action: str, number: int) -> Any:
    """A view of a tensor or an array, or None after a write into it."""
    half = len(x) // 2 if x.ndim else 0
    if action == "reshape":
        return x.reshape(2, -1) if np.prod(x.shape) % 2 == 0 else x.reshape(-1)
    if action == "flat":
        return x.reshape(-1)
    if action == "T":
        return x.T
    if action == "slice":
        return x[number % 2 :: 1 + number % 3] if x.ndim else x
    if action == "int":
        return x[..., number % x.shape[-1]] if x.ndim and x.shape[-1] else x[...]
    if action == "flip":
        return x[::-1] if x.ndim else x
    if action == "new axis":
        return x[None]
    if action == "add axis":
        return x[half:, None] if x.ndim else x
    if action == "diagonal":
        return _diagonal(x) if x.ndim > 1 else x
    if action == "item":
        if x.ndim and x.shape[0]:
            x[number % x.shape[0]] = number
    elif action == "all":
        x[...] = number
    elif action == "add":
        x += number
    elif isinstance(x, Tensor):
        x.assign(Tensor(np.full(x.shape, number, np.int64), device="numpy"))
    else:
        x[...] = number
    return None


@settings(max_examples=40, deadline=None)
@given(st.sampled_from([(4, 6), (2, 3, 4), (5,), (1, 3), (0, 2)]), steps, st.booleans())
def test_families_are_numpys(shape: tuple[int, ...], plan: list, keep_root: bool) -> None:
    array = np.arange(np.prod(shape)).reshape(shape)
    ours: list[Any] = [Tensor(array, device="numpy")]
    known: list[Any] = [array]
    for action, which, number in plan:
        place = which % len(ours)
        made, expected = _act(ours[place], action, number), _act(known[place], action, number)
        if expected is not None:
            ours.append(made)
            known.append(expected)
            if not keep_root and len(ours) == 3:
                del ours[0], known[0], made
    for mine, expected in zip(ours, known, strict=True):
        np.testing.assert_array_equal(mine.numpy(), expected)


def test_views_keep_what_they_share_when_the_source_is_gone() -> None:
    x = Tensor([1.0, 2.0, 3.0, 4.0])
    front, middle = x[:3], x[1:3]
    del x
    front *= 10
    assert middle.tolist() == [20, 30]
    middle[1] = 7.0
    assert front.tolist() == [10, 20, 7]


def test_a_family_forgets_its_dead() -> None:
    x = Tensor([1.0, 2.0])
    for _ in range(1000):
        x[:1]
    assert x.share is not None and len(x.share.family._members) < 20


@pytest.mark.parametrize("make", [lambda x: x.expand(2, 3), lambda x: x.unfold(0, 2, 1)])
def test_repeated_elements_are_not_written(make: Callable[[Tensor], Tensor]) -> None:
    view = make(Tensor([1.0, 2.0, 3.0]))
    for write in (
        lambda: view.add_(1),
        lambda: view.assign(Tensor.zeros(view.shape)),
        lambda: view.__setitem__(0, 1.0),
    ):
        with pytest.raises(ValueError, match=r"several places .* \(2, .\).* call .clone\(\)"):
            write()
    view.clone().add_(1)


# Gradients


def _through_a_view(x: Any) -> Any:
    y = x * 2
    view = y[1:]
    view *= y[0] + 3
    y[0] = view[1, 2] * 5
    y[:, 1].exp_()
    return y * view[0]


def _into_a_buffer(x: Any) -> Any:
    buffer = x.detach() * 0
    rows = buffer[1:]
    rows += x[:2] ** 2
    buffer.T[0] = x[:, 2]
    return buffer.sum(1) * rows[0, 1]


@pytest.mark.parametrize("function", [_through_a_view, _into_a_buffer])
def test_gradients_flow_through_writes(function: Callable[[Any], Any]) -> None:
    check(function, None, floats(3, 4))


def test_writes_into_a_view_of_a_leaf_leave_it_a_leaf() -> None:
    x = Tensor([1.0, 2.0, 3.0])
    view = x[1:]
    view += 1
    assert x.is_leaf and x.tolist() == [1, 3, 4]
    (view * view).sum().backward()
    assert x.grad is not None and x.grad.tolist() == [0, 6, 8]


def test_parameters_are_written_through_views_without_gradients() -> None:
    w = Tensor([1.0, 2.0, 3.0], requires_grad=True)
    with Tensor.no_grad():
        w[:2].fill_(5)
    w.detach()[2] = 9.0
    assert w.is_leaf and w.tolist() == [5, 5, 9]
    (w * w).sum().backward()
    assert w.grad is not None and w.grad.tolist() == [10, 10, 18]


# Recorded steps


class Box:
    """Something with a buffer in it."""

    def __init__(self) -> None:
        self.buffer = Tensor([1.0, 2.0, 3.0, 4.0], requires_grad=False)


def test_a_recorded_write_shows_in_views_from_before_and_after() -> None:
    box = Box()
    early = box.buffer[:2]

    @jit
    def step(x: Tensor) -> Tensor:
        box.buffer += x
        return box.buffer.sum()

    assert [step(Tensor(1.0)).item() for _ in range(3)] == [14, 18, 22]
    late = box.buffer[2:]
    assert step(Tensor(1.0)).item() == 26
    assert (early.tolist(), late.tolist()) == ([5, 6], [7, 8])
    early += 100
    assert step(Tensor(1.0)).item() == 230
    assert (early.tolist(), late.tolist()) == ([106, 107], [8, 9])


def test_a_recorded_step_may_write_through_a_view_that_it_keeps() -> None:
    box: Any = Box()
    box.view = box.buffer[1:3]

    @jit
    def step(x: Tensor) -> None:
        box.view *= x
        box.buffer += 1

    for _ in range(3):
        step(Tensor(2.0))
    assert box.buffer.tolist() == [4, 23, 31, 7] and box.view.tolist() == [23, 31]


@pytest.mark.parametrize("apart_first", [True, False])
def test_arguments_that_share_what_is_written_are_seen_to(apart_first: bool) -> None:
    @jit
    def step(a: Tensor, b: Tensor) -> Tensor:
        a += 1
        return b * 10

    x = Tensor([1.0, 2.0], requires_grad=False)
    if apart_first:
        for _ in range(3):
            assert step(Tensor([0.0, 0.0], requires_grad=False), Tensor([4.0])).tolist() == [40]
    view = x[:1]
    assert [step(x, view).tolist() for _ in range(3)] == [[20], [30], [40]]
    assert (x.tolist(), view.tolist()) == ([4, 5], [4])


def test_an_argument_that_is_a_view_writes_into_its_source() -> None:
    @jit
    def step(a: Tensor) -> None:
        a += 1

    x = Tensor([1.0, 2.0, 3.0], requires_grad=False)
    for _ in range(3):
        step(x[1:])
    assert x.tolist() == [1, 5, 6]


def test_layouts_are_numpys() -> None:
    array = np.zeros((2, 3, 4))
    for order in [(0, 1, 2), (1, 0, 2), (2, 1, 0), (0, 2, 1)]:
        for shape in [(24,), (6, 4), (2, 12), (4, 6), (2, 1, 3, 4), (3, 8), (8, 3), (3, 2, 4)]:
            moved = array.transpose(order)
            x = Tensor(array, device="numpy").permute(order)
            shares = np.shares_memory(array, moved.reshape(shape))
            made = x.reshape(shape)
            assert (made is x or made.share is not None) is shares, (order, shape)
            assert sharing.is_contiguous(x) is moved.flags.c_contiguous
