"""Random numbers from one counter-based generator, threefry (Salmon et al. 2011).

Element i of call c under seed s depends on (s, c, i) alone, so results do not depend on the order
in which lazy graphs run. Seed and call are data, not constants: a program that draws random
numbers is compiled once.
"""

from __future__ import annotations

import contextlib
import math
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Self

import numpy as np

from gradlet.base import dtypes
from gradlet.base.dtypes import DType
from gradlet.base.settings import device_name
from gradlet.engine import trace
from gradlet.ir import build, ops
from gradlet.ir.node import Node
from gradlet.runtime.buffer import from_numpy
from gradlet.runtime.device import get_device
from gradlet.tensor.core import Shape, check_extents, product, shape_argument
from gradlet.tensor.creation import Creation, float_dtype

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = 0x1BD11BDA
# Random bits that a float in [0, 1) takes: as many as its significand holds.
FLOAT_BITS = {
    dtypes.float64: 53, dtypes.float32: 24, dtypes.float16: 11, dtypes.bfloat16: 8,
    dtypes.float8_e4m3fn: 4, dtypes.float8_e5m2: 3,
}  # fmt: skip


class _Generator:
    """A seed and the number of calls so far."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.reset(int.from_bytes(os.urandom(8), "little"))

    def reset(self, seed: int, calls: int = 0) -> None:
        with self.lock:
            self.seed, self.calls = seed % 2**64, calls

    def next_block(self) -> np.ndarray:
        """(key 0, key 1, call) of the next call, as uint32."""
        with self.lock:
            seed, call = self.seed, self.calls % 2**32
            self.calls += 1
        return np.array([seed % 2**32, seed >> 32, call], np.uint32)


_generator = _Generator()
_local = threading.local()


class Random(Creation):
    """Random constructors. All take `dtype`, `device` and `requires_grad`."""

    __slots__ = ()

    @staticmethod
    def manual_seed(seed: int = 0) -> None:
        """Starts the random numbers of all devices anew.

        >>> from gradlet import Tensor
        >>> Tensor.manual_seed(1); a = Tensor.rand(3).tolist()
        >>> Tensor.manual_seed(1); a == Tensor.rand(3).tolist()
        True
        """
        trace.refuse("manual_seed() would act once, and not when the step runs again")
        _generator.reset(seed)

    @staticmethod
    def get_rng_state() -> tuple[int, int]:
        """Where the random numbers stand: the seed, and how many calls have drawn from it."""
        trace.refuse("get_rng_state() would be read once, and not when the step runs again")
        with _generator.lock:
            return _generator.seed, _generator.calls

    @staticmethod
    def set_rng_state(state: Sequence[int]) -> None:
        """Has the random numbers go on from where `get_rng_state` found them.

        >>> from gradlet import Tensor
        >>> before = Tensor.get_rng_state(); a = Tensor.rand(3).tolist()
        >>> Tensor.set_rng_state(before); a == Tensor.rand(3).tolist()
        True
        """
        trace.refuse("set_rng_state() would act once, and not when the step runs again")
        seed, calls = state
        if not (0 <= seed < 2**64 and calls >= 0):
            raise ValueError(f"set_rng_state: {state!r} is no state that get_rng_state() gives")
        _generator.reset(seed, calls)

    @classmethod
    def uniform(
        cls,
        *shape: Any,
        low: float = 0.0,
        high: float = 1.0,
        dtype: Any = None,
        device: str | None = None,
        requires_grad: bool | None = None,
    ) -> Self:
        """Evenly spread over [low, high)."""
        extents = check_extents(shape_argument(shape), "uniform")
        x = uniform_node(extents, _float_dtype(dtype, "uniform"), device)
        if (low, high) != (0.0, 1.0):
            spread = build.mul(x, build.full_like(x, high - low))
            x = build.add(spread, build.full_like(x, low))
        return cls._leaf(x, device, requires_grad)

    @classmethod
    def rand(cls, *shape: Any, **kwargs: Any) -> Self:
        """Evenly spread over [0, 1)."""
        return cls.uniform(*shape, **kwargs)

    @classmethod
    def normal(
        cls,
        *shape: Any,
        mean: float = 0.0,
        std: float = 1.0,
        dtype: Any = None,
        device: str | None = None,
        requires_grad: bool | None = None,
    ) -> Self:
        """Normally distributed; drawn in float32 and then converted."""
        extents = check_extents(shape_argument(shape), "normal")
        wanted = _float_dtype(dtype, "normal")
        x = _normal_node(extents, device)
        if (mean, std) != (0.0, 1.0):
            x = build.add(build.mul(x, build.full_like(x, std)), build.full_like(x, mean))
        return cls._leaf(build.cast(x, wanted), device, requires_grad)

    @classmethod
    def randn(cls, *shape: Any, **kwargs: Any) -> Self:
        """Normally distributed with mean 0 and standard deviation 1."""
        return cls.normal(*shape, **kwargs)

    @classmethod
    def randint(
        cls,
        *shape: Any,
        low: int = 0,
        high: int = 10,
        dtype: Any = dtypes.int64,
        device: str | None = None,
        requires_grad: bool | None = None,
    ) -> Self:
        """Integers in [low, high): `randint(2, 3, low=0, high=9)` or `randint(0, 9, (2, 3))`."""
        if len(shape) > 1 and isinstance(shape[-1], (tuple, list)):
            low, high = (0, shape[0]) if len(shape) == 2 else shape[:2]
            shape = tuple(shape[-1])
        extents = check_extents(shape_argument(shape), "randint")
        wanted = dtypes.as_dtype(dtype)
        if not low < high:
            raise ValueError(f"randint: no integer is in [{low}, {high})")
        if not wanted.is_int or low < wanted.min or high - 1 > wanted.max:
            raise ValueError(f"randint: [{low}, {high}) does not fit {wanted.name}")
        high_word, low_word = (build.cast(w, dtypes.uint64) for w in words(extents, device))
        shift = build.full_like(high_word, 32)
        long = build.binary(ops.OR, build.binary(ops.SHL, high_word, shift), low_word)
        offset = build.binary(ops.MOD, long, build.full_like(long, high - low))
        x = build.cast(offset, dtypes.int64)
        x = build.add(x, build.full_like(x, low))
        return cls._leaf(build.cast(x, wanted), device, requires_grad)

    @classmethod
    def randperm(cls, n: int, **kwargs: Any) -> Self:
        """0 to n - 1 in random order (int64). Computed at once."""
        draws: Any = cls.randint(n, low=0, high=2**62)
        make: Any = cls
        return make(np.argsort(draws.numpy(), kind="stable"), **kwargs)

    # How layers start out

    @classmethod
    def scaled_uniform(cls, *shape: Any, **kwargs: Any) -> Self:
        """Even over [-1, 1) / sqrt(number of elements)."""
        bound = max(product(shape_argument(shape)), 1) ** -0.5
        return cls.uniform(*shape, low=-bound, high=bound, **kwargs)

    @classmethod
    def glorot_uniform(cls, *shape: Any, **kwargs: Any) -> Self:
        """Even over ±sqrt(6 / (fan out + fan in)) (Glorot & Bengio 2010); shape (out, in...)."""
        extents = shape_argument(shape)
        bound = math.sqrt(6 / max(extents[0] + product(extents[1:]), 1))
        return cls.uniform(*shape, low=-bound, high=bound, **kwargs)

    @classmethod
    def kaiming_uniform(cls, *shape: Any, a: float = 0.01, **kwargs: Any) -> Self:
        """Even, for leaky_relu(a) to keep variance (He et al. 2015); shape (out, in...)."""
        bound = math.sqrt(3.0) * _kaiming_scale(shape_argument(shape), a)
        return cls.uniform(*shape, low=-bound, high=bound, **kwargs)

    @classmethod
    def kaiming_normal(cls, *shape: Any, a: float = 0.01, **kwargs: Any) -> Self:
        """Normal, for leaky_relu(a) to keep variance (He et al. 2015); shape (out, in...)."""
        return cls.normal(*shape, std=_kaiming_scale(shape_argument(shape), a), **kwargs)

    def rand_like(self, **kwargs: Any) -> Self:
        """`rand` with the shape, dtype and device of `self`."""
        return self.rand(self.shape, **self._like(kwargs))

    def randn_like(self, **kwargs: Any) -> Self:
        """`randn` with the shape, dtype and device of `self`."""
        return self.randn(self.shape, **self._like(kwargs))


def _kaiming_scale(shape: Shape, a: float) -> float:
    return math.sqrt(2.0 / (1 + a * a)) / math.sqrt(max(product(shape[1:]), 1))


def _float_dtype(dtype: Any, operation: str) -> DType:
    wanted = float_dtype(dtype)
    if not wanted.is_float:
        raise TypeError(f"{operation}: draws floats, not {wanted.name}; use randint for integers")
    if wanted.is_storage:
        raise TypeError(f"{operation}: draws no {wanted.name}; draw float32, and cast")
    return wanted


# The generator as graph


@contextlib.contextmanager
def changing_draws(change: Callable[[Node], Node]) -> Iterator[None]:
    """While it lasts, each call of this thread draws from what `change` makes of its block."""
    before = getattr(_local, "changes", ())
    _local.changes = (*before, change)
    try:
        yield
    finally:
        _local.changes = before


def next_block() -> np.ndarray:
    """What the next call draws from: (key 0, key 1, call) as uint32."""
    return _generator.next_block()


def threefry2x32(key: tuple[Node, Node], counter: tuple[Node, Node]) -> tuple[Node, Node]:
    """20 rounds of threefry on uint32 nodes of one shape: two words of random bits each."""
    parity = build.full_like(key[0], _PARITY)
    mixed = build.binary(ops.XOR, build.binary(ops.XOR, key[0], key[1]), parity)
    keys = (*key, mixed)
    x, y = build.add(counter[0], keys[0]), build.add(counter[1], keys[1])
    for block in range(5):
        for rotation in _ROTATIONS[block % 2]:
            x = build.add(x, y)
            y = build.binary(ops.XOR, _rotate_left(y, rotation), x)
        x = build.add(x, keys[(block + 1) % 3])
        injected = build.add(keys[(block + 2) % 3], build.full_like(y, block + 1))
        y = build.add(y, injected)
    return x, y


def _rotate_left(x: Node, bits: int) -> Node:
    high = build.binary(ops.SHL, x, build.full_like(x, bits))
    low = build.binary(ops.SHR, x, build.full_like(x, 32 - bits))
    return build.binary(ops.OR, high, low)


def words(shape: Shape, device: str | None) -> tuple[Node, Node]:
    """Two uint32 nodes of `shape`, filled with fresh random bits."""
    home = get_device(device or device_name())
    recorded = trace.current()
    only_rehearsed = recorded is not None and recorded.rehearsal
    fresh = np.zeros(3, np.uint32) if only_rehearsed else next_block()
    block = from_numpy(fresh, dtypes.uint32, home)
    if recorded is not None:
        recorded.drawn.append(block.arg)
    for change in getattr(_local, "changes", ()):
        block = change(block)
    size = product(shape)
    if size > 2**32:
        raise ValueError(f"random: shape {shape} has more than 2**32 elements")

    def entry(i: int) -> Node:
        one = build.reshape(build.slice_(block, ((i, i + 1, 1),)), (1,) * len(shape))
        return build.expand(one, shape)

    position = build.reshape(build.iota(size, dtypes.uint32), shape)
    return threefry2x32((entry(0), entry(1)), (position, entry(2)))


def _top_bits(word: Node, bits: int) -> Node:
    return build.binary(ops.SHR, word, build.full_like(word, 32 - bits))


def uniform_node(shape: Shape, dtype: DType, device: str | None) -> Node:
    """Fresh random floats in [0, 1), every one a multiple of 2 ** -bits of its significand."""
    first, second = words(shape, device)
    if dtype is not dtypes.float64:
        bits = FLOAT_BITS[dtype]
        whole = build.cast(_top_bits(first, bits), dtype)
        return build.mul(whole, build.full_like(whole, 2.0**-bits))
    high = build.cast(_top_bits(first, 27), dtype)
    low = build.cast(_top_bits(second, 26), dtype)
    whole = build.add(build.mul(high, build.full_like(high, 2.0**26)), low)
    return build.mul(whole, build.full_like(whole, 2.0**-53))


def _normal_node(shape: Shape, device: str | None) -> Node:
    """Fresh normal float32 numbers (Box & Muller 1958)."""
    first, second = (
        build.cast(_top_bits(word, 24), dtypes.float32) for word in words(shape, device)
    )
    one = build.full_like(first, 1)
    step = build.full_like(first, 2.0**-24)
    radius_uniform = build.mul(build.add(first, one), step)  # in (0, 1]: its log is finite
    minus_two = build.full_like(first, -2)
    radius = build.unary(ops.SQRT, build.mul(minus_two, build.unary(ops.LOG, radius_uniform)))
    angle = build.mul(second, build.full_like(second, 2.0**-24 * 2 * math.pi))
    return build.mul(radius, build.unary(ops.COS, angle))
