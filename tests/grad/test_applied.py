"""Gradients through a template are those through the graph that it stands for."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from gradlet import Tensor
from gradlet.base import dtypes
from gradlet.engine.program import capture
from gradlet.engine.realize import clear_programs
from gradlet.grad.vjp import grad
from gradlet.ir import build, ops
from gradlet.ir.node import Node
from gradlet.ir.templates import Template
from gradlet.runtime.device import get_device

F64 = dtypes.float64
SHAPE = (3, 3)


def product(a: Node, b: Node) -> Node:
    """a @ b, in which b is permuted."""
    cube = (3, 3, 3)
    left = build.expand(build.reshape(a, (3, 1, 3)), cube)
    right = build.expand(build.reshape(build.permute(b, (1, 0)), (1, 3, 3)), cube)
    return build.unary(ops.EXP, build.sum_(build.mul(left, right), (2,)))


def param(i: int) -> Node:
    return build.param(i, F64, SHAPE)


@pytest.fixture
def template() -> Template:
    clear_programs()
    params = [param(0), param(1)]
    return Template("product", params, [product(*params)])


# A source may be another one's, may be merged into the graph, or may lead to another one.
SOURCES: dict[str, Callable[[Node, Node], tuple[Node, Node]]] = {
    "two": lambda x, y: (x, y),
    "one twice": lambda x, y: (x, x),
    "a permuted one": lambda x, y: (x, build.permute(y, (1, 0))),
    "one of the other": lambda x, y: (build.unary(ops.SIN, x), x),
    "the result of the same": lambda x, y: (x, product(x, build.mul(y, build.full_like(y, 0.1)))),
    "a constant": lambda x, y: (x, build.full_like(x, 0.5)),
}


@pytest.mark.parametrize("given", ["one", "cotangent"])
@pytest.mark.parametrize("sources", SOURCES)
def test_gradients_are_those_of_the_graph(sources: str, given: str, template: Template) -> None:
    x, y = param(2), param(3)
    made = SOURCES[sources](x, y)
    applied = template.applied(made)
    assert applied.op is ops.APPLY
    g = build.full_like(applied, 1) if given == "one" else param(4)
    found, expected = (grad(root, g, [x, y]) for root in (applied, product(*made)))
    assert [part is None for part in found] == [part is None for part in expected]
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=SHAPE) * 0.3 for _ in range(3)]
    pairs = [(a, b) for a, b in zip(found, expected, strict=True) if a and b]
    ours, theirs = ([written_out(part) for part in parts] for parts in zip(*pairs, strict=True))
    for one, other in zip(values(ours, arrays), values(theirs, arrays), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)


def written_out(root: Node) -> Node:
    """A graph over the params 0, 1 and 2, without templates."""
    graph = capture([root])
    numbers = {2: 0, 3: 1, 4: 2}
    made: list[Node] = []
    for current, entry in zip(graph.order, graph.entries, strict=True):
        src = [made[place] for place in entry[4:]]
        if current.op is ops.PARAM:
            made.append(build.param(numbers[current.arg], current.dtype, current.shape))
        elif current.op is ops.APPLY:
            made += current.arg.copied(src)
        else:
            made.append(build.rebuild(current, tuple(src)))
    return made[graph.position[root]]


def values(roots: list[Node], arrays: list[np.ndarray]) -> list[np.ndarray]:
    params = [build.param(i, F64, SHAPE) for i in range(3)]
    return get_device("numpy").compile(roots, params)(arrays)


def test_a_gradient_asks_the_value_that_is_known(template: Template) -> None:
    """It refers to the node itself, not to what that stands for."""
    applied = template.applied((param(2), param(3)))
    (through,) = grad(applied, param(4), [param(2)])
    assert through is not None
    sources, waiting = set(), [through]
    while waiting:
        current = waiting.pop()
        sources.add(current)
        waiting += [] if current is applied else current.src
    assert applied in sources
    assert not any(n.op is ops.EXP for n in sources)


def test_a_tensor_that_is_permuted_on_the_way_gets_its_gradient() -> None:
    rng = np.random.default_rng(0)
    q, k, step = (rng.normal(size=(2, 4, 4)) for _ in range(3))

    def loss(keys: Tensor) -> Tensor:
        return (Tensor(q) @ keys.transpose(-2, -1)).softmax(-1).square().sum()

    for _ in range(2):
        keys = Tensor(k)
        (found,) = loss(keys).gradient(keys)
        above, below = (loss(Tensor(k + side * 1e-6 * step)).item() for side in (1, -1))
        np.testing.assert_allclose((found.numpy() * step).sum(), (above - below) / 2e-6, rtol=1e-6)
