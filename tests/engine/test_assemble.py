"""What a compiled device is given, by one that keeps it instead of running it."""

from __future__ import annotations

from typing import Any

from gradlet import Tensor
from gradlet.base.target import Target
from gradlet.engine.assemble import assemble
from gradlet.ir import ops
from gradlet.ir.node import Node
from gradlet.lower.linear import LinearProgram
from gradlet.runtime.compiled import Assembly, Compiled
from gradlet.runtime.numpy_device import NumpyDevice
from tests.graphs import graph, leaf


class Keeper(NumpyDevice):
    """Its programs are what they were made of."""

    language = "none"
    target = Target("keeper", "", "", 4, 16, 1 << 15, 1 << 20, 1, workgroup=1)

    def __init__(self) -> None:
        self.loads = 0

    def bytes_of(self, array: Node) -> int:
        return array.size * array.dtype.itemsize

    def load(self, program: LinearProgram) -> LinearProgram:
        self.loads += 1
        return program

    def program(self, assembly: Assembly) -> Any:
        return assembly


def assembled(*tensors: Tensor, device: Keeper | None = None) -> Assembly:
    found: Any = device or Keeper()
    assert isinstance(found, Compiled)
    made: Any = assemble(found, *graph(*tensors))
    return made


def test_params_come_first_then_outputs() -> None:
    x, y = leaf(3), leaf(5)
    made = assembled(x + 1, y * 2, x + 1)
    assert (made.params, made.outputs, made.blocks) == (2, (12, 20), ())
    assert made.sinks == (2, 3, 2)
    touched = [list(step.arrays.values()) for step in made.steps]
    assert touched == [[2, 0], [3, 1]]


def test_arrays_between_kernels_share_blocks() -> None:
    x = leaf(40, 40)
    for _ in range(4):
        x = x @ leaf(40, 40)
    made = assembled(x)
    assert len(made.steps) == 4 and made.blocks == (6400, 6400)
    written = [next(iter(step.arrays.values())) for step in made.steps]
    assert len(set(written)) == 3 and written[-1] == made.sinks[0]


def test_scratch_arrays_are_placed_too() -> None:
    made = assembled(leaf(100_000).sum())
    (step,) = made.steps
    scratch = [a for a in step.arrays if a.op is ops.SCRATCH]
    assert [made.blocks[step.arrays[a] - 2] for a in scratch] == [a.size * 4 for a in scratch]
    assert scratch


def test_libraries_stand_between_kernels() -> None:
    made = assembled((leaf(9) * 2).sort()[0] + 1)
    first, library, last = made.steps
    assert isinstance(library.kernel, Node) and library.kernel.op is ops.HOST
    result, *sources = library.arrays.values()
    assert sources == [next(iter(first.arrays.values()))] and result in last.arrays.values()


def test_equal_kernels_are_loaded_once() -> None:
    device = Keeper()
    for _ in range(2):
        assembled(leaf(17, 3) * 5 + leaf(17, 3), device=device)
    assert device.loads == 1


def test_indices_are_known_by_name() -> None:
    made = assembled(leaf(7, 3)[leaf(2, dtype="int64")])
    assert made.indexed == [("gather", (7, 3), 0)]
