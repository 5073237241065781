"""The kernels: what goes in, what comes out, and the least that any machine must do for it.

All is float32 but ids, which are int64. Arithmetic counts one for each operation, exp and tanh
included. What is read and written counts once, as if caches were boundless. Both are lower bounds.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Kernel:
    """One kernel.

    Attributes:
        name: as on the command line.
        inputs: the shape of each input.
        outputs: the shape of each result.
        flops: operations of arithmetic.
        function: its name in the frameworks' tables, if several kernels share it.
        vocabulary: if not 0, the first input holds ids below it.
        rows_read: if not 0, how many rows of the last input are looked at.
    """

    name: str
    inputs: tuple[Shape, ...]
    outputs: tuple[Shape, ...]
    flops: int
    function: str = ""
    vocabulary: int = 0
    rows_read: int = 0

    @property
    def read_bytes(self) -> int:
        """Bytes of input that must be looked at."""
        last = self.inputs[-1]
        skipped = last[0] - self.rows_read if self.rows_read else 0
        ids = math.prod(self.inputs[0]) if self.vocabulary else 0
        return 4 * (ids + sum(map(math.prod, self.inputs)) - skipped * math.prod(last[1:]))

    @property
    def written_bytes(self) -> int:
        """Bytes of all results."""
        return 4 * sum(map(math.prod, self.outputs))


SQUARE = (4096, 4096)
CELLS = math.prod(SQUARE)
LINEAR = 1024
IMAGES, FILTERS = (16, 64, 56, 56), (64, 64, 3, 3)
CONV_FLOPS = 2 * math.prod(IMAGES) * math.prod(FILTERS[1:])
HEADS = (8, 8, 512, 64)
SCORES = 8 * 8 * 512 * 512
VOCABULARY, TOKENS, WIDTH = 50257, 1024, 768


def _table() -> Iterator[Kernel]:
    yield Kernel("gelu", ((1 << 24,),), ((1 << 24,),), 9 << 24)
    yield Kernel("softmax", (SQUARE,), (SQUARE,), 5 * CELLS)
    yield Kernel("layernorm", (SQUARE, SQUARE[1:], SQUARE[1:]), (SQUARE,), 7 * CELLS)
    yield Kernel("sum", ((1 << 26,),), ((),), 1 << 26)
    yield Kernel("cumsum", (SQUARE,), (SQUARE,), CELLS)
    for n in (128, 512, 1024, 2048):
        yield Kernel(f"matmul_{n}", ((n, n), (n, n)), ((n, n),), 2 * n**3, function="matmul")
    n = LINEAR
    yield Kernel("linear", ((n, n), (n, n), (n,)), ((n, n),), 2 * n**3 + 2 * n**2)
    yield Kernel("conv3x3", (IMAGES, FILTERS), (IMAGES,), CONV_FLOPS)
    yield Kernel("conv3x3_dx", (IMAGES, FILTERS), (IMAGES,), CONV_FLOPS)
    yield Kernel("conv3x3_dw", (IMAGES, IMAGES), (FILTERS,), CONV_FLOPS)
    products, rest = 2 * SCORES * HEADS[-1], 6 * SCORES
    yield Kernel("attention", (HEADS,) * 3, (HEADS,), 2 * products + rest)
    yield Kernel("attention_grad", (HEADS,) * 4, (HEADS,) * 4, 6 * products + 2 * rest)
    ids, table, rows = (TOKENS,), (VOCABULARY, WIDTH), (TOKENS, WIDTH)
    yield Kernel("embedding", (ids, table), (rows,), 0, vocabulary=VOCABULARY, rows_read=TOKENS)
    yield Kernel("embedding_grad", (ids, rows), (table,), TOKENS * WIDTH, vocabulary=VOCABULARY)


KERNELS = {kernel.name: kernel for kernel in _table()}


def arrays(kernel: Kernel) -> list[np.ndarray]:
    """Two versions of the first input, and then the others: the same numbers every time."""
    rng = np.random.default_rng(0)
    first, *rest = kernel.inputs
    made: list[np.ndarray] = []
    for _ in range(2):
        if kernel.vocabulary:
            made.append(rng.integers(0, kernel.vocabulary, first))
        else:
            made.append(rng.standard_normal(first, np.float32))
    return made + [rng.standard_normal(shape, np.float32) for shape in rest]
