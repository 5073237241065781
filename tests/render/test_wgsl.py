"""WGSL: what a few kernels look like, and legal text for every characteristic one."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradlet.base import dtypes
from gradlet.base.target import Target
from gradlet.engine.lowering import linear_program
from gradlet.ir.kernel import Kernel
from gradlet.render import wgsl
from gradlet.render.wgsl import Shader
from gradlet.render.wgsl_rules import literal
from gradlet.schedule.limit import Limit
from gradlet.schedule.schedule import schedule
from tests.adapters import adapter
from tests.graphs import GRAPHS, graph, leaf

TARGET = Target(
    "webgpu", "some adapter", "shader-int64,shader-f64", 4, 64, 16384, 16384, 1,
    workgroup=256, shared_bytes=16384, max_buffers=8, binding_bytes=1 << 27,
)  # fmt: skip


def render(kernel: Kernel, target: Target = TARGET) -> list[Shader]:
    return wgsl.render(linear_program(kernel, target), target)


def shaders(*tensors: object, target: Target = TARGET) -> list[Shader]:
    limit = Limit(target.max_buffers - 2, target.binding_bytes)
    plan = schedule(*graph(*tensors), cache_bytes=0, limit=limit)
    return [s for step in plan.steps for s in render(step.kernel, target)]


def test_a_map_has_one_invocation_a_result() -> None:
    (shader,) = shaders(leaf(100, 7) * 2.0 + 1.0)
    assert shader.groups == (11, 1) and not shader.checks
    assert [a.shape for a in shader.arrays] == [(100, 7), (100, 7)]
    assert shader.written == (False, True)
    assert "@workgroup_size(64)" in shader.text and ">= 700) { return; }" in shader.text
    assert "var<storage, read> a0: array<f32>;" in shader.text
    assert "var<storage, read_write> a1: array<f32>;" in shader.text


def test_many_workgroups_fill_two_dimensions() -> None:
    (shader,) = shaders(leaf(1 << 23) + 1.0)
    wide, high = shader.groups
    assert wide <= 65535 and wide * high * 64 >= 1 << 23
    assert f"group.y * {wide}u" in shader.text


def test_a_product_is_computed_in_tiles_and_what_is_left_over_without() -> None:
    tile, *rests = shaders(leaf(64, 50) @ leaf(50, 70))
    assert tile.text.count("workgroupBarrier();") == 6
    assert "var<workgroup>" in tile.text and "@workgroup_size(256)" in tile.text
    assert tile.groups == (1, 1)
    assert len(rests) == 1 and "var<workgroup>" not in rests[0].text
    assert f">= {64 * 6}) {{ return; }}" in rests[0].text


def test_indices_are_checked() -> None:
    fold, pick = shaders(leaf(10, 4)[leaf(3, dtype=np.int64)])
    assert not fold.checks and pick.checks
    assert "check(v" in pick.text and "var<storage, read_write> status" in pick.text


def test_long_sums_are_taken_apart() -> None:
    assert len(shaders(leaf(100_000).sum())) > 1
    assert len(shaders(leaf(100, 1000).sum(0))) == 1


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_float_constants_are_exact(value: float) -> None:
    text = literal(value, dtypes.float32)
    if text.startswith("bitcast"):  # 0 and denormal numbers
        word = int(text.split("(")[1].split("u")[0])
        assert np.array(word, np.uint32).view(np.float32) == np.float32(value)
    else:
        assert np.float32(text.removesuffix("f")) == np.float32(value)


def test_other_constants() -> None:
    assert literal(True, dtypes.bool_) == "true"
    assert literal(-3, dtypes.int32) == "i32(-3)"
    assert literal(-(2**63), dtypes.int64) == (
        "(bitcast<i64>(0x8000000000000000lu) ^ i64(nothing.y))"
    )
    assert literal(5, dtypes.uint64) == "(5lu ^ u64(nothing.y))"
    assert "nothing" in literal(math.inf, dtypes.float32)
    assert "inf" not in literal(1e300, dtypes.float32)


@pytest.mark.parametrize("name", GRAPHS)
def test_every_characteristic_kernel_is_legal(name: str) -> None:
    device = adapter()
    for shader in shaders(*GRAPHS[name]()):
        device.gpu.create_shader_module(code=shader.text)
        assert len(shader.arrays) + shader.checks <= 8


def test_what_an_adapter_lacks_is_named() -> None:
    plain = Target(**{**TARGET.__dict__, "features": ""})
    with pytest.raises(TypeError, match=r"float64.*shader-f64"):
        shaders(leaf(3, dtype=np.float64) + 1.0, target=plain)


def test_indices_have_32_bits() -> None:
    plan = schedule(*graph(leaf(1 << 16, 1) + leaf(1, 1 << 16)), cache_bytes=0)
    with pytest.raises(ValueError, match="indices have 32 bits"):
        linear_program(plan.steps[0].kernel, TARGET)


def test_a_shader_cannot_touch_more_arrays_than_there_are_bindings() -> None:
    plan = schedule(*graph(sum((leaf(5) for _ in range(9)), leaf(5))), cache_bytes=0)
    with pytest.raises(ValueError, match="a shader on some adapter may touch 8"):
        wgsl.render(linear_program(plan.steps[0].kernel, TARGET), TARGET)
