"""Characteristic graphs, and a target that is the same everywhere, for tests of the compiler."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from gradlet import Tensor
from gradlet.base.target import Target
from gradlet.engine.program import capture
from gradlet.ir.node import Node
from gradlet.runtime.device import get_device
from gradlet.schedule.plan import Schedule
from gradlet.schedule.schedule import schedule

# A processor with AVX-512, as plain data: what is compiled for it does not depend on this machine.
TARGET = Target("cpu", "znver4", "+avx512f", 64, 32, 32768, 1048576, 2)


def leaf(*shape: int, dtype: type = np.float32) -> Tensor:
    """A stored array of zeros; where it lives does not matter to the compiler."""
    return Tensor(np.zeros(shape, dtype), device="numpy")


def graph(*tensors: Tensor) -> tuple[list[Node], list[Node]]:
    """(sinks, params) of what some tensors compute."""
    nodes = [t.node for t in tensors]
    return capture(nodes, get_device("numpy")).canonical(nodes)


def plan(*tensors: Tensor) -> Schedule:
    """The kernels that compute some tensors."""
    return schedule(*graph(*tensors))


def gradients(loss: Tensor, *leaves: Tensor) -> list[Tensor]:
    """The gradients of the sum of `loss`, not computed yet."""
    loss.sum().backward()
    found = [x.grad for x in leaves]
    assert all(g is not None for g in found)
    return [g for g in found if g is not None]


def bias_chain() -> Sequence[Tensor]:
    return [(leaf(32, 48) * 2.0 + leaf(48)).relu()]


def row_sum() -> Sequence[Tensor]:
    return [leaf(40, 100).sum(1)]


def column_sum() -> Sequence[Tensor]:
    return [leaf(40, 100).sum(0)]


def full_sum() -> Sequence[Tensor]:
    return [leaf(40, 100).sum()]


def softmax() -> Sequence[Tensor]:
    return [leaf(32, 50).softmax(1)]


def matmul_bias_relu() -> Sequence[Tensor]:
    return [(leaf(64, 96) @ leaf(96, 80) + leaf(80)).relu()]


def linear_transposed() -> Sequence[Tensor]:
    return [leaf(64, 96) @ leaf(80, 96).transpose(0, 1) + leaf(80)]


def conv_forward() -> Sequence[Tensor]:
    return [leaf(2, 3, 12, 12).conv2d(leaf(8, 3, 3, 3), leaf(8), padding=1)]


def conv_gradients() -> Sequence[Tensor]:
    image, filters = leaf(2, 3, 12, 12), leaf(8, 3, 3, 3)
    result = image.conv2d(filters, padding=1)
    return gradients(result * leaf(*result.shape), image, filters)


def conv_input_gradient() -> Sequence[Tensor]:
    return conv_gradients()[:1]


def conv_weight_gradient() -> Sequence[Tensor]:
    return conv_gradients()[1:]


def max_pool() -> Sequence[Tensor]:
    return [leaf(2, 3, 12, 12).max_pool2d(2)]


def max_pool_gradient() -> Sequence[Tensor]:
    x = leaf(2, 3, 12, 12)
    return gradients(x.max_pool2d(2) * leaf(2, 3, 6, 6), x)


def gather() -> Sequence[Tensor]:
    return [leaf(100, 24)[leaf(30, dtype=np.int64)]]


def scatter() -> Sequence[Tensor]:
    table = leaf(100, 24)
    return gradients(table[leaf(30, dtype=np.int64)] * leaf(30, 24), table)


def cat() -> Sequence[Tensor]:
    a, b = leaf(8, 12), leaf(8, 20)
    return [a.cat(b, dim=1)]


def adam() -> Sequence[Tensor]:
    """The update of one parameter, written as `nn.optim` writes it."""
    param, gradient, mean, square = (leaf(48, 20) for _ in range(4))
    stride, root = leaf(), leaf()
    mean = mean * 0.9 + gradient * (1 - 0.9)
    square = square * 0.999 + gradient * gradient * (1 - 0.999)
    return [param - mean * stride / (square.sqrt() / root + 1e-8), mean, square]


GRAPHS: dict[str, Callable[[], Sequence[Tensor]]] = {
    made.__name__: made
    for made in (
        bias_chain, row_sum, column_sum, full_sum, softmax, matmul_bias_relu, linear_transposed,
        conv_forward, conv_input_gradient, conv_weight_gradient, max_pool, max_pool_gradient,
        gather, scatter, cat, adam,
    )
}  # fmt: skip
