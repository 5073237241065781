"""explain(): every heading, the right contents, and no trace left behind."""

from __future__ import annotations

import re

import numpy as np
import pytest

from gradlet import Tensor, explain
from gradlet.engine import realize
from gradlet.engine.explain import assembly_text, llvm_text
from gradlet.engine.native import compile_kernels
from gradlet.engine.program import capture
from gradlet.ir import ops
from gradlet.runtime.cpu.device import CpuDevice
from gradlet.runtime.device import get_device
from gradlet.schedule.schedule import schedule

HEADINGS = [
    "1. Graph", "2. Kernels", "3. Loops", "4. Linear program", "5. LLVM IR", "6. Machine code",
    "7. Time",
]  # fmt: skip


def cpu_tensor(*shape: int) -> Tensor:
    numbers = np.random.default_rng(0).standard_normal(shape, np.float32)
    return Tensor(numbers, device="cpu")


def headings(text: str) -> list[str]:
    return re.findall(r"^\d\. .*", text, re.MULTILINE)


def compiled(tensor: Tensor) -> tuple[CpuDevice, list]:
    cpu = get_device("cpu")
    assert isinstance(cpu, CpuDevice)
    plan = schedule(*capture([tensor.node], cpu).canonical([tensor.node]))
    return cpu, compile_kernels(cpu, [step.kernel for step in plan.steps])


def test_matmul_shows_every_stage(capsys: pytest.CaptureFixture[str]) -> None:
    explain((cpu_tensor(64, 48) @ cpu_tensor(48, 32)).relu())
    text = capsys.readouterr().out
    assert headings(text) == HEADINGS
    assert "reduce %7 add over axes (2,) : float32[64, 32]" in text
    assert "writes p0: array 2, result, float32[64, 32]" in text
    assert "reads p2: array 1, param 1, float32[48, 32]" in text
    assert "add((p1[i0, r2] * p2[r2, i1]) for r2 in 48)" in text
    assert re.search(r"for r2 in 48:", text)
    assert "hot loop" in text and "fmul contract" in text
    assert re.search(r"^\d+\.\d+ ms for the whole program", text, re.MULTILINE)
    assert "  # contraction: tile of " in text
    assert re.search(r"^limits of \d+ threads: \d+ GFLOP/s", text, re.MULTILINE)
    # 2 * 64 * 48 * 32 for the product, relu being a comparison; both factors and the result.
    expected = r"kernel 0: \d+\.\d+ ms, \d+% of the limit; 196,608 operations, .*; 26,624 bytes, "
    assert re.search(f"^{expected}", text, re.MULTILINE)


def test_nothing_is_realized_or_remembered() -> None:
    x = cpu_tensor(8)
    y = (x * 2).exp()
    programs = dict(realize._programs)
    explain(y)
    assert y.node.op is ops.EXP
    assert y.node.realized is None and y.node.src[0].realized is None
    assert realize._programs == programs
    np.testing.assert_allclose(y.numpy(), np.exp(x.numpy() * 2), rtol=1e-6)


def test_pending_leaves_stay_pending() -> None:
    x = Tensor.rand(4, device="cpu")
    buffer = x.node.arg
    explain(x)
    assert buffer.memory is None and buffer.pending is not None


def test_random_numbers_do_not_change() -> None:
    Tensor.manual_seed(3)
    plain = Tensor.rand(5, device="cpu").numpy()
    Tensor.manual_seed(3)
    x = Tensor.rand(5, device="cpu")
    explain(x)
    np.testing.assert_array_equal(x.numpy(), plain)


def test_gradients_flow_afterwards() -> None:
    x = cpu_tensor(3)
    y = (x * x).sum()
    explain(y)
    y.backward()
    explain(x.grad)
    np.testing.assert_allclose(x.grad.numpy(), 2 * x.numpy())


def test_computed_tensors_have_nothing_to_show(capsys: pytest.CaptureFixture[str]) -> None:
    x = cpu_tensor(2, 3)
    explain(x)
    y = (x + 1).realize()
    explain(x, y)
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "Already computed: float32[2, 3]. There is nothing left to run.",
        "Already computed: float32[2, 3], float32[2, 3]. There is nothing left to run.",
    ]


def test_several_tensors_are_one_program(capsys: pytest.CaptureFixture[str]) -> None:
    x = cpu_tensor(16)
    explain(x.sum(), x.max())
    text = capsys.readouterr().out
    assert headings(text) == HEADINGS
    assert re.search(r"^return %\d+, %\d+$", text, re.MULTILINE)


def test_equal_kernels_are_shown_once(capsys: pytest.CaptureFixture[str]) -> None:
    w = cpu_tensor(16, 16)
    explain(cpu_tensor(16, 16) @ w @ cpu_tensor(16, 16))
    text = capsys.readouterr().out
    assert text.count("writes p0") == 2
    assert text.count("kernel 0, 1:") == 4  # loops, linear program, LLVM, machine code


def test_numpy_device_has_no_kernels(capsys: pytest.CaptureFixture[str]) -> None:
    explain(Tensor([1.0, 2.0], device="numpy") * 2)
    text = capsys.readouterr().out
    assert headings(text) == ["1. Graph", "7. Time"]
    assert "interprets the graph op by op" in text


def test_nothing_to_compute(capsys: pytest.CaptureFixture[str]) -> None:
    explain(Tensor.zeros(0, 3, device="cpu") + 1)
    assert "None: no result has an element." in capsys.readouterr().out


def test_full_shows_every_line(capsys: pytest.CaptureFixture[str]) -> None:
    x = cpu_tensor(64, 48) @ cpu_tensor(48, 32)
    explain(x)
    short = capsys.readouterr().out
    explain(x, full=True)
    text = capsys.readouterr().out
    assert "full=True" in short and "full=True" not in text
    assert "define void @phase0" in text and "define void @phase0" not in short


def test_long_expressions_do_not_double(capsys: pytest.CaptureFixture[str]) -> None:
    x = cpu_tensor(4)
    for _ in range(100):
        x = x * x + x
    explain(x, full=True)
    assert len(capsys.readouterr().out) < 100_000


def test_bad_index_is_an_error_after_the_listing(capsys: pytest.CaptureFixture[str]) -> None:
    x = cpu_tensor(4)[Tensor([9], device="cpu")]
    with pytest.raises(IndexError, match="out of range"):
        explain(x)
    assert headings(capsys.readouterr().out) == HEADINGS[:-1]


def test_arguments_that_are_no_tensors_on_one_device() -> None:
    with pytest.raises(TypeError, match="at least one Tensor"):
        explain()
    with pytest.raises(TypeError, match="got list"):
        explain([cpu_tensor(1)])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="cpu, numpy"):
        explain(cpu_tensor(1) + 1, Tensor([1.0], device="numpy") + 1)


def test_hot_loop_is_the_innermost() -> None:
    cpu, kernels = compiled(cpu_tensor(64, 48) @ cpu_tensor(48, 32))
    source = kernels[0].source
    hot = llvm_text(source)
    assert hot.startswith("hot loop, ")
    assert hot.count("phi i64") == 1 and "fmul contract" in hot
    assert llvm_text(source, full=True) == source.rstrip("\n")
    code = assembly_text(source, cpu.target)
    assert code.startswith("hot loop, ")
    assert "phase0" in assembly_text(source, cpu.target, full=True)
