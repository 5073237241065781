"""The webgpu device against NumPy, PyTorch and the cpu device."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import ml_dtypes
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings

from gradlet import Tensor, explain, jit, nn
from gradlet.base import dtypes
from gradlet.engine import realize
from gradlet.engine.assemble import assemble
from gradlet.runtime.device import get_device
from gradlet.runtime.webgpu.device import WebGpuDevice
from tests.adapters import adapter, limited, run
from tests.engine.test_random_graphs import assert_same, results
from tests.graphs import graph, leaf
from tests.helpers import floats
from tests.strategies import Program, programs

INTEGERS = [d for d in dtypes.ALL if d.is_int]
EDGES = [0.0, -0.0, 1.5, -2.5, 1e-40, 3e38, np.inf, -np.inf, np.nan]


@pytest.fixture(autouse=True)
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[WebGpuDevice]:
    """The device, which new tensors get."""
    monkeypatch.setenv("GRADLET_DEVICE", "webgpu")
    yield adapter()


def same(got: Tensor, expected: np.ndarray, rtol: float = 1e-6) -> None:
    values = got.numpy()
    assert values.dtype == expected.dtype and values.shape == expected.shape
    np.testing.assert_allclose(values, expected, rtol=rtol, atol=rtol, equal_nan=True)


# Memory


@pytest.mark.parametrize("dtype", dtypes.ALL, ids=lambda d: d.name)
def test_arrays_come_back_bit_by_bit(dtype: dtypes.DType) -> None:
    bits = np.random.default_rng(0).integers(0, 256, (7, 3, dtype.itemsize), np.uint8)
    array = (bits[..., 0] > 99) if dtype is dtypes.bool_ else bits.view(dtype.numpy)[..., 0]
    stored = Tensor(array, dtype=dtype)
    assert stored.numpy().tobytes() == array.tobytes()
    assert stored.flip(0).numpy()[::-1].tobytes() == array.tobytes()


def test_arrays_without_elements() -> None:
    assert (Tensor(np.zeros((0, 3), np.float32)) + 1.0).numpy().shape == (0, 3)
    assert Tensor(np.zeros((0, 3), np.float32)).sum(0).tolist() == [0.0, 0.0, 0.0]


def test_what_is_too_large_is_refused(gpu: WebGpuDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "largest", 1 << 20)
    with pytest.raises(MemoryError, match="larger than"):
        Tensor.ones(1 << 19).contiguous().realize()


# Numbers


@pytest.mark.parametrize("dtype", INTEGERS, ids=lambda d: d.name)
def test_integers_wrap_and_divide_as_in_numpy(dtype: dtypes.DType) -> None:
    edges = [dtype.min, dtype.max, 0, 1, 2, 3, 7, 100, dtype.max - 1, dtype.max // 2]
    edges += [-1, -2, -7] if dtype.kind == "int" else []
    a, b = (x.ravel() for x in np.meshgrid(*[np.array(edges, dtype.numpy)] * 2))
    x, y = Tensor(a), Tensor(b)
    with np.errstate(all="ignore"):
        for got, expected in (
            (x + y, a + b), (x - y, a - b), (x * y, a * b), (-x, -a), (x & y, a & b),
            (x ^ y, a ^ b), (x.maximum(y), np.maximum(a, b)), (x < y, a < b), (x == y, a == b),
            (x // y, a // b), (x % y, a % b), (x << 3, a << 3), (x >> 3, a >> 3),
        ):  # fmt: skip
            assert np.array_equal(got.numpy(), expected)


def test_a_divisor_may_be_compared_with() -> None:
    a = np.arange(20)
    got = (Tensor(a) // 4 % 3).stack((Tensor(a) + 100) // 1 % 4, dim=1)
    same(got, np.stack([a // 4 % 3, (a + 100) % 4], 1))


@pytest.mark.parametrize("dtype", dtypes.ALL, ids=lambda d: d.name)
@pytest.mark.parametrize("wanted", dtypes.ALL, ids=lambda d: d.name)
def test_casts(dtype: dtypes.DType, wanted: dtypes.DType) -> None:
    if dtype.is_float:
        array = np.array([*EDGES, -7.9, 200.7, 1e10, -1e10, 1e19], np.float64)
    else:
        whole = [0, 1, 100, dtype.max, dtype.min, dtype.max // 2 + 1]
        array = np.array([int(x) for x in whole], np.int64 if dtype.min else np.uint64)
    with np.errstate(all="ignore"):
        array = array.astype(dtype.numpy)
    got = Tensor(array, dtype=dtype).cast(wanted).numpy()
    expected = Tensor(array, dtype=dtype, device="numpy").cast(wanted).numpy()
    assert np.array_equal(got, expected, equal_nan=wanted.is_float)


@given(programs())
@settings(max_examples=15, suppress_health_check=list(HealthCheck))
def test_random_programs_agree_with_the_oracle(program: Program) -> None:
    assert_same(program, results(program, adapter()), results(program, get_device("numpy")))


def test_compilers_do_not_assume_finite_numbers() -> None:
    x = Tensor(np.array(EDGES, np.float32))
    a = np.array(EDGES, np.float32)
    with np.errstate(all="ignore"):
        for got, expected in (
            (x - x, a - a), (x * 0.0, a * 0), (x / x, a / a), (x + 1e8 - 1e8, a + 1e8 - 1e8),
            (x.maximum(1.0), np.maximum(a, 1)), (x.minimum(1.0), np.minimum(a, 1)),
            (x.isnan(), np.isnan(a)), (x.relu(), np.maximum(a, 0)), (x < x, a < a),
            ((x < 1.0).where(x, 1.0), np.where(a < 1, a, 1)), (x.exp(), np.exp(a)),
            (x.log(), np.log(a)), (x.tanh(), np.tanh(a)), (x.sqrt(), np.sqrt(a)),
        ):  # fmt: skip
            same(got, expected)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_half_floats_are_rounded_to_even(dtype: type) -> None:
    bits = np.random.default_rng(0).integers(0, 1 << 32, 4000, np.uint32)
    array = bits.view(np.float32)
    near = np.arange(0x3F7F0000, 0x3F810000, 0x800, np.uint32).view(np.float32)
    with np.errstate(all="ignore"):
        small = array * np.float32(2.0**-10)
    for a in (array, near, small, np.array(EDGES, np.float32)):
        with np.errstate(all="ignore"):
            expected = a.astype(dtype)
        got = Tensor(a).cast(str(np.dtype(dtype))).numpy()
        known = ~np.isnan(a)
        assert np.array_equal(got[known], expected[known])
        assert np.isnan(got[~known].astype(np.float32)).all()


def test_remainders_of_floats_are_exact() -> None:
    generator = np.random.default_rng(0)
    a = np.exp(generator.uniform(-80, 80, 2000)) * generator.choice([-1, 1], 2000)
    b = np.exp(generator.uniform(-80, 80, 2000)) * generator.choice([-1, 1], 2000)
    for kind in (np.float32, np.float64):
        x, y = a.astype(kind), b.astype(kind)
        assert np.array_equal((Tensor(x) % Tensor(y)).numpy(), np.mod(x, y))


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("name", ["sin", "cos"])
def test_angles_may_be_large(name: str, kind: type) -> None:
    x = np.concatenate([np.logspace(-3, 37, 1000), -np.logspace(0, 30, 500)]).astype(kind)
    expected = getattr(torch, name)(torch.from_numpy(x.astype(np.float64))).numpy()
    tolerance = 3e-7 if kind is np.float32 else 1e-15
    same(getattr(Tensor(x), name)(), expected.astype(kind), tolerance)


def test_powers_do_without_float64() -> None:
    generator = np.random.default_rng(0)
    x = np.exp(generator.uniform(-87, 88, 5000)).astype(np.float32)
    y = (generator.uniform(-100, 100, 5000) / np.log2(x)).astype(np.float32)
    (got,) = run(limited(features=""), [leaf(5000) ** leaf(5000)], x, y)
    np.testing.assert_allclose(got, (x.astype(np.float64) ** y).astype(np.float32), rtol=3e-7)


# Loops


@pytest.mark.parametrize(
    "shapes",
    [
        ((64, 64), (64, 64)), ((130, 70), (70, 67)), ((16, 17), (17, 16)), ((3, 40, 50), (50, 33)),
        ((2, 3, 20, 16), (2, 3, 16, 37)), ((1, 300), (300, 70)), ((97, 5), (5, 97)),
    ],
)  # fmt: skip
def test_products_in_tiles(shapes: tuple[tuple[int, ...], ...]) -> None:
    a, b = (floats(*shape, seed=n) for n, shape in enumerate(shapes))
    same((Tensor(a) @ Tensor(b)).relu(), np.maximum(a @ b, 0), 1e-4)


def test_convolutions_are_products_in_tiles() -> None:
    x, w = floats(3, 5, 20, 21), floats(33, 5, 3, 3)
    ours = Tensor(x).conv2d(Tensor(w), padding=1, stride=2)
    theirs = torch.nn.functional.conv2d(torch.from_numpy(x), torch.from_numpy(w), None, 2, 1)
    same(ours, theirs.numpy(), 1e-4)


@pytest.mark.parametrize("size", [1, 257, 5000, 1 << 17, 100_003])
def test_long_reductions_and_scans(size: int) -> None:
    a = floats(size)
    same(Tensor(a).sum(), a.sum(dtype=np.float64).astype(np.float32), 1e-4)
    same(Tensor(a).max(), a.max())
    same(Tensor(a).argmax(), np.asarray(a.argmax()))
    same(Tensor(a).cumsum(0), a.cumsum(dtype=np.float64).astype(np.float32), 2e-4)


def test_scatter_adds_what_meets_in_one_place() -> None:
    table, at, rows = floats(7, 3), np.array([1, 1, 6, 0, 1]), floats(5, 3, seed=1)
    expected = np.zeros_like(table)
    np.add.at(expected, at, rows)
    x = Tensor(table)
    (x[Tensor(at)] * Tensor(rows)).sum().backward()
    assert x.grad is not None
    same(x.grad, expected)


def test_bad_indices_raise_and_are_forgotten() -> None:
    table = Tensor(floats(7, 3))
    for bad in (7, -8, 1 << 32, -(1 << 40)):
        with pytest.raises(IndexError, match=r"gather on axis 0 of shape \(7, 3\)"):
            table[Tensor(np.array([1, bad]))].numpy()
        same(table[Tensor(np.array([1, 2]))], table.numpy()[1:3])


# Programs


def test_kernels_touch_no_more_arrays_than_there_are_bindings() -> None:
    arrays = [floats(5, 4, seed=n) for n in range(20)]
    tensors = [Tensor(a) for a in arrays]
    total, *others = tensors
    for t in others:
        total = total + t * 2.0
    same(total, arrays[0] + 2 * np.sum(arrays[1:], 0), 1e-5)
    same(Tensor.cat(*tensors, dim=1), np.concatenate(arrays, 1))
    same(Tensor.stack(*tensors).softmax(0).sum(0), np.ones((5, 4), np.float32))


def test_arrays_in_pieces() -> None:
    small = limited(binding_bytes=1024)
    a, b = floats(300), floats(10, 30)
    (got,) = run(small, [leaf(300) + leaf(10, 30).reshape(300)], a, b)
    np.testing.assert_array_equal(got, a + b.ravel())
    (got,) = run(small, [leaf(20, 20) @ leaf(20, 20)], floats(20, 20), floats(20, 20, seed=1))
    np.testing.assert_allclose(got, floats(20, 20) @ floats(20, 20, seed=1), atol=1e-4)


def test_adapters_without_float64_say_so() -> None:
    with pytest.raises(TypeError, match=r"has no float64.*Use float32"):
        run(limited(features=""), [leaf(5, dtype=np.float64) + 1], np.zeros(5))


@pytest.mark.parametrize("kind", [np.int64, np.uint64])
def test_pairs_of_words_are_64_bit_integers(kind: type) -> None:
    """On adapters that have none of their own."""
    info = np.iinfo(kind)
    edges = [info.min, info.max, 0, 1, 2, 3, 7, 1 << 31, 1 << 32, (1 << 40) + 5, info.max // 3]
    edges += [-1, -2, -(1 << 33)] if info.min else [1 << 63]
    generator = np.random.default_rng(0)
    a = np.concatenate([np.array(edges, kind), generator.integers(info.min, info.max, 9, kind)])
    a, b = (x.ravel() for x in np.meshgrid(a, a))
    x, y = leaf(len(a), dtype=kind), leaf(len(a), dtype=kind)
    count = y & 127
    tensors = [
        x + y, x - y, x * y, -x, x & y, x | y, x ^ y, x.maximum(y), x.minimum(y), x < y, x <= y,
        x == y, x // y, x % y, x << count, x >> count, x.cast("float32"), x.cast("int32"),
        x.cast("uint8"), x.cast("bool"), x.cast("float16"), (x < y).where(x, y), (x < y).cast(kind),
        x.cast("int64").cast("uint64"), x.cast("float32").cast(kind), x.cast("int16").cast(kind),
        x.cast("uint32").cast(kind), x.sum(), x.max(), x.abs(),
    ]  # fmt: skip
    plain, full = limited(features=""), adapter()
    for tensor in tensors:
        (got,), (expected,) = run(plain, [tensor], a, b), run(full, [tensor], a, b)
        assert np.array_equal(got, expected, equal_nan=True), tensor.node


def test_gradients_on_adapters_without_64_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    def weights() -> list[np.ndarray]:
        realize.clear_programs()
        Tensor.manual_seed(0)
        net = Net()
        with Tensor.train():
            net(Tensor(floats(16, 1, 14, 14))).cross_entropy(Tensor(np.arange(16) % 10)).backward()
        return [p.grad.numpy() for p in nn.state.get_parameters(net) if p.grad is not None]

    full = weights()
    monkeypatch.setattr(adapter(), "target", limited(features="").target)
    plain = weights()
    realize.clear_programs()
    assert len(full) == len(plain) == 6
    for ours, theirs in zip(plain, full, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


def test_libraries_work_between_shaders(gpu: WebGpuDevice) -> None:
    x = floats(40)
    before = gpu.submits
    same((Tensor(x) * 2.0).sort()[0] + 1.0, np.sort(x * 2) + 1)
    assert gpu.submits == before + 2


def test_explain_shows_shaders(capsys: pytest.CaptureFixture[str]) -> None:
    explain(Tensor(floats(3, 4)).softmax(1))
    text = capsys.readouterr().out
    assert "5. WGSL" in text and "@compute" in text and "for i0 in parallel 3:" in text
    assert "LLVM" not in text and "7. Time" in text


def test_equal_shaders_are_made_once(gpu: WebGpuDevice) -> None:
    made = leaf(11, 13) * 3.0 + 1.5
    assemble(gpu, *graph(made))
    before = len(gpu.pipelines)
    assemble(gpu, *graph(made))
    assert len(gpu.pipelines) == before


class Net:
    def __init__(self) -> None:
        self.first = nn.Conv2d(1, 6, 3)
        self.second = nn.Conv2d(6, 8, 3)
        self.last = nn.Linear(8 * 2 * 2, 10)

    def __call__(self, x: Tensor) -> Tensor:
        x = self.first(x).relu().max_pool2d(2)
        x = self.second(x).relu().max_pool2d(2)
        return self.last(x.flatten(1).dropout(0.3))


def losses(device: str, monkeypatch: pytest.MonkeyPatch, wrap: Callable) -> list[float]:
    """Of some training steps of a convolutional network."""
    monkeypatch.setenv("GRADLET_DEVICE", device)
    Tensor.manual_seed(0)
    net = Net()
    opt = nn.optim.Adam([net], lr=0.01)

    @wrap
    def step(x: Tensor, y: Tensor) -> Tensor:
        loss = net(x).cross_entropy(y)
        opt.zero_grad()
        loss.backward()
        opt.step()
        return loss

    x, y = Tensor(floats(16, 1, 14, 14)), Tensor(np.arange(16) % 10)
    with Tensor.train():
        return [step(x, y).item() for _ in range(4)]


def test_a_captured_training_step_is_one_submit(
    gpu: WebGpuDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: list[int] = []

    def counting(function: Callable) -> Callable:
        captured = jit(function)

        def counted(*args: Tensor) -> Tensor:
            before = gpu.submits
            result = captured(*args)
            counts.append(gpu.submits - before)
            return result

        return counted

    ours = losses("webgpu", monkeypatch, counting)
    assert counts[1:] == [1, 1, 1]
    theirs = losses("cpu", monkeypatch, jit)
    np.testing.assert_allclose(ours, theirs, rtol=2e-3)
    assert ours[-1] < ours[0]
