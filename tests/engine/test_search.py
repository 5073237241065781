"""Tiles that were found by search: remembered, used, never slower, and of the same results."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from gradlet import Tensor
from gradlet.engine import native, realize, search
from gradlet.ir.kernel import Kernel
from gradlet.lower.choose import Tiles, candidates, lower, parts
from gradlet.lower.loops import show
from gradlet.lower.tile import Tile
from gradlet.runtime.cpu.cache import ObjectCache
from gradlet.runtime.cpu.device import CpuDevice
from gradlet.runtime.device import get_device
from tests.graphs import AVX2, TARGET, leaf, plan
from tests.lower.test_choose import outputs, whole


def product() -> Kernel:
    (step,) = plan(leaf(64, 96) @ leaf(96, 80)).steps
    return step.kernel


def tiles_of(kernel: Kernel) -> list[Tile]:
    (nest,) = parts(kernel.nests, TARGET)
    return candidates(nest, TARGET, 3)


def slept(seconds: dict[str, float]) -> Callable[[Sequence[Tiles]], search.Runs]:
    """Trials that take a time given for each tile's text, and 3 ms for all others."""

    def trials(forms: Sequence[Tiles]) -> search.Runs:
        waits = [seconds.get("".join(map(str, form.values())), 3e-3) for form in forms]
        return [lambda wait=wait: time.sleep(wait) for wait in waits]

    return trials


def test_candidates_are_few_and_different_and_the_default_comes_first() -> None:
    kernel = product()
    tiles = tiles_of(kernel)
    assert 2 <= len(tiles) <= 6 and len({str(tile) for tile in tiles}) == len(tiles)
    (nest,) = parts(kernel.nests, TARGET)
    assert lower(kernel, TARGET) == lower(kernel, TARGET, {nest: tiles[0]})
    assert lower(kernel, TARGET) != lower(kernel, TARGET, {nest: tiles[1]})


def test_every_candidate_computes_the_same() -> None:
    for result in (
        whole(9, 20) @ whole(20, 40),
        whole(1, 2, 9, 9).conv2d(whole(3, 2, 3, 3), padding=1),
    ):
        (step,) = plan(result).steps
        (nest,) = parts(step.kernel.nests, TARGET)
        plain = outputs(step.kernel, lower(step.kernel, TARGET))
        for tile in candidates(nest, TARGET, 3):
            body = lower(step.kernel, TARGET, {nest: tile})
            np.testing.assert_array_equal(outputs(step.kernel, body), plain, err_msg=show(body))


def test_the_fastest_wins_and_the_default_wins_ties() -> None:
    kernel = product()
    (nest,) = parts(kernel.nests, TARGET)
    other = tiles_of(kernel)[1]
    assert search.fastest_tiles(kernel, TARGET, slept({str(other): 1e-3})) == {nest: other}
    assert search.fastest_tiles(kernel, TARGET, slept({str(other): 2.95e-3})) == {}
    assert search.fastest_tiles(kernel, TARGET, slept({str(other): 9e-3})) == {}


def test_what_was_found_is_remembered_for_one_target(tmp_path: Path) -> None:
    kernel, cache = product(), ObjectCache(tmp_path)
    (nest,) = parts(kernel.nests, TARGET)
    assert search.recall(kernel, TARGET, cache) is None
    search.remember(kernel, TARGET, cache, {nest: tiles_of(kernel)[2]})
    assert search.recall(kernel, TARGET, ObjectCache(tmp_path)) == {nest: tiles_of(kernel)[2]}
    assert search.recall(kernel, AVX2, cache) is None
    search.remember(kernel, TARGET, cache, {})
    assert search.recall(kernel, TARGET, cache) == {}


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-2], lambda data: b"", lambda data: b"{" * 9]
)
def test_a_damaged_file_is_as_none(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    kernel, cache = product(), ObjectCache(tmp_path)
    (nest,) = parts(kernel.nests, TARGET)
    search.remember(kernel, TARGET, cache, {nest: tiles_of(kernel)[1]})
    (path,) = tmp_path.glob(f"{search._key(kernel, TARGET)}*")
    path.write_bytes(damage(path.read_bytes()))
    assert search.recall(kernel, TARGET, cache) is None


@pytest.mark.parametrize("content", [b'["a tile of long ago"]', b"[1]"])
def test_a_tile_that_is_no_candidate_is_not_used(tmp_path: Path, content: bytes) -> None:
    kernel, cache = product(), ObjectCache(tmp_path)
    cache.put(search._key(kernel, TARGET), content)
    assert search.recall(kernel, TARGET, cache) == {}


@pytest.mark.parametrize("content", [b"[]", b'["", ""]', b"{", b"3", b"\xff"])
def test_what_does_not_fit_the_kernel_is_searched_anew(tmp_path: Path, content: bytes) -> None:
    kernel, cache = product(), ObjectCache(tmp_path)
    cache.put(search._key(kernel, TARGET), content)
    assert search.recall(kernel, TARGET, cache) is None


def test_the_setting_searches_once_and_later_runs_use_the_winner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = get_device("cpu")
    assert isinstance(device, CpuDevice)
    monkeypatch.setattr(device, "cache", ObjectCache(tmp_path))
    searched = []

    def second_best(kernel: Kernel, target: object, trials: Callable) -> Tiles:
        (nest,) = parts(kernel.nests, TARGET)
        tile = candidates(nest, device.target, 3)[1]
        runs = trials([{}, {nest: tile}])
        for run in runs:
            run()
        searched.append(kernel)
        return {nest: tile}

    monkeypatch.setattr(search, "fastest_tiles", second_best)
    rng = np.random.default_rng(0)
    a, b = (rng.integers(-9, 9, (60, 60)).astype(np.float32) for _ in range(2))

    def run(setting: str) -> native.CompiledKernel:
        monkeypatch.setenv("GRADLET_SEARCH", setting)
        realize.clear_programs()
        native._kernels.clear()
        result = Tensor(a, device="cpu") @ Tensor(b, device="cpu")
        np.testing.assert_array_equal(result.numpy(), a @ b)
        (made,) = native._kernels.values()
        return made

    plain = run("0")
    assert not searched and not plain.tiles
    found = run("1")
    assert len(searched) == 1 and found.tiles and found.source != plain.source
    for setting in "01":
        assert run(setting).source == found.source
    assert len(searched) == 1
