"""Lists and dicts of layers."""

from __future__ import annotations

import copy
from collections import OrderedDict

import numpy as np
import pytest
import torch

from gradlet import Tensor, nn
from tests.helpers import floats


def names(model: object) -> list[str]:
    return list(nn.state.get_state_dict(model))


def test_sequential_with_names_is_pytorchs() -> None:
    layers = OrderedDict(first=nn.Linear(3, 4), relu=nn.relu, last=nn.Linear(4, 2))
    reference = torch.nn.Sequential(
        OrderedDict(first=torch.nn.Linear(3, 4), relu=torch.nn.ReLU(), last=torch.nn.Linear(4, 2))
    )
    model = nn.Sequential(layers)
    assert names(model) == list(reference.state_dict())
    nn.state.load_state_dict(model, reference.state_dict())
    x = floats(5, 3)
    expected = reference(torch.tensor(x)).detach().numpy()
    np.testing.assert_allclose(model(Tensor(x)).numpy(), expected, rtol=1e-5, atol=1e-6)
    assert model.first is model[0] and model.last is model[-1]
    with pytest.raises(AttributeError, match="'middle'"):
        _ = model.middle


def test_sequential_with_names_changes_only_at_its_end() -> None:
    model = nn.Sequential({"a": nn.Linear(2, 2)})
    model.append(nn.Linear(2, 1))
    assert names(model) == ["a.weight", "a.bias", "1.weight", "1.bias"]
    assert names(model[:1]) == ["a.weight", "a.bias"]
    other = copy.deepcopy(model)
    assert names(other) == names(model) and other[0] is not model[0]
    del model[0]
    with pytest.raises(ValueError, match="make a new Sequential"):
        names(model)


def test_sequential_by_place() -> None:
    model = nn.Sequential(nn.Linear(2, 3), Tensor.relu, nn.Linear(3, 1))
    part = model[1:]
    assert isinstance(part, nn.Sequential) and names(part) == ["1.weight", "1.bias"]
    assert repr(model[:1]) == "Sequential(\n  0: Linear(2, 3),\n)"


def test_lists_and_dicts_hold_what_pytorchs_do() -> None:
    model = {
        "list": nn.ModuleList([nn.Linear(2, 3)]),
        "dict": nn.ModuleDict({"x": nn.Linear(2, 1)}),
    }
    model["list"].append(nn.Linear(3, 1))
    model["dict"].update(y=nn.Linear(1, 1))
    reference = torch.nn.ModuleDict(
        {
            "list": torch.nn.ModuleList([torch.nn.Linear(2, 3), torch.nn.Linear(3, 1)]),
            "dict": torch.nn.ModuleDict({"x": torch.nn.Linear(2, 1), "y": torch.nn.Linear(1, 1)}),
        }
    )
    assert names(model) == list(reference.state_dict())
    assert isinstance(model["list"][:1], nn.ModuleList)
    assert repr(model["list"][:1]) == "ModuleList(\n  0: Linear(2, 3),\n)"
    assert repr(nn.ModuleDict(model["dict"])).startswith("ModuleDict(\n  x: Linear(2, 1),\n  y")
