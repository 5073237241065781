"""What `import tinygrad` shows."""

from __future__ import annotations

from gradlet import nn
from gradlet.compat.context import Context, getenv
from gradlet.compat.counters import GlobalCounters
from gradlet.compat.device import Device
from gradlet.compat.dtype import dtypes
from gradlet.compat.helpers import fetch
from gradlet.compat.jit import TinyJit
from gradlet.compat.variable import Variable
from gradlet.tensor.tensor import Tensor

__all__ = [
    "Context", "Device", "GlobalCounters", "Tensor", "TinyJit", "Variable", "dtypes", "fetch",
    "getenv", "nn",
]  # fmt: skip
