"""NumPy's archives: both directions, and files that promise too much or hold objects."""

from __future__ import annotations

import contextlib
import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradlet import Tensor
from gradlet.nn.state import load, load_npz, save_npz

DTYPES = [
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
    "float16", "float32", "float64",
]  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (0,), (2, 3)])
def test_to_numpy_and_back(dtype: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    x = Tensor(np.arange(np.prod(shape, dtype=int)).reshape(shape) % 2, dtype=dtype)
    save_npz({"x.weight": x}, tmp_path / "x.npz")
    with np.load(tmp_path / "x.npz") as theirs:
        assert list(theirs) == ["x.weight"] and theirs["x.weight"].dtype.name == dtype
        np.testing.assert_array_equal(theirs["x.weight"], x.numpy())
    (loaded,) = load_npz(tmp_path / "x.npz").values()
    assert (loaded.shape, loaded.dtype) == (x.shape, x.dtype)
    np.testing.assert_array_equal(loaded.numpy(), x.numpy())


def test_what_numpy_saves(tmp_path: Path) -> None:
    arrays = {
        "columns": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "big": np.arange(3, dtype=">f4"),
        "strided": np.arange(10)[::3],
    }
    np.savez_compressed(tmp_path / "x.npz", **arrays)
    for loaded in (load_npz(tmp_path / "x.npz"), load(tmp_path / "x.npz")):
        assert list(loaded) == list(arrays)
        for name, array in arrays.items():
            np.testing.assert_array_equal(loaded[name].numpy(), array)


@pytest.mark.parametrize("dtype", ["bfloat16", "float8_e4m3fn", "float8_e5m2"])
def test_what_numpy_has_no_type_for_is_not_lost(dtype: str, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=rf"x is {dtype}, which \.npz files cannot hold"):
        save_npz({"x": Tensor([1.0], requires_grad=False).cast(dtype)}, tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


def npy(header: str, data: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    text = header.encode().ljust(118) + b"\n"
    return b"\x93NUMPY" + version + len(text).to_bytes(2, "little") + text + data


def header(shape: str, descr: str = "'<f4'") -> str:
    return f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}"


BAD = {
    "objects": (npy(header("(1,)", "'|O'"), bytes(8)), "no gradlet dtype holds NumPy's object"),
    "text": (npy(header("(1,)", "'<U1'"), bytes(4)), "no gradlet dtype holds"),
    "records": (npy(header("(1,)", "[('a', '<f4')]"), bytes(4)), "no gradlet dtype holds"),
    "longer than it is": (npy(header("(9,)"), bytes(4)), "promises 36 bytes and holds 4"),
    "shorter than it is": (npy(header("(1,)"), bytes(8)), "promises 4 bytes and holds 8"),
    "huge": (npy(header("(2**60,)"), bytes(8)), "cannot be read"),
    "negative": (npy(header("(-1, -1)"), bytes(4)), "promises 4 bytes and holds 4"),
    "code": (npy("__import__('os').system('true')", b""), "cannot be read"),
    "no header": (b"\x93NUMPY", "cannot be read"),
    "another version": (npy(header("(1,)"), bytes(4), b"\x09\x00"), "format"),
    "no array": (b"hello", "cannot be read"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_arrays(name: str, tmp_path: Path) -> None:
    content, why = BAD[name]
    with zipfile.ZipFile(tmp_path / "x", "w") as archive:
        archive.writestr("a.npy", content)
    with pytest.raises(ValueError, match=f"x cannot be read: .*{why}|{why}"):
        load_npz(tmp_path / "x")


def test_a_good_array_made_in_the_same_way(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x", "w") as archive:
        archive.writestr("a.npy", npy(header("(1,)"), bytes(4)))
    assert load_npz(tmp_path / "x")["a"].tolist() == [0.0]


def test_zip_bombs(tmp_path: Path) -> None:
    path = tmp_path / "x"
    np.savez_compressed(path.with_suffix(".npz"), a=np.zeros(2**20, np.uint8))
    path = path.with_suffix(".npz")
    with pytest.raises(ValueError, match=r"unpacks to \d+ bytes, more than 100000.*max_bytes"):
        load_npz(path, max_bytes=100_000)
    assert load_npz(path)["a"].shape == (2**20,)
    bomb = bytearray(path.read_bytes())
    place = bomb.rindex(b"PK\x01\x02") + 24  # the size that the directory promises
    bomb[place : place + 4] = (2**32 - 2).to_bytes(4, "little")
    path.write_bytes(bomb)
    with pytest.raises(ValueError, match="unpacks to 4294967294 bytes"):
        load_npz(path)


def test_no_archive(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_npz(tmp_path / "x")
    (tmp_path / "x").write_bytes(b"PK\x03\x04" + bytes(100))
    with pytest.raises(ValueError, match="x cannot be read"):
        load_npz(tmp_path / "x")


def archive(save: Any) -> bytes:
    file = io.BytesIO()
    save(file, a=np.arange(3.0), b=np.ones((2, 2), np.int32))
    return file.getvalue()


WHOLE = {"stored": archive(np.savez), "packed": archive(np.savez_compressed)}


@pytest.mark.parametrize("form", WHOLE)
@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_a_changed_file_is_refused_or_read(
    form: str, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    content = bytearray(WHOLE[form])
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("fuzz") / "x"
    path.write_bytes(content[: data.draw(st.integers(1, len(content)))])
    with contextlib.suppress(ValueError):
        for tensor in load_npz(path).values():
            assert tensor.numpy().shape == tensor.shape
