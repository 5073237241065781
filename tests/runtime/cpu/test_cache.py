"""The disk cache never returns what was not stored, and never gets in the way."""

from __future__ import annotations

import errno
import os
import threading
import warnings
from dataclasses import replace
from pathlib import Path

import pytest

from gradlet.runtime.cpu import cache as cache_module
from gradlet.runtime.cpu.cache import ObjectCache, cache_key
from gradlet.runtime.cpu.target import host_target

KEY = "a" * 64
DATA = bytes(range(256)) * 4


@pytest.fixture
def cache(tmp_path: Path) -> ObjectCache:
    return ObjectCache(tmp_path / "kernels")


def test_what_is_put_is_got(cache: ObjectCache) -> None:
    assert cache.get(KEY) is None
    cache.put(KEY, DATA)
    assert cache.get(KEY) == DATA
    assert ObjectCache(cache.folder).get(KEY) == DATA
    assert [path.suffix for path in cache.folder.iterdir()] == [".kernel"]


def truncate(content: bytes) -> bytes:
    return content[:-1]


def truncate_header(content: bytes) -> bytes:
    return content[:20]


def flip_payload(content: bytes) -> bytes:
    return content[:-5] + bytes([content[-5] ^ 1]) + content[-4:]


def flip_header(content: bytes) -> bytes:
    return content[:15] + bytes([content[15] ^ 128]) + content[16:]


def empty(content: bytes) -> bytes:
    return b""


def foreign(content: bytes) -> bytes:
    return b"\x7fELF" + content


def lengthen(content: bytes) -> bytes:
    return content + b"\0"


def other_format(content: bytes) -> bytes:
    return content[:8] + bytes([99]) + content[9:]


@pytest.mark.parametrize(
    "damage",
    [
        truncate,
        truncate_header,
        flip_payload,
        flip_header,
        empty,
        foreign,
        lengthen,
        other_format,
    ],
)
def test_a_damaged_file_is_deleted(cache: ObjectCache, damage) -> None:  # type: ignore[no-untyped-def]
    cache.put(KEY, DATA)
    path = cache._path(KEY)
    path.write_bytes(damage(path.read_bytes()))
    assert cache.get(KEY) is None
    assert not path.exists()
    cache.put(KEY, DATA)
    assert cache.get(KEY) == DATA


def test_a_file_under_another_name_is_refused(cache: ObjectCache) -> None:
    cache.put(KEY, DATA)
    other = "b" * 64
    os.rename(cache._path(KEY), cache._path(other))
    assert cache.get(other) is None


def test_a_full_disk_warns_once(cache: ObjectCache, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, content: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(cache_module, "_write_atomically", full)
    with pytest.warns(RuntimeWarning, match="No space left") as caught:
        cache.put(KEY, DATA)
    message = str(caught[0].message)
    assert str(cache.folder) in message
    assert "GRADLET_CACHE" in message
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cache.put(KEY, DATA)
    assert cache.get(KEY) is None


def test_a_folder_that_cannot_be_made_warns(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    cache = ObjectCache(tmp_path / "file" / "kernels")
    assert cache.get(KEY) is None
    with pytest.warns(RuntimeWarning, match="cannot be kept"):
        cache.put(KEY, DATA)


def test_a_failed_write_leaves_nothing(cache: ObjectCache, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(source: str, destination: Path) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.warns(RuntimeWarning):
        cache.put(KEY, DATA)
    assert list(cache.folder.iterdir()) == []


def test_the_least_recently_used_go_first(tmp_path: Path) -> None:
    cache = ObjectCache(tmp_path, limit_bytes=2500)
    keys = [letter * 64 for letter in "abc"]
    for age, key in enumerate(keys):
        cache.put(key, bytes(1000))
        os.utime(cache._path(key), (1000 + age, 1000 + age))
    assert cache.get(keys[0]) is not None
    cache.evict()
    assert [cache.get(key) is not None for key in keys] == [True, False, True]


def test_writers_of_one_key_do_not_mix(cache: ObjectCache) -> None:
    contents = [bytes([number]) * 50_000 for number in range(4)]
    damaged = []

    def write(content: bytes) -> None:
        for _ in range(50):
            cache.put(KEY, content)
            if cache.get(KEY) not in contents:
                damaged.append(content[0])

    threads = [threading.Thread(target=write, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not damaged


def test_keys_tell_programs_and_processors_apart() -> None:
    host = host_target()
    key = cache_key("program", host)
    assert key == cache_key("program", host)
    assert key != cache_key("program ", host)
    assert key != cache_key("program", replace(host, cpu="generic"))
    assert key != cache_key("program", replace(host, features=""))
