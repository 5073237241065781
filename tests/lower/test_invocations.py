"""Loops for graphics processors compute what the plainest loops compute.

Workgroups are small here, and so are sums that are long: small arrays already meet every case.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gradlet import Tensor
from gradlet.base.target import Target
from gradlet.engine.lowering import linear_program
from gradlet.ir import ops
from gradlet.ir.kernel import Kernel
from gradlet.lower import invocations, workgroups
from gradlet.lower.choose import lower
from gradlet.lower.loops import Loop, loops, show, split_phases
from gradlet.lower.nest import loops_of_kernel
from gradlet.lower.verify import verify_loops
from gradlet.schedule.schedule import schedule
from tests.graphs import GRAPHS, TARGET, graph, leaf
from tests.lower.interpreter import outputs

GPU = replace(
    TARGET, name="webgpu", vector_bytes=4, workgroup=256, shared_bytes=1 << 14, max_buffers=8
)
SMALL = replace(GPU, workgroup=4)
EXTENT = st.integers(1, 9)
SLOW = settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workgroups, "_HEIGHTS", (2, 1))
    for name, value in {"_BUSY": 12, "_SHORT": 4, "_LONG": 6, "_FEW": 2}.items():
        monkeypatch.setattr(invocations, name, value)


def kernels(*tensors: Tensor) -> list[Kernel]:
    return [step.kernel for step in schedule(*graph(*tensors), cache_bytes=0).steps]


def check(*tensors: Tensor, target: Target = GPU) -> str:
    """All kernels of some tensors of integers; their loops as text."""
    texts = []
    for kernel in kernels(*tensors):
        body = lower(kernel, target)
        verify_loops(body)
        texts.append(show(body))
        expected = outputs(kernel, loops_of_kernel(kernel))
        for a, b in zip(outputs(kernel, body), expected, strict=True):
            np.testing.assert_array_equal(a, b, err_msg=texts[-1])
    return "\n".join(texts)


def whole(*shape: int) -> Tensor:
    return leaf(*shape, dtype=np.int64)


@pytest.mark.usefixtures("small")
@given(EXTENT, EXTENT, EXTENT, st.booleans())
@SLOW
def test_products(m: int, k: int, n: int, turned: bool) -> None:
    a = whole(k, m).transpose(0, 1) if turned else whole(m, k)
    check((a @ whole(k, n)) * 2 + whole(n), target=SMALL)


@pytest.mark.usefixtures("small")
def test_products_in_tiles() -> None:
    assert "invocation" in check(whole(2, 9, 5) @ whole(2, 5, 7), target=SMALL)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("stride", [1, 2])
def test_convolutions(stride: int) -> None:
    product = whole(2, 2, 5, 6).conv2d(whole(3, 2, 3, 3), stride=stride)
    assert "invocation" in check(product, target=SMALL)


def test_the_target_decides_on_the_tile() -> None:
    product = leaf(64, 32) @ leaf(32, 64)
    (kernel,) = kernels(product)
    for workgroup, shared, tile in (
        (256, 1 << 14, "rows[64, 16]"), (256, 1 << 12, "rows[32, 16]"),
        (300, 1 << 11, "rows[16, 16]"), (64, 1 << 14, "rows[32, 8]"),
        (256, 1 << 10, None), (1, 1 << 14, None),
    ):  # fmt: skip
        target = replace(GPU, workgroup=workgroup, shared_bytes=shared)
        program = linear_program(kernel, target)
        shared_arrays = [a for a in program.scratch if a.op is ops.PRIVATE]
        shown = [f"{a.arg}{list(a.shape)}" for a in shared_arrays]
        assert (tile in shown) if tile else not shown


@pytest.mark.usefixtures("small")
@given(EXTENT, EXTENT, EXTENT, st.sampled_from([0, 1, 2, (0, 2), (0, 1), (1, 2), (0, 1, 2)]))
@SLOW
def test_reductions(a: int, b: int, c: int, axes: int | tuple[int, ...]) -> None:
    x = whole(a, b, c) * whole(c)
    check(x.sum(axes), x.max(axes) - 1)


@given(EXTENT, EXTENT, st.sampled_from([0, 1]))
@settings(max_examples=20, deadline=None)
def test_scans(a: int, b: int, axis: int) -> None:
    check(whole(a, b).cumsum(axis) * 2)


def test_long_scans_are_taken_apart() -> None:
    assert "before" in check(whole(9000).cumsum(0))


@pytest.mark.parametrize("name", GRAPHS)
def test_each_phase_is_one_parallel_loop(name: str) -> None:
    for kernel in kernels(*GRAPHS[name]()):
        body = lower(kernel, GPU)
        verify_loops(body)
        for phase in split_phases(body):
            parallel = [found for found in loops(phase) if found.kind == "parallel"]
            assert len(parallel) == (len(phase) == 1 and isinstance(phase[0], Loop)), show(phase)
        assert not any(found.kind == "vector" for found in loops(body))


def test_what_may_meet_in_one_place_is_added_in_order() -> None:
    *_, adds = split_phases(lower(kernels(*GRAPHS["scatter"]())[-1], GPU))
    (outer,) = adds
    assert isinstance(outer, Loop) and (outer.kind, outer.size) == ("parallel", 24)
    (inner,) = outer.body
    assert isinstance(inner, Loop) and (inner.kind, inner.size) == ("serial", 30)
    assert inner.body[0].accumulate is ops.ADD
