"""Linear programs: what is computed where, and what the verifier refuses."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gradlet.base import dtypes
from gradlet.ir import build, index, ops
from gradlet.ir.kernel import load
from gradlet.ir.node import node
from gradlet.ir.verify import VerifyError
from gradlet.lower import linear
from gradlet.lower.choose import lower
from gradlet.lower.decompose import decompose
from gradlet.lower.linear import LinearProgram
from gradlet.lower.linearize import linearize
from gradlet.lower.loops import Assign, Body, Loop, loop
from gradlet.lower.verify import verify_linear, verify_loops
from tests.graphs import GRAPHS, TARGET, plan

OUT = build.param(0, dtypes.float32, (8, 16))
IN = build.param(1, dtypes.float32, (8, 16))
ROW = build.param(2, dtypes.float32, (8,))
H, J = index.loop("i", 8), index.loop("j", 16)
ACC = node(ops.LOCAL, (), "acc", dtypes.float32, ())


def program(kind: str) -> LinearProgram:
    """out[i, j] = in[i, j] + exp(row[i])."""
    value = build.add(load(IN, (H, J)), build.unary(ops.EXP, load(ROW, (H,))))
    inner = loop(J, (Assign(OUT, (H, J), value),), kind)
    return linearize(loop(H, inner), (OUT, IN, ROW))


@pytest.mark.parametrize("name", GRAPHS)
def test_programs_are_legal(name: str) -> None:
    for step in plan(*GRAPHS[name]()).steps:
        body = decompose(lower(step.kernel, TARGET))
        verify_loops(body)
        verify_linear(linearize(body, step.kernel.params))


def test_values_are_computed_in_the_outermost_loop_that_has_what_they_need() -> None:
    (phase,) = program("serial").phases
    names = [i.op for i in phase.instructions]
    inner = names.index(linear.LOOP, names.index(linear.LOOP) + 1)
    assert names.index(ops.EXP) < inner < names.index(linear.WRITE)
    assert names.count(linear.LOOP) == names.count(linear.END) == 2


def test_vector_loops_become_lanes_and_unrolled_ones_are_written_out() -> None:
    (phase,) = program("vector").phases
    writes = [i for i in phase.instructions if i.op is linear.WRITE]
    assert [w.args[1].lanes for w in writes] == [16] and writes[0].args[0].lanes == 0
    (phase,) = program("unroll").phases
    assert sum(i.op is linear.WRITE for i in phase.instructions) == 16


def test_a_loop_fetches_the_vectors_of_a_later_iteration_a_line_at_a_time() -> None:
    def fetched(rows: int, ahead: int) -> list[object]:
        wide_out, wide_in = (build.param(n, dtypes.float32, (rows, 32)) for n in (0, 1))
        row, lane = index.loop("i", rows), index.loop("l", 32)
        twice = build.mul(load(wide_in, (row, lane)), build.const(2, dtypes.float32))
        inner = loop(lane, (Assign(wide_out, (row, lane), twice),), "vector")
        program = linearize(loop(row, inner, ahead=ahead), (wide_out, wide_in))
        verify_linear(program)
        (phase,) = program.phases
        return [i.arg.arg for i in phase.instructions if i.op is linear.PREFETCH]

    assert fetched(512, ahead=8) == [1, 1]  # of what is read; 128 bytes are two lines
    assert not fetched(512, ahead=512)  # beyond the array
    assert not fetched(64, ahead=8)  # the cache holds it anyway


def test_only_loops_that_are_loops_fetch_ahead() -> None:
    inner = loop(J, (Assign(OUT, (H, J), load(IN, (H, J))),), "vector", ahead=1)
    with pytest.raises(VerifyError, match="vector loops fetch nothing ahead"):
        verify_loops(loop(H, inner))


def stored(rows: int, columns: int, offset: int = 0, source: bool = True) -> object:
    """The op that writes a vector of 16 to each row of an array."""
    out, other = (build.param(n, dtypes.float32, (rows, columns)) for n in (0, 1))
    row, lane = index.loop("i", rows), index.loop("l", 16)
    value = load(other if source else out, (row, lane))
    inner = loop(lane, (Assign(out, (row, index.add(lane, offset)), value),), "vector")
    program = linearize(loop(row, inner), (out, other))
    verify_linear(program)
    (op,) = {i.op for i in program.phases[0].instructions} & {linear.WRITE, linear.STREAM}
    return op


def test_whole_lines_of_large_arrays_are_written_past_the_caches() -> None:
    rows = 1 << 20
    assert stored(rows, 16) is linear.STREAM
    assert stored(rows, 32, offset=16) is linear.STREAM
    assert stored(rows // 2, 16) is linear.WRITE  # it may fit into a cache
    assert stored(rows, 17) is linear.WRITE  # lines begin within vectors
    assert stored(rows, 32, offset=8) is linear.WRITE
    assert stored(rows, 16, source=False) is linear.WRITE  # it is read as well


def test_illegal_programs_are_refused() -> None:
    good = program("vector")
    verify_linear(good)
    (phase,) = good.phases
    made = phase.instructions
    for changed, says in (
        (made[:-1], "not ended"),
        ((*made, made[-1]), "innermost loop"),
        ((*made[:-2], made[-1], made[-2]), "is not known here"),
        (made[1:], "is not known here|innermost loop"),
        ((*made[:2], *made[1:]), "made twice"),
    ):
        with pytest.raises(VerifyError, match=says):
            verify_linear(replace(good, phases=(replace(phase, instructions=changed),)))
    with pytest.raises(VerifyError, match="not an array of this phase"):
        verify_linear(replace(good, params=(OUT, IN)))


ONE = build.const(1, dtypes.float32)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (loop(H, (Assign(OUT, (H, J), ONE),)), "no loop counts j"),
        (loop(H, loop(H, loop(J, (Assign(OUT, (H, J), ONE),)))), "counted twice"),
        (loop(H, loop(J, (Assign(OUT, (H, J), load(ACC, ())),))), "read before it is written"),
        (loop(H, (Assign(ACC, (), ONE, ops.ADD),)), "added to before"),
        (loop(H, loop(J, (Assign(OUT, (H, J), ONE),)), "vector"), "not innermost"),
        (loop(H, loop(J, (Assign(OUT, (H, J), ONE),), "parallel")), "parallel inside"),
        (loop(J, (Assign(OUT, (J, J), ONE),)), "reaches 15 in an axis of 8"),
        (loop(H, (Assign(ROW, (H,), build.const(1, dtypes.int64)),)), "is assigned to float32"),
        (
            (
                Assign(ACC, (), ONE),
                Loop(H, (Assign(ROW, (H,), load(ACC, ())),), "parallel"),
            ),
            "read before it is written",
        ),
    ],
)
def test_illegal_trees_are_refused(body: Body, says: str) -> None:
    with pytest.raises(VerifyError, match=says):
        verify_loops(body)


@pytest.mark.parametrize(("step", "op"), [(-1, "read_near"), (2, "read_near"), (5, "read")])
def test_lanes_a_few_elements_apart_are_read_by_whole_vectors(step: int, op: str) -> None:
    wide = build.param(1, dtypes.float32, (8, 80))
    place = index.add(index.scale(J, step), 15 if step < 0 else 0)
    body = loop(H, loop(J, (Assign(OUT, (H, J), load(wide, (H, place))),), "vector"))
    made = linearize(body, (OUT, wide))
    verify_linear(made)
    (phase,) = made.phases
    (found,) = [i for i in phase.instructions if i.op in (linear.READ, linear.READ_NEAR)]
    assert found.op == op and found.result is not None and found.result.lanes == 16
    offsets = tuple(step * lane for lane in range(16))
    assert found.arg == ((wide, offsets) if op == "read_near" else wide)


def test_lanes_that_share_elements_are_read_by_whole_vectors() -> None:
    body = loop(H, loop(J, (Assign(OUT, (H, J), load(IN, (H, index.floordiv(J, 2)))),), "vector"))
    made = linearize(body, (OUT, IN))
    verify_linear(made)
    (found,) = [i for i in made.phases[0].instructions if i.op is linear.READ_NEAR]
    assert found.arg == (IN, tuple(lane // 2 for lane in range(16)))


def instructions(*statements: Assign, lanes: bool = True) -> list[linear.Instruction]:
    """Those within the inner of two loops over these statements."""
    made = linearize(loop(H, loop(J, statements, "vector" if lanes else "serial")), (OUT, IN, ROW))
    verify_linear(made)
    (phase,) = made.phases
    return list(phase.instructions)


def test_what_was_written_is_known_until_something_else_is_written_there() -> None:
    own = load(OUT, (H, J))
    twice = build.add(own, own)
    add = Assign(OUT, (H, J), load(IN, (H, J)), accumulate=ops.ADD)
    found = instructions(add, add, Assign(OUT, (H, J), twice))
    assert [i.arg for i in found if i.op is linear.READ] == [IN, OUT]
    reads = [i.result for i in found if i.op is linear.READ]
    sums = [i for i in found if i.op is ops.ADD and i.result is not None and i.result.lanes]
    first, second, last = sums
    assert set(first.args) == set(reads) and first.result in second.args
    assert last.args == (second.result, second.result)

    elsewhere = index.sub(index.const(15), J)
    moved = Assign(OUT, (H, elsewhere), load(IN, (H, J)))
    found = instructions(Assign(OUT, (H, J), own), moved, Assign(OUT, (H, J), twice))
    assert [i.arg for i in found if i.op is linear.READ].count(OUT) == 2


def test_what_was_written_is_known_while_other_numbers_are_written() -> None:
    zero, one, two = (index.const(n) for n in range(3))
    fill = [Assign(OUT, (n, J), load(IN, (n, J))) for n in (zero, one)]
    both = Assign(OUT, (two, J), build.add(load(OUT, (zero, J)), load(OUT, (one, J))))
    found = instructions(*fill, both)
    assert [i.arg for i in found if i.op is linear.READ] == [IN, IN]
    anywhere = Assign(OUT, (H, J), load(IN, (two, J)))
    found = instructions(*fill, anywhere, both)
    assert [i.arg for i in found if i.op is linear.READ].count(OUT) == 2


def test_what_was_read_before_a_loop_is_read_again_within() -> None:
    own = load(OUT, (H, index.const(0)))
    before = Assign(ROW, (H,), own)
    inner = loop(J, (Assign(OUT, (H, index.const(0)), build.add(own, own)),), "serial")
    (phase,) = linearize(loop(H, (before, *inner)), (OUT, IN, ROW)).phases
    assert [i.op for i in phase.instructions].count(linear.READ) == 2


def test_a_scalar_is_spread_over_the_lanes_once() -> None:
    row = load(ROW, (H,))
    value = build.add(build.mul(load(IN, (H, J)), row), row)
    found = instructions(Assign(OUT, (H, J), value))
    assert [i.op for i in found].count(linear.BROADCAST) == 1
