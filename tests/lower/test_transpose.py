"""Transposed maps: squares of registers, and the same elements as one by one."""

from __future__ import annotations

from dataclasses import replace
from textwrap import dedent

import numpy as np
import pytest

from gradlet import Tensor
from gradlet.ir.kernel import Nest
from gradlet.lower.loops import show
from gradlet.lower.nest import loops_of
from gradlet.lower.transpose import transposed
from tests.graphs import TARGET, plan
from tests.lower.interpreter import outputs
from tests.lower.test_choose import whole


def nest_of(tensor: Tensor) -> Nest:
    (step,) = plan(tensor).steps
    return step.kernel.nests[0]


def test_a_square_of_two() -> None:
    nest = nest_of(whole(3, 6).transpose(0, 1) * 3)
    body = transposed(nest, replace(TARGET, vector_bytes=16))
    assert body is not None
    assert (
        show(body)
        == dedent(
            """
        for i1s in 2:
          for i0s in 3:
            for lane in vector 2:
              rows[0, lane] = p1[minimum((i1s * 2), 1), ((i0s * 2) + lane)]
              rows[1, lane] = p1[(minimum((i1s * 2), 1) + 1), ((i0s * 2) + lane)]
              rows1[0, lane] = shuffle(rows[0, lane], rows[1, lane])
              rows1[1, lane] = shuffle(rows[0, lane], rows[1, lane])
              p0[(i0s * 2), (lane + minimum((i1s * 2), 1))] = (rows1[0, lane] * 3)
              p0[((i0s * 2) + 1), (lane + minimum((i1s * 2), 1))] = (rows1[1, lane] * 3)
        """
        ).strip()
    )


@pytest.mark.parametrize("lanes", [2, 4, 8])
@pytest.mark.parametrize("shape", [(8, 8), (9, 17), (3, 11, 8)])
def test_values(lanes: int, shape: tuple[int, ...]) -> None:
    (step,) = plan(whole(*shape).transpose(-1, -2) + whole(shape[-1], shape[-2])).steps
    body = transposed(step.kernel.nests[0], replace(TARGET, vector_bytes=8 * lanes))
    assert body is not None
    plain = loops_of(step.kernel.nests[0])
    for a, b in zip(outputs(step.kernel, body), outputs(step.kernel, plain), strict=True):
        np.testing.assert_array_equal(a, b)


def test_what_is_no_transpose() -> None:
    assert transposed(nest_of(whole(8, 8) + 1), TARGET) is None
    assert transposed(nest_of(whole(20, 3).transpose(0, 1) + 1), TARGET) is None
