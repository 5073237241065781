"""A nest for each remainder: no division is left, and no term that is always 0."""

from __future__ import annotations

from textwrap import dedent

import numpy as np

from gradlet import Tensor
from gradlet.ir import index, ops
from gradlet.ir.node import topological
from gradlet.lower.loops import show
from gradlet.lower.nest import loops_of
from gradlet.lower.residues import by_residue
from tests.graphs import GRAPHS, gradients, leaf, plan
from tests.lower.test_choose import check, whole


def test_a_stride_of_two_makes_two_nests() -> None:
    (step,) = plan(whole(2, 1, 3, 1).conv_transpose2d(whole(1, 2, 3, 1), stride=(2, 1))).steps
    nests = by_residue(step.kernel.nests[0])
    assert len(nests) == 2
    assert not any(
        x.op in (ops.MOD, ops.FLOORDIV)
        for nest in nests
        for x in topological([nest.stores[0].value])
    )
    assert (
        show(loops_of(nests[1]))
        == dedent(
            """
        for i0 in 2:
          for i1 in 2:
            for i2q in 3:
              p0[i0, i1, ((i2q * 2) + 1), 0] = (p1[i0, 0, i2q, 0] * p2[0, i1, 1, 0])
        """
        ).strip()
    )


def test_windows_that_overlap_are_added_without_division() -> None:
    image = leaf(2, 3, 11, 11)
    result = image.max_pool2d(3, stride=2)
    (step,) = plan(*gradients(result * leaf(*result.shape), image)).steps
    last = step.kernel.innermost[-1]
    nests = by_residue(last)
    assert len(nests) == 4
    for nest in nests:
        assert not any(x.op is ops.MOD for x in topological([nest.stores[0].value]))


def test_channels_in_groups_are_two_counters() -> None:
    image, filters = leaf(2, 40, 5, 5), leaf(40, 20, 3, 3)
    result = image.conv2d(filters, padding=1, groups=2)
    (step,) = plan(*gradients(result * leaf(*result.shape), image)).steps
    (nest,) = by_residue(step.kernel.nests[0])
    assert [c.arg[1] for c in nest.ranges] == [2, 2, 20, 5, 5]


def test_heads_that_a_product_joins_are_a_counter_of_its_sum() -> None:
    heads = whole(2, 3, 5, 4).permute(0, 2, 1, 3).reshape(2, 5, 12)
    (step,) = plan(heads @ whole(12, 6)).steps
    (nest,) = by_residue(step.kernel.nests[0])
    (fold,) = (x for x in topological([nest.stores[0].value]) if x.op is ops.FOLD_RANGES)
    assert [c.arg[1] for c in fold.src[1:]] == [3, 4]
    assert not any(x.op in (ops.MOD, ops.FLOORDIV) for x in topological([fold]))
    check(step.kernel)


def test_the_weights_of_a_strided_gradient_vary_with_no_place_in_the_image() -> None:
    (step,) = plan(*GRAPHS["strided_gradient"]()).steps
    nests = by_residue(step.kernel.nests[0])
    assert len(nests) == 4
    for made in nests:
        places = {c for c in made.ranges if c.arg[0] in ("i2q", "i3q")}
        loads = [x for x in topological([made.stores[0].value]) if x.op is ops.LOAD]
        assert len(places) == 2
        assert any(places.isdisjoint(index.variables(x)) for x in loads)


def test_other_nests_stay_as_they_are() -> None:
    (step,) = plan(whole(2, 1, 3, 3).conv2d(whole(1, 1, 2, 2))).steps
    assert by_residue(step.kernel.nests[0]) == [step.kernel.nests[0]]


def test_remainders_of_values_are_no_places() -> None:
    x, y = np.linspace(1, 9, 60).reshape(5, 12), np.linspace(0.5, 2, 60).reshape(5, 12)
    for axis in (None, 0, 1):
        made = ((Tensor(x) % Tensor(y)) * Tensor(y)).sum(axis).numpy()
        np.testing.assert_allclose(made, ((x % y) * y).sum(axis), rtol=1e-12)
