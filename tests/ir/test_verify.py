"""The verifier accepts what the constructors make, and says what is wrong with the rest."""

from __future__ import annotations

from typing import Any

import pytest

from gradlet.base import dtypes
from gradlet.base.dtypes import DType
from gradlet.ir import build, ops
from gradlet.ir.node import Node, node
from gradlet.ir.ops import Op
from gradlet.ir.verify import RULES, VerifyError, verify_graph

F32, I64, BOOL = dtypes.float32, dtypes.int64, dtypes.bool_
X = build.param(0, F32, (2, 6))
ROW = build.param(1, F32, (6,))
WHOLE = build.param(2, I64, (2, 6))
FLAGS = build.param(3, BOOL, (2, 6))
INDEX = build.param(4, I64, (4,))
PICKED = build.param(5, F32, (4, 6))
DOUBLE = build.param(6, dtypes.float64, (2, 6))


def test_every_op_has_a_row() -> None:
    assert set(RULES) == set(ops.GRAPH_OPS)


def test_legal_graphs() -> None:
    windows = build.window(X, 1, 3, 2, 1)
    verify_graph(
        [
            build.where(FLAGS, build.add(X, X), build.cast(WHOLE, F32)),
            build.fold(windows, 1, 6, 2, 1),
            build.expand(build.slice_(X, ((0, 1, 1), (0, 6, 2))), (5, 4, 3)),
            build.pad(build.flip(X, (0,)), ((1, 2, 3), (0, 0, 1))),
            build.reduce(ops.MUL, build.permute(X, (1, 0)), (0, 1)),
            build.scatter(X, (INDEX,), build.gather(X, (INDEX,))),
            build.surrogate(build.detach(X), build.consumed(X)),
            build.binary(ops.SHL, build.reshape(build.iota(12), (2, 6)), WHOLE),
            build.reduce(ops.MAXIMUM, FLAGS, (1,)),
            build.bitcast(X, dtypes.int32),
            build.const(float("nan"), F32, (3, 0)),
            build.library("argsort", (1, False), WHOLE),
            build.library("svd", (False,), X),
            build.buffer("weight", F32, (3, 0)),
        ]
    )


# op, sources, arg, dtype, shape, what the message says
ILLEGAL: list[tuple[Op, tuple[Node, ...], Any, DType, Any, str]] = [
    (ops.LOAD, (X,), None, F32, (2, 6), "not an op of tensor programs"),
    (ops.NEG, (X,), None, F32, (2, -6), "not a shape"),
    (ops.NEG, (X,), None, F32, (2, 6.5), "not a shape"),
    (ops.NEG, (X,), None, dtypes.float64, (2, 6), "dtype is float64, not float32"),
    (ops.NEG, (X,), None, F32, (6, 2), r"shape is \(6, 2\), not \(2, 6\)"),
    (ops.NEG, (X, X), None, F32, (2, 6), "2 sources in place of 1"),
    (ops.NEG, (X,), 3, F32, (2, 6), "takes no arg"),
    (ops.NEG, (FLAGS,), None, BOOL, (2, 6), "not defined for bool"),
    (ops.EXP, (WHOLE,), None, I64, (2, 6), "not defined for int64"),
    (ops.ADD, (X, ROW), None, F32, (2, 6), r"shapes \(2, 6\) and \(6,\) differ"),
    (ops.ADD, (X, DOUBLE), None, F32, (2, 6), "dtypes float32 and float64 differ"),
    (ops.ADD, (FLAGS, FLAGS), None, BOOL, (2, 6), "not defined for bool"),
    (ops.DIV, (WHOLE, WHOLE), None, I64, (2, 6), "not defined for int64"),
    (ops.FLOORDIV, (X, X), None, F32, (2, 6), "not defined for float32"),
    (ops.SHL, (X, X), None, F32, (2, 6), "not defined for float32"),
    (ops.AND, (X, X), None, F32, (2, 6), "not defined for float32"),
    (ops.LT, (X, X), None, F32, (2, 6), "dtype is float32, not bool"),
    (ops.WHERE, (WHOLE, X, X), None, F32, (2, 6), "condition is int64"),
    (ops.WHERE, (FLAGS, X, ROW), None, F32, (2, 6), "shapes"),
    (ops.CAST, (X,), None, I64, (12,), "shape"),
    (ops.BITCAST, (X,), None, I64, (2, 6), "differ in width"),
    (ops.BITCAST, (FLAGS,), None, dtypes.uint8, (2, 6), "differ in width"),
    (ops.CONST, (), 1.5, F32, (), "float.hex"),
    (ops.CONST, (), "1.5", F32, (), "float.hex"),
    (ops.CONST, (), 2, BOOL, (), "not a bool"),
    (ops.CONST, (), 0.5, I64, (), "no value of int64"),
    (ops.CONST, (), 256, dtypes.uint8, (), "no value of uint8"),
    (ops.PARAM, (), "x", F32, (), "not a position"),
    (ops.BUFFER, (), None, F32, (), "no handle"),
    (ops.IOTA, (), None, I64, (2, 3), "not one axis"),
    (ops.IOTA, (), None, BOOL, (2,), "number type"),
    (ops.RESHAPE, (X,), None, F32, (5, 2), "different numbers of elements"),
    (ops.EXPAND, (X,), None, F32, (6,), "does not broadcast"),
    (ops.EXPAND, (X,), None, F32, (4, 6), "does not broadcast"),
    (ops.PERMUTE, (X,), (0, 0), F32, (2, 2), "no order"),
    (ops.PERMUTE, (X,), None, F32, (2, 6), "no order"),
    (ops.SLICE, (X,), ((0, 2, 1), (0, 7, 1)), F32, (2, 7), "does not lie within"),
    (ops.SLICE, (X,), ((0, 2, 1), (0, 6, 0)), F32, (2, 6), "does not lie within"),
    (ops.SLICE, (X,), ((0, 2, 1), (0, 6, -1)), F32, (2, 6), "three whole numbers"),
    (ops.SLICE, (X,), ((0, 2, 1),), F32, (2, 6), "three whole numbers"),
    (ops.SLICE, (X,), ((0, 2, 1), (0, 6, 2)), F32, (2, 2), "shape"),
    (ops.PAD, (X,), ((0, 0, 0), (1, -1, 0)), F32, (2, 6), "three whole numbers"),
    (ops.PAD, (X,), ((0, 0, 0), (1, 1, 1)), F32, (2, 8), "shape"),
    (ops.FLIP, (X,), (2,), F32, (2, 6), "not axes"),
    (ops.FLIP, (X,), (1, 0), F32, (2, 6), "not axes"),
    (ops.WINDOW, (X,), (1, 4, 1, 2), F32, (2, 1, 4), "reaches over 7 does not fit in 6"),
    (ops.WINDOW, (X,), (1, 2, 0, 1), F32, (2, 5, 2), "axis, size, stride, dilation"),
    (ops.WINDOW, (X,), (2, 1, 1, 1), F32, (2, 6, 1), "axis, size, stride, dilation"),
    (ops.WINDOW, (X,), (1, 2, 3, 1), F32, (2, 3, 2), "shape"),
    (ops.FOLD, (X,), (0, 6, 1, 1), F32, (6,), "reach over 7 do not fit in 6"),
    (ops.FOLD, (X,), (1, 9, 1, 1), F32, (9,), "axis, length, stride, dilation"),
    (ops.REDUCE, (X,), (ops.SUB, (0,)), F32, (6,), "SUB does not reduce"),
    (ops.REDUCE, (X,), (ops.ADD, (0, 0)), F32, (6,), "not axes"),
    (ops.REDUCE, (X,), (ops.ADD, ()), F32, (2, 6), "not axes"),
    (ops.REDUCE, (X,), (0,), F32, (6,), "not .op, axes."),
    (ops.REDUCE, (FLAGS,), (ops.ADD, (0,)), BOOL, (6,), "not defined for bool"),
    (ops.REDUCE, (X,), (ops.ADD, (1,)), F32, (6,), "shape"),
    (ops.SCAN, (X,), (ops.SUB, 0), F32, (2, 6), "SUB does not reduce"),
    (ops.SCAN, (X,), (ops.ADD, 2), F32, (2, 6), "not an axis of 2"),
    (ops.SCAN, (X,), (ops.ADD, (0,)), F32, (2, 6), "not an axis of 2"),
    (ops.SCAN, (X,), 0, F32, (2, 6), "not .op, axis."),
    (ops.SCAN, (FLAGS,), (ops.ADD, 0), BOOL, (2, 6), "not defined for bool"),
    (ops.SCAN, (X,), (ops.ADD, 1), F32, (2,), "shape"),
    (ops.HOST, (X,), ("nonsense", ()), F32, (2, 6), "not .name of a function, parameters."),
    (ops.HOST, (X,), "argsort", F32, (2, 6), "not .name of a function, parameters."),
    (ops.HOST, (X,), ("argsort", (2, False)), I64, (2, 6), "2 is not an axis"),
    (ops.HOST, (X,), ("argsort", (1, False)), F32, (2, 6), "dtype is float32, not int64"),
    (ops.HOST, (X, X), ("inv", ()), F32, (2, 6), "argument"),
    (ops.HOST, (X,), ("inv", ()), F32, (2, 6), "no square matrices"),
    (ops.GATHER, (X,), None, F32, (6,), "sources"),
    (ops.GATHER, (X, ROW), None, F32, (6, 6), "not an integer"),
    (ops.GATHER, (X, INDEX, WHOLE), None, F32, (4,), "indices' shapes"),
    (ops.GATHER, (X, INDEX, INDEX, INDEX), None, F32, (4,), "3 indices for 2 axes"),
    (ops.GATHER, (X, INDEX), None, F32, (4,), "shape"),
    (ops.SCATTER, (X, INDEX, X), None, F32, (2, 6), "updates' shape"),
    (ops.SCATTER, (X, INDEX, build.cast(PICKED, I64)), None, F32, (2, 6), "dtypes"),
    (ops.SURROGATE, (X, ROW), None, F32, (2, 6), "shapes"),
    (ops.CUSTOM, (X, ROW), None, F32, (2, 6), "needs sources and a rule"),
    (ops.DETACH, (), None, F32, (2, 6), "0 sources"),
]


@pytest.mark.parametrize(("op", "src", "arg", "dtype", "shape", "message"), ILLEGAL)
def test_illegal_nodes(
    op: Op, src: tuple[Node, ...], arg: Any, dtype: DType, shape: Any, message: str
) -> None:
    broken = node(op, src, arg, dtype, shape)
    with pytest.raises(VerifyError, match=rf"^{op}: .*{message}"):
        verify_graph([broken])


def test_the_message_prints_the_node_and_its_sources() -> None:
    broken = node(ops.ADD, (X, ROW), None, F32, (2, 6))
    with pytest.raises(VerifyError) as caught:
        verify_graph([node(ops.NEG, (broken,), None, F32, (2, 6))])
    assert str(caught.value).splitlines() == [
        "ADD: the shapes (2, 6) and (6,) differ",
        "%0 = param 0 : float32[2, 6]",
        "%1 = param 1 : float32[6]",
        "%2 = add %0 %1 : float32[2, 6]",
    ]
