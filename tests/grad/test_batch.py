"""The table of batching rules."""

from __future__ import annotations

from gradlet.base import dtypes
from gradlet.grad.batch import BATCH, Batch, placeholder
from gradlet.ir import build, ops
from gradlet.ir.functions import Function


def test_every_op_has_a_rule() -> None:
    assert set(BATCH) == {o for o in ops.GRAPH_OPS if o.kind != "source"}


def test_a_call_is_as_its_graph() -> None:
    one, many = placeholder(dtypes.float32, (2,)), build.param(0, dtypes.float32, (5, 2))
    a = build.param(0, dtypes.float32, (2,))
    (call,) = Function([build.mul(a, build.neg(a))])([one])
    batch = Batch({one: many}, 5, lambda buffer: None)
    assert batch([call]) == [build.detach(build.mul(many, build.neg(many)))]
