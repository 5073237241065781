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

# Processors that may not be the one at hand, so their triples are named.
AVX2 = Target("cpu", "x86-64-v3", "", 32, 16, 32768, 1048576, 2, "x86_64-unknown-linux-gnu")
NEON = Target("cpu", "neoverse-n1", "", 16, 32, 65536, 1048576, 2, "aarch64-unknown-linux-gnu")
APPLE = Target("cpu", "apple-m1", "", 16, 32, 131072, 4194304, 4, "arm64-apple-macosx")


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


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Scaled dot-product attention (Vaswani et al. 2017)."""
    return (q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5).softmax(-1) @ v


def bias_chain() -> Sequence[Tensor]:
    return [(leaf(32, 48) * 2.0 + leaf(48)).relu()]


def row_sum() -> Sequence[Tensor]:
    return [leaf(40, 100).sum(1)]


def column_sum() -> Sequence[Tensor]:
    return [leaf(40, 100).sum(0)]


def full_sum() -> Sequence[Tensor]:
    return [leaf(40, 100).sum()]


def long_sum() -> Sequence[Tensor]:
    """Long enough for blocks, and for blocks of what those leave over."""
    return [leaf(300_000).sum()]


def tall_sum() -> Sequence[Tensor]:
    return [leaf(30_000, 3).sum(0)]


def wide_sum() -> Sequence[Tensor]:
    return [leaf(1030, 1003).sum(0)]


def channel_sum() -> Sequence[Tensor]:
    return [leaf(32, 16, 28, 28).sum((0, 2, 3))]


def argmax() -> Sequence[Tensor]:
    return [leaf(40, 100).argmax(1)]


def scan_rows() -> Sequence[Tensor]:
    return [(leaf(40, 100) * 2.0).cumsum(1)]


def scan_columns() -> Sequence[Tensor]:
    return [leaf(70, 300).cumsum(0)]


def long_scan() -> Sequence[Tensor]:
    return [leaf(50_000).cumsum(0)]


def softmax() -> Sequence[Tensor]:
    return [leaf(32, 50).softmax(1)]


def softmax_gradient() -> Sequence[Tensor]:
    x = leaf(32, 50)
    return gradients(x.softmax(1) * leaf(32, 50), x)


def layernorm() -> Sequence[Tensor]:
    return [leaf(32, 1200).layernorm() * leaf(1200) + leaf(1200)]


def layernorm_gradients() -> Sequence[Tensor]:
    x, weight, bias = leaf(32, 1200), leaf(1200), leaf(1200)
    return gradients((x.layernorm() * weight + bias) * leaf(32, 1200), x, weight, bias)


def rmsnorm() -> Sequence[Tensor]:
    x = leaf(32, 1200)
    return [x * ((x * x).mean(1, keepdim=True) + 1e-5).rsqrt() * leaf(1200)]


def cross_entropy() -> Sequence[Tensor]:
    return [leaf(64, 10).cross_entropy(leaf(64, dtype=np.int64))]


def cross_entropy_gradient() -> Sequence[Tensor]:
    x = leaf(64, 10)
    return gradients(x.cross_entropy(leaf(64, dtype=np.int64)), x)


def attention() -> Sequence[Tensor]:
    return [attend(*(leaf(4, 4, 128, 16) for _ in range(3)))]


def attention_gradients() -> Sequence[Tensor]:
    """Both passes, between which something has to be known of all rows."""
    q, k, v = (leaf(4, 4, 128, 16) for _ in range(3))
    result = attend(q, k, v)
    return [result, *gradients(result * result.sum(), q, k, v)]


def matmul_bias_relu() -> Sequence[Tensor]:
    return [(leaf(64, 96) @ leaf(96, 80) + leaf(80)).relu()]


def linear_transposed() -> Sequence[Tensor]:
    return [leaf(64, 96) @ leaf(80, 96).transpose(0, 1) + leaf(80)]


def transpose() -> Sequence[Tensor]:
    return [leaf(40, 50).transpose(0, 1).contiguous()]


def conv_forward() -> Sequence[Tensor]:
    return [leaf(2, 3, 12, 12).conv2d(leaf(8, 3, 3, 3), leaf(8), padding=1)]


def conv_gradients() -> Sequence[Tensor]:
    image, filters = leaf(2, 3, 12, 12), leaf(8, 3, 3, 3)
    result = image.conv2d(filters, padding=1)
    return gradients(result * leaf(*result.shape), image, filters)


def strided_gradient() -> Sequence[Tensor]:
    image, filters = leaf(2, 3, 12, 12), leaf(8, 3, 3, 3)
    result = image.conv2d(filters, padding=1, stride=2)
    return gradients(result * leaf(*result.shape), image)


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


def embedding_gradient() -> Sequence[Tensor]:
    table = leaf(1000, 500)
    return gradients(table[leaf(70, dtype=np.int64)] * leaf(70, 500), table)


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
        bias_chain, row_sum, column_sum, full_sum, long_sum, tall_sum, wide_sum, channel_sum,
        argmax, scan_rows, scan_columns, long_scan, softmax, softmax_gradient, layernorm,
        layernorm_gradients, rmsnorm, cross_entropy, cross_entropy_gradient, attention,
        attention_gradients, matmul_bias_relu, linear_transposed, transpose, conv_forward,
        strided_gradient, conv_input_gradient, conv_weight_gradient, max_pool,
        max_pool_gradient, gather, scatter, embedding_gradient, cat, adam,
    )
}  # fmt: skip
