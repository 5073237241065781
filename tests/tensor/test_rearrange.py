"""Movement by names against reshape and permute."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradlet import Tensor, jit
from tests.helpers import check, floats

X = floats(2, 12, 3)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (lambda x: x.rearrange("a b c -> c a b"), lambda x: x.permute(2, 0, 1)),
        (lambda x: x.rearrange("b (h w) c -> b c h w", h=3),
         lambda x: x.reshape(2, 3, 4, 3).permute(0, 3, 1, 2)),
        (lambda x: x.rearrange("b (h w) c -> (b h) (c w)", w=3),
         lambda x: x.reshape(2, 4, 3, 3).permute(0, 1, 3, 2).reshape(8, 9)),
        (lambda x: x.rearrange("b (h w) c->(w b) () h 1 c", w=3, b=2),
         lambda x: x.reshape(2, 4, 3, 3).permute(2, 0, 1, 3).reshape(6, 1, 4, 1, 3)),
        (lambda x: x.rearrange("b ... -> ... b"), lambda x: x.permute(1, 2, 0)),
        (lambda x: x.rearrange("... c -> c (...)"), lambda x: x.permute(2, 0, 1).reshape(3, 24)),
        (lambda x: x.rearrange("a (b1 b2) ... -> (b2 ... a) b1", b1=6),
         lambda x: x.reshape(2, 6, 2, 3).permute(2, 3, 0, 1).reshape(12, 6)),
        (lambda x: x.rearrange("a b c ... -> ... (c b a)"),
         lambda x: x.permute(2, 1, 0).reshape(-1)),
        (lambda x: x[:, :1].rearrange("a 1 c -> c a"), lambda x: x[:, 0].permute(1, 0)),
        (lambda x: x[:, :1].rearrange("a (b 1) c -> (a b) c", b=1), lambda x: x[:, 0]),
        (lambda x: x[:0].rearrange("a (b c) d -> (b a) c d", b=2),
         lambda x: x[:0].reshape(0, 6, 3)),
    ],
)  # fmt: skip
def test_against_reshape_and_permute(ours: Any, theirs: Any) -> None:
    check(ours, theirs, X)


@settings(max_examples=80)
@given(st.data())
def test_random_formulas(data: st.DataObject) -> None:
    """Names in random groups on both sides, with `1` and `...` among them."""
    extents = data.draw(st.lists(st.integers(1, 3), min_size=1, max_size=5))
    names = [f"n{i}" for i in range(len(extents))]
    order = data.draw(st.permutations(range(len(names))))
    hidden = data.draw(st.booleans())  # the first axis is written as dots

    def side(places: Any, grouped: bool) -> tuple[str, list[int]]:
        texts, shape, i = [], [], 0
        while i < len(places):
            count = data.draw(st.integers(1, len(places) - i)) if grouped else 1
            group = [places[k] for k in range(i, i + count)]
            words = ["..." if hidden and p == 0 else names[p] for p in group]
            if data.draw(st.booleans()):
                texts.append("1")
                shape.append(1)
            texts.append(f"({' '.join(words)})" if count > 1 else words[0])
            shape.append(prod(extents[p] for p in group))
            i += count
        return " ".join(texts), shape

    left, shape = side(range(len(names)), grouped=not hidden)
    right, wanted = side(order, grouped=True)
    known = {
        name: n for i, (name, n) in enumerate(zip(names, extents, strict=True)) if i or not hidden
    }
    x = np.arange(prod(extents))
    got = Tensor(x.reshape(shape), device="numpy").rearrange(f"{left} -> {right}", **known)
    expected = x.reshape(extents).transpose(order).reshape(wanted)
    np.testing.assert_array_equal(got.numpy(), expected)


def test_a_recorded_step_rearranges() -> None:
    step = jit(lambda x: x.rearrange("(a b) -> b a", a=2))
    assert step(Tensor([1, 2, 3, 4])).tolist() == [[1, 3], [2, 4]]
    assert step(Tensor([5, 6, 7, 8])).tolist() == [[5, 7], [6, 8]]


@pytest.mark.parametrize(
    ("formula", "sizes", "words"),
    [
        ("a b c", {}, "one '->'"),
        ("a b c -> c b a -> a", {}, "one '->'"),
        ("a b -> b a", {}, r"does not name the 3 axes of shape \(2, 12, 3\)"),
        ("a b c d -> d c b a", {}, "does not name the 3 axes"),
        ("a b c d ... -> d c b a ...", {}, "does not name the 3 axes"),
        ("a a c -> a c", {}, "has a twice on one side"),
        ("a ... ... -> a ...", {}, "has ... twice on one side"),
        ("a b c -> b a", {}, "has c on one side only"),
        ("a b c -> c b a d", {}, "has d on one side only"),
        ("a ... -> a", {}, "has ... on one side only"),
        ("a (b ...) -> a b ...", {}, "within parentheses on the left"),
        ("a (b c d -> a b c d", {}, "parentheses in .* do not match"),
        ("a b) c -> a b c", {}, "parentheses in .* do not match"),
        ("a ((b) c) d -> a b c d", {}, "parentheses in .* do not match"),
        ("a 2 c -> a 2 c", {}, "'2' in .* is not the name of an axis"),
        ("a b. c -> a b. c", {}, "'.' in .* is not the name of an axis"),
        ("a b-c d -> a b-c d", {}, "'b-c' in .* is not the name of an axis"),
        ("a (b c) d -> a b c d", {}, "sizes of b, c .*; pass all but one, such as b=2"),
        ("a (b c) d -> a b c d", {"b": 5}, r"an axis of 12 in shape .* is not \(b c\)"),
        ("a (b c) d -> a b c d", {"b": 2, "c": 5}, r"an axis of 12 in shape .* is not \(b c\)"),
        ("a (b c) d -> a b c d", {"b": 0}, "an axis of 12"),
        ("a b c -> c b a", {"a": 3}, r"an axis of 2 in shape .* is not \(a\)"),
        ("a 1 c -> a c", {}, r"an axis of 12 in shape .* is not \(\)"),
        ("a b c -> c b a", {"d": 3}, "has no axis d"),
        ("a b c -> c b a", {"a": -2}, "size of a is an int from 0 on, not -2"),
        ("a b c -> c b a", {"a": 2.0}, "size of a is an int from 0 on, not 2.0"),
    ],
)
def test_errors(formula: str, sizes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Tensor(X).rearrange(formula, **sizes)
