"""Kernels over the same rows become one kernel, and only where that is right and helps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest

from gradlet import Tensor
from gradlet.base import dtypes
from gradlet.ir import build, index, ops
from gradlet.ir.kernel import Group, Kernel, Nest, Store, load
from gradlet.ir.node import Node, node
from gradlet.ir.verify import VerifyError
from gradlet.schedule.plan import Schedule
from gradlet.schedule.schedule import schedule
from gradlet.schedule.verify import verify_kernel, verify_schedule
from tests.graphs import attend, gradients, graph, leaf, plan


def labels(count: int) -> Tensor:
    return leaf(count, dtype=np.int64)


def softmax_gradient() -> list[Tensor]:
    x = leaf(64, 50)
    return gradients(x.softmax(1) * leaf(64, 50), x)


def layernorm_gradient() -> list[Tensor]:
    x = leaf(64, 48)
    return gradients(x.layernorm() * leaf(64, 48), x)


def rmsnorm() -> list[Tensor]:
    x = leaf(64, 48)
    return [x * ((x * x).mean(1, keepdim=True) + 1e-5).rsqrt() * leaf(48)]


def cross_entropy_gradient() -> list[Tensor]:
    x = leaf(64, 50)
    return gradients(x.cross_entropy(labels(64)), x)


def attention(length: int = 128) -> list[Tensor]:
    return [attend(*(leaf(4, 4, length, 16) for _ in range(3)))]


def attention_gradients() -> list[Tensor]:
    q, k, v = (leaf(4, 4, 128, 16) for _ in range(3))
    return gradients(attend(q, k, v) * leaf(4, 4, 128, 16), q, k, v)


@pytest.mark.parametrize(
    ("tensors", "count"),
    [
        (lambda: [leaf(64, 50).softmax(1)], 1),
        (lambda: [leaf(4, 16, 50).softmax(-1)], 1),
        (lambda: [leaf(64, 50).log_softmax(1)], 1),
        (softmax_gradient, 1),
        (lambda: [(leaf(64, 48).layernorm() * leaf(48) + leaf(48))], 1),
        (layernorm_gradient, 1),
        (rmsnorm, 1),
        (lambda: [leaf(64, 50).cross_entropy(labels(64))], 3),  # rows, how many count, the mean
        (cross_entropy_gradient, 2),  # how many rows count, and the rows
        (attention, 1),
        (lambda: attention(24), 1),  # each head's keys and values stay in cache beside its scores
        (attention_gradients, 1),
    ],
)
def test_number_of_kernels(tensors: Callable[[], list[Tensor]], count: int) -> None:
    made = plan(*tensors())
    verify_schedule(made)
    assert len(made.steps) == count


def columns() -> list[Tensor]:
    return [leaf(64, 50).softmax(0)]


def matrix_product_and_norm() -> list[Tensor]:
    return [(leaf(64, 48) @ leaf(48, 48)).layernorm()]


def few_long_rows() -> list[Tensor]:
    return [leaf(4, 30000).softmax(1)]


def short_attention() -> list[Tensor]:
    """Whose scores are far smaller than what they are made from, but for the softmax itself."""
    return attention(8)


@pytest.mark.parametrize(
    ("tensors", "count"),
    [(columns, 3), (matrix_product_and_norm, 2), (few_long_rows, 3), (short_attention, 3)],
)
def test_what_would_not_help_is_not_joined(tensors: Callable[[], list[Tensor]], count: int) -> None:
    assert len(plan(*tensors()).steps) == count


def test_rows_that_do_not_fit_into_the_cache_are_not_joined() -> None:
    tensors = [leaf(64, 4096).softmax(1)]
    assert len(schedule(*graph(*tensors), cache_bytes=32768).steps) == 1
    assert len(schedule(*graph(*tensors), cache_bytes=1024).steps) == 3


def group_of(made: Schedule, step: int = 0) -> Group:
    part = made.steps[step].kernel.nests[-1]
    assert isinstance(part, Group)
    return part


def test_what_only_the_rows_need_is_no_array_of_the_program() -> None:
    made = plan(leaf(64, 50).softmax(1))
    (step,) = made.steps
    assert [made.buffers[b].shape for b in step.buffers] == [(64, 50), (64, 50)]
    targets = [nest.stores[0].target for nest in group_of(made).nests]
    assert [t.shape for t in targets] == [(), (50,), (), (64, 50)]


def test_what_others_need_is_still_stored() -> None:
    x = leaf(64, 50)
    largest = x.max(1)
    made = plan((x - largest.reshape(64, 1)).exp().sum(1), largest)
    (step,) = made.steps
    verify_schedule(made)
    assert set(step.buffers[: step.kernel.outputs]) == set(made.sinks)


def test_exponentials_are_computed_once() -> None:
    group = group_of(plan(leaf(64, 50).softmax(1)))
    values = [store.value for nest in group.nests for store in nest.stores]
    assert sum(value.op is ops.EXP for value in values) == 1
    assert not any(s.op is ops.EXP for value in values for s in value.src)


def test_arrays_of_a_row_share_memory() -> None:
    group = group_of(plan(*attention()))
    rows = {s.target for n in group.nests for s in n.stores if s.target.shape == (128,)}
    assert len(rows) == 1  # scores, exponentials and probabilities take each other's place


def test_a_third_kernel_between_keeps_two_apart() -> None:
    x = leaf(64, 50)
    centred = x - x.mean(1, keepdim=True)
    scaled = centred / (centred * centred).sum(0)  # over all rows: rows have to wait for it
    made = plan(scaled.softmax(1))
    verify_schedule(made)
    assert len(made.steps) == 3


def test_backward_makes_the_probabilities_again() -> None:
    """Neither scores nor probabilities are stored, though the two passes cannot run together."""
    q, k, v = (leaf(4, 4, 128, 16) for _ in range(3))
    result = attend(q, k, v)
    made = plan(result, *gradients(result * result.sum(), q, k, v))
    verify_schedule(made)
    stored = {b for step in made.steps for b in step.buffers}
    assert not any(made.buffers[b].shape == (4, 4, 128, 128) for b in stored)


@pytest.mark.parametrize(
    ("batch", "heads", "width"), [(1, 4, 16), (1, 2, 64), (3, 1, 80), (2, 8, 128), (8, 8, 1)]
)
def test_few_heads_and_wide_ones_store_no_scores(batch: int, heads: int, width: int) -> None:
    q, k, v = (leaf(batch, heads, 512, width) for _ in range(3))
    result = attend(q, k, v)
    made = plan(result, *gradients(result * result.sum(), q, k, v))
    verify_schedule(made)
    written = {b for step in made.steps for b in step.buffers[: step.kernel.outputs]}
    assert all(made.buffers[b].size < batch * heads * 512 * 512 for b in written)


def test_no_fewer_heads_than_threads_are_joined() -> None:
    q, k, v = (leaf(1, 4, 512, 16) for _ in range(3))
    result = attend(q, k, v)
    sinks, params = graph(result, *gradients(result * result.sum(), q, k, v))
    few, many = (schedule(sinks, params, threads=threads) for threads in (4, 8))
    assert len(few.steps) < len(many.steps)


@pytest.mark.parametrize("mask", ["none", "one for all", "one each"])
@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_attention_with_masks_and_dropout_stores_nothing_as_large_as_the_scores(
    mask: str, dropout: float
) -> None:
    q, k, v = (leaf(4, 4, 256, 16) for _ in range(3))
    scores = q @ k.transpose(-2, -1)
    if mask != "none":
        scores = scores + leaf(*((256, 256) if mask == "one for all" else scores.shape))
    with Tensor.train():
        result = scores.softmax(-1).dropout(dropout) @ v
    made = plan(result, *gradients(result * result.sum(), q, k, v))
    verify_schedule(made)
    written = {b for step in made.steps for b in step.buffers[: step.kernel.outputs]}
    assert all(made.buffers[b].size < scores.numel() for b in written)


def test_random_words_between_kernels_are_stored_at_their_last_round() -> None:
    x = Tensor.randint(1000, low=0, high=9, device="numpy")
    made = plan(x.sum(), x * leaf(1000, dtype=np.int64), x.max())
    written = [b for step in made.steps for b in step.buffers[: step.kernel.outputs]]
    assert sum(made.buffers[b].size == 1000 for b in written) == 2


def test_probabilities_that_are_wanted_are_stored_and_read() -> None:
    q, k, v = (leaf(4, 4, 128, 16) for _ in range(3))
    shares = (q @ k.transpose(-2, -1)).softmax(-1)
    result = shares @ v
    made = plan(result, shares, *gradients(result * result.sum(), q, k, v))
    verify_schedule(made)
    assert made.sinks[1] in made.steps[-1].buffers


def test_equal_rows_are_equal_kernels() -> None:
    x = leaf(64, 50).softmax(1) @ leaf(50, 50)
    steps = plan(x.softmax(1)).steps
    groups = [s.kernel for s in steps if isinstance(s.kernel.nests[-1], Group)]
    assert len(groups) == 2 and groups[0] == groups[1]


def layers(count: int, last: Callable[[Tensor], Tensor]) -> list[Tensor]:
    """Softmaxes with something between that mixes rows, and what is made of the last of them."""
    x, mix = leaf(64, 50), leaf(64, 64)
    made = []
    for _ in range(count):
        made.append(x.softmax(1))
        x = mix @ made[-1]
    return [*made, last(made[-1])]


def test_the_last_layer_is_the_kernel_of_the_others_if_it_stores_the_same() -> None:
    def sums(x: Tensor) -> Tensor:
        return (x * x).sum(1)

    assert len({step.kernel for step in plan(*layers(1, sums)).steps}) == 1  # joined where alone
    made = plan(*layers(3, sums))
    groups = [s.kernel for s in made.steps if isinstance(s.kernel.nests[0], Group)]
    assert len(groups) == 3 and len(set(groups)) == 1
    assert [step.kernel for step in made.steps].index(groups[0]) == 0
    assert made.steps[-1].kernel not in groups


def test_scattered_rows_are_nobodys_own() -> None:
    """What is added at rows that an index picks cannot run row by row."""
    table, picks, rows = leaf(40, 6), labels(40), leaf(40, 6).softmax(1)
    made = plan(rows, *gradients(table[picks] * rows, table))
    verify_schedule(made)
    scatter = next(s.kernel for s in made.steps if len(s.kernel.nests) > 1)
    assert all(isinstance(part, Nest) for part in scatter.nests)


# The verifier

OUT = build.param(0, dtypes.float32, (4, 6))
IN = build.param(1, dtypes.float32, (4, 6))
G, J = index.loop("g0", 4), index.loop("j", 6)
ROW = node(ops.PRIVATE, (), "t0", dtypes.float32, (6,))
FIRST = Nest((J,), (Store(ROW, (J,), load(IN, (G, J))),))


def kernel(*nests: Nest, before: Sequence[Nest] = ()) -> Kernel:
    return Kernel((*before, Group((G,), nests)), (OUT, IN), 1)


def put(value: Node, at: tuple[Node, ...] = (G, J), op: ops.Op | None = None) -> Nest:
    return Nest((J,), (Store(OUT, at, value, op),))


ZERO = replace(put(build.const(0.0, dtypes.float32)), ranges=(G, J))
OTHER = index.sub(3, G)


def test_legal_groups() -> None:
    verify_kernel(kernel(FIRST, put(load(ROW, (J,)))))
    again = Nest((J,), (Store(ROW, (J,), load(OUT, (G, J))),))
    verify_kernel(kernel(put(load(IN, (G, J))), again))
    verify_kernel(kernel(put(load(IN, (G, J)), (index.const(0), J), ops.ADD), before=[ZERO]))


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (kernel(put(load(ROW, (J,))), FIRST), "is no input"),
        (kernel(put(load(OUT, (G, J)))), "is no input"),
        (kernel(put(load(IN, (G, J))), put(load(OUT, (OTHER, J)))), "read in other rows"),
        (kernel(put(load(IN, (G, J)), (index.const(0), J))), "written in one place"),
        (kernel(put(load(IN, (G, J)), (index.const(0), J), ops.ADD)), "written in one place"),
        (kernel(FIRST, put(load(ROW, (index.add(J, 1),)))), "reaches 6"),
        (kernel(replace(FIRST, ranges=())), "no loop counts"),
    ],
)
def test_illegal_groups(bad: Kernel, says: str) -> None:
    with pytest.raises(VerifyError, match=says):
        verify_kernel(bad)


def test_private_arrays_belong_to_groups() -> None:
    with pytest.raises(VerifyError, match="is no output"):
        verify_kernel(Kernel((replace(FIRST, ranges=(G, J)),), (OUT, IN), 1))


def test_what_others_make_again_is_not_made_for_nobody() -> None:
    v, g = leaf(2, 3, 3), leaf(2, 3, 3)
    turned = v.transpose(1, 2)
    product = (g.unsqueeze(3) * turned.unsqueeze(1)).sum(2)
    first = g.unsqueeze(3) * (v @ v).unsqueeze(2) + product.unsqueeze(3) * v.unsqueeze(2)
    made = plan(first.sum(1).transpose(1, 2) + (product.unsqueeze(3) * turned.unsqueeze(1)).sum(2))
    read = {b for step in made.steps for b in step.read} | {*made.sinks}
    assert all(read.intersection(step.written) for step in made.steps)
