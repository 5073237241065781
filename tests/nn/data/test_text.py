"""Characters as numbers, windows of a text, and files that are no text."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradlet.nn.data import Characters, DataLoader, TextDataset, read_text


@given(st.text())
def test_there_and_back(text: str) -> None:
    letters = Characters(text)
    ids = letters.encode(text)
    assert ids.dtype == np.int64 and letters.decode(ids) == text
    assert len(letters) == len(set(text))


def test_characters_without_a_number() -> None:
    letters = Characters("abc")
    with pytest.raises(ValueError, match="'x' is none of the 3 characters"):
        letters.encode("abx")
    for wrong in (3, -1):
        with pytest.raises(ValueError, match=f"{wrong} is no number of 3 characters"):
            letters.decode([0, wrong])


def test_windows() -> None:
    data = TextDataset("abcdef", 3)
    assert len(data) == 3
    pairs = [data[i] for i in range(3)]
    assert [data.characters.decode(x) for x, _ in pairs] == ["abc", "bcd", "cde"]
    assert [data.characters.decode(y) for _, y in pairs] == ["bcd", "cde", "def"]
    ((x, y),) = DataLoader(data, 8)
    assert x.tolist() == [list(x) for x, _ in pairs] and y.tolist() == [list(y) for _, y in pairs]
    held_out = TextDataset("fade", 2, data.characters)
    assert held_out[0][0].tolist() == [5, 0]
    for wrong in (3, -1):
        with pytest.raises(IndexError, match=f"no window {wrong} among 3"):
            data[wrong]


@pytest.mark.parametrize(("text", "length"), [("", 1), ("abc", 3), ("abc", 0)])
def test_a_text_too_short(text: str, length: int) -> None:
    with pytest.raises(ValueError, match="has no window"):
        TextDataset(text, length)


def test_files(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes("µ\r\nx".encode())
    assert read_text(tmp_path / "x") == "µ\r\nx"
    (tmp_path / "x").write_bytes(b"ab\xff")
    with pytest.raises(ValueError, match="x is not UTF-8 at byte 2"):
        read_text(tmp_path / "x")
    with pytest.raises(FileNotFoundError):
        read_text(tmp_path / "y")
