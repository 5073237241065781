"""Helpers whose results the programs do not print: downloads, data sets, files, arguments."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradlet import Tensor
from gradlet.compat import datasets, helpers, optim, state
from gradlet.nn import data


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """Where a server has two files."""
    (tmp_path / "plain").write_bytes(b"some text")
    (tmp_path / "packed").write_bytes(gzip.compress(b"some text"))

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(tmp_path))

        def log_message(self, *args: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_fetch(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADLET_CACHE", str(tmp_path / "cache"))
    known = hashlib.sha256(b"some text").hexdigest()
    path = helpers.fetch(f"{address}/plain", sha256=known)
    assert path.read_bytes() == b"some text"
    assert helpers.fetch(f"{address}/packed", "name", gunzip=True).read_bytes() == b"some text"
    (tmp_path / "plain").write_bytes(b"another")
    assert helpers.fetch(f"{address}/plain") == path and path.read_bytes() == b"some text"
    with pytest.raises(ValueError, match="checksum"):
        helpers.fetch(f"{address}/plain", sha256=known, allow_caching=False)
    assert path.read_bytes() == b"some text"
    own = helpers.fetch(f"{address}/plain", tmp_path / "own")
    assert own == tmp_path / "own" and own.read_bytes() == b"another"
    assert helpers.fetch("./here") == Path("here")


def test_text() -> None:
    assert helpers.colored("x", "RED", background=True) == "\x1b[101mx\x1b[0m"
    assert helpers.ansistrip(helpers.colored("x", "green")) == "x"
    assert helpers.time_to_str(0.02).strip() == "20.00ms" and helpers.size_to_str(2048) == "2.00 KB"
    with pytest.raises(RuntimeError, match="both 1 and 2"):
        helpers.merge_dicts([{"a": 1}, {"a": 2}])
    assert helpers.get_shape([[1, 2], [3, 4]]) == (2, 2) and helpers.fully_flatten(
        [[1], [[2]]]
    ) == [1, 2]
    assert helpers.argsort([3, 1, 2]) == [1, 2, 0] and list(helpers.trange(2)) == [0, 1]


def test_timing(capsys: pytest.CaptureFixture[str]) -> None:
    with helpers.Timing("took ", on_exit=lambda ns: f" {ns > 0}"):
        pass
    assert capsys.readouterr().out.startswith("took ")


def test_data_sets_are_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    split = (np.zeros((4, 1, 28, 28), np.uint8), np.arange(4, dtype=np.uint8)) * 2
    for name in ("mnist", "fashion_mnist", "cifar10"):
        monkeypatch.setattr(data, name, lambda: split)
    for found in (datasets.mnist(), datasets.mnist(fashion=True), datasets.cifar(device="numpy")):
        assert [x.dtype.name for x in found] == ["uint8"] * 4 and found[0].shape == (4, 1, 28, 28)


def test_state(tmp_path: Path) -> None:
    model, given = {"w": Tensor([1.0]), "b": Tensor([2.0])}, {"w": Tensor([3.0])}
    loaded = state.load_state_dict(model, given, strict=False, verbose=False, consume=True)
    assert [x.item() for x in loaded] == [3.0] and not given and model["w"].item() == 3.0
    state.safe_save(model, tmp_path / "x.safetensors", {"epoch": 3})
    assert state.safe_load(tmp_path / "x.safetensors")["b"].item() == 2.0
    with pytest.raises(TypeError, match="path of a file"):
        state.safe_load(Tensor([1, 2]))


def test_optimisers_refuse_what_they_would_not_do() -> None:
    with pytest.raises(TypeError, match="use Muon"):
        optim.LARS([Tensor([1.0])], ns_coefficients=(1.0, 2.0, 3.0))
