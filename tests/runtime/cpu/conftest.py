"""What the tests of this folder share: the small programs, compiled and loaded once."""

from __future__ import annotations

import pytest

from gradlet.runtime.cpu.compiler import LoadedObject, compile_object, load_object
from gradlet.runtime.cpu.target import host_target
from tests.runtime.cpu.programs import KERNELS, SYMBOLS


@pytest.fixture(scope="session")
def kernels() -> LoadedObject:
    return load_object(compile_object(KERNELS, host_target()), SYMBOLS)
