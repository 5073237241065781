"""Matrices of derivatives: one product with a Jacobian, for all rows or columns at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gradlet.engine.trace import look_into
from gradlet.grad.batch import Batch, placeholder
from gradlet.grad.vjp import pull_back
from gradlet.ir import build, ops
from gradlet.ir.node import Node
from gradlet.tensor.nested import rebuild
from gradlet.tensor.tensor import Tensor
from gradlet.transforms.gradients import (
    Argnums,
    Function,
    Inputs,
    NotLinearError,
    Outputs,
    _like,
    push_forward,
)
from gradlet.transforms.vmap import pending


def jacobian(f: Function, argnums: Argnums = 0) -> Function:
    """A function that gives d(result)/d(argument), row by row in reverse mode.

    For a result of shape (a, b) and an argument of shape (c,) it has shape (a, b, c). Results and
    arguments may be nested: then it has the result's form with the argument's form in each place.

    >>> from gradlet import Tensor, jacobian
    >>> jacobian(lambda x: x * x)(Tensor([1.0, 2.0])).tolist()
    [[2.0, 0.0], [0.0, 4.0]]
    """
    return _jacobian(f, argnums, "jacobian", _rows)


def jacfwd(f: Function, argnums: Argnums = 0) -> Function:
    """`jacobian`, column by column in forward mode: cheaper where results outnumber arguments."""
    return _jacobian(f, argnums, "jacfwd", _columns)


def hessian(f: Function, argnums: Argnums = 0) -> Function:
    """A function that gives the second derivatives of `f`: the Jacobian of its Jacobian.

    >>> from gradlet import Tensor, hessian
    >>> hessian(lambda x: (x * x * x).sum())(Tensor([1.0, 2.0])).tolist()
    [[6.0, 0.0], [0.0, 12.0]]
    """
    rows = jacobian(f, argnums)
    forward, backward = jacfwd(rows, argnums), jacobian(rows, argnums)

    @_like(f)
    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            return forward(*args, **kwargs)
        except NotLinearError:
            return backward(*args, **kwargs)

    return run


def _jacobian(f: Function, argnums: Argnums, operation: str, blocks_of: Any) -> Function:
    @_like(f)
    def run(*args: Any, **kwargs: Any) -> Any:
        chosen, changed = Inputs.of_call(args, argnums, operation)
        with Tensor.enable_grad():
            outputs = Outputs(look_into(f, *changed, **kwargs), operation)
        sources = [node for inputs in chosen for node in inputs.nodes]
        blocks = blocks_of(outputs.nodes, sources)
        rows: list[Any] = []
        for tensor, row in zip(outputs.tensors, blocks, strict=True):
            cells = iter([tensor._result(block) for block in row])
            parts = tuple(rebuild(inputs.form, cells) for inputs in chosen)
            rows.append(parts[0] if isinstance(argnums, int) else parts)
        return rebuild(outputs.form, iter(rows))

    return run


def _rows(roots: Sequence[Node], sources: Sequence[Node]) -> list[list[Node]]:
    """For each root and source the block of derivatives, its rows from vector-Jacobian products."""
    blocks = []
    for root in roots:
        cotangent = placeholder(root.dtype, root.shape)
        found = pull_back([root], [cotangent], sources)
        batch = Batch({cotangent: _basis(root)}, root.size, pending)
        blocks.append([_row(root, s, part, batch) for s, part in zip(sources, found, strict=True)])
    return blocks


def _row(root: Node, source: Node, part: Node | None, batch: Batch) -> Node:
    shape = (*root.shape, *source.shape)
    if part is None:
        return build.const(0, source.dtype, shape)
    return build.reshape(batch([part])[0] or batch.repeated(part), shape)


def _columns(roots: Sequence[Node], sources: Sequence[Node]) -> list[list[Node]]:
    """The same blocks, their columns from Jacobian-vector products."""
    blocks: list[list[Node]] = [[] for _ in roots]
    for source in sources:
        direction = placeholder(source.dtype, source.shape)
        found = push_forward(roots, [source], [direction])
        batch = Batch({direction: _basis(source)}, source.size, pending)
        for root, part, row in zip(roots, found, blocks, strict=True):
            row.append(_column(root, source, part, batch))
    return blocks


def _column(root: Node, source: Node, part: Node | None, batch: Batch) -> Node:
    shape = (*root.shape, *source.shape)
    if part is None:
        return build.const(0, root.dtype, shape)
    front = batch([part])[0] or batch.repeated(part)
    last = build.permute(front, (*range(1, front.ndim), 0))
    return build.reshape(last, shape)


def _basis(like: Node) -> Node:
    """(size, *shape): each element 1 by itself in turn."""
    square = (like.size, like.size)
    hit = build.binary(ops.EQ, build.along(0, square), build.along(1, square))
    return build.reshape(build.cast(hit, like.dtype), (like.size, *like.shape))
