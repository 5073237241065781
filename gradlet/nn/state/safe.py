"""Safetensors files, whole or in shards: written in one piece, read where a tensor is used."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors

from gradlet.base import dtypes
from gradlet.nn.files import replacing
from gradlet.nn.state.mapped import MappedFile, Region, lazy_tensor
from gradlet.tensor.tensor import Tensor

INDEX = ".safetensors.index.json"

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
_KINDS = {dtype: kind for kind, dtype in _STORED.items()}


# Writing


def safe_save(
    state: Mapping[str, Tensor], path: str | Path, metadata: dict[str, str] | None = None
) -> None:
    """Writes tensors to a safetensors file, which replaces `path` once it is whole.

    Args:
        metadata: text by name, which `safe_load_with_metadata` gives back.

    Raises:
        OSError: the file cannot be written; one that was there is still as it was.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     safe_save({"x": Tensor([1, 2])}, f"{folder}/x.safetensors")
    ...     safe_load(f"{folder}/x.safetensors")["x"].tolist()
    [1, 2]
    """
    if "__metadata__" in state:
        raise ValueError("safe_save: no tensor can be named __metadata__ in a safetensors file")
    if not all(isinstance(part, str) for pair in (metadata or {}).items() for part in pair):
        raise TypeError("safe_save: metadata consists of text by name")
    tensors = list(state.values())
    if tensors:
        tensors[0].realize(*tensors[1:])
    # The widest elements first, so that each lies at a multiple of its size.
    ordered = sorted(state, key=lambda name: -state[name].dtype.itemsize)
    header: dict[str, Any] = {"__metadata__": metadata} if metadata else {}
    end = 0
    for name in ordered:
        tensor, start = state[name], end
        end += tensor.nbytes()
        kind = _KINDS[tensor.dtype]
        header[name] = {"dtype": kind, "shape": tensor.shape, "data_offsets": (start, end)}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with replacing(Path(path)) as temporary, temporary.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name in ordered:
            file.write(state[name].numpy().tobytes())


def safe_save_sharded(
    state: Mapping[str, Tensor], index: str | Path, max_shard_bytes: int = 5 * 10**9
) -> None:
    """Writes tensors to several safetensors files, and last of all the index that names them.

    Args:
        index: a path such as `model.safetensors.index.json`; the files beside it are named
            `model-00001-of-00003.safetensors` and so on.
        max_shard_bytes: a file is no larger, unless it holds a single tensor.

    Raises:
        FileExistsError: there is an index already. Several files cannot be replaced as one.
    """
    path = Path(index)
    if not path.name.endswith(INDEX):
        raise ValueError(f"safe_save_sharded: {path} must end in {INDEX}, such as model{INDEX}")
    if path.exists():
        raise FileExistsError(
            f"safe_save_sharded: {path} is there already, and several files cannot be replaced as "
            "one. Choose another folder, or delete the index first."
        )
    shards = _shards(state, max_shard_bytes)
    places = {}
    for number, shard in enumerate(shards, 1):
        name = f"{path.name.removesuffix(INDEX)}-{number:05}-of-{len(shards):05}.safetensors"
        safe_save(shard, path.with_name(name), {"format": "pt"})
        places.update(dict.fromkeys(shard, name))
    total = sum(tensor.nbytes() for tensor in state.values())
    content = json.dumps({"metadata": {"total_size": total}, "weight_map": places}, indent=2)
    with replacing(path) as temporary:
        temporary.write_text(content)


def _shards(state: Mapping[str, Tensor], limit: int) -> list[dict[str, Tensor]]:
    """The tensors in their order, in groups of at most `limit` bytes."""
    shards: list[dict[str, Tensor]] = [{}]
    size = 0
    for name, tensor in state.items():
        if shards[-1] and size + tensor.nbytes() > limit:
            shards.append({})
            size = 0
        shards[-1][name] = tensor
        size += tensor.nbytes()
    return shards


# Reading


def safe_load(path: str | Path, device: str | None = None) -> dict[str, Tensor]:
    """The tensors in a safetensors file, or in all that an index names, by name.

    A tensor's elements are read when it is first used, so that large files open at once.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, cut short or no safetensors file, or holds a dtype that
            gradlet does not have.
    """
    if str(path).endswith(INDEX):
        return _load_sharded(Path(path), device)
    return safe_load_with_metadata(path, device)[0]


def safe_load_with_metadata(
    path: str | Path, device: str | None = None
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a safetensors file as of `safe_load`, and its metadata."""
    source = Path(path)
    try:
        file = MappedFile(source)
        with safetensors.safe_open(source, framework="numpy") as checked:
            metadata = checked.metadata() or {}
    except FileNotFoundError:
        raise FileNotFoundError(
            f"safe_load: there is no file {source}. Check the path, or save one there with "
            "safe_save."
        ) from None
    except (safetensors.SafetensorError, ValueError) as error:
        size = source.stat().st_size
        raise ValueError(
            f"safe_load: {source} ({size} bytes) is not a whole safetensors file ({error}). It was "
            "probably cut short or is of another format: copy, download or save it again."
        ) from error
    header, data = _header(file)
    return {name: _tensor(name, entry, data, file, device) for name, entry in header}, metadata


def _header(file: MappedFile) -> tuple[list[tuple[str, dict[str, Any]]], int]:
    """What the library has checked: names with their entries, and where the data begins."""
    (length,) = struct.unpack("<Q", file.bytes[:8])
    pairs = json.loads(file.bytes[8 : 8 + length], object_pairs_hook=list)
    named = [(name, dict(entry)) for name, entry in pairs if name != "__metadata__"]
    if len(dict(named)) != len(named):
        raise ValueError(f"safe_load: {file.path} names a tensor twice; save it again")
    return named, 8 + length


def _tensor(
    name: str, entry: dict[str, Any], data: int, file: MappedFile, device: str | None
) -> Tensor:
    dtype = _STORED.get(entry["dtype"])
    if dtype is None:
        raise ValueError(
            f"safe_load: {name} in {file.path} has dtype {entry['dtype']}, which gradlet does not "
            "have; save it as one of float32, float16 and bfloat16"
        )
    start, end = entry["data_offsets"]
    count = (end - start) // dtype.itemsize
    shape = tuple(entry["shape"])
    region = Region(file, data + start, count, dtype, shape)
    return lazy_tensor(dtype, shape, region.read, device)


def _load_sharded(index: Path, device: str | None) -> dict[str, Tensor]:
    places = _weight_map(index)
    files: dict[str, dict[str, Tensor]] = {}
    for shard in dict.fromkeys(places.values()):
        if Path(shard).name != shard or shard == "..":
            raise ValueError(f"safe_load: {index} names {shard!r}, which is no file beside it")
        files[shard] = safe_load_with_metadata(index.with_name(shard), device)[0]
    absent = [f"{name} in {shard}" for name, shard in places.items() if name not in files[shard]]
    if absent:
        raise ValueError(
            f"safe_load: {index} promises tensors that are not there: {', '.join(absent[:5])}. "
            "The files do not belong together: copy or download all of them again."
        )
    return {name: files[shard][name] for name, shard in places.items()}


def _weight_map(index: Path) -> dict[str, str]:
    """For each tensor the name of the file that holds it."""
    try:
        found = json.loads(index.read_bytes())["weight_map"]
        valid = all(isinstance(part, str) for pair in found.items() for part in pair)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        valid = False
    if not valid:
        raise ValueError(
            f"safe_load: {index} is no index of safetensors files: it needs a weight_map from "
            "names of tensors to names of files. Copy or download it again."
        )
    return found
