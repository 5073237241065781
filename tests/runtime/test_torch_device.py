"""The device of PyTorch: its table, what it gives to PyTorch's own functions, and its memory."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from gradlet import Tensor
from gradlet.base import dtypes
from gradlet.engine.program import capture
from gradlet.ir import build, ops
from gradlet.ir.node import Node
from gradlet.runtime import device as registry
from gradlet.runtime.device import get_device
from gradlet.runtime.numpy_device import GIVEN
from gradlet.runtime.pytorch import parts, patterns
from gradlet.runtime.pytorch.program import TorchProgram, count_readers
from gradlet.runtime.pytorch.table import TORCH

CPU = "torch:cpu"


def test_every_op_has_a_row() -> None:
    assert set(TORCH) == set(ops.GRAPH_OPS) - set(GIVEN)


# Names


def test_names() -> None:
    assert get_device("torch") is get_device(CPU) is get_device("Torch:CPU")
    assert get_device(CPU).name == CPU
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match=r"unknown device 'torch:cuda'.* torch:cpu here"):
            Tensor([1.0], device="cuda")
    with pytest.raises(ValueError, match="unknown device 'torch:abacus'"):
        get_device("torch:abacus")


def test_without_pytorch_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_devices", {})
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"'cuda:0' needs .*: pip install torch"):
        get_device("cuda:0")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError, match=r"to_torch needs .*: pip install torch"):
        Tensor([1.0], device="cpu").to_torch()


# Programs


def program_of(*tensors: Tensor) -> TorchProgram:
    nodes = [t.node for t in tensors]
    sinks, params = capture(nodes, get_device(CPU), memos=False).canonical(nodes)
    return TorchProgram(sinks, params, torch.device("cpu"))


def taken(*tensors: Tensor) -> list[str]:
    """Which patterns the graph of some tensors meets, in order."""
    met: list[str] = []
    nodes = [t.node for t in tensors]
    sinks, params = capture(nodes, get_device(CPU), memos=False).canonical(nodes)

    seen = set(params)
    readers = count_readers(sinks, seen.copy())

    def look(n: Node) -> None:
        if n in seen:
            return
        seen.add(n)
        plan = patterns.match(n, readers) or parts.by_parts(n)
        if plan is not None:
            function = getattr(plan.function, "func", plan.function)
            name = function.__qualname__.removeprefix("_VariableFunctionsClass.")  # PyTorch's own
            met.append(name.split(".")[0].strip("_"))
        for source in plan.sources if plan is not None else n.src:
            look(source)

    for sink in sinks:
        look(sink)
    return met


def leaf(*shape: int) -> Tensor:
    return Tensor(np.random.default_rng(0).normal(size=shape).astype(np.float32), device=CPU)


CONVOLUTIONS: dict[str, tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "plain": ((2, 3, 8, 9), (4, 3, 3, 2), {}),
    "padded": ((2, 3, 8, 9), (4, 3, 3, 5), {"padding": (1, 2)}),
    "strided": ((2, 3, 8, 9), (4, 3, 3, 3), {"stride": (2, 1), "padding": 1}),
    "dilated": ((2, 3, 8, 9), (4, 3, 3, 3), {"dilation": 2}),
    "grouped": ((2, 6, 8, 9), (4, 3, 3, 3), {"groups": 2, "padding": 1}),
    "depthwise": ((2, 6, 8, 9), (12, 1, 3, 3), {"groups": 6}),
    "one of everything": ((1, 1, 3, 3), (1, 1, 2, 2), {}),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions_are_pytorchs(name: str) -> None:
    image, filters, options = CONVOLUTIONS[name]
    x, w = leaf(*image), leaf(*filters)
    y = x.conv2d(w, **options)
    loss = y * y
    loss.backward(gradient=Tensor.ones(*y.shape, device=CPU))
    assert x.grad is not None and w.grad is not None
    if name != "one of everything":
        assert taken(y) == ["forward"]
        assert taken(w.grad) == ["filter_gradient", "addcmul", "forward"]
        assert taken(x.grad) == ["image_gradient_of", "addcmul", "forward"]
    known = [torch.from_numpy(t.numpy()).requires_grad_() for t in (x, w)]
    result = torch.conv2d(*known, **options)  # type: ignore[call-overload]
    (result * result).sum().backward()
    for ours, theirs in ((y, result), (x.grad, known[0].grad), (w.grad, known[1].grad)):
        np.testing.assert_allclose(ours.numpy(), theirs.detach().numpy(), rtol=2e-4, atol=2e-4)


def shifted_by_itself(x: Tensor) -> Tensor:
    """Reads a convolution twice, once where a bias would be added."""
    return (x + leaf(4, 1)) * x


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (lambda: leaf(4, 5) @ leaf(5, 3), ["einsum"]),
        (lambda: leaf(2, 4, 5) @ leaf(2, 5, 3), ["einsum"]),
        (lambda: leaf(5) @ leaf(5, 3), ["einsum"]),
        (lambda: (leaf(4, 5) * leaf(4, 5)).sum(1), []),
        (lambda: leaf(4, 5) + leaf(4, 1) * leaf(5), ["addcmul"]),
        (lambda: (leaf(4, 1) * leaf(5)).exp() + leaf(5), []),
        (lambda: (-leaf(4, 5)).sum(0), ["negative"]),
        (lambda: (-leaf(4, 5)).max(0), []),
        (lambda: leaf(4, 5) != leaf(1, 5), ["ne"]),
        (lambda: (leaf(4, 5) * leaf(1, 5)).sum(0), []),
        (lambda: leaf(2, 3, 5, 5).relu(), ["raised"]),
        (lambda: leaf(2, 3, 5).conv1d(leaf(4, 3, 2)), ["forward"]),
        (lambda: leaf(2, 3, 5, 5).conv2d(leaf(4, 3, 2, 2), leaf(4)), ["biased"]),
        (lambda: leaf(2, 3, 5).conv1d(leaf(4, 3, 2), leaf(4)) ** 2, ["biased"]),
        (lambda: leaf(2, 3, 5).conv1d(leaf(4, 3, 2)) + leaf(4, 4), ["forward"]),
        (lambda: shifted_by_itself(leaf(2, 3, 5).conv1d(leaf(4, 3, 2))), ["forward"]),
        (lambda: leaf(1, 2, 5, 4, 5).conv3d(leaf(4, 2, 2, 3, 1)), ["einsum"]),
        (lambda: leaf(2, 3, 6, 6).avg_pool2d(3, 1), []),
    ],
)
def test_what_is_recognised(made: Callable[[], Tensor], expected: list[str]) -> None:
    result = made()
    assert taken(result) == expected
    sinks, params = capture([result.node], get_device(CPU)).canonical([result.node])
    arrays = [b.numpy() for b in capture([result.node], get_device(CPU)).buffers]
    (known,) = get_device("numpy").compile(sinks, params)(arrays)  # type: ignore[attr-defined]
    np.testing.assert_allclose(result.numpy(), known, rtol=1e-5, atol=1e-5)


SOME = tuple((0, n, 1) for n in (1, 3, 4, 1, 1, 2, 2))


def test_windows_laid_out_anew_are_no_convolution() -> None:
    x, w = (
        build.param(i, dtypes.float32, shape)
        for i, shape in enumerate([(6, 4, 5, 5), (1, 3, 8, 1, 1, 2, 2)])
    )
    windows = build.window(build.window(x, 2, 2), 3, 2)
    cases = [
        (build.reshape(windows, (3, 1, 8, 4, 4, 2, 2)), w, (3, 3, 8, 4, 4, 2, 2)),
        (
            build.reshape(windows, (6, 1, 4, 2, 8, 2, 2)),
            build.slice_(w, SOME),
            (6, 3, 4, 2, 8, 2, 2),
        ),
    ]
    rng = np.random.default_rng(0)
    arrays = [rng.integers(-3, 4, n.shape).astype(np.float32) for n in (x, w)]
    given = [torch.from_numpy(a) for a in arrays]
    for a, b, shape in cases:
        made = build.sum_(build.mul(build.expand(a, shape), build.expand(b, shape)), (2, 5, 6))
        (known,) = get_device("numpy").compile([made], [x, w])(arrays)  # type: ignore
        (found,) = get_device(CPU).compile([made], [x, w])(given)  # type: ignore
        np.testing.assert_array_equal(found.numpy(), known)


def test_windows_of_something_else_add_up_as_they_are_written() -> None:
    matrix, vector = (
        build.param(i, dtypes.float32, shape) for i, shape in enumerate([(24, 5), (5,)])
    )
    product = build.mul(matrix, build.expand(vector, (24, 5)))
    windows = build.reshape(build.sum_(product, (1,)), (2, 3, 2, 2))
    folded = build.fold(windows, 2, 3)
    arrays = [np.arange(120, dtype=np.float32).reshape(24, 5), np.arange(5, dtype=np.float32)]
    (known,) = get_device("numpy").compile([folded], [matrix, vector])(arrays)  # type: ignore
    given = [torch.from_numpy(a) for a in arrays]
    (found,) = get_device(CPU).compile([folded], [matrix, vector])(given)  # type: ignore
    np.testing.assert_array_equal(found.numpy(), known)


def test_thresholds_at_their_edges() -> None:
    values = [np.nan, -0.0, 0.0, np.inf, -np.inf, 1e-45, -1e-45]
    x = Tensor(values, device=CPU)
    y = x.relu()
    y.backward(gradient=Tensor(np.arange(1.0, 8, dtype=np.float32), device=CPU))
    assert x.grad is not None
    known = torch.tensor(values, requires_grad=True)
    torch.relu(known).backward(torch.arange(1.0, 8))
    np.testing.assert_array_equal(y.numpy(), torch.relu(known).detach().numpy())
    np.testing.assert_array_equal(x.grad.numpy(), known.grad.numpy())


POOLINGS: dict[str, dict[str, Any]] = {
    "apart": {"kernel_size": 2},
    "overlapping": {"kernel_size": 3, "stride": 1},
    "padded": {"kernel_size": 3, "stride": 2, "padding": 1},
}


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("name", POOLINGS)
def test_gradients_of_the_largest_are_made_part_by_part(name: str, dtype: str) -> None:
    rng = np.random.default_rng(0)
    array = rng.integers(-2, 3, (8, 4, 14, 12)).astype(dtype)  # many are equal
    array[0, 0, 0, ::4] = np.nan  # of several in a window PyTorch takes the last
    x = Tensor(array, device=CPU)
    y = x.max_pool2d(**POOLINGS[name])
    gradient = rng.normal(size=y.shape).astype(dtype)
    y.backward(gradient=Tensor(gradient, device=CPU))
    assert x.grad is not None
    assert "by_parts" in taken(x.grad)
    known = torch.from_numpy(array).requires_grad_()
    result = torch.max_pool2d(known, **POOLINGS[name])
    result.backward(torch.from_numpy(gradient))
    assert known.grad is not None
    np.testing.assert_array_equal(y.numpy(), result.detach().numpy())
    tolerance = {"float16": 1e-2, "float32": 1e-6, "float64": 1e-12}[dtype]
    np.testing.assert_allclose(x.grad.numpy(), known.grad.numpy(), rtol=tolerance, atol=tolerance)


def test_the_gradient_of_relu_looks_at_what_relu_gave() -> None:
    x, g = (build.param(i, dtypes.float32, (50, 50)) for i in range(2))
    given = build.mul(x, x)
    zero = build.full_like(given, 0.0)
    small = build.binary(ops.LE, given, zero)
    sinks = [build.where(small, zero, y) for y in (given, g)]
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=(50, 50)).astype(np.float32) for _ in range(2)]
    arrays[0][0, :3] = [np.nan, 0.0, -0.0]
    program = TorchProgram(sinks, [x, g], torch.device("cpu"))
    assert [step.out is not None for step in program.steps] == [False, True, False]
    known = get_device("numpy").compile(sinks, [x, g])(arrays)  # type: ignore[attr-defined]
    for made, array in zip(program([*map(torch.from_numpy, arrays)]), known, strict=True):
        np.testing.assert_array_equal(made.numpy(), array)


def test_an_array_of_which_there_are_views_is_not_written_over_too_soon() -> None:
    x = leaf(50, 50)
    y = x + 1
    both = (y + y.permute(1, 0)) * 2
    program = program_of((both.permute(1, 0) + 1).exp())
    added, turned, summed, *_ = program.steps
    assert {added.out, turned.out, summed.out} == {None}
    assert added.result in [step.out for step in program.steps]
    (made,) = program([x.to_torch()])
    array = x.numpy() + 1
    np.testing.assert_allclose(made.numpy(), np.exp((array + array.T) * 2 + 1), rtol=1e-5)


def test_results_are_written_over_what_nobody_reads() -> None:
    x = leaf(50, 50)
    y = ((x + 1) * 2).exp()
    kept = x + 3
    program = program_of(y, kept, kept * 2)
    before = x.to_torch()
    results = [torch.from_numpy(t.numpy()) for t in (y, kept, kept * 2)]
    for made, known in zip(program([x.to_torch(copy=False)]), results, strict=True):
        torch.testing.assert_close(made, known)
    assert x.to_torch().equal(before)


def test_results_keep_no_more_memory_than_they_need() -> None:
    x = leaf(100, 100)
    row = (x + 1)[0].realize()
    wide = row.reshape(1, 100).expand(50, 100).realize()
    for made in (row, wide):
        memory = made.to_torch(copy=False)
        assert memory.untyped_storage().nbytes() <= memory.numel() * 4


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_what_is_repeated_is_compiled_if_so_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADLET_TORCH_COMPILE", "1")
    table, labels = leaf(5, 3), Tensor([4, 0, 2], device=CPU)
    picked = (table * 2 + 1).sigmoid()[labels]
    program = program_of(picked, picked.sum(0))
    known = [picked.numpy(), picked.numpy().sum(0)]
    memories = [t.to_torch(copy=False) for t in (table, labels)]
    memories.sort(key=lambda m: m.ndim, reverse=True)
    for _ in range(4):
        for made, expected in zip(program(memories), known, strict=True):
            np.testing.assert_allclose(made.numpy(), expected, rtol=1e-6)
    assert program.run != program._interpret
    with pytest.raises(IndexError, match="gather: index 7 is out of range for axis 0 with size 5"):
        program([memories[0], torch.tensor([4, 7, 2])])


def test_what_numpy_computes_is_not_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADLET_TORCH_COMPILE", "1")
    x = leaf(4)
    program = program_of(x.cast("float8_e5m2").float())
    results = [program([x.to_torch()])[0].tolist() for _ in range(4)]
    assert results == [x.cast("float8_e5m2").float().tolist()] * 4
    assert program.run == program._interpret


def test_constants_take_no_memory() -> None:
    large = Tensor.ones(1 << 20, 1 << 20, device=CPU) * 2 + 1  # four tebibytes, if it were stored
    assert large[5, :3].tolist() == [3.0] * 3


def test_a_gradient_of_pytorch_is_no_business_of_ours() -> None:
    w = torch.ones(3, requires_grad=True)
    x = Tensor.from_torch(w, device=CPU, copy=False)
    assert not (x * 2).to_torch().requires_grad


# Integers


def test_what_numpy_computes_of_arrays_that_broadcast() -> None:
    same = Tensor.full((3,), 2**63, dtype="uint64", device=CPU)
    assert same.double().tolist() == [2.0**63] * 3
    assert (same // 3).tolist() == [2**63 // 3] * 3
    assert Tensor.full((2,), 1.5, device=CPU).cast("float8_e5m2").tolist() == [1.5, 1.5]


@pytest.mark.parametrize("dtype", [dtypes.uint16, dtypes.uint32, dtypes.uint64], ids=str)
def test_carried_integers_where_signs_matter(dtype: dtypes.DType) -> None:
    top = dtype.max
    x = build.param(0, dtype, (6,))
    array = np.array([0, 1, 7, top // 2, top // 2 + 1, top], dtype.numpy)
    one = build.full_like(x, 1)
    sinks = [
        build.reduce(ops.MAXIMUM, x, (0,)),
        build.reduce(ops.MINIMUM, build.add(x, one), (0,)),
        build.scan(ops.MAXIMUM, x, 0),
        build.binary(ops.SHR, x, one),
        build.cast(x, dtypes.float64),
        build.cast(x, dtypes.int64),
    ]
    expected = get_device("numpy").compile(sinks, [x])([array])  # type: ignore[attr-defined]
    device = get_device(CPU)
    made = device.compile(sinks, [x])([device.from_numpy(array)])  # type: ignore[attr-defined]
    for sink, memory, known in zip(sinks, made, expected, strict=True):
        found = device.to_numpy(memory, sink.dtype, sink.shape)
        np.testing.assert_array_equal(found, known)


@pytest.mark.parametrize("wrong", [5, -1])
def test_an_index_out_of_range_raises(wrong: int) -> None:
    x = Tensor.zeros(4, 5, 3, device=CPU)
    i, j = (build.param(n, dtypes.int64, (2,)) for n in range(2))
    arrays = [torch.tensor([0, 1]), torch.tensor([2, wrong])]
    picked = build.gather(build.const(0.0, dtypes.float32, x.shape), (i, j))
    with pytest.raises(IndexError, match=rf"gather: index {wrong} is out of range for axis 1"):
        get_device(CPU).compile([picked], [i, j])(arrays)  # type: ignore[attr-defined]


def test_devices_of_pytorch_are_known_by_what_they_print() -> None:
    place = torch.device("cpu")
    x = Tensor([1.0, 2.0], device="numpy")
    for moved in (x.to(place), x.to(device=place), Tensor(x, place), Tensor.zeros(2, device=place)):
        assert moved.device == "cpu"
    with pytest.raises(ValueError, match="unknown device 'torch:cuda:7'"):
        x.to(torch.device("cuda:7"))
