"""The loop over time of a recurrent network, with a gradient of its own.

All steps are made of equal kernels, which are compiled once: a step reads its place in an array at
an index that is data, where a slice would be a kernel of its own. The gradient of a weight that all
steps use is one product over all of time, not the sum of a product for each step.
"""

from __future__ import annotations

from collections.abc import Sequence

from gradlet.grad.vjp import pull_back
from gradlet.ir import build
from gradlet.ir.node import Node, rewrite, with_sources
from gradlet.nn.cells import States, Step
from gradlet.tensor.tensor import Tensor
from gradlet.transforms.custom import custom_vjp

Weights = tuple[Tensor, Tensor | None, Tensor | None]
_places: dict[str, list[Tensor]] = {}  # by device: 0, 1, 2, ... as data


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
        for t in range(x.shape[0]):
            hidden, *others = step(at(x, t), states[0].linear(weight.T, bias), states)
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
        places.append(Tensor(len(places), device=x.device, requires_grad=False))
    return x._result(build.surrogate(build.gather(x.node, (places[t].node,)), x[t].node))


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
    pull = _Pull(step, x, passed[0], raw[0])
    to_x, to_h, to_projected = [], [], []
    for t in reversed(range(x.shape[0])):
        g_hidden = g_states[0] + at(g_outputs, t)
        to_projected.append(g_hidden)
        if projection is not None:
            g_hidden = g_hidden @ projection
        states = passed[t]
        h = states[0].linear(weight.T, bias)
        g_x, g_h, g_states = pull(at(x, t), h, states, (g_hidden, *g_states[1:]))
        g_states = (g_states[0] + g_h @ weight, *g_states[1:])
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


class _Pull:
    """From cotangents of the states after a step to those of what it was made from.

    The gradient of a step is found once, for placeholders in which each step then puts its own.
    """

    def __init__(self, step: Step, x: Tensor, states: States, raw: Tensor) -> None:
        kinds = [x[0], x[0], *states, raw, *states[1:]]
        self.places = [build.param(i, kind.dtype, kind.shape) for i, kind in enumerate(kinds)]
        cells = [Tensor.from_node(place, x.device) for place in self.places]
        count = 2 + len(states)
        inputs, given = self.places[:count], self.places[count:]
        made = step(cells[0], cells[1], tuple(cells[2:count]))
        found = pull_back([state.node for state in made], given, inputs)
        self.found = [
            build.full_like(place, 0) if part is None else part
            for part, place in zip(found, inputs, strict=True)
        ]

    def __call__(
        self, x: Tensor, h: Tensor, states: States, given: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor, States]:
        actual = [tensor.node for tensor in (x, h, *states, *given)]
        values = dict(zip(self.places, actual, strict=True))

        def rule(current: Node, src: tuple[Node, ...]) -> Node:
            return values.get(current) or with_sources(current, src)

        g_x, g_h, *g_states = (x._result(made) for made in rewrite(self.found, rule))
        return g_x, g_h, tuple(g_states)
