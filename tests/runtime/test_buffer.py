"""Buffers that fetch their elements when first needed, that get others, or are written."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable

import numpy as np
import pytest

from gradlet import Tensor, jit
from gradlet.base import dtypes
from gradlet.base.ownership import SOLE
from gradlet.base.settings import device_name
from gradlet.ir import build
from gradlet.runtime.buffer import Buffer, Deferred, node_of, refill, taken, vacate
from gradlet.runtime.device import get_device

X = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], np.float32)


class Source:
    """Elements in another layout, and how often they were asked for."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self) -> np.ndarray:
        self.asked += 1
        return np.asfortranarray(X)


def deferred(source: Source) -> Tensor:
    home = get_device(device_name())
    return Tensor.from_node(node_of(Deferred(home, dtypes.float32, (2, 3), source)), home.name)


def test_fetched_once_and_late() -> None:
    source = Source()
    x = deferred(source)
    y = x.T[1:] * 2
    assert x.shape == (2, 3) and "Deferred" in repr(x.node.arg) and source.asked == 0
    np.testing.assert_array_equal(y.numpy(), X.T[1:] * 2)
    np.testing.assert_array_equal((x + 1).numpy(), X + 1)
    assert source.asked == 1 and "Deferred" not in repr(x.node.arg)


def test_a_leaf_like_any_other() -> None:
    source = Source()
    x, unused = deferred(source), Source()
    held = deferred(unused)
    (x * x).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), 2 * X)
    x += 1
    np.testing.assert_array_equal(x.numpy(), X + 1)
    assert unused.asked == 0 and held.shape == (2, 3)


def test_in_a_recorded_step() -> None:
    source = Source()
    weight = deferred(source)
    step = jit(lambda x: x * weight)
    for factor in (1.0, 2.0, 3.0):
        given = Tensor(np.full((2, 3), factor, np.float32))
        np.testing.assert_array_equal(step(given).numpy(), factor * X)
    assert source.asked == 1
    passed = jit(lambda x: x + 1)
    for _ in range(3):
        np.testing.assert_array_equal(passed(deferred(Source())).numpy(), X + 1)


def test_a_failure_is_raised_each_time() -> None:
    def fails() -> np.ndarray:
        raise OSError("the disk is gone")

    x = deferred(fails)  # type: ignore[arg-type]
    for _ in range(2):
        with pytest.raises(OSError, match="the disk is gone"):
            (x + 1).numpy()


class Cell:
    """A place that holds a node."""

    def __init__(self, history: str = "none") -> None:
        self.node = node_of(Buffer(get_device("numpy"), dtypes.float32, (), "old"))
        if history != "none":
            wrap = build.detach if history == "detached" else build.consumed
            self.node = wrap(self.node)

    @property
    def buffer(self) -> Buffer:
        node = self.node.src[0] if self.node.src else self.node
        return node.arg


@pytest.mark.parametrize("history", ["none", "detached", "consumed"])
@pytest.mark.parametrize("holder", ["nobody", "node", "leaf", "buffer", "weak"])
def test_elements_are_replaced_where_nobody_could_tell(history: str, holder: str) -> None:
    cells = [Cell(history) for _ in range(3)]
    node = cells[1].node
    leaf = node.src[0] if node.src else node
    held = {"node": node, "leaf": leaf, "buffer": leaf.arg, "weak": weakref.ref(node)}.get(holder)
    del node, leaf
    left = refill([*(cell.node for cell in cells), None], ["a", "b", "c", "d"])
    alone = holder in ("nobody", "weak") or SOLE < 0
    assert left == ([3] if alone else [1, 3])
    assert [c.buffer.memory for c in cells] == ["a", "b" if alone else "old", "c"]
    del held


def test_elements_of_what_is_computed_or_fetched_are_not_replaced() -> None:
    computed, fetched, known = Cell(), Cell(), Cell("detached")
    computed.node = build.add(computed.node, computed.node)
    fetched.node = deferred(Source()).node
    known.node.realized = Cell().node
    cells = [computed, fetched, known]
    assert refill([cell.node for cell in cells], "abc") == [0, 1, 2]


def test_elements_are_let_go_of_where_nobody_could_tell() -> None:
    cell = Cell("detached")
    buffer = cell.buffer
    assert not vacate(cell.node) and buffer.memory == "old"
    del buffer
    assert vacate(cell.node) and cell.buffer.memory is None


def child_of_fork(check: Callable[[], bool]) -> int:
    """How a forked child ends: 0 if `check` is true there."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = 0 if check() else 2
        finally:
            os._exit(status)
    _, outcome = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(outcome)


def written(x: Tensor) -> bool:
    with taken([x]) as mine:
        return mine == [True]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_child_forked_while_another_thread_writes() -> None:
    x, new = Tensor(X).realize(), Tensor(X + 1).realize()
    begun, done = threading.Event(), threading.Event()

    def write() -> None:
        with taken([x]) as mine:
            assert mine == [True]
            begun.set()
            done.wait()

    def check() -> bool:
        with pytest.raises(RuntimeError, match=r"float32\[2, 3\] on .* was being written"):
            x.numpy()
        x.node.arg.fill(new.node.arg.memory)
        return bool((x.numpy() == X + 1).all()) and written(Tensor(X).realize())

    writer = threading.Thread(target=write)
    writer.start()
    begun.wait()
    try:
        assert child_of_fork(check) == 0
    finally:
        done.set()
        writer.join()
    assert written(x) and (x.numpy() == X).all()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_child_forked_by_the_thread_that_writes() -> None:
    x = Tensor(X).realize()
    with taken([x]) as mine:
        assert mine == [True]
        assert child_of_fork(lambda: bool((x.numpy() == X).all())) == 0
    assert child_of_fork(lambda: written(x)) == 0
