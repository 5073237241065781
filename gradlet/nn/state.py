"""The tensors of a model by name: collected, loaded into place, saved to files and read back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from gradlet.base import dtypes
from gradlet.base.dtypes import DType
from gradlet.nn.files import replacing
from gradlet.tensor.tensor import Tensor

_NO_MODELS = (type, FunctionType, BuiltinFunctionType, MethodType, ModuleType)


# Collecting


def get_state_dict(model: Any, prefix: str = "") -> dict[str, Tensor]:
    """Every tensor in `model` by its dotted name, as PyTorch names them.

    Args:
        model: an object with tensors in its attributes, or a list, tuple or dict of such objects,
            to any depth. A tensor that is reached in two ways has two names.
        prefix: what all names begin with.

    >>> from gradlet import nn
    >>> list(get_state_dict({"head": [nn.Linear(2, 1)]}))
    ['head.0.weight', 'head.0.bias']
    """
    return dict(_walk(model, prefix.rstrip("."), (), set()))


def get_parameters(model: Any) -> list[Tensor]:
    """The tensors in `model` that are trained, each once.

    These are all float tensors but those with `requires_grad=False`, such as the running statistics
    of batch normalisation.
    """
    trained = {
        id(tensor): tensor
        for tensor in get_state_dict(model).values()
        if tensor.dtype.is_float and tensor.requires_grad is not False
    }
    return list(trained.values())


def _walk(
    found: Any, name: str, path: tuple[int, ...], barren: set[int]
) -> Iterator[tuple[str, Tensor]]:
    """Names and tensors under `found`.

    Args:
        path: ids of the objects through which `found` was reached, where cycles end.
        barren: ids of objects that hold no tensor, to which what is found here is added.
    """
    if isinstance(found, Tensor):
        yield name, found
        return
    if id(found) in path or id(found) in barren:
        return
    empty = True
    for key, part in _parts(found):
        inner = f"{name}.{key}" if name else str(key)
        for named in _walk(part, inner, (*path, id(found)), barren):
            empty = False
            yield named
    if empty:
        barren.add(id(found))


def _parts(found: Any) -> Iterator[tuple[Any, Any]]:
    """What an object is made of, by the names that lead there."""
    if isinstance(found, _NO_MODELS):
        return
    if isinstance(found, Mapping):
        yield from found.items()
    elif isinstance(found, list | tuple):
        fields = getattr(found, "_fields", range(len(found)))  # a named tuple has names
        yield from zip(fields, found, strict=True)
    for kind in type(found).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        for slot in (slots,) if isinstance(slots, str) else slots:
            if not slot.startswith("__") and hasattr(found, slot):
                yield slot, getattr(found, slot)
    yield from getattr(found, "__dict__", {}).items()


# Loading into place


def load_state_dict(model: Any, state: Mapping[str, Any], strict: bool = True) -> None:
    """Gives the tensors of `model` the values in `state`. Nothing changes if anything is wrong.

    A value is converted to the dtype of its place, but floats do not go into an integer place.

    Args:
        state: tensors or arrays by the names that `get_state_dict` gives.
        strict: names that only one side has are errors; otherwise they are left alone.

    Raises:
        ValueError: lists every missing, unexpected and misshapen name.
    """
    places = get_state_dict(model)
    problems = _misfits(places, state)
    if strict:
        problems += [f"missing: {name}" for name in places if name not in state]
        problems += [f"unexpected: {name}" for name in state if name not in places]
    if problems:
        listed = "\n".join(f"  {problem}" for problem in problems)
        raise ValueError(
            f"load_state_dict: the state does not fit the model, which is left as it was:\n{listed}"
            "\nBuild the model with the sizes that were saved, or pass strict=False to leave "
            "missing and unexpected names alone."
        )
    loaded = [place for name, place in places.items() if name in state]
    for name, place in places.items():
        if name in state:
            place.assign(Tensor(_array(state[name]), device=place.device, dtype=place.dtype))
    if loaded:
        loaded[0].realize(*loaded[1:])


def _misfits(places: Mapping[str, Tensor], state: Mapping[str, Any]) -> list[str]:
    problems = []
    for name, place in places.items():
        if name not in state:
            continue
        value = state[name]
        wanted, shape = place.shape, tuple(np.shape(value))
        if shape != wanted:
            problems.append(f"wrong shape: {name} is {wanted} in the model, {shape} in the state")
        elif _dtype(value).is_float and not place.dtype.is_float:
            kinds = f"{place.dtype.name} in the model, {_dtype(value).name} in the state"
            problems.append(f"wrong dtype: {name} is {kinds}")
    return problems


def _dtype(value: Any) -> DType:
    return value.dtype if isinstance(value, Tensor) else dtypes.from_numpy(_array(value).dtype)


def _array(value: Any) -> np.ndarray:
    return value.numpy() if isinstance(value, Tensor) else np.asarray(value)


# Files


def safe_save(
    state: Mapping[str, Tensor], path: str | Path, metadata: dict[str, str] | None = None
) -> None:
    """Writes tensors to a safetensors file, which replaces `path` once it is whole.

    Raises:
        OSError: the file cannot be written; one that was there is still as it was.
    """
    target = Path(path)
    tensors = list(state.values())
    if tensors:
        tensors[0].realize(*tensors[1:])
    arrays = {name: np.ascontiguousarray(tensor.numpy()) for name, tensor in state.items()}
    for name, tensor in state.items():
        arrays[name] = arrays[name].reshape(tensor.shape)  # which a scalar has lost above
    content = safetensors.numpy.save(arrays, metadata)
    with replacing(target) as temporary:
        temporary.write_bytes(content)


def safe_load(path: str | Path, device: str | None = None) -> dict[str, Tensor]:
    """The tensors in a safetensors file by name.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, cut short or no safetensors file, or holds a dtype that
            gradlet does not have.
    """
    source = Path(path)
    try:
        entries = safetensors.deserialize(source.read_bytes())
    except FileNotFoundError:
        raise FileNotFoundError(
            f"safe_load: there is no file {source}. Check the path, or save one there with "
            "safe_save."
        ) from None
    except safetensors.SafetensorError as error:
        size = source.stat().st_size
        raise ValueError(
            f"safe_load: {source} ({size} bytes) is not a whole safetensors file ({error}). It was "
            "probably cut short or is of another format: copy, download or save it again."
        ) from error
    return {name: _tensor(name, entry, source, device) for name, entry in entries}


# The package's own reader for NumPy knows no bfloat16 and no 8-bit floats.
_STORED = {
    "BOOL": dtypes.bool_,
    "I8": dtypes.int8,
    "I16": dtypes.int16,
    "I32": dtypes.int32,
    "I64": dtypes.int64,
    "U8": dtypes.uint8,
    "U16": dtypes.uint16,
    "U32": dtypes.uint32,
    "U64": dtypes.uint64,
    "F16": dtypes.float16,
    "BF16": dtypes.bfloat16,
    "F8_E4M3": dtypes.float8_e4m3fn,
    "F8_E5M2": dtypes.float8_e5m2,
    "F32": dtypes.float32,
    "F64": dtypes.float64,
}


def _tensor(name: str, entry: dict[str, Any], source: Path, device: str | None) -> Tensor:
    dtype = _STORED.get(entry["dtype"])
    if dtype is None:
        raise ValueError(
            f"safe_load: {name} in {source} has dtype {entry['dtype']}, which gradlet does not "
            "have; save it as one of float32, float16 and bfloat16"
        )
    array = np.frombuffer(entry["data"], dtype.numpy).reshape(entry["shape"])
    return Tensor(array, device=device)
