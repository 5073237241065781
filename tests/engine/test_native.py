"""From kernels to code: equal kernels share it, and a stage's verifier sees its output."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gradlet import Tensor
from gradlet.engine import compile as compiler
from gradlet.engine import lowering, native, realize
from gradlet.ir.verify import VerifyError
from gradlet.runtime.cpu.device import CpuDevice
from gradlet.runtime.device import get_device
from tests.graphs import leaf, plan


def test_equal_kernels_share_their_code() -> None:
    device = get_device("cpu")
    assert isinstance(device, CpuDevice)
    kernels = [plan(leaf(7, 11) * 5.0 - leaf(11)).steps[0].kernel for _ in range(2)]
    first, second = native.compile_kernels(device, kernels)
    assert kernels[0] == kernels[1] and first is second
    assert native.compile_kernels(device, kernels[:1])[0] is first


def test_verifiers_stand_behind_the_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise VerifyError("refused")

    for stage in ("verify_graph", "verify_schedule", "verify_loops", "verify_linear"):
        realize.clear_programs()
        native._kernels.clear()
        with monkeypatch.context() as patched:
            home = next(x for x in (compiler, native, lowering) if hasattr(x, stage))
            patched.setattr(home, stage, refuse)
            with pytest.raises(VerifyError, match="refused"):
                (Tensor([1.0, 2.0], device="cpu") * 7.5).numpy()
            patched.setenv("GRADLET_VERIFY", "0")
            product = Tensor([1.0, 2.0], device="cpu") * 7.5
            np.testing.assert_array_equal(product.numpy(), [7.5, 15.0])


def test_sinks_that_are_params_repeated_or_empty() -> None:
    device = get_device("cpu")
    x = Tensor(np.arange(3, dtype=np.float32), device="cpu")
    empty, doubled = Tensor(np.zeros((0, 3), np.float32), device="cpu") + 1.0, x * 2.0
    realize.realize([x.node, doubled.node, doubled.node, empty.node], device)
    assert realize.value_of(empty.node, device).numpy().shape == (0, 3)
    np.testing.assert_array_equal(realize.value_of(doubled.node, device).numpy(), [0, 2, 4])
