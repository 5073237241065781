"""Graphs as text."""

from __future__ import annotations

from gradlet.base import dtypes
from gradlet.ir import build, ops
from gradlet.ir.node import Node, node
from gradlet.ir.show import show_graph, show_node

X = build.param(0, dtypes.float32, (2, 3))


def shown(current: Node) -> str:
    """The line of `current`, without its number."""
    return show_graph([current]).splitlines()[-2].split(" = ")[1]


def test_a_graph() -> None:
    doubled = build.mul(X, build.full_like(X, 2.0))
    assert show_graph([build.sum_(doubled, (1,)), doubled]) == "\n".join(
        [
            "%0 = param 0 : float32[2, 3]",
            "%1 = mul %0 2.0 : float32[2, 3]",
            "%2 = reduce %1 add over axes (1,) : float32[2]",
            "return %2, %1",
        ]
    )


def test_a_shared_node_is_listed_once() -> None:
    negated = build.neg(X)
    lines = show_graph([build.add(negated, negated)]).splitlines()
    assert lines[2] == "%2 = add %1 %1 : float32[2, 3]"
    assert len(lines) == 4


def test_buffers_show_no_more_than_a_name() -> None:
    assert shown(build.buffer(object(), dtypes.int8, ())) == "buffer : int8[]"
    assert shown(build.buffer("weight", dtypes.int8, (4,))) == "buffer weight : int8[4]"


def test_constants() -> None:
    assert show_graph([build.const(-0.0, dtypes.float32)]) == (
        "%0 = const -0.0 : float32[]\nreturn %0"
    )
    assert shown(build.const(True, dtypes.bool_, (2,))) == "const True : bool[2]"


def test_args_in_words() -> None:
    cases = {
        build.permute(X, (1, 0)): "permute %0 order (1, 0) : float32[3, 2]",
        build.slice_(X, ((0, 1, 1), (0, 3, 2))): "slice %0 [0:1, 0:3:2] : float32[1, 2]",
        build.flip(X, (0, 1)): "flip %0 axes (0, 1) : float32[2, 3]",
        build.pad(X, ((0, 0, 0), (1, 0, 2))): (
            "pad %0 axis 1 by 1 before 2 between : float32[2, 8]"
        ),
        build.window(X, 1, 2): "window %0 axis 1 size 2 stride 1 dilation 1 : float32[2, 2, 2]",
        build.fold(X, 0, 4): "fold %0 axis 0 length 4 stride 1 dilation 1 : float32[4]",
        build.cast(X, dtypes.int32): "cast %0 : int32[2, 3]",
        build.reduce(ops.MAXIMUM, X, (0, 1)): "reduce %0 maximum over axes (0, 1) : float32[]",
        build.scan(ops.ADD, X, 1): "scan %0 add along axis 1 : float32[2, 3]",
    }
    for current, line in cases.items():
        assert shown(current) == line


def test_one_node_with_its_sources() -> None:
    negated = build.neg(X)
    squared = build.mul(negated, build.const(0.5, dtypes.float32, (2, 3)))
    assert show_node(build.add(squared, squared)) == (
        "%0 = mul .. .. : float32[2, 3]\n%1 = add %0 %0 : float32[2, 3]"
    )


def test_a_broken_node_can_still_be_shown() -> None:
    broken = node(ops.SLICE, (X,), None, dtypes.float32, (2, 3))
    assert show_node(broken).endswith("%1 = slice %0 None : float32[2, 3]")


def test_the_text_is_the_same_every_time() -> None:
    first = show_graph([build.add(build.neg(X), build.unary(ops.EXP, X))])
    assert first == show_graph([build.add(build.neg(X), build.unary(ops.EXP, X))])
