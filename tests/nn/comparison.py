"""Layers against PyTorch's from the same weights."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradlet.nn.state import get_state_dict, load_state_dict
from tests.helpers import assert_same, check


def check_layer(layer: Any, reference: Any, *arrays: np.ndarray, atol: float = 2e-5) -> None:
    """Names and shapes of tensors, values, and gradients of inputs and parameters agree."""
    theirs = reference.state_dict()
    assert [(name, t.shape) for name, t in get_state_dict(layer).items()] == [
        (name, tuple(t.shape)) for name, t in theirs.items()
    ]
    load_state_dict(layer, {name: value.numpy() for name, value in theirs.items()})
    check(layer, reference, *arrays, atol=atol, rtol=2e-5, finite_difference=False)
    for name, parameter in reference.named_parameters():
        given = get_state_dict(layer)[name].grad
        assert given is not None and parameter.grad is not None, name
        assert_same(given, parameter.grad, 10 * atol, 2e-4)
