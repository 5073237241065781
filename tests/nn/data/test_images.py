"""IDX files, where data sets are looked for, downloads, and batches."""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import hashlib
import io
import struct
import sys
import tarfile
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradlet.nn import data, download
from gradlet.nn.data import images
from gradlet.nn.idx import DamagedFileError, read_idx


def idx(array: np.ndarray, kind: int = 8) -> bytes:
    header = struct.pack(f">2xBB{array.ndim}I", kind, array.ndim, *array.shape)
    return header + array.astype(np.uint8).tobytes()


def data_files(count: int = 3) -> dict[str, bytes]:
    """A data set of `count` training and `count` test images of 2x2 pixels."""
    images = np.arange(count * 4).reshape(count, 2, 2)
    labels = np.arange(count) % 10
    contents = [idx(images), idx(labels), idx(images + 100), idx(labels[::-1])]
    return {n: gzip.compress(c) for n, c in zip(data.FILES, contents, strict=True)}


def write(folder: Path, files: dict[str, bytes]) -> None:
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


class Mirror:
    """Answers requests for `http://mirror/...` from a dict, and counts them."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        self.asked: list[str] = []

    def open(self, url: str, timeout: float) -> Any:
        self.asked.append(url)
        name = url.removeprefix("http://mirror/")
        if name not in self.files:
            raise urllib.error.URLError("nothing here")
        answer: Any = io.BytesIO(self.files[name])
        answer.headers = {"Content-Length": str(len(self.files[name]))}
        return answer


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GRADLET_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "data"


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch, cache: Path) -> Mirror:
    """The only place that data sets can come from, at first with nothing in it."""
    found = Mirror({})
    monkeypatch.setattr(urllib.request, "urlopen", found.open)
    for name in ("FASHION", "MNIST"):
        source = dataclasses.replace(
            getattr(images, name),
            installed=None,
            mirrors=("http://down/", "http://mirror/"),
            checksums=tuple(hashlib.sha256(c).hexdigest() for c in data_files().values()),
        )
        monkeypatch.setattr(images, name, source)
    return found


def check(split: data.Split) -> None:
    x_train, y_train, x_test, y_test = split
    assert all(a.dtype == np.uint8 for a in split)
    assert x_train.shape == x_test.shape == (3, 1, 2, 2)
    assert x_train[1, 0].tolist() == [[4, 5], [6, 7]] and x_test[0, 0, 0, 0] == 100
    assert y_train.tolist() == [0, 1, 2] and y_test.tolist() == [2, 1, 0]


# IDX files


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("shape", [(), (5,), (0, 3), (2, 3, 4)])
def test_idx(shape: tuple[int, ...], packed: bool, tmp_path: Path) -> None:
    array = np.arange(np.prod(shape, dtype=int)).reshape(shape)
    content = idx(array)
    (tmp_path / "x").write_bytes(gzip.compress(content) if packed else content)
    found = read_idx(tmp_path / "x")
    assert found.dtype == np.uint8 and found.flags.writeable
    np.testing.assert_array_equal(found, array)


WHOLE = idx(np.arange(6).reshape(2, 3))
DAMAGED = {
    "empty": (b"", "does not begin"),
    "magic": (b"\x89PNG" + WHOLE[4:], "does not begin"),
    "kind": (WHOLE[:2] + b"\x0d" + WHOLE[3:], "type 0x0d"),
    "header": (WHOLE[:9], "header of 12 bytes is cut off after 9"),
    "short": (WHOLE[:-1], r"promises 6 bytes of \(2, 3\), it holds 5"),
    "long": (WHOLE + b"\0", r"promises 6 bytes of \(2, 3\), it holds more"),
    "axes": (b"\0\0\x08\xff" + bytes(4 * 255), "there is no array of shape"),
    "huge": (WHOLE[:4] + b"\xff" * 8 + WHOLE[12:], r"promises \d+ bytes of .*, it holds 6"),
    "bomb": (gzip.compress(WHOLE + bytes(2**24)), r"promises 6 bytes of \(2, 3\), it holds more"),
    "gzip cut": (gzip.compress(WHOLE)[:-9], "gzip cannot unpack"),
    "gzip flipped": (gzip.compress(WHOLE)[:-8] + bytes(8), "gzip cannot unpack"),
    "gzip broken": (gzip.compress(WHOLE)[:10] + bytes(range(200, 230)), "gzip cannot unpack"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_idx(name: str, tmp_path: Path) -> None:
    content, why = DAMAGED[name]
    (tmp_path / "images").write_bytes(content)
    with pytest.raises(DamagedFileError, match=f"images is damaged: .*{why}.*Delete it"):
        read_idx(tmp_path / "images")


@settings(max_examples=100)
@given(st.data())
def test_a_changed_idx_is_refused_or_read(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    content = bytearray(data.draw(st.sampled_from([WHOLE, gzip.compress(WHOLE, mtime=0)])))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("fuzz") / "x"
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    with contextlib.suppress(DamagedFileError):
        found = read_idx(path)
        with (gzip.open if path.read_bytes()[:2] == b"\x1f\x8b" else open)(path, "rb") as file:
            held = file.read()
        extents = struct.pack(f">{found.ndim}I", *found.shape)
        assert held == bytes([0, 0, 8, found.ndim]) + extents + found.tobytes()


# Where data sets are looked for


def test_in_the_cache_folder(cache: Path, mirror: Mirror) -> None:
    write(cache / "fashion-mnist", data_files())
    check(data.fashion_mnist())
    write(cache / "mnist", data_files())
    check(data.mnist())
    assert mirror.asked == []


def test_where_a_package_installs_it(
    tmp_path: Path, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "installed", data_files())
    source = dataclasses.replace(images.FASHION, installed=tmp_path / "installed")
    monkeypatch.setattr(images, "FASHION", source)
    check(data.fashion_mnist())
    assert mirror.asked == []


def test_downloaded_once(cache: Path, mirror: Mirror) -> None:
    mirror.files = data_files()
    check(data.mnist())
    assert len(mirror.asked) == 8  # each file from the mirror that is down, then the other
    check(data.mnist())
    assert len(mirror.asked) == 8
    assert sorted(p.name for p in (cache / "mnist").iterdir()) == sorted(data.FILES)


def test_a_download_goes_on_where_it_was_cut_off(cache: Path, mirror: Mirror) -> None:
    files = data_files()
    mirror.files = {n: c for n, c in files.items() if n != data.FILES[3]}
    with pytest.raises(data.DataUnavailableError):
        data.mnist()
    mirror.files, mirror.asked = files, []
    check(data.mnist())
    assert mirror.asked == [base + data.FILES[3] for base in images.MNIST.mirrors]


def test_a_wrong_checksum_leaves_nothing(cache: Path, mirror: Mirror) -> None:
    mirror.files = data_files() | {data.FILES[0]: gzip.compress(b"something else")}
    with pytest.raises(data.DataUnavailableError, match="right checksum"):
        data.mnist()
    assert list((cache / "mnist").iterdir()) == []


def test_ctrl_c_leaves_nothing(
    cache: Path, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror.files = data_files()

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(download, "_show", interrupted)
    with pytest.raises(KeyboardInterrupt):
        data.mnist()
    assert list((cache / "mnist").iterdir()) == []


def test_a_bar_on_a_terminal_only(
    mirror: Mirror, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mirror.files = data_files()
    data.mnist()
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    data.fashion_mnist()
    shown = capsys.readouterr().err
    assert f"{data.FILES[0]} [{'#' * 30}]" in shown and shown.endswith("MB\n")


def test_no_copy_and_no_network(
    cache: Path, mirror: Mirror, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(data.DataUnavailableError, match=r"mnist is not in .* cannot be downloaded"):
        data.mnist()
    name, split = data.load("fashion")
    assert name == "digits" and split[0].shape == (1437, 1, 8, 8)
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said.startswith("fashion-mnist is not in") and "scikit-learn's 8x8 digits" in said


def test_files_that_do_not_belong_together(cache: Path, mirror: Mirror) -> None:
    files = data_files()
    files[data.FILES[1]] = data_files(2)[data.FILES[1]]
    write(cache / "mnist", files)
    with pytest.raises(DamagedFileError, match=r"\(3, 2, 2\).*\(2,\): they do not belong together"):
        data.mnist()


def test_a_label_that_is_no_class(cache: Path, mirror: Mirror) -> None:
    files = data_files() | {data.FILES[1]: idx(np.array([0, 1, 10]))}
    write(cache / "mnist", files)
    with pytest.raises(DamagedFileError, match="label 10, but there are 10 classes"):
        data.mnist()


# CIFAR-10


def cifar_part(first: int, records: int) -> bytes:
    """Records whose label and pixels count up from `first`."""
    values = (first + np.arange(records)) % 10
    return np.repeat(values.astype(np.uint8)[:, None], images.CIFAR_RECORD, axis=1).tobytes()


def cifar_archive(parts: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name, content in parts.items():
            entry = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return file.getvalue()


@pytest.fixture
def cifar(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """The files of a CIFAR-10 with three images each, which the mirror has."""
    parts = {name: cifar_part(i, 3) for i, name in enumerate(images.CIFAR_FILES)}
    archive = cifar_archive(parts)
    mirror.files = {images.CIFAR_ARCHIVE: archive}
    monkeypatch.setattr(images, "CIFAR_RECORDS", 3)
    monkeypatch.setattr(images, "CIFAR_MIRRORS", (f"http://mirror/{images.CIFAR_ARCHIVE}",))
    monkeypatch.setattr(images, "CIFAR_CHECKSUM", hashlib.sha256(archive).hexdigest())
    return parts


def test_cifar_is_downloaded_once(mirror: Mirror, cifar: dict[str, bytes]) -> None:
    for _ in range(2):
        x_train, y_train, x_test, y_test = data.cifar10()
        assert (x_train.shape, x_test.shape) == ((15, 3, 32, 32), (3, 3, 32, 32))
        assert y_train.tolist() == [0, 1, 2, 1, 2, 3, 2, 3, 4, 3, 4, 5, 4, 5, 6]
        assert y_test.tolist() == [5, 6, 7]
        assert (x_train == y_train[:, None, None, None]).all() and (x_test[2] == 7).all()
        assert all(a.dtype == np.uint8 and a.flags.writeable for a in (x_train, y_test))
    assert len(mirror.asked) == 1


def test_the_planes_of_a_photograph(mirror: Mirror, cifar: dict[str, bytes], cache: Path) -> None:
    """Red, green and blue, each by rows."""
    pixels = np.arange(3 * 32 * 32) // 16 % 256
    record = bytes([9]) + pixels.astype(np.uint8).tobytes()
    cifar["test_batch.bin"] = record * 3
    (cache / "cifar-10").mkdir(parents=True)
    (cache / "cifar-10" / images.CIFAR_ARCHIVE).write_bytes(cifar_archive(cifar))
    photograph = data.cifar10()[2][0]
    assert photograph[0, 0, 15] == 0 and photograph[0, 1, 0] == 2 and photograph[1, 0, 0] == 64


def test_a_damaged_cifar(mirror: Mirror, cifar: dict[str, bytes], cache: Path) -> None:
    path = cache / "cifar-10" / images.CIFAR_ARCHIVE
    path.parent.mkdir(parents=True)
    whole = cifar_archive(cifar)
    name = images.CIFAR_FILES[1]
    for content, why in [
        (b"", "cannot be unpacked"),
        (whole[:50], "cannot be unpacked"),
        (gzip.compress(b"text" * 500), "cannot be unpacked"),
        (cifar_archive({**cifar, name: cifar[name][:-1]}), f"{name} in it does not hold"),
        (cifar_archive({**cifar, name: cifar[name] + b"x"}), f"{name} in it does not hold"),
        (cifar_archive({k: v for k, v in cifar.items() if k != name}), f"{name} in it does not"),
        (cifar_archive({**cifar, name: b"\x0a" + cifar[name][1:]}), "has a label 10"),
    ]:
        path.write_bytes(content)
        with pytest.raises(DamagedFileError, match=f"is damaged: .*{why}.*Delete it"):
            data.cifar10()


def test_no_cifar(mirror: Mirror) -> None:
    with pytest.raises(
        data.DataUnavailableError, match=r"cifar-10 is not in .*cifar-10 and cannot"
    ):
        data.cifar10()


# Digits


def test_digits() -> None:
    x_train, y_train, x_test, y_test = data.digits()
    assert (x_train.shape, x_test.shape) == ((1437, 1, 8, 8), (360, 1, 8, 8))
    assert (y_train.shape, y_test.shape) == ((1437,), (360,))
    assert all(a.dtype == np.uint8 for a in (x_train, y_train, x_test, y_test))
    assert x_train.max() == 255 and sorted(set(y_test)) == list(range(10))
    again = data.digits()
    np.testing.assert_array_equal(again[2], x_test)


def test_digits_without_scikit_learn(monkeypatch: pytest.MonkeyPatch, mirror: Mirror) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    for name in ("digits", "mnist"):
        with pytest.raises(data.DataUnavailableError, match="pip install scikit-learn"):
            data.load(name)


def test_an_unknown_name() -> None:
    with pytest.raises(ValueError, match="'cifar'; there are fashion, mnist, cifar10, digits"):
        data.load("cifar")
