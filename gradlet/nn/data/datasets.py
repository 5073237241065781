"""Data sets: anything with a length and elements by their index, and ways to cut and join them."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from itertools import accumulate
from typing import Any, Protocol

import numpy as np

from gradlet.tensor.random import next_block
from gradlet.tensor.tensor import Tensor


class Dataset(Protocol):
    """Something with a length and elements: a list, an array, or a class of one's own.

    An element is a NumPy array, a number, or a tuple, list or dict of such. With workers, elements
    are asked for in several threads at once; a random change to one should then be drawn from a
    generator of its own, such as `np.random.default_rng((seed, index))`. A data set that has whole
    batches at hand can give them in a method `get_batch(indices)`, as NumPy arrays.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


class TensorDataset:
    """Elements of several arrays or tensors at the same place along the first axis.

    >>> TensorDataset(np.arange(6).reshape(3, 2), [7, 8, 9])[1]
    (array([2, 3]), np.int64(8))
    """

    def __init__(self, *arrays: Any) -> None:
        self.arrays = [a.numpy() if isinstance(a, Tensor) else np.asarray(a) for a in arrays]
        shapes = [array.shape for array in self.arrays]
        if not shapes or () in shapes or len({shape[0] for shape in shapes}) > 1:
            raise ValueError(f"TensorDataset: needs arrays of one length, not of shapes {shapes}")

    def __len__(self) -> int:
        return len(self.arrays[0])

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        return tuple(array[index] for array in self.arrays)

    def get_batch(self, indices: np.ndarray) -> tuple[np.ndarray, ...]:
        return tuple(array[indices] for array in self.arrays)


class Subset:
    """The elements of a data set at given indices, in their order.

    Raises:
        IndexError: an index is out of range.
    """

    def __init__(self, dataset: Any, indices: Sequence[int] | np.ndarray) -> None:
        self.dataset = dataset
        self.indices = np.asarray(indices, np.int64)
        size = len(dataset)
        wrong = self.indices[(self.indices < -size) | (self.indices >= size)]
        if wrong.size:
            raise IndexError(f"Subset: index {wrong[0]} is out of range for {size} elements")

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Any:
        return self.dataset[int(self.indices[index])]


class ConcatDataset:
    """The elements of several data sets, one after the other.

    >>> ConcatDataset([[1, 2], [3]])[2]
    3
    """

    def __init__(self, datasets: Sequence[Any]) -> None:
        self.datasets = list(datasets)
        self.ends = list(accumulate(len(dataset) for dataset in self.datasets))

    def __len__(self) -> int:
        return self.ends[-1] if self.ends else 0

    def __getitem__(self, index: int) -> Any:
        size = len(self)
        if not -size <= index < size:
            raise IndexError(f"ConcatDataset: index {index} is out of range for {size} elements")
        index %= size
        which = bisect.bisect_right(self.ends, index)
        before = self.ends[which - 1] if which else 0
        return self.datasets[which][index - before]


def random_split(
    dataset: Any, lengths: Sequence[int | float], seed: int | None = None
) -> list[Subset]:
    """A data set cut into parts at random, which `seed` fixes.

    Args:
        lengths: of the parts, or the shares of the whole that they take if these sum to 1; the
            first parts take what is left of such shares.

    >>> [len(part) for part in random_split(range(11), [0.5, 0.5], seed=0)]
    [6, 5]
    """
    total = len(dataset)
    sizes = [length for length in lengths if isinstance(length, int)]
    if len(sizes) < len(lengths) and abs(sum(lengths) - 1) < 1e-6:
        sizes = [int(total * share) for share in lengths]
        for place in range(total - sum(sizes)):
            sizes[place % len(sizes)] += 1
    if len(sizes) < len(lengths) or sum(sizes) != total or min(sizes, default=0) < 0:
        raise ValueError(
            f"random_split: {list(lengths)} are neither lengths that sum to {total} nor shares "
            "that sum to 1"
        )
    order = generator(fresh_seed() if seed is None else seed).permutation(total)
    return [Subset(dataset, part) for part in np.split(order, np.cumsum(sizes)[:-1])]


def fresh_seed() -> int:
    """A seed that `Tensor.manual_seed` determines."""
    return int.from_bytes(next_block().tobytes(), "little")


def generator(*seeds: int) -> np.random.Generator:
    """NumPy's random numbers for a seed, and what else they should depend on."""
    return np.random.default_rng(seeds)
