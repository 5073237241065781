"""What stays true of tensors and programs when a run fails, stops halfway or happens again."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from gradlet import JitError, Tensor, jit, nn
from gradlet.engine import native, realize
from gradlet.ir.node import interned_count

ROOT = Path(__file__).resolve().parent.parent.parent


class Trainer:
    """One linear layer under Adam."""

    def __init__(self) -> None:
        self.weight, self.bias = Tensor(np.eye(4, dtype=np.float32)), Tensor.zeros(4)
        self.x = Tensor(np.ones((3, 4), np.float32))
        self.optimizer = nn.optim.Adam([self.weight, self.bias], lr=0.01)

    def step(self) -> float:
        self.optimizer.zero_grad()
        loss = ((self.x @ self.weight + self.bias - 3.0) ** 2).mean()
        loss.backward()
        self.optimizer.step()
        return loss.item()


def test_later_steps_compile_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = Trainer()
    losses = [trainer.step(), trainer.step()]

    def refuse(*_: object) -> None:
        raise AssertionError("a step of training compiled a program again")

    monkeypatch.setattr(realize, "compile_program", refuse)
    losses += [trainer.step() for _ in range(5)]
    monkeypatch.undo()
    assert losses == sorted(losses, reverse=True) and losses[-1] < losses[0]


def test_memory_does_not_grow_while_training() -> None:
    trainer = Trainer()
    for _ in range(5):
        trainer.step()
    nodes, programs, kernels = interned_count(), len(realize._programs), len(native._kernels)
    for _ in range(200):
        trainer.step()
    assert interned_count() <= nodes + 10
    assert (len(realize._programs), len(native._kernels)) == (programs, kernels)


def test_an_index_out_of_range_leaves_everything_usable() -> None:
    table = Tensor(np.arange(10, dtype=np.float32))
    at = Tensor(np.array([1, 99]))
    bad, good = table[at] * 2.0, table * 3.0
    with pytest.raises(IndexError, match="out of range"):
        bad.numpy()
    assert bad.node.realized is None
    np.testing.assert_array_equal(good.numpy(), np.arange(10) * 3)
    np.testing.assert_array_equal((table[Tensor(np.array([1, 9]))] * 2.0).numpy(), [2, 18])
    with pytest.raises(IndexError):
        bad.numpy()


def test_what_is_held_is_computed_once() -> None:
    x = Tensor(np.ones(5, np.float32))
    inner = x.exp()
    (inner * 2.0).numpy()
    assert inner.node.realized is not None


INTERRUPTED = """
import os, signal, threading, time
signal.signal(signal.SIGINT, signal.default_int_handler)
from tests.engine.test_realize import Trainer
trainer = Trainer()
trainer.step()
threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
end = time.monotonic() + 60
try:
    while time.monotonic() < end:
        trainer.step()
    print("never interrupted")
except KeyboardInterrupt:
    trainer = Trainer()
    losses = [trainer.step() for _ in range(20)]
    print("usable" if losses[-1] < losses[0] else losses)
"""


def test_what_is_known_is_read_and_what_waits_is_computed_with_the_next_value() -> None:
    w = Tensor([1.0, 2.0], requires_grad=True)
    double = jit(lambda x: x * 2)
    known = [w, w.detach(), double(w)]
    assert [x.tolist() for x in known] == [[1.0, 2.0], [1.0, 2.0], [2.0, 4.0]]
    for x in known:
        (w * w).sum().backward()
        assert w.grad is not None and w.grad.node.arg.memory is None
        x.numpy()
        assert w.grad.node.arg.memory is not None
    assert w.grad is not None and w.grad.tolist() == [6.0, 12.0]
    with pytest.raises(JitError, match="needed"):
        jit(lambda x: x + w.detach().numpy().sum())(known[2])


@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT cannot be sent to one process")
def test_an_interrupted_loop_leaves_a_usable_state() -> None:
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED], cwd=ROOT, capture_output=True, text=True, timeout=90
    )
    assert done.stdout.strip() == "usable", done.stderr


DAMAGED = "from gradlet import Tensor; print((Tensor([1.0, 2.0, 4.0]).exp().log() + 3.25).tolist())"


def test_damaged_cache_entries_are_compiled_again(tmp_path: Path) -> None:
    def run() -> str:
        return subprocess.run(
            [sys.executable, "-c", DAMAGED],
            env={**os.environ, "GRADLET_CACHE": str(tmp_path), "GRADLET_DEVICE": "cpu"},
            cwd=ROOT, capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip

    expected = run()
    files = list(tmp_path.rglob("*.kernel"))
    assert files
    for path in files:
        path.write_bytes(path.read_bytes()[:-7] + b"\0\1\2\3\4\5\6")
    damaged = {path: path.read_bytes() for path in files}
    assert run() == expected
    assert all(path.read_bytes() != damaged[path] for path in files)


def test_other_threads_may_make_tensors_meanwhile() -> None:
    """Such as the workers of a data loader."""
    kept, done, interval = [Tensor([1.0]) for _ in range(3000)], False, sys.getswitchinterval()

    def make() -> None:
        while not done:
            kept[0] = Tensor([1.0])

    thread = threading.Thread(target=make)
    sys.setswitchinterval(1e-5)
    thread.start()
    try:
        for _ in range(100):
            assert len(realize.live()) >= 2999
    finally:
        done = True
        thread.join()
        sys.setswitchinterval(interval)
