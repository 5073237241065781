"""PyTorch's files read without PyTorch: both formats, every layout, and files that mean harm."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import struct
import subprocess
import sys
import tarfile
import zipfile
from collections import Counter, OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gradlet import Tensor, dtypes, nn
from gradlet.nn.state import get_state_dict, load, load_state_dict, torch_load, torch_save

FORMATS = {"zip": True, "legacy": False}


def saved(value: Any, path: Path, form: str = "zip") -> Path:
    torch.save(value, path, _use_new_zipfile_serialization=FORMATS[form])
    return path


def assert_same(ours: Any, theirs: Any) -> None:
    """Equal structure, shapes, dtypes and values."""
    if isinstance(theirs, torch.Tensor):
        assert isinstance(ours, Tensor)
        assert ours.shape == tuple(theirs.shape)
        assert ours.dtype.name == str(theirs.dtype).removeprefix("torch.")
        values = theirs.detach()
        if values.is_floating_point() and values.dtype != torch.float64:
            values = values.float()
        np.testing.assert_array_equal(ours.numpy().astype(values.numpy().dtype), values.numpy())
    elif isinstance(theirs, dict):
        assert list(ours) == list(theirs)
        for key in theirs:
            assert_same(ours[key], theirs[key])
    elif isinstance(theirs, list | tuple):
        assert len(ours) == len(theirs)
        for mine, other in zip(ours, theirs, strict=True):
            assert_same(mine, other)
    else:
        assert ours == theirs and type(ours) is type(theirs)


BASE = torch.arange(24.0).reshape(4, 6)
VALUES = {
    "a state dict": torch.nn.Sequential(
        torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2), torch.nn.Linear(4, 3)
    ).state_dict(),
    "views of one storage": [BASE, BASE[1:3, 2:5], BASE.T, BASE[::2, ::3], BASE[3, 5], BASE[:, 0]],
    "expanded": [torch.tensor([1.0, 2.0]).expand(3, 2), torch.tensor(5.0).expand(2, 2)],
    "empty and scalars": [torch.zeros(0), torch.zeros(2, 0, 3), torch.tensor(1.5), torch.tensor(3)],
    "nested": {
        "step": 7, "lr": 1e-3, "name": "µ-run", "big": 2**70, "negative": -5, "raw": b"\x00\xff",
        "flags": [True, False, None], "pair": (1, (2.5, "x")), "inf": float("inf"),
        3: {"inner": [torch.ones(2, dtype=torch.int16)]}, "empty": [[], {}, ()],
        "ordered": OrderedDict(b=torch.zeros(1), a=1), "set": {1, 2}, "long": list(range(300)),
    },
    "optimiser": torch.optim.Adam([torch.nn.Parameter(torch.ones(2))], amsgrad=True).state_dict(),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("name", VALUES)
def test_what_pytorch_saves(name: str, form: str, tmp_path: Path) -> None:
    path = saved(VALUES[name], tmp_path / "x.pt", form)
    assert_same(torch_load(path), torch.load(path))
    assert_same(load(path), torch.load(path))


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(
    "dtype",
    ["bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32",
     "float64", "uint16", "uint32", "uint64", "float8_e4m3fn", "float8_e5m2"],
)  # fmt: skip
def test_every_dtype(dtype: str, form: str, tmp_path: Path) -> None:
    value = torch.arange(6).reshape(2, 3).to(getattr(torch, dtype))
    assert_same(torch_load(saved({"x": value, "y": value.T[1:]}, tmp_path / "x", form))["x"], value)
    assert_same(torch_load(tmp_path / "x")["y"], value.T[1:])


@pytest.mark.parametrize("form", FORMATS)
def test_parameters_sizes_and_counters(form: str, tmp_path: Path) -> None:
    value = {
        "weight": torch.nn.Parameter(torch.ones(2)),
        "fixed": torch.nn.Parameter(torch.ones(2), requires_grad=False),
        "size": torch.ones(2, 3).shape,
    }
    loaded = torch_load(saved(value, tmp_path / "x", form))
    assert loaded["weight"].requires_grad is True and loaded["weight"].tolist() == [1.0, 1.0]
    assert loaded["fixed"].requires_grad is False
    assert loaded["size"] == (2, 3)
    rest = {"where": torch.device("cpu"), "counts": Counter([3, 3, 5]), "dtype": torch.float16}
    loaded = torch_load(saved(rest, tmp_path / "y", form))
    assert loaded == {"where": "cpu", "counts": {3: 2, 5: 1}, "dtype": dtypes.float16}


def test_a_model_from_pytorch_predicts_the_same(tmp_path: Path) -> None:
    theirs = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
    ours = nn.Sequential(nn.Linear(3, 4), Tensor.relu, nn.Linear(4, 2))
    load_state_dict(ours, torch_load(saved(theirs.state_dict(), tmp_path / "x.pth")))
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    expected = theirs(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(ours(Tensor(x)).numpy(), expected, rtol=1e-5, atol=1e-6)


# The other order of bytes


def rewritten(path: Path, change: Any) -> None:
    """The archive at `path` with `change(name, content)` in place of each entry's content."""
    with zipfile.ZipFile(path) as archive:
        entries = [(name, archive.read(name)) for name in archive.namelist()]
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries:
            archive.writestr(name, change(name, content))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64, torch.bool])
def test_big_endian_archives(dtype: torch.dtype, tmp_path: Path) -> None:
    value = torch.arange(4).to(dtype)[1:]

    def change(name: str, content: bytes) -> bytes:
        if name.endswith("byteorder"):
            return b"big"
        if "/data/" in name:
            return np.frombuffer(content, f"u{value.element_size()}").byteswap().tobytes()
        return content

    path = saved(value, tmp_path / "x")
    rewritten(path, change)
    assert_same(torch_load(path), value)


def test_big_endian_streams(tmp_path: Path) -> None:
    content = saved(torch.tensor([1.0, 2.0]), tmp_path / "x", "legacy").read_bytes()
    start = content.index(b"little_endian") + len(b"little_endian")
    flag = content.index(b"\x88", start)
    swapped = struct.pack(">q2f", 2, 1.0, 2.0)
    (tmp_path / "x").write_bytes(content[:flag] + b"\x89" + content[flag + 1 : -16] + swapped)
    assert torch_load(tmp_path / "x").tolist() == [1.0, 2.0]


# Written without PyTorch


def test_pytorch_reads_what_we_save(tmp_path: Path) -> None:
    state = {
        "weight": Tensor([[1.0, 2.0], [3.0, 4.0]]).T, "scalar": Tensor(1.5), "none": Tensor([]),
        "half": Tensor([1.5], dtype="bfloat16"), "ids": Tensor([1, 2]), "mask": Tensor([True]),
        "step": 7, "lr": 0.1, "big": 2**70, "names": ["µ", None, True, ()], 3: (1, {"x": -1.5}),
    }  # fmt: skip
    torch_save(state, tmp_path / "x.pt")
    theirs = torch.load(tmp_path / "x.pt", weights_only=True)
    assert_same(torch_load(tmp_path / "x.pt"), theirs)
    assert list(theirs) == list(state)
    assert theirs["weight"].tolist() == [[1.0, 3.0], [2.0, 4.0]]
    assert theirs["half"].dtype == torch.bfloat16 and theirs["mask"].dtype == torch.bool
    assert theirs["names"] == ["µ", None, True, ()] and theirs[3] == (1, {"x": -1.5})


@pytest.mark.parametrize("dtype", ["uint16", "uint32", "uint64", "float8_e4m3fn", "float8_e5m2"])
def test_dtypes_without_a_storage_of_their_own(dtype: str, tmp_path: Path) -> None:
    value = Tensor([[1, 2], [3, 4]]).cast(dtype)
    torch_save({"x": value, "scalar": value[0, 1]}, tmp_path / "x.pt")
    theirs = torch.load(tmp_path / "x.pt", weights_only=True)
    assert theirs["x"].dtype == getattr(torch, dtype) and theirs["x"].shape == (2, 2)
    assert theirs["x"].float().tolist() == [[1, 2], [3, 4]] and theirs["scalar"].item() == 2
    assert_same(torch_load(tmp_path / "x.pt"), theirs)


def test_a_model_goes_to_pytorch(tmp_path: Path) -> None:
    ours, theirs = nn.Linear(3, 2), torch.nn.Linear(3, 2)
    torch_save(get_state_dict(ours), tmp_path / "x.pth")
    theirs.load_state_dict(torch.load(tmp_path / "x.pth"))
    np.testing.assert_array_equal(theirs.weight.detach().numpy(), ours.weight.numpy())


def test_what_cannot_be_saved(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="cannot write a Linear; save tensors"):
        torch_save({"x": nn.Linear(1, 1)}, tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


# Pickles that mean harm


class Harm:
    """Unpickled by Python, it makes a file."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


def archive_of(pickled: bytes, path: Path, **entries: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data.pkl", pickled)
        for name, content in entries.items():
            archive.writestr(f"x/data/{name.removeprefix('_')}", content)
    return path


HARM = {
    "os.system": lambda p: Harm(os.system, f"touch {p}"),
    "eval": lambda p: Harm(eval, f"open({str(p)!r}, 'w')"),
    "exec": lambda p: Harm(exec, f"open({str(p)!r}, 'w')"),
    "open": lambda p: Harm(open, str(p), "w"),
    "Popen": lambda p: Harm(subprocess.Popen, ["touch", str(p)]),
    "getattr": lambda p: Harm(getattr, "x", "__class__"),
    "nested in a state dict": lambda p: OrderedDict(
        a=torch.ones(1), b=Harm(os.system, f"touch {p}")
    ),
    "nested pickle": lambda p: Harm(torch.storage._load_from_bytes, pickle.dumps(1)),
}


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("name", HARM)
def test_code_is_refused_and_not_run(name: str, form: str, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    path = saved(HARM[name](mark), tmp_path / "x", form)
    with pytest.raises(ValueError, match=r"x is refused: the pickle in it names .*not called"):
        torch_load(path)
    assert not mark.exists()


def test_whole_models_are_refused(tmp_path: Path) -> None:
    path = saved(torch.nn.Linear(1, 1), tmp_path / "x")
    with pytest.raises(ValueError, match=r"names torch.nn.modules.linear.Linear.*state_dict"):
        torch_load(path)


# Tensors outside of their storages, and archives that promise too much


def tensor_pickle(offset: int, shape: Any, strides: Any, count: int = 4, key: str = "0") -> bytes:
    """A state of one float32 tensor in a storage of `count` elements."""

    def plain(value: Any) -> bytes:
        return pickle.dumps(value, 2)[2:-1]

    storage = b"(" + plain("storage") + b"ctorch\nFloatStorage\n" + plain(key) + plain("cpu")
    return (
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(" + storage + plain(count) + b"tQ"
        + plain(offset) + plain(shape) + plain(strides)
        + b"\x89ccollections\nOrderedDict\n)RtR."
    )  # fmt: skip


LAYOUTS = {
    "too long": (0, (5,), (1,)),
    "too wide": (0, (2,), (4,)),
    "begins behind the end": (4, (1,), (1,)),
    "begins before the start": (-1, (2,), (1,)),
    "goes backwards": (3, (2,), (-1,)),
    "a negative extent": (0, (-2,), (1,)),
    "windows that overlap": (0, (3, 2), (1, 1)),
    "an overflow": (0, (2**62, 2**62), (1, 1)),
    "an overflow of nothing": (0, (0, 2**62, 2**62), (1, 1, 1)),
    "expanded beyond counting": (0, (2**62,), (0,)),
    "a missing stride": (0, (2, 2), (1,)),
    "a float": (0, (2.0,), (1,)),
    "a bool": (0, (True,), (1,)),
    "no tuple": (0, 4, 1),
    "too many axes": (0, (1,) * 65, (1,) * 65),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_tensor_that_is_not_in_its_storage(name: str, tmp_path: Path) -> None:
    path = archive_of(tensor_pickle(*LAYOUTS[name]), tmp_path / "x", _0=bytes(16))
    with pytest.raises(ValueError, match="x is refused: the pickle in it is damaged"):
        torch_load(path)


def test_the_layouts_that_fit(tmp_path: Path) -> None:
    """The test above tests something."""
    data = np.arange(4, dtype=np.float32).tobytes()
    for layout, expected in [
        ((0, (4,), (1,)), [0, 1, 2, 3]),
        ((1, (2,), (2,)), [1, 3]),
        ((3, (1, 1), (99, 99)), [[3]]),
        ((4, (0,), (1,)), []),
        ((2, (2, 2), (0, 1)), [[2, 3], [2, 3]]),
    ]:
        path = archive_of(tensor_pickle(*layout), tmp_path / "x", _0=data)
        assert torch_load(path).tolist() == expected


def test_storages_that_are_not_what_they_should_be(tmp_path: Path) -> None:
    good = tensor_pickle(0, (4,), (1,))
    for entries, why in [
        ({}, "storage 0 is missing"),
        ({"_0": bytes(15)}, "holds 15 bytes instead of 16"),
        ({"_0": bytes(17)}, "holds 17 bytes instead of 16"),
    ]:
        with pytest.raises(ValueError, match=why):
            torch_load(archive_of(good, tmp_path / "x", **entries))
    huge = tensor_pickle(0, (2**50,), (1,), count=2**50)
    with pytest.raises(ValueError, match="holds 16 bytes instead of"):
        torch_load(archive_of(huge, tmp_path / "x", _0=bytes(16)))


def test_zip_bombs(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/data.pkl", tensor_pickle(0, (2**22,), (1,), count=2**22))
        archive.writestr("x/data/0", bytes(2**24))
    assert path.stat().st_size < 2**16
    with pytest.raises(ValueError, match="promise more than the file holds"):
        torch_load(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/data.pkl", tensor_pickle(0, (64,), (1,), count=64))
        archive.writestr("x/data/0", os.urandom(256))
    with pytest.raises(ValueError, match="compressed or encrypted"):
        torch_load(path)


def test_a_flipped_bit_is_noticed(tmp_path: Path) -> None:
    path = saved({"x": torch.arange(1000.0)}, tmp_path / "x")
    content = bytearray(path.read_bytes())
    content[content.index(np.arange(400, 410, dtype=np.float32).tobytes())] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="has a wrong checksum"):
        torch_load(path)


# Other formats


def test_other_files(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with pytest.raises(FileNotFoundError):
        torch_load(path)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="x is empty"):
        torch_load(path)
    path.write_bytes(b"GIF89a" * 100)
    with pytest.raises(ValueError, match="does not begin as PyTorch"):
        torch_load(path)
    with tarfile.open(path, "w") as archive:
        archive.addfile(tarfile.TarInfo("storages"))
    for read in (torch_load, load):
        with pytest.raises(ValueError, match="tar archive, which PyTorch wrote before"):
            read(path)
    with zipfile.ZipFile(path, "w") as other:
        other.writestr("letter.txt", "hello")
    with pytest.raises(ValueError, match="is a zip archive, but none"):
        torch_load(path)
    with zipfile.ZipFile(path, "w") as script:
        script.writestr("x/data.pkl", b"\x80\x02}.")
        script.writestr("x/constants.pkl", b"\x80\x02).")
    with pytest.raises(ValueError, match="TorchScript program"):
        torch_load(path)
    for value in (torch.ones(1, dtype=torch.complex64), torch.ones(2).to_sparse()):
        with pytest.raises(ValueError, match="is refused"):
            torch_load(saved(value, path))


@pytest.mark.parametrize("form", FORMATS)
def test_files_cut_short(form: str, tmp_path: Path) -> None:
    content = saved(VALUES["a state dict"], tmp_path / "x", form).read_bytes()
    for kept in [1, 10, 100, len(content) // 2, len(content) - 100, len(content) - 1]:
        (tmp_path / "x").write_bytes(content[:kept])
        with pytest.raises(ValueError, match=r"x (is refused|.* cannot be read)"):
            torch_load(tmp_path / "x")


# Anything at all

SMALL = {"a": torch.arange(3.0), "b": [torch.ones(2, 2).T, 5, "text"]}
WHOLE = {}
for _form, _zip in FORMATS.items():
    _file = io.BytesIO()
    torch.save(SMALL, _file, _use_new_zipfile_serialization=_zip)
    WHOLE[_form] = _file.getvalue()


def read_all(found: Any) -> None:
    for tensor in get_state_dict(found).values():
        assert tensor.numel() > 10**6 or tensor.numpy().shape == tensor.shape


@pytest.mark.parametrize("form", FORMATS)
@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_a_changed_file_is_refused_or_read_to_its_end(
    form: str, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    content = bytearray(WHOLE[form])
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("fuzz") / "x"
    path.write_bytes(content)
    with contextlib.suppress(ValueError):
        read_all(torch_load(path))


def test_pytorch_is_not_imported(tmp_path: Path) -> None:
    path = saved(SMALL, tmp_path / "x")
    program = (
        "import sys; from gradlet.nn.state import torch_load, torch_save; "
        f"x = torch_load({str(path)!r}); torch_save(x, {str(tmp_path / 'y')!r}); "
        "assert 'torch' not in sys.modules"
    )
    elsewhere = {**os.environ, "GRADLET_DEVICE": "numpy"}  # wherever the other tests run
    subprocess.run([sys.executable, "-c", program], check=True, env=elsewhere)
    assert_same(torch_load(tmp_path / "y"), SMALL)
