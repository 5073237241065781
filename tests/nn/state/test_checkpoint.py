"""Whole trainings in a file: they go on bitwise, and no failure loses the file or the model."""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradlet import Tensor, nn
from gradlet.nn.data import DataLoader, TensorDataset
from gradlet.nn.state import (
    get_state_dict,
    load_checkpoint,
    load_state_dict,
    safe_load,
    safe_save,
    save_checkpoint,
)


class Schedule:
    """A learning rate that halves, with state in Python numbers alone."""

    def __init__(self, opt: Any) -> None:
        self.opt, self.steps = opt, 0

    def step(self) -> None:
        self.steps += 1
        self.opt.lr = 0.01 * 0.5 ** (self.steps // 3)

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self.steps, "history": [(0, 0.1), (3, 0.05)], "note": None}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        assert state["history"] == [(0, 0.1), (3, 0.05)] and state["note"] is None
        self.steps = state["steps"]
        self.opt.lr = 0.01 * 0.5 ** (self.steps // 3)


class Momentum:
    """Gradient descent with momentum whose state is laid out as PyTorch lays it out."""

    def __init__(self, params: list[Tensor], lr: float) -> None:
        self.params, self.lr = params, lr
        self.state: dict[int, dict[str, Any]] = {}

    def step(self) -> None:
        for i, param in enumerate(self.params):
            assert param.grad is not None
            mine = self.state.setdefault(i, {"step": 0, "momentum_buffer": param.grad * 0})
            mine["momentum_buffer"] = mine["momentum_buffer"] * 0.9 + param.grad
            mine["step"] += 1
            param.assign(param.detach() - mine["momentum_buffer"] * self.lr).realize()
            param.grad = None

    def state_dict(self) -> dict[str, Any]:
        groups = [{"lr": self.lr, "betas": (0.9, 0.999), "params": list(range(len(self.params)))}]
        return {"state": dict(self.state), "param_groups": groups}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for i, mine in state["state"].items():
            if mine["momentum_buffer"].shape != self.params[i].shape:
                raise ValueError(f"parameter {i} has another shape")
        self.state = {i: dict(mine) for i, mine in state["state"].items()}
        self.lr = state["param_groups"][0]["lr"]


class Training:
    """A model with dropout on shuffled data: everything that a checkpoint must hold."""

    def __init__(self, seed: int, width: int = 8, workers: int = 0) -> None:
        Tensor.manual_seed(seed)
        self.model = nn.Sequential(
            nn.Linear(4, width), nn.BatchNorm(width), nn.Dropout(0.5), nn.Linear(width, 1)
        )
        trained = [t for name, t in get_state_dict(self.model).items() if "running" not in name]
        self.opt = Momentum([t for t in trained if t.dtype.is_float], lr=0.01)
        self.schedule = Schedule(self.opt)
        x = np.random.default_rng(0).normal(size=(22, 4)).astype(np.float32)
        self.loader = DataLoader(
            TensorDataset(x, x.sum(1, keepdims=True)), 4, shuffle=True, num_workers=workers
        )

    def run(self, steps: int) -> list[float]:
        losses: list[float] = []
        with Tensor.train():
            while True:
                for x, y in self.loader:
                    loss = ((self.model(x) - y) ** 2).mean()
                    loss.backward()
                    self.opt.step()
                    self.schedule.step()
                    losses.append(loss.item())
                    if len(losses) == steps:
                        return losses

    def parts(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "optimizer": self.opt,
            "scheduler": self.schedule,
            "loader": self.loader,
        }


def values(model: Any) -> dict[str, np.ndarray]:
    return {name: tensor.numpy() for name, tensor in get_state_dict(model).items()}


def assert_equal(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> None:
    assert list(ours) == list(theirs)
    for name, array in ours.items():
        np.testing.assert_array_equal(array, theirs[name])


@pytest.mark.parametrize("before", [2, 6, 8])  # in the first epoch, at its end, in the second
def test_training_goes_on_bitwise(before: int, tmp_path: Path) -> None:
    whole = Training(seed=1)
    losses = whole.run(before + 9)
    assert np.isfinite(losses).all() and len(set(losses)) == len(losses)
    first = Training(seed=1)
    assert first.run(before) == losses[:before]
    save_checkpoint(tmp_path / "x", step=before, **first.parts())
    first.run(3)  # what happens afterwards is not in it
    second = Training(seed=2, workers=2)
    second.run(1)
    assert load_checkpoint(tmp_path / "x", **second.parts()) == {"step": before}
    assert second.run(9) == losses[before:]
    assert_equal(values(second.model), values(whole.model))
    assert second.opt.lr == whole.opt.lr


def sgd(model: Any) -> Any:
    return nn.optim.SGD([model], lr=0.1, momentum=0.9)


def test_an_optimiser_of_ours_goes_on_bitwise(tmp_path: Path) -> None:
    x = Tensor([[1.0, 2.0]], requires_grad=False)

    def run(model: Any, opt: Any, steps: int) -> None:
        for _ in range(steps):
            (model(x) ** 2).sum().backward()
            opt.step()
            opt.zero_grad()

    whole, first, second = (nn.Linear(2, 2) for _ in range(3))
    load_state_dict(first, get_state_dict(whole))
    opt, opt_first, opt_second = sgd(whole), sgd(first), sgd(second)
    run(whole, opt, 6)
    run(first, opt_first, 3)
    save_checkpoint(tmp_path / "x", model=first, optimizer=opt_first)
    load_checkpoint(tmp_path / "x", model=second, optimizer=opt_second)
    run(second, opt_second, 3)
    assert_equal(values(second), values(whole))


# What is in it


def test_values_of_every_kind(tmp_path: Path) -> None:
    tree = {
        "step": 3, "loss": 0.1, "best": float("inf"), "big": 2**70, "name": "µ", "none": None,
        "flag": True, "pair": (1, (2.5, "x")), "list": [], "nested": {0: {"a": [1]}, None: {}},
        "number": np.float64(0.25), "tensor": Tensor([1.0, 2.0]), "dict": {"tensor": 1},
        "a.b": Tensor([1]), "a": {"b": Tensor([2])}, "bits": Tensor([1.5], dtype="bfloat16"),
    }  # fmt: skip
    save_checkpoint(tmp_path / "x", extra=tree)
    found = load_checkpoint(tmp_path / "x")["extra"]
    assert list(found) == list(tree)
    for name, value in tree.items():
        if isinstance(value, Tensor):
            assert found[name].dtype is value.dtype and found[name].tolist() == value.tolist()
        elif name == "a":
            assert found["a"]["b"].tolist() == [2]
        else:
            assert found[name] == value and type(found[name]) in (type(value), float)


def test_its_tensors_are_there_for_anyone(tmp_path: Path) -> None:
    model, copy = nn.Linear(2, 1), nn.Linear(2, 1)
    save_checkpoint(tmp_path / "x", model=model, average=copy, step=1)
    names = ["average.bias", "average.weight", "model.bias", "model.weight"]
    assert sorted(safe_load(tmp_path / "x")) == names
    other = nn.Linear(2, 1)
    left = load_checkpoint(tmp_path / "x", average=other)
    assert_equal(values(other), values(copy))
    assert left["step"] == 1 and left["model"]["weight"].tolist() == model.weight.tolist()


def test_a_tensor_in_two_places_is_written_once(tmp_path: Path) -> None:
    model = nn.Linear(2, 1, bias=False)
    save_checkpoint(tmp_path / "x", model=model, params=[model.weight])
    assert list(safe_load(tmp_path / "x")) == ["model.weight"]
    assert load_checkpoint(tmp_path / "x")["params"][0].tolist() == model.weight.tolist()


def test_random_numbers_go_on(tmp_path: Path) -> None:
    Tensor.manual_seed(5)
    Tensor.rand(2).realize()
    save_checkpoint(tmp_path / "x")
    expected = Tensor.rand(3).tolist()
    load_checkpoint(tmp_path / "x", rng=False)
    assert Tensor.rand(3).tolist() != expected
    load_checkpoint(tmp_path / "x")
    assert Tensor.rand(3).tolist() == expected


class Nothing:
    pass


def test_what_cannot_be_saved_leaves_the_old_file(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "x", step=1)
    for wrong, why in [
        ({"extra": {"a": [object()]}}, r"extra\.a\.0 is a object"),
        ({"extra": {(1, 2): 3}}, r"extra has a key \(1, 2\)"),
        ({"extra": {1, 2}}, "set has neither a state_dict"),
        ({"model": Nothing()}, "Nothing has neither a state_dict"),
        ({"rng": 1}, "rng and device are arguments of load"),
    ]:
        with pytest.raises(TypeError, match=why):
            save_checkpoint(tmp_path / "x", **wrong)
    assert load_checkpoint(tmp_path / "x") == {"step": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


# What does not fit changes nothing


def test_what_does_not_fit_changes_nothing(tmp_path: Path) -> None:
    other = Training(seed=1, width=9)
    other.run(2)
    save_checkpoint(tmp_path / "wide", **other.parts())
    same = Training(seed=2)
    same.run(2)
    save_checkpoint(tmp_path / "mixed", **{**same.parts(), "loader": other.loader})
    save_checkpoint(tmp_path / "optimizer", **{**same.parts(), "optimizer": other.opt})
    training = Training(seed=3)
    training.run(3)
    training.loader.dataset = TensorDataset(*(a[:20] for a in training.loader.dataset.arrays))
    before, buffers = values(training.model), training.opt.state[0]["momentum_buffer"].tolist()
    place, rng = training.loader.state_dict(), Tensor.get_rng_state()
    for name, culprit in [("wide", "model"), ("mixed", "loader"), ("optimizer", "optimizer")]:
        with pytest.raises(ValueError, match=f"{culprit} does not fit what .*left as it was"):
            load_checkpoint(tmp_path / name, **training.parts())
        assert_equal(values(training.model), before)
        assert training.opt.state[0]["momentum_buffer"].tolist() == buffers
        assert training.schedule.steps == 3 and training.loader.state_dict() == place
        assert Tensor.get_rng_state() == rng
    with pytest.raises(ValueError, match=r"has no average; it was saved with model, optimizer"):
        load_checkpoint(tmp_path / "mixed", average=training.model)


def test_other_files(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_checkpoint(tmp_path / "x")
    safe_save({"x": Tensor([1.0])}, tmp_path / "x")
    with pytest.raises(ValueError, match="is a safetensors file but no checkpoint"):
        load_checkpoint(tmp_path / "x")


DAMAGE = {
    "no JSON": "{",
    "a list": "[]",
    "another version": '{"version": 2, "rng": [1, 2], "state": {"dict": []}}',
    "no state": '{"version": 1, "rng": [1, 2]}',
    "no numbers": '{"version": 1, "rng": [1], "state": {"dict": []}}',
    "no such seed": '{"version": 1, "rng": [-1, 2], "state": {"dict": []}}',
    "no such tensor": '{"version": 1, "rng": [1, 2], "state": {"dict": [["a", {"tensor": "y"}]]}}',
    "unknown": '{"version": 1, "rng": [1, 2], "state": {"object": []}}',
    "an unhashable key": '{"version": 1, "rng": [1, 2], "state": {"dict": [[[], 1]]}}',
    "no dict": '{"version": 1, "rng": [1, 2], "state": [1]}',
    "deep": '{"version": 1, "rng": [1, 2], "state": ' + "[" * 100_000,
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_structure(name: str, tmp_path: Path) -> None:
    safe_save({"x": Tensor([1.0])}, tmp_path / "x", {"gradlet checkpoint": DAMAGE[name]})
    with pytest.raises(ValueError, match="x is damaged"):
        load_checkpoint(tmp_path / "x")


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_a_changed_file_loads_whole_or_changes_nothing(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "x"
    Tensor.manual_seed(1)
    saved, model = nn.Linear(2, 1), nn.Linear(2, 1)
    save_checkpoint(path, model=saved, step=3)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    before, rng = values(model), Tensor.get_rng_state()
    try:
        load_checkpoint(path, model=model)
    except ValueError:
        assert_equal(values(model), before)
        assert Tensor.get_rng_state() == rng


# Killed, and out of room

SAVES_FOR_EVER = """if True:
    import itertools, os, sys
    import numpy as np
    from gradlet import Tensor
    from gradlet.nn.state import save_checkpoint
    for line in sys.stdin:
        child = os.fork()
        if not child:
            print(os.getpid(), flush=True)
            for step in itertools.count(int(line)):
                tensors = {str(i): Tensor(np.full(20_000, step, np.float32)) for i in range(10)}
                save_checkpoint(sys.argv[1], step=step, tensors=tensors)
                print(step, flush=True)
        os.waitpid(child, 0)
        print("gone", flush=True)
"""


def test_a_process_killed_while_it_saves_leaves_a_whole_file(tmp_path: Path) -> None:
    path, chance, last, cut_off = tmp_path / "x", random.Random(0), 0, 0
    command = [sys.executable, "-c", SAVES_FOR_EVER, str(path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, text=True, bufsize=1, **pipes) as parent:  # type: ignore
        assert parent.stdin is not None and parent.stdout is not None
        for _ in range(30):
            print(last + 1, file=parent.stdin)
            child = int(parent.stdout.readline())
            for _ in range(chance.randint(1, 2)):
                last = int(parent.stdout.readline())
            time.sleep(chance.uniform(0, 0.01))
            os.kill(child, signal.SIGKILL)
            while (line := parent.stdout.readline()) != "gone\n":
                last = int(line)
            found = load_checkpoint(path)
            assert found["step"] in (last, last + 1)  # the last is whole, the next may be
            for tensor in found["tensors"].values():
                np.testing.assert_array_equal(tensor.numpy(), np.float32(found["step"]))
            leftovers = [p for p in tmp_path.iterdir() if p != path]
            assert len(leftovers) <= 1  # those of earlier processes went when this one saved
            for leftover in leftovers:
                assert leftover.name.startswith("x.") and leftover.suffix == ".partial"
                cut_off += 1
    assert cut_off, "no process was killed in the middle of a file"


def test_a_full_disk_leaves_the_old_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "x"
    save_checkpoint(path, step=1)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))  # no file grows beyond
    try:
        with pytest.raises(OSError):
            save_checkpoint(path, step=2, x=Tensor(np.zeros(100_000, np.float32)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert load_checkpoint(path) == {"step": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


def test_the_structure_is_json(tmp_path: Path) -> None:
    """So that a person can read it, and a program without gradlet."""
    save_checkpoint(tmp_path / "x", step=1, sizes=(2, 3))
    content = (tmp_path / "x").read_bytes()
    length = int.from_bytes(content[:8], "little")
    written = json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["gradlet checkpoint"])
    assert written["state"] == {"dict": [["step", 1], ["sizes", {"tuple": [2, 3]}]]}
