"""Attention against PyTorch, and what the compiler makes of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from gradlet import Tensor
from gradlet.schedule.verify import verify_schedule
from tests.graphs import gradients, leaf, plan
from tests.helpers import assert_same, check, floats


def attention(*arguments: Any, **options: Any) -> Any:
    """Either library's attention, by the kind of its arguments."""
    if isinstance(arguments[0], Tensor):
        return arguments[0].scaled_dot_product_attention(*arguments[1:], **options)
    return F.scaled_dot_product_attention(*arguments, **options)


def operands(query: Any, key: Any, width: int) -> list[np.ndarray]:
    return [floats(*query), floats(*key, seed=1), floats(*key[:-1], width, seed=2)]


@pytest.mark.parametrize(
    ("query", "key", "width", "options"),
    [
        ((2, 3, 5, 4), (2, 3, 7, 4), 3, {}),
        ((2, 3, 5, 4), (2, 3, 7, 4), 3, {"scale": 0.3}),
        ((2, 3, 5, 4), (2, 3, 7, 4), 3, {"is_causal": True}),
        ((2, 3, 7, 4), (2, 3, 5, 4), 3, {"is_causal": True}),
        ((1, 1, 1, 1), (1, 1, 1, 1), 1, {"is_causal": True}),
        ((3, 7, 4), (3, 5, 4), 4, {}),
        ((2, 5, 4), (2, 5, 4), 4, {"is_causal": True}),
        ((2, 0, 4), (2, 5, 4), 4, {}),
        ((2, 6, 5, 4), (2, 3, 7, 4), 3, {"enable_gqa": True}),
        ((2, 6, 5, 4), (2, 1, 7, 4), 3, {"enable_gqa": True, "is_causal": True}),
        ((2, 3, 5, 4), (2, 3, 7, 4), 3, {"enable_gqa": True}),
    ],
)
def test_attention(query: Any, key: Any, width: int, options: dict[str, Any]) -> None:
    check(lambda *x: attention(*x, **options), None, *operands(query, key, width))


@pytest.mark.parametrize("shape", [(5, 7), (1, 7), (2, 1, 5, 7), (2, 6, 5, 7), (6, 1, 1)])
@pytest.mark.parametrize("heads", [6, 2])
def test_masks(shape: tuple[int, ...], heads: int) -> None:
    arrays = operands((2, 6, 5, 4), (2, heads, 7, 4), 3)
    allowed = np.random.default_rng(0).random(shape) < 0.6
    gqa = {"enable_gqa": heads != 6}
    check(lambda q, k, v, m: attention(q, k, v, m, **gqa), None, *arrays, np.asarray(allowed))
    check(lambda q, k, v, m: attention(q, k, v, m, **gqa), None, *arrays, floats(*shape, seed=3))


@pytest.mark.parametrize("kind", [bool, float])
def test_a_query_with_no_key_gets_zeros_and_no_gradient(kind: type) -> None:
    allowed = np.ones((5, 7), bool)
    allowed[2], allowed[:, 3] = False, False
    added = np.where(allowed, 0, -np.inf).astype(np.float32)
    check(
        lambda q, k, v, m: attention(q, k, v, m.detach()),
        None,
        *operands((2, 5, 4), (2, 7, 4), 3),
        allowed if kind is bool else added,
    )


def test_large_scores_do_not_overflow() -> None:
    q, k, v = operands((2, 5, 4), (2, 7, 4), 3)
    check(attention, None, q * 1e4, k * 1e4, v, finite_difference=False)


@pytest.mark.parametrize("dtype", ["float64", "float16", "bfloat16"])
def test_dtypes(dtype: str) -> None:
    arrays = operands((2, 5, 4), (2, 7, 4), 3)
    got = attention(*(Tensor(x).cast(dtype) for x in arrays))
    exact = attention(*(torch.from_numpy(x).to(getattr(torch, dtype)) for x in arrays))
    assert got.dtype.name == dtype
    assert_same(got.float(), exact.float(), 1e-2, 1e-2)


def test_dropout_zeros_shares_and_keeps_the_mean() -> None:
    Tensor.manual_seed(0)
    q, k, v = Tensor.zeros(64, 4), Tensor.zeros(512, 4), Tensor.ones(512, 1)
    assert (attention(q, k, v, dropout_p=0.5) == 1).all().item()  # not training
    with Tensor.train():
        dropped = attention(q, k, v, dropout_p=0.5)
        assert not (dropped == 1).all().item() and abs(dropped.mean().item() - 1) < 0.02
        assert (attention(q, k, v, dropout_p=1.0) == 0).all().item()


@pytest.mark.parametrize("mask", ["none", "causal", "bools", "one for all", "one each"])
@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_nothing_as_large_as_the_scores_is_stored(mask: str, dropout: float) -> None:
    q, k, v = (leaf(4, 4, 256, 16) for _ in range(3))
    options: dict[str, Any] = {"dropout_p": dropout, "is_causal": mask == "causal"}
    if mask in ("bools", "one for all"):
        options["attn_mask"] = leaf(256, 256, dtype=np.bool_ if mask == "bools" else np.float32)
    if mask == "one each":
        options["attn_mask"] = leaf(4, 4, 256, 256)
    with Tensor.train():
        result = attention(q, k, v, **options)
        alone = plan(attention(q, k, v, **options))
    both = plan(result, *gradients(result * result.sum(), q, k, v))
    for made in (alone, both):
        verify_schedule(made)
        written = {b for step in made.steps for b in step.buffers[: step.kernel.outputs]}
        assert all(made.buffers[b].size < 4 * 4 * 256 * 256 for b in written)


def test_shared_heads_are_not_copied() -> None:
    q, k, v = leaf(4, 8, 256, 16), leaf(4, 2, 256, 16), leaf(4, 2, 256, 16)
    made = plan(attention(q, k, v, is_causal=True, enable_gqa=True))
    verify_schedule(made)
    written = {b for step in made.steps for b in step.buffers[: step.kernel.outputs]}
    assert [made.buffers[b].size for b in written] == [q.numel()]


@pytest.mark.parametrize("heads", [8, 2])
@pytest.mark.parametrize("dropout", [0.0, 0.1])
@pytest.mark.parametrize("mask", ["none", "causal", "padding", "one each"])
def test_between_projections_scores_are_not_stored(mask: str, dropout: float, heads: int) -> None:
    """As in a layer, where backward begins with a product, and with shared heads."""
    q, k, v = leaf(4, 8, 256, 32), leaf(4, heads, 256, 32), leaf(4, heads, 256, 32)
    options: dict[str, Any] = {"dropout_p": dropout, "is_causal": mask == "causal"}
    if mask == "padding":
        options["attn_mask"] = leaf(4, 1, 1, 256, dtype=np.bool_)
    if mask == "one each":
        options["attn_mask"] = leaf(4, 8, 256, 256).detach()
    with Tensor.train():
        result = attention(q, k, v, enable_gqa=True, **options)
    projected = result.transpose(1, 2).reshape(4, 256, 256) @ leaf(256, 256)
    made = plan(result, *gradients(projected * projected, q, k, v))
    verify_schedule(made)
    written = {b for step in made.steps for b in step.buffers[: step.kernel.outputs]}
    assert all(made.buffers[b].size < 4 * 8 * 256 * 256 for b in written)


@pytest.mark.parametrize(
    ("batch", "heads", "shared", "length", "width"),
    [(8, 8, 8, 128, 32), (1, 12, 12, 256, 64), (2, 8, 8, 512, 80), (2, 8, 2, 251, 32)],
)
def test_out_of_one_projection_scores_are_not_stored(
    batch: int, heads: int, shared: int, length: int, width: int
) -> None:
    """As in a GPT, where the gradients go back into one array."""
    x, inner = leaf(batch, length, 64), heads * width
    weights = leaf(inner + 2 * shared * width, 64), leaf(64, inner)
    parts = (x @ weights[0].T).split([inner, shared * width, shared * width], dim=-1)
    q, k, v = (p.unflatten(-1, (-1, width)).transpose(1, 2) for p in parts)
    result = attention(q, k, v, is_causal=True, enable_gqa=True)
    projected = result.transpose(1, 2).flatten(2) @ weights[1].T
    made = plan(*gradients(projected * projected, x, *weights))
    verify_schedule(made)
    written = {b for step in made.steps for b in step.buffers[: step.kernel.outputs]}
    scores = batch * heads * length * length
    large = [made.buffers[b].shape for b in written if made.buffers[b].size >= scores]
    assert not any(shape[-1] == length for shape in large)


@pytest.mark.parametrize(
    ("shapes", "options", "says"),
    [
        (((2, 3), (4, 5), (4, 5)), {}, "do not fit"),
        (((2, 3), (4, 3), (5, 3)), {}, "do not fit"),
        (((3,), (4, 3), (4, 3)), {}, "do not fit"),
        (((3, 2, 3), (2, 4, 3), (2, 4, 3)), {"enable_gqa": True}, "must divide"),
        (((4, 2, 3), (2, 4, 3), (1, 4, 3)), {"enable_gqa": True}, "must divide"),
        (((2, 3), (4, 3), (4, 3)), {"attn_mask": Tensor.ones(3, 4)}, "broadcast"),
        (((2, 3), (4, 3), (4, 3)), {"attn_mask": Tensor.ones(2, 2, 4)}, "broadcast"),
        (
            ((2, 3), (4, 3), (4, 3)),
            {"attn_mask": Tensor.ones(2, 4), "is_causal": True},
            "not both",
        ),
    ],
)
def test_misuse(shapes: Any, options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        attention(*(Tensor.ones(*shape) for shape in shapes), **options)


def test_wrong_dtypes() -> None:
    x = Tensor.ones(2, 3)
    with pytest.raises(TypeError, match="one float dtype"):
        attention(x, x.double(), x)
    with pytest.raises(TypeError, match="one float dtype"):
        attention(x.long(), x.long(), x.long())
    with pytest.raises(TypeError, match="bools or floats"):
        attention(x, x, x, Tensor.ones(2, 2).long())
