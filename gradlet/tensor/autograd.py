"""Gradients of tensors, and the operations that decide where gradients flow."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Self

from gradlet.engine.program import Capture, capture
from gradlet.engine.realize import live, value_of
from gradlet.engine.trace import VmapError
from gradlet.grad.vjp import GradientError, grad
from gradlet.ir import build, ops
from gradlet.ir.node import Node, topological
from gradlet.runtime.device import get_device, is_torch_device
from gradlet.runtime.foreign import move
from gradlet.tensor import sharing
from gradlet.tensor.core import Core, gradients
from gradlet.tensor.hooks import Hooked, Watch
from gradlet.tensor.leaves import carriers, leaves_in, refuse_overwritten
from gradlet.tensor.passes import Pass, repeats
from gradlet.tensor.values import compute_with_next, realize_all


class Autograd(Hooked):
    """Gradients."""

    __slots__ = ()

    def backward(
        self,
        gradient: Self | None = None,
        retain_graph: bool = False,
        inputs: Self | Sequence[Self] | None = None,
    ) -> Self:
        """Adds d(self)/d(leaf) into `.grad` of every live float leaf that `self` depends on.

        Afterwards the graph is used up: a second backward() through `self`, or through a named
        value that depends on a leaf with requires_grad=True, is an error. Leaves with
        requires_grad=False get no gradient.

        Args:
            gradient: stands for d(loss)/d(self); needed unless `self` has one element.
            retain_graph: keeps the graph for another backward().
            inputs: the only tensors to give a gradient to, which need not be leaves.

        Raises:
            GradientError: the graph was used up before, `self` is no float, or a leaf with
                requires_grad=True that it was computed from has been written to since.

        >>> from gradlet import Tensor
        >>> x = Tensor([1.0, 2.0]); y = (x * x).sum().backward(); x.grad.tolist()
        [2.0, 4.0]
        """
        self._check_cotangent(gradient, "backward")
        if self.node.op is ops.CONSUMED:
            grad(self.node, self.node, [self.node.src[0]])  # raises, saying so
        graph, alive = capture([self.node]), live()
        kinds = {n.op for n in graph.order}
        if ops.PARAM in kinds:
            raise VmapError(
                "vmap: backward() inside the function would add up the gradients of all examples; "
                "use grad(f) inside, or backward() outside"
            )
        leaves = leaves_in(graph.leaves, alive)
        refuse_overwritten(graph.order, leaves)
        watch = Watch(graph.position, alive)
        wanted = [*leaves, *watch.retaining] if inputs is None else _wanted(inputs)
        simple = gradient is None and inputs is None and not watch.place
        simple = simple and repeats(graph, kinds, leaves)
        backward: Pass | None = None
        if simple:
            shown = [] if retain_graph else _shown(graph, alive)
            backward = Pass(graph, self.node, leaves, [place for _, place in shown])
            cotangents = backward.gradients
        else:
            places = [watch.place.get(cell.node, cell.node) for cell in wanted]
            cotangents = grad(self.node, self._cotangent(gradient, "backward"), places, watch)
        pairs = [(c, g) for c, g in zip(wanted, cotangents, strict=True) if g is not None]
        for cell, given in [(cell, _after_hooks(cell, g)) for cell, g in pairs]:
            _accumulate(cell, given)
        if backward is not None:
            _use_up(shown, backward.reach, backward.values)
        elif not retain_graph:
            self._use_up_to(graph, leaves)
        return self

    def gradient(
        self,
        *targets: Self,
        gradient: Self | None = None,
        materialize_grads: bool = False,
    ) -> list[Self]:
        """d(self)/d(target) for each target, as tensors that can be differentiated again.

        Args:
            gradient: stands for d(loss)/d(self); needed unless `self` has one element.
            materialize_grads: zeros, rather than an error, for what `self` does not depend on.

        >>> from gradlet import Tensor
        >>> x = Tensor(3.0); (slope,) = (x * x * x).gradient(x); (bend,) = slope.gradient(x)
        >>> slope.item(), bend.item()
        (27.0, 18.0)
        """
        self._check_cotangent(gradient, "gradient")
        cotangent = self._cotangent(gradient, "gradient")
        watch = Watch({*topological([self.node])}, live())
        places = [watch.place.get(target.node, target.node) for target in targets]
        found = grad(self.node, cotangent, places, watch)
        results = []
        for place, (target, given) in enumerate(zip(targets, found, strict=True)):
            if given is None and not materialize_grads:
                raise GradientError(
                    f"gradient: the tensor does not depend on target {place}, of shape "
                    f"{target.shape}; leave it out, or pass materialize_grads=True for zeros"
                )
            whole = None if given is None else _after_hooks(target, given)
            results.append(self._result(whole or build.full_like(target.node, 0)))
        return results

    def _check_cotangent(self, gradient: Self | None, operation: str) -> None:
        if not self.dtype.is_float:
            raise GradientError(
                f"{operation}: only floats have gradients, and this tensor is "
                f"{self.dtype.name}; call .float() before computing with it"
            )
        if gradient is None and self.numel() != 1:
            raise GradientError(
                f"{operation}: a tensor of shape {self.shape} has no single number to "
                "differentiate; call .sum() or .mean() first, or pass gradient="
            )

    def _cotangent(self, gradient: Self | None, operation: str) -> Node:
        if gradient is None:
            return build.full_like(self.node, 1)
        given = self._operand(gradient, operation)
        if given is None or given.shape != self.shape:
            raise ValueError(
                f"{operation}: gradient must be a tensor of shape {self.shape}, not {gradient!r}"
            )
        return build.cast(given, self.dtype)

    def _use_up_to(self, graph: Capture, leaves: list[Core]) -> None:
        """Marks `self`, and what live tensors show on the way to trained leaves, as consumed."""
        trained = {leaf.node for leaf in leaves if leaf.requires_grad}
        ways = carriers(graph.order, trained) if trained else set()
        reach = {graph.position[n] for n in {*ways, self.node}}
        # The graph of others is still there, and whoever computes it finds what shows them.
        shown = [(cell, place) for cell, place in _shown(graph, live()) if place in reach]
        _use_up(shown, reach, {place: graph.order[place] for _, place in shown})

    # Where gradients flow

    def detach(self) -> Self:
        """The same elements, through which no gradient flows."""
        return self._view((sharing.detach, None))

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Sets `requires_grad` and returns `self`."""
        self.requires_grad = requires_grad
        return self

    def clone(self) -> Self:
        """A tensor of its own with the same value, through which gradients flow."""
        return self._own()

    copy = clone

    def is_contiguous(self) -> bool:
        """Whether NumPy would have the elements in this order in memory."""
        return sharing.is_contiguous(self)

    def contiguous(self) -> Self:
        """`self`, or a copy where NumPy would have the elements in another order in memory."""
        return self if sharing.is_contiguous(self) else self._own()

    def to(self, *targets: Any, device: str | None = None, dtype: Any = None) -> Self:
        """On another device, or as another dtype, as in `x.to("numpy")` and `x.to(float32)`.

        `x.to(y)` takes both from a tensor.
        Another device gives a new leaf: no gradient flows from one device to another.
        """
        for target in targets:
            if isinstance(target, Core):
                device, dtype = target.device, target.dtype
            elif isinstance(target, str) and not names_dtype(target):
                device = target
            elif is_torch_device(target):
                device = str(target)
            elif target is not None:
                dtype = target
        moved = self if dtype is None else self.cast(dtype)
        if device is None or get_device(device).name == self.device:
            return moved
        home = get_device(device)
        realize_all((moved,))
        leaf = move(value_of(moved.node, get_device(self.device)), home)
        return self.from_node(leaf, home.name, self.requires_grad)

    def cpu(self) -> Self:
        """`to("cpu")`."""
        return self.to("cpu")

    def cuda(self, device: int = 0) -> Self:
        """`to("torch:cuda:0")`, or another number than 0."""
        return self.to(f"torch:cuda:{device}")

    # Switches

    @staticmethod
    def no_grad() -> contextlib._GeneratorContextManager[None]:
        """While it lasts, results of operations are detached. Also a decorator."""
        return gradients(False)

    @staticmethod
    def enable_grad() -> contextlib._GeneratorContextManager[None]:
        """While it lasts, gradients flow, also inside `no_grad`. Also a decorator."""
        return gradients(True)

    @staticmethod
    def inference_mode(mode: bool = True) -> contextlib._GeneratorContextManager[None]:
        """`no_grad` under PyTorch's other name; `mode` False is `enable_grad`. Also a decorator.

        Tensors made inside may be used anywhere later.
        """
        return gradients(not mode)

    @classmethod
    @contextlib.contextmanager
    def train(cls, mode: bool = True) -> Iterator[None]:
        """While it lasts, `Tensor.training` is `mode`. Also a decorator."""
        before = cls.training
        cls.training = mode
        try:
            yield
        finally:
            cls.training = before

    @classmethod
    @contextlib.contextmanager
    def with_default_dtype(cls, dtype: Any) -> Iterator[None]:
        """While it lasts, `Tensor.default_dtype` is `dtype`. Also a decorator."""
        before = cls.default_dtype
        cls.default_dtype = dtype
        try:
            yield
        finally:
            cls.default_dtype = before


# Helpers


def _wanted(inputs: Any) -> list[Any]:
    """The tensors that are to have a gradient, each once."""
    given = [inputs] if isinstance(inputs, Core) else list(inputs)
    for cell in given:
        if not isinstance(cell, Core) or not cell.dtype.is_float or cell.requires_grad is False:
            raise GradientError(
                f"backward: inputs are float tensors without requires_grad=False, not {cell!r}"
            )
    return list({id(cell): cell for cell in given}.values())


def _shown(graph: Capture, alive: Iterable[Any]) -> list[tuple[Core, int]]:
    """Tensors that show results of operations in a graph, and where those stand in it."""
    position = graph.position
    return [
        (cell, position[cell.node])
        for cell in alive
        if cell.node in position and cell.node.op not in (ops.BUFFER, ops.CONST)
    ]


def _use_up(
    shown: Sequence[tuple[Core, int]], reach: Collection[int], values: Mapping[int, Node]
) -> None:
    """Has values computed with whatever is next; those within reach go without their graph."""
    for cell, place in shown:
        if place in reach:
            cell.node = build.consumed(values[place], cell.node)
        compute_with_next(cell)


def _accumulate(leaf: Core, given: Node) -> None:
    """Adds a gradient to `leaf.grad`, which is a leaf itself, so that its graph can be freed."""
    if leaf.grad is not None:
        given = build.add(leaf.grad.node, given)
    total = type(leaf)._leaf(given, leaf.device, requires_grad=False)
    leaf.grad = total
    compute_with_next(total)
    if leaf.hooks is not None:
        for function in list(leaf.hooks.after.values()):
            function(leaf)


def _after_hooks(leaf: Core, given: Node) -> Node:
    """What the hooks of a leaf make of its gradient."""
    return leaf.hooks.replaced(given) if leaf.hooks is not None and leaf.is_leaf else given


def names_dtype(text: str) -> bool:
    """Whether it is the name of a dtype rather than that of a device."""
    kinds = ("float", "fp8", "bfloat", "half", "double", "int", "uint", "long", "bool")
    return text.startswith(kinds)
