"""Captured graphs: the same work on other buffers has one key, other work another."""

from __future__ import annotations

import numpy as np

from gradlet import Tensor
from gradlet.engine.program import Capture, capture
from gradlet.ir import ops
from gradlet.runtime.device import get_device
from tests.graphs import leaf

NUMPY = get_device("numpy")


def captured(*tensors: Tensor) -> tuple[Capture, tuple]:
    nodes = [t.node for t in tensors]
    found = capture(nodes, NUMPY)
    return found, found.key(nodes)


def test_other_buffers_have_the_same_key() -> None:
    assert captured(leaf(2, 3) * 2.0)[1] == captured(leaf(2, 3) * 2.0)[1]


def test_other_work_has_another_key() -> None:
    x, y = leaf(2, 3), leaf(2, 3)
    keys = [
        captured(*tensors)[1]
        for tensors in (
            [x * 2.0], [x * 3.0], [x + 2.0], [leaf(3, 2) * 2.0], [x * y], [x * x],
            [leaf(2, 3, dtype=np.float64) * 2.0], [x * 2.0, y], [y, x * 2.0],
        )
    ]  # fmt: skip
    assert len(set(keys)) == len(keys)


def test_buffers_come_in_order_of_first_use() -> None:
    x, y = leaf(2), leaf(2)
    found, _ = captured(x - y * x)
    assert [b is t.node.arg for b, t in zip(found.buffers, (x, y), strict=True)] == [True, True]


def test_identities_stand_where_their_values_do() -> None:
    x = leaf(2) * 2.0
    found, _ = captured(x, x.detach())
    assert found.position[x.node] == found.position[x.detach().node]


def test_computed_values_are_read_and_not_computed_again() -> None:
    x = leaf(2) * 2.0
    x.numpy()
    found, _ = captured(x + 1.0)
    assert ops.MUL not in {n.op for n in found.order}
    assert len(found.buffers) == 1


def test_canonical_graphs_name_no_buffer() -> None:
    x = leaf(2, 3) * 2.0
    found, _ = captured(x)
    (sink,), params = found.canonical([x.node])
    assert sink.op is ops.MUL and [p.op for p in params] == [ops.PARAM]
    assert (sink.dtype, sink.shape) == (x.dtype, x.shape)
