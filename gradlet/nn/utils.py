"""What is done with the gradients and values of many parameters at once.

All of it is lazy, and becomes part of the program that `opt.step()` runs.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from gradlet.base import dtypes
from gradlet.engine import trace
from gradlet.nn.state.names import get_parameters
from gradlet.runtime import device
from gradlet.tensor.tensor import Tensor


def get_total_norm(
    tensors: Tensor | Iterable[Tensor], norm_type: float = 2.0, error_if_nonfinite: bool = False
) -> Tensor:
    """The norm of all elements of all tensors, as if they were one vector: a scalar.

    Args:
        norm_type: 2, 1, inf or any other order above 0.
        error_if_nonfinite: compute it now, and raise if it is inf or nan.

    Raises:
        RuntimeError: it is, and that was asked for.

    >>> get_total_norm([Tensor([3.0]), Tensor([[4.0]])]).item()
    5.0
    """
    listed = [tensors] if isinstance(tensors, Tensor) else list(tensors)
    if not norm_type > 0:
        raise ValueError(f"get_total_norm: norm_type must be above 0, not {norm_type}")
    if not listed:
        return Tensor(0.0)
    total = _norm(listed, float(norm_type)).detach()
    if error_if_nonfinite:
        trace.refuse("error_if_nonfinite needs the norm at once; look at it outside")
        if not np.isfinite(total.item()):
            raise RuntimeError(
                f"the norm of the gradients is {total.item()}, so that they cannot be clipped; "
                "nothing has changed. Pass error_if_nonfinite=False to scale them all the same."
            )
    return total


def _norm(tensors: list[Tensor], order: float) -> Tensor:
    dtype = tensors[0].dtype
    for tensor in tensors[1:]:
        dtype = dtypes.promote(dtype, tensor.dtype)
    sizes = [tensor for tensor in tensors if tensor.numel()]
    if not sizes:
        return Tensor(np.zeros((), dtype.numpy), device=tensors[0].device)
    # Squares in float64, where those of float32 do not overflow.
    wide = device.finest_float(sizes[0].device)
    sizes = [tensor.cast(wide) for tensor in sizes]
    if math.isinf(order):
        return _largest(sizes).cast(dtype)
    if wide is dtypes.float64:
        return _plain_norm(sizes, order).cast(dtype)
    largest = _largest(sizes)
    unit = ((largest > 0) & (largest < math.inf)).where(largest, 1.0)
    return (_plain_norm([tensor / unit for tensor in sizes], order) * unit).cast(dtype)


def _plain_norm(tensors: list[Tensor], order: float) -> Tensor:
    if order == 2:
        return _in_pairs(operator.add, [tensor.mul(tensor).sum() for tensor in tensors]).sqrt()
    total = _in_pairs(operator.add, [(tensor.abs() ** order).sum() for tensor in tensors])
    return total ** (1 / order)


def _largest(tensors: list[Tensor]) -> Tensor:
    return _in_pairs(Tensor.maximum, [tensor.abs().max() for tensor in tensors])


def _in_pairs(combine: Callable[[Tensor, Tensor], Tensor], parts: list[Tensor]) -> Tensor:
    """All of them combined, in a tree, which is no deeper than it must be."""
    while len(parts) > 1:
        pairs = zip(parts[::2], parts[1::2], strict=False)
        odd = parts[-1:] if len(parts) % 2 else []
        parts = [combine(a, b) for a, b in pairs] + odd
    return parts[0]


def clip_grad_norm_(
    parameters: Any,
    max_norm: float | Tensor,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
) -> Tensor:
    """Scales all gradients down to a norm of at most `max_norm`; returns the norm before.

    Args:
        parameters: parameters, models, or lists that mix both.
        norm_type, error_if_nonfinite: see `get_total_norm`.

    >>> w = Tensor([1.0], requires_grad=True); _ = (w * 5).sum().backward()
    >>> clip_grad_norm_(w, max_norm=1.0).item(), f"{w.grad.item():.4f}"
    (5.0, '1.0000')
    """
    _check_limit("clip_grad_norm_", "max_norm", max_norm)
    gradients = _gradients(parameters)
    total = get_total_norm(gradients, norm_type, error_if_nonfinite)
    scale = (max_norm / (total + 1e-6)).minimum(1.0)
    for gradient in gradients:
        gradient.assign((gradient * scale).cast(gradient.dtype))
    return total


def clip_grad_value_(parameters: Any, clip_value: float | Tensor) -> None:
    """Brings every element of every gradient into [-clip_value, clip_value].

    >>> w = Tensor([1.0, 2.0], requires_grad=True); _ = (w * Tensor([5.0, -0.5])).sum().backward()
    >>> clip_grad_value_(w, 1.0); w.grad.tolist()
    [1.0, -0.5]
    """
    _check_limit("clip_grad_value_", "clip_value", clip_value)
    for gradient in _gradients(parameters):
        gradient.assign(gradient.clamp(-clip_value, clip_value).cast(gradient.dtype))


def parameters_to_vector(parameters: Any) -> Tensor:
    """All elements of all parameters in one vector, through which gradients flow.

    >>> parameters_to_vector([Tensor([1.0, 2.0]), Tensor([[3.0]])]).tolist()
    [1.0, 2.0, 3.0]
    """
    parts = [param.flatten() for param in _each(parameters)]
    if not parts:
        raise ValueError("parameters_to_vector: there are no parameters")
    return Tensor.cat(parts)


def vector_to_parameters(vec: Tensor, parameters: Any) -> None:
    """Gives parameters the elements of a vector, in their shapes and dtypes.

    Raises:
        ValueError: there are more elements, or fewer. Nothing has changed then.

    >>> a, b = Tensor([0.0, 0.0]), Tensor([[0.0]])
    >>> vector_to_parameters(Tensor([1.0, 2.0, 3.0]), [a, b]); a.tolist(), b.tolist()
    ([1.0, 2.0], [[3.0]])
    """
    params = list(_each(parameters))
    wanted = sum(param.numel() for param in params)
    if vec.shape != (wanted,):
        raise ValueError(
            f"vector_to_parameters: the parameters have {wanted} elements, and the vector has "
            f"shape {vec.shape}"
        )
    first = 0
    for param in params:
        last = first + param.numel()
        param.assign(vec[first:last].reshape(param.shape).cast(param.dtype))
        first = last


def _each(given: Any) -> Iterator[Tensor]:
    """The parameters in what was given, in its order: tensors, whatever they are, or models."""
    if isinstance(given, Tensor):
        yield given
    elif isinstance(given, list | tuple | Iterator):
        for item in given:
            yield from _each(item)
    else:
        yield from get_parameters(given)


def _gradients(parameters: Any) -> list[Tensor]:
    """The gradients that there are, each once."""
    grads = [param.grad for param in _each(parameters)]
    return list({id(grad): grad for grad in grads if grad is not None}.values())


def _check_limit(operation: str, name: str, limit: float | Tensor) -> None:
    """Raises if a number is no limit, as what is below 0 would turn gradients round."""
    if not isinstance(limit, Tensor) and not limit >= 0:
        raise ValueError(f"{operation}: {name} must be at least 0, not {limit}")
