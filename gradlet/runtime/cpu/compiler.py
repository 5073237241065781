"""From LLVM's text to object code, and from object code to addresses that can be called.

LLVM lives in this process through `llvmlite`. Compiling and loading are apart so that object code
can wait on disk between them.
"""

from __future__ import annotations

import ctypes
import functools
import itertools
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gradlet.base.target import Target
from gradlet.runtime import observe
from gradlet.runtime.cpu.cache import ObjectCache, cache_key

# What kernels may call. The first line is what LLVM itself calls for copies and fills.
LIBRARY_SYMBOLS = (
    *("memcpy", "memmove", "memset"),
    *("sin", "cos", "tan", "tanh", "erf", "exp", "exp2", "log", "log2", "pow", "fmod", "fma"),
    *("sinf", "cosf", "tanf", "tanhf", "erff", "expf", "exp2f", "logf", "log2f", "powf", "fmodf"),
    *("fmaf", "floor", "floorf", "ceil", "ceilf", "trunc", "truncf", "rint", "rintf"),
    *("nearbyint", "nearbyintf", "round", "roundf", "roundeven", "roundevenf"),
)

ON_WINDOWS = os.name == "nt"

_library_numbers = itertools.count()
_setup_lock = threading.Lock()


class CompileError(RuntimeError):
    """LLVM did not accept a program, which is a mistake in whatever wrote that program."""


def compile_object(llvm_ir: str, target: Target) -> bytes:
    """Compile a program to object code. Threads may do so at the same time."""
    return _compile(llvm_ir, target, as_object=True)


def assembly(llvm_ir: str, target: Target) -> str:
    """The machine instructions that a program becomes, for people to read."""
    return _compile(llvm_ir, target, as_object=False).decode()


def cached_object(llvm_ir: str, target: Target, cache: ObjectCache | None) -> bytes:
    """Object code of a program, from `cache` if it is there."""
    key = cache_key(llvm_ir, target)
    data = None if cache is None else cache.get(key)
    if data is not None:
        observe.count("kernels from disk")
        return data
    observe.count("kernels compiled")
    with observe.span("LLVM"):
        data = compile_object(llvm_ir, target)
    if cache is not None:
        cache.put(key, data)
    return data


class LoadedObject:
    """Code in memory. It stays there for as long as this object lives."""

    def __init__(self, library: Any, symbols: Sequence[str]) -> None:
        self._library = library
        self.address: dict[str, int] = {symbol: library[symbol] for symbol in symbols}


def load_object(data: bytes, symbols: Sequence[str]) -> LoadedObject:
    """Put object code into memory and find the addresses of `symbols` in it."""
    llvm = _llvm()
    builder = llvm.JITLibraryBuilder().add_object_img(data).add_current_process()
    for symbol in symbols:
        builder.export_symbol(symbol)
    for symbol in LIBRARY_SYMBOLS:
        # Asking the process for all of them takes longer than loading what is wanted.
        address = _supplied(symbol) if symbol.encode() in data else None
        if address is not None:
            builder.import_symbol(symbol, address)
    # A name cannot be used again, even after its library is gone.
    library = builder.link(_linker(), f"kernel{next(_library_numbers)}")
    return LoadedObject(library, symbols)


def _compile(llvm_ir: str, target: Target, as_object: bool) -> bytes:
    """Parse, check, optimise and emit, all in a context of this call's own."""
    # Every module is closed before its context: LLVM does not survive the other order.
    with _llvm().create_context() as context, _parse(llvm_ir, context) as module:
        try:
            module.verify()
        except RuntimeError as error:
            raise _refused(error) from None
        tools = _tools(target)
        _unlocked("LLVMPY_RunNewModulePassManager")(tools.passes, module, tools.builder)
        return _emit(module, tools.machine, as_object)


def _parse(llvm_ir: str, context: Any) -> Any:
    try:
        return _llvm().parse_assembly(llvm_ir, context)
    except RuntimeError as error:
        raise _refused(error) from None


def _refused(error: RuntimeError) -> CompileError:
    return CompileError(f"LLVM refuses this program: {error}")


def _target_machine(target: Target) -> Any:
    llvm = _llvm()
    if target.triple:
        llvm.initialize_all_targets()
        llvm.initialize_all_asmprinters()
    triple = target.triple or llvm.get_process_triple()
    return llvm.Target.from_triple(triple).create_target_machine(
        cpu=target.cpu,
        features=target.features,
        opt=3,
        reloc="pic",
        # "small" reads constants relative to the instruction, so they can be memory operands.
        # Windows wants the ELF triple that llvmlite makes for "jitdefault".
        codemodel="jitdefault" if ON_WINDOWS else "small",
    )


@dataclass(frozen=True)
class _Tools:
    """What one thread compiles with for one target.

    The passes clean programs up: registers for stack slots, simpler arithmetic, no needless
    stores. Programs come here with their loops chosen, unrolled and vectorised, each value
    computed once and where it belongs. LLVM's usual passes for that would take most of the time
    of compiling and change next to nothing in the hot loops.
    """

    machine: Any
    builder: Any
    passes: Any


class _OfThread(threading.local):
    def __init__(self) -> None:
        self.tools: dict[Target, _Tools] = {}


_of_thread = _OfThread()


def _tools(target: Target) -> _Tools:
    """This thread's tools, made once: each call into LLVM waits for Python's lock afterwards."""
    made = _of_thread.tools
    if target not in made:
        llvm = _llvm()
        machine = _target_machine(target)
        with llvm.create_pipeline_tuning_options() as options:
            builder = llvm.create_pass_builder(machine, options)
        passes = llvm.create_new_module_pass_manager()
        passes.add_simplify_cfg_pass()
        passes.add_sroa_pass()
        passes.add_instruction_combine_pass()
        passes.add_dead_store_elimination_pass()
        made[target] = _Tools(machine, builder, passes)
    return made[target]


def _emit(module: Any, machine: Any, as_object: bool) -> bytes:
    """Object code, or assembly text as bytes."""
    ffi = _llvm().ffi
    with ffi.OutputString() as message:
        emit = _unlocked("LLVMPY_TargetMachineEmitToMemory")
        buffer = emit(machine, module, int(as_object), message)
        if not buffer:
            raise CompileError(f"LLVM cannot emit this program: {message}")
    try:
        start = ffi.lib.LLVMPY_GetBufferStart(buffer)
        return ctypes.string_at(start, ffi.lib.LLVMPY_GetBufferSize(buffer))
    finally:
        ffi.lib.LLVMPY_DisposeMemoryBuffer(buffer)


@functools.cache
def _llvm() -> Any:
    """`llvmlite.binding`, imported when first needed, ready to compile for this machine."""
    import llvmlite.binding as llvm

    with _setup_lock:
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
    return llvm


@functools.cache
def _unlocked(name: str) -> Any:
    """One of llvmlite's C functions without the lock that llvmlite holds around every call.

    LLVM needs no such lock between programs that share no context, and with it kernels would
    compile one after another however many threads ask.
    """
    lib = _llvm().ffi.lib
    locked = getattr(lib, name)
    unlocked: Any = getattr(ctypes.CDLL(lib._name), name)
    unlocked.argtypes = locked.argtypes
    unlocked.restype = locked.restype
    return unlocked


_the_linker: Any = None


def _linker() -> Any:
    """The one place in this process where object code is linked. It lives until the end."""
    global _the_linker
    llvm = _llvm()
    with _setup_lock:
        if _the_linker is None:
            _the_linker = llvm.create_lljit_compiler(use_jit_link=not ON_WINDOWS)
    return _the_linker


@functools.cache
def _supplied(symbol: str) -> int | None:
    """The address of a library function, unless LLVM finds it in the process by itself."""
    if ON_WINDOWS:
        libraries = [ctypes.CDLL("ucrtbase"), ctypes.CDLL("vcruntime140")]
    elif hasattr(ctypes.CDLL(None), symbol):
        return None
    else:
        # Looking for the library may start other programs, so only do it when it is needed.
        from ctypes.util import find_library

        libraries = [ctypes.CDLL(find_library("m"))]
    for library in libraries:
        if hasattr(library, symbol):
            return ctypes.cast(getattr(library, symbol), ctypes.c_void_p).value
    return None
