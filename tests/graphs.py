"""Characteristic graphs over PARAM leaves, for tests of the compiler's stages."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gradlet import Tensor, nn
from gradlet.base import dtypes
from gradlet.base.dtypes import DType
from gradlet.base.target import Target
from gradlet.engine.program import capture
from gradlet.engine.realize import holders
from gradlet.ir.node import Node
from gradlet.runtime.device import get_device
from gradlet.schedule.plan import Schedule
from gradlet.schedule.schedule import schedule

# A processor with AVX-512, as plain data: what is compiled for it does not depend on this machine.
TARGET = Target("cpu", "znver4", "+avx512f", 64, 32, 32768, 1048576, 2)
