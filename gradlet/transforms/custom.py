"""Gradients of a function's own in place of those of its operations."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from gradlet.base import dtypes
from gradlet.grad.vjp import GradientError
from gradlet.ir import build
from gradlet.ir.node import Node
from gradlet.tensor.core import Core
from gradlet.tensor.nested import flatten, rebuild
from gradlet.tensor.tensor import Tensor

Pull = Callable[[list[Node], tuple[Node, ...]], list[Node | None]]


class custom_vjp:  # noqa: N801, a decorator
    """A function with a gradient of its own, as `jax.custom_vjp`.

    `f.defvjp(forward, backward)` says what that is: `forward(*args)` returns (result, residuals),
    and `backward(residuals, cotangent)` a tuple with a cotangent for each argument, or None for
    one that has none. `backward` may use what it is given, and constants, but no other tensor that
    depends on what is differentiated. It should be linear in the cotangent if `jvp` is to work.

    Raises:
        GradientError: the cotangents do not fit the arguments.

    >>> from gradlet import Tensor, custom_vjp, grad
    >>> @custom_vjp
    ... def passed_on(x):
    ...     return x.round()
    >>> passed_on.defvjp(lambda x: (x.round(), None), lambda _, g: (g,))
    >>> grad(passed_on)(Tensor(2.6)).item()
    1.0
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self.rules: tuple[Callable[..., Any], Callable[..., Any]] | None = None

    def defvjp(self, forward: Callable[..., Any], backward: Callable[..., Any]) -> None:
        """Says how the gradient is computed."""
        self.rules = (forward, backward)

    def __call__(self, *args: Any) -> Any:
        if self.rules is None:
            raise GradientError(
                f"custom_vjp: {self.function.__name__} has no gradient yet; call "
                f"{self.function.__name__}.defvjp(forward, backward)"
            )
        if not Core.grad_enabled:
            return self.function(*args)
        forward, backward = self.rules
        given: list[Core] = []
        flatten(args, given, [], "custom_vjp")
        made = forward(*args)
        if not isinstance(made, tuple) or len(made) != 2:
            raise TypeError("custom_vjp: forward must return (result, residuals)")
        outputs: list[Core] = []
        form = flatten(made[0], outputs, [], "custom_vjp")
        kept: list[Core] = []
        residuals = flatten(made[1], kept, [], "custom_vjp")
        if not given:
            return made[0]
        pull = _Backward(backward, args, given, outputs, form, residuals)
        sources = tuple(t.node for t in (*given, *kept))
        return rebuild(form, iter(with_gradient(outputs, sources, pull)))


class _Backward:
    """A user's backward function, as a function of nodes."""

    def __init__(
        self,
        backward: Callable[..., Any],
        args: tuple,
        given: list[Core],
        outputs: list[Core],
        form: tuple,
        residuals: tuple,
    ) -> None:
        self.backward, self.form, self.residuals = backward, form, residuals
        self.device = given[0].device
        self.counts = [_count(arg) for arg in args]
        self.floats = [output.dtype.is_float for output in outputs]
        self.shapes = [output.shape for output in outputs]

    def __call__(self, cotangents: list[Node], sources: tuple[Node, ...]) -> list[Node | None]:
        own, kept = sources[: sum(self.counts)], sources[sum(self.counts) :]
        rest = iter(cotangents)
        nodes = [
            next(rest) if is_float else build.const(0, dtypes.float32, shape)
            for is_float, shape in zip(self.floats, self.shapes, strict=True)
        ]
        with Tensor.enable_grad():
            residuals = rebuild(self.residuals, iter(self.cells(kept)))
            found = self.backward(residuals, rebuild(self.form, iter(self.cells(nodes))))
        if not isinstance(found, tuple) or len(found) != len(self.counts):
            raise GradientError(
                f"custom_vjp: backward must return a tuple of {len(self.counts)} cotangents, one "
                "an argument"
            )
        parts: list[Node | None] = []
        for number, (part, count) in enumerate(zip(found, self.counts, strict=True)):
            tensors: list[Any] = [None] * count
            if part is not None:
                tensors = []
                flatten(part, tensors, [], "custom_vjp")
            if len(tensors) != count:
                raise GradientError(
                    f"custom_vjp: argument {number} holds {count} tensors, and backward returned "
                    f"{len(tensors)} cotangents for it"
                )
            for tensor in tensors:
                parts.append(_fitting(tensor, own[len(parts)], number))
        return parts + [None] * len(kept)

    def cells(self, nodes: Sequence[Node]) -> list[Core]:
        return [Tensor.from_node(node, self.device) for node in nodes]


def _fitting(cotangent: Core | None, source: Node, number: int) -> Node | None:
    if cotangent is None or not source.dtype.is_float:
        return None
    if cotangent.shape != source.shape:
        raise GradientError(
            f"custom_vjp: backward returned a cotangent of shape {cotangent.shape} for argument "
            f"{number}, which has shape {source.shape}"
        )
    return build.cast(cotangent.node, source.dtype)


def _count(value: Any) -> int:
    found: list[Core] = []
    flatten(value, found, [], "custom_vjp")
    return len(found)


# A gradient for several results


def with_gradient(outputs: Sequence[Any], sources: tuple[Node, ...], pull: Pull) -> list[Core]:
    """The outputs, whose gradients `pull` passes on to `sources`, all at once.

    Each float is differentiated as if it were a piece of one long line, whose own gradient is
    what `pull` makes of its pieces. The line itself is never computed.
    """
    floats = [t.node for t in outputs if t.dtype.is_float]
    if not floats:
        return list(outputs)
    widest = functools.reduce(dtypes.promote, [n.dtype for n in floats])
    length = sum(n.size for n in floats)
    rule = _Line(pull, [(n.dtype, n.shape) for n in floats])
    line = build.custom(build.const(0, widest, (length,)), sources, rule)
    made: list[Core] = []
    start = 0
    for tensor in outputs:
        node = tensor.node
        if node.dtype.is_float:
            piece = build.slice_(line, ((start, start + node.size, 1),))
            start += node.size
            stand_in = build.cast(build.reshape(piece, node.shape), node.dtype)
            node = build.surrogate(node, stand_in)
        made.append(tensor._result(node))
    return made


class _Line:
    """The rule of a line of pieces."""

    def __init__(self, pull: Pull, kinds: list[tuple[Any, tuple[int, ...]]]) -> None:
        self.pull, self.kinds = pull, kinds

    def __call__(self, g: Node, n: Node) -> tuple[Node | None, ...]:
        cotangents = []
        start = 0
        for dtype, shape in self.kinds:
            size = 1
            for extent in shape:
                size *= extent
            piece = build.slice_(g, ((start, start + size, 1),))
            start += size
            cotangents.append(build.cast(build.reshape(piece, shape), dtype))
        return tuple(self.pull(cotangents, n.src[1:]))
