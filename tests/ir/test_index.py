"""The index language against brute force: every rule must hold at every point of small domains."""

from __future__ import annotations

import gc
import itertools
from collections.abc import Iterator

import pytest
from hypothesis import given as sampled
from hypothesis import settings
from hypothesis import strategies as st

from gradlet.base import dtypes
from gradlet.base.remembered import forget
from gradlet.ir import build, index, ops
from gradlet.ir.index import FALSE, TRUE
from gradlet.ir.node import Node, interned_count, node

I = index.loop("i", 10)  # noqa: E741
J = index.loop("j", 4)
K = index.loop("k", 2)
X = index.loop("x", 96)
LOOPS = (I, J, K)


def points(variables: tuple[Node, ...]) -> Iterator[dict[Node, int]]:
    for values in itertools.product(*(range(v.arg[1]) for v in variables)):
        yield dict(zip(variables, values, strict=True))


def raw(op: ops.Op, a: Node, b: Node) -> Node:
    """`op` as it stands, with nothing simplified."""
    dtype = dtypes.bool_ if op.compares else a.dtype
    return node(op, (a, b), None, dtype, ())


@st.composite
def loops(draw: st.DrawFn) -> tuple[Node, ...]:
    sizes = draw(st.lists(st.integers(2, 7), min_size=1, max_size=3))
    return tuple(index.loop(name, size) for name, size in enumerate(sizes))


def expressions(variables: tuple[Node, ...]) -> st.SearchStrategy[Node]:
    """Index expressions as a careless author would write them."""
    numbers = st.integers(-13, 13).map(index.const)
    divisors = st.sampled_from([1, 2, 3, 4, 6, 8, 12]).map(index.const)

    def larger(inner: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
        sums = st.builds(raw, st.sampled_from([ops.ADD, ops.ADD, ops.SUB]), inner, inner)
        multiples = st.builds(raw, st.just(ops.MUL), inner, numbers)
        quotients = st.builds(raw, st.sampled_from([ops.FLOORDIV, ops.MOD]), inner, divisors)
        products = st.builds(raw, st.just(ops.MUL), inner, inner)
        return st.one_of(sums, multiples, quotients, products)

    return st.recursive(st.sampled_from(variables) | numbers, larger, max_leaves=9)


def conditions(variables: tuple[Node, ...]) -> st.SearchStrategy[Node]:
    """Conditions as a careless author would write them."""
    numbers = st.integers(-13, 13).map(index.const)
    compare = st.sampled_from([ops.LT, ops.LE, ops.EQ])
    sides = expressions(variables)
    tests = st.builds(raw, compare, sides, numbers) | st.builds(raw, compare, sides, sides)

    def larger(inner: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
        both = st.builds(raw, st.sampled_from([ops.AND, ops.OR]), inner, inner)
        return both | inner.map(build.logical_not)

    return st.recursive(tests | st.sampled_from([TRUE, FALSE]), larger, max_leaves=4)


def check_equal(left: Node, right: Node, variables: tuple[Node, ...]) -> None:
    for values in points(variables):
        assert index.evaluate(left, values) == index.evaluate(right, values)


# Against brute force


@settings(max_examples=150, deadline=None)
@sampled(st.data())
def test_simplified_equals_unsimplified(data: st.DataObject) -> None:
    variables = data.draw(loops())
    x = data.draw(expressions(variables))
    simplified = index.simplify(x)
    low, high = index.bounds(simplified)
    for values in points(variables):
        value = index.evaluate(x, values)
        assert index.evaluate(simplified, values) == value
        assert low <= value <= high
    assert index.simplify(simplified) is simplified


@settings(max_examples=120, deadline=None)
@sampled(st.data())
def test_conditions(data: st.DataObject) -> None:
    variables = data.draw(loops())
    condition = data.draw(conditions(variables))
    simplified = index.simplify(condition)
    check_equal(condition, simplified, variables)
    opposite = index.not_(simplified)
    assert index.not_(opposite) is simplified
    if simplified.op in (ops.LE, ops.EQ):
        assert index.and_(simplified, opposite) is FALSE
        assert index.or_(opposite, simplified) is TRUE


@settings(max_examples=80, deadline=None)
@sampled(st.data())
def test_replace_agrees_with_evaluate(data: st.DataObject) -> None:
    variables = data.draw(loops())
    inner = (index.loop("a", 3), index.loop("b", 4))
    x = index.simplify(data.draw(expressions(variables) | conditions(variables)))
    chosen = variables[0]
    size = chosen.arg[1]
    stand_in = index.mod(index.simplify(data.draw(expressions(inner))), size)
    replaced = index.replace(x, {chosen: stand_in})
    assert chosen not in index.variables(replaced)
    for values in points((*variables[1:], *inner)):
        there = {**values, chosen: index.evaluate(stand_in, values)}
        assert index.evaluate(replaced, values) == index.evaluate(x, there)


@settings(max_examples=80, deadline=None)
@sampled(st.data())
def test_given_agrees_where_the_condition_holds(data: st.DataObject) -> None:
    variables = data.draw(loops())
    condition = index.simplify(data.draw(conditions(variables)))
    x = index.simplify(data.draw(expressions(variables) | conditions(variables)))
    narrowed = index.given(condition, x)
    assert index.variables(narrowed) <= set(variables)
    for values in points(variables):
        if index.evaluate(condition, values):
            assert index.evaluate(narrowed, values) == index.evaluate(x, values)


@sampled(st.lists(st.integers(-20, 20), min_size=3, max_size=3), st.integers(-50, 50))
def test_affine_bounds_are_reached(factors: list[int], constant: int) -> None:
    terms = [index.scale(v, c) for v, c in zip(LOOPS, factors, strict=True)]
    x = index.add(*terms, constant)
    values = [index.evaluate(x, point) for point in points(LOOPS)]
    assert index.bounds(x) == (min(values), max(values))
    expected = {v: c for v, c in zip(LOOPS, factors, strict=True) if c}
    assert index.affine(x) == (expected, constant)
    assert [index.coefficient(x, v) for v in LOOPS] == factors


@sampled(st.permutations(list(LOOPS)), st.lists(st.integers(1, 9), min_size=3, max_size=3))
def test_equal_sums_are_one_node(order: list[Node], factors: list[int]) -> None:
    by_loop = dict(zip(LOOPS, factors, strict=True))
    first = index.add(*(index.scale(v, by_loop[v]) for v in LOOPS), 5)
    second = index.add(5, *(index.scale(v, by_loop[v]) for v in order))
    assert first is second
    assert index.floordiv(first, 6) is index.floordiv(second, 6)
    assert index.lt(first, 20) is index.lt(second, 20)


shapes = st.lists(st.integers(1, 9), min_size=1, max_size=5)


@sampled(shapes)
def test_unravel_undoes_ravel(shape: list[int]) -> None:
    indices = tuple(index.loop(axis, size) for axis, size in enumerate(shape))
    assert index.unravel(index.ravel(indices, shape), shape) == indices


@settings(max_examples=120, deadline=None)
@sampled(shapes, shapes)
def test_reshaping_there_and_back_is_nothing(shape: list[int], other: list[int]) -> None:
    indices = tuple(index.loop(axis, size) for axis, size in enumerate(shape))
    flat = index.ravel(indices, shape)
    there = index.unravel(flat, other)
    assert index.ravel(there, other) is flat
    assert index.unravel(index.ravel(there, other), shape) == indices


@settings(max_examples=60, deadline=None)
@sampled(shapes, st.lists(st.integers(-9, 9), min_size=3, max_size=3), st.integers(-20, 20))
def test_ravel_undoes_unravel(shape: list[int], factors: list[int], constant: int) -> None:
    flat = index.add(*(index.scale(v, c) for v, c in zip(LOOPS, factors, strict=True)), constant)
    check_equal(index.ravel(index.unravel(flat, shape), shape), flat, LOOPS)


# Rules that kernels depend on


def test_quotients_of_sums() -> None:
    flat = index.add(index.scale(I, 4), J)
    assert index.floordiv(flat, 4) is I
    assert index.mod(flat, 4) is J
    x = index.add(index.scale(I, 6), index.scale(J, 3), 5)
    assert index.floordiv(x, 3) is index.add(index.scale(I, 2), J, 1)
    assert index.mod(x, 3) is index.const(2)
    nested = index.add(index.scale(I, 8), index.scale(J, 2), K)
    assert index.floordiv(nested, 8) is I
    assert index.floordiv(nested, 4) is index.add(index.scale(I, 2), index.floordiv(J, 2))
    assert index.floordiv(index.sub(I, 1), 16) is index.sub(index.floordiv(index.add(I, 15), 16), 1)


def test_common_divisors_cancel() -> None:
    half = index.add(index.scale(I, 2), J)
    for odd in (0, 1):
        x = index.add(index.scale(half, 2), odd)
        assert index.floordiv(x, 8) is index.floordiv(half, 4)
        assert index.mod(x, 8) is index.add(index.scale(index.mod(half, 4), 2), odd)


def test_nested_quotients_and_remainders() -> None:
    assert index.floordiv(index.floordiv(X, 3), 4) is index.floordiv(X, 12)
    assert index.mod(index.mod(X, 12), 4) is index.mod(X, 4)
    assert index.floordiv(index.mod(X, 12), 4) is index.mod(index.floordiv(X, 4), 3)
    assert index.mod(X, 96) is X
    assert index.floordiv(X, 96) is index.const(0)


def test_quotient_and_remainder_join() -> None:
    for factor in (1, 3, -2):
        quotient = index.scale(index.floordiv(X, 5), 5 * factor)
        remainder = index.scale(index.mod(X, 5), factor)
        assert index.add(quotient, remainder, J) is index.add(index.scale(X, factor), J)
    high = index.scale(index.floordiv(X, 12), 12)
    middle = index.scale(index.mod(index.floordiv(X, 4), 3), 4)
    assert index.add(high, index.mod(X, 4), middle) is X
    assert index.add(middle, index.mod(X, 4)) is index.mod(X, 12)


def test_equal_conditions_are_one_node() -> None:
    third = index.lt(index.scale(I, 4), 10)
    assert third is index.le(I, 2)
    assert third is index.not_(index.ge(I, 3))
    assert third is index.gt(index.const(3), I)
    assert index.eq(I, 0) is index.le(I, 0)
    assert index.eq(I, 9) is index.ge(I, 9)
    assert index.ne(I, 4) is index.not_(index.eq(index.const(4), I))
    assert index.and_(third, index.le(J, 1)) is index.and_(index.le(J, 1), third, third)


def test_conditions_fold_by_bounds() -> None:
    assert index.lt(I, 10) is TRUE
    assert index.lt(index.add(I, J), 0) is FALSE
    assert index.eq(index.scale(I, 2), 5) is FALSE
    assert index.and_(index.le(I, 4), index.le(I, 6)) is index.le(I, 4)
    assert index.and_(index.le(I, 4), index.ge(I, 5)) is FALSE
    assert index.and_(index.le(I, 4), index.ge(I, 4)) is index.eq(I, 4)
    assert index.or_(index.le(I, 4), index.ge(I, 5)) is TRUE
    assert index.or_(index.le(I, 4), index.le(I, 6)) is index.le(I, 6)
    split = index.add(index.scale(I, 4), J)
    assert index.lt(split, 12) is index.le(I, 2)
    assert index.and_() is TRUE
    assert index.or_() is FALSE


def test_given_removes_what_a_mask_makes_needless() -> None:
    shifted = index.add(I, K, -1)
    inside = index.and_(index.ge(shifted, 0), index.lt(shifted, 5))
    assert index.mod(shifted, 5) is not shifted
    assert index.given(inside, index.mod(shifted, 5)) is shifted
    assert index.given(inside, index.floordiv(shifted, 5)) is index.const(0)
    assert index.given(inside, inside) is TRUE
    assert index.given(index.le(I, 3), index.mod(I, 4)) is I


def test_bounds_given_a_condition_on_the_same_expression() -> None:
    shifted = index.add(I, index.scale(K, 2), -3)
    assert index.bounds_given(index.le(shifted, 1), index.add(shifted, 5)) == (2, 6)
    assert index.bounds_given(index.ge(shifted, 1), index.sub(7, shifted))[1] == 6
    assert index.bounds_given(index.le(I, 1), shifted) == index.bounds(shifted)
    assert index.bounds_given(TRUE, shifted) == index.bounds(shifted)


# Atoms and kernel expressions


def load(position: int, *indices: Node, valid: Node = TRUE) -> Node:
    array = build.param(position, dtypes.int64, (10,) * len(indices))
    return node(ops.LOAD, (array, valid, *indices), None, dtypes.int64, ())


def test_opaque_atoms() -> None:
    loaded = node(ops.CAST, (load(0, I),), None, dtypes.index, ())
    checked = node(ops.CHECKED, (loaded,), 7, dtypes.index, ())
    assert index.bounds(loaded) == (dtypes.index.min, dtypes.index.max)
    assert index.bounds(index.add(index.scale(checked, 2), 1)) == (1, 13)
    assert index.mod(checked, 7) is checked
    assert index.coefficient(index.add(checked, J), I) is None
    assert index.coefficient(index.add(checked, J), J) == 1
    assert index.coefficient(index.add(checked, J), K) == 0
    assert index.variables(index.add(checked, J)) == {I, J}
    x = index.add(index.scale(checked, 10), J)
    assert index.evaluate(x, {checked: 3, J: 2}) == 32
    with pytest.raises(KeyError, match="CHECKED"):
        index.evaluate(x, {I: 0, J: 2})


def test_replace_inside_kernel_expressions() -> None:
    outer, inner = index.loop("o", 5), index.loop("n", 2)
    split = index.add(index.scale(outer, 2), inner)
    value = build.mul(load(0, I), load(1, index.floordiv(I, 2), valid=index.lt(I, 8)))
    total = node(ops.FOLD_RANGES, (value, I), ops.ADD, dtypes.int64, ())
    expected = build.mul(load(0, split), load(1, outer, valid=index.le(outer, 3)))
    replaced = index.replace(total, {I: split})
    assert replaced.src[0] is expected
    assert set(replaced.src[1:]) == {outer, inner}
    with pytest.raises(ValueError, match="FOLD_RANGES"):
        index.replace(total, {I: outer})


def test_replace_folds_choices_and_casts() -> None:
    choice = build.where(index.lt(I, J), load(0, I), load(1, J))
    assert index.replace(choice, {I: index.const(9)}) is load(1, J)
    there_and_back = build.cast(build.cast(J, dtypes.int64), dtypes.index)
    assert index.simplify(there_and_back) is J


def test_deep_expressions_do_not_recurse() -> None:
    value = load(0, I)
    for _ in range(3000):
        value = build.add(value, load(0, I))
    assert index.variables(value) == {I}
    assert index.variables(index.replace(value, {I: J})) == {J}


def test_loops_of_one_step_and_bad_divisors() -> None:
    assert index.loop("one", 1) is index.const(0)
    for operation in (index.floordiv, index.mod):
        with pytest.raises(ValueError, match="must be positive, not 0"):
            operation(I, 0)


def test_facts_do_not_keep_nodes_alive() -> None:
    forget()
    gc.collect()
    before = interned_count()
    a, b = index.loop("leak", 50), index.loop("leak2", 60)
    x = index.add(index.scale(a, 7), b, 3)
    y = index.and_(
        index.lt(index.mod(x, 11), 5), index.lt(index.floordiv(mul := index.mul(a, b), 9), 4)
    )
    index.variables(y)
    index.bounds(mul)
    index.replace(y, {a: index.add(b, 1)})
    del a, b, x, y, mul
    forget()
    gc.collect()
    assert interned_count() == before
