"""Methods in float16 and bfloat16 against PyTorch's in float32, on the same numbers.

Values and gradients may differ by a few roundings to the half dtype, and must be of that dtype.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from gradlet import Tensor

Case = Callable[[Any, Any], Any]

# Names of methods without arguments, of numbers anywhere, above 0, and within (0, 1).
ANYWHERE = [
    "abs", "neg", "square", "sin", "cos", "tan", "tanh", "sinh", "cosh", "asinh", "atan", "exp",
    "exp2", "expm1", "erf", "erfc", "sigmoid", "relu", "sinc", "deg2rad", "rad2deg", "floor",
    "ceil", "trunc", "frac", "round", "isnan", "isinf", "isfinite", "signbit", "nan_to_num",
    "sum", "mean", "prod", "max", "min", "amax", "amin", "std", "var", "norm", "all", "any",
    "argmax", "argmin", "count_nonzero", "nansum", "nanmean", "median", "unique", "ravel",
    "clone", "T", "fliplr", "flipud", "positive", "logical_not", "trace", "tril", "triu",
    "argwhere", "cov", "corrcoef", "bool", "int", "long", "diagonal", "mT", "t",
]  # fmt: skip
ABOVE_ZERO = ["sqrt", "rsqrt", "log", "log2", "log10", "log1p", "reciprocal", "lgamma", "digamma"]
WITHIN = ["asin", "acos", "atanh", "erfinv", "logit"]
BINARY = [
    "add", "sub", "mul", "div", "pow", "maximum", "minimum", "fmax", "fmin", "atan2", "hypot",
    "copysign", "fmod", "remainder", "logaddexp", "logaddexp2", "xlogy", "eq",
    "ne", "lt", "le", "gt", "ge", "logical_and", "logical_xor", "heaviside", "isclose", "dist",
    "floor_divide",
]  # fmt: skip
ROWS, INDEX, MATRIX_INDEX = [3, 0, 3, 1], [2, 0, 2], [[0, 2, 1, 0, 1, 2], [3, 0, 0, 1, 2, 2]]


def index(like: Any, places: Any) -> Any:
    return Tensor(places) if isinstance(like, Tensor) else torch.tensor(places)


def written(x: Any, write: Callable[[Any], Any]) -> Any:
    """What becomes of a copy of `x` that is written into."""
    made = x * 1
    write(made)
    return made


def setitem(key: Any, change: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def write(x: Any) -> None:
        x[key] = change(x[key])

    return write


CASES: dict[str, Case] = {
    **{name: lambda x, y, n=name: call(x, n) for name in ANYWHERE},
    **{name: lambda x, y, n=name: call(x.abs() + 0.25, n) for name in ABOVE_ZERO},
    **{name: lambda x, y, n=name: call(x.abs() * 0.375 + 0.125, n) for name in WITHIN},
    **{name: lambda x, y, n=name: getattr(x.abs() + 0.25, n)(y.abs() + 0.5) for name in BINARY},
    # Elementwise
    "acosh": lambda x, y: (x.abs() + 1.25).acosh(),
    "add a number": lambda x, y: x + 0.1,
    "multiply by a number": lambda x, y: 3.3 * x,
    "divide a number": lambda x, y: 1 / (x.abs() + 0.5),
    "power": lambda x, y: (x.abs() + 0.5) ** 2.5,
    "clamp": lambda x, y: x.clamp(-0.5, 0.75),
    "clamp_min": lambda x, y: x.clamp_min(0.25),
    "lerp": lambda x, y: x.lerp(y, 0.3),
    "addcmul": lambda x, y: x.addcmul(x, y, value=0.5),
    "addcdiv": lambda x, y: x.addcdiv(x, y.abs() + 1, value=0.5),
    "where": lambda x, y: where(x > 0, x, y),
    "masked_fill": lambda x, y: x.masked_fill(y > 0, 0.5),
    "float_power": lambda x, y: (x.abs() + 0.5).float_power(2),
    "mvlgamma": lambda x, y: (x.abs() + 2).mvlgamma(2),
    # Reductions, by rows and by columns
    **{f"{name} by {axis}": lambda x, y, n=name, a=axis: first(getattr(x, n)(a))
       for name in ("sum", "mean", "prod", "amax", "amin", "std", "var", "argmax", "argmin", "any",
                    "logsumexp", "softmax", "log_softmax", "cumsum", "cumprod", "cummax",
                    "cummin", "logcumsumexp", "nansum", "median", "mode")
       for axis in (0, 1)},
    "kthvalue": lambda x, y: x.kthvalue(2, 1)[0],
    "norm of rows": lambda x, y: x.norm(3, 1),
    "renorm": lambda x, y: x.renorm(2, 0, 1.0),
    # Order
    "sort": lambda x, y: x.sort(1)[0],
    "sorted downwards": lambda x, y: x.sort(0, True)[0],
    "argsort": lambda x, y: x.argsort(1),
    "topk": lambda x, y: x.topk(3, 1)[0],
    "topk positions": lambda x, y: x.topk(3, 1)[1],
    "bucketize": lambda x, y: bucketize(x, y[0]),
    # Movement
    "reshape": lambda x, y: x.reshape(3, 8),
    "permute": lambda x, y: x.permute(1, 0),
    "expand": lambda x, y: x.unsqueeze(0).expand(2, 4, 6),
    "flip": lambda x, y: x.flip(0, 1),
    "roll": lambda x, y: x.roll(2, 1),
    "repeat": lambda x, y: x.repeat(2, 1),
    "repeat_interleave": lambda x, y: x.repeat_interleave(2, 1),
    "unfold": lambda x, y: x.unfold(1, 3, 2),
    "cat": lambda x, y: x.cat(y) if isinstance(x, Tensor) else torch.cat([x, y]),
    "stack": lambda x, y: x.stack(y) if isinstance(x, Tensor) else torch.stack([x, y]),
    "split": lambda x, y: x.split(4, 1)[1],
    "diag_embed": lambda x, y: x.diag_embed(),
    "rot90": lambda x, y: x.rot90(),
    "pad": lambda x, y: pad(x),
    # Indexing
    "a slice": lambda x, y: x[1:, ::2],
    "rows": lambda x, y: x[index(x, ROWS)],
    "elements": lambda x, y: x[index(x, ROWS), index(x, ROWS)],
    "a mask": lambda x, y: x[y > 0],
    "gather": lambda x, y: x.gather(0, index(x, MATRIX_INDEX)),
    "index_select": lambda x, y: x.index_select(1, index(x, INDEX)),
    "take": lambda x, y: x.take(index(x, [[5, 5], [0, 23]])),
    "take_along_dim": lambda x, y: x.take_along_dim(index(x, [[1], [0], [1], [5]]), 1),
    "masked_select": lambda x, y: x.masked_select(y > 0),
    "scatter": lambda x, y: x.scatter(0, index(x, [[0, 2, 1, 3, 1, 2]]), y[:1]),
    "scatter_add": lambda x, y: x.scatter_add(0, index(x, MATRIX_INDEX), y[:2]),
    **{f"scatter_reduce {how}":
       lambda x, y, h=how: x.scatter_reduce(0, index(x, MATRIX_INDEX), y[:2], h)
       for how in ("sum", "mean", "prod", "amax", "amin")},
    "index_add": lambda x, y: x.index_add(0, index(x, ROWS), y),
    "index_copy": lambda x, y: x.index_copy(1, index(x, [2, 0]), y[:, :2]),
    "index_fill": lambda x, y: x.index_fill(1, index(x, INDEX), 0.5),
    "index_reduce": lambda x, y: x.index_reduce(0, index(x, ROWS), y, "amax"),
    "index_put": lambda x, y: x.index_put((index(x, ROWS),), y, accumulate=True),
    "put": lambda x, y: x.put(index(x, [3, 9]), y[0, :2]),
    "masked_scatter": lambda x, y: x.masked_scatter(y > 0, y),
    "a written slice": lambda x, y: written(x, setitem((slice(1, 3),), lambda p: y[:2])),
    "an added slice": lambda x, y: written(x, setitem((slice(1, 3),), lambda p: p + y[:2])),
    "a written row": lambda x, y: written(x, setitem(2, lambda p: 0.5)),
    "added at indices": lambda x, y: written(x, setitem([3, 1], lambda p: p + y[:2])),
    "written at a mask": lambda x, y: written(x, lambda z: z.__setitem__(y > 0, 0.5)),
    "add_": lambda x, y: written(x, lambda z: z[1:].add_(y[1:])),
    # Contractions
    "matmul": lambda x, y: x @ y.T,
    "matrix times vector": lambda x, y: x @ y[0],
    "addmm": lambda x, y: x.addmm(x[:, :3], y[:3], alpha=0.5),
    "outer": lambda x, y: x[0].outer(y[1]),
    "bmm": lambda x, y: x.reshape(2, 2, 6).bmm(y.reshape(2, 6, 2)),
    "diff": lambda x, y: x.diff(),
}  # fmt: skip
NO_GRADIENT = {"unique", "floor_divide", "heaviside"}  # in PyTorch


def call(x: Any, name: str) -> Any:
    found = getattr(x, name)
    return found() if callable(found) else found


def first(result: Any) -> Any:
    return result[0] if isinstance(result, tuple) else result


def bucketize(x: Any, edges: Any) -> Any:
    edges = edges.sort()[0]
    return x.bucketize(edges) if isinstance(x, Tensor) else torch.bucketize(x, edges)


def where(condition: Any, a: Any, b: Any) -> Any:
    if isinstance(a, Tensor):
        return condition.where(a, b)
    return torch.where(condition, a, b)


def pad(x: Any) -> Any:
    if isinstance(x, Tensor):
        return x.pad((1, 2), mode="reflect")
    return torch.nn.functional.pad(x, (1, 2), mode="reflect")


def numbers(seed: int) -> np.ndarray:
    """Different numbers in (-2, 2) that both half dtypes have."""
    order = np.random.default_rng(seed).permutation(np.arange(-127, 127, 2) + seed)
    return (order[:24] / 64).astype(np.float32).reshape(4, 6)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", CASES)
def test_half(name: str, dtype: str) -> None:
    arrays = [numbers(0), numbers(1)]
    halves = [Tensor(a, dtype=dtype) for a in arrays]
    known = [torch.from_numpy(a).requires_grad_(name not in NO_GRADIENT) for a in arrays]
    made, expected = CASES[name](*halves), CASES[name](*known)
    unit = {"float16": 2.0**-10, "bfloat16": 2.0**-7}[dtype]
    if not expected.is_floating_point():
        assert np.array_equal(made.numpy(), expected.numpy())
        return
    assert made.dtype.name == ("float64" if name == "float_power" else dtype)
    agree(made, expected, unit)
    if not expected.requires_grad:
        return
    weight = np.asarray(np.random.default_rng(2).integers(-8, 9, made.shape) / 8)
    made.backward(gradient=Tensor(weight).cast(made.dtype))
    expected.backward(torch.from_numpy(weight).to(expected.dtype))
    for half, other in zip(halves, known, strict=True):
        if other.grad is not None and (half.grad is not None or other.grad.any()):
            assert half.grad is not None and half.grad.dtype.name == dtype
            agree(half.grad, other.grad, unit)


def agree(made: Any, expected: torch.Tensor, unit: float) -> None:
    """Each number is right to a few units of the largest."""
    values = expected.detach().double().numpy()
    most = np.abs(values).max(initial=unit)
    np.testing.assert_allclose(made.double().numpy(), values, 2 * unit, 2 * unit * most)
