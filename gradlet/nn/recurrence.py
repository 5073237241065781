"""The loop over time of a recurrent network, with a gradient of its own.

All steps are made of equal kernels, which are compiled once: a step reads its place in an array at
an index that is data, where a slice would be a kernel of its own. The gradient of a weight that all
steps use is one product over all of time, not the sum of a product for each step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from gradlet.base import dtypes
from gradlet.grad.vjp import pull_back
from gradlet.ir import build
from gradlet.ir.node import Node, topological, with_sources
from gradlet.nn.cells import States, Step
from gradlet.runtime.buffer import from_numpy
from gradlet.runtime.device import get_device
from gradlet.tensor.tensor import Tensor
from gradlet.transforms.custom import custom_vjp

Weights = tuple[Tensor, Tensor | None, Tensor | None]
_places: dict[str, list[Node]] = {}  # by device: 0, 1, 2, ... as data


def unroll(step: Step, x: Tensor, states: States, weights: Weights) -> tuple[Tensor, States]:
    """The hidden states after each step, and all states after the last.

    Args:
        x: (T, N, gates * hidden), what each input gives.
        states: those before the first step; the hidden one (N, hidden) comes first.
        weights: (gates * hidden, hidden) for the hidden state, its bias or None, and a matrix
            (projection, hidden) to which new hidden states are multiplied, or None.

    Returns:
        (T, N, hidden) and the states, each (N, hidden).
    """

    def forward(x: Tensor, states: States, weights: Weights) -> tuple:
        weight, bias, projection = weights
        passed, raw = [states], []
        after: _Traced | None = None
        for t in range(x.shape[0]):
            given = (at(x, t), states[0]._linear_of_rows(weight, bias), *states)
            if after is None:
                after = _Traced(lambda x, h, *states: step(x, h, states), given)
            hidden, *others = after(*given)
            raw.append(hidden)
            states = (hidden if projection is None else hidden @ projection.T, *others)
            passed.append(states)
        outputs = Tensor.stack([now[0] for now in passed[1:]])
        return (outputs, states), (x, weights, passed, raw, outputs)

    @custom_vjp
    def run(x: Tensor, states: States, weights: Weights) -> tuple:
        return forward(x, states, weights)[0]

    def backward(residuals: tuple, cotangents: tuple) -> tuple:
        return _backward(step, *residuals, *cotangents)

    run.defvjp(forward, backward)
    result: tuple[Tensor, States] = run(x, states, weights)
    return result


def at(x: Tensor, t: int) -> Tensor:
    """x[t], where t is data to the kernel that reads it, and a constant to gradients."""
    places = _places.setdefault(x.device, [])
    while len(places) <= t:
        number = np.array(len(places))
        places.append(from_numpy(number, dtypes.int64, get_device(x.device)))
    return x._result(build.surrogate(build.gather(x.node, (places[t],)), x[t].node))


def _backward(
    step: Step,
    x: Tensor,
    weights: Weights,
    passed: list[States],
    raw: list[Tensor],
    outputs: Tensor,
    g_outputs: Tensor,
    g_states: States,
) -> tuple:
    """Cotangents of x, of the first states and of the weights, from the last step to the first."""
    weight, bias, projection = weights
    pull: _Traced | None = None
    to_x, to_h, to_projected = [], [], []
    for t in reversed(range(x.shape[0])):
        g_hidden = g_states[0] + at(g_outputs, t)
        to_projected.append(g_hidden)
        if projection is not None:
            g_hidden = g_hidden @ projection
        given = (at(x, t), passed[t][0]._linear_of_rows(weight, bias), *passed[t])
        cotangents = (g_hidden, *g_states[1:])
        if pull is None:
            pull = _Traced(_pull_of(step, len(given)), (*given, *cotangents))
        g_x, g_h, g_last, *g_others = pull(*given, *cotangents)
        g_states = (g_last + g_h @ weight, *g_others)
        to_x.append(g_x)
        to_h.append(g_h)
    g_h = Tensor.stack(to_h[::-1])
    before = Tensor.cat([passed[0][0].unsqueeze(0), outputs[:-1]])
    g_weight = _over_time(g_h, before)
    g_bias = None if bias is None else g_h.sum((0, 1))
    g_projection = None
    if projection is not None:
        g_projection = _over_time(Tensor.stack(to_projected[::-1]), Tensor.stack(raw))
    return Tensor.stack(to_x[::-1]), g_states, (g_weight, g_bias, g_projection)


def _over_time(g: Tensor, x: Tensor) -> Tensor:
    """The gradient of a weight (G, X) from (T, N, G) and (T, N, X)."""
    return g.flatten(0, 1).T @ x.flatten(0, 1)


def _pull_of(step: Step, inputs: int) -> Callable[..., list[Tensor]]:
    """A function of what a step is given and of cotangents of what it gives to the former's."""

    def pull(*cells: Tensor) -> list[Tensor]:
        x, h, *states = given = cells[:inputs]
        roots = [state.node for state in step(x, h, tuple(states))]
        cotangents = [cell.node for cell in cells[inputs:]]
        found = pull_back(roots, cotangents, [cell.node for cell in given])
        return [
            cell.zeros_like() if part is None else cell._result(part)
            for part, cell in zip(found, given, strict=True)
        ]

    return pull


class _Traced:
    """A function that runs once, on placeholders in which each call puts its own tensors.

    Building a graph by rewriting takes less time than by running its operators again.
    """

    def __init__(self, function: Callable[..., Sequence[Tensor]], like: Sequence[Tensor]) -> None:
        self.places = [build.param(i, tensor.dtype, tensor.shape) for i, tensor in enumerate(like)]
        with Tensor.enable_grad():
            made = function(*(Tensor.from_node(place, like[0].device) for place in self.places))
        self.results = [tensor.node for tensor in made]
        self.order = topological(self.results)

    def __call__(self, *given: Tensor) -> list[Tensor]:
        made: dict[Node, Node] = {}
        places = dict(zip(self.places, (tensor.node for tensor in given), strict=True))
        for current in self.order:
            found = places.get(current)
            made[current] = found or with_sources(current, tuple(made[s] for s in current.src))
        return [given[0]._result(made[result]) for result in self.results]
