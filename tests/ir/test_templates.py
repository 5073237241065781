"""Copies of a template are the nodes that would be built with their sources."""

from __future__ import annotations

from gradlet.base import dtypes
from gradlet.engine.program import capture
from gradlet.ir import build, ops
from gradlet.ir.node import Node, topological
from gradlet.ir.templates import Template, written_out


def param(i: int, *shape: int) -> Node:
    return build.param(i, dtypes.float32, shape)


def product(a: Node, b: Node) -> Node:
    """a @ b.T, with a step that matters to gradients alone."""
    cube = (a.shape[0], b.shape[0], a.shape[1])
    left = build.expand(build.reshape(a, (a.shape[0], 1, a.shape[1])), cube)
    right = build.expand(build.detach(build.reshape(b, (1, *b.shape))), cube)
    return build.sum_(build.mul(left, build.add(right, build.full_like(right, 1))), (2,))


def template() -> Template:
    params = [param(0, 3, 4), param(1, 2, 4)]
    return Template("product", params, [product(*params)])


def test_a_copy_is_what_would_be_built() -> None:
    made, known = template(), (param(7, 3, 4), param(8, 2, 4))
    assert made.copied(known) == [product(*known)]
    reshaped = (build.reshape(param(7, 12), (3, 4)), build.reshape(param(8, 8), (2, 4)))
    assert made.copied(reshaped) == [product(*reshaped)]
    (x,) = made.copied((param(7, 3, 4), build.full_like(param(8, 2, 4), 2)))
    assert x is product(param(7, 3, 4), build.full_like(param(8, 2, 4), 2))


def test_a_short_template_is_no_node_of_its_own() -> None:
    x = param(0, 3)
    twice = build.add(x, x)
    short = Template("twice", [x], [twice])
    assert short.applied([param(5, 3)]).op is ops.ADD
    longer = Template("thrice", [x], [build.add(build.add(twice, x), build.full_like(x, 0))])
    assert longer.applied([param(5, 3)]).op is ops.APPLY
    assert repr(longer.applied([param(5, 3)])) == "<APPLY thrice float32[3]>"


def test_what_is_written_out_has_the_value_of_the_node() -> None:
    applied = template().applied((param(7, 3, 4), param(8, 2, 4)))
    assert written_out(applied).realized is None
    applied.realized = param(9, 3, 2)
    assert written_out(applied).realized is param(9, 3, 2)
    applied.realized = written_out(applied).realized = None


def test_a_program_has_neither_applications_nor_identities() -> None:
    device = object()
    a, b = (build.buffer(_Filled(), dtypes.float32, shape) for shape in ((3, 4), (2, 4)))
    applied = template().applied((a, b))
    graph = capture([applied], device)
    (value,), params = graph.canonical([applied])
    kinds = {n.op for n in topological([value])}
    assert not kinds & {ops.APPLY, ops.DETACH} and len(params) == 2
    (same,), _ = capture([applied]).canonical([applied])
    assert ops.DETACH in {n.op for n in topological([same])}


class _Filled:
    pending = None


def test_a_flat_graph_reads_the_same_buffers_in_its_own_order() -> None:
    device = object()
    a, b = (build.buffer(_Filled(), dtypes.float32, shape) for shape in ((3, 4), (2, 4)))
    applied = template().applied((a, b))
    roots = [build.add(applied, build.full_like(applied, 1)), applied]
    flat = capture(roots, device).flat(roots)
    assert all(entry[0] is not ops.APPLY for entry in flat.entries)
    numbers = [entry[1] for entry in flat.entries if entry[0] is ops.PARAM]
    assert numbers == [0, 1] and set(flat.leaves) == {a, b}
    assert [leaf.shape for leaf in flat.leaves] == [
        entry[3] for entry in flat.entries if entry[0] is ops.PARAM
    ]
    assert flat.position[roots[0]] == len(flat.entries) - 1
