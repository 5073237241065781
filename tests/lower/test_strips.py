"""Windows that overlap are packed once, and read at any offset."""

from __future__ import annotations

import numpy as np
import pytest

from gradlet import Tensor
from gradlet.base import dtypes
from gradlet.ir import build, index
from gradlet.ir.kernel import load
from gradlet.ir.node import Node
from gradlet.lower.candidates import choose_tile
from gradlet.lower.choose import lower
from gradlet.lower.contraction import padded
from gradlet.lower.loops import show
from gradlet.lower.strips import Strip, strip_of
from gradlet.lower.tile import Tile, contraction_of
from tests.graphs import TARGET, gradients, leaf, plan

C, R, S = index.loop("c", 3), index.loop("r", 3), index.loop("s", 3)
X, Y = index.loop("x", 8), index.loop("y", 8)


def image(shape: tuple[int, ...]) -> Node:
    return build.param(0, dtypes.float32, shape)


def within(array: Node, at: tuple[Node, ...]) -> Node:
    """The element, or 0 where there is none."""
    valid = index.and_(
        *(
            index.and_(index.le(0, i), index.le(i, extent - 1))
            for i, extent in zip(at, array.shape, strict=True)
        )
    )
    return load(array, at, valid)


def test_what_a_lane_and_a_term_add_up_to_is_one_place() -> None:
    array, at = image((3, 10, 10)), (C, index.add(X, R), index.add(Y, S))
    found = strip_of(load(array, at), (X, Y), (C, R, S))
    assert found is not None
    assert found.spans == (10, 10) and found.terms == (C,)
    assert found.offset is index.add(index.scale(R, 10), S)
    assert found.value is load(array, (C, *found.places))


def test_lines_share_the_zeros_between_them() -> None:
    at = (C, index.sub(index.add(X, R), 1), index.sub(index.add(Y, S), 1))
    found = strip_of(within(image((3, 8, 8)), at), (X, Y), (C, R, S))
    assert found is not None
    assert found.spans == (10, 9)
    assert found.offset is index.add(index.scale(R, 9), S)


def test_terms_may_run_the_other_way() -> None:
    at = (C, index.add(index.sub(X, R), 2), index.add(index.sub(Y, index.scale(S, 2)), 4))
    found = strip_of(load(image((3, 10, 12)), at), (X, Y), (C, R, S))
    assert found is not None
    assert found.spans == (10, 12)
    assert index.bounds(found.offset) == (0, 2 * 12 + 4)


@pytest.mark.parametrize(
    "at",
    [(C, X, Y), (C, index.add(index.scale(X, 2), R), index.add(index.scale(Y, 2), S))],
    ids=["no windows", "steps of two"],
)
def test_what_shares_nothing_is_no_strip(at: tuple[Node, ...]) -> None:
    assert strip_of(load(image((3, 20, 20)), at), (X, Y), (C, R, S)) is None


def test_a_strip_is_an_odd_number_of_lines_long() -> None:
    strip = Strip(image((1,)), (index.loop("p", 16), index.loop("q", 16)), (), index.const(34))
    assert strip.length(256) == 304  # 290 elements in 19 lines of 16
    assert strip.length(128, fewer=8) == 176  # 8 * 16 or 162, in 11 lines


def chosen(result: Tensor) -> tuple[Tile, str]:
    (step,) = plan(result).steps
    contraction = contraction_of(step.kernel.nests[0])
    assert contraction is not None
    tile = choose_tile(padded(contraction)[1], TARGET)
    assert tile is not None
    return tile, show(lower(step.kernel, TARGET))


def test_padding_is_put_into_strips() -> None:
    tile, text = chosen(leaf(16, 32, 28, 28).conv2d(leaf(32, 32, 3, 3), padding=1))
    assert tile.strip is not None and tile.strip.spans[-1] == 29
    assert "padded" not in text and text.count(" else 0)") > 0


def test_the_gradient_of_an_image_is_made_of_strips_too() -> None:
    x, weight = leaf(16, 32, 28, 28), leaf(32, 32, 5, 5)
    result = x.conv2d(weight)
    tile, _ = chosen(*gradients(result * leaf(*result.shape), x))
    assert tile.strip is not None


@pytest.mark.parametrize("padding", [0, 1, (2, 1)])
@pytest.mark.parametrize(("size", "dilation"), [(3, 1), (3, 2), (2, 1), (5, 1)])
def test_convolutions_and_their_gradients(
    size: int, dilation: int, padding: int | tuple[int, int]
) -> None:
    rng = np.random.default_rng(0)
    image = rng.standard_normal((3, 16, 13, 15)).astype(np.float32)
    weight = rng.standard_normal((20, 16, size, size)).astype(np.float32)
    x, w = Tensor(image), Tensor(weight)
    result = x.conv2d(w, padding=padding, dilation=dilation)
    up = rng.standard_normal(result.shape).astype(np.float32)
    (result * Tensor(up, requires_grad=False)).sum().backward()
    sides = padding if isinstance(padding, tuple) else (padding, padding)
    wide = np.pad(image.astype(np.float64), ((0, 0), (0, 0), *((s, s) for s in sides)))
    expected = np.zeros(result.shape)
    to_image, to_weight = np.zeros_like(wide), np.zeros(weight.shape)
    height, width = result.shape[2:]
    for r in range(size):
        for s in range(size):
            rows = slice(r * dilation, r * dilation + height)
            columns = slice(s * dilation, s * dilation + width)
            expected += np.einsum("nchw,oc->nohw", wide[:, :, rows, columns], weight[:, :, r, s])
            to_image[:, :, rows, columns] += np.einsum("nohw,oc->nchw", up, weight[:, :, r, s])
            to_weight[:, :, r, s] = np.einsum("nohw,nchw->oc", up, wide[:, :, rows, columns])
    inner = to_image[:, :, sides[0] : sides[0] + 13, sides[1] : sides[1] + 15]
    assert x.grad is not None and w.grad is not None
    for got, wanted in ((result, expected), (x.grad, inner), (w.grad, to_weight)):
        np.testing.assert_allclose(got.numpy(), wanted, rtol=1e-5, atol=1e-4)
