"""Each constructor's rule: what it makes, what it leaves out, what it refuses."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gradlet.base import dtypes
from gradlet.ir import build, ops
from gradlet.ir.node import Node
from gradlet.ir.verify import verify_graph

F32, I64, BOOL = dtypes.float32, dtypes.int64, dtypes.bool_
X = build.param(0, F32, (2, 6))
FLAGS = build.param(1, BOOL, (2, 6))
INDEX = build.param(2, I64, (4,))
DOUBLE = build.param(3, dtypes.float64, (2, 6))
SEVEN = build.const(7, F32, (2, 1))

SHAPES = {
    build.iota(5): (5,),
    build.neg(X): (2, 6),
    build.reshape(X, (3, 4)): (3, 4),
    build.expand(SEVEN, (5, 2, 6)): (5, 2, 6),
    build.permute(X, (1, 0)): (6, 2),
    build.slice_(X, ((1, 2, 1), (1, 6, 2))): (1, 3),
    build.slice_(X, ((1, 1, 1), (0, 6, 4))): (0, 2),
    build.pad(X, ((1, 2, 0), (0, 1, 2))): (5, 17),
    build.pad(build.param(0, F32, (0, 2)), ((1, 1, 5), (0, 0, 0))): (2, 2),
    build.window(X, 1, 3, 2, 1): (2, 2, 3),
    build.window(X, 0, 1, 1, 1): (2, 6, 1),
    build.window(X, 1, 2, 1, 3): (2, 3, 2),
    build.fold(X, 0, 9, 2, 1): (9,),
    build.reduce(ops.ADD, X, (1,)): (2,),
    build.reduce(ops.ADD, X, (1, 0)): (),
    build.gather(X, (INDEX,)): (4, 6),
    build.gather(X, (INDEX, INDEX)): (4,),
    build.scatter(X, (INDEX,), build.param(4, F32, (4, 6))): (2, 6),
}


@pytest.mark.parametrize(("made", "shape"), SHAPES.items())
def test_shapes(made: Node, shape: tuple[int, ...]) -> None:
    assert made.shape == shape
    verify_graph([made])


def test_dtypes() -> None:
    assert build.binary(ops.LT, X, X).dtype is BOOL
    assert build.binary(ops.ADD, X, X).dtype is F32
    assert build.where(FLAGS, DOUBLE, DOUBLE).dtype is dtypes.float64
    assert build.cast(X, I64).dtype is I64
    assert build.bitcast(X, dtypes.uint32).dtype is dtypes.uint32
    assert build.full_like(DOUBLE, 1).dtype is dtypes.float64
    assert build.logical_not(FLAGS).dtype is BOOL


def test_what_changes_nothing_is_not_there() -> None:
    column = build.param(0, F32, (1, 3))
    whole = ((0, 2, 1), (0, 6, 1))
    for unchanged in (
        build.cast(X, F32),
        build.bitcast(X, F32),
        build.reshape(X, (2, 6)),
        build.expand(X, (2, 6)),
        build.permute(X, (0, 1)),
        build.slice_(X, whole),
        build.pad(X, ((0, 0, 0), (0, 0, 0))),
        build.reduce(ops.ADD, X, ()),
        build.flip(X, ()),
    ):
        assert unchanged is X
    assert build.flip(column, (0,)) is column
    assert build.pad(column, ((0, 0, 9), (0, 0, 0))) is column
    detached = build.detach(X)
    assert build.detach(detached) is detached


def test_chains_of_movement_merge() -> None:
    assert build.reshape(build.reshape(X, (3, 4)), (12,)) is build.reshape(X, (12,))
    assert build.reshape(build.reshape(X, (3, 4)), (2, 6)) is X
    cube = build.param(0, F32, (2, 3, 4))
    assert build.permute(build.permute(cube, (1, 2, 0)), (2, 0, 1)) is cube


def test_constants_stay_constants() -> None:
    assert build.reshape(SEVEN, (2,)) is build.const(7, F32, (2,))
    assert build.expand(SEVEN, (3, 2, 5)) is build.const(7, F32, (3, 2, 5))


def test_axes_are_kept_in_order() -> None:
    assert build.reduce(ops.ADD, X, (1, 0)) is build.reduce(ops.ADD, X, (0, 1))
    assert build.flip(X, (1, 0)) is build.flip(X, (0, 1))


ILLEGAL: list[Callable[[], Node]] = [
    lambda: build.const(256, dtypes.uint8),
    lambda: build.const(-1, dtypes.uint64),
    lambda: build.add(X, DOUBLE),
    lambda: build.add(X, SEVEN),
    lambda: build.where(X, X, X),
    lambda: build.where(FLAGS, X, DOUBLE),
    lambda: build.where(FLAGS, SEVEN, SEVEN),
    lambda: build.bitcast(X, I64),
    lambda: build.reshape(X, (5,)),
    lambda: build.reshape(SEVEN, (3,)),
    lambda: build.expand(X, (6,)),
    lambda: build.expand(X, (4, 6)),
    lambda: build.expand(SEVEN, (3, 6)),
    lambda: build.permute(X, (0, 0)),
    lambda: build.permute(X, (0,)),
    lambda: build.slice_(X, ((0, 2, 1),)),
    lambda: build.slice_(X, ((0, 3, 1), (0, 6, 1))),
    lambda: build.slice_(X, ((0, 2, 1), (5, 4, 1))),
    lambda: build.slice_(X, ((0, 2, 1), (0, 6, 0))),
    lambda: build.slice_(X, ((-1, 2, 1), (0, 6, 1))),
    lambda: build.pad(X, ((0, 0, 0), (-1, 0, 0))),
    lambda: build.pad(X, ((0, 0, 0),)),
    lambda: build.flip(X, (2,)),
    lambda: build.window(X, 1, 7),
    lambda: build.window(X, 1, 3, 1, 3),
    lambda: build.window(X, 1, 0),
    lambda: build.window(X, 1, 2, 0),
    lambda: build.window(X, 1, 2, 1, 0),
    lambda: build.fold(X, 0, 6),
    lambda: build.fold(X, 1, 20),
    lambda: build.reduce(ops.SUB, X, (0,)),
    lambda: build.reduce(ops.ADD, X, (0, 0)),
    lambda: build.reduce(ops.ADD, X, (2,)),
    lambda: build.gather(X, ()),
    lambda: build.gather(X, (X,)),
    lambda: build.gather(X, (FLAGS,)),
    lambda: build.gather(X, (INDEX, build.iota(3))),
    lambda: build.gather(X, (INDEX, INDEX, INDEX)),
    lambda: build.scatter(X, (INDEX,), X),
    lambda: build.scatter(X, (INDEX, INDEX), build.param(0, dtypes.float64, (4,))),
    lambda: build.surrogate(X, DOUBLE),
]


@pytest.mark.parametrize("make", ILLEGAL)
def test_illegal_combinations_raise(make: Callable[[], Node]) -> None:
    with pytest.raises(ValueError, match="illegal combination"):
        make()


def test_the_message_names_the_op_and_the_facts() -> None:
    with pytest.raises(ValueError, match=r"^ADD: .*float32, \(2, 6\), dtypes.float64, \(2, 6\)"):
        build.add(X, DOUBLE)


def test_rebuild_works_shapes_out_anew() -> None:
    narrow = build.param(9, F32, (2, 3))
    for make in (
        build.neg,
        lambda x: build.add(x, x),
        lambda x: build.cast(x, I64),
        lambda x: build.permute(x, (1, 0)),
        lambda x: build.flip(x, (1,)),
        lambda x: build.reduce(ops.ADD, x, (0,)),
        lambda x: build.window(x, 1, 2),
        lambda x: build.pad(x, ((0, 0, 0), (1, 1, 1))),
        lambda x: build.gather(x, (INDEX,)),
        build.detach,
    ):
        before = make(X)
        src = tuple(narrow if source is X else source for source in before.src)
        assert build.rebuild(before, src) is make(narrow)
    picked = build.gather(narrow, (INDEX,))
    before = build.scatter(X, (INDEX,), build.gather(X, (INDEX,)))
    assert build.rebuild(before, (narrow, INDEX, picked)) is build.scatter(narrow, (INDEX,), picked)


@pytest.mark.parametrize("dtype", dtypes.ALL)
def test_identity_values_fit_their_dtype(dtype: dtypes.DType) -> None:
    for op in (ops.ADD, ops.MUL, ops.MAXIMUM, ops.MINIMUM):
        verify_graph([build.const(build.identity_value(op, dtype), dtype)])
