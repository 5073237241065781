"""The table of batching rules."""

from __future__ import annotations

from gradlet.grad.batch import BATCH
from gradlet.ir import ops


def test_every_op_has_a_rule() -> None:
    assert set(BATCH) == {o for o in ops.GRAPH_OPS if o.kind != "source"}
