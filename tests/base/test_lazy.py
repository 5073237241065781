"""Packages that load a file when something in it is first asked for."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest

from gradlet import nn

PACKAGE = """
from gradlet.base.lazy import lazily
__all__ = ["first", "second", "absent"]
__getattr__ = lazily(__name__, __all__, ("one", "two"))
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    folder = tmp_path / "lazy_example"
    folder.mkdir()
    (folder / "__init__.py").write_text(PACKAGE)
    (folder / "one.py").write_text("first, hidden = 1, 0")
    (folder / "two.py").write_text("second = 2")
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("lazy_example", "lazy_example.one", "lazy_example.two"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return importlib.import_module("lazy_example")


def test_files_are_loaded_in_order_until_a_name_is_found(package: ModuleType) -> None:
    assert "lazy_example.one" not in sys.modules
    assert package.first == 1 and vars(package)["first"] == 1
    assert "lazy_example.two" not in sys.modules
    assert package.second == 2 and "lazy_example.two" in sys.modules


def test_files_themselves_can_be_asked_for(package: ModuleType) -> None:
    assert package.two.second == 2
    assert "lazy_example.one" not in sys.modules


@pytest.mark.parametrize("name", ["hidden", "absent", "__wrapped__"])
def test_other_names_are_refused(package: ModuleType, name: str) -> None:
    with pytest.raises(AttributeError, match=f"module 'lazy_example' has no attribute '{name}'"):
        getattr(package, name)


@pytest.mark.parametrize("owner", [nn, nn.optim, nn.state], ids=lambda owner: owner.__name__)
def test_every_name_that_is_listed_is_there(owner: ModuleType) -> None:
    lacking = [name for name in owner.__all__ if not hasattr(owner, name)]
    assert not lacking
    assert len(set(owner.__all__)) == len(owner.__all__)


def test_nn_lists_every_layer() -> None:
    files = [getattr(nn, file) for file in nn._FILES]  # type: ignore[attr-defined]
    layers = {
        (file, name)
        for file in files
        if not hasattr(file, "__path__")
        for name in getattr(file, "__all__", ())
    }
    lacking = [name for file, name in layers if getattr(nn, name, None) is not vars(file)[name]]
    assert layers and not lacking
