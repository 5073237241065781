"""Compiling, loading and calling small programs."""

from __future__ import annotations

import ctypes
import gc
import math
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gradlet.runtime.cpu import compiler
from gradlet.runtime.cpu.cache import ObjectCache
from gradlet.runtime.cpu.compiler import (
    CompileError,
    LoadedObject,
    assembly,
    cached_object,
    compile_object,
    load_object,
)
from gradlet.runtime.cpu.target import host_target
from tests.runtime.cpu.programs import KERNEL_TYPE, KERNELS


def test_a_kernel_computes(kernels: LoadedObject) -> None:
    a = np.arange(10)
    out = np.zeros(10, np.int64)
    arguments = np.array([out.ctypes.data, a.ctypes.data, a.ctypes.data])
    KERNEL_TYPE(kernels.address["add"])(arguments.ctypes.data, 2, 9)
    assert out.tolist() == [0, 0, 5, 7, 9, 11, 13, 15, 17, 0]


def test_library_functions_are_found(kernels: LoadedObject) -> None:
    error_function = ctypes.CFUNCTYPE(ctypes.c_float, ctypes.c_float)
    power = ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_double, ctypes.c_double)
    assert error_function(kernels.address["error_function"])(0.5) == pytest.approx(math.erf(0.5))
    assert power(kernels.address["power"])(3.0, 0.5) == pytest.approx(math.sqrt(3.0))


def test_every_library_symbol_links() -> None:
    declarations = "\n".join(f"declare void @{name}()" for name in compiler.LIBRARY_SYMBOLS)
    calls = "\n".join(f"  call void @{name}()" for name in compiler.LIBRARY_SYMBOLS)
    program = f"{declarations}\ndefine void @never_called() {{\n{calls}\n  ret void\n}}"
    loaded = load_object(compile_object(program, host_target()), ["never_called"])
    assert loaded.address["never_called"]


def test_symbols_missing_from_the_process_are_supplied(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in_type = ctypes.CFUNCTYPE(ctypes.c_int64)
    stand_in = stand_in_type(lambda: 42)
    address = ctypes.cast(stand_in, ctypes.c_void_p).value
    monkeypatch.setattr(compiler, "LIBRARY_SYMBOLS", ("no_such_function", "not_called"))
    monkeypatch.setattr(compiler, "_supplied", {"no_such_function": address}.__getitem__)
    program = """
        declare i64 @no_such_function()
        define i64 @ask() {
          %answer = call i64 @no_such_function()
          ret i64 %answer
        }
    """
    loaded = load_object(compile_object(program, host_target()), ["ask"])
    assert stand_in_type(loaded.address["ask"])() == 42


def test_code_lives_as_long_as_its_object() -> None:
    data = compile_object("define i64 @seven() { ret i64 7 }", host_target())
    seven_type = ctypes.CFUNCTYPE(ctypes.c_int64)
    kept = load_object(data, ["seven"])
    for _ in range(50):
        load_object(data, ["seven"])
    gc.collect()
    assert seven_type(kept.address["seven"])() == 7


@pytest.mark.parametrize("program", ["this is no program", "define i64 @f() { ret i64 %x }"])
def test_a_bad_program_is_an_error(program: str) -> None:
    with pytest.raises(CompileError, match="LLVM refuses this program"):
        compile_object(program, host_target())


def test_an_unverifiable_program_is_an_error() -> None:
    program = "define void @f() {\n  br label %a\na:\n  %x = add i64 %x, 1\n  ret void\n}"
    with pytest.raises(CompileError):
        compile_object(program, host_target())


def test_damaged_object_code_raises() -> None:
    with pytest.raises(RuntimeError):
        load_object(b"not object code", ["f"])


def test_an_absent_symbol_raises() -> None:
    data = compile_object("define i64 @seven() { ret i64 7 }", host_target())
    with pytest.raises(RuntimeError):
        load_object(data, ["eight"])


@pytest.mark.skipif("sse2" not in host_target().features, reason="about x86 registers")
@pytest.mark.parametrize("cpu", ["skylake-avx512", "icelake-server", "znver4"])
def test_wide_vectors_use_wide_registers(cpu: str) -> None:
    text = assembly(KERNELS, replace(host_target(), cpu=cpu, features=""))
    body = text.split("double_sixteen:")[1]
    assert "zmm" in body
    assert "ymm" not in body


def test_threads_compile_at_the_same_time() -> None:
    programs = [KERNELS.replace("%sum, 1", f"%sum, {number}") for number in range(24)]
    target = host_target()
    expected = [compile_object(program, target) for program in programs]
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda program: compile_object(program, target), programs))
        loaded = list(threads.map(lambda data: load_object(data, ["add"]), found))
    assert found == expected
    a = np.ones(1, np.int64)
    out = np.zeros(1, np.int64)
    arguments = np.array([out.ctypes.data, a.ctypes.data, a.ctypes.data])
    for number, code in enumerate(loaded):
        KERNEL_TYPE(code.address["add"])(arguments.ctypes.data, 0, 1)
        assert out[0] == 2 + number


def test_slow_calls_go_around_llvmlites_lock() -> None:
    """While this thread holds the lock, another can still call what takes long."""
    lib = compiler._llvm().ffi.lib
    for name in ("LLVMPY_RunNewModulePassManager", "LLVMPY_TargetMachineEmitToMemory"):
        function = compiler._unlocked(name)
        assert type(function) is not type(getattr(lib, name))
        assert function.argtypes == getattr(lib, name).argtypes


def test_a_cached_program_is_not_compiled_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = ObjectCache(tmp_path)
    first = cached_object(KERNELS, host_target(), cache)

    def refuse(llvm_ir: str, target: object) -> bytes:
        raise AssertionError("compiled again")

    monkeypatch.setattr(compiler, "compile_object", refuse)
    assert cached_object(KERNELS, host_target(), cache) == first


@pytest.mark.skipif(sys.platform == "win32", reason="there, everything is supplied")
def test_nothing_is_missing_from_this_process() -> None:
    assert not any(compiler._supplied(symbol) for symbol in compiler.LIBRARY_SYMBOLS)
