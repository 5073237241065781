"""Captured graphs: the same work on other buffers has one key, other work another."""

from __future__ import annotations

import numpy as np

from gradlet import Tensor
from gradlet.engine.program import Capture, capture
from gradlet.ir import build, ops
from gradlet.ir.functions import Function
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


def test_canonical_graphs_have_no_calls() -> None:
    x, y = leaf(2), leaf(2)
    a, b = (build.param(i, x.dtype, (2,)) for i in range(2))
    function = Function([build.sub(a, b), build.mul(a, b)])
    calls = function([y.node, x.node])
    sum_ = build.add(*calls)
    found = capture([sum_], NUMPY)
    (sink,), (p, q) = found.canonical([sum_])
    assert sink is build.add(build.sub(p, q), build.mul(p, q))
    assert found.buffers == [y.node.arg, x.node.arg]


def test_calls_of_other_functions_have_another_key() -> None:
    a = build.param(0, leaf(2).dtype, (2,))
    functions = Function([build.neg(a)]), Function([build.mul(a, a)])
    keys = [capture(f([leaf(2).node]), NUMPY).key([]) for f in (*functions, functions[0])]
    assert keys[0] == keys[2] != keys[1]


def test_to_gradients_every_buffer_is_a_leaf_and_identities_are_nodes() -> None:
    pending = Tensor.ones(2, device="numpy")
    x = (pending * 2.0).detach() * 3.0
    found = capture([x.node])
    assert ops.DETACH in {n.op for n in found.order}
    assert found.buffers == [pending.node.arg]
