"""Blocks are aligned, come back, and stay alive while an array views them."""

from __future__ import annotations

import gc
import itertools
import threading

import numpy as np
import pytest

from gradlet.runtime.cpu import memory
from gradlet.runtime.cpu.memory import Pool, size_class


@pytest.mark.parametrize("nbytes", [0, 1, 63, 64, 65, 1000, 4096, 1 << 20, (3 << 20) + 5])
def test_blocks_are_aligned_and_writable(nbytes: int) -> None:
    pool = Pool()
    block = pool.allocate(nbytes)
    assert block.address % 64 == 0
    assert block.nbytes == nbytes
    view = block.view(np.uint8, (nbytes,))
    view[...] = 7
    assert view.nbytes == nbytes
    assert (view == 7).all()


def test_large_blocks_are_whole_huge_pages() -> None:
    pool = memory.Pool()
    held = [pool.allocate(nbytes) for nbytes in (2 * memory.HUGE_PAGE, 9 << 20)]
    assert all(block.address % memory.HUGE_PAGE == 0 for block in held)
    held[1].view(np.uint8, (9 << 20,))[...] = 1  # up to its end it is there


def test_size_classes_waste_little() -> None:
    for nbytes in [*range(5000), 10**6 + 1, 2**30 + 1]:
        capacity = size_class(nbytes)
        assert capacity >= max(nbytes, 64)
        assert capacity % 64 == 0
        assert capacity <= max(nbytes * 1.125, nbytes + 64)
        assert size_class(capacity) == capacity


def test_memory_is_used_again() -> None:
    pool = Pool()
    address = pool.allocate(5000).address
    assert pool.allocate(5010).address == address


def test_live_blocks_do_not_overlap() -> None:
    pool = Pool()
    blocks = [pool.allocate(size) for size in (100, 100, 5000, 100, 5000)]
    spans = sorted((block.address, block.address + block.nbytes) for block in blocks)
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(spans))


def test_a_view_keeps_its_memory() -> None:
    pool = Pool()
    view = pool.allocate(800).view(np.float32, (10, 20))[2:5].T
    view[...] = 3.0
    gc.collect()
    other = pool.allocate(800).view(np.float32, (200,))
    other[...] = 5.0
    assert (view == 3.0).all()
    assert pool.in_use_bytes == 2 * size_class(800)
    del view, other
    gc.collect()
    assert pool.in_use_bytes == 0


def test_views_have_shape_and_type() -> None:
    block = memory.allocate(24)
    assert block.view(np.float64, (3,)).dtype == np.float64
    assert block.view("i4", (2, 3)).shape == (2, 3)
    assert block.view(np.int8, ()).shape == ()
    assert block.view(np.int8, (0, 5)).size == 0
    with pytest.raises(ValueError, match=r"shape \(7,\).*needs 28 bytes; this block has 24"):
        block.view(np.float32, (7,))


def test_counters() -> None:
    pool = Pool()
    first = pool.allocate(1 << 16)
    second = pool.allocate(1 << 16)
    assert pool.in_use_bytes == pool.peak_bytes == 2 << 16
    del first, second
    assert pool.in_use_bytes == 0
    assert pool.free_bytes == pool.peak_bytes == 2 << 16
    pool.reset_peak()
    assert pool.peak_bytes == 0
    pool.release_free()
    assert pool.free_bytes == 0


def test_free_memory_is_bounded() -> None:
    pool = Pool(free_limit=1 << 20)
    blocks = [pool.allocate(1 << 18) for _ in range(10)] + [pool.allocate(100)]
    del blocks
    assert pool.free_bytes <= 1 << 20
    assert pool.in_use_bytes == 0


def test_too_much_memory_is_an_error_that_says_how_much() -> None:
    pool = Pool()
    del_me = pool.allocate(1 << 20)
    del del_me
    with pytest.raises(MemoryError, match=str(1 << 60)):
        pool.allocate(1 << 60)
    assert pool.in_use_bytes == 0
    assert pool.free_bytes == 0
    pool.allocate(10)


def test_negative_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="-1"):
        memory.allocate(-1)


def test_copies_from_numpy() -> None:
    array = np.arange(24, dtype=np.int16).reshape(4, 6).T
    block = memory.from_numpy(array)
    assert (block.view(np.int16, (6, 4)) == array).all()
    array[0, 0] = 99
    assert block.view(np.int16, (24,))[0] == 0
    assert memory.from_numpy(np.array(2.5, np.float32)).view(np.float32, ())[()] == 2.5
    assert memory.from_numpy(np.zeros((0, 3))).nbytes == 0


def test_blocks_in_reference_cycles_come_back() -> None:
    pool = Pool()
    for _ in range(1000):
        cycle: list[object] = [pool.allocate(1 << 12)]
        cycle.append(cycle)
    del cycle
    gc.collect()
    pool.allocate(1)
    assert pool.in_use_bytes <= 64
    assert pool.peak_bytes < 1001 << 12


def test_threads_share_a_pool() -> None:
    pool = Pool()
    mistakes = []

    def work(number: int) -> None:
        for step in range(2000):
            view = pool.allocate(64 + step % 7 * 640).view(np.uint8, (64,))
            view[...] = number
            if not (view == number).all():
                mistakes.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    gc.collect()
    assert not mistakes
    pool.release_free()
    assert pool.in_use_bytes == pool.free_bytes == 0


def test_small_blocks_are_allocated_together_a_page_at_a_time() -> None:
    assert memory.groups([4, 1 << 20, 256, 257, 64]) == [[3], [1], [0, 2, 4]]
    many = memory.groups([256] * 40)
    assert sorted(i for group in many for i in group) == list(range(40))
    assert [len(group) for group in many] == [16, 16, 8]
    assert memory.groups([]) == []


def test_parts_of_a_block_do_not_overlap_and_keep_it_alive() -> None:
    before = memory.pool.in_use_bytes
    pieces = memory.Pieces([4, 256, 65])
    parts, addresses = pieces.allocate()
    assert addresses.tolist() == [part.address for part in parts]
    for i, part in enumerate(parts):
        assert part.address % 64 == 0
        part.view(np.uint8, (part.nbytes,)).fill(i)
    assert [set(p.view(np.uint8, (p.nbytes,))) for p in parts] == [{0}, {1}, {2}]
    last = parts.pop()
    del parts, part, pieces
    gc.collect()
    assert memory.pool.in_use_bytes > before and set(last.view(np.uint8, (65,))) == {2}
    del last
    gc.collect()
    assert memory.pool.in_use_bytes == before


def test_parts_are_given_again_when_nobody_holds_any_of_them() -> None:
    pieces = memory.Pieces([8, 8])
    first = pieces.allocate()[1].tolist()
    assert pieces.allocate()[1].tolist() == first
    held = pieces.allocate()[0][1]
    array = held.view(np.float64, (1,))
    del held
    assert pieces.allocate()[1].tolist() != first
    array[0] = 1.0
    others = [pieces.allocate()[0][0] for _ in range(10)]
    assert len({part.address for part in others}) == 10 and array[0] == 1.0
    assert first[1] not in {part.address + 64 for part in others}


def test_parts_that_are_held_take_turns_with_those_that_are_not() -> None:
    pieces = memory.Pieces([8, 8])
    seen: list[list[int]] = []
    held: list[memory.Block] = []
    for _ in range(10):  # as a step's state does, each call holds what the one before has given up
        held, addresses = pieces.allocate()
        assert [part.address for part in held] == addresses.tolist()
        assert addresses.tolist() != (seen[-1] if seen else None)
        seen.append(addresses.tolist())
    assert len({tuple(addresses) for addresses in seen}) == 2 and held


def test_parts_that_are_given_again_are_held_as_well() -> None:
    pieces = memory.Pieces([8, 8])
    for _ in range(3):
        held = [pieces.allocate() for _ in range(4)]  # more than are remembered
        assert len({tuple(addresses) for _, addresses in held}) == 4
        del held
