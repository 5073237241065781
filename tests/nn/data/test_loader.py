"""Batches: their order, their making by workers, where a loader stands, and what goes wrong."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradlet import Tensor
from gradlet.nn.data import ConcatDataset, DataLoader, Subset, TensorDataset, batches

WORKERS = [0, 1, 3]


def rows(loader: Any) -> list[Any]:
    return [batch.tolist() for batch in loader]


# Order


@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.parametrize("kind", ["array", "tensor", "list", "subset", "joined"])
def test_every_kind_of_data_in_every_order(kind: str, workers: int) -> None:
    values = np.arange(23) * 10
    data: Any = {
        "array": values,
        "tensor": Tensor(values),
        "list": values.tolist(),
        "subset": Subset(np.arange(46) * 10, range(23)),
        "joined": ConcatDataset([values[:9].tolist(), values[9:]]),
    }[kind]
    loader = DataLoader(data, 5, num_workers=workers)
    assert len(loader) == 5 and rows(loader) == [
        values[i : i + 5].tolist() for i in range(0, 23, 5)
    ]
    assert len(DataLoader(data, 5, drop_last=True)) == 4
    assert rows(DataLoader(data, 5, drop_last=True, num_workers=workers)) == rows(loader)[:4]
    shuffled = DataLoader(data, 5, True, seed=1, num_workers=workers)
    expected = DataLoader(values, 5, True, seed=1)
    first = rows(shuffled)
    assert first == rows(expected) and sorted(np.concatenate(first)) == values.tolist()
    second = rows(shuffled)
    assert second == rows(expected) and second != first


def test_a_seed_fixes_the_order() -> None:
    orders = [rows(DataLoader(np.arange(50), 50, True, seed=s)) for s in (1, 1, 2)]
    assert orders[0] == orders[1] != orders[2]
    orders = []
    for seed in (1, 1, 2):
        Tensor.manual_seed(seed)
        orders.append(rows(DataLoader(np.arange(50), 50, True)))
    assert orders[0] == orders[1] != orders[2]


def test_no_elements() -> None:
    for workers in WORKERS:
        assert rows(DataLoader([], 3, num_workers=workers)) == []
        assert rows(DataLoader(np.zeros(2), 3, drop_last=True, num_workers=workers)) == []


# What a batch looks like


class Point(NamedTuple):
    x: Any
    y: Any


ELEMENTS = {
    "floats": ([1.5, 2.5], "float32", [1.5, 2.5]),
    "ints": ([1, 2], "int64", [1, 2]),
    "bools": ([True, False], "bool", [True, False]),
    "arrays": ([np.ones(2, np.float16), np.zeros(2, np.float16)], "float16", [[1, 1], [0, 0]]),
    "doubles": ([np.float64(1.5), np.float64(2.5)], "float64", [1.5, 2.5]),
    "tensors": ([Tensor([1, 2]), Tensor([3, 4])], "int64", [[1, 2], [3, 4]]),
}


@pytest.mark.parametrize("name", ELEMENTS)
def test_elements_are_stacked(name: str) -> None:
    elements, dtype, expected = ELEMENTS[name]
    (batch,) = DataLoader(elements, 2)
    assert batch.dtype.name == dtype and batch.tolist() == expected
    assert batch.requires_grad is False
    (batch,) = DataLoader([{"a": (e, "text"), "b": Point(e, [e])} for e in elements], 2)
    assert batch["a"][0].tolist() == expected and batch["a"][1] == ["text", "text"]
    assert isinstance(batch["b"], Point) and isinstance(batch["a"], tuple)
    assert batch["b"].x.tolist() == batch["b"].y[0].tolist() == expected


def test_rows_of_several_arrays() -> None:
    data = TensorDataset(np.ones((4, 2), np.float32), np.arange(4))
    x, y = next(iter(DataLoader(data, 3)))
    assert isinstance(x, Tensor) and x.shape == (3, 2) and y.tolist() == [0, 1, 2]


def test_shapes_that_cannot_be_stacked() -> None:
    with pytest.raises(ValueError, match=r"shapes \[\(1,\), \(2,\)\] cannot be stacked"):
        rows(DataLoader([np.zeros(1), np.zeros(2)], 2))


@pytest.mark.parametrize("workers", WORKERS)
def test_a_collate_function(workers: int) -> None:
    loader = DataLoader(np.arange(5), 2, num_workers=workers, collate_fn=sum)
    assert list(loader) == [1, 5, 4]


# Workers


class Slow:
    """Elements that take long, and notes of who asks."""

    def __init__(self, size: int = 12) -> None:
        self.size = size
        self.seconds = 0.01
        self.asked: list[int] = []
        self.threads: set[str] = set()

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> int:
        self.asked.append(index)
        self.threads.add(threading.current_thread().name)
        time.sleep(self.seconds)
        return index


def test_workers_run_ahead_but_not_far() -> None:
    data = Slow(100)
    batches_of = iter(DataLoader(data, 2, num_workers=2, prefetch_factor=3))
    assert next(batches_of).tolist() == [0, 1]
    time.sleep(0.2)
    assert len(data.threads) == 2 and "MainThread" not in data.threads
    assert sorted(data.asked) == list(range(14))  # 2 workers with 3 batches each, and the first
    del batches_of


def loader_threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("gradlet-data")]


def test_no_thread_is_left_behind() -> None:
    data = Slow()
    loader = DataLoader(data, 2, num_workers=3)
    assert len(list(loader)) == 6 and loader_threads() == []
    data.seconds = 0.2
    for _ in loader:
        assert loader_threads()
        break
    assert loader_threads() == []
    for error in (ZeroDivisionError, KeyboardInterrupt):
        with pytest.raises(error):
            for _ in loader:
                raise error
        assert loader_threads() == []


def test_ctrl_c_ends_the_process(tmp_path: Any) -> None:
    program = """if True:
        import signal, threading, time
        import numpy as np
        from gradlet.nn.data import DataLoader

        # A shell makes what it runs in the background ignore it.
        signal.signal(signal.SIGINT, signal.default_int_handler)

        class Data:
            def __len__(self):
                return 10**6
            def __getitem__(self, index):
                if index == 20:
                    signal.raise_signal(signal.SIGINT)  # reaches the main thread
                time.sleep(0.001)
                return index
        try:
            for batch in DataLoader(Data(), 4, num_workers=3):
                pass
        except KeyboardInterrupt:
            print("interrupted")
        print(threading.active_count() - sum("data" not in t.name for t in threading.enumerate()))
    """
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.split() == ["interrupted", "0"]


class Computing:
    """Elements that are themselves computed, in the thread that asks or later."""

    def __init__(self, now: bool) -> None:
        self.now = now

    def __len__(self) -> int:
        return 300

    def __getitem__(self, index: int) -> Any:
        made = Tensor(np.full(2, index, np.float32)) * 2
        return made.numpy() if self.now else made


@pytest.mark.parametrize("now", [True, False])
@pytest.mark.parametrize("workers", WORKERS)
def test_elements_that_are_computed(workers: int, now: bool) -> None:
    total = Tensor(0.0)
    for batch in DataLoader(Computing(now), 20, num_workers=workers):
        assert batch.requires_grad is False
        total = (total + batch.sum()).realize()
    assert total.item() == 2 * 2 * sum(range(300))


class Broken:
    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> int:
        if index == 7:
            raise self.error
        return index


@pytest.mark.parametrize("workers", WORKERS)
def test_an_error_names_its_element(workers: int) -> None:
    loader = DataLoader(Broken(OSError("no such image")), 2, num_workers=workers)
    seen = []
    with pytest.raises(OSError, match=r"no such image\n.*raised for element 7 of the data set"):
        for batch in loader:
            seen.append(batch.tolist())
    assert seen == [[0, 1], [2, 3], [4, 5]] and loader_threads() == []


@pytest.mark.parametrize("workers", WORKERS)
def test_a_stop_iteration_does_not_end_the_epoch(workers: int) -> None:
    with pytest.raises(RuntimeError, match="StopIteration"):
        rows(DataLoader(Broken(StopIteration()), 2, num_workers=workers))


def test_a_data_set_shorter_than_it_says() -> None:
    class Short(list[int]):
        def __len__(self) -> int:
            return 5

    with pytest.raises(IndexError, match="element 3"):
        rows(DataLoader(Short([1, 2, 3]), 2))


# Where it stands


@settings(max_examples=60, deadline=None)
@given(
    size=st.integers(0, 13), batch=st.integers(1, 5), shuffle=st.booleans(), drop=st.booleans(),
    workers=st.sampled_from([0, 2]), epochs=st.integers(0, 2), data=st.data(),
)  # fmt: skip
def test_resumed_anywhere(
    size: int, batch: int, shuffle: bool, drop: bool, workers: int, epochs: int, data: Any
) -> None:
    def new(seed: int) -> DataLoader:
        values = np.arange(size)
        return DataLoader(values, batch, shuffle, drop_last=drop, seed=seed, num_workers=workers)

    whole, first, second = new(1), new(1), new(2)
    expected = [rows(whole) for _ in range(epochs + 2)]
    for _ in range(epochs):
        rows(first)
    seen = data.draw(st.integers(0, len(first)))
    if seen:
        for number, _ in enumerate(first, 1):
            if number == seen:
                state = first.state_dict()
                break
    else:
        state = first.state_dict()
    rows(second)
    second.load_state_dict(json.loads(json.dumps(state)))
    assert second.state_dict() == state
    assert [rows(second), rows(second)] == [expected[epochs][seen:], expected[epochs + 1]]


def test_a_loop_left_early_is_an_epoch() -> None:
    loader, other = (DataLoader(np.arange(20), 5, True, seed=1) for _ in range(2))
    for _ in loader:
        break
    rows(other)
    assert rows(loader) == rows(other)


def test_two_loops_at_once() -> None:
    loader, other = (DataLoader(np.arange(20), 5, True, seed=1) for _ in range(2))
    pairs = list(zip(loader, loader, strict=True))
    expected = [rows(other), rows(other)]
    assert [[a.tolist() for a, _ in pairs], [b.tolist() for _, b in pairs]] == expected


def test_positions_of_other_loaders() -> None:
    state = DataLoader(np.arange(10), 5, seed=1).state_dict()
    for other, why in [
        (DataLoader(np.arange(11), 5), "length was 10, is 11"),
        (DataLoader(np.arange(10), 4), "batch_size was 5, is 4"),
        (DataLoader(np.arange(10), 5, True, drop_last=True), "shuffle was False, is True; drop"),
    ]:
        before = other.state_dict()
        with pytest.raises(ValueError, match=why):
            other.load_state_dict(state)
        assert other.state_dict() == before
    loader = DataLoader(np.arange(10), 5)
    for wrong in ({"batch": 3}, {"batch": -1}, {"epoch": -1}, {"epoch": "1"}, {"extra": 1}):
        with pytest.raises(ValueError, match="load_state_dict"):
            loader.load_state_dict({**state, **wrong})


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"batch_size": 0}, "batch_size must be at least 1, not 0"),
        ({"batch_size": 1.5}, "batch_size must be at least 1, not 1.5"),
        ({"num_workers": -1}, "num_workers must be at least 0"),
        ({"prefetch_factor": 0}, "prefetch_factor must be at least 1"),
    ],
)
def test_sizes_that_make_no_batch(wrong: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        DataLoader([1, 2], **wrong)


# Plain batches of two arrays


def test_batches() -> None:
    x, y = np.arange(10) * 2, np.arange(10)
    parts = list(batches(x, y, 4))
    assert [p.tolist() for p, _ in parts] == [[0, 2, 4, 6], [8, 10, 12, 14], [16, 18]]
    assert [len(q) for _, q in batches(x, y, 4, drop_last=True)] == [4, 4]
    shuffled = [q.tolist() for _, q in batches(x, y, 4, shuffle=True, seed=1)]
    assert shuffled == [q.tolist() for _, q in batches(x, y, 4, shuffle=True, seed=1)]
    assert shuffled != [q.tolist() for _, q in batches(x, y, 4, shuffle=True, seed=2)]
    assert sorted(label for part in shuffled for label in part) == list(range(10))
    assert all((p == 2 * q).all() for p, q in batches(x, y, 3, shuffle=True))


@pytest.mark.parametrize(
    ("sizes", "size", "drop_last", "message"),
    [
        ((3, 4), 2, False, "x has 3 elements and y has 4"),
        ((3, 3), 0, False, "at least 1, not 0"),
        ((3, 3), 4, True, "3 elements make no whole batch of 4"),
    ],
)
def test_batches_that_cannot_be(
    sizes: tuple[int, int], size: int, drop_last: bool, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        batches(np.zeros(sizes[0]), np.zeros(sizes[1]), size, drop_last=drop_last)
