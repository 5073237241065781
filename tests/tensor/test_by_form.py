"""Operations that are copied give the very graphs that they give when they are built."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gradlet import Tensor, nn
from gradlet.engine import trace
from gradlet.engine.realize import clear_programs
from gradlet.ir import ops
from gradlet.ir.templates import written_out
from gradlet.tensor import sharing
from gradlet.tensor.by_form import by_form

OPERATIONS: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    "sigmoid": (Tensor.sigmoid, ()),
    "gelu": (Tensor.gelu, ("none",)),
    "expm1": (Tensor.expm1, ()),
    "sum": (Tensor.sum, (1,)),
    "mean": (Tensor.mean, (None, True)),
    "var": (Tensor.var, ()),
    "softmax": (Tensor.softmax, (0,)),
    "cummax": (Tensor.cummax, (1,)),
    "logsumexp": (Tensor.logsumexp, ((0, 1),)),
    "matmul": (Tensor.matmul, ("other",)),
    "linear": (Tensor.linear, ("other", "row")),
    "layernorm": (Tensor.layernorm, ()),
    "batchnorm": (Tensor.batchnorm, ("row", None, "row", "row")),
}

SOURCES: dict[str, Callable[[], Tensor]] = {
    "leaf": lambda: Tensor.arange(16.0).reshape(4, 4).realize(),
    "permuted": lambda: Tensor.arange(16.0).realize().reshape(4, 4).T,
    "expanded": lambda: Tensor.arange(4.0).realize().expand(4, 4),
    "constant": lambda: Tensor.ones(4, 4),
    "detached": lambda: Tensor.arange(16.0).realize().reshape(4, 4).detach(),
    "integers": lambda: Tensor.arange(16).reshape(4, 4),
    "half": lambda: Tensor.ones(4, 4).half(),
}


@pytest.fixture(autouse=True)
def nothing_known() -> None:
    clear_programs()


def nodes_of(made: Any) -> list[Any]:
    nodes = [cell.node for cell in (made if isinstance(made, tuple) else (made,))]
    return [written_out(n) if n.op is ops.APPLY else n for n in nodes]


def built(operation: Any) -> Any:
    """The operation without being copied."""
    while hasattr(operation, "__wrapped__"):
        operation = operation.__wrapped__
    return operation


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("name", OPERATIONS)
def test_a_copy_is_the_graph_itself(name: str, source: str) -> None:
    operation, rest = OPERATIONS[name]
    for _ in range(2):
        x = SOURCES[source]()
        tensors = {"other": x, "row": Tensor(np.ones(4, x.dtype.numpy))}
        given = [tensors.get(value, value) if isinstance(value, str) else value for value in rest]
        expected = nodes_of(trace.look_into(operation, x, *given))
        assert nodes_of(operation(x, *given)) == expected
        if name not in ("sigmoid", "gelu", "expm1"):  # whose functions are wrapped twice
            assert nodes_of(trace.look_into(built(operation), x, *given)) == expected


def test_an_operation_is_built_once_for_a_form() -> None:
    built_for = []

    @by_form
    def operation(x: Tensor, y: Tensor, scale: float = 1.0) -> Tensor:
        built_for.append((x.shape, y.shape, scale))
        return x + y * scale

    a, b, c = Tensor([1.0, 2.0]), Tensor([3.0, 4.0]), Tensor([5.0])
    for _ in range(3):
        assert operation(a, b).tolist() == [4.0, 6.0]
        assert operation(b, a).tolist() == [4.0, 6.0]
        assert operation(a, a, scale=2.0).tolist() == [3.0, 6.0]
        assert operation(a, c).tolist() == [6.0, 7.0]
    assert built_for == [((2,), (2,), 1.0), ((2,), (2,), 2.0), ((2,), (1,), 1.0)]


def test_values_that_are_equal_and_differ_are_told_apart() -> None:
    @by_form
    def operation(x: Tensor, value: Any) -> Tensor:
        return x * value

    bits = Tensor([True])
    dtypes = [operation(bits, value).dtype.name for value in (1, True, 1.0)]
    assert dtypes == [(bits * value).dtype.name for value in (1, True, 1.0)]
    assert len(set(dtypes)) > 1
    signs = [np.signbit(operation(Tensor([2.0]), value).item()) for value in (0.0, -0.0)]
    assert signs == [False, True]


def test_what_is_switched_for_all_tensors_is_seen() -> None:
    @by_form
    def operation(x: Tensor) -> Tensor:
        return x * 2 if Tensor.training else x.long() / 2

    x = Tensor([3])
    with Tensor.train():
        assert operation(x).tolist() == [6]
    assert operation(x).tolist() == [1.5]
    with Tensor.with_default_dtype("float64"):
        assert operation(x).dtype.name == "float64"
    assert operation(x).dtype.name == "float32"


def test_without_gradients_a_copy_is_detached() -> None:
    x = Tensor([[1.0, 2.0]], requires_grad=True)
    for _ in range(2):
        with Tensor.no_grad():
            cut = x.softmax()
        assert cut.node.op is ops.DETACH
        assert x.softmax().node.op is not ops.DETACH


def test_arguments_and_their_views_are_no_copies() -> None:
    @by_form
    def itself(x: Tensor) -> Tensor:
        return x

    @by_form
    def view(x: Tensor) -> Tensor:
        return x.reshape(-1)

    x = Tensor([[1.0, 2.0]])
    for _ in range(2):
        assert itself(x) is x
        assert sharing.source(view(x)) is x


def test_what_reads_other_memory_is_no_copy() -> None:
    @by_form
    def drawn(x: Tensor) -> Tensor:
        return x + Tensor.rand(*x.shape)

    @by_form
    def counted(x: Tensor) -> Tensor:
        counts.append(len(counts))
        return x + Tensor(counts)

    counts: list[int] = []
    x = Tensor([1.0])
    assert drawn(x).item() != drawn(x).item()
    assert [counted(x).tolist() for _ in range(2)][-1][-1] == counts[-1] + 1.0


def test_views_of_what_an_operation_made_are_copied() -> None:
    @by_form
    def operation(x: Tensor) -> Tensor:
        return (x * 2)[0]

    x = Tensor([[1.0, 2.0]])
    for _ in range(2):
        made = operation(x)
        made += 1
        assert made.tolist() == [3.0, 5.0] and x.tolist() == [[1.0, 2.0]]


def test_arguments_of_another_kind_go_the_long_way() -> None:
    x = Tensor([[1.0, 2.0]])
    for _ in range(2):
        assert x.matmul(np.array([1.0, 1.0], np.float32)).tolist() == [3.0]
        assert x.sum([0, 1]).item() == 3.0
        with pytest.raises(TypeError, match="matmul: needs a tensor"):
            x.matmul(3)
        with pytest.raises(ValueError, match="do not fit"):
            x.matmul(Tensor([1.0, 2.0, 3.0]))
        with pytest.raises(ValueError, match="'cpu', the other on 'numpy'"):
            x.to("cpu").matmul(Tensor([1.0, 2.0], device="numpy"))


def test_layers_of_a_shape_share_graphs_and_not_weights() -> None:
    first, second, x = nn.Linear(3, 2), nn.Linear(3, 2), Tensor.ones(1, 3)
    for layer in (first, second):
        expected = x.numpy() @ layer.weight.numpy().T + layer.bias.numpy()
        np.testing.assert_allclose(layer(x).numpy(), expected, rtol=1e-6)
    (first(x).sum() + second(x).sum()).backward()
    assert first.weight.grad is not None and second.weight.grad is not None
