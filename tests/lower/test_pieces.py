"""An array that is joined from many: no element asks all of them whether it comes from there."""

from __future__ import annotations

import numpy as np
import pytest

from gradlet import Tensor
from gradlet.ir import ops
from gradlet.ir.node import topological
from gradlet.lower.choose import parts
from gradlet.lower.pieces import by_piece
from tests.graphs import TARGET, plan
from tests.helpers import floats
from tests.lower.test_choose import whole


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_pieces_are_taken_apart_until_few_are_left(axis: int) -> None:
    shape = [64, 64, 64]
    shape[axis] = 1
    (step,) = plan(Tensor.cat([whole(*shape) for _ in range(40)], dim=axis)).steps
    (nest,) = step.kernel.nests
    made = list(parts((nest,), TARGET))
    assert len(made) >= 40 / 7
    for part in made:
        conditions = [x for x in topological([part.stores[0].value]) if x.op is ops.WHERE]
        assert len(conditions) < 8
    assert sum(np.prod([c.arg[1] for c in part.ranges]) for part in made) == 40 * 64 * 64


def test_few_pieces_and_small_arrays_stay_whole() -> None:
    for tensors in ([whole(64, 64)] * 6, [whole(2, 2)] * 40):
        joined = Tensor.stack([tensor + number for number, tensor in enumerate(tensors)])
        (step,) = plan(joined).steps
        assert by_piece(step.kernel.nests[0]) == [step.kernel.nests[0]]


@pytest.mark.parametrize("count", [8, 9, 23])
@pytest.mark.parametrize("axis", [0, 1])
def test_values_of_pieces_of_all_sizes(count: int, axis: int) -> None:
    arrays = [floats(*(n % 4, 397)[:: 1 - 2 * axis], seed=n) for n in range(count * 2)]
    joined = Tensor.cat([Tensor(a) for a in arrays], dim=axis)
    np.testing.assert_array_equal(joined.numpy(), np.concatenate(arrays, axis))
    more = Tensor.cat([Tensor(a) * 2 for a in arrays], dim=axis).flip(axis) + joined
    expected = np.flip(np.concatenate(arrays, axis) * 2, axis) + np.concatenate(arrays, axis)
    np.testing.assert_array_equal(more.numpy(), expected)
