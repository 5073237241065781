"""The graphics processor that tests run on, or a skip where there is none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from gradlet import Tensor
from gradlet.engine.assemble import assemble
from gradlet.runtime.device import get_device
from gradlet.runtime.webgpu.device import WebGpuDevice
from tests.graphs import graph


def adapter() -> WebGpuDevice:
    """The webgpu device."""
    try:
        found = get_device("webgpu")
    except (RuntimeError, ValueError) as error:  # no adapter, or no package `wgpu`
        pytest.skip(str(error))
    assert isinstance(found, WebGpuDevice)
    return found


def limited(**limits: Any) -> WebGpuDevice:
    """The webgpu device as if its target were less."""
    adapter()
    made = WebGpuDevice()
    made.target = replace(made.target, **limits)
    return made


def run(device: WebGpuDevice, tensors: Sequence[Tensor], *arrays: np.ndarray) -> list[np.ndarray]:
    """What tensors over stored arrays give on a device, for these arrays in order of first use."""
    sinks, params = graph(*tensors)
    program = assemble(device, sinks, params)
    memories = program([device.from_numpy(a) for a in arrays[: len(params)]])
    return [device.to_numpy(m, s.dtype, s.shape) for m, s in zip(memories, sinks, strict=True)]
