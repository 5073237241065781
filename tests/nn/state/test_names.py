"""Names of tensors, loading into place, and moving to another device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
import pytest

from gradlet import Tensor, jit, nn
from gradlet.engine.trace import JitError
from gradlet.nn.state import get_parameters, get_state_dict, load_state_dict, to


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


def test_a_loaded_tensor_is_the_model_s_own() -> None:
    """Neither gradients nor later changes get from one to the other."""
    source, layer = Tensor([[1.0, 2.0]]), nn.Linear(2, 1, bias=False)
    load_state_dict(layer, {"weight": source})
    layer(Tensor([[3.0, 4.0]], requires_grad=False)).sum().backward()
    assert source.grad is None and layer.weight.grad.tolist() == [[3.0, 4.0]]
    layer.weight.assign(Tensor([[5.0, 6.0]]))
    assert source.tolist() == [[1.0, 2.0]]
    load_state_dict(layer, {"weight": source * 2})
    source += 1
    assert layer.weight.tolist() == [[2.0, 4.0]]


def test_loading_is_no_part_of_a_recorded_step() -> None:
    layer = nn.Linear(2, 1)
    state = {name: tensor.numpy() for name, tensor in get_state_dict(layer).items()}

    @jit
    def step(x: Tensor) -> Tensor:
        load_state_dict(layer, state)
        return layer(x)

    with pytest.raises(JitError, match="load_state_dict"):
        step(Tensor([[1.0, 2.0]]))


# Moving


def test_to_moves_tensors_and_gradients() -> None:
    model = fresh(1)
    x = Tensor.ones(1, 1, 6, 6, requires_grad=False)
    expected = model(x).numpy()
    model(x).sum().backward()
    model[0].weight.requires_grad = True
    gradient = model[0].weight.grad.numpy()
    assert to(model, "numpy") is model
    assert {tensor.device for tensor in get_state_dict(model).values()} == {"numpy"}
    assert model[0].weight.requires_grad and model[1].running_mean.requires_grad is False
    np.testing.assert_array_equal(model[0].weight.grad.numpy(), gradient)
    np.testing.assert_allclose(model(x.to("numpy")).numpy(), expected, rtol=1e-5, atol=1e-6)
    tied = Model()
    assert to(tied, "numpy").tied.weight is tied.first.weight


def test_a_device_that_is_not_there_moves_nothing() -> None:
    model = fresh(1)
    with pytest.raises(ValueError, match="unknown device 'abacus'"):
        to(model, "abacus")
    assert {tensor.device for tensor in get_state_dict(model).values()} == {model[0].weight.device}
