"""LLVM IR: exact constants, legal text for every golden kernel, and no dependence on order."""

from __future__ import annotations

import re
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradlet import Tensor
from gradlet.base import dtypes
from gradlet.engine.lowering import linear_program
from gradlet.render import llvm
from gradlet.render.llvm_types import literal, scalar_type, type_of
from tests.graphs import GRAPHS, TARGET, leaf, plan


def test_types() -> None:
    assert type_of(dtypes.float32, 16) == "<16 x float>"
    assert type_of(dtypes.bool_, 0) == "i1"
    assert type_of(dtypes.bool_, 4, in_memory=True) == "<4 x i8>"
    assert scalar_type(dtypes.bfloat16) == "i16"


@given(st.floats(width=32, allow_nan=False))
def test_float_constants_keep_their_bits(value: float) -> None:
    text = literal(value, dtypes.float32)
    (read,) = struct.unpack("<d", struct.pack("<Q", int(text, 16)))
    assert struct.pack("<d", read) == struct.pack("<d", value)


def test_other_constants() -> None:
    assert literal(True, dtypes.bool_) == "true"
    assert literal(-3, dtypes.int32) == "-3"
    assert literal(1.0, dtypes.float16) == "0xH3C00"
    assert literal(1e300, dtypes.float32) == literal(float("inf"), dtypes.float32)
    assert np.array(int(literal(2**64 - 1, dtypes.uint64))).astype(np.uint64) == 2**64 - 1


@pytest.mark.parametrize("name", GRAPHS)
def test_llvm_accepts_every_kernel(name: str) -> None:
    binding = pytest.importorskip("llvmlite.binding")
    for step in plan(*GRAPHS[name]()).steps:
        program = linear_program(step.kernel, TARGET)
        text = llvm.render(program, TARGET)
        module = binding.parse_assembly(text)
        module.verify()
        for number in range(len(program.phases)):
            assert not module.get_function(f"phase{number}").is_declaration
        assert llvm.render(program, TARGET) == text


def test_vectors_are_as_wide_as_the_target_says() -> None:
    (step,) = plan(*GRAPHS["bias_chain"]()).steps
    text = llvm.render(linear_program(step.kernel, TARGET), TARGET)
    assert '"prefer-vector-width"="512"' in text and "<16 x float>" in text


FUNCTIONS = ["exp", "exp2", "log", "log2", "sin", "cos", "tanh", "erf"]


def rendered(name: str) -> str:
    """A function of 4096 float32 numbers."""
    (step,) = plan(getattr(Tensor(np.ones(4096, np.float32)), name)()).steps
    return llvm.render(linear_program(step.kernel, TARGET), TARGET)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_of_float32_are_vector_arithmetic(name: str) -> None:
    text = rendered(name)
    calls = [line for line in text.splitlines() if " call " in line and "_body(" not in line]
    allowed = ("@llvm.fabs.", "@llvm.floor.", "@llvm.vector.reduce.or.")
    assert all(any(name in call for name in allowed) for call in calls), calls
    assert "x float>" in text and "extractelement" not in text


def test_the_sine_of_large_numbers_stands_behind_a_branch() -> None:
    text = rendered("sin")
    assert text.count("!prof !0") == 1 and "phi <16 x float>" in text
    assert "!prof" not in rendered("tanh")


@pytest.mark.parametrize("source", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("name", [d.name for d in dtypes.ALL if d.is_int])
def test_floats_saturate_into_integers_and_nan_gives_zero(source: type, name: str) -> None:
    wanted = dtypes.from_name(name)
    with np.errstate(all="ignore"):
        edges = np.array([float(wanted.min), float(wanted.max)]).astype(source)
        edges = np.concatenate([np.nextafter(edges, source(to)) for to in (-np.inf, 0, np.inf)])
    values = np.array([np.nan, np.inf, -np.inf, -0.9, -1.0, 0.9, 3.7, -3.7, 200.0], source)
    steps = np.linspace(-60_000, 60_000, 500).astype(source)
    x = np.concatenate([edges, values, steps])
    got = Tensor(x, device="cpu").cast(wanted).numpy()
    want = Tensor(x, device="numpy").cast(wanted).numpy()
    np.testing.assert_array_equal(got, want)


def test_neighbours_are_reached_from_each_other() -> None:
    (step,) = plan(leaf(64, 64) @ leaf(64, 64)).steps
    text = llvm.render(linear_program(step.kernel, TARGET), TARGET)
    behind = set(re.findall(r"(%t\d+) = add i64 %\w+, \d+$", text, re.MULTILINE))
    steps = re.findall(r"getelementptr float, ptr (%[\w.]+), i64 (%?\w+)$", text, re.MULTILINE)
    assert behind.isdisjoint(index for _, index in steps)
    assert any(base.startswith("%t") and index.isdigit() for base, index in steps)
    assert not any(index == "0" for _, index in steps)
