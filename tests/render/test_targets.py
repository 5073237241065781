"""Machine code for processors that are not at hand: it is emitted, and its hot loops are read."""

from __future__ import annotations

import re

import pytest

from gradlet.base.target import Target
from gradlet.engine.explain import assembly_text
from gradlet.engine.lowering import linear_program
from gradlet.ir.kernel import Kernel
from gradlet.render import llvm
from gradlet.runtime.cpu.compiler import assembly
from tests.graphs import APPLE, AVX2, GRAPHS, NEON, leaf, plan

TARGETS = {"avx2": AVX2, "neon": NEON, "apple": APPLE}


def source(kernel: Kernel, target: Target) -> str:
    return llvm.render(linear_program(kernel, target), target)


@pytest.mark.parametrize("name", TARGETS)
def test_every_characteristic_kernel_is_emitted(name: str) -> None:
    target = TARGETS[name]
    kernels = dict.fromkeys(step.kernel for make in GRAPHS.values() for step in plan(*make()).steps)
    for kernel in kernels:
        assert "phase0" in assembly(source(kernel, target), target)


def product_loop(target: Target) -> list[str]:
    """The instructions of the innermost loop of a product of large matrices."""
    (step,) = plan(leaf(1024, 1024) @ leaf(1024, 1024)).steps
    text = assembly_text(source(step.kernel, target), target)
    heading, *lines = text.splitlines()
    assert heading.startswith("hot loop")
    return [" ".join(line.split()) for line in lines if not line.rstrip().endswith(":")]


def stack_registers(target: Target) -> list[str]:
    """The registers that point into the stack: %rbp too, unless it is one as any other."""
    (step,) = plan(leaf(1024, 1024) @ leaf(1024, 1024)).steps
    frame = re.search(r"mov\w*\s+%rsp, %rbp", assembly(source(step.kernel, target), target))
    return ["%rsp", "%rbp"] if frame else ["%rsp"]


def test_avx2_products_multiply_and_add_in_registers() -> None:
    loop = product_loop(AVX2)
    sums = [line for line in loop if line.startswith("vfmadd")]
    assert len(sums) >= 8 and all(line.count("%ymm") == 3 for line in sums)
    assert len({line.split("%ymm")[-1] for line in sums}) == len(sums)
    assert not any(register in line for line in loop for register in stack_registers(AVX2))
    assert not any(re.search(r"vmov\S+ %[xyz]mm\d+, \S*\(", line) for line in loop)


@pytest.mark.parametrize("name", ["neon", "apple"])
def test_arm_products_multiply_and_add_in_registers(name: str) -> None:
    loop = product_loop(TARGETS[name])
    sums = [line for line in loop if line.startswith("fmla")]
    # Apple writes `fmla.4s v0, v1, v2[0]`, everyone else `fmla v0.4s, v1.4s, v2.s[0]`.
    assert len(sums) >= 8 and all(".4s" in line for line in sums)
    by_element = [line for line in sums if re.search(r"\[\d\]$", line)]
    repeated = [line for line in loop if line.startswith(("dup", "ld1r"))]
    assert by_element or repeated
    assert not any("sp" in re.split(r"[\s,\[\]]+", line) for line in loop)
    assert not any(re.match(r"st[rpu]", line) for line in loop)
