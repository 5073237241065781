"""Safetensors files, which PyTorch can read and write too: whole, in shards, damaged, cut off."""

from __future__ import annotations

import json
import resource
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gradlet import Tensor, nn
from gradlet.nn import files
from gradlet.nn.state import (
    get_state_dict,
    load,
    load_state_dict,
    safe_load,
    safe_load_with_metadata,
    safe_save,
    safe_save_sharded,
)
from gradlet.nn.state.safe import INDEX


def fresh(seed: int) -> Any:
    Tensor.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Linear(4, 3))


def arrays(model: Any) -> dict[str, np.ndarray]:
    return {name: tensor.numpy() for name, tensor in get_state_dict(model).items()}


def test_round_trip_through_a_file(tmp_path: Path) -> None:
    first, second = fresh(1), fresh(2)
    safe_save(get_state_dict(first), tmp_path / "model.safetensors")
    load_state_dict(second, safe_load(str(tmp_path / "model.safetensors")))
    for name, array in arrays(first).items():
        np.testing.assert_array_equal(array, arrays(second)[name])
    assert second[0].weight.requires_grad and second[1].running_mean.requires_grad is False
    assert [p.name for p in tmp_path.iterdir()] == ["model.safetensors"]


def test_files_go_to_pytorch_and_back(tmp_path: Path) -> None:
    model, path = fresh(1), tmp_path / "model.safetensors"
    reference = torch.nn.Sequential(
        torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2), torch.nn.Linear(4, 3)
    )
    safe_save(get_state_dict(model), path)
    safetensors.torch.load_model(reference, path)
    for name, array in arrays(model).items():
        np.testing.assert_array_equal(reference.state_dict()[name].numpy(), array)
    safetensors.torch.save_file({n: t + 1 for n, t in reference.state_dict().items()}, path)
    load_state_dict(model, safe_load(path))
    for name, value in reference.state_dict().items():
        np.testing.assert_array_equal(arrays(model)[name], value.numpy() + 1)


DTYPES = [
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
    "float16", "bfloat16", "float32", "float64",
]  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (0,), (2, 3)])
def test_every_dtype_and_shape(dtype: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    x = Tensor(np.arange(np.prod(shape, dtype=int)).reshape(shape) % 2, dtype=dtype)
    safe_save({"x": x}, tmp_path / "x", metadata={"format": "pt"})
    loaded = safe_load(tmp_path / "x")["x"]
    assert (loaded.shape, loaded.dtype) == (x.shape, x.dtype)
    np.testing.assert_array_equal(loaded.numpy(), x.numpy())


def test_bfloat16_reaches_pytorch(tmp_path: Path) -> None:
    safe_save({"x": Tensor([1.5, -2.0], dtype="bfloat16")}, tmp_path / "x")
    loaded = safetensors.torch.load_file(tmp_path / "x")["x"]
    assert loaded.dtype == torch.bfloat16 and loaded.tolist() == [1.5, -2.0]


def test_strided_values_and_no_values(tmp_path: Path) -> None:
    safe_save({"x": Tensor([[1, 2], [3, 4]]).T, "y": Tensor([1.0, 2.0]) * 2}, tmp_path / "x")
    loaded = safe_load(tmp_path / "x")
    assert (loaded["x"].tolist(), loaded["y"].tolist()) == ([[1, 3], [2, 4]], [2.0, 4.0])
    safe_save({}, tmp_path / "none")
    assert safe_load(tmp_path / "none") == {}


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no file .*absent\.safetensors.*safe_save"):
        safe_load(tmp_path / "absent.safetensors")


@pytest.mark.parametrize("kept", [0, 4, 40, -1])
def test_a_file_cut_short(kept: int, tmp_path: Path) -> None:
    path = tmp_path / "cut.safetensors"
    safe_save(get_state_dict(nn.Linear(2, 3)), path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ValueError, match=r"cut\.safetensors \(\d+ bytes\) is not a whole"):
        safe_load(path)


def test_a_file_of_another_kind(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"PK\x03\x04" + bytes(range(200)))
    with pytest.raises(ValueError, match="not a whole safetensors file"):
        safe_load(tmp_path / "x")


def test_a_dtype_that_gradlet_does_not_have(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(file_of({"scale": entry(0, 2, [2], "F8_E8M0")}, bytes(2)))
    with pytest.raises(ValueError, match=r"scale in .*x has dtype F8_E8M0"):
        safe_load(tmp_path / "x")


def test_a_save_that_is_cut_off_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x"
    safe_save({"x": Tensor([1.0])}, path)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(files.os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        safe_save({"x": Tensor([2.0])}, path)
    monkeypatch.undo()
    assert safe_load(path)["x"].tolist() == [1.0]
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


def test_what_no_file_can_hold(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no tensor can be named __metadata__"):
        safe_save({"__metadata__": Tensor([1.0])}, tmp_path / "x")
    with pytest.raises(TypeError, match="metadata consists of text"):
        safe_save({}, tmp_path / "x", {"step": 1})  # type: ignore[dict-item]
    assert list(tmp_path.iterdir()) == []


def test_metadata(tmp_path: Path) -> None:
    safe_save({"x": Tensor([1.0])}, tmp_path / "x", {"format": "pt", "note": "µ"})
    tensors, metadata = safe_load_with_metadata(tmp_path / "x")
    assert metadata == {"format": "pt", "note": "µ"} and tensors["x"].tolist() == [1.0]
    safetensors.torch.save_file({"x": torch.zeros(1)}, tmp_path / "y")
    assert safe_load_with_metadata(tmp_path / "y")[1] == {}


def test_a_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    safe_save({"x": Tensor([1.0])}, "x")
    loaded = safe_load("x")
    Path("x").write_bytes(Path("x").read_bytes())
    monkeypatch.chdir(tmp_path.parent)
    with pytest.raises(ValueError, match="was written into"):
        loaded["x"].numpy()


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        safe_save({"x": Tensor([1.0])}, tmp_path / "absent" / "x")


# Headers that lie


def file_of(header: Any, data: bytes, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(start: int, end: int, shape: list[int], dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


LIES = {
    "longer than the file": file_of({"a": entry(0, 800, [200])}, bytes(8)),
    "two overlap": file_of({"a": entry(0, 8, [2]), "b": entry(4, 12, [2])}, bytes(12)),
    "two in one place": file_of({"a": entry(0, 8, [2]), "b": entry(0, 8, [2])}, bytes(8)),
    "a hole": file_of({"a": entry(4, 12, [2])}, bytes(12)),
    "data behind the last": file_of({"a": entry(0, 8, [2])}, bytes(12)),
    "another shape": file_of({"a": entry(0, 8, [3])}, bytes(8)),
    "a negative extent": file_of({"a": entry(0, 8, [-2])}, bytes(8)),
    "an overflow": file_of({"a": entry(0, 8, [2**33, 2**33])}, bytes(8)),
    "ends before it begins": file_of({"a": entry(8, 0, [2])}, bytes(8)),
    "a huge header": file_of({}, b"", length=2**62),
    "no JSON": file_of(b"{]", b""),
    "a list": file_of([], b""),
    "deeply nested": file_of(b"[" * 100_000, b""),
}


@pytest.mark.parametrize("name", LIES)
def test_a_header_that_lies(name: str, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(LIES[name])
    with pytest.raises(ValueError, match=r"x \(\d+ bytes\) is not a whole safetensors file"):
        safe_load(tmp_path / "x")


def test_a_name_that_is_there_twice(tmp_path: Path) -> None:
    one = json.dumps(entry(0, 8, [2]))
    (tmp_path / "x").write_bytes(file_of(f'{{"a":{one},"a":{one}}}'.encode(), bytes(8)))
    with pytest.raises(ValueError, match="names a tensor twice"):
        safe_load(tmp_path / "x")


def test_bytes_that_are_no_bool(tmp_path: Path) -> None:
    """A processor takes 2 for true in one instruction and for false in another."""
    (tmp_path / "x").write_bytes(file_of({"a": entry(0, 3, [3], "BOOL")}, bytes([0, 1, 2])))
    assert (~safe_load(tmp_path / "x")["a"]).tolist() == [True, False, False]


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_changed_file_is_refused_or_read_to_its_end(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "x"
    content = bytearray(file_of({"a": entry(0, 8, [2]), "b": entry(8, 12, [], "I32")}, bytes(12)))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        loaded = safe_load(path)
    except ValueError:
        return
    for tensor in loaded.values():
        assert tensor.numpy().shape == tensor.shape


# Read when used


def test_only_what_is_used_is_read(tmp_path: Path) -> None:
    """Of a file of 256 MB one small tensor is used: a process grows by no more than a few MB."""
    path, size = tmp_path / "x", 2**28
    header = {"big": entry(0, size, [size], "U8"), "small": entry(size, size + 8, [2])}
    with path.open("wb") as file:
        file.write(file_of(header, b""))
        file.truncate(file.tell() + size)
        file.seek(0, 2)
        file.write(np.array([1.5, 2.5], np.float32).tobytes())
    program = """if True:
        import resource, sys
        from gradlet import Tensor
        from gradlet.nn.state import safe_load
        (Tensor([1.0]) + 1).numpy()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        state = safe_load(sys.argv[1])
        assert state["big"].shape == (2**28,)
        assert (state["small"] * 2).tolist() == [3.0, 5.0]
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    """
    command = [sys.executable, "-c", program, str(path)]
    grown = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert grown < 32 * 1024  # kilobytes


def test_a_file_that_is_replaced_is_still_read_as_it_was(tmp_path: Path) -> None:
    safe_save({"x": Tensor([1.0])}, tmp_path / "x")
    loaded = safe_load(tmp_path / "x")
    safe_save({"x": Tensor([2.0])}, tmp_path / "x")
    assert loaded["x"].tolist() == [1.0]
    gone = safe_load(tmp_path / "x")
    (tmp_path / "x").unlink()
    assert gone["x"].tolist() == [2.0]


@pytest.mark.parametrize("kept", [8, -4, None])
def test_a_file_that_is_written_into_is_noticed(kept: int | None, tmp_path: Path) -> None:
    path = tmp_path / "x"
    safe_save({"x": Tensor([1.0]), "y": Tensor([2.0])}, path)
    loaded = safe_load(path)
    assert loaded["x"].tolist() == [1.0]
    content = path.read_bytes()
    path.write_bytes(content[:kept])
    with pytest.raises(ValueError, match="was written into after its tensors were loaded"):
        loaded["y"].numpy()
    assert loaded["x"].tolist() == [1.0]


# In shards


def some_tensors() -> dict[str, Tensor]:
    return {f"layer.{i}": Tensor(np.full((10,), i, np.float32)) for i in range(5)}


def test_shards(tmp_path: Path) -> None:
    state, index = some_tensors(), tmp_path / f"model{INDEX}"
    safe_save_sharded(state, index, max_shard_bytes=100)
    names = [f"model-{i:05}-of-00003.safetensors" for i in (1, 2, 3)]
    assert sorted(p.name for p in tmp_path.iterdir()) == [*names, index.name]
    written = json.loads(index.read_text())
    assert written["metadata"]["total_size"] == 200
    assert written["weight_map"] == {f"layer.{i}": names[i // 2] for i in range(5)}
    assert list(safetensors.torch.load_file(tmp_path / names[2])) == ["layer.4"]
    for loaded in (safe_load(index), load(tmp_path), load(index)):
        assert {name: t.tolist() for name, t in loaded.items()} == {
            name: t.tolist() for name, t in state.items()
        }


def test_one_tensor_is_larger_than_a_shard(tmp_path: Path) -> None:
    safe_save_sharded(some_tensors(), tmp_path / f"m{INDEX}", max_shard_bytes=1)
    assert len(list(tmp_path.iterdir())) == 6
    safe_save_sharded({}, tmp_path / f"none{INDEX}")
    assert safe_load(tmp_path / f"none{INDEX}") == {}


def test_shards_are_not_replaced_one_by_one(tmp_path: Path) -> None:
    index = tmp_path / f"model{INDEX}"
    safe_save_sharded(some_tensors(), index)
    with pytest.raises(FileExistsError, match="Choose another folder"):
        safe_save_sharded(some_tensors(), index)
    with pytest.raises(ValueError, match=r"must end in \.safetensors\.index\.json"):
        safe_save_sharded(some_tensors(), tmp_path / "model.safetensors")


BAD_INDEX = {
    "no JSON": ("{", "is no index"),
    "a list": ("[]", "is no index"),
    "no map": ("{}", "is no index"),
    "a number": ('{"weight_map": {"a": 1}}', "is no index"),
    "deep": ("[" * 100_000, "is no index"),
    "elsewhere": ('{"weight_map": {"a": "../x.safetensors"}}', "no file beside it"),
    "above": ('{"weight_map": {"a": ".."}}', "no file beside it"),
    "absolute": ('{"weight_map": {"a": "/x.safetensors"}}', "no file beside it"),
    "a tensor missing": ('{"weight_map": {"b": "x.safetensors"}}', "promises .* b in x.safet"),
}


@pytest.mark.parametrize("name", BAD_INDEX)
def test_a_bad_index(name: str, tmp_path: Path) -> None:
    content, why = BAD_INDEX[name]
    safe_save({"a": Tensor([1.0])}, tmp_path / "x.safetensors")
    (tmp_path / f"model{INDEX}").write_text(content)
    with pytest.raises(ValueError, match=why):
        safe_load(tmp_path / f"model{INDEX}")


def test_a_shard_that_is_missing(tmp_path: Path) -> None:
    (tmp_path / f"model{INDEX}").write_text('{"weight_map": {"a": "x.safetensors"}}')
    with pytest.raises(FileNotFoundError, match=r"no file .*x\.safetensors"):
        safe_load(tmp_path / f"model{INDEX}")


# A full disk


def test_a_full_disk_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "x"
    safe_save({"x": Tensor([1.0])}, path)
    large = {"x": Tensor(np.zeros(100_000, np.float32))}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))  # no file grows beyond
    try:
        with pytest.raises(OSError, match=r"File too large"):
            safe_save(large, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert safe_load(path)["x"].tolist() == [1.0]
    assert [p.name for p in tmp_path.iterdir()] == ["x"]
