"""Contractions are recognised, tiled within the registers, and packed where need be."""

from __future__ import annotations

import numpy as np
import pytest

from gradlet import Tensor
from gradlet.ir import ops
from gradlet.ir.kernel import Nest
from gradlet.ir.node import topological
from gradlet.lower.candidates import choose_tile
from gradlet.lower.choose import lower
from gradlet.lower.loops import loops, show
from gradlet.lower.padding import pad_once
from gradlet.lower.tile import Tile, contraction_of
from tests.graphs import GRAPHS, TARGET, gradients, leaf, plan
from tests.lower.test_choose import check, whole


def nest_of(name: str) -> Nest:
    return plan(*GRAPHS[name]()).steps[-1].kernel.nests[0]


def tile_of(nest: Nest) -> Tile:
    contraction = contraction_of(nest)
    assert contraction is not None
    tile = choose_tile(contraction, TARGET)
    assert tile is not None
    return tile


CONTRACTIONS = ["matmul_bias_relu", "linear_transposed", "conv_forward", "conv_weight_gradient"]


@pytest.mark.parametrize("name", CONTRACTIONS)
def test_tiles_fit_into_the_registers(name: str) -> None:
    tile = tile_of(nest_of(name))
    vectors = -(-tile.width // TARGET.lanes(4))
    assert tile.height * vectors + vectors + 1 <= TARGET.vector_registers


@pytest.mark.parametrize("name", ["row_sum", "bias_chain", "column_sum", "max_pool"])
def test_other_nests_are_no_contractions(name: str) -> None:
    assert contraction_of(nest_of(name)) is None


def test_rows_in_line_are_read_where_they_are() -> None:
    assert tile_of(nest_of("matmul_bias_relu")).rows_at == "place"
    assert tile_of(nest_of("linear_transposed")).rows_at != "place"


def test_columns_are_read_where_they_are_unless_they_lie_far_apart() -> None:
    def tile(terms: int, columns: int) -> Tile:
        (step,) = plan(leaf(terms, columns).transpose(0, 1) @ leaf(terms, 256)).steps
        return tile_of(step.kernel.nests[0])

    assert not tile(128, 256).pack_broadcast
    assert tile(1024, 1024).pack_broadcast


def weight_gradient(inputs: int, outputs: int, rows: int = 1024) -> str:
    (step,) = plan(leaf(rows, inputs).transpose(0, 1) @ leaf(rows, outputs)).steps
    return show(lower(step.kernel, TARGET))


def test_packing_reads_memory_once_and_ahead() -> None:
    before, chunks = weight_gradient(256, 1024).split("\nfor ")[:2]
    loops = [line.split()[1] for line in before.splitlines()[:-1]]
    assert loops == ["r2o", "i0s", "r2w", "i0h"], "some terms for all tiles"
    assert "in 1024, fetching 8 ahead:\n    for i1wo in unroll 2:" in chunks


def test_results_that_lie_across_are_turned_in_squares() -> None:
    assert "shuffle" not in weight_gradient(256, 1024)
    results = weight_gradient(1024, 256).split("sums[")[-17:]
    assert all("rows[" in line for line in results[:-1]) and "shuffle" in results[-1]


def test_overlapping_tiles_and_blocks_of_terms_have_the_values_of_plain_loops() -> None:
    for inputs, outputs, rows in ((67, 35, 40), (35, 67, 11)):
        (step,) = plan(whole(rows, inputs).transpose(0, 1) @ whole(rows, outputs)).steps
        check(step.kernel)


def test_padding_is_put_into_a_copy_once() -> None:
    (step,) = plan(*GRAPHS["conv_forward"]()).steps
    loads = [x for x in topological([step.kernel.nests[0].stores[0].value]) if x.op is ops.LOAD]
    found = [pad_once(x) for x in loads]
    (padded,) = [p for p in found if p is not None]
    assert padded[1].src[0].shape == (2, 3, 14, 14)
    text = show(lower(step.kernel, TARGET))
    assert text.count(" else 0)") == 1


def test_a_vector_times_a_matrix_keeps_to_plain_recipes() -> None:
    (step,) = plan(leaf(1, 200) @ leaf(200, 32)).steps
    assert contraction_of(step.kernel.nests[0]) is None
    assert "vector" in show(lower(step.kernel, TARGET))


def test_a_panel_is_used_for_all_taps_while_it_is_in_the_cache() -> None:
    image, weight = leaf(64, 8, 28, 28), leaf(32, 8, 5, 5)
    result = image.conv2d(weight)
    (step,) = plan(*gradients(result * leaf(*result.shape), weight)).steps
    contraction = contraction_of(step.kernel.nests[0])
    assert contraction is not None
    tile = tile_of(step.kernel.nests[0])
    assert tile.block != (0, 64) and tile.lanes == contraction.only(tile.rows)
    assert {u.counter for u in tile.unrolled} == {*contraction.only(1 - tile.rows)}


def test_neighbours_are_written_together() -> None:
    """Lanes along the 64 channels of 128 images would write to a line of memory a few elements."""
    (step,) = plan(leaf(128, 32, 10, 10).conv2d(leaf(64, 32, 3, 3))).steps
    tile = tile_of(step.kernel.nests[0])
    assert [lane.arg for lane in tile.lanes[-2:]] == [("i2", 8), ("i3", 8)]


def test_long_sums_are_added_in_blocks() -> None:
    """Rounding errors of a convolution's weight gradient stay far below one long sum's."""
    rng = np.random.default_rng(0)
    image = rng.standard_normal((64, 2, 24, 24)).astype(np.float32)
    x = Tensor(image, requires_grad=False)
    weight = Tensor(rng.standard_normal((16, 2, 3, 3)).astype(np.float32))
    up = Tensor(rng.standard_normal((64, 16, 22, 22)).astype(np.float32), requires_grad=False)
    (x.conv2d(weight) * up).sum().backward()
    windows = np.lib.stride_tricks.sliding_window_view(image.astype(np.float64), (3, 3), (2, 3))
    exact = np.einsum("nohw,nchwij->ocij", up.numpy().astype(np.float64), windows)
    assert weight.grad is not None
    error = np.median(np.abs(weight.grad.numpy() / exact - 1))
    assert error < 5e-7  # one chain of 30,976 float32 additions is off by about 2e-6


def test_a_wide_padded_row_is_filled_in_pieces() -> None:
    """A vector is never as wide as an image, or LLVM would take minutes over it."""
    image, weight = leaf(1, 3, 1, 5000), leaf(16, 3, 1, 3)
    (step,) = plan(image.conv2d(weight, padding=(0, 1))).steps
    found = list(loops(lower(step.kernel, TARGET)))
    assert " else 0)" in show(lower(step.kernel, TARGET))
    assert max(x.size for x in found if x.kind == "vector") <= 4 * TARGET.lanes(4)


def test_only_one_factor_of_a_depthwise_gradient_is_masked() -> None:
    image, weight = leaf(2, 8, 28, 28), leaf(8, 1, 5, 5)
    result = image.conv2d(weight, padding=2, groups=8)
    (step,) = plan(*gradients(result * leaf(*result.shape), image)).steps
    assert contraction_of(step.kernel.nests[0]) is not None
    text = show(lower(step.kernel, TARGET))
    assert text.count(" else 0)") == 1 and "acc[" in text
