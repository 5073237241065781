"""Gradients through templates (`ir/templates.py`): templates as well, made once for each."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gradlet.ir import build
from gradlet.ir.functions import known
from gradlet.ir.node import Node, substitute
from gradlet.ir.templates import Template

# From (roots, their cotangents, targets) to the cotangents of the targets: see `vjp.py`.
PullBack = Callable[[Sequence[Node], Sequence[Node], Sequence[Node]], list[Node | None]]


def vjp(g: Node, n: Node, pull_back: PullBack) -> tuple[Node | None, ...]:
    """The cotangents of the sources of an APPLY node."""
    template: Template = n.arg
    one = g if g.is_const else None  # with which products are shorter
    key = (template, "gradients", one)
    pulled, flows = known(key, lambda: _pulled(template, n, g, one, pull_back))
    made = iter(pulled.copied((*n.src, n, g)))
    return tuple([next(made) if flow else None for flow in flows])


def _pulled(
    template: Template, n: Node, g: Node, one: Node | None, pull_back: PullBack
) -> tuple[Template, list[bool]]:
    """The gradients as a template of the sources, of the result and of its cotangent."""
    (root,) = template.results
    count = len(template.params)
    result, cotangent = (build.param(count + i, x.dtype, x.shape) for i, x in enumerate((n, g)))
    found = pull_back([root], [one or cotangent], template.params)
    parts = [substitute(part, {root: result}) for part in found if part is not None]
    made = Template(f"{template} gradients", [*template.params, result, cotangent], parts)
    return made, [part is not None for part in found]
