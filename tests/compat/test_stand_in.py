"""What can be imported as tinygrad, and what says at import time that it cannot."""

from __future__ import annotations

import importlib
import math
import warnings
from collections import deque
from typing import Any

import numpy as np
import pytest

import gradlet
from gradlet import Tensor, jit, nn
from gradlet.compat.context import Context, ContextVar, getenv
from gradlet.compat.counters import GlobalCounters
from gradlet.compat.device import Device
from gradlet.compat.dtype import dtypes, least_upper_dtype, to_dtype
from gradlet.compat.jit import TinyJit
from gradlet.compat.stand_in import _MODULES
from gradlet.compat.variable import Variable


@pytest.fixture(autouse=True)
def installed() -> None:
    gradlet.install_as_tinygrad()


IMPORTS = """
from tinygrad import Tensor, nn, TinyJit, dtypes, Device, GlobalCounters, Context, getenv, Variable
from tinygrad import fetch
from tinygrad.tensor import Tensor
from tinygrad.device import Device
from tinygrad.dtype import DType, dtypes
from tinygrad.engine.jit import TinyJit
from tinygrad.helpers import GlobalCounters, Timing, colored, getenv, prod, tqdm, trange, DEBUG
from tinygrad.nn import Conv2d, Linear, BatchNorm2d, LayerNorm, Embedding, optim, state, datasets
from tinygrad.nn.datasets import cifar, mnist
from tinygrad.nn.optim import SGD, Adam, AdamW, LAMB, LARS, Muon, Optimizer, OptimizerGroup
from tinygrad.nn.state import get_parameters, get_state_dict, load_state_dict
from tinygrad.nn.state import safe_load, safe_save, torch_load
import tinygrad.nn as nn, tinygrad.nn.optim
"""


@pytest.mark.parametrize("line", IMPORTS.strip().splitlines())
def test_what_programs_import(line: str) -> None:
    exec(line, {})


@pytest.mark.parametrize("module", _MODULES)
def test_every_name_that_is_promised_is_there(module: str) -> None:
    names: dict[str, Any] = {}
    exec(f"from {module} import *", names)
    assert set(importlib.import_module(module).__all__) <= set(names)


MISSING = {
    "from tinygrad import UOp": r"no tinygrad\.UOp\. Instead: gradlet\.explain",
    "from tinygrad import function": "call the function as it is",
    "from tinygrad.uop.ops import UOp, Ops": r"no tinygrad\.uop\. Instead: gradlet\.explain",
    "import tinygrad.codegen": r"gradlet\.explain",
    "from tinygrad.runtime.ops_gpu import CLDevice": "devices are named",
    "from tinygrad.runtime import ops_gpu": "devices are named",
    "from tinygrad.viz.serve import main": r"gradlet\.profile",
    "from tinygrad.helpers import Profiling": "cProfile",
    "from tinygrad.helpers import nothing_like_it": "copy the helper into the script",
    "from tinygrad.device import Compiled": "devices are named",
    "from tinygrad.dtype import PtrDType": r"x\.cast",
    "from tinygrad.tensor import Function": r"gradlet\.custom_vjp",
    "from tinygrad.jit import TinyJit": "from tinygrad import TinyJit",
    "from tinygrad.lazy import LazyBuffer": r"gradlet\.explain",
    "from tinygrad.nn.state import safe_load_metadata": "safe_load_with_metadata",
    "from tinygrad.nn.state import gguf_load": "the package gguf",
    "from tinygrad.nn import nothing_like_it": "run it with tinygrad",
    "from tinygrad.nn.state import tar_extract": "tarfile",
    "import tinygrad.nothing_like_it": "run it with tinygrad",
}


@pytest.mark.parametrize("line", MISSING)
def test_what_is_missing_says_what_to_use_instead(line: str) -> None:
    with pytest.raises(ImportError, match=MISSING[line]):
        exec(line, {})


# Variables


def test_a_bound_variable_is_an_int() -> None:
    v = Variable("n", 1, 10)
    n = v.bind(3)
    x = Tensor(np.arange(12))
    assert x[:n].tolist() == [0, 1, 2] and x[n].item() == 3 and x[n : n + 2].tolist() == [3, 4]
    assert x.reshape(n, 4).shape == (3, 4) and x.shrink(((0, n),)).tolist() == [0, 1, 2]
    assert Tensor.zeros(n, 2).shape == (3, 2) and (x * n).sum().item() == 198
    assert n.unbind() == (v, 3) and type(n.unbind()[1]) is int and (n.name, n.val) == ("n", 3)
    assert (v.vmin, v.vmax, v.expr) == (1, 10, "n") and Variable("n", 1, 10) == v


def test_a_variable_without_a_value_is_refused() -> None:
    v = Variable("n", 1, 10)
    for use in (lambda: Tensor([1, 2])[:v], lambda: v + 1, lambda: Tensor.zeros(v), lambda: v < 3):
        with pytest.raises(TypeError):
            use()
    with pytest.raises(TypeError, match=r"n\.bind\(value\)"):
        range(v)  # type: ignore[call-overload]
    for value in (0, 11):
        with pytest.raises(ValueError, match=r"'n' is in \[1, 10\]"):
            v.bind(value)


# TinyJit


def test_a_recorded_function_with_variables_is_right_and_quiet() -> None:
    x, calls = Tensor(np.arange(20.0)), []
    head = TinyJit(lambda x, n: (calls.append(int(n)), x[:n].sum().realize())[1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = [head(x, Variable("n", 1, 20).bind(n)).item() for n in range(1, 20)]
    assert found == [n * (n - 1) / 2 for n in range(1, 20)] and calls == list(range(1, 20))


def test_tiny_jit_records_resets_and_can_be_switched_off() -> None:
    calls: deque[int] = deque()  # where jit does not look

    def double(x: Tensor) -> Tensor:
        calls.append(1)
        return x * 2

    recorded: Any = TinyJit(prune=True)(double)
    kept = [recorded(Tensor([float(n)])) for n in range(5)]
    assert [k.item() for k in kept] == [0.0, 2.0, 4.0, 6.0, 8.0]
    assert len(calls) < 5 and recorded.cnt == 5 and recorded.__name__ == "double"
    recorded.reset()
    before = len(calls)
    assert recorded(Tensor([7.0])).item() == 14.0 and len(calls) > before
    with Context(JIT=0):
        before = len(calls)
        assert [recorded(Tensor([1.0])).item() for _ in range(3)] == [2.0] * 3
    assert len(calls) == before + 3


def test_tiny_jit_of_methods_is_per_object_and_no_part_of_its_state() -> None:
    class Model:
        def __init__(self, scale: float) -> None:
            self.w = Tensor([scale])
            self.jitted = TinyJit(self.run)

        def run(self, x: Tensor) -> Tensor:
            return x * self.w

        @TinyJit
        def method(self, x: Tensor) -> Tensor:
            return x * self.w + 1

    first, second = Model(2.0), Model(3.0)
    for n in range(4):
        x = Tensor([float(n)])
        assert (first.method(x).item(), second.method(x).item()) == (2 * n + 1, 3 * n + 1)
        assert (first.jitted(x).item(), second.jitted(x).item()) == (2 * n, 3 * n)
    assert list(nn.state.get_state_dict(first)) == ["w"]


def test_no_gradient_leaves_a_tiny_jit_by_its_arguments() -> None:
    w, x = Tensor([2.0], requires_grad=True), Tensor([3.0])
    loss = TinyJit(lambda x: (x * w).sum().backward().realize())
    for _ in range(3):
        assert loss(x * 2).item() == 12.0
    assert x.grad is None and w.grad is not None


def test_tiny_jit_notices_another_default_device() -> None:
    made = TinyJit(lambda: Tensor([1.0, 2.0]) * 2)
    try:
        for name in ("cpu", "numpy", "cpu"):
            Device.DEFAULT = name
            assert [made().device for _ in range(3)] == [name] * 3
    finally:
        Device.DEFAULT = None


# Switches


def test_switches_are_those_of_gradlet() -> None:
    with Context(TRAINING=1, DEFAULT_FLOAT="float64", DEV="numpy", BEAM=2):
        assert Tensor.training and Tensor([1.0]).dtype is dtypes.float64
        assert Tensor([1.0]).device == "numpy" and int(ContextVar.known["BEAM"]) == 2
        with Context(TRAINING=0):
            assert not Tensor.training
        assert Tensor.training
    assert not Tensor.training and Tensor([1.0]).dtype is dtypes.float32
    with pytest.raises(RuntimeError, match="stop"), Context(TRAINING=1):
        raise RuntimeError("stop")
    assert not Tensor.training
    with pytest.raises(ValueError, match="no switch NONSENSE"):
        Context(NONSENSE=1)


def test_getenv_has_the_type_of_its_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBER", "3")
    assert getenv("NUMBER") == 3 and getenv("NUMBER", 0.5) == 3.0 and getenv("NUMBER", "") == "3"
    assert getenv("NO_SUCH_NAME") == 0 and getenv("NO_SUCH_NAME", "x") == "x"
    switch = ContextVar("NUMBER", 1)
    try:
        assert switch == 3 and switch >= 2 and switch < 4 and bool(switch)
    finally:
        del ContextVar.known["NUMBER"]


def test_the_default_device_can_be_set() -> None:
    home = Tensor([1.0]).device
    assert home == Device.DEFAULT and Device[Device.DEFAULT].device == home
    Device[Device.DEFAULT].synchronize()
    try:
        Device.DEFAULT = "NUMPY"
        assert Tensor([1.0]).device == "numpy" == Device.DEFAULT
        assert Device.DEFAULT in ("CUDA", "NUMPY") and Device.DEFAULT in {"NUMPY"}
        assert Device.DEFAULT != "CPU" and f"{Device.DEFAULT}" == "NUMPY"
        with pytest.raises(ValueError, match="unknown device"):
            Device.DEFAULT = "NV"
    finally:
        Device.DEFAULT = None
    assert Tensor([1.0]).device == home


def test_counters_count() -> None:
    a, b = (Tensor.rand(32, 32, device="cpu").realize() for _ in range(2))
    GlobalCounters.reset()
    assert (GlobalCounters.kernel_count, GlobalCounters.global_ops) == (0, 0)
    for _ in range(3):
        (a @ b).realize()
    with gradlet.profile() as seen:
        (a @ b).realize()
    assert GlobalCounters.kernel_count == 4 and seen.kernels[0].calls == 1
    assert GlobalCounters.global_ops == 4 * seen.kernels[0].operations
    assert GlobalCounters.global_mem == 4 * 3 * 4 * 32 * 32
    assert GlobalCounters.time_sum_s > 0 and GlobalCounters.mem_used >= a.nbytes() + b.nbytes()
    step = jit(lambda a: a + 1)
    before = GlobalCounters.kernel_count
    for _ in range(3):
        step(a)
    assert GlobalCounters.kernel_count == before + 3


def test_dtypes() -> None:
    assert (dtypes.float, dtypes.half, dtypes.int) == (dtypes.float32, dtypes.float16, dtypes.int32)
    assert (dtypes.uchar, dtypes.ulong, dtypes.bool) == (dtypes.uint8, dtypes.uint64, dtypes.bool)
    assert dtypes.is_float(dtypes.half) and not dtypes.is_int(dtypes.bool)
    assert dtypes.finfo(dtypes.float32) == (8, 23) and dtypes.finfo(dtypes.bfloat16) == (8, 7)
    assert dtypes.max(dtypes.int8) == 127 and dtypes.min(dtypes.float32) == -math.inf
    assert dtypes.from_py([1, 2.0]) is dtypes.float32 and to_dtype("half") is dtypes.float16
    assert least_upper_dtype(dtypes.int8, dtypes.half, dtypes.int64) is dtypes.float16
    dtypes.default_float = dtypes.float64
    try:
        assert Tensor([1.0]).dtype is dtypes.default_float is dtypes.float64
    finally:
        dtypes.default_float = dtypes.float32
    with pytest.raises(AttributeError, match="int64"):
        dtypes.default_int = dtypes.int32
    with pytest.raises(AttributeError, match=r"gradlet has no dtypes\.imageh"):
        _ = dtypes.imageh
