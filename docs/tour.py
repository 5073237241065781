"""Follows `2 + 3`, and then a matrix product with a relu, from Python to machine code.

    python docs/tour.py

Every stage is called by its own name here, so each can be changed and looked at by itself.
`gradlet.explain(tensor)` prints much the same for any tensor.
"""

from __future__ import annotations

import numpy as np

from gradlet import Tensor
from gradlet.engine.compile import compile_program
from gradlet.engine.explain import assembly_text, llvm_text, show_counts, show_step
from gradlet.engine.program import capture
from gradlet.ir import build, ops
from gradlet.ir.show import show_graph
from gradlet.lower import loops
from gradlet.lower.choose import lower
from gradlet.lower.decompose import decompose
from gradlet.lower.linearize import linearize
from gradlet.lower.nest import loops_of_kernel
from gradlet.render import llvm
from gradlet.runtime.cpu.device import CpuDevice
from gradlet.runtime.device import get_device
from gradlet.schedule.schedule import schedule


def say(text: str) -> None:
    print(f"\n{text}\n")


def travel(tensor: Tensor) -> np.ndarray:
    """Takes one lazy tensor through every stage, printing what each makes of it."""
    cpu = get_device("cpu")
    assert isinstance(cpu, CpuDevice)

    say("""1. Graph
A tensor is a node, and operators have only recorded more nodes (gradlet/ir/node.py).
`capture` sets the filled buffers apart as params, so that equal programs have equal graphs.""")
    graph = capture([tensor.node], cpu)
    sinks, params = graph.canonical([tensor.node])
    print(show_graph(sinks))

    say("""2. Kernels
The scheduler decides what is computed together and what is kept in memory. Reshapes, expands
and permutes are gone: they have become indices. Params come first among a kernel's arrays.""")
    plan = schedule(sinks, params, cpu.target.l2_bytes // 2)
    for number in range(len(plan.steps)):
        print(show_step(number, plan))
    kernels = [step.kernel for step in plan.steps]

    say("""3. Loops
Each kernel first becomes the plainest loops that compute it. Then it is split, unrolled, turned
into vectors and spread over threads by checked transforms, as suits this processor.""")
    for kernel in kernels:
        print("plain:")
        print(loops.show(loops_of_kernel(kernel), "  "))
        print("chosen:")
        print(loops.show(lower(kernel, cpu.target), "  "))

    say("""4. Linear program
The loop tree is written out as instructions on scalars and vectors, each expression once. A
phase is what threads run together before they wait for each other.""")
    programs = [linearize(decompose(lower(k, cpu.target)), k.params) for k in kernels]
    for program in programs:
        print(show_counts(program))

    say("""5. LLVM IR
The renderer translates one instruction at a time by a table, and decides nothing. This is the
innermost loop, or the whole function where there is none.""")
    sources = [llvm.render(program, cpu.target) for program in programs]
    for source in sources:
        print(llvm_text(source))

    say("""6. Machine code
LLVM, inside this process, keeps values in registers and picks the instructions. The accumulators
that were an array in memory above have become registers.""")
    for source in sources:
        print(assembly_text(source, cpu.target))

    say("""7. Numbers
`compile_program` does steps 2 to 6 at once and lays out the memory. What it returns takes the
buffers that were set apart in step 1 and runs all kernels in one native call.""")
    executable = compile_program(cpu, sinks, params)
    (block,) = executable([buffer.memory for buffer in graph.buffers])
    result = cpu.to_numpy(block, tensor.dtype, tensor.shape)
    print(np.array2string(result, threshold=6, precision=3))
    return result


def two_plus_three() -> None:
    print("== 2 + 3 ==")
    two = Tensor(2, device="cpu")
    total = two + 3
    assert total.node.op is ops.ADD
    assert (two + 3).node is total.node, "equal nodes are the same object"
    assert total.node is build.add(two.node, build.const(3, two.dtype))
    assert travel(total) == 5
    assert total.item() == 5  # the engine: the same stages, asked for by .item()


def matmul_and_relu() -> None:
    print("\n== relu(a @ b) ==")
    random = np.random.default_rng(0)
    a = random.standard_normal((64, 48), np.float32)
    b = random.standard_normal((48, 32), np.float32)
    product = (Tensor(a, device="cpu") @ Tensor(b, device="cpu")).relu()
    expected = np.maximum(a @ b, 0)
    np.testing.assert_allclose(travel(product), expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(product.numpy(), expected, rtol=1e-5, atol=1e-5)


if __name__ == "__main__":
    two_plus_three()
    matmul_and_relu()
    print("\nBoth agree with NumPy.")
