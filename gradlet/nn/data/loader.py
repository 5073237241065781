"""Batches of a data set, in an order that depends on the seed alone, made ahead by workers."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np

from gradlet.nn.data.datasets import Subset, fresh_seed, generator
from gradlet.tensor.tensor import Tensor


def batches(
    x: Any,
    y: Any,
    size: int,
    shuffle: bool = False,
    seed: int | None = None,
    drop_last: bool = False,
) -> Iterator[tuple[Any, Any]]:
    """Pairs of `size` elements of `x` and `y` along the first axis.

    Args:
        shuffle: in a random order, which `seed` fixes.
        drop_last: leave out what remains when `size` does not divide the number of elements.

    Raises:
        ValueError: lengths differ, or no batch of `size` can be had.

    >>> [b.tolist() for _, b in batches(np.zeros(5), np.arange(5), 2)]
    [[0, 1], [2, 3], [4]]
    """
    count = len(x)
    if len(y) != count:
        raise ValueError(f"batches: x has {count} elements and y has {len(y)}; they must agree")
    if size < 1:
        raise ValueError(f"batches: size must be at least 1, not {size}")
    if drop_last and count < size:
        raise ValueError(f"batches: {count} elements make no whole batch of {size}")
    order = np.random.default_rng(seed).permutation(count) if shuffle else np.arange(count)
    end = count - count % size if drop_last else count
    return ((x[part], y[part]) for part in (order[i : i + size] for i in range(0, end, size)))


class DataLoader:
    """The elements of a data set in batches; each `for` over it is an epoch.

    `state_dict()` tells where it stands, in the middle of an epoch too, and after
    `load_state_dict()` the next `for` goes on from there.

    Args:
        dataset: a `Dataset`, or an array or a tensor, whose rows are its elements.
        batch_size: elements in a batch.
        shuffle: in another order each epoch.
        drop_last: leave out what remains when `batch_size` does not divide the number of elements.
        seed: fixes all orders. If not given, `Tensor.manual_seed` does.
        num_workers: threads that make batches ahead of time. They change no result.
        prefetch_factor: how many batches each worker makes ahead.
        collate_fn: makes a batch from a list of elements. By default, arrays and numbers are
            stacked to tensors with requires_grad=False, inside tuples, lists and dicts too.

    Raises:
        ValueError: sizes that make no batch.

    >>> [batch.tolist() for batch in DataLoader(np.arange(5), batch_size=2)]
    [[0, 1], [2, 3], [4]]
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int = 1,
        shuffle: bool = False,
        *,
        drop_last: bool = False,
        seed: int | None = None,
        num_workers: int = 0,
        prefetch_factor: int = 2,
        collate_fn: Callable[[list[Any]], Any] | None = None,
    ) -> None:
        for name, value, least in (
            ("batch_size", batch_size, 1),
            ("num_workers", num_workers, 0),
            ("prefetch_factor", prefetch_factor, 1),
        ):
            if not isinstance(value, int) or value < least:
                raise ValueError(f"DataLoader: {name} must be at least {least}, not {value!r}")
        self.dataset = dataset.numpy() if isinstance(dataset, Tensor) else dataset
        self.batch_size, self.shuffle, self.drop_last = batch_size, shuffle, drop_last
        self.seed = fresh_seed() if seed is None else seed
        self.num_workers, self.prefetch_factor = num_workers, prefetch_factor
        self.collate_fn = collate_fn
        self._whole = None if collate_fn else _whole_batches(self.dataset)
        self._epoch = self._batch = 0
        self._begun = False  # a `for` has taken up this epoch

    def __len__(self) -> int:
        """Batches in an epoch."""
        count = len(self.dataset)
        return count // self.batch_size if self.drop_last else -(-count // self.batch_size)

    def __iter__(self) -> Iterator[Any]:
        if self._begun:  # and that `for` was left early, or is still going on
            self._epoch, self._batch = self._epoch + 1, 0
        self._begun = True
        return self._batches(self._epoch, self._batch)

    def _batches(self, epoch: int, first: int) -> Iterator[Any]:
        order = self._order(epoch)
        size = self.batch_size
        parts = [order[i * size : (i + 1) * size] for i in range(first, len(self))]
        made = self._made_ahead(parts) if self.num_workers else (self._make(p) for p in parts)
        for number, batch in enumerate(made, first + 1):
            if self._epoch == epoch:
                self._batch = number
            yield batch if self.collate_fn else _tensors(batch)
        if self._epoch == epoch:
            self._epoch, self._batch, self._begun = epoch + 1, 0, False

    def _order(self, epoch: int) -> np.ndarray:
        count = len(self.dataset)
        if not self.shuffle:
            return np.arange(count)
        return generator(self.seed, epoch).permutation(count)

    def _made_ahead(self, parts: list[np.ndarray]) -> Iterator[Any]:
        """Batches in their order, while workers make the next ones."""
        pool = ThreadPoolExecutor(self.num_workers, "gradlet-data")
        waiting: deque[Future[Any]] = deque()
        left = iter(parts)
        try:
            for part in itertools.islice(left, self.num_workers * self.prefetch_factor):
                waiting.append(pool.submit(self._make, part))
            while waiting:
                batch = waiting.popleft().result()
                waiting.extend(pool.submit(self._make, part) for part in itertools.islice(left, 1))
                yield batch
        finally:
            pool.shutdown(cancel_futures=True)

    def _make(self, indices: np.ndarray) -> Any:
        """The batch of the elements at `indices`, with arrays in place of tensors."""
        if self._whole is not None:
            return self._whole(indices)
        elements = [self._element(int(index)) for index in indices]
        return self.collate_fn(elements) if self.collate_fn else stacked(elements)

    def _element(self, index: int) -> Any:
        try:
            return self.dataset[index]
        except Exception as error:
            error.add_note(f"DataLoader: this was raised for element {index} of the data set")
            raise

    # Where it stands

    def state_dict(self) -> dict[str, Any]:
        """Where it stands: plain values, to be saved in a checkpoint."""
        return {**self._settings(), "seed": self.seed, "epoch": self._epoch, "batch": self._batch}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Has the next `for` go on where the loader stood that `state` is of.

        Raises:
            ValueError: that loader made other batches than this one would.
        """
        settings = self._settings()
        wanted = {*settings, "seed", "epoch", "batch"}
        if set(state) != wanted or not all(isinstance(value, int) for value in state.values()):
            raise ValueError(f"DataLoader.load_state_dict: a state has ints as {sorted(wanted)}")
        other = [f"{k} was {state[k]}, is {v}" for k, v in settings.items() if state[k] != v]
        if other:
            raise ValueError(
                f"DataLoader.load_state_dict: {'; '.join(other)}. It can go on with the same data "
                "and batches alone"
            )
        if min(state["seed"], state["epoch"], state["batch"]) < 0 or state["batch"] > len(self):
            raise ValueError(f"DataLoader.load_state_dict: there is no batch {state['batch']}")
        self.seed, self._epoch, self._batch = state["seed"], state["epoch"], state["batch"]
        self._begun = False

    def _settings(self) -> dict[str, int]:
        return {
            "length": len(self.dataset),
            "batch_size": self.batch_size,
            "shuffle": self.shuffle,
            "drop_last": self.drop_last,
        }


def _whole_batches(dataset: Any) -> Callable[[np.ndarray], Any] | None:
    """What gives the elements at many indices at once, if the data set can."""
    if isinstance(dataset, np.ndarray):
        return dataset.__getitem__
    if isinstance(dataset, Subset):
        inner = _whole_batches(dataset.dataset)
        return None if inner is None else lambda indices: inner(dataset.indices[indices])
    return getattr(dataset, "get_batch", None)


def stacked(elements: list[Any]) -> Any:
    """Elements of one form as one: arrays and numbers stacked along a new first axis.

    Raises:
        ValueError: they are not of one form, or arrays have different shapes.
    """
    first = elements[0]
    if isinstance(first, str | bytes) or first is None:
        return elements
    if isinstance(first, Mapping):
        return {key: stacked([element[key] for element in elements]) for key in first}
    if isinstance(first, tuple | list):
        columns = [stacked(list(column)) for column in zip(*elements, strict=True)]
        return type(first)(*columns) if hasattr(first, "_fields") else type(first)(columns)
    if isinstance(first, Tensor):
        return _Computed(elements)
    arrays = [np.asarray(element) for element in elements]
    shapes = {array.shape for array in arrays}
    if len(shapes) > 1:
        raise ValueError(
            f"DataLoader: elements of shapes {sorted(shapes)} cannot be stacked to a batch; bring "
            "them to one shape in the data set, or pass collate_fn"
        )
    if type(first) is float:  # a Python float is a float32, as in Tensor(1.5)
        return np.stack(arrays).astype(np.float32)
    return np.stack(arrays)


class _Computed(list[Tensor]):
    """Tensors to be stacked by the thread that takes the batch, which computes them together."""


def _tensors(batch: Any) -> Any:
    """The same with tensors in place of arrays."""
    if isinstance(batch, _Computed):
        batch[0].realize(*batch[1:])
        return _tensors(stacked([tensor.numpy() for tensor in batch]))
    if isinstance(batch, np.ndarray):
        return Tensor(batch, requires_grad=False)
    if isinstance(batch, Mapping):
        return {key: _tensors(value) for key, value in batch.items()}
    if isinstance(batch, tuple | list) and not all(isinstance(e, str | bytes) for e in batch):
        columns = [_tensors(value) for value in batch]
        return type(batch)(*columns) if hasattr(batch, "_fields") else type(batch)(columns)
    return batch
