"""Gradients of functions, which can be differentiated, mapped and recorded again.

The function runs on tensors that are equal to its arguments and are nothing else, so that a
gradient counts what flows through that argument alone: not through another argument that is the
same tensor, nor through one that the function reaches by itself.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from gradlet.engine.trace import look_into
from gradlet.grad.vjp import GradientError, pull_back
from gradlet.ir import build
from gradlet.ir.node import Node, topological
from gradlet.runtime.buffer import Buffer, node_of
from gradlet.runtime.device import get_device
from gradlet.tensor.core import Core
from gradlet.tensor.nested import Form, flatten, rebuild
from gradlet.tensor.tensor import Tensor

Function = Callable[..., Any]
Argnums = int | tuple[int, ...]


def grad(f: Function, argnums: Argnums = 0, has_aux: bool = False) -> Function:
    """A function that gives the gradient of `f`, which returns a tensor of one element.

    Arguments may be nested lists, dicts and dataclasses of float tensors, and the gradient has the
    same form. It is zero for what the result does not depend on.

    Args:
        argnums: which arguments to differentiate; several give a tuple of gradients.
        has_aux: `f` returns (tensor, more), and the new function (gradient, more).

    Raises:
        GradientError: the result is no float of one element, or an argument is no float.

    >>> from gradlet import Tensor, grad
    >>> cube = lambda x: x * x * x
    >>> grad(cube)(Tensor(2.0)).item(), grad(grad(cube))(Tensor(2.0)).item()
    (12.0, 12.0)
    """
    both = _value_and_grad(f, argnums, has_aux, "grad")

    @_like(f)
    def gradient(*args: Any, **kwargs: Any) -> Any:
        value, found = both(*args, **kwargs)
        return (found, value[1]) if has_aux else found

    return gradient


def value_and_grad(f: Function, argnums: Argnums = 0, has_aux: bool = False) -> Function:
    """A function that gives (result, gradient) of `f`, and else is `grad`.

    With `has_aux` it gives ((tensor, more), gradient).

    >>> from gradlet import Tensor, value_and_grad
    >>> [part.item() for part in value_and_grad(lambda x: x * x)(Tensor(3.0))]
    [9.0, 6.0]
    """
    return _value_and_grad(f, argnums, has_aux, "value_and_grad")


def _value_and_grad(f: Function, argnums: Argnums, has_aux: bool, operation: str) -> Function:
    @_like(f)
    def run(*args: Any, **kwargs: Any) -> Any:
        chosen, changed = Inputs.of_call(args, argnums, operation)
        with Tensor.enable_grad():
            result = look_into(f, *changed, **kwargs)
        value, *aux = _parted(result, has_aux, operation)
        if not isinstance(value, Tensor) or not value.dtype.is_float or value.numel() != 1:
            raise GradientError(
                f"{operation}: the function must return a float tensor of one element, not "
                f"{_described(value)}; call .sum() or .mean() in it, or use jacobian"
            )
        nodes = [node for inputs in chosen for node in inputs.nodes]
        found = iter(pull_back([value.node], [build.full_like(value.node, 1)], nodes))
        gradients = tuple(inputs.like(found) for inputs in chosen)
        shown = value._result(value.node)
        return (
            (shown, *aux) if has_aux else shown,
            gradients[0] if isinstance(argnums, int) else gradients,
        )

    return run


def vjp(f: Function, *primals: Any, has_aux: bool = False) -> Any:
    """(result of `f`, a function from cotangents of the result to those of `primals`).

    That function takes what has the form of the result, and gives a tuple, or the one cotangent
    if there is one primal, as `torch.func.vjp` does. With `has_aux`, `f` returns (result, more),
    and `more` comes last.

    >>> from gradlet import Tensor, vjp
    >>> y, pull = vjp(lambda x: x * x, Tensor([1.0, 2.0]))
    >>> y.tolist(), pull(Tensor([1.0, 10.0])).tolist()
    ([1.0, 4.0], [2.0, 40.0])
    """
    chosen, changed = Inputs.of_call(primals, tuple(range(len(primals))), "vjp")
    with Tensor.enable_grad():
        result = look_into(f, *changed)
    value, *aux = _parted(result, has_aux, "vjp")
    outputs = Outputs(value, "vjp")

    def pull(cotangents: Any) -> Any:
        given = outputs.fitting(cotangents, "the cotangents")
        nodes = [node for inputs in chosen for node in inputs.nodes]
        found = iter(pull_back(outputs.nodes, given, nodes))
        parts = tuple(inputs.like(found) for inputs in chosen)
        return parts[0] if len(parts) == 1 else parts

    return (outputs.shown(), pull, *aux)


def jvp(f: Function, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
    """(result of `f`, its derivative along `tangents`, which have the form of `primals`).

    A vector-Jacobian product is linear in its cotangent, and the transpose of that linear map is
    the derivative. No value of the first product is computed on the way, so that this costs what
    rules for forward mode would.

    Raises:
        GradientError: a gradient inside is not linear in its cotangent, as is that of eigh and
            svd, or a custom one may be.

    >>> from gradlet import Tensor, jvp
    >>> y, slope = jvp(lambda x: x * x, (Tensor(3.0),), (Tensor(10.0),))
    >>> y.item(), slope.item()
    (9.0, 60.0)
    """
    if not isinstance(primals, tuple | list) or not isinstance(tangents, tuple | list):
        raise TypeError("jvp: primals and tangents are tuples, one entry an argument of f")
    chosen, changed = Inputs.of_call(tuple(primals), tuple(range(len(primals))), "jvp")
    with Tensor.enable_grad():
        outputs = Outputs(look_into(f, *changed), "jvp")
    if len(tangents) != len(primals):
        raise ValueError(f"jvp: {len(primals)} primals and {len(tangents)} tangents")
    directions = [
        node
        for inputs, tangent in zip(chosen, tangents, strict=True)
        for node in inputs.fitting(tangent, "the tangents")
    ]
    sources = [node for inputs in chosen for node in inputs.nodes]
    found = iter(push_forward(outputs.nodes, sources, directions))
    return outputs.shown(), outputs.like(found)


class NotLinearError(GradientError):
    """A product with a Jacobian is not linear, and so has no transpose."""


def push_forward(
    roots: Sequence[Node], sources: Sequence[Node], directions: Sequence[Node]
) -> list[Node | None]:
    """The derivative of each root along `directions`, one for each source."""
    cotangents = [_unknown(root) for root in roots]
    products = pull_back(roots, cotangents, sources)
    pairs = [(p, d) for p, d in zip(products, directions, strict=True) if p is not None]
    found = pull_back([p for p, _ in pairs], [d for _, d in pairs], cotangents)
    if set(cotangents) & set(topological([part for part in found if part is not None])):
        raise NotLinearError(
            "jvp: a gradient in the function, that of eigh, svd or a custom one, is not linear in "
            "the gradient it is given, and has no derivative in forward direction; use vjp or grad"
        )
    return found


def _unknown(like: Node) -> Node:
    """A leaf that is equal to no other."""
    nothing = Buffer(get_device("numpy"), like.dtype, like.shape, pending=build.full_like(like, 0))
    return node_of(nothing)


class Inputs:
    """The tensors in an argument, and the same under nodes of their own.

    Attributes:
        changed: the argument as the function gets it.
        nodes: the nodes of the tensors in it.
    """

    def __init__(self, argument: Any, which: int, operation: str) -> None:
        self.operation = operation
        self.tensors: list[Any] = []
        self.form: Form = flatten(argument, self.tensors, [], operation)
        if not self.tensors:
            raise TypeError(
                f"{operation}: argument {which} is {_described(argument)} and holds no tensors; "
                "pass tensors, or lists, dicts or dataclasses of them"
            )
        for tensor in self.tensors:
            if not tensor.dtype.is_float:
                raise GradientError(
                    f"{operation}: argument {which} has a tensor of {tensor.dtype.name}, and only "
                    "floats have gradients; call .float(), or leave it out of argnums"
                )
        self.nodes = [build.apart(tensor.node) for tensor in self.tensors]
        cells = [
            type(tensor).from_node(node, tensor.device)
            for tensor, node in zip(self.tensors, self.nodes, strict=True)
        ]
        self.changed = rebuild(self.form, iter(cells))

    @classmethod
    def of_call(
        cls, args: tuple, argnums: Argnums, operation: str
    ) -> tuple[list[Inputs], list[Any]]:
        """The inputs that `argnums` names, and all arguments as the function gets them."""
        chosen: list[Inputs] = []
        changed = list(args)
        for number in (argnums,) if isinstance(argnums, int) else argnums:
            if not -len(args) <= number < len(args):
                raise ValueError(
                    f"{operation}: there is no argument {number} among {len(args)} positional ones"
                )
            place = number % len(args)
            if any(inputs.changed is changed[place] for inputs in chosen):
                raise ValueError(f"{operation}: argnums {argnums} names an argument twice")
            chosen.append(cls(args[place], place, operation))
            changed[place] = chosen[-1].changed
        return chosen, changed

    def like(self, parts: Iterator[Node | None]) -> Any:
        """Something of the argument's form with the next of `parts`; zeros in place of None."""
        cells = [
            tensor._result(next(parts) or build.full_like(tensor.node, 0))
            for tensor in self.tensors
        ]
        return rebuild(self.form, iter(cells))

    def fitting(self, given: Any, what: str) -> list[Node]:
        """The nodes of something that must have the argument's form, shapes and dtypes."""
        tensors: list[Core] = []
        form = flatten(given, tensors, [], self.operation)
        wanted = [(t.dtype.name, t.shape, t.device) for t in self.tensors]
        found = [(t.dtype.name, t.shape, t.device) for t in tensors]
        if form != self.form or found != wanted:
            raise ValueError(
                f"{self.operation}: {what} must have the form of what they belong to, "
                f"{wanted}, not {found}"
            )
        return [tensor.node for tensor in tensors]


class Outputs(Inputs):
    """The tensors in the result of a function."""

    def __init__(self, value: Any, operation: str) -> None:
        self.operation = operation
        self.tensors = []
        self.form = flatten(value, self.tensors, [], operation)
        for tensor in self.tensors:
            if not tensor.dtype.is_float:
                raise GradientError(
                    f"{operation}: the function returns a tensor of {tensor.dtype.name}, and only "
                    "floats have derivatives; call .float() in it"
                )
        if not self.tensors:
            raise TypeError(
                f"{operation}: the function must return tensors, not {_described(value)}"
            )
        self.nodes = [tensor.node for tensor in self.tensors]

    def shown(self) -> Any:
        """The result, cut off from gradients where they are switched off."""
        return self.like(iter(self.nodes))


def _parted(result: Any, has_aux: bool, operation: str) -> tuple:
    """(value,) or (value, more)."""
    if not has_aux:
        return (result,)
    if not isinstance(result, tuple) or len(result) != 2:
        raise TypeError(
            f"{operation}: with has_aux the function returns (value, more), not "
            f"{_described(result)}"
        )
    return result


def _described(value: Any) -> str:
    if isinstance(value, Core):
        return f"a tensor of {value.dtype.name}{list(value.shape)}"
    return f"a {type(value).__name__}"


def _like(f: Function) -> Callable[[Function], Function]:
    """Gives a function the name of another, which need not have one."""
    return functools.partial(functools.update_wrapper, wrapped=f)
