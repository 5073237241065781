"""Names, loading into place, and files, which PyTorch can read and write too."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
import pytest
import safetensors.torch
import torch

from gradlet import Tensor, nn
from gradlet.nn import files
from gradlet.nn.state import (
    get_parameters,
    get_state_dict,
    load_state_dict,
    safe_load,
    safe_save,
)


class Pair(NamedTuple):
    left: Tensor
    right: Tensor


@dataclass(slots=True)
class Slotted:
    scale: Tensor


class Model:
    def __init__(self) -> None:
        self.first = nn.Linear(2, 3)
        self.blocks = [nn.Sequential(nn.Linear(3, 3), Tensor.relu), nn.BatchNorm(3)]
        self.named = {"pair": Pair(Tensor([1.0]), Tensor([2])), 7: Slotted(Tensor([3.0]))}
        self.tied = self.first
        self.parent = self
        self.name, self.kind, self.activation = "model", Model, Tensor.relu


NAMES = [
    "first.weight", "first.bias", "blocks.0.0.weight", "blocks.0.0.bias", "blocks.1.weight",
    "blocks.1.bias", "blocks.1.running_mean", "blocks.1.running_var",
    "blocks.1.num_batches_tracked", "named.pair.left", "named.pair.right", "named.7.scale",
    "tied.weight", "tied.bias",
]  # fmt: skip


def test_names() -> None:
    state = get_state_dict(Model())
    assert list(state) == NAMES
    assert state["tied.weight"] is state["first.weight"]
    assert list(get_state_dict(nn.Linear(1, 1), "head")) == ["head.weight", "head.bias"]
    lone = Tensor([1.0])
    assert get_state_dict(lone) == {"": lone}


def test_parameters_are_what_is_trained_each_once() -> None:
    model = Model()
    found = [id(p) for p in get_parameters(model)]
    state = get_state_dict(model)
    not_trained = ("running", "tracked", "right", "tied")
    assert found == [id(state[n]) for n in NAMES if not any(part in n for part in not_trained)]


def test_a_dense_web_of_objects_without_tensors_is_walked_once() -> None:
    """Every object refers to all others: by paths alone this would take a lifetime."""
    web: list[Any] = [[] for _ in range(40)]
    for each in web:
        each.extend(web)
    assert list(get_state_dict({"web": web, "w": Tensor([1.0])})) == ["w"]


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


def test_all_that_does_not_fit_is_reported_at_once_and_nothing_changes() -> None:
    model = fresh(1)
    before = arrays(model)
    state: dict[str, Any] = {name: array + 1 for name, array in before.items()}
    del state["0.weight"], state["2.bias"]
    state["1.bias"] = np.zeros((2, 1), np.float32)
    state["2.weight"] = Tensor.zeros(7)
    state["1.num_batches_tracked"] = np.float32(1)
    state["extra"] = np.zeros(1)
    with pytest.raises(ValueError) as caught:
        load_state_dict(model, state)
    message = str(caught.value)
    for part in (
        "missing: 0.weight",
        "missing: 2.bias",
        "unexpected: extra",
        "wrong shape: 1.bias is (2,) in the model, (2, 1) in the state",
        "wrong shape: 2.weight is (3, 4) in the model, (7,) in the state",
        "wrong dtype: 1.num_batches_tracked is int64 in the model, float32 in the state",
        "strict=False",
    ):
        assert part in message
    for name, array in before.items():
        np.testing.assert_array_equal(arrays(model)[name], array)


def test_not_strict_leaves_names_alone_but_not_shapes() -> None:
    model = fresh(1)
    before = arrays(model)
    load_state_dict(model, {"2.bias": np.ones(3), "extra": np.zeros(1)}, strict=False)
    assert model[2].bias.tolist() == [1.0] * 3
    np.testing.assert_array_equal(model[0].weight.numpy(), before["0.weight"])
    with pytest.raises(ValueError, match=r"wrong shape: 2.bias"):
        load_state_dict(model, {"2.bias": np.ones(4)}, strict=False)


@pytest.mark.parametrize("kind", [np.float16, np.float64, np.int64, ml_dtypes.bfloat16])
def test_values_take_the_dtype_of_their_place(kind: Any) -> None:
    layer = nn.Linear(2, 1)
    load_state_dict(layer, {"weight": np.array([[1, 2]], kind), "bias": np.array([3], kind)})
    assert layer.weight.dtype.name == "float32" and layer.weight.tolist() == [[1.0, 2.0]]


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
    values = torch.zeros(2, dtype=torch.float8_e8m0fnu)
    safetensors.torch.save_file({"scale": values}, tmp_path / "x")
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


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        safe_save({"x": Tensor([1.0])}, tmp_path / "absent" / "x")
