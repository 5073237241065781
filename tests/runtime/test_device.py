"""How names find devices, and what is said where they do not."""

from __future__ import annotations

import pytest

import gradlet.runtime  # noqa: F401  (registers the devices)
from gradlet.base.settings import device_name
from gradlet.runtime import device
from gradlet.runtime.device import get_device, register
from gradlet.runtime.numpy_device import NumpyDevice


class Placed(NumpyDevice):
    """A device whose names have a place."""

    def __init__(self, place: str) -> None:
        self.name = f"placed:{place}"


@pytest.fixture(autouse=True)
def other_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables of this test's own, with two devices more."""
    monkeypatch.setattr(device, "_families", dict(device._families))
    monkeypatch.setattr(device, "_devices", {})
    register("placed", Placed, "in several places", place="left")
    register("absent", "no.such.module:Device", "never there", needs="no_such_package")


def test_a_device_is_opened_once_however_it_is_called() -> None:
    assert get_device("numpy") is get_device("NumPy")
    assert get_device("placed") is get_device("placed:left")
    assert get_device("placed:right").name == "placed:right"
    assert get_device("placed:right") is not get_device("placed")


@pytest.mark.parametrize("name", ["abacus", "abacus:1", "numpy:0", "", ":"])
def test_an_unknown_device_lists_those_there_are(name: str) -> None:
    message = rf"unknown device '{name}'. Available here: cpu \(.*; numpy \(.*; placed \(.*"
    message += r"Not installed: .*absent \(pip install no_such_package\).*GRADLET_DEVICE"
    with pytest.raises(ValueError, match=message):
        get_device(name)


def test_a_missing_package_is_named() -> None:
    with pytest.raises(ValueError, match=r"'absent' needs .*: pip install no_such_package\. Avail"):
        get_device("absent")


@pytest.mark.parametrize("variable", ["GRADLET_DEVICE", "TESOR_SET_DEVICE", "TENSOR_SET_DEVICE"])
def test_the_environment_chooses(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for other in ("GRADLET_DEVICE", "TESOR_SET_DEVICE", "TENSOR_SET_DEVICE"):
        monkeypatch.delenv(other, raising=False)
    assert device_name() == "cpu"
    monkeypatch.setenv(variable, "cuda:0")
    assert device_name() == "cuda:0"
