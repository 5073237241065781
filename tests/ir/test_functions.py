"""Functions and their calls: what is inlined is what would have been written."""

from __future__ import annotations

import pytest

from gradlet.base import dtypes
from gradlet.ir import build, functions, ops
from gradlet.ir.functions import Function, inlined, known
from gradlet.ir.node import Node

F32 = dtypes.float32


def parameters(*shapes: tuple[int, ...]) -> list[Node]:
    return [build.param(i, F32, shape) for i, shape in enumerate(shapes)]


def test_a_call_stands_for_the_graph_over_its_arguments() -> None:
    a, b = parameters((2,), (2,))
    x, y = (build.param(i, F32, (2,)) for i in (7, 8))
    function = Function([build.mul(build.add(a, b), b), build.add(a, b)])
    first, second = function([x, y])
    assert [n.op for n in (first, second)] == [ops.RESULT, ops.RESULT]
    assert first.shape == (2,) and first.dtype is F32
    assert first.src == second.src and first.src[0].src == (x, y)
    assert inlined(first) is build.mul(build.add(x, y), y)
    assert inlined(second) is build.add(x, y)
    assert function([x, y])[0] is first and function([y, x])[0] is not first


def test_inlined_graphs_have_no_identities() -> None:
    (a,) = parameters((3,))
    function = Function([build.detach(build.surrogate(build.neg(a), build.unary(ops.EXP, a)))])
    (x,) = parameters((3,))
    assert function.inlined([x]) == [build.neg(x)]


def test_a_result_may_be_an_argument_or_a_constant() -> None:
    (a,) = parameters((3,))
    x = build.param(5, F32, (3,))
    function = Function([a, build.full_like(a, 2)])
    assert function.inlined([x]) == [x, build.full_like(x, 2)]


def test_no_gradient_flows_through_a_call() -> None:
    (a,) = parameters((3,))
    (call,) = Function([build.neg(a)])([a])
    assert build.detach(call) is call


def test_what_is_known_is_made_once_and_not_kept_without_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[int] = []
    monkeypatch.setattr(functions, "_known", {})
    monkeypatch.setattr(functions, "_MOST", 3)
    for i in (0, 0, 1, 2, 0):
        known(("key", i), lambda i=i: made.append(i) or Function([]))
    assert made == [0, 1, 2]
    known(("key", 3), lambda: Function([]))
    assert len(functions._known) == 1
